// The form for the options of an import: kind, mapping of columns, and limits for invalid rows.

import { COLUMNS, likelyKind, likelyMapping } from "./columns.js";
import { el } from "./dom.js";

const DELIMITERS = { ",": "comma", ";": "semicolon", "\t": "tab", "|": "bar" };

/** Create the form for a file. `onDelimiter(delimiter)` is called when another delimiter is chosen.
 *  Returns the node, and `answers()`: the query for the gateway, or null if a field is not valid. */
export function mappingForm(preview, onDelimiter) {
  const state = { kind: likelyKind(preview.columns ?? []), selects: new Map() };
  const columns = el("div", { class: "mapping" });
  const options = el("div", { class: "options" });
  const draw = () => {
    columns.replaceChildren(...mappingRows(preview, state));
    options.replaceChildren(...optionFields(state));
  };
  draw();
  const head = el("div", { class: "choices" }, kindChoice(state, draw), delimiterChoice(preview, onDelimiter));
  return { node: el("div", {}, head, columns, options), answers: () => answers(preview, state, options) };
}

function kindChoice(state, draw) {
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

function delimiterChoice(preview, onDelimiter) {
  if (preview.format !== "csv") return "";
  const change = (event) => onDelimiter(event.target.value);
  const offered = Object.entries(DELIMITERS).map(([value, name]) =>
    el("option", { value, selected: value === preview.delimiter }, name),
  );
  return el("label", { class: "inline" }, "Delimiter ", el("select", { name: "delimiter", onchange: change }, offered));
}

function mappingRows(preview, state) {
  state.selects.clear();
  if (!preview.columns) {
    return [el("p", { class: "quiet-text" }, "The columns of this file cannot be read in the browser; they are matched by their names.")];
  }
  const likely = likelyMapping(state.kind, preview.columns);
  return COLUMNS[state.kind].map((column) => mappingRow(column, likely[column.name], preview, state));
}

function mappingRow(column, likely, preview, state) {
  const sample = el("span", { class: "sample" });
  const showSample = () => {
    const index = preview.columns.indexOf(select.value);
    sample.textContent = preview.records.map((record) => record[index]).filter(Boolean).join(" · ");
  };
  const offered = preview.columns.map((name) => el("option", { value: name, selected: name === likely }, name));
  const select = el("select", { name: column.name, required: column.required, onchange: showSample }, emptyOption(column, preview), offered);
  state.selects.set(column.name, select);
  showSample();
  const label = el("span", {}, column.name, column.required ? el("abbr", { title: "required" }, "*") : "");
  return el("label", {}, label, select, sample);
}

/** The choice of no column. A column with the target's own name is always used; then there is no such choice. */
function emptyOption(column, preview) {
  if (preview.columns.includes(column.name)) return "";
  return el("option", { value: "" }, column.required ? "choose a column" : "not in the file");
}

function optionFields(state) {
  const box = (name, text) => el("label", { class: "check" }, el("input", { type: "checkbox", name }), text);
  const maxRejects = el("input", { type: "number", name: "max_rejects", min: "0", inputmode: "numeric" });
  return [
    box("strict", "All rows or none"),
    state.kind === "orders" ? box("create_customers", "Create customers that do not exist") : "",
    el("label", { class: "inline" }, "Maximum of rejected rows ", maxRejects),
  ];
}

function answers(preview, state, options) {
  const query = new URLSearchParams({ kind: state.kind });
  for (const [target, select] of state.selects) {
    if (!select.reportValidity()) return null;
    if (select.value && select.value !== target) query.append("map", `${target}:${select.value}`);
  }
  if (preview.format === "csv") query.set("delimiter", preview.delimiter);
  for (const field of options.querySelectorAll("input")) {
    if (!field.reportValidity()) return null;
    if (field.type === "checkbox" && field.checked) query.set(field.name, "true");
    if (field.type === "number" && field.value) query.set(field.name, field.value);
  }
  return query;
}
