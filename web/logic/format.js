// Numbers, times and foreign texts as people read them.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
const LAST_FOUR_DIGIT_YEAR = 253402300799;
// Control characters, and those that reorder the text around them.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const LONGEST = 600;
const DAY = 86_400;

const counted = new Intl.NumberFormat("en");
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "medium", timeZone: "UTC" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeZone: "UTC" });

export const count = (value) => counted.format(value);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** "17 bytes", "56.8 KiB": three digits, so that a running number keeps its width. */
export function size(bytes) {
  let unit = 0;
  let value = bytes;
  // 999.6 KiB would be shown as 1000.
  while (value >= (unit === 0 ? 1000 : 999.5) && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return plural(bytes, "byte");
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** "58,211 bytes (56.8 KiB)". */
export const exactSize = (bytes) => (bytes < 1000 ? size(bytes) : `${plural(bytes, "byte")} (${size(bytes)})`);

export const speed = (bytesPerSecond) => `${size(Math.round(bytesPerSecond))}/s`;

/** Coarse on purpose: an estimate that changes with every message is not read. */
export function duration(seconds) {
  if (seconds < 59.5) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long ago something was: "5 s", "1 h 30 min", "3 days". */
export const age = (seconds) => (seconds < 2 * DAY ? duration(seconds) : plural(Math.floor(seconds / DAY), "day"));

/** Seconds since 1970 as "21 September 2026 at 14:13:20 UTC". */
export function time(seconds) {
  if (seconds > LAST_FOUR_DIGIT_YEAR) return `${seconds} s after 1970`;
  return `${calendar.format(new Date(seconds * 1000))} UTC`;
}

/** Milliseconds since 1970 as "21 September 2026". */
export const date = (milliseconds) => day.format(new Date(milliseconds));

/** For a `datetime` attribute; undefined where that cannot say it. */
export const isoTime = (seconds) =>
  seconds > LAST_FOUR_DIGIT_YEAR ? undefined : new Date(seconds * 1000).toISOString().replace(".000Z", "Z");

/** A foreign text with nothing in it that acts instead of being seen. `most`: characters that are shown. */
export function printable(text, most = LONGEST) {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return short.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** An identity as a reminder of one that was read in full before: never enough to compare. */
export const abbreviated = (identity) => (identity.length <= 13 ? identity : `${identity.slice(0, 6)}…${identity.slice(-6)}`);

/** The same name without line-breaking surprises: start and end stay, the middle goes. */
export function shortened(text, most = 14) {
  const characters = [...text];
  if (characters.length <= most) return text;
  const tail = Math.floor((most - 1) / 3);
  return `${characters.slice(0, most - 1 - tail).join("")}…${characters.slice(-tail).join("")}`;
}
