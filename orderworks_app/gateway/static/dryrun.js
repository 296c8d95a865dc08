// The result of a dry run: rows by predicted outcome, the first differences and rejects.

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

/** Create the view of a dry run's last event. */
export function dryRun({ kind, would, max_rejects: maxRejects, strict }) {
  return el(
    "div",
    { class: "dry-run" },
    stacked(would),
    legend(would),
    warning(would, maxRejects, strict),
    changedSince(kind, would),
    el("p", {}, effects(would)),
    firstRows("First differences", would.differences),
    firstRows("First rejected rows", would.rejects.map(({ code, ...shown }) => shown)),
  );
}

/** The number of rows of the file. */
export const rowsOf = (would) => Object.keys(OUTCOMES).reduce((sum, name) => sum + would[name], 0);

function stacked(would) {
  const rows = rowsOf(would) || 1;
  const present = Object.keys(OUTCOMES).filter((name) => would[name]);
  const bars = present.map((name) => {
    const bar = el("span", { class: name });
    fill(bar, would[name] / rows);
    return bar;
  });
  const labels = Object.entries(OUTCOMES).map(([name, word]) => `${percent(would[name] / rows)} ${word}`);
  return el("div", { class: "shares tall", role: "img", "aria-label": labels.join(", ") }, bars);
}

function legend(would) {
  const shown = Object.entries(OUTCOMES).filter(([name]) => would[name] || !(name in HINTS));
  const items = shown.map(([name, word]) =>
    el("li", { title: HINTS[name] }, el("span", { class: `key ${name}` }), el("strong", {}, count(would[name])), ` ${word}`),
  );
  return el("ul", { class: "legend" }, items);
}

function warning(would, maxRejects, strict) {
  if (strict && would.rejected) {
    return el("p", { class: "problem" }, "Nothing would be imported: some rows would be rejected, and “All rows or none” is set.");
  }
  if (maxRejects !== null && would.rejected > maxRejects) {
    return el("p", { class: "problem" }, `The import would stop: more than ${counted(maxRejects, "row")} would be rejected.`);
  }
  return "";
}

function changedSince(kind, { as_of: asOf, changed_since: changed }) {
  return changed && asOf ? el("p", {}, `${count(changed)} of its ${kind} were changed since ${asOf}; their newer values stay.`) : "";
}

function effects({ customers, reports, seconds }) {
  const affected = `Affects ${counted(customers, "customer")}; `;
  const windows = reports.length ? `reports that would change: ${reports.join(", ")}` : "no report would change";
  return `${affected}${windows}. Takes about ${span(Math.max(1, seconds))}.`;
}

function firstRows(title, rows) {
  if (!rows.length) return "";
  const headings = Object.keys(rows[0]);
  const lines = rows.map((row) => headings.map((name) => cell(row[name])));
  return el("section", {}, el("h4", {}, title), table(headings, lines));
}

function cell(value) {
  return value === null ? el("span", { class: "quiet-text" }, "nothing") : String(value);
}
