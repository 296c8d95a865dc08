// A new import, step by step: choose a file, map its columns, make a dry run, import it.

import { post, upload } from "./api.js";
import { announce, button, byId, el } from "./dom.js";
import { dryRun, rowsOf } from "./dryrun.js";
import { follow } from "./events.js";
import { counted, size } from "./format.js";
import { watchImport } from "./imports.js";
import { mappingForm } from "./mapping.js";
import { acceptDrops, picker, progressBar } from "./picker.js";
import { readPreview } from "./preview.js";

const container = byId("new-import");

/** Accept a file that is dropped anywhere on the panel, or chosen. */
export function offerImport() {
  acceptDrops(byId("imports"), (file) => openFile(file));
  // By default the browser would replace the page by a file that misses the panel.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  showPicker();
}

function showPicker() {
  const hint = "or choose one: CSV, TSV, JSON Lines or Parquet, also compressed by gzip or zstd";
  show(...picker("Drop a file of orders or customers here", hint, (file) => openFile(file)));
}

async function openFile(file, delimiter) {
  if (!file) return;
  try {
    showMapping(file, await readPreview(file, delimiter));
  } catch (error) {
    showFailure(file, error, showPicker);
  }
}

/** The step in which columns are mapped; the choices stay when the reader comes back from a dry run. */
function showMapping(file, preview) {
  const form = mappingForm(preview, (delimiter) => openFile(file, delimiter));
  const step = el("div");
  const back = () => {
    show(...parts);
    focusIn(step);
  };
  const submit = async () => {
    const query = form.answers();
    if (query) await startDryRun(file, query, back);
  };
  step.append(form.node, el("div", { class: "actions" }, button("Dry run: nothing is changed yet", submit, "main"), button("Discard", showPicker)));
  const parts = [title(file, "which column is which?"), step];
  show(...parts);
  focusIn(step);
}

async function startDryRun(file, query, back) {
  const progress = showProgress(file, "Uploading for the dry run");
  try {
    const options = new URLSearchParams([...query, ["filename", file.name], ["dry_run", "true"], ["keep", "true"]]);
    const { id } = await upload(`v1/imports?${options}`, file, progress.showShare, progress.signal);
    const result = await dryRunResult(id, progress);
    result.would ? showDryRun(file, query, result, back) : showFailure(file, { message: result.error }, back);
  } catch (error) {
    if (error.name !== "AbortError") showFailure(file, error, back);
  }
}

/** The last event of a dry run. */
async function dryRunResult(id, progress) {
  let last = null;
  await follow(`v1/imports/${encodeURIComponent(id)}/events`, (name, document) => {
    if (progress.signal.aborted) return true;
    if (name === "end") last = document;
    progress.showBusy(document.waits_for_updates ? "Order updates go first; the dry run follows" : "Dry run");
    return name === "end";
  });
  if (!last) throw new DOMException("cancelled", "AbortError");
  return last;
}

function showDryRun(file, query, result, back) {
  const rows = rowsOf(result.would);
  const rejected = result.would.rejected;
  announce(`Dry run of ${counted(rows, "row")}: ${counted(rejected, "row")} would be rejected.`);
  const submit = button(`Import ${counted(rows - rejected, "row")}`, () => startImport(file, query, result.id, back), "main");
  const actions = el("div", { class: "actions" }, submit, button("Back to the columns", back), button("Discard", showPicker));
  show(title(file, "result of the dry run"), dryRun(result), actions);
  submit.focus();
}

async function startImport(file, query, dryRunId, back, again = false) {
  const progress = showProgress(file, "Uploading");
  try {
    const { id, repeated } = await sendImport(file, query, dryRunId, again, progress);
    if (repeated) return showRepeated(file, query, dryRunId, id, back);
    showPicker();
    watchImport(id);
  } catch (error) {
    if (error.name !== "AbortError") showFailure(file, error, back);
  }
}

/** The receipt for the file of the dry run. It is uploaded again only if the gateway no longer has it. */
async function sendImport(file, query, dryRunId, again, progress) {
  const extra = again ? [["again", "true"]] : [];
  try {
    progress.showBusy("Starting the import");
    return await post(`v1/imports/${encodeURIComponent(dryRunId)}:import?${new URLSearchParams(extra)}`);
  } catch (error) {
    if (error.status !== 409) throw error;
  }
  const options = new URLSearchParams([...query, ["filename", file.name], ...extra]);
  return upload(`v1/imports?${options}`, file, progress.showShare, progress.signal);
}

function showRepeated(file, query, dryRunId, id, back) {
  const actions = el(
    "div",
    { class: "actions" },
    button("Import it again", () => startImport(file, query, dryRunId, back, true), "main"),
    button("Discard", () => (showPicker(), watchImport(id))),
  );
  show(title(file, "was imported before"), el("p", {}, `Import ${id} had the same content.`), actions);
}

function showFailure(file, error, back) {
  const actions = el("div", { class: "actions" }, button("Back", back, "main"), button("Discard", showPicker));
  show(title(file, "cannot be imported"), el("p", { class: "problem", role: "alert" }, error.message), actions);
}

function showProgress(file, label) {
  const progress = progressBar(label, showPicker);
  show(title(file), ...progress.parts);
  return progress;
}

function title(file, text = "") {
  const name = el("strong", {}, file.name);
  return el("h3", {}, name, el("span", {}, text ? `${size(file.size)}, ${text}` : size(file.size)));
}

function show(...parts) {
  container.replaceChildren(el("div", { class: "step" }, parts.filter(Boolean)));
}

function focusIn(node) {
  node.querySelector("select, input, button")?.focus({ preventScroll: true });
}
