// Polling for a condition.
import { setTimeout as sleep } from "node:timers/promises";

/** Polls until the result is truthy, and returns it; an exception counts as "not yet". */
export async function until(what, ask, milliseconds = 20_000) {
  const end = performance.now() + milliseconds;
  for (let last; ; await sleep(25)) {
    try {
      const answer = await ask();
      if (answer) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`waited ${milliseconds} ms in vain: ${what}`, { cause: last });
  }
}
