// What the reader asked for, and how the address after # remembers it.
const FIRST_SORT = "verdict";

function freshState() {
  return {
    query: "", attention: false, verdict: new Set(), change: new Set(),
    sort: FIRST_SORT, down: false, page: 1,
  };
}

function known(list, allowed) {
  return new Set((list ?? "").split(",").filter((name) => allowed.includes(name)));
}

function stateOf(hash) {
  const told = new URLSearchParams(hash.replace(/^#/, ""));
  const state = freshState();
  state.query = told.get("q") ?? "";
  state.attention = told.get("attention") === "1";
  state.verdict = known(told.get("verdict"), VERDICTS);
  state.change = known(told.get("change"), CHANGES);
  setOrder(state, told.get("sort") ?? FIRST_SORT);
  state.page = Math.max(1, Number.parseInt(told.get("page"), 10) || 1);
  return state;
}

function setOrder(state, order) {
  const column = order.replace(/^-/, "");
  if (!Object.hasOwn(COLUMNS, column)) return;
  state.sort = column;
  state.down = order.startsWith("-");
}

function orderOf(state) {
  return (state.down ? "-" : "") + state.sort;
}

function hashOf(state) {
  const told = new URLSearchParams();
  if (state.query) told.set("q", state.query);
  if (state.attention) told.set("attention", "1");
  if (state.verdict.size) told.set("verdict", [...state.verdict].join(","));
  if (state.change.size) told.set("change", [...state.change].join(","));
  if (orderOf(state) !== FIRST_SORT) told.set("sort", orderOf(state));
  if (state.page > 1) told.set("page", String(state.page));
  // A comma needs no escape after #, and reads better.
  return told.toString().replaceAll("%2C", ",");
}

function isFiltered(state) {
  return Boolean(state.query || state.attention || state.verdict.size || state.change.size);
}
