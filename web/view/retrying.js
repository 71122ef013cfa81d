// The wait of a put or a get that lost its connection.
import { waiting } from "../logic/words.js";

// Milliseconds between two looks at the seconds that are left.
const TICK = 250;

export class RetryWait {
  #until = 0;
  #ticking = null;
  /** Each `nudge` event ends the wait; for `Engine.run`. */
  nudges = new EventTarget();

  /** `event`: the progress message `lost`. */
  begin(event) {
    this.#until = performance.now() + 1000 * event.retry_in;
  }

  /** Calls `show` again and again while `isLost`, because the text changes every second. */
  tick(isLost, show) {
    if (isLost === (this.#ticking !== null)) return;
    clearInterval(this.#ticking);
    this.#ticking = isLost ? setInterval(show, TICK) : null;
  }

  /** `lost`: why the connection was lost, and whether the wait still runs. */
  text(lost) {
    return waiting(lost, lost.isWaiting ? Math.ceil((this.#until - performance.now()) / 1000) : 0);
  }

  /** The action that ends the wait. */
  get action() {
    return ["Try now", () => this.nudges.dispatchEvent(new Event("nudge"))];
  }
}
