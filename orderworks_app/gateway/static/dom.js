// Elements, made from data. Text only ever becomes text: no name, however hostile, is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id; the page is written so that it is there. */
export const byId = (id) => document.getElementById(id);

/** An element. `attributes` named `on…` are listeners; those that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for elements of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
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

/** A button that looks as its class says and calls `act`; it cannot be pressed again until that ended. */
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

/** Write a text where it differs: nothing that is read aloud or selected is touched without need. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** How much of its track a bar fills, 0 to 1. */
export function fill(bar, share) {
  bar.style.width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
}

/** Have a screen reader say a sentence, once. */
export function announce(sentence) {
  say(byId("announcer"), sentence);
}

/** A table with a line of headings; `numbers` are the columns that are aligned to the right. */
export function table(headings, lines, numbers = []) {
  const place = (index) => (numbers.includes(index) ? "number" : null);
  const head = headings.map((text, index) => el("th", { scope: "col", class: place(index) }, text));
  const body = lines.map((cells) =>
    el("tr", {}, cells.map((cell, index) => el("td", { class: place(index) }, cell))),
  );
  const whole = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return el("div", { class: "scroll" }, whole);
}
