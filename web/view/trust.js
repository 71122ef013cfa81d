// The trust panel: whom this page trusts, how it came to that, and what to do about it. Short at the top, in full on demand.
import { serverName } from "../logic/address.js";
import { abbreviated, date } from "../logic/format.js";
import { code, foreign, h, setData } from "./dom.js";
import { icon } from "./icons.js";
import { summaryLine } from "./summary.js";
import { VerifiedCommittee } from "./verified_committee.js";

const button = (text, onclick, props = {}) =>
  h("button", { type: "button", ...props, class: `button ${props.class ?? ""}`.trim(), onclick }, text);

/** The two lines at the top: `[mark, identity or what there is instead, how]`. */
function short({ state, identity, source, compared }) {
  if (state === "refused") return ["cross", "refused", "the server shows another than the one you trust"];
  if (state === "malformed") return ["alert", "none", "the address names no valid one"];
  if (state === "none") return ["question", "none yet", "without one nothing can be judged"];
  const how = {
    address: "named by the address you opened",
    typed: "entered by you",
    remembered: compared ? "remembered, and compared by you" : "remembered, never compared by you",
    "first-use": "taken from the server on first use",
  }[source];
  return [compared ? "check" : "question", code(abbreviated(identity)), how];
}

const EXPLAINED = {
  none: () => [
    "A certificate is judged by the identity of the cluster that made it: one short code. Ask the operators for it, and enter it here. Without it this page can read a bundle, but not say whether it is true.",
  ],
  address: ({ server }) => [
    "The address that you opened names this identity. It is worth as much as whoever gave you the address: best if that was not the server itself.",
    server === null ? null : "If the server shows another one, nothing is sent to it.",
  ],
  typed: ({ server }) => [
    `You entered this identity. Every certificate is judged by it${server === null ? "" : ", and a server that shows another one is refused"}.`,
  ],
  remembered: ({ since, compared }) => [
    `This server showed the same identity on ${date(since)}, when this page remembered it. If it ever changes, the page refuses it and tells you.`,
    compared
      ? null
      : "It was the server's word then, and nobody has compared it since. To be sure, compare it with what the operators gave you.",
  ],
  "first-use": ({ remembers }) => [
    "You have not told this page whom to trust, so it takes the server's word for it. If somebody else answers in the server's place, you would not notice today" +
      (remembers
        ? " – but this page remembers the identity and will warn you if it ever changes."
        : ". Your browser does not let this page remember the identity, so it cannot warn you if it changes later either."),
    "To be sure, compare it with what the operators gave you.",
  ],
};

function pair(expected, expectedTerm, got, gotTerm) {
  return h(
    "dl",
    { class: "comparison" },
    h("div", {}, h("dt", {}, expectedTerm), h("dd", { "data-field": "expected" }, code(expected))),
    h("div", {}, h("dt", {}, gotTerm), h("dd", { "data-field": "got" }, code(got))),
  );
}

function complain(input, complaint, text) {
  complaint.textContent = text;
  complaint.hidden = text === "";
  input.setAttribute("aria-invalid", String(text !== ""));
}

const alertBox = (kind, severity, ...content) =>
  h("div", { class: `alert ${severity}`, role: "alert", "data-alert": kind }, icon("alert"), h("div", { class: "alert-text" }, content));

/**
 * `trust` may have no server: then it is about verifying only. `note`: what else belongs into the long form. `onTyped(identity)`: one was
 * entered. `onIgnore()`: the address's identity is to be dropped from the address.
 */
