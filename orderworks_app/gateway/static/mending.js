// The rejected rows of an import: why they were rejected, saved to be mended, and handed in again.

import { download, get, upload } from "./api.js";
import { announce, button, el, table } from "./dom.js";
import { count } from "./format.js";
import { picker, progressBar, takeDrops } from "./picker.js";

/** Show it in a node. `watch(id)` hears of the import that brings the mended rows. */
export async function showRejects(node, { id, parent }, watch) {
  try {
    const { reasons } = await get(`v1/imports/${encodeURIComponent(id)}/rejects/reasons`);
    const mend = el("div", { class: "mend" });
    node.replaceChildren(reasonTable(reasons), mend);
    offer(mend, id, parent, watch);
    if (!parent) takeDrops(mend, (file) => handIn(mend, id, file, watch));
  } catch (error) {
    node.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

function reasonTable(reasons) {
  const lines = reasons.map(({ rows, column, reason, first_line: line }) => [count(rows), column || "the row", reason, count(line)]);
  return table(["Rows", "Column", "Reason, for example", "First line"], lines, [0, 3]);
}

function offer(mend, id, parent, watch, said = "") {
  const save = button("Download them to mend", () => saved(mend, id));
  // What mends another import is not mended itself: its rows are still among the rejects of that one.
  const where = parent
    ? [el("p", { class: "quiet-text" }, `Mend them among the rejects of import ${parent}, and hand them in there.`)]
    : picker("Hand in the mended file", "drop it here or choose it", (file) => handIn(mend, id, file, watch));
  mend.replaceChildren(save, ...where, said);
}

async function saved(mend, id) {
  try {
    await download(`v1/imports/${encodeURIComponent(id)}/rejects`, `rejects-${id}.csv`);
  } catch (error) {
    mend.append(problem(error.message));
  }
}

async function handIn(mend, id, file, watch) {
  if (!file) return;
  const again = (said) => {
    offer(mend, id, null, watch, said);
    mend.querySelector(".drop").focus({ preventScroll: true });
  };
  const bar = progressBar(`Uploading ${file.name}`, () => again(""));
  mend.replaceChildren(...bar.parts);
  try {
    const asked = new URLSearchParams({ parent: id, filename: file.name });
    const made = await upload(`v1/imports?${asked}`, file, bar.uploading, bar.signal);
    again(made.repeated ? el("p", {}, `These rows came before, as import ${made.id}.`) : "");
    announce(`${file.name} was handed in.`);
    watch(made.id);
  } catch (error) {
    if (error.name !== "AbortError") again(problem(error.message));
  }
}

const problem = (text) => el("p", { class: "problem", role: "alert" }, text);
