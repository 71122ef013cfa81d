// The bytes of a range, each verified before it is yielded. A window of bytes is requested at a time, so that a paused film leaves no request open.

const MIB = 1 << 20;
const WINDOW = 4 * MIB;
// If nothing arrives for this many milliseconds, the connection is lost.
const SILENCE = 30_000;
// Maximum number of characters read of an error response.
const LONGEST_PROBLEM = 64 << 10;

/** Why the bytes end: `code`; `at`, the offset in the blob; and, if known, `check`, `subject`, `expected`, `got`, `reason` and `members`. */
export class SliceFailure extends Error {
  constructor({ message, ...about }) {
    super(message);
    this.name = "SliceFailure";
    Object.assign(this, { reason: null, check: null, subject: null, expected: null, got: null, members: [] }, about);
  }
}

const lost = (message) => new SliceFailure({ code: "connection", message });

// The module throws a failure as JSON.
function judged(call) {
  try {
    return call();
  } catch (thrown) {
    throw typeof thrown === "string" ? new SliceFailure(JSON.parse(thrown)) : thrown;
  }
}

async function problemOf(response) {
  let said = {};
  try {
    let text = "";
    const decoder = new TextDecoder();
    for (const reader = response.body.getReader(); text.length < LONGEST_PROBLEM; ) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    said = JSON.parse(text);
  } catch {
    // The response is not a problem of this protocol: report only its status.
  }
  const reason = typeof said?.code === "string" ? said.code : null;
  const members = Array.isArray(said?.members) ? said.members.filter((name) => typeof name === "string") : [];
  const message = typeof said?.detail === "string" ? said.detail : `the server answered ${response.status}`;
  const code = ["not-found", "exhausted"].includes(reason) ? reason : "refused";
  return new SliceFailure({ code, reason, members, message });
}

/** Aborts unless something moves in time. */
class Watchdog {
  #control = new AbortController();
  #timer;

  get signal() {
    return this.#control.signal;
  }

  moved() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#control.abort(lost(`the server sent nothing for ${SILENCE / 1000} s`)), SILENCE);
  }

  end() {
    clearTimeout(this.#timer);
    this.#control.abort();
  }
}

/**
 * `{ digest, length, server }` of the blob, the range of it, and of the module `createReader(digest, length, start, end)` and `createRetry()`.
 * Throws a SliceFailure, or the reason of `signal`.
 */
export async function* verifiedBytes({ digest, length, server }, { start, end }, { createReader, createRetry, fetch, signal, pause = wait }) {
  const retry = createRetry();
  try {
    yield* withRetries();
  } finally {
    retry.free();
  }

  async function* withRetries() {
    for (let at = start; at < end; ) {
      const until = Math.min(end, (Math.floor(at / WINDOW) + 1) * WINDOW);
      try {
        for await (const bytes of oneWindow(at, until)) {
          at += bytes.length;
          retry.moved(at);
          yield bytes;
        }
      } catch (error) {
        signal.throwIfAborted();
        const next = pauseAfter(error);
        if (next === undefined) throw Object.assign(error, { at });
        await pause(next);
        signal.throwIfAborted();
      }
    }
  }

  // Bytes that failed a check are not requested again: nothing shows that the next ones would pass.
  function pauseAfter({ code, reason }) {
    if (code !== "connection" && reason === null) return undefined;
    return retry.pause(reason ?? undefined, performance.now(), crypto.getRandomValues(new Uint8Array(1))[0]);
  }

  async function* oneWindow(from, until) {
    const watchdog = new Watchdog();
    const url = `${server}/v1/blobs/${digest}/slice?start=${from}&end=${until}`;
    const slices = createReader(digest, length, from, until);
    try {
      watchdog.moved();
      const response = await fetch(url, {
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.any([signal, watchdog.signal]),
      }).catch((error) => {
        throw lost(error.message);
      });
      if (response.status !== 200) throw await problemOf(response);
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          throw lost(error.message);
        });
        watchdog.moved();
        if (done) break;
        const bytes = judged(() => slices.push(value));
        if (bytes.length > 0) yield bytes;
      }
      judged(() => slices.finish());
    } finally {
      watchdog.end();
      slices.free();
    }
  }
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
