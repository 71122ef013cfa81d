// When what was cut off is tried again, and for how long.

// The first wait, and the longest: each is up to twice the one before.
const SHORTEST = 0.2; // seconds
const LONGEST = 5;

/** Waits that grow for as long as nothing gets further, and an end to them. Times in seconds. */
export class Patience {
  #most;
  #best = { sent: 0, held: 0 };
  #cut; // when it was cut off first since something got further
  #wait = SHORTEST;

  /** `most`: since what it waits for was cut off without getting any further. */
  constructor(most) {
    this.#most = most;
  }

  /** So many bytes were sent in this try, or are held by the replicas before it. Only more than ever before are progress. */
  reached(bytes, which = "sent") {
    if (bytes <= this.#best[which]) return;
    this.#best[which] = bytes;
    this.#cut = undefined;
    this.#wait = SHORTEST;
  }

  /** The wait before the next try; undefined when there is to be none. */
  next() {
    const now = performance.now() / 1000;
    this.#cut ??= now;
    // Those who were cut off together do not all come back together.
    const wait = this.#wait * (0.5 + Math.random() / 2);
    if (now + wait - this.#cut > this.#most) return undefined;
    this.#wait = Math.min(2 * this.#wait, LONGEST);
    return wait;
  }
}

/**
 * Waits, but no longer than until `signal` aborts, which rejects, the network comes back, or what `onWaiting` was given is called.
 */
export function waitFor(seconds, signal, onWaiting) {
  return new Promise((resolve, reject) => {
    const over = (settle) => () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      globalThis.removeEventListener?.("online", now);
      settle();
    };
    const now = over(resolve);
    const aborted = over(() => reject(signal.reason));
    const timer = setTimeout(now, 1000 * seconds);
    signal?.addEventListener("abort", aborted);
    globalThis.addEventListener?.("online", now); // browsers and their Workers
    if (signal?.aborted) return aborted();
    try {
      onWaiting?.(now);
    } catch (error) {
      over(() => reject(error))(); // of the caller's own function
    }
  });
}
