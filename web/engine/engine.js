// The page's end of the protocol: each task runs in a worker of its own, so that nothing waits behind another's computing.

// Idle workers that are kept: each holds the module and the last committee it opened.
const KEPT = 2;
// A worker that computes cannot listen. One that does not end a cancelled task by then is ended itself, in milliseconds.
const GRACE = 1500;

/** What a task was rejected with, on this side. */
export class TaskError extends Error {
  constructor({ name, message, ...fields }) {
    super(message);
    Object.assign(this, fields, { name });
  }
}

const broken = (message) => new TaskError({ name: "TaskError", message, code: "browser" });

let lastId = 0;

class Hand {
  #worker;
  #settle = null;
  /** It has begun to listen. */
  isReady = false;
  isDead = false;
  startedBy;

  constructor(start) {
    const worker = start();
    this.#worker = worker;
    this.startedBy = start;
    worker.onmessage = ({ data }) => this.#heard(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.isDead = true;
      this.#end({ error: broken(event.message || "the worker could not be started") });
    };
    worker.onmessageerror = () => worker.onerror({ message: "a message could not be read" });
  }

  perform(task, args, onProgress) {
    return new Promise((resolve, reject) => {
      this.#settle = { id: ++lastId, resolve, reject, onProgress };
      this.#worker.postMessage({ id: this.#settle.id, task, args });
    });
  }

  cancel() {
    if (this.#settle !== null) this.#worker.postMessage({ id: this.#settle.id, cancel: true });
  }

  nudge() {
    if (this.#settle !== null) this.#worker.postMessage({ id: this.#settle.id, nudge: true });
  }

  /** It never came to listen: workers are not allowed here. */
  get isRefused() {
    return this.isDead && !this.isReady;
  }

  end() {
    this.isDead = true;
    this.#worker.terminate();
    this.#end({ error: broken("the worker was ended") });
  }

  #heard({ ready, id, progress, result, error }) {
    this.isReady ||= ready === true;
    if (this.#settle === null || id !== this.#settle.id) return;
    if (progress !== undefined) progress.forEach((event) => this.#settle.onProgress?.(event));
    else if (error !== undefined) this.#end({ error: new TaskError(error) });
    else this.#end({ result });
  }

  #end({ result, error }) {
    const settle = this.#settle;
    this.#settle = null;
    if (error !== undefined) settle?.reject(error);
    else settle?.resolve(result);
  }
}

export class Engine {
  #start;
  #instead;
  #idle = [];
  #working = new Set();
  #waiting = [];

  /** `start()` makes a Worker. `instead()`, where there is one, makes what takes its place when workers are refused. */
  constructor(start, { instead = null } = {}) {
    this.#start = start;
    this.#instead = instead;
  }

  /**
   * Rejects with `signal.reason` at once when aborted; whatever the task still does is then nobody's business. Each `nudge` event of
   * the target `nudges` is passed on to the task.
   */
  async run(task, args, options = {}) {
    const { signal } = options;
    signal?.throwIfAborted();
    // The one used last: it most likely knows the committee.
    this.#idle = this.#idle.filter(({ isDead }) => !isDead);
    const hand = this.#idle.pop() ?? this.#hire();
    try {
      return await this.#perform(hand, task, args, options);
    } catch (error) {
      if (!hand.isRefused) throw error;
      if (this.#canDoWithout(hand.startedBy)) this.#start = this.#instead;
      // Without a network no script arrives for another one: those that are there have to do.
      else if (!(await this.#untilIdle())) throw error;
      return await this.run(task, args, options);
    }
  }

  /** False when nobody is at work who could be waited for. */
  async #untilIdle() {
    if (this.#idle.length > 0) return true;
    if (this.#working.size === 0) return false;
    await new Promise((resolve) => this.#waiting.push(resolve));
    return true;
  }

  #hire() {
    try {
      return new Hand(this.#start);
    } catch (error) {
      if (!this.#canDoWithout(this.#start)) throw broken(error.message);
      this.#start = this.#instead;
      return this.#hire();
    }
  }

  #canDoWithout(start) {
    return this.#instead !== null && start !== this.#instead;
  }

  async #perform(hand, task, args, { signal, onProgress, nudges }) {
    let late;
    let cancel;
    const cancelled = new Promise((_, reject) => {
      cancel = () => {
        hand.cancel();
        late = setTimeout(() => hand.end(), GRACE);
        reject(signal.reason);
      };
    });
    const nudge = () => hand.nudge();
    signal?.addEventListener("abort", cancel, { once: true });
    nudges?.addEventListener("nudge", nudge);
    this.#working.add(hand);
    const performed = hand.perform(task, args, (event) => signal?.aborted || onProgress?.(event));
    const over = () => {
      clearTimeout(late);
      signal?.removeEventListener("abort", cancel);
      nudges?.removeEventListener("nudge", nudge);
      this.#release(hand);
    };
    performed.then(over, over);
    return Promise.race([performed, cancelled]);
  }

  /** Ends the workers that are idle. */
  end() {
    this.#idle.splice(0).forEach((hand) => hand.end());
  }

  #release(hand) {
    this.#working.delete(hand);
    if (!hand.isDead && this.#idle.length < KEPT) this.#idle.push(hand);
    else if (!hand.isDead) hand.end();
    this.#waiting.splice(0).forEach((go) => go());
  }
}
