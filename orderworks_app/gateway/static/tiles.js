// The four figures at the top. A figure of an unavailable server keeps its last value, dimmed.

import { byId, el, fill, setText } from "./dom.js";
import { count, counted, percent, short, wait } from "./format.js";
import { sparkline } from "./sparkline.js";

const tile = (id) => {
  const node = byId(id);
  const part = (name) => node.querySelector(`[data-${name}]`);
  return { node, figure: part("figure"), unit: part("unit"), foot: part("foot"), link: part("link") };
};

const throughput = tile("throughput");
const lag = tile("lag");
const cache = tile("cache");
const letters = tile("letters");
const shares = cache.node.querySelector(".shares");

const drawThroughput = sparkline(
  throughput.node.querySelector("svg"),
  (highest) => `updates per second in the last two minutes, at most ${short(highest)}`,
);
const drawLag = sparkline(
  lag.node.querySelector("svg"),
  (highest) => `stream lag in the last two minutes, at most ${wait(highest).join(" ")}`,
);

/** Show the figures of an overview. */
export function showTiles({ updates, stream, cache: reads, dead }) {
  show(throughput, updates, showUpdates);
  show(lag, stream, showLag);
  show(cache, reads, showCache);
  show(letters, dead, () => showLetters(dead, updates));
}

function show({ node }, section, draw) {
  node.classList.toggle("dimmed", !section);
  if (section) draw(section);
}

function showUpdates(updates) {
  const highest = drawThroughput(updates.per_second);
  setText(throughput.figure, updates.per_second === null ? "–" : short(updates.per_second));
  const parts = [
    `${count(updates.accepted)} so far`,
    updates.parked && `${count(updates.parked)} parked`,
    updates.outbox && `${count(updates.outbox)} in the outbox`,
    peak(highest, short(highest)),
  ];
  setText(throughput.foot, parts.filter(Boolean).join(" · "));
}

function showLag(stream) {
  const highest = drawLag(stream.lag_seconds);
  const [figure, unit] = wait(stream.lag_seconds);
  setText(lag.figure, figure);
  setText(lag.unit, unit);
  const waiting = stream.waiting ? `${counted(stream.waiting, "update")} waiting` : "none waiting";
  setText(lag.foot, [waiting, peak(highest, wait(highest).join(" "))].filter(Boolean).join(" · "));
}

/** A label for the top of a line. */
const peak = (highest, text) => highest > 0 && `peak ${text}`;

function showCache(reads) {
  const kinds = ["hit", "stale", "miss"];
  const total = kinds.reduce((sum, kind) => sum + reads[kind], 0);
  setText(cache.figure, reads.hit_rate === null ? "–" : percent(reads.hit_rate));
  setText(cache.foot, total ? `${count(total)} reads, ${count(reads.miss)} computed` : "no cached read yet");
  if (!total) return;
  if (!shares.children.length) shares.append(...kinds.map((kind) => el("span", { class: kind })));
  kinds.forEach((kind, index) => {
    shares.children[index].hidden = !reads[kind];
    fill(shares.children[index], reads[kind] / total);
  });
  const labels = kinds.map((kind) => `${percent(reads[kind] / total)} ${kind}`);
  shares.setAttribute("aria-label", `reads: ${labels.join(", ")}`);
}

function showLetters(dead, updates) {
  setText(letters.figure, count(dead.not_replayed));
  letters.node.classList.toggle("bad", dead.not_replayed > 0);
  letters.link.hidden = !dead.not_replayed;
  setText(letters.foot, updates ? `${count(updates.dead)} so far` : "");
}
