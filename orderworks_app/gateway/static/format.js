// Numbers, durations and times in the format of the reader's browser. Durations are given in seconds.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const cents = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const shares = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
// Words are part of the page's sentences, which are English.
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

const UNITS = [
  [86400, "d", "day"],
  [3600, "h", "hour"],
  [60, "min", "minute"],
];

let ahead = 0; // milliseconds that the server's clock is ahead of this one

/** Set the server's clock by a time that it has just sent. */
export function setClock(iso) {
  ahead = Date.parse(iso) - Date.now();
}

/** Seconds since a time, by the server's clock. */
export const secondsSince = (iso) => Math.max(0, (Date.now() + ahead - Date.parse(iso)) / 1000);

export const count = (number) => whole.format(number);
export const percent = (share) => shares.format(share);
export const moment = (iso) => moments.format(new Date(iso));

/** An amount, which is text: it is not converted to a float, so no digits are lost. */
export const money = (text) => cents.format(text);

/** `3 rows`, `1 row`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A rate or a duration in few digits. */
export const short = (number) => (number >= 100 || Number.isInteger(number) ? whole : tenths).format(number);

/** A size in a suitable unit. */
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const style = { style: "unit", unit: units[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: step ? 1 : 0 };
  return new Intl.NumberFormat(undefined, style).format(bytes / 1000 ** step);
}

/** A short duration, as a number and its unit: `40 ms`, `2.5 s`, `3 min`. */
export function wait(seconds) {
  if (seconds > 0 && seconds < 1) return [whole.format(Math.ceil(1000 * seconds)), "ms"];
  return seconds < 120 ? [short(seconds), "s"] : span(seconds).split(" ");
}

/** `3 s`, `2 min`, `5 h`: in the largest unit of which there are at least two. */
export function span(seconds) {
  const [length, unit] = UNITS.find(([length]) => seconds >= 2 * length) ?? [1, "s"];
  return `${whole.format(seconds / length)} ${unit}`;
}

/** `3 seconds ago`, by the server's clock. */
export function ago(iso) {
  const seconds = secondsSince(iso);
  const [length, , unit] = UNITS.find(([length]) => seconds >= length) ?? [1, "s", "second"];
  return relative.format(-Math.floor(seconds / length), unit);
}
