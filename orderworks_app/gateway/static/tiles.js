// The four figures at the top. What nobody can tell just now keeps its last value, dimmed.

import { byId, el, fill, say } from "./dom.js";
import { count, counted, percent, short, wait } from "./format.js";
import { sparkline } from "./sparkline.js";

const tile = (id) => {
  const node = byId(id);
  const part = (name) => node.querySelector(`[data-${name}]`);
  return { node, figure: part("figure"), unit: part("unit"), foot: part("foot"), say: part("say") };
};

const throughput = tile("throughput");
const lag = tile("lag");
const cache = tile("cache");
const letters = tile("letters");
const shares = cache.node.querySelector(".shares");

const drawThroughput = sparkline(
  throughput.node.querySelector("svg"),
  (highest) => `updates a second in the last two minutes, ${short(highest)} at the most`,
);
const drawLag = sparkline(
  lag.node.querySelector("svg"),
  (highest) => `stream lag in the last two minutes, ${wait(highest).join(" ")} at the most`,
);

/** Show one look at everything. */
export function showTiles({ updates, stream, cache: reads, dead }) {
  show(throughput, updates, showUpdates);
  show(lag, stream, showLag);
  show(cache, reads, showCache);
  show(letters, dead, () => showLetters(dead, updates));
}

function show({ node }, section, draw) {
  node.classList.toggle("away", !section);
  if (section) draw(section);
}

function showUpdates(updates) {
  const highest = drawThroughput(updates.per_second);
  say(throughput.figure, updates.per_second === null ? "–" : short(updates.per_second));
  const waiting = [updates.parked && `${count(updates.parked)} parked`];
  waiting.push(updates.outbox && `${count(updates.outbox)} in the outbox`);
  say(throughput.foot, [`${count(updates.accepted)} so far`, ...waiting, peak(highest, short(highest))].filter(Boolean).join(" · "));
}

function showLag(stream) {
  const highest = drawLag(stream.lag_seconds);
  const [figure, unit] = wait(stream.lag_seconds);
  say(lag.figure, figure);
  say(lag.unit, unit);
  const waiting = stream.waiting ? `${counted(stream.waiting, "update")} waiting` : "nothing waits";
  say(lag.foot, [waiting, peak(highest, wait(highest).join(" "))].filter(Boolean).join(" · "));
}

/** What the top of a line stands for. */
const peak = (highest, said) => highest > 0 && `peak ${said}`;

function showCache(reads) {
  const kinds = ["hit", "stale", "miss"];
  const all = kinds.reduce((sum, kind) => sum + reads[kind], 0);
  say(cache.figure, reads.hit_rate === null ? "–" : percent(reads.hit_rate));
  say(cache.foot, all ? `${count(all)} reads, ${count(reads.miss)} computed` : "no cached read yet");
  if (!all) return;
  if (!shares.children.length) shares.append(...kinds.map((kind) => el("span", { class: kind })));
  kinds.forEach((kind, index) => {
    shares.children[index].hidden = !reads[kind];
    fill(shares.children[index], reads[kind] / all);
  });
  const said = kinds.map((kind) => `${percent(reads[kind] / all)} ${kind}`);
  shares.setAttribute("aria-label", `reads: ${said.join(", ")}`);
}

function showLetters(dead, updates) {
  say(letters.figure, count(dead.not_replayed));
  letters.node.classList.toggle("bad", dead.not_replayed > 0);
  letters.say.hidden = !dead.not_replayed;
  say(letters.foot, updates ? `${count(updates.dead)} given up so far` : "");
}
