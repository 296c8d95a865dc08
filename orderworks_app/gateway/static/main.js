// Where the page begins: it follows the overview, and hands each section of it to who shows it.

import { get } from "./api.js";
import { offerWindows, showCustomers } from "./customers.js";
import { showDead } from "./dead.js";
import { byId, say } from "./dom.js";
import { follow } from "./events.js";
import { setClock } from "./format.js";
import { showImports } from "./imports.js";
import { offerImport } from "./newimport.js";
import { showBeat, showNoParts, showParts } from "./parts.js";
import { offerSignOut } from "./signin.js";
import { showTiles } from "./tiles.js";
import { keepTimes } from "./times.js";

const SERVERS = { postgresql: "PostgreSQL", stream: "The Redis of the updates", cache: "The Redis of the cache" };
const LISTS = { imports: "import-list", dead: "dead-list", beat: "beat-list" };
const LOOK = 10_000; // milliseconds between two looks at all parts: each asks all workers

function hear(_name, overview) {
  setClock(overview.at);
  showTiles(overview);
  showCustomers(overview.report);
  for (const [section, list] of Object.entries(LISTS)) byId(list).classList.toggle("away", !overview[section]);
  if (overview.imports) showImports(overview.imports);
  if (overview.beat) showBeat(overview.beat);
  if (overview.dead) showDead(overview.dead);
  const away = overview.away.map((server) => SERVERS[server] ?? server);
  tell(away.length ? `${away.join(" and ")} cannot be reached. What is dimmed is from before.` : "");
}

function connection(problem) {
  const live = byId("live");
  live.className = `live ${problem ? "lost" : "on"}`;
  say(live, problem ? "Reconnecting …" : "Live");
  if (problem) tell(`${problem.message} Trying again.`);
}

function tell(trouble) {
  const node = byId("trouble");
  say(node, trouble);
  node.hidden = !trouble;
}

async function lookAtParts() {
  try {
    showParts(await get("v1/status"));
  } catch (problem) {
    showNoParts(problem.message);
  }
  setTimeout(lookAtParts, LOOK);
}

keepTimes();
offerSignOut();
offerWindows();
offerImport();
lookAtParts();
follow("v1/overview/events", hear, connection).catch((problem) => tell(problem.message));
