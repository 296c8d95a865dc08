// The front of a file, read here: its form, its column names and its first records. The worker reads
// the file itself, by the same rules; this is for people who say which column is which.

const START = 1 << 20; // bytes that are looked at
const SAMPLE = 3; // records that are shown
const CANDIDATES = [",", ";", "\t", "|"];

/** What is known of a file before it is handed over.
 *  `format` is csv, jsonl or parquet; `columns` null where only a worker can read them. */
export async function readFront(file, delimiter = "") {
  const name = file.name.toLowerCase();
  const start = await opening(file, name);
  if (start === null || start.startsWith("PAR1")) return { format: "parquet", columns: null, records: [] };
  const text = start.replace(/^\ufeff/, "");
  const isJson = /\.(jsonl|ndjson|json)(\.gz)?$/.test(name) || /^\s*\{/.test(text);
  return isJson ? ofJson(text) : ofCsv(text, delimiter || likelyDelimiter(text));
}

/** The file's first text; null where it is packed in a way that a browser cannot undo. */
async function opening(file, name) {
  const start = file.slice(0, START);
  const magic = [...new Uint8Array(await start.slice(0, 4).arrayBuffer())].join();
  if (name.endsWith(".zst") || magic === "40,181,47,253") return null;
  return magic.startsWith("31,139") ? unpacked(start) : start.text();
}

async function unpacked(start) {
  const reader = start.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let piece = await reader.read(); !piece.done && text.length < START; piece = await reader.read()) {
      text += decoder.decode(piece.value, { stream: true });
    }
  } catch {
    // What was cut off in the middle ends with an error; what came before it is good.
  }
  return text;
}

function ofJson(text) {
  const records = text.split("\n").slice(0, SAMPLE).map(asObject).filter(Boolean);
  const columns = [...new Set(records.flatMap(Object.keys))];
  const cells = records.map((record) => columns.map((name) => String(record[name] ?? "")));
  return { format: "jsonl", columns, records: cells };
}

function asObject(line) {
  try {
    const value = JSON.parse(line);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

function ofCsv(text, delimiter) {
  const [columns = [], ...records] = firstRecords(text, delimiter, SAMPLE + 1);
  return { format: "csv", delimiter, columns, records };
}

/** The one that the header has most of outside quotes; else the comma. */
function likelyDelimiter(text) {
  const header = text.replace(/"(?:[^"]|"")*"/g, "").trimStart().split("\n", 1)[0];
  const counts = CANDIDATES.map((each) => header.split(each).length);
  const most = Math.max(...counts);
  return counts.filter((each) => each === most).length === 1 ? CANDIDATES[counts.indexOf(most)] : ",";
}

/** The first records of a CSV text as lists of cells. A quoted cell may have anything in it. */
function firstRecords(text, delimiter, most) {
  const records = [];
  let cells = [];
  // Either the rest of a quoted cell or a plain one, and what ends it.
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${escaped(delimiter)}\\r\\n]*))(${escaped(delimiter)}|\\r?\\n|\\r|$)`, "y");
  for (let found = cell.exec(text); found && records.length < most; found = cell.exec(text)) {
    const [, quoted, plain, end] = found;
    cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === delimiter) continue;
    if (cells.length > 1 || cells[0]) records.push(cells);
    cells = [];
    if (end === "") break;
  }
  return records;
}

const escaped = (character) => character.replace(/[\\^\]|]/g, "\\$&");
