// The newest head of the cluster's log that the server shows: asked for again and again, and verified each time.

import { downloadBundle } from "./bundle_download.js";
import { reasonOf } from "./words.js";

// Milliseconds between an answer and the next question; after answers that prove nothing, up to the longest pause.
const ASK_EVERY = 20_000;
const LONGEST_PAUSE = 300_000;
// A server whose log has no head yet waits 25 s for one.
const PATIENCE = 40_000;

const proves = (state) => !["not-verified", "unread"].includes(state);

/** Says "change" for every answer. */
export class LogWatch extends EventTarget {
  #fetch;
  #limits;
  #judge;
  #now;
  #server = null;
  #cluster = null;
  // The highest verified head of this visit, for each cluster: a server that goes back to an earlier one shows an old head.
  #highest = new Map();
  #asking = null;
  #due = 0;
  #failures = 0;
  /**
   * What the server's last answer was:
   * - "unknown": it was not asked yet, or no identity is trusted
   * - "none": the log has no head yet
   * - "verified": `head` is valid
   * - "older": the head is lower than `head`, and `got` is its height; null if the server shows none any more
   * - "not-verified": the verdict is not valid, and `reason` says why
   * - "unread": there is no complete answer, and `reason` says why
   */
  state = "unknown";
  got = null;
  reason = null;

  /** `judge({ bundle, cluster, height }, { signal })` resolves to the report of the package's `verifyHead`; `now()`: milliseconds. */
  constructor({ fetch, limits, judge, now = () => performance.now() }) {
    super();
    this.#fetch = fetch;
    this.#limits = limits;
    this.#judge = judge;
    this.#now = now;
  }

  /** The highest head of the followed cluster that was verified in this visit, or null. */
  get head() {
    return this.#highest.get(this.#cluster)?.head ?? null;
  }

  /** The age of `head` in seconds, now. */
  get age() {
    const { head, at } = this.#highest.get(this.#cluster);
    return head.age + Math.max(0, Math.floor((this.#now() - at) / 1000));
  }

  /** Which server to ask, and the trusted identity; null for none. */
  follow(server, cluster) {
    if (server === this.#server && cluster === this.#cluster) return;
    this.#stop();
    Object.assign(this, { state: "unknown", got: null, reason: null });
    this.#server = server;
    this.#cluster = cluster;
    this.#failures = 0;
    this.#due = this.#now();
    this.dispatchEvent(new Event("change"));
  }

  /** Asks if it is time to. A page that nobody sees asks nothing. */
  async tick(isVisible) {
    if (!isVisible) return this.#stop();
    if (this.#server === null || this.#cluster === null || this.#asking !== null || this.#now() < this.#due) return;
    const control = new AbortController();
    this.#asking = control;
    const answer = await this.#ask(control.signal).catch(({ message }) => ({ state: "unread", reason: message }));
    if (control.signal.aborted) return;
    this.#asking = null;
    this.#failures = proves(answer.state) ? 0 : this.#failures + 1;
    this.#due = this.#now() + Math.min(LONGEST_PAUSE, ASK_EVERY * 2 ** Math.max(0, this.#failures - 1));
    Object.assign(this, { got: null, reason: null, ...answer });
    this.dispatchEvent(new Event("change"));
  }

  #stop() {
    this.#asking?.abort();
    this.#asking = null;
  }

  async #ask(signal) {
    const [cluster, known] = [this.#cluster, this.head];
    // A server without a head answers 404, an error in the browser's console, unless it is asked to wait for one.
    const url = `${this.#server}/v1/log/head${known === null ? "?after=0" : ""}`;
    const { status, bundle } = await downloadBundle(url, { fetch: this.#fetch, limits: this.#limits, signal, patience: PATIENCE });
    if (status === 204 || status === 404) return { state: known === null ? "none" : "older" };
    if (bundle === null) return { state: "unread", reason: `the server answered ${status}` };
    const report = await this.#judge({ bundle, cluster, height: known?.height ?? null }, { signal });
    if (report.verdict === "valid") {
      this.#highest.set(cluster, { head: report.head, at: this.#now() });
      return { state: "verified" };
    }
    return report.check === "height" ? { state: "older", got: report.got } : { state: "not-verified", reason: reasonOf(report) };
  }
}
