// Requests to the gateway, with the token if there is one. Every refusal is a Problem.

import { el } from "./dom.js";
import { credentials, currentToken, signIn } from "./signin.js";

/** An error response of the gateway; `status` is 0 if the gateway cannot be reached. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The response to a request. If a token is needed, the reader is asked for one and the request is repeated. */
export async function request(path, options = {}) {
  for (;;) {
    const token = currentToken();
    const response = await send(path, options);
    if (response.ok) return response;
    const problem = new Problem(response.status, await detailOf(response));
    if (response.status !== 401) throw problem;
    await signIn(token, problem.message);
  }
}

/** The JSON document at a path. */
export const get = async (path) => (await request(path)).json();

/** The JSON document that a POST of another one returns. */
export async function post(path, document = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(document) })).json();
}

/** Save the body at a path as a file. */
export async function download(path, name) {
  const address = URL.createObjectURL(await (await request(path)).blob());
  const link = el("a", { href: address, download: name });
  link.click();
  // The browser reads the object later; a minute is enough for that.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Upload a file. `onProgress` receives the share that was sent; the signal cancels the upload. */
export async function upload(path, file, onProgress, signal) {
  for (;;) {
    const token = currentToken();
    const { status, text } = await sendFile(path, file, onProgress, signal);
    if (status >= 200 && status < 300) return JSON.parse(text);
    const problem = new Problem(status, parseDetail(text, status));
    if (status !== 401) throw problem;
    await signIn(token, problem.message);
  }
}

/** Send a file by XMLHttpRequest: fetch reports no progress of an upload. */
function sendFile(path, file, onProgress, signal) {
  const xhr = new XMLHttpRequest();
  xhr.open("POST", path);
  const headers = { "Content-Type": "application/octet-stream", ...credentials() };
  for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
  xhr.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 1);
  signal.addEventListener("abort", () => xhr.abort());
  return new Promise((resolve, reject) => {
    xhr.onload = () => resolve({ status: xhr.status, text: xhr.responseText });
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    xhr.onerror = () => reject(new Problem(0, "The upload failed: the connection to the gateway was lost."));
    xhr.send(file);
  });
}

async function send(path, options) {
  try {
    return await fetch(path, { ...options, headers: { ...options.headers, ...credentials() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The gateway cannot be reached.");
  }
}

async function detailOf(response) {
  return parseDetail(await response.text().catch(() => ""), response.status);
}

function parseDetail(text, status) {
  try {
    return JSON.parse(text).detail ?? `The gateway answered ${status}.`;
  } catch {
    return `The gateway answered ${status}.`;
  }
}
