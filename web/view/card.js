// The card of one transfer: its name, what it is at, what can be done about it, and room for what came of it.
import { action, cut, freshId, h, setData } from "./dom.js";
import { icon } from "./icons.js";
import { Running } from "./running.js";

/** A link that saves a Blob. The browser is told that it is bytes, whatever they are. */
export function saveLink(blob, name, { isMain = true } = {}) {
  const url = URL.createObjectURL(blob.type === "application/octet-stream" ? blob : new Blob([blob], { type: "application/octet-stream" }));
  const link = h(
    "a",
    { class: `button ${isMain ? "main" : ""}`.trim(), href: url, download: name },
    icon("save"),
    h("span", { class: "button-text" }, "Save ", cut(name)),
  );
  return { link, revoke: () => URL.revokeObjectURL(url) };
}

export class Card {
  #name;
  #actions = h("div", { class: "actions" });
  #running = new Running();
  #labels = [];
  size = h("span", { class: "quiet job-size" });
  body = h("div", { class: "job-body" });
  element;

  /** `note` tells apart what has the same name. */
  constructor(name, { note = "" } = {}) {
    this.#name = name;
    const id = freshId("job");
    const title = h("h2", { id, class: "job-name" }, cut(name), note === "" ? null : h("span", { class: "quiet" }, ` ${note}`));
    const head = h("header", { class: "job-head" }, icon("file"), h("div", { class: "job-title" }, title, this.size), this.#actions);
    this.element = h("article", { class: "job", "data-name": name, "aria-labelledby": id }, head, this.#running.element, this.body);
  }

  /** `running`: what `Running` shows as long as something is under way, else null. `actions`: [[label, function, attributes]]. */
  update({ state, running, actions }) {
    setData(this.element, { state });
    if (running === null) this.#running.hide();
    else this.#running.show({ ...running, name: this.#name });
    const before = this.#labels;
    const labels = actions.map(([label]) => label);
    if (labels.join() === before.join()) return;
    this.#labels = labels;
    const focused = [...this.#actions.children].indexOf(document.activeElement);
    this.#actions.replaceChildren(...actions.map(([label, run, props]) => action(label, this.#name, run, props)));
    // Who pressed a button by keyboard goes on from it, or from its successor, not from the top of the page.
    if (focused >= 0) this.#actions.children[Math.max(0, labels.indexOf(before[focused]))]?.focus();
  }
}

/** What went wrong, and what to do. `details` are lines of text from outside. */
export function problem({ title, advice, code, reason = null }, { details = [], extra = [] } = {}) {
  return h(
    "div",
    { class: "problem", role: "alert", "data-code": code, "data-reason": reason ?? "" },
    icon("alert"),
    h("div", {}, h("p", { class: "problem-title" }, title), advice === "" ? null : h("p", {}, advice), extra, details),
  );
}
