// Updates that were given up: why, and handing them over again.

import { get, post } from "./api.js";
import { button, byId, el, say } from "./dom.js";
import { count, counted } from "./format.js";
import { timeAgo } from "./times.js";

const LISTED = 25;
const AT_ONCE = 1000; // of all that wait, a request replays so many

const list = byId("dead-list");
const chosen = new Set();

let letters = [];
let known = null;

const replayChosen = button("Replay selected", () => replay([...chosen]), "main");
const replayAll = button("Replay all", replayEverything);

/** Fetch the letters again if their number changed. */
export function showDead({ not_replayed: total }) {
  if (total !== known) refresh(total);
}

async function refresh(total) {
  known = total;
  try {
    const found = await get(`v1/dead?replayed=false&limit=${LISTED}`);
    draw(found);
  } catch (error) {
    known = null; // it is tried again with the next look
    say(byId("dead-said"), error.message);
  }
}

function draw({ total, dead }) {
  letters = dead;
  const there = new Set(dead.map((letter) => letter.id));
  for (const id of chosen) if (!there.has(id)) chosen.delete(id);
  byId("dead-actions").replaceChildren(...(total ? [replayChosen, replayAll] : []));
  const box = document.activeElement.id;
  list.replaceChildren(...(total ? [rows(), rest(total)] : [nothing()]));
  list.querySelector(`[id="${box}"]`)?.focus();
  offer();
}

function nothing() {
  return el("p", { class: "empty" }, "None. An update that cannot be applied would wait here with its reason.");
}

function rows() {
  return el("ul", { class: "letters", "aria-label": "Dead updates, newest first" }, letters.map(row));
}

function rest(total) {
  const more = total - letters.length;
  return more > 0 ? el("p", { class: "quiet-text" }, `and ${count(more)} older`) : "";
}

function row(letter) {
  const order = letter.order_id === null ? "No order" : `Order ${letter.order_id}`;
  const change = (event) => {
    chosen[event.target.checked ? "add" : "delete"](letter.id);
    offer();
  };
  const id = `letter-${letter.id}`;
  const box = el("input", { type: "checkbox", id, checked: chosen.has(letter.id), onchange: change });
  const tries = el("span", {}, `${counted(letter.attempts, "try", "tries")}, `, timeAgo(letter.died_at));
  const head = el("span", { class: "line" }, el("strong", {}, order), tries);
  const payload = el("code", { title: letter.payload }, letter.payload);
  const told = el("span", { class: "told" }, head, el("span", { class: "reason" }, letter.reason), payload);
  return el("li", {}, el("label", {}, box, told));
}

function offer() {
  replayChosen.hidden = !chosen.size;
  say(replayChosen, `Replay ${count(chosen.size)} selected`);
}

async function replay(ids) {
  await done({ ids });
}

async function replayEverything() {
  await done({ filter: {}, limit: AT_ONCE });
}

async function done(wanted) {
  try {
    say(byId("dead-said"), told(await post("v1/dead:replay", wanted)));
    chosen.clear();
  } catch (error) {
    say(byId("dead-said"), error.message);
  }
  await refresh(known);
}

function told({ replayed, left, unreadable }) {
  const parts = [`${counted(replayed, "update")} handed over again`];
  if (left) parts.push(`${count(left)} are left`);
  if (unreadable.length) parts.push(`${counted(unreadable.length, "letter")} cannot be read and stay`);
  return `${parts.join("; ")}.`;
}
