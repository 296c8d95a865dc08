// A new import, step by step: a file is dropped, its columns are mapped, it is tried, it is imported.

import { post, upload } from "./api.js";
import { announce, button, byId, el } from "./dom.js";
import { dryRun, rowsOf } from "./dryrun.js";
import { follow } from "./events.js";
import { counted, size } from "./format.js";
import { readFront } from "./header.js";
import { watchImport } from "./imports.js";
import { mappingForm } from "./mapping.js";
import { picker, progressBar, takeDrops } from "./picker.js";

const place = byId("new-import");

/** Offer to take a file, anywhere on the panel. */
export function offerImport() {
  takeDrops(byId("imports"), (file) => taken(file));
  // A file that misses the panel shall not take the page's place.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  begin();
}

function begin() {
  const forms = "or choose one: CSV, TSV, JSON Lines or Parquet, also packed by gzip or zstd";
  show(...picker("Drop a file of orders or customers here", forms, (file) => taken(file)));
}

async function taken(file, delimiter) {
  if (!file) return;
  try {
    const front = await readFront(file, delimiter);
    mapped(file, front);
  } catch (error) {
    failed(file, error, begin);
  }
}

/** The step in which columns are mapped; what was chosen stays while it is tried. */
function mapped(file, front, problem = "") {
  const form = mappingForm(front, (delimiter) => taken(file, delimiter));
  const step = el("div");
  const back = () => {
    show(...parts);
    focusIn(step);
  };
  const check = async () => {
    const query = form.answers();
    if (query) await tried(file, query, back);
  };
  step.append(form.node, el("div", { class: "actions" }, button("Try it: nothing is changed yet", check, "main"), button("Put it away", begin)));
  const parts = [title(file, "which column is which?"), problem && el("p", { class: "problem" }, problem), step];
  show(...parts);
  focusIn(step);
}

async function tried(file, query, back) {
  const way = progress(file, "Uploading to try it");
  try {
    const asked = new URLSearchParams([...query, ["filename", file.name], ["dry_run", "true"], ["keep", "true"]]);
    const { id } = await upload(`v1/imports?${asked}`, file, way.uploading, way.signal);
    const ended = await outcome(id, way);
    ended.would ? judged(file, query, ended, back) : failed(file, { message: ended.error }, back);
  } catch (error) {
    if (error.name !== "AbortError") failed(file, error, back);
  }
}

/** The last that is heard of a dry run. */
async function outcome(id, way) {
  let last = null;
  await follow(`v1/imports/${encodeURIComponent(id)}/events`, (name, document) => {
    if (way.signal.aborted) return true;
    if (name === "end") last = document;
    way.working(document.waits_for_updates ? "Order updates go first; then it is tried" : "Trying it");
    return name === "end";
  });
  if (!last) throw new DOMException("called off", "AbortError");
  return last;
}

function judged(file, query, ended, back) {
  const rows = rowsOf(ended.would);
  const refused = ended.would.rejected;
  announce(`${counted(rows, "row")} tried, ${counted(refused, "row")} would be rejected.`);
  const go = button(`Import ${counted(rows - refused, "row")}`, () => imported(file, query, ended.id, back), "main");
  const actions = el("div", { class: "actions" }, go, button("Back to the columns", back), button("Put it away", begin));
  show(title(file, "what it would do"), dryRun(ended), actions);
  go.focus();
}

async function imported(file, query, tried, back, anew = false) {
  const way = progress(file, "Uploading");
  try {
    const { id, repeated } = await handedOver(file, query, tried, anew, way);
    if (repeated) return again(file, query, tried, id, back);
    begin();
    watchImport(id);
  } catch (error) {
    if (error.name !== "AbortError") failed(file, error, back);
  }
}

/** The receipt for the file as it was tried. It comes again only if nobody has kept it for so long. */
async function handedOver(file, query, tried, anew, way) {
  const more = anew ? [["again", "true"]] : [];
  try {
    way.working("Handing it over");
    return await post(`v1/imports/${encodeURIComponent(tried)}:import?${new URLSearchParams(more)}`);
  } catch (error) {
    if (error.status !== 409) throw error;
  }
  const asked = new URLSearchParams([...query, ["filename", file.name], ...more]);
  return upload(`v1/imports?${asked}`, file, way.uploading, way.signal);
}

function again(file, query, tried, id, back) {
  const actions = el(
    "div",
    { class: "actions" },
    button("Import it again", () => imported(file, query, tried, back, true), "main"),
    button("Leave it", () => (begin(), watchImport(id))),
  );
  show(title(file, "was imported before"), el("p", {}, `The same content came as import ${id}.`), actions);
}

function failed(file, error, back) {
  const actions = el("div", { class: "actions" }, button("Back", back, "main"), button("Put it away", begin));
  show(title(file, "cannot be taken"), el("p", { class: "problem", role: "alert" }, error.message), actions);
}

function progress(file, doing) {
  const way = progressBar(doing, begin);
  show(title(file), ...way.parts);
  return way;
}

function title(file, rest = "") {
  const name = el("strong", {}, file.name);
  return el("h3", {}, name, el("span", {}, rest ? `${size(file.size)}, ${rest}` : size(file.size)));
}

function show(...parts) {
  place.replaceChildren(el("div", { class: "step" }, parts.filter(Boolean)));
}

function focusIn(node) {
  node.querySelector("select, input, button")?.focus({ preventScroll: true });
}
