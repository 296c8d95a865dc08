// A place that takes a file, dropped or chosen; and what is shown while it goes up.

import { button, el, fill, say } from "./dom.js";
import { percent } from "./format.js";

/** Let a file be dropped anywhere on an area, which is marked while one is held over it. */
export function takeDrops(area, take) {
  const over = (event) => {
    event.preventDefault();
    event.stopPropagation(); // an area within another one has its own files
    area.classList.toggle("dropping", event.type === "dragenter" || event.type === "dragover");
  };
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) area.addEventListener(name, over);
  area.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
}

/** What to drop a file on, or press to choose one. */
export function picker(headline, hint, take) {
  const change = () => {
    const [file] = input.files;
    input.value = ""; // the same file may be chosen again
    take(file);
  };
  const input = el("input", { type: "file", class: "hidden", tabindex: "-1", "aria-label": headline, onchange: change });
  const choose = el("button", { type: "button", class: "drop", onclick: () => input.click() });
  choose.append(el("strong", {}, headline), el("span", {}, hint));
  return [choose, input];
}

/** A bar for what takes its time, with a way to call it off. */
export function progressBar(doing, calledOff) {
  const control = new AbortController();
  const bar = el("span", { class: "bar" });
  const track = el("div", { class: "track", role: "progressbar", "aria-label": doing }, bar);
  const said = el("p", { class: "quiet-text" }, `${doing} …`);
  const stop = button("Call it off", () => (control.abort(), calledOff()));
  const uploading = (share) => {
    track.classList.remove("busy");
    fill(bar, share);
    track.setAttribute("aria-valuenow", Math.round(100 * share));
    say(said, `${doing}: ${percent(share)}`);
  };
  const working = (what) => {
    track.classList.add("busy");
    track.removeAttribute("aria-valuenow");
    say(said, `${what} …`);
  };
  const parts = [track, said, el("div", { class: "actions" }, stop)];
  return { parts, uploading, working, signal: control.signal };
}
