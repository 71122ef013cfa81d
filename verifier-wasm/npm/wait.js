// The pause before a retry, and the end of any wait by an abort.

/** Settles as `promise`, or rejects with the signal's reason once it aborts. */
export function orAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    const over = () => signal?.removeEventListener("abort", aborted);
    promise.then(resolve, reject).finally(over);
    signal?.addEventListener("abort", aborted, { once: true });
    if (signal?.aborted) aborted();
  });
}

/**
 * Waits for some seconds. Ends early if the browser is online again or the function passed to `onWaiting` is called. Rejects if
 * `signal` aborts.
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
      over(() => reject(error))(); // thrown by the caller's function
    }
  });
}
