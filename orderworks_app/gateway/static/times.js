// Times that are shown as `3 minutes ago` and updated every second.

import { el, setText } from "./dom.js";
import { ago, moment } from "./format.js";

/** Create an element with the age of a time; its tooltip has the time itself. */
export function timeAgo(iso) {
  return el("time", { class: "ago", datetime: iso, title: moment(iso) }, ago(iso));
}

/** Update all such elements every second. */
export function keepTimes() {
  setInterval(() => document.querySelectorAll("time.ago").forEach((each) => setText(each, ago(each.dateTime))), 1000);
}
