// The card of an import: its progress, the results of its rows, its rejects by reason, and its controls.

import { post } from "./api.js";
import { showRejects } from "./corrections.js";
import { button, el, fill, setText } from "./dom.js";
import { count, counted, short, size, span } from "./format.js";
import { timeAgo } from "./times.js";

const ENDED = ["done", "failed", "cancelled"];
const COUNTS = ["applied", "unchanged", "stale", "superseded", "rejected"];

/** The actions that are possible, by the status of the import. */
const ACTIONS = {
  accepted: ["cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
};

/** Create a card: its node, and `update(document)`. `watch(id)` is called with imports of corrections. */
export function importCard(first, watch) {
  const parts = {
    status: el("span", { class: "status" }),
    ended: el("span"),
    bar: el("span", { class: "bar" }),
    progress: el("p", { class: "progress" }),
    counts: el("ul", { class: "legend" }),
    error: el("p", { class: "problem" }),
    actions: el("div", { class: "actions" }),
    rejects: el("details", { class: "rejects" }),
  };
  parts.track = el("div", { class: "track", role: "progressbar", "aria-label": `progress of ${first.source}` }, parts.bar);
  const head = el("header", {}, el("strong", { title: first.id }, first.source), parts.status);
  const kind = first.parent ? `corrected ${first.kind}` : first.kind;
  const summary = el("p", { class: "summary" }, el("span", {}, `${kind} · `, timeAgo(first.accepted_at), parts.ended), el("span", { class: "id" }, first.id));
  const { track, progress, counts, error, rejects, actions } = parts;
  const node = el("li", { class: "card" }, head, summary, track, progress, counts, error, rejects, actions);
  const card = { node, parts, watch, steps: -1, update: (document) => update(card, document) };
  return card;
}

function update(card, document) {
  const { parts } = card;
  if (document.steps < card.steps) return; // documents may arrive out of order
  card.steps = document.steps;
  card.node.dataset.status = document.status;
  setText(parts.status, document.status);
  updateBar(parts, document);
  const hasEnded = ENDED.includes(document.status);
  setText(parts.progress, hasEnded ? "" : progressText(document));
  setText(parts.ended, hasEnded ? resultText(document) : "");
  setText(parts.error, document.error ?? "");
  showCounts(parts.counts, document);
  offerActions(card, document);
  offerRejects(card, document);
}

function updateBar({ track, bar }, document) {
  const share = shareDone(document);
  fill(bar, share);
  track.setAttribute("aria-valuenow", Math.floor(100 * share));
}

function shareDone({ status, bytes, bytes_done: done }) {
  if (status === "done") return 1;
  return bytes ? done / bytes : 0;
}

function resultText({ rows, bytes, accepted_at: start, finished_at: end }) {
  const parts = [rows === null ? "" : counted(rows, "row"), size(bytes)].filter(Boolean);
  const duration = end ? ` in ${span((Date.parse(end) - Date.parse(start)) / 1000)}` : "";
  return ` · ${parts.join(", ")}${duration}`;
}

function progressText(document) {
  if (document.waits_for_updates) return "waiting: order updates go first";
  const done = COUNTS.reduce((sum, name) => sum + document[name], 0);
  const parts = [document.rows === null ? "reading" : `${count(done)} of ${counted(document.rows, "row")}`];
  if (document.rows_per_second) parts.push(`${short(document.rows_per_second)} rows/s`);
  if (document.eta_seconds !== null) parts.push(`${span(document.eta_seconds)} left`);
  return parts.join(" · ");
}

function showCounts(node, document) {
  const present = COUNTS.filter((name) => document[name]);
  const items = present.map((name) => el("li", {}, el("span", { class: `key ${name}` }), el("strong", {}, count(document[name])), ` ${name}`));
  if (ENDED.includes(document.status) && document.rows_left) {
    items.push(el("li", {}, el("span", { class: "key unchanged" }), el("strong", {}, count(document.rows_left)), " not loaded"));
  }
  if (document.mended) items.push(el("li", { class: "good" }, `${count(document.mended)} of them corrected`));
  if (document.quarantined) items.push(el("li", { class: "bad" }, `${counted(document.quarantined, "chunk")} quarantined`));
  node.replaceChildren(...items);
}

function offerActions(card, { id, status, quarantined }) {
  const offered = [...(ACTIONS[status] ?? []), ...(quarantined ? ["retry"] : [])];
  if (card.offered === offered.join()) return; // a button that has the focus is not replaced
  card.offered = offered.join();
  card.parts.actions.replaceChildren(...offered.map((verb) => actionButton(card, id, verb)));
}

function actionButton(card, id, verb) {
  return button(verb[0].toUpperCase() + verb.slice(1), async () => {
    try {
      update(card, await post(`v1/imports/${encodeURIComponent(id)}:${verb}`));
    } catch (error) {
      setText(card.parts.error, error.message);
    }
  });
}

function offerRejects({ parts, watch }, document) {
  const remaining = document.rejected - document.mended;
  parts.rejects.hidden = remaining <= 0;
  if (remaining <= 0 || parts.rejects.dataset.remaining === String(remaining)) return;
  parts.rejects.dataset.remaining = remaining;
  const body = el("div", {}, "…");
  const why = `Why ${counted(remaining, "row")} ${remaining === 1 ? "was" : "were"} rejected`;
  const how = `, and how to correct ${remaining === 1 ? "it" : "them"}`;
  parts.rejects.replaceChildren(el("summary", {}, document.parent ? why : `${why}${how}`), body);
  parts.rejects.ontoggle = () => parts.rejects.open && showRejects(body, document, watch);
  if (parts.rejects.open) showRejects(body, document, watch);
}
