// Moments that are told as `3 minutes ago`, and stay true while nobody writes them anew.

import { el, say } from "./dom.js";
import { ago, moment } from "./format.js";

/** An element that says how long ago a moment is, and when it was to who points at it. */
export function timeAgo(iso) {
  return el("time", { class: "ago", datetime: iso, title: moment(iso) }, ago(iso));
}

/** Let all of them say what is true now, every second. */
export function keepTimes() {
  setInterval(() => document.querySelectorAll("time.ago").forEach((each) => say(each, ago(each.dateTime))), 1000);
}
