// The wait before another try.

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