export class TrustPanel {
  #trust;
  #options;
  #isOpen = false;
  #forgetting = false;
  #toggle = h("button", { type: "button", class: "disclosure", "aria-expanded": "false", "aria-controls": "trust-more" });
  #explained = h("div", { class: "explained" });
  #buttons = h("div", { class: "actions" });
  #input = h("input", {
    id: "identity",
    type: "text",
    class: "key",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "identity-complaint",
  });
  #complaint = h("p", { class: "complaint", id: "identity-complaint", role: "alert", hidden: true });
  #pinned = h("div", { class: "explained" });
  #checkpoint = h("input", {
    id: "checkpoint",
    type: "text",
    class: "key",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "checkpoint-complaint",
  });
  #checkpointComplaint = h("p", { class: "complaint", id: "checkpoint-complaint", role: "alert", hidden: true });
  #checkpointForm = h(
    "form",
    { class: "identity-form", onsubmit: (event) => void this.#pin(event) },
    h("label", { for: "checkpoint" }, "Checkpoint: a recent committee of this cluster, EPOCH:DIGEST"),
    h("div", { class: "field" }, this.#checkpoint, h("button", { class: "button" }, "Trust this committee")),
    this.#checkpointComplaint,
  );
  #more;
  /** The warnings: apart from the panel, never folded away. */
  alerts = h("div", { class: "alerts" });
  element;

  constructor(trust, options = {}) {
    this.#trust = trust;
    this.#options = options;
    this.#toggle.addEventListener("click", () => this.open(!this.#isOpen));
    const form = h(
      "form",
      { class: "identity-form", onsubmit: (event) => void this.#submit(event) },
      h("label", { for: "identity" }, "Cluster identity"),
      h("div", { class: "field" }, this.#input, h("button", { class: "button" }, "Trust this identity")),
      this.#complaint,
    );
    this.#more = h(
      "div",
      { id: "trust-more", class: "disclosed", hidden: true },
      this.#explained,
      this.#buttons,
      form,
      new VerifiedCommittee(trust).element,
      this.#pinned,
      this.#checkpointForm,
      options.note ?? null,
    );
    this.element = h("section", { id: "trust", class: "panel", "aria-label": "Trust" }, this.#toggle, this.#more);
    trust.addEventListener("change", () => {
      this.#forgetting = false;
      this.#show();
    });
    this.#show();
  }

  open(isOpen) {
    this.#isOpen = isOpen;
    this.#more.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
  }

  /** Leads to where an identity can be entered. */
  ask() {
    this.open(true);
    this.#input.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  async #submit(event) {
    event.preventDefault();
    try {
      await this.#trust.type(this.#input.value);
      this.#complain("");
      this.#input.value = "";
      this.#options.onTyped?.(this.#trust.decision.identity);
    } catch (error) {
      this.#complain(
        error.name === "TypeError" ? "This is no identity: give 43 or 44 characters of base58, or 64 hexadecimal digits." : error.message,
      );
      this.#input.focus();
    }
  }

  #complain(text) {
    complain(this.#input, this.#complaint, text);
  }

  async #pin(event) {
    event.preventDefault();
    try {
      await this.#trust.pin(this.#checkpoint.value);
      complain(this.#checkpoint, this.#checkpointComplaint, "");
      this.#checkpoint.value = "";
    } catch (error) {
      const isMalformed = error.name === "TypeError";
      const text = isMalformed ? "This is no checkpoint: give the number of its epoch, a colon, and its digest in base58 or hexadecimal." : error.message;
      complain(this.#checkpoint, this.#checkpointComplaint, text);
      this.#checkpoint.focus();
    }
  }

  // A checkpoint is of a cluster: without a trusted one there is nothing to pin.
  #showCheckpoint() {
    const { checkpoint, decision } = this.#trust;
    this.#checkpointForm.hidden = decision.identity === null;
    const shown =
      checkpoint === null
        ? []
        : [
            h("p", { class: "identity", "data-checkpoint": checkpoint }, h("span", { class: "quiet" }, "Trusted committee"), code(checkpoint)),
            h("p", {}, "Certificates are judged by this committee as well, until you close the page. It is worth as much as whoever gave it to you: not the server that it is to check."),
            h("div", { class: "actions" }, button("Trust the identity alone", () => void this.#trust.unpin())),
          ];
    this.#pinned.replaceChildren(...shown);
  }

  #show() {
    const { decision, server, remembers } = this.#trust;
    const { state, identity, source, compared } = decision;
    setData(this.element, { state, source, identity: identity ?? "", compared });
    const [mark, what, how] = short(decision);
    this.#toggle.replaceChildren(...summaryLine(mark, "Trusted cluster", what, how));
    const explained = (EXPLAINED[source] ?? EXPLAINED.none)({ ...decision, server, remembers }).filter((text) => text !== null);
    this.#explained.replaceChildren(
      ...(identity === null ? [] : [h("p", { class: "identity" }, h("span", { class: "quiet" }, "Trusted identity"), code(identity))]),
      ...explained.map((text) => h("p", {}, text)),
    );
    this.#buttons.replaceChildren(...this.#actions());
    this.#showCheckpoint();
    this.alerts.replaceChildren(...this.#warnings());
  }

  #actions() {
    const { decision } = this.#trust;
    const actions = [];
    if (decision.state === "refused" || decision.identity === null) return actions;
    if (!decision.compared) actions.push(button("I have compared it: it is right", () => this.#trust.confirm(), { class: "main" }));
    if (decision.source === "remembered" || decision.source === "first-use") actions.push(...this.#forget("Forget it"));
    return actions;
  }

  // Twice, so that it is deliberate.
  #forget(label) {
    if (!this.#forgetting) {
      const ask = () => {
        this.#forgetting = true;
        this.#show();
        (this.alerts.querySelector("[data-sure]") ?? this.#buttons.querySelector("[data-sure]"))?.focus();
      };
      return [button(label, ask)];
    }
    const keep = () => {
      this.#forgetting = false;
      this.#show();
    };
    return [button("Yes, forget it", () => this.#trust.forget(), { class: "danger", "data-sure": true }), button("No, keep it", keep)];
  }

  #warnings() {
    const { decision, server, addressProblems } = this.#trust;
    const { refusal, differsFrom, identity } = decision;
    const name = server === null ? "" : serverName(server);
    const warnings = [];
    if (refusal?.kind === "server-changed") {
      warnings.push(
        alertBox(
          "server-changed",
          "severe",
          h("h2", {}, "The server shows another identity than before"),
          h(
            "p",
            {},
            "Either the cluster at ",
            foreign(name),
            " was set up anew, or somebody else answers in its place. Nothing is sent to it, and certificates are judged by the identity that you knew.",
          ),
          pair(refusal.expected, "trusted until now", refusal.got, "shown now"),
          h("p", {}, "Ask the operators. Only if they confirm the new identity, forget the old one."),
          h("div", { class: "actions" }, this.#forget("Forget the old identity")),
        ),
      );
    } else if (refusal !== null) {
      warnings.push(
        alertBox(
          "server-differs",
          "severe",
          h("h2", {}, "The server is not of the cluster that you trust"),
          h(
            "p",
            {},
            "Nothing is sent to ",
            foreign(name),
            ". Ask whoever gave you the identity which server to use, or the operators which identity is right.",
          ),
          pair(
            refusal.expected,
            decision.source === "address" ? "named by the address" : "entered by you",
            refusal.got,
            "shown by the server",
          ),
        ),
      );
    }
    if (differsFrom !== null) {
      const actions =
        refusal === null
          ? [
              h(
                "div",
                { class: "actions" },
                button("Remember the new one from now on", () => this.#trust.replaceRemembered()),
              ),
            ]
          : [];
      warnings.push(
        alertBox(
          "differs-from-remembered",
          "mild",
          h("h2", {}, "The address names another identity than this page remembers"),
          h(
            "p",
            {},
            "What the address names counts, for this visit. If you do not know why it differs, ask the operators before you rely on it.",
          ),
          pair(differsFrom.cluster, `remembered since ${date(differsFrom.since)}`, identity, "named by the address"),
          actions,
        ),
      );
    }
    if (decision.state === "first-use") warnings.push(this.#firstUse());
    for (const { kind, key, got } of addressProblems) warnings.push(this.#addressWarning(kind, key, got));
    return warnings;
  }

  // In plain sight: who does not know what an identity is does not open a panel to read about it.
  #firstUse() {
    const { remembers } = this.#trust;
    return h(
      "div",
      { class: "alert calm", role: "note", "data-note": "first-use" },
      icon("question"),
      h(
        "div",
        { class: "alert-text" },
        h(
          "p",
          {},
          `You have not told this page whom to trust, so it takes the server's word for it${remembers ? ", and warns you if that ever changes" : ""}. `,
          h("button", { type: "button", class: "more", onclick: () => this.open(true) }, "What that means"),
        ),
      ),
    );
  }

  #addressWarning(kind, key, got) {
    const what = key === "cluster" ? "identity" : "server";
    const title = kind === "repeated" ? `The address names more than one ${what}` : `The address names no valid ${what}`;
    const form =
      key === "cluster"
        ? "an identity is 43 or 44 characters of base58, or 64 hexadecimal digits"
        : "a server is HOST:PORT, or a URL with http, https, ws or wss";
    const consequence = key === "cluster" ? "Until that is settled nobody is trusted: not the server's word either." : "It is not used.";
    const ignore = () => {
      this.#trust.ignoreAddress();
      this.#options.onIgnore?.();
    };
    return alertBox(
      kind === "repeated" ? "repeated" : `malformed-${key}`,
      "mild",
      h("h2", {}, title),
      h("p", {}, got === "" ? "It is empty" : ["It says ", h("q", {}, foreign(got))], `; ${form}. ${consequence}`),
      key === "cluster" ? h("div", { class: "actions" }, button("Ignore what the address says", ignore)) : null,
    );
  }
}
