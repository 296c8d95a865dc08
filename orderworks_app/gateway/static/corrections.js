// The rejected rows of an import: their reasons, a download of them, and the upload of the corrected file.

import { download, get, upload } from "./api.js";
import { announce, button, el, table } from "./dom.js";
import { count } from "./format.js";
import { acceptDrops, picker, progressBar } from "./picker.js";

/** Show the rejects in a node. `watch(id)` is called with the import of the corrected rows. */
export async function showRejects(node, { id, parent }, watch) {
  try {
    const { reasons } = await get(`v1/imports/${encodeURIComponent(id)}/rejects/reasons`);
    const area = el("div", { class: "corrections" });
    node.replaceChildren(reasonTable(reasons), area);
    showControls(area, id, parent, watch);
    if (!parent) acceptDrops(area, (file) => uploadCorrected(area, id, file, watch));
  } catch (error) {
    node.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

function reasonTable(reasons) {
  const rows = reasons.map(({ rows, column, reason, first_line: line }) => [count(rows), column || "the row", reason, count(line)]);
  return table(["Rows", "Column", "Reason, for example", "First line"], rows, [0, 3]);
}

function showControls(area, id, parent, watch, message = "") {
  const save = button("Download to correct", () => saveRejects(area, id));
  // Rejects of a file of corrections stay among those of its parent, and are corrected there.
  const target = parent
    ? [el("p", { class: "quiet-text" }, `Correct these rows among the rejects of import ${parent}, and upload them there.`)]
    : picker("Upload the corrected file", "drop it here or choose it", (file) => uploadCorrected(area, id, file, watch));
  area.replaceChildren(save, ...target, message);
}

async function saveRejects(area, id) {
  try {
    await download(`v1/imports/${encodeURIComponent(id)}/rejects`, `rejects-${id}.csv`);
  } catch (error) {
    area.append(problem(error.message));
  }
}

async function uploadCorrected(area, id, file, watch) {
  if (!file) return;
  const finish = (message) => {
    showControls(area, id, null, watch, message);
    area.querySelector(".drop").focus({ preventScroll: true });
  };
  const bar = progressBar(`Uploading ${file.name}`, () => finish(""));
  area.replaceChildren(...bar.parts);
  try {
    const query = new URLSearchParams({ parent: id, filename: file.name });
    const receipt = await upload(`v1/imports?${query}`, file, bar.showShare, bar.signal);
    finish(receipt.repeated ? el("p", {}, `These rows were imported before, as import ${receipt.id}.`) : "");
    announce(`${file.name} was uploaded.`);
    watch(receipt.id);
  } catch (error) {
    if (error.name !== "AbortError") finish(problem(error.message));
  }
}

const problem = (text) => el("p", { class: "problem", role: "alert" }, text);
