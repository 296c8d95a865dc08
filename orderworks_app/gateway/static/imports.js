// The list of imports, newest first: a card for each.

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

let knownCounts = null;
let next = null;

/** Update the cards of running imports; fetch the list again if the numbers by status changed. */
export function showImports({ counts, running }) {
  for (const document of running) if (!watched.has(document.id)) cardOf(document).update(document);
  const current = JSON.stringify(counts);
  if (current !== knownCounts) {
    knownCounts = current;
    refresh();
  }
}

/** Follow an import by its own events until its end. */
export async function watchImport(id) {
  watched.add(id);
  const path = `v1/imports/${encodeURIComponent(id)}`;
  const first = await get(path).catch(() => null);
  if (first) cardOf(first).node.scrollIntoView({ block: "nearest" });
  await follow(`${path}/events`, (name, document) => {
    if (document.id) cardOf(document).update(document);
    if (name === "end") announceEnd(document);
    return name === "end";
  }).finally(() => watched.delete(id));
}

function announceEnd({ source, status, applied, rejected, parent }) {
  announce(`${source} is ${status}: ${counted(applied, "row")} applied, ${counted(rejected, "row")} rejected.`);
  if (cards.has(parent)) reload(parent);
}

/** Fetch an import again, some of whose rejects may have been corrected. */
async function reload(id) {
  const document = await get(`v1/imports/${encodeURIComponent(id)}`).catch(() => null);
  if (document) cardOf(document).update(document);
}

async function refresh() {
  try {
    showPage(await get(`v1/imports?limit=${LISTED}`));
  } catch {
    knownCounts = null; // the next event tries it again
  }
}

function showPage(page) {
  for (const document of page.imports) if (!watched.has(document.id)) cardOf(document).update(document);
  if (cards.size <= LISTED || next === null) next = page.next;
  offerMore();
  updateEmptyNote();
}

/** The card of an import; a new one is inserted in the order of ids, which is that of time. */
function cardOf(document) {
  if (!cards.has(document.id)) {
    const card = importCard(document, watchImport);
    const ids = [...cards.keys(), document.id].sort().reverse();
    const after = cards.get(ids[ids.indexOf(document.id) + 1]);
    list.insertBefore(card.node, after?.node ?? null);
    cards.set(document.id, card);
  }
  updateEmptyNote();
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

function updateEmptyNote() {
  const note = list.querySelector(".empty");
  if (cards.size) note?.remove();
  else if (!note) list.append(emptyNote());
}

function emptyNote() {
  const names = (...columns) => columns.flatMap((name, index) => [index ? ", " : "", el("code", {}, name)]);
  return el(
    "li",
    { class: "empty" },
    "No imports yet. A file of orders needs the columns ",
    names("id", "customer_id", "total"),
    ", one of customers ",
    names("id", "name"),
    "; you can map other column names, and a dry run shows the result before anything is changed.",
  );
}
