// One import: its bar, what became of its rows, its rejects by reason, and how it is steered.

import { post } from "./api.js";
import { button, el, fill, say } from "./dom.js";
import { count, counted, short, size, span } from "./format.js";
import { showRejects } from "./mending.js";
import { timeAgo } from "./times.js";

const ENDED = ["done", "failed", "cancelled"];
const COUNTS = ["applied", "unchanged", "stale", "superseded", "rejected"];

/** What people may ask of an import, by its status. */
const ACTIONS = {
  accepted: ["cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
};

/** The card of an import: its node, and `update(document)`. `watch(id)` hears of one that mends it. */
export function importCard(first, watch) {
  const parts = {
    status: el("span", { class: "status" }),
    ended: el("span"),
    bar: el("span", { class: "bar" }),
    way: el("p", { class: "way" }),
    counts: el("ul", { class: "legend" }),
    error: el("p", { class: "problem" }),
    actions: el("div", { class: "actions" }),
    rejects: el("details", { class: "rejects" }),
  };
  parts.track = el("div", { class: "track", role: "progressbar", "aria-label": `progress of ${first.source}` }, parts.bar);
  const head = el("header", {}, el("strong", { title: first.id }, first.source), parts.status);
  const what = el("p", { class: "what" }, el("span", {}, `${first.parent ? `mended ${first.kind}` : first.kind} · `, timeAgo(first.accepted_at), parts.ended), el("span", { class: "id" }, first.id));
  const { track, way, counts, error, rejects, actions } = parts;
  const node = el("li", { class: "card" }, head, what, track, way, counts, error, rejects, actions);
  const card = { node, parts, watch, steps: -1, update: (document) => update(card, document) };
  return card;
}

function update(card, document) {
  const { parts } = card;
  if (document.steps < card.steps) return; // news may overtake each other
  card.steps = document.steps;
  card.node.dataset.status = document.status;
  say(parts.status, document.status);
  move(parts, document);
  const over = ENDED.includes(document.status);
  say(parts.way, over ? "" : way(document));
  say(parts.ended, over ? ended(document) : "");
  say(parts.error, document.error ?? "");
  showCounts(parts.counts, document);
  offerActions(card, document);
  offerRejects(card, document);
}

function move({ track, bar }, document) {
  const share = shareDone(document);
  fill(bar, share);
  track.setAttribute("aria-valuenow", Math.floor(100 * share));
}

function shareDone({ status, bytes, bytes_done: done }) {
  if (status === "done") return 1;
  return bytes ? done / bytes : 0;
}

function ended({ rows, bytes, accepted_at: from, finished_at: until }) {
  const parts = [rows === null ? "" : counted(rows, "row"), size(bytes)].filter(Boolean);
  const took = until ? ` in ${span((Date.parse(until) - Date.parse(from)) / 1000)}` : "";
  return ` · ${parts.join(", ")}${took}`;
}

function way(document) {
  if (document.waits_for_updates) return "waits: order updates go first";
  const done = COUNTS.reduce((sum, name) => sum + document[name], 0);
  const parts = [document.rows === null ? "being read" : `${count(done)} of ${counted(document.rows, "row")}`];
  if (document.rows_per_second) parts.push(`${short(document.rows_per_second)} rows/s`);
  if (document.eta_seconds !== null) parts.push(`${span(document.eta_seconds)} left`);
  return parts.join(" · ");
}

function showCounts(node, document) {
  const shown = COUNTS.filter((name) => document[name]);
  const items = shown.map((name) => el("li", {}, el("span", { class: `key ${name}` }), el("strong", {}, count(document[name])), ` ${name}`));
  if (ENDED.includes(document.status) && document.rows_left) {
    items.push(el("li", {}, el("span", { class: "key unchanged" }), el("strong", {}, count(document.rows_left)), " not loaded"));
  }
  if (document.mended) items.push(el("li", { class: "good" }, `${count(document.mended)} of them mended`));
  if (document.quarantined) items.push(el("li", { class: "bad" }, `${counted(document.quarantined, "chunk")} given up`));
  node.replaceChildren(...items);
}

function offerActions(card, { id, status, quarantined }) {
  const offered = [...(ACTIONS[status] ?? []), ...(quarantined ? ["retry"] : [])];
  if (card.offered === offered.join()) return; // a button with the focus stays where it is
  card.offered = offered.join();
  card.parts.actions.replaceChildren(...offered.map((verb) => steering(card, id, verb)));
}

function steering(card, id, verb) {
  return button(verb[0].toUpperCase() + verb.slice(1), async () => {
    try {
      update(card, await post(`v1/imports/${encodeURIComponent(id)}:${verb}`));
    } catch (error) {
      say(card.parts.error, error.message);
    }
  });
}

function offerRejects({ parts, watch }, document) {
  const left = document.rejected - document.mended;
  parts.rejects.hidden = left <= 0;
  if (left <= 0 || parts.rejects.dataset.left === String(left)) return;
  parts.rejects.dataset.left = left;
  const body = el("div", {}, "…");
  const why = `Why ${counted(left, "row")} ${left === 1 ? "was" : "were"} rejected`;
  parts.rejects.replaceChildren(el("summary", {}, document.parent ? why : `${why}, and how to mend ${left === 1 ? "it" : "them"}`), body);
  parts.rejects.ontoggle = () => parts.rejects.open && showRejects(body, document, watch);
  if (parts.rejects.open) showRejects(body, document, watch);
}
