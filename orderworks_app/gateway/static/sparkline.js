// A line chart of the last two minutes, as wide as its container.

import { svg } from "./dom.js";

const KEPT = 120;
const WIDTH = 120;
const HEIGHT = 32;

/** Return a function that takes the next value, or null if it is missing, and draws the values so far.
 *  It returns the highest of them, which the top of the line stands for. */
export function sparkline(node, label) {
  const values = [];
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  node.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  node.setAttribute("preserveAspectRatio", "none");
  node.append(area, line);
  return (value) => {
    values.push(value ?? 0);
    values.splice(0, values.length - KEPT);
    const path = pathOf(values);
    const first = WIDTH - (values.length - 1) * (WIDTH / (KEPT - 1));
    line.setAttribute("d", path);
    area.setAttribute("d", `${path} L${WIDTH} ${HEIGHT} L${first} ${HEIGHT} Z`);
    const highest = Math.max(...values);
    node.setAttribute("aria-label", label(highest));
    return highest;
  };
}

/** The SVG path: the newest value is at the right end, the highest at the top. */
function pathOf(values) {
  const highest = Math.max(...values, Number.MIN_VALUE);
  const step = WIDTH / (KEPT - 1);
  const points = values.map((value, index) => {
    const x = WIDTH - (values.length - 1 - index) * step;
    return `${x.toFixed(2)} ${(HEIGHT - 1 - (value / highest) * (HEIGHT - 3)).toFixed(2)}`;
  });
  return `M${points.join(" L")}`;
}
