// Elements that receive a file, dropped or chosen, and the progress of its upload.

import { button, el, fill, setText } from "./dom.js";
import { percent } from "./format.js";

/** Accept files that are dropped on an area, which is highlighted while a file is dragged over it. */
export function acceptDrops(area, onFile) {
  const drag = (event) => {
    event.preventDefault();
    event.stopPropagation(); // an area inside another one accepts its own files
    area.classList.toggle("dropping", event.type === "dragenter" || event.type === "dragover");
  };
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) area.addEventListener(name, drag);
  area.addEventListener("drop", (event) => onFile(event.dataTransfer.files[0]));
}

/** A button to drop a file on, or to press to choose one. */
export function picker(headline, hint, onFile) {
  const change = () => {
    const [file] = input.files;
    input.value = ""; // the same file may be chosen again
    onFile(file);
  };
  const input = el("input", { type: "file", class: "hidden", tabindex: "-1", "aria-label": headline, onchange: change });
  const choose = el("button", { type: "button", class: "drop", onclick: () => input.click() });
  choose.append(el("strong", {}, headline), el("span", {}, hint));
  return [choose, input];
}

/** A progress bar of an operation, with a button that cancels it and calls `onCancel`. */
export function progressBar(label, onCancel) {
  const control = new AbortController();
  const bar = el("span", { class: "bar" });
  const track = el("div", { class: "track", role: "progressbar", "aria-label": label }, bar);
  const caption = el("p", { class: "quiet-text" }, `${label} …`);
  const cancel = button("Cancel", () => (control.abort(), onCancel()));
  const showShare = (share) => {
    track.classList.remove("busy");
    fill(bar, share);
    track.setAttribute("aria-valuenow", Math.round(100 * share));
    setText(caption, `${label}: ${percent(share)}`);
  };
  const showBusy = (text) => {
    track.classList.add("busy");
    track.removeAttribute("aria-valuenow");
    setText(caption, `${text} …`);
  };
  const parts = [track, caption, el("div", { class: "actions" }, cancel)];
  return { parts, showShare, showBusy, signal: control.signal };
}
