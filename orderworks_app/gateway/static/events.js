// Server-sent events by fetch: EventSource cannot send a token.

import { ask } from "./api.js";

const SILENCE = 45_000; // milliseconds: heartbeats come more often, so a stream as quiet as this is dead
const PAUSE = 2_000;
const LONGEST_PAUSE = 15_000;

/** Give each event to `hear(name, document)`, until it returns true. A lost stream is opened again;
 *  `tell(error)` hears of that, and null when it is there again. */
export async function follow(path, hear, tell = () => {}) {
  let pause = PAUSE;
  for (;;) {
    try {
      for await (const [name, document] of opened(path)) {
        tell(null);
        pause = PAUSE;
        if (hear(name, document)) return;
      }
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      tell(error);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(LONGEST_PAUSE, pause * 1.5);
  }
}

/** The events of one stream, until it ends. */
async function* opened(path) {
  const silence = new AbortController();
  const awake = () => setTimeout(() => silence.abort(), SILENCE);
  let watch = awake();
  try {
    const headers = { Accept: "text/event-stream" };
    const answer = await ask(path, { headers, cache: "no-store", signal: silence.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const read = parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = awake();
      yield* read(value);
    }
  } finally {
    clearTimeout(watch);
    silence.abort();
  }
}

/** A function that takes pieces of the stream's text and gives the events that are complete. */
function parser() {
  let rest = "";
  let name = "message";
  let data = [];
  return function* (piece) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line === "" && data.length) yield [name, JSON.parse(data.join("\n"))];
      if (line === "") [name, data] = ["message", []];
      else if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5));
    }
  };
}
