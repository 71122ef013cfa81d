// The worker's end of the protocol: requests come in, progress and one result or error each go out.
//
//   to the worker     { id, task, args }   { id, cancel: true }   { id, nudge: true }
//   from the worker   { ready: true }   { id, progress: [event] }   { id, result }   { id, error }

// Twenty messages a second: more is not seen, and would only keep the page busy.
const INTERVAL = 50;
// Of these only the latest counts, each with a total to reach.
const RUNNING = ["hashing", "sending", "receiving"];

/** What of an error is worth telling the other side: Error objects themselves lose their fields on the way. */
function plain(error) {
  const { name, message, code, reason, check, expected, got, members, canRetry } = error ?? {};
  return { name: String(name), message: String(message), code, reason, check, expected, got, members, canRetry };
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
    // A worker that computes does not get to its timers, so the time is looked at here as well.
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
 * `port`: a worker's global or a MessagePort. A task is `(args, { signal, progress, onNudge }) => Promise`; what it gave to `onNudge`
 * last is called when it is nudged.
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
