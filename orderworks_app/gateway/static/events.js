// Server-sent events by fetch: EventSource cannot send a token.

import { request } from "./api.js";

const SILENCE = 45_000; // milliseconds: heartbeats are more frequent, so a stream silent for longer is broken
const PAUSE = 2_000;
const MAX_PAUSE = 15_000;

/** Call `onEvent(name, document)` for each event until it returns true. A lost stream is opened again;
 *  `onConnection(error)` is called when it is lost, and with null when it is open again. */
export async function follow(path, onEvent, onConnection = () => {}) {
  let pause = PAUSE;
  for (;;) {
    try {
      for await (const [name, document] of eventsOf(path)) {
        onConnection(null);
        pause = PAUSE;
        if (onEvent(name, document)) return;
      }
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      onConnection(error);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(MAX_PAUSE, pause * 1.5);
  }
}

/** The events of one stream, until it ends. */
async function* eventsOf(path) {
  const silence = new AbortController();
  const startTimer = () => setTimeout(() => silence.abort(), SILENCE);
  let timer = startTimer();
  try {
    const headers = { Accept: "text/event-stream" };
    const response = await request(path, { headers, cache: "no-store", signal: silence.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = startTimer();
      yield* parse(value);
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

/** A function that takes pieces of the stream's text and returns the events that are complete. */
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
