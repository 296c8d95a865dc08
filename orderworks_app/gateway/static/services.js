// The health of each service, and the schedule of beat.

import { byId, el, setText, table } from "./dom.js";
import { count, span } from "./format.js";
import { timeAgo } from "./times.js";

/** Show the services, unhealthy ones first; and their state at the top of the page. */
export function showServices({ healthy, parts: services }) {
  // Beat's entries have a list of their own.
  const listed = services.filter((service) => !service.name.startsWith("beat "));
  const sorted = [...listed].sort((one, other) => one.healthy - other.healthy);
  byId("service-list").replaceChildren(...sorted.map(serviceLine));
  const unhealthy = services.filter((service) => !service.healthy).length;
  const pill = byId("health");
  pill.hidden = false;
  pill.className = `pill ${healthy ? "good" : "bad"}`;
  setText(pill, healthy ? "All services are healthy" : `${count(unhealthy)} of ${count(services.length)} services are unhealthy`);
}

/** Show why the state of the services is unknown. */
export function showServicesUnknown(problem) {
  byId("service-list").replaceChildren(el("li", { class: "problem" }, problem));
}

/** Show beat's entries. */
export function showBeat(entries) {
  byId("beat-list").replaceChildren(entries.length ? schedule(entries) : noEntries());
}

function serviceLine(service) {
  const state = service.healthy ? "good" : "bad";
  const dot = el("span", { class: `dot ${state}`, role: "img", "aria-label": service.healthy ? "healthy" : "unhealthy" });
  return el("li", {}, dot, el("strong", {}, service.name), el("span", { class: "detail" }, service.detail));
}

function noEntries() {
  return el("p", { class: "empty" }, "Beat has not run yet. Start ", el("code", {}, "celery -A worker beat"), ".");
}

function schedule(entries) {
  const rows = entries.map((entry) => [
    el("span", { title: entry.task }, entry.entry),
    span(entry.every),
    entry.succeeded_at ? timeAgo(entry.succeeded_at) : "never",
    nextRun(entry),
  ]);
  return table(["Entry", "Every", "Last success", "Next"], rows);
}

function nextRun(entry) {
  if (entry.error) return el("span", { class: "bad", title: entry.error }, "failed");
  if (entry.overdue) return el("span", { class: "bad" }, "overdue");
  if (entry.paused) return el("span", { class: "warn" }, "paused");
  return entry.due_in < 1 ? "now" : `in ${span(entry.due_in)}`;
}
