// The dead letters: updates that could not be applied, their reasons, and replays of them.

import { get, post } from "./api.js";
import { button, byId, el, setText } from "./dom.js";
import { count, counted } from "./format.js";
import { timeAgo } from "./times.js";

const LISTED = 25;
const MAX_REPLAYED = 1000; // of one request

const list = byId("dead-list");
const chosen = new Set();

let letters = [];
let knownTotal = null;

const replayChosen = button("Replay selected", () => replay({ ids: [...chosen] }), "main");
const replayAll = button("Replay all", () => replay({ filter: {}, limit: MAX_REPLAYED }));

/** Fetch the dead letters again if their number changed. */
export function showDeadLetters({ not_replayed: total }) {
  if (total !== knownTotal) refresh(total);
}

async function refresh(total) {
  knownTotal = total;
  try {
    draw(await get(`v1/dead?replayed=false&limit=${LISTED}&ids=text`));
  } catch (error) {
    knownTotal = null; // the next event tries it again
    setText(byId("dead-result"), error.message);
  }
}

function draw({ total, dead }) {
  letters = dead;
  const listed = new Set(dead.map((letter) => letter.id));
  for (const id of chosen) if (!listed.has(id)) chosen.delete(id);
  byId("dead-actions").replaceChildren(...(total ? [replayChosen, replayAll] : []));
  const focused = document.activeElement.id;
  list.replaceChildren(...(total ? [letterList(), remainder(total)] : [noLetters()]));
  list.querySelector(`[id="${focused}"]`)?.focus();
  updateButton();
}

function noLetters() {
  return el("p", { class: "empty" }, "None. An update that cannot be applied is listed here with its reason.");
}

function letterList() {
  return el("ul", { class: "letters", "aria-label": "Dead letters, newest first" }, letters.map(letterItem));
}

function remainder(total) {
  const older = total - letters.length;
  return older > 0 ? el("p", { class: "quiet-text" }, `and ${count(older)} older`) : "";
}

function letterItem(letter) {
  const order = letter.order_id === null ? "No order" : `Order ${letter.order_id}`;
  const change = (event) => {
    chosen[event.target.checked ? "add" : "delete"](letter.id);
    updateButton();
  };
  const id = `letter-${letter.id}`;
  const box = el("input", { type: "checkbox", id, checked: chosen.has(letter.id), onchange: change });
  const attempts = el("span", {}, `${counted(letter.attempts, "attempt")}, `, timeAgo(letter.died_at));
  const head = el("span", { class: "line" }, el("strong", {}, order), attempts);
  const payload = el("code", { title: letter.payload }, letter.payload);
  const text = el("span", { class: "letter" }, head, el("span", { class: "reason" }, letter.reason), payload);
  return el("li", {}, el("label", {}, box, text));
}

function updateButton() {
  replayChosen.hidden = !chosen.size;
  setText(replayChosen, `Replay ${count(chosen.size)} selected`);
}

async function replay(options) {
  try {
    setText(byId("dead-result"), resultText(await post("v1/dead:replay", options)));
    chosen.clear();
  } catch (error) {
    setText(byId("dead-result"), error.message);
  }
  await refresh(knownTotal);
}

function resultText({ replayed, left, unreadable }) {
  const parts = [`${counted(replayed, "update")} replayed`];
  if (left) parts.push(`${count(left)} left`);
  if (unreadable.length) parts.push(`${counted(unreadable.length, "letter")} cannot be read and stay`);
  return `${parts.join("; ")}.`;
}
