// The token, if the gateway needs one: the reader enters it once, and it is kept for this tab only.

import { byId, setText } from "./dom.js";

const KEY = "orderworks-token";

let pending = null;

/** The token of this tab, or null. */
export const currentToken = () => sessionStorage.getItem(KEY);

/** The headers that identify the reader. */
export function credentials() {
  const token = currentToken();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Wait until the reader has entered a token that may read. Concurrent requests share one dialog.
 *  `refused` is the token of the refused request: if it was replaced meanwhile, nothing is asked. */
export function signIn(refused, problem) {
  if (!pending && currentToken() !== refused) return Promise.resolve();
  pending ??= showDialog(problem).finally(() => {
    pending = null;
  });
  return pending;
}

/** Show the button to sign out, if there is a token. */
export function offerSignOut() {
  const button = byId("sign-out");
  button.hidden = !currentToken();
  button.onclick = () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  };
}

function showDialog(problem) {
  const dialog = byId("sign-in");
  setText(byId("sign-in-problem"), currentToken() ? problem : "");
  sessionStorage.removeItem(KEY);
  dialog.oncancel = (event) => event.preventDefault(); // without a token the page can show nothing
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      if (await storeIfValid(byId("token").value.trim())) {
        dialog.close();
        resolve();
      }
    };
  });
}

async function storeIfValid(token) {
  const problem = await validate(token);
  setText(byId("sign-in-problem"), problem ?? "");
  if (problem !== null) return false;
  sessionStorage.setItem(KEY, token);
  byId("token").value = "";
  offerSignOut();
  return true;
}

/** The reason why the gateway refuses the token; null if it accepts it. */
async function validate(token) {
  try {
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch("v1/imports?limit=1", { headers, cache: "no-store" });
    if (response.status !== 401 && response.status !== 403) return null;
    return (await response.json()).detail;
  } catch {
    return "The gateway cannot be reached, or this is not a token.";
  }
}
