// Turns the argument of an init function into what can be compiled. Node.js cannot fetch a file, and its paths are not URLs.
import { readFile } from "node:fs/promises";

const isFetched = (text) => /^(https?|data|blob):/i.test(text);

export async function moduleOf(source) {
  const given = await source;
  const text = typeof given === "string" ? given : Object.prototype.toString.call(given) === "[object URL]" || given instanceof URL ? given.href : undefined;
  if (text === undefined) return given;
  if (isFetched(text)) return fetch(text);
  return readFile(/^file:/i.test(text) ? new URL(text) : text);
}
