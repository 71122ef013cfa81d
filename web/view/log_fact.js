// The newest log head that the server shows, as a fact of the server panel.
import { SOURCES, logHead } from "../logic/words.js";
import { fact, h, setData, setText } from "./dom.js";

export class LogFact {
  #shown = h("p", {});
  #more = h("p", { class: "quiet" });
  element = fact("log", "The ordered log", [this.#shown, this.#more]);

  /** `watch`: the `LogWatch`; `source`: where the identity came from that heads are judged by. */
  update(watch, source) {
    const [shown, more] = logHead(watch);
    const judgedBy = source === "first-use" && watch.head !== null ? ` Judged by the identity ${SOURCES[source]}.` : "";
    setData(this.element, { state: watch.state, height: watch.head?.height ?? "" });
    setText(this.#shown, shown);
    setText(this.#more, `${more}${judgedBy}`);
    this.#more.hidden = this.#more.textContent === "";
  }
}
