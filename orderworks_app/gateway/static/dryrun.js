// What a file would do: its rows by what would become of them, the first differences and rejects.

import { el, fill, table } from "./dom.js";
import { count, counted, percent, span } from "./format.js";

const OUTCOMES = {
  insert: "new",
  change: "changed",
  unchanged: "unchanged",
  stale: "stale",
  superseded: "superseded",
  rejected: "rejected",
};

const HINTS = {
  stale: "the table has something newer",
  superseded: "a later row has the same id",
};

/** The outcome of a dry run. */
export function dryRun({ would, max_rejects: most, strict }) {
  return el(
    "div",
    { class: "dry-run" },
    stacked(would),
    legend(would),
    warning(would, most, strict),
    el("p", {}, effects(would)),
    first("First differences", would.differences),
    first("First rejected rows", would.rejects.map(({ code, ...told }) => told)),
  );
}

/** How many rows it has. */
export const rowsOf = (would) => Object.keys(OUTCOMES).reduce((sum, name) => sum + would[name], 0);

function stacked(would) {
  const rows = rowsOf(would) || 1;
  const there = Object.keys(OUTCOMES).filter((name) => would[name]);
  const bars = there.map((name) => {
    const bar = el("span", { class: name });
    fill(bar, would[name] / rows);
    return bar;
  });
  const said = Object.entries(OUTCOMES).map(([name, word]) => `${percent(would[name] / rows)} ${word}`);
  return el("div", { class: "shares tall", role: "img", "aria-label": said.join(", ") }, bars);
}

function legend(would) {
  const shown = Object.entries(OUTCOMES).filter(([name]) => would[name] || !(name in HINTS));
  const items = shown.map(([name, word]) =>
    el("li", { title: HINTS[name] }, el("span", { class: `key ${name}` }), el("strong", {}, count(would[name])), ` ${word}`),
  );
  return el("ul", { class: "legend" }, items);
}

function warning(would, most, strict) {
  if (strict && would.rejected) {
    return el("p", { class: "problem" }, "Nothing would be imported: some rows would be rejected, and it is all rows or none.");
  }
  if (most !== null && would.rejected > most) {
    return el("p", { class: "problem" }, `The import would stop: more than ${counted(most, "row")} would be rejected.`);
  }
  return "";
}

function effects({ customers, reports, seconds }) {
  const touched = `Touches ${counted(customers, "customer")}; `;
  const windows = reports.length ? `reports that would change: ${reports.join(", ")}` : "no report would change";
  return `${touched}${windows}. Takes about ${span(Math.max(1, seconds))}.`;
}

function first(title, rows) {
  if (!rows.length) return "";
  const headings = Object.keys(rows[0]);
  const lines = rows.map((row) => headings.map((name) => cell(row[name])));
  return el("section", {}, el("h4", {}, title), table(headings, lines));
}

function cell(value) {
  return value === null ? el("span", { class: "quiet-text" }, "nothing") : String(value);
}
