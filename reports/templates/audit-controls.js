// What the reader touches, and what follows from it.
let state = stateOf(location.hash);
let found = [];

function showControls() {
  if (find("query").value !== state.query) find("query").value = state.query;
  find("attention").setAttribute("aria-pressed", String(state.attention));
  find("order").value = orderOf(state);
  find("clear").hidden = !isFiltered(state);
  for (const chip of document.querySelectorAll("[data-set]")) {
    const pressed = state[chip.dataset.set].has(chip.dataset.value);
    chip.setAttribute("aria-pressed", String(pressed));
  }
  for (const head of HEADS) {
    if (head.dataset.column !== state.sort) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
  }
}

function show() {
  found = matching(state);
  state.page = drawTable(found, state);
  showControls();
}

function remember() {
  const hash = hashOf(state);
  if (hash === location.hash.replace(/^#/, "")) return;
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function change(alter, page = 1) {
  alter(state);
  state.page = page;
  show();
  remember();
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function turnTo(page) {
  change(() => {}, page);
  find("all").scrollIntoView();
}

function listen() {
  find("query").addEventListener("input", (event) => change((now) => { now.query = event.target.value; }));
  find("attention").addEventListener("click", () => change((now) => { now.attention = !now.attention; }));
  find("order").addEventListener("change", (event) => change((now) => setOrder(now, event.target.value)));
  find("clear").addEventListener("click", () => {
    change((now) => { state = { ...freshState(), sort: now.sort, down: now.down }; });
    find("query").focus();
  });
  find("back").addEventListener("click", () => turnTo(state.page - 1));
  find("next").addEventListener("click", () => turnTo(state.page + 1));
  for (const chip of document.querySelectorAll("[data-set]")) {
    const { set, value } = chip.dataset;
    chip.addEventListener("click", () => change((now) => toggle(now[set], value)));
  }
  for (const head of HEADS) {
    const column = head.dataset.column;
    head.firstElementChild.addEventListener("click", () => change((now) => {
      now.down = now.sort === column && !now.down;
      now.sort = column;
    }));
  }
}

function follow() {
  state = stateOf(location.hash);
  show();
  find("all").scrollIntoView();
  find("all").querySelector("h2").focus({ preventScroll: true });
}

// Links above the table lead here, as does an address that someone kept.
window.addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  // The browser tells of no change where the address already says so.
  if (link && link.hash === location.hash) follow();
});
window.addEventListener("beforeprint", () => drawTable(found, state, true));
window.addEventListener("afterprint", () => drawTable(found, state));

listen();
show();
find("all").hidden = false;
find("plain").remove();
if (location.hash) find("all").scrollIntoView();
