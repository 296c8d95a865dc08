// The customers with the highest totals, as bars, for a window of days.

import { get } from "./api.js";
import { byId, el, fill, setText } from "./dom.js";
import { count, money } from "./format.js";
import { timeAgo } from "./times.js";

const WINDOWS = { all: "All", "365d": "Year", "90d": "90 d", "30d": "30 d", "7d": "7 d", "1d": "Today" };
const LISTED = 10;

const chart = byId("customer-chart");

let chosen = "all";
let shown = null;

/** Show the choice of windows. */
export function offerWindows() {
  byId("windows").append(...Object.entries(WINDOWS).map(choice));
}

/** Fetch the report again if another one was published. */
export function showCustomers(published) {
  const current = `${chosen} ${published?.as_of}`;
  if (current !== shown) {
    shown = current;
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
  const requested = chosen;
  try {
    const report = await get(`v1/reports/top-customers?window=${requested}&limit=${LISTED}&ids=text`);
    if (requested === chosen) draw(report);
  } catch (error) {
    shown = null; // the next event tries it again
    if (!chart.children.length) chart.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

function draw({ as_of: asOf, rows }) {
  byId("freshness").replaceChildren("as of ", timeAgo(asOf));
  if (!rows.length) {
    const text = "No customer has counted orders in this window. Import a file of orders to see customers here.";
    chart.replaceChildren(el("p", { class: "empty" }, text));
    return;
  }
  const lines = chart.querySelector("ol") ?? emptyList();
  const highest = Math.max(...rows.map((row) => Number(row.total)));
  while (lines.children.length > rows.length) lines.lastChild.remove();
  while (lines.children.length < rows.length) lines.append(emptyLine());
  rows.forEach((row, index) => writeLine(lines.children[index], row, highest));
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

/** Write a row into an existing line, so that its bar is animated to the new length. */
function writeLine(line, row, highest) {
  const [name, orders, total, track] = line.children;
  setText(name, row.name);
  name.title = `${row.name}, id ${row.customer_id}`;
  setText(orders, `${count(row.orders)} ${row.orders === 1 ? "order" : "orders"}`);
  setText(total, money(row.total));
  fill(track.firstChild, highest ? Number(row.total) / highest : 0);
}
