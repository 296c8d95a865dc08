// Elements, made from data. Data only becomes text nodes, so that no name is parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/** Create an element. `attributes` named `on…` are listeners; those that are null or false are omitted. */
export function el(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** Create an element of an SVG drawing. */
export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Create a button that calls `act`, and is disabled until that ends. `kind` is its class. */
export function button(text, act, kind = "quiet") {
  const node = el("button", { type: "button", class: kind }, text);
  node.addEventListener("click", async () => {
    node.disabled = true;
    try {
      await act();
    } finally {
      node.disabled = false;
    }
  });
  return node;
}

/** Set the text of a node if it differs, so that text being selected or read aloud is not interrupted. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set the share of its track that a bar fills, 0 to 1. */
export function fill(bar, share) {
  bar.style.width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
}

/** Have screen readers announce a sentence. */
export function announce(sentence) {
  setText(byId("announcer"), sentence);
}

/** Create a table; `numbers` are the indexes of columns that are aligned to the right. */
export function table(headings, rows, numbers = []) {
  const classOf = (index) => (numbers.includes(index) ? "number" : null);
  const head = headings.map((text, index) => el("th", { scope: "col", class: classOf(index) }, text));
  const body = rows.map((cells) =>
    el("tr", {}, cells.map((cell, index) => el("td", { class: classOf(index) }, cell))),
  );
  const content = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return el("div", { class: "scroll" }, content);
}
