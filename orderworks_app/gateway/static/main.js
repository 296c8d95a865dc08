// The entry point of the page: it follows the overview, and passes each section to the module that shows it.

import { get } from "./api.js";
import { offerWindows, showCustomers } from "./customers.js";
import { showDeadLetters } from "./deadletters.js";
import { byId, setText } from "./dom.js";
import { follow } from "./events.js";
import { setClock } from "./format.js";
import { showImports } from "./imports.js";
import { offerImport } from "./newimport.js";
import { showBeat, showServices, showServicesUnknown } from "./services.js";
import { offerSignOut } from "./signin.js";
import { showTiles } from "./tiles.js";
import { keepTimes } from "./times.js";

const SERVERS = { postgresql: "PostgreSQL", stream: "The Redis of the updates", cache: "The Redis of the cache" };
const LISTS = { imports: "import-list", dead: "dead-list", beat: "beat-list" };
const STATUS_INTERVAL = 10_000; // milliseconds: each status sends a request to all workers

function showOverview(_name, overview) {
  setClock(overview.at);
  showTiles(overview);
  showCustomers(overview.report);
  for (const [section, list] of Object.entries(LISTS)) byId(list).classList.toggle("dimmed", !overview[section]);
  if (overview.imports) showImports(overview.imports);
  if (overview.beat) showBeat(overview.beat);
  if (overview.dead) showDeadLetters(overview.dead);
  const unavailable = overview.away.map((server) => SERVERS[server] ?? server);
  showAlert(unavailable.length ? `${unavailable.join(" and ")} cannot be reached. Dimmed figures are old.` : "");
}

function showConnection(problem) {
  const node = byId("connection");
  node.className = `connection ${problem ? "lost" : "open"}`;
  setText(node, problem ? "Reconnecting …" : "Live");
  if (problem) showAlert(`${problem.message} Trying again.`);
}

function showAlert(text) {
  const node = byId("alert");
  setText(node, text);
  node.hidden = !text;
}

async function pollStatus() {
  try {
    showServices(await get("v1/status"));
  } catch (problem) {
    showServicesUnknown(problem.message);
  }
  setTimeout(pollStatus, STATUS_INTERVAL);
}

keepTimes();
offerSignOut();
offerWindows();
offerImport();
pollStatus();
follow("v1/overview/events", showOverview, showConnection).catch((problem) => showAlert(problem.message));
