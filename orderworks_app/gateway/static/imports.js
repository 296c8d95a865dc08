// The imports, newest first: how far each is, what became of its rows, and what can be done about it.

import { get } from "./api.js";
import { byId, el, announce } from "./dom.js";
import { follow } from "./events.js";
import { counted } from "./format.js";
import { importCard } from "./importcard.js";

const LISTED = 6;

const list = byId("import-list");
const more = byId("more-imports");
const cards = new Map();
const watched = new Set();

let known = null;
let next = null;

/** Show one look: those that run move; the list is fetched again when their numbers changed. */
export function showImports({ counts, running }) {
  for (const document of running) if (!watched.has(document.id)) cardOf(document).update(document);
  const numbers = JSON.stringify(counts);
  if (numbers !== known) {
    known = numbers;
    refresh();
  }
}

/** Follow one import by its own events until it ended. */
export async function watchImport(id) {
  watched.add(id);
  const path = `v1/imports/${encodeURIComponent(id)}`;
  const first = await get(path).catch(() => null);
  if (first) cardOf(first).node.scrollIntoView({ block: "nearest" });
  await follow(`${path}/events`, (name, document) => {
    if (document.id) cardOf(document).update(document);
    if (name === "end") tellEnd(document);
    return name === "end";
  }).finally(() => watched.delete(id));
}

function tellEnd({ source, status, applied, rejected, parent }) {
  announce(`${source} is ${status}: ${counted(applied, "row")} applied, ${counted(rejected, "row")} rejected.`);
  if (cards.has(parent)) lookAgain(parent);
}

/** Some of its rejects may be mended now. */
async function lookAgain(id) {
  const document = await get(`v1/imports/${encodeURIComponent(id)}`).catch(() => null);
  if (document) cardOf(document).update(document);
}

async function refresh() {
  try {
    showPage(await get(`v1/imports?limit=${LISTED}`));
  } catch {
    known = null; // it is tried again with the next look
  }
}

function showPage(page) {
  for (const document of page.imports) if (!watched.has(document.id)) cardOf(document).update(document);
  if (cards.size <= LISTED || next === null) next = page.next;
  offerMore();
  sayIfNone();
}

/** The card of an import, at its place among the others: ids sort by time. */
function cardOf(document) {
  if (!cards.has(document.id)) {
    const card = importCard(document, watchImport);
    const ids = [...cards.keys(), document.id].sort().reverse();
    const after = cards.get(ids[ids.indexOf(document.id) + 1]);
    list.insertBefore(card.node, after?.node ?? null);
    cards.set(document.id, card);
  }
  sayIfNone();
  return cards.get(document.id);
}

function offerMore() {
  more.hidden = !next;
  more.onclick = async () => {
    const page = await get(`v1/imports?limit=${LISTED}&cursor=${encodeURIComponent(next)}`);
    next = page.next;
    for (const document of page.imports) cardOf(document).update(document);
    more.hidden = !next;
  };
}

function sayIfNone() {
  const said = list.querySelector(".empty");
  if (cards.size) said?.remove();
  else if (!said) list.append(nothing());
}

function nothing() {
  const names = (...columns) => columns.flatMap((name, index) => [index ? ", " : "", el("code", {}, name)]);
  return el(
    "li",
    { class: "empty" },
    "Nothing was imported yet. A file of orders needs the columns ",
    names("id", "customer_id", "total"),
    ", one of customers ",
    names("id", "name"),
    "; you say which column is which, and see what the file would do before it does anything.",
  );
}
