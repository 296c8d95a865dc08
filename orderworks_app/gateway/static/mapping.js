// The form in which people say what a file is: kind, columns, and what to do with bad rows.

import { COLUMNS, likelyKind, likelyMapping } from "./columns.js";
import { el } from "./dom.js";

const SEPARATORS = { ",": "comma", ";": "semicolon", "\t": "tab", "|": "bar" };

/** A form for the file with this front. `reread(delimiter)` is called when another one is chosen.
 *  Gives the node, and `answers()`: what the gateway is asked for, or null while something is missing. */
export function mappingForm(front, reread) {
  const state = { kind: likelyKind(front.columns ?? []), selects: new Map() };
  const columns = el("div", { class: "mapping" });
  const options = el("div", { class: "options" });
  const draw = () => {
    columns.replaceChildren(...mappingRows(front, state));
    options.replaceChildren(...optionFields(state));
  };
  draw();
  const head = el("div", { class: "choices" }, kinds(state, draw), separators(front, reread));
  return { node: el("div", {}, head, columns, options), answers: () => answers(front, state, options) };
}

function kinds(state, draw) {
  const choice = (kind) => {
    const change = () => {
      state.kind = kind;
      draw();
    };
    const input = el("input", { type: "radio", name: "kind", checked: kind === state.kind, onchange: change });
    return el("label", {}, input, el("span", {}, kind === "orders" ? "Orders" : "Customers"));
  };
  return el("fieldset", { class: "segments" }, el("legend", { class: "hidden" }, "The file has"), Object.keys(COLUMNS).map(choice));
}

function separators(front, reread) {
  if (front.format !== "csv") return "";
  const change = (event) => reread(event.target.value);
  const offered = Object.entries(SEPARATORS).map(([value, name]) =>
    el("option", { value, selected: value === front.delimiter }, name),
  );
  return el("label", { class: "inline" }, "Separator ", el("select", { name: "delimiter", onchange: change }, offered));
}

function mappingRows(front, state) {
  state.selects.clear();
  if (!front.columns) {
    return [el("p", { class: "quiet-text" }, "The columns of this file cannot be read here; they are found by their names.")];
  }
  const likely = likelyMapping(state.kind, front.columns);
  return COLUMNS[state.kind].map((column) => mappingRow(column, likely[column.name], front, state));
}

function mappingRow(column, likely, front, state) {
  const sample = el("span", { class: "sample" });
  const show = () => {
    const place = front.columns.indexOf(select.value);
    sample.textContent = front.records.map((record) => record[place]).filter(Boolean).join(" · ");
  };
  const offered = front.columns.map((name) => el("option", { value: name, selected: name === likely }, name));
  const select = el("select", { name: column.name, required: column.needed, onchange: show }, none(column, front), offered);
  state.selects.set(column.name, select);
  show();
  const label = el("span", {}, column.name, column.needed ? el("abbr", { title: "needed" }, "*") : "");
  return el("label", {}, label, select, sample);
}

/** That no column is meant can be said only where none has the target's own name: that one is taken. */
function none(column, front) {
  if (front.columns.includes(column.name)) return "";
  return el("option", { value: "" }, column.needed ? "choose a column" : "not in the file");
}

function optionFields(state) {
  const box = (name, text) => el("label", { class: "check" }, el("input", { type: "checkbox", name }), text);
  const most = el("input", { type: "number", name: "max_rejects", min: "0", inputmode: "numeric" });
  return [
    box("strict", "All rows or none"),
    state.kind === "orders" ? box("create_customers", "Make customers that nobody knows") : "",
    el("label", { class: "inline" }, "Stop after so many rejects ", most),
  ];
}

function answers(front, state, options) {
  const query = new URLSearchParams({ kind: state.kind });
  for (const [target, select] of state.selects) {
    if (!select.reportValidity()) return null;
    if (select.value && select.value !== target) query.append("map", `${target}:${select.value}`);
  }
  if (front.format === "csv") query.set("delimiter", front.delimiter);
  for (const field of options.querySelectorAll("input")) {
    if (!field.reportValidity()) return null;
    if (field.type === "checkbox" && field.checked) query.set(field.name, "true");
    if (field.type === "number" && field.value) query.set(field.name, field.value);
  }
  return query;
}
