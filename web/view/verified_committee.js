// The newest committee of the trusted cluster that was verified on this device, with a way to forget it.
import { date } from "../logic/format.js";
import { code, h, setData } from "./dom.js";

const button = (text, onclick, props = {}) => h("button", { type: "button", ...props, class: `button ${props.class ?? ""}`.trim(), onclick }, text);

export class VerifiedCommittee {
  #trust;
  #isForgetting = false;
  element = h("div", { class: "explained", "data-verified-committee": "" });

  constructor(trust) {
    this.#trust = trust;
    trust.addEventListener("change", () => {
      this.#isForgetting = false;
      this.#show();
    });
    this.#show();
  }

  #show() {
    const { committee, checkpoint } = this.#trust;
    setData(this.element, { verifiedCommittee: committee?.checkpoint ?? "" });
    this.element.hidden = committee === null;
    if (committee === null) return this.element.replaceChildren();
    const judged = checkpoint === null ? " A certificate is judged by it if its bundle has this epoch." : "";
    this.element.replaceChildren(
      h("p", { class: "identity" }, h("span", { class: "quiet" }, "Newest verified committee"), code(committee.checkpoint)),
      h("p", {}, `This device verified it on ${date(committee.since)}. A server of this cluster that does not show it is refused.${judged}`),
      h("div", { class: "actions" }, this.#actions()),
    );
  }

  // Twice, so that it is deliberate: a server with keys of members that have left could then take the cluster's place.
  #actions() {
    const turn = (isForgetting) => {
      this.#isForgetting = isForgetting;
      this.#show();
      this.element.querySelector("button").focus();
    };
    if (!this.#isForgetting) return [button("Forget this committee", () => turn(true))];
    return [button("Yes, forget this committee", () => void this.#trust.forgetCommittee(), { class: "danger" }), button("No, keep this committee", () => turn(false))];
  }
}
