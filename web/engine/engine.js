// The page's side of the protocol. Each task runs in a worker of its own, so that no task waits for another one's computation.

// Number of idle workers that are kept. Each holds the module and the last committee that it verified.
const MOST_IDLE = 2;
// A worker that computes receives no messages. If it has not ended a cancelled task after this many milliseconds, it is terminated.
const GRACE_PERIOD = 1500;

/** Why a task failed. */
export class TaskError extends Error {
  constructor({ name, message, ...fields }) {
    super(message);
    Object.assign(this, fields, { name });
  }
}

const browserError = (message) => new TaskError({ name: "TaskError", message, code: "browser" });

let lastId = 0;

class WorkerHandle {
  #worker;
  #settle = null;
  /** Whether it receives messages. */
  isReady = false;
  isDead = false;
  startedBy;

  constructor(start) {
    const worker = start();
    this.#worker = worker;
    this.startedBy = start;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.isDead = true;
      this.#end({ error: browserError(event.message || "the worker could not be started") });
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

  /** Whether it ended before it received messages: the browser does not allow workers here. */
  get isRefused() {
    return this.isDead && !this.isReady;
  }

  end() {
    this.isDead = true;
    this.#worker.terminate();
    this.#end({ error: browserError("the worker was ended") });
  }

  #receive({ ready, id, progress, result, error }) {
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

  /** `start()` makes a Worker. `instead()`, if given, makes its substitute if the browser refuses workers. */
  constructor(start, { instead = null } = {}) {
    this.#start = start;
    this.#instead = instead;
  }

  /**
   * Rejects with `signal.reason` at once on an abort; later events of the task are ignored. Each `nudge` event of the target `nudges` is
   * passed to the task.
   */
  async run(task, args, options = {}) {
    const { signal } = options;
    signal?.throwIfAborted();
    // The worker used last most likely knows the committee.
    this.#idle = this.#idle.filter(({ isDead }) => !isDead);
    const worker = this.#idle.pop() ?? this.#startWorker();
    try {
      return await this.#perform(worker, task, args, options);
    } catch (error) {
      if (!worker.isRefused) throw error;
      if (this.#hasSubstitute(worker.startedBy)) this.#start = this.#instead;
      // Without a network, the script of another worker cannot be loaded: wait for a running one.
      else if (!(await this.#untilIdle())) throw error;
      return await this.run(task, args, options);
    }
  }

  /** Waits for an idle worker. Returns false if no worker is running. */
  async #untilIdle() {
    if (this.#idle.length > 0) return true;
    if (this.#working.size === 0) return false;
    await new Promise((resolve) => this.#waiting.push(resolve));
    return true;
  }

  #startWorker() {
    try {
      return new WorkerHandle(this.#start);
    } catch (error) {
      if (!this.#hasSubstitute(this.#start)) throw browserError(error.message);
      this.#start = this.#instead;
      return this.#startWorker();
    }
  }

  #hasSubstitute(start) {
    return this.#instead !== null && start !== this.#instead;
  }

  async #perform(worker, task, args, { signal, onProgress, nudges }) {
    let late;
    let cancel;
    const cancelled = new Promise((_, reject) => {
      cancel = () => {
        worker.cancel();
        late = setTimeout(() => worker.end(), GRACE_PERIOD);
        reject(signal.reason);
      };
    });
    const nudge = () => worker.nudge();
    signal?.addEventListener("abort", cancel, { once: true });
    nudges?.addEventListener("nudge", nudge);
    this.#working.add(worker);
    const performed = worker.perform(task, args, (event) => signal?.aborted || onProgress?.(event));
    const over = () => {
      clearTimeout(late);
      signal?.removeEventListener("abort", cancel);
      nudges?.removeEventListener("nudge", nudge);
      this.#release(worker);
    };
    performed.then(over, over);
    return Promise.race([performed, cancelled]);
  }

  /** Ends the workers that are idle. */
  end() {
    this.#idle.splice(0).forEach((worker) => worker.end());
  }

  #release(worker) {
    this.#working.delete(worker);
    if (!worker.isDead && this.#idle.length < MOST_IDLE) this.#idle.push(worker);
    else if (!worker.isDead) worker.end();
    this.#waiting.splice(0).forEach((go) => go());
  }
}
