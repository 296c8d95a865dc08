// Questions to the gateway, with the token if there is one. Whatever it refuses is a Problem.

import { el } from "./dom.js";
import { credentials, signIn } from "./signin.js";

/** What the gateway says is wrong; `status` is 0 where it cannot be reached. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The answer to a request. Where a token is needed, it is asked for first, then all is tried again. */
export async function ask(path, options = {}) {
  for (;;) {
    const answer = await reached(path, options);
    if (answer.ok) return answer;
    const problem = new Problem(answer.status, await detailOf(answer));
    if (answer.status !== 401) throw problem;
    await signIn(problem.message);
  }
}

/** A document. */
export const get = async (path) => (await ask(path)).json();

/** The document that comes of a POST of another one. */
export async function post(path, document = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(document) })).json();
}

/** Save what is behind a path as a file. */
export async function download(path, name) {
  const address = URL.createObjectURL(await (await ask(path)).blob());
  const link = el("a", { href: address, download: name });
  link.click();
  // The browser takes the file when it gets to it; a minute is enough for that.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Hand a file over. `tell` hears what share has left; the signal calls it off. */
export async function upload(path, file, tell, signal) {
  for (;;) {
    const { status, text } = await sent(path, file, tell, signal);
    if (status >= 200 && status < 300) return JSON.parse(text);
    const problem = new Problem(status, detailIn(text, status));
    if (status !== 401) throw problem;
    await signIn(problem.message);
  }
}

/** By XMLHttpRequest: fetch cannot tell how much of a body has left. */
function sent(path, file, tell, signal) {
  const request = new XMLHttpRequest();
  request.open("POST", path);
  const headers = { "Content-Type": "application/octet-stream", ...credentials() };
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => tell(event.total ? event.loaded / event.total : 1);
  signal.addEventListener("abort", () => request.abort());
  return new Promise((resolve, reject) => {
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onabort = () => reject(new DOMException("called off", "AbortError"));
    request.onerror = () => reject(new Problem(0, "The file did not get through: the gateway went away."));
    request.send(file);
  });
}

async function reached(path, options) {
  try {
    return await fetch(path, { ...options, headers: { ...options.headers, ...credentials() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The gateway cannot be reached.");
  }
}

async function detailOf(answer) {
  return detailIn(await answer.text().catch(() => ""), answer.status);
}

function detailIn(text, status) {
  try {
    return JSON.parse(text).detail ?? `The gateway answered ${status}.`;
  } catch {
    return `The gateway answered ${status}.`;
  }
}
