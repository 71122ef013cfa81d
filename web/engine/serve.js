// The worker's side of the protocol: it receives requests, and sends the progress and one result or error of each.
//
//   to the worker     { id, task, args }   { id, cancel: true }   { id, nudge: true }
//   from the worker   { ready: true }   { id, progress: [event] }   { id, result }   { id, error }

// Milliseconds between two messages with progress: more of them are not visible, and keep the page busy.
const INTERVAL = 50;
// Stages with a running number: only the latest event of each is sent.
const RUNNING = ["hashing", "sending", "receiving"];

/** An error's fields as a plain object: an Error object loses them in a message. */
function plain(error) {
  const { name, message, code, reason, check, subject, expected, got, members, canRetry } = error ?? {};
  return { name: String(name), message: String(message), code, reason, check, subject, expected, got, members, canRetry };
}

class Progress {
  #post;
  #events = [];
  #sent = -Infinity;
  #timer;

  constructor(post) {
    this.#post = post;
  }

  add(event) {
    const last = this.#events.at(-1);
    if (RUNNING.includes(event.stage) && last?.stage === event.stage) this.#events.pop();
    this.#events.push(event);
    // Timers of a worker that computes do not fire, so compare the time here as well.
    const wait = this.#sent + INTERVAL - performance.now();
    if (wait <= 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), wait);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#events.length === 0) return;
    this.#sent = performance.now();
    this.#post(this.#events.splice(0));
  }
}

/**
 * `port`: a worker's global or a MessagePort. A task is `(args, { signal, progress, onNudge }) => Promise`. A nudge calls the function that the
 * task passed to `onNudge` last.
 */
export function serve(port, tasks) {
  const running = new Map();

  async function run({ id, task, args }) {
    const control = new AbortController();
    const entry = { control, nudge: null };
    running.set(id, entry);
    const onNudge = (nudge) => (entry.nudge = nudge);
    const progress = new Progress((events) => port.postMessage({ id, progress: events }));
    let answer;
    try {
      answer = { id, result: await tasks[task](args, { signal: control.signal, progress: (event) => progress.add(event), onNudge }) };
    } catch (error) {
      answer = { id, error: plain(error) };
    }
    progress.flush();
    running.delete(id);
    port.postMessage(answer);
  }

  port.onmessage = ({ data }) => {
    if (data.cancel) running.get(data.id)?.control.abort();
    else if (data.nudge) running.get(data.id)?.nudge?.();
    else void run(data);
  };
  port.postMessage({ ready: true });
}
