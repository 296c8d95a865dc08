// A preview of a file, read in the browser: its format, its column names and its first records. The worker
// reads the file by the same rules; this is for the mapping of columns.

const PREVIEW_BYTES = 1 << 20;
const SAMPLE = 3; // records that are shown
const DELIMITERS = [",", ";", "\t", "|"];

/** Read the beginning of a file.
 *  `format` is csv, jsonl or parquet; `columns` is null if only a worker can read them. */
export async function readPreview(file, delimiter = "") {
  const name = file.name.toLowerCase();
  const start = await readStart(file, name);
  if (start === null || start.startsWith("PAR1")) return { format: "parquet", columns: null, records: [] };
  const text = start.replace(/^\ufeff/, "");
  const isJson = /\.(jsonl|ndjson|json)(\.gz)?$/.test(name) || /^\s*\{/.test(text);
  return isJson ? parseJson(text) : parseCsv(text, delimiter || likelyDelimiter(text));
}

/** The first text of the file; null if it is compressed in a way that browsers cannot read. */
async function readStart(file, name) {
  const start = file.slice(0, PREVIEW_BYTES);
  const magic = [...new Uint8Array(await start.slice(0, 4).arrayBuffer())].join();
  if (name.endsWith(".zst") || magic === "40,181,47,253") return null;
  return magic.startsWith("31,139") ? decompress(start) : start.text();
}

async function decompress(start) {
  const reader = start.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let piece = await reader.read(); !piece.done && text.length < PREVIEW_BYTES; piece = await reader.read()) {
      text += decoder.decode(piece.value, { stream: true });
    }
  } catch {
    // The slice ends within the compressed data, which is an error; the text before it is valid.
  }
  return text;
}

function parseJson(text) {
  const records = text.split("\n").slice(0, SAMPLE).map(parseObject).filter(Boolean);
  const columns = [...new Set(records.flatMap(Object.keys))];
  const cells = records.map((record) => columns.map((name) => String(record[name] ?? "")));
  return { format: "jsonl", columns, records: cells };
}

function parseObject(line) {
  try {
    const value = JSON.parse(line);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

function parseCsv(text, delimiter) {
  const [columns = [], ...records] = firstRecords(text, delimiter, SAMPLE + 1);
  return { format: "csv", delimiter, columns, records };
}

/** The delimiter that is most frequent in the header, outside quotes; the comma if that is ambiguous. */
function likelyDelimiter(text) {
  const header = text.replace(/"(?:[^"]|"")*"/g, "").trimStart().split("\n", 1)[0];
  const counts = DELIMITERS.map((each) => header.split(each).length);
  const highest = Math.max(...counts);
  return counts.filter((each) => each === highest).length === 1 ? DELIMITERS[counts.indexOf(highest)] : ",";
}

/** The first records of a CSV text as lists of cells. A quoted cell may contain any characters. */
function firstRecords(text, delimiter, limit) {
  const records = [];
  let cells = [];
  // A quoted or a plain cell, and the delimiter or line end after it.
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${escaped(delimiter)}\\r\\n]*))(${escaped(delimiter)}|\\r?\\n|\\r|$)`, "y");
  for (let match = cell.exec(text); match && records.length < limit; match = cell.exec(text)) {
    const [, quoted, plain, end] = match;
    cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === delimiter) continue;
    if (cells.length > 1 || cells[0]) records.push(cells);
    cells = [];
    if (end === "") break;
  }
  return records;
}

const escaped = (character) => character.replace(/[\\^\]|]/g, "\\$&");
