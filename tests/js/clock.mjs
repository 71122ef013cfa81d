// A clock that tests can move.
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Mocks `performance.now`. The returned function waits until the lying `server` stays silent on purpose, and then lets `seconds` pass again
 * and again until `ended` settles: a session counts from its first check after the last progress, and the machine decides when that comes.
 */
export function clockOf(t, server) {
  const real = performance.now.bind(performance);
  let ahead = 0;
  t.mock.method(performance, "now", () => real() + ahead);
  return async (begin, seconds) => {
    const before = server.silences;
    let isOver = false;
    const ended = begin().finally(() => (isOver = true));
    ended.catch(() => {}); // the caller awaits it
    while (!isOver && server.silences === before) await sleep(5);
    while (!isOver) {
      ahead += 1000 * seconds;
      await Promise.race([sleep(1000), ended.catch(() => {})]);
    }
    return ended;
  };
}
