// The token, where the gateway wants one: asked for once, kept for this tab only.

import { byId, say } from "./dom.js";

const KEY = "orderworks-token";

let asking = null;

/** The headers by which the gateway knows who asks. */
export function credentials() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Resolves when the reader gave a token that may read. Whoever asks meanwhile waits for the same one. */
export function signIn(problem = "") {
  asking ??= shown(problem).finally(() => {
    asking = null;
  });
  return asking;
}

/** Show the way out, if somebody is signed in. */
export function offerSignOut() {
  const out = byId("sign-out");
  out.hidden = !sessionStorage.getItem(KEY);
  out.onclick = () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  };
}

function shown(problem) {
  const dialog = byId("sign-in");
  say(byId("sign-in-problem"), sessionStorage.getItem(KEY) ? problem : "");
  sessionStorage.removeItem(KEY);
  dialog.oncancel = (event) => event.preventDefault(); // without a token there is nothing to see
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      if (await accepted(byId("token").value.trim())) {
        dialog.close();
        resolve();
      }
    };
  });
}

async function accepted(token) {
  const refused = await refusal(token);
  say(byId("sign-in-problem"), refused ?? "");
  if (refused !== null) return false;
  sessionStorage.setItem(KEY, token);
  byId("token").value = "";
  offerSignOut();
  return true;
}

/** Why the gateway does not take the token; null if it does. */
async function refusal(token) {
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const answer = await fetch("v1/imports?limit=1", { headers, cache: "no-store" });
    if (answer.status !== 401 && answer.status !== 403) return null;
    return (await answer.json()).detail;
  } catch {
    return "The gateway cannot be reached, or this is no token.";
  }
}
