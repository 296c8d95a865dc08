// Numbers, spans and moments as the reader's browser writes them. Spans come in seconds.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const cents = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const shares = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
// Words stand in sentences of this page, which are English.
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

const UNITS = [
  [86400, "d", "day"],
  [3600, "h", "hour"],
  [60, "min", "minute"],
];

let ahead = 0; // milliseconds that the server's clock is ahead of this one

/** Take the server's time from something it just said. */
export function setClock(iso) {
  ahead = Date.parse(iso) - Date.now();
}

/** Seconds since a moment, by the server's clock. */
export const secondsSince = (iso) => Math.max(0, (Date.now() + ahead - Date.parse(iso)) / 1000);

export const count = (number) => whole.format(number);
export const percent = (share) => shares.format(share);
export const moment = (iso) => moments.format(new Date(iso));

/** An amount that comes as text: its digits are kept, however many they are. */
export const money = (text) => cents.format(text);

/** `3 rows`, `1 row`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A rate or a span in few digits. */
export const short = (number) => (number >= 100 || Number.isInteger(number) ? whole : tenths).format(number);

/** Bytes in the unit that people use. */
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const style = { style: "unit", unit: units[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: step ? 1 : 0 };
  return new Intl.NumberFormat(undefined, style).format(bytes / 1000 ** step);
}

/** A short wait, as a figure and its unit: `40 ms`, `2.5 s`, `3 min`. */
export function wait(seconds) {
  if (seconds > 0 && seconds < 1) return [whole.format(Math.ceil(1000 * seconds)), "ms"];
  return seconds < 120 ? [short(seconds), "s"] : span(seconds).split(" ");
}

/** `3 s`, `2 min`, `5 h`: in the largest unit of which there are two. */
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
