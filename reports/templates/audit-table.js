// Draws rows. Every text goes in as text, never as markup.
const ON_A_PAGE = 100;
const ON_PAPER = 1000;
const find = (id) => document.getElementById(id);
const HEADS = [...document.querySelectorAll(".full thead th")];
const count = (number) => number.toLocaleString("en");

function element(tag, style, text) {
  const made = document.createElement(tag);
  if (style) made.className = style;
  if (text) made.textContent = text;
  return made;
}

function small(text, style = "") {
  return text ? [element("small", style, text)] : [];
}

function verdictCell(row) {
  const gone = row.change === "gone";
  const pill = element("span", `pill ${gone ? "gone" : row.decision}`, gone ? "gone" : row.decision);
  const told = gone ? `was ${row.decision}` : row.accepted ? "accepted" : "not accepted";
  const surprising = row.attention && ["hardened", "pass"].includes(row.decision);
  return [pill, ...small(told, surprising ? "failed" : "")];
}

function changeCell(row) {
  const other = row.change !== "verdict" && row.was && row.was !== row.decision;
  return [row.changed, ...small(other ? `was ${row.was}` : "")];
}

function digestCell(row) {
  if (!row.sha256) return ["–"];
  const digest = element("code", "digest", row.sha256);
  digest.title = row.sha256;
  return [digest];
}

function reportCell(row) {
  if (!row.report) return ["–"];
  const link = element("a", "", "report");
  link.href = row.report;
  link.title = `Report of ${row.model} ${row.version}`;
  return [link];
}

const CELLS = {
  model: (row) => [row.model],
  version: (row) => [row.version],
  file: (row) => [row.file || "–", ...small(row.size)],
  verdict: verdictCell,
  change: changeCell,
  age: (row) => [row.stood, ...small(row.scanned)],
  reason: (row) => [row.reason],
  findings: (row) => [String(row.findings)],
  digest: digestCell,
  policy: (row) => [row.policy],
  report: reportCell,
};

function drawRow(row) {
  const drawn = element("tr");
  for (const head of HEADS) {
    const column = head.dataset.column;
    const cell = element(column === "model" ? "th" : "td", `in-${column}`);
    if (column === "model") cell.scope = "row";
    if (column === "version") cell.title = row.address;
    cell.dataset.label = head.textContent;
    cell.append(...CELLS[column](row));
    drawn.append(cell);
  }
  return drawn;
}

function tell(found, from, to) {
  const all = `${count(ROWS.length)} ${ROWS.length === 1 ? "version" : "versions"}`;
  if (!found) return ROWS.length ? `None of ${all} fits.` : "None.";
  const part = to - from < found ? `${count(from + 1)} to ${count(to)} of ` : "";
  if (found === ROWS.length) return part + all;
  return part ? `${part}${count(found)} found, ${all} in all` : `${count(found)} of ${all}`;
}

function drawTable(found, state, paper = false) {
  const size = paper ? ON_PAPER : ON_A_PAGE;
  const pages = Math.max(1, Math.ceil(found.length / size));
  const page = paper ? 1 : Math.min(state.page, pages);
  const from = (page - 1) * size;
  const part = found.slice(from, from + size);
  find("rows").replaceChildren(...part.map(drawRow));
  find("shown").textContent = tell(found.length, from, from + part.length);
  find("page").textContent = `Page ${count(page)} of ${count(pages)}`;
  find("back").disabled = page <= 1;
  find("next").disabled = page >= pages;
  find("page").parentElement.hidden = pages < 2;
  return page;
}
