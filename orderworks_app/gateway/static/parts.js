// Whether each part is well, and what runs by the clock.

import { byId, el, say, table } from "./dom.js";
import { count, span } from "./format.js";
import { timeAgo } from "./times.js";

/** Show the parts, those that are not well first; and what the top of the page says of them. */
export function showParts({ healthy, parts }) {
  // What beat asks for has a list of its own.
  const listed = parts.filter((part) => !part.name.startsWith("beat "));
  const sorted = [...listed].sort((one, other) => one.healthy - other.healthy);
  byId("part-list").replaceChildren(...sorted.map(line));
  const ill = parts.filter((part) => !part.healthy).length;
  const pill = byId("health");
  pill.hidden = false;
  pill.className = `pill ${healthy ? "good" : "bad"}`;
  say(pill, healthy ? "All parts are well" : `${count(ill)} of ${count(parts.length)} parts are not well`);
}

/** Show that nobody can tell how the parts are. */
export function showNoParts(problem) {
  byId("part-list").replaceChildren(el("li", { class: "problem" }, problem));
}

/** Show beat's entries. */
export function showBeat(entries) {
  byId("beat-list").replaceChildren(entries.length ? clock(entries) : never());
}

function line(part) {
  const state = part.healthy ? "good" : "bad";
  const dot = el("span", { class: `dot ${state}`, role: "img", "aria-label": part.healthy ? "well" : "not well" });
  return el("li", {}, dot, el("strong", {}, part.name), el("span", { class: "detail" }, part.detail));
}

function never() {
  return el("p", { class: "empty" }, "Nothing was asked for yet. Start ", el("code", {}, "celery -A worker beat"), ".");
}

function clock(entries) {
  const lines = entries.map((each) => [
    el("span", { title: each.task }, each.entry),
    span(each.every),
    each.succeeded_at ? timeAgo(each.succeeded_at) : "never",
    state(each),
  ]);
  return table(["Entry", "Every", "Last success", "Next"], lines);
}

function state(entry) {
  if (entry.error) return el("span", { class: "bad", title: entry.error }, "failed");
  if (entry.overdue) return el("span", { class: "bad" }, "overdue");
  if (entry.paused) return el("span", { class: "warn" }, "paused");
  return entry.due_in < 1 ? "now" : `in ${span(entry.due_in)}`;
}
