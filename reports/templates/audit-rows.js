// The rows as the audit tells them, and what may be asked of them. Touches nothing on the page.
const packed = JSON.parse(document.getElementById("data").textContent);
const ROWS = packed.rows.map((values, place) => {
  const row = { place };
  packed.fields.forEach((name, at) => { row[name] = values[at]; });
  const told = [row.model, row.version, row.file, row.address, row.reason, row.sha256, row.policy];
  row.words = told.join("\n").toLowerCase();
  return row;
});
const VERDICTS = ["reject", "undecided", "hardened", "pass"];
const CHANGES = ["verdict", "content", "new", "gone", "same"];

const natural = new Intl.Collator("en", { numeric: true });
const byNumber = (told) => (one, other) => told(one) - told(other);
const byWords = (told) => (one, other) => natural.compare(told(one), told(other));
const byDigits = (one, other) => (one.sha256 < other.sha256 ? -1 : Number(one.sha256 > other.sha256));

// Rows come ordered by model and version; a sort is stable, so that this order settles ties.
const COLUMNS = {
  model: byNumber((row) => row.place),
  version: byWords((row) => row.version),
  file: byWords((row) => row.file),
  verdict: byNumber((row) => row.rank),
  change: byNumber((row) => CHANGES.indexOf(row.change)),
  age: byNumber((row) => row.age),
  reason: byWords((row) => row.reason),
  findings: byNumber((row) => row.findings),
  digest: byDigits,
  policy: byWords((row) => row.policy),
  report: byNumber((row) => Number(row.report === "")),
};

// Sorting ten thousand names takes longer than a key press; filtering them does not.
const sorted = new Map();

function inOrder(column, down) {
  const key = (down ? "-" : "") + column;
  if (!sorted.has(key)) {
    const compare = COLUMNS[column];
    sorted.set(key, [...ROWS].sort(down ? (one, other) => compare(other, one) : compare));
  }
  return sorted.get(key);
}

function matching(state) {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  return inOrder(state.sort, state.down).filter((row) =>
    (!state.attention || row.attention)
    && (!state.verdict.size || (row.change !== "gone" && state.verdict.has(row.decision)))
    && (!state.change.size || state.change.has(row.change))
    && words.every((word) => row.words.includes(word)));
}
