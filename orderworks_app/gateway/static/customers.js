// The customers with the highest totals, as bars, for one window of days.

import { get } from "./api.js";
import { byId, el, fill, say } from "./dom.js";
import { count, money } from "./format.js";
import { timeAgo } from "./times.js";

const WINDOWS = { all: "All", "365d": "Year", "90d": "90 d", "30d": "30 d", "7d": "7 d", "1d": "Today" };
const LISTED = 10;

const chart = byId("customer-chart");

let chosen = "all";
let shown = null;

/** Offer the windows; a choice is shown at once. */
export function offerWindows() {
  byId("windows").append(...Object.entries(WINDOWS).map(choice));
}

/** Show the report again if another one was published, and how old it is. */
export function showCustomers(published) {
  const known = `${chosen} ${published?.as_of}`;
  if (known !== shown) {
    shown = known;
    refresh();
  }
}

function choice([name, label]) {
  const change = () => {
    chosen = name;
    refresh();
  };
  const input = el("input", { type: "radio", name: "window", checked: name === chosen, onchange: change });
  return el("label", {}, input, el("span", {}, label));
}

async function refresh() {
  const wanted = chosen;
  try {
    const found = await get(`v1/reports/top-customers?window=${wanted}&limit=${LISTED}`);
    if (wanted === chosen) draw(found);
  } catch (error) {
    shown = null; // it is tried again with the next look
    if (!chart.children.length) chart.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

function draw(found) {
  tellAge(found.as_of);
  if (!found.rows.length) {
    const nobody = "No customer has counted orders in this window. Import a file of orders to see them here.";
    chart.replaceChildren(el("p", { class: "empty" }, nobody));
    return;
  }
  const lines = chart.querySelector("ol") ?? emptyList();
  const highest = Math.max(...found.rows.map((row) => Number(row.total)));
  while (lines.children.length > found.rows.length) lines.lastChild.remove();
  while (lines.children.length < found.rows.length) lines.append(emptyLine());
  found.rows.forEach((row, index) => write(lines.children[index], row, highest));
}

function emptyList() {
  const lines = el("ol", { class: "bars" });
  chart.replaceChildren(lines);
  return lines;
}

function emptyLine() {
  const cells = ["name", "orders", "total"].map((kind) => el("span", { class: kind }));
  return el("li", {}, cells, el("span", { class: "track" }, el("span", { class: "bar" })));
}

/** The lines stay and change, so that a bar moves to its new length. */
function write(line, row, highest) {
  const [name, orders, total, track] = line.children;
  say(name, row.name);
  name.title = `${row.name}, id ${row.customer_id}`;
  say(orders, `${count(row.orders)} ${row.orders === 1 ? "order" : "orders"}`);
  say(total, money(row.total));
  fill(track.firstChild, highest ? Number(row.total) / highest : 0);
}

function tellAge(asOf) {
  byId("freshness").replaceChildren("as of ", timeAgo(asOf));
}
