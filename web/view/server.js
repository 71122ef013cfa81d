// The server panel: which server this page talks to, how it is, and a field for pages that have none.
import { serverName } from "../logic/address.js";
import { count, plural } from "../logic/format.js";
import { logTrouble } from "../logic/words.js";
import { Committee } from "./committee.js";
import { code, fact, foreign, h, setData, setText } from "./dom.js";
import { LogFact } from "./log_fact.js";
import { summaryLine } from "./summary.js";

const TOKEN_HINT = "Only if this server asks for one. It is kept until this page is closed, and not sent: files are signed with it here.";

const button = (text, props = {}) => h("button", { ...props, class: "button" }, text);
const connectedOf = ({ members }) => members.filter(({ connected }) => connected).length;

function short({ state, status }) {
  switch (state) {
    case "looking":
      return ["dash", "looking for it"];
    case "none":
      return ["question", "files can be verified, not certified or fetched"];
    case "unreachable":
      return ["cross", "cannot be reached; trying again"];
    case "not-allowed":
      return ["cross", "answers, but not to this page"];
    case "not-vouch":
      return ["cross", "something else than a Vouch server answers there"];
    case "mixed":
      return ["cross", "an encrypted page may not use a server that is not"];
    case "no-verifier":
      return ["cross", "cannot be used without the verifier"];
    case "waiting":
      if (status.cluster === null)
        return ["dash", `waits for replicas: ${status.connected}${status.wanted === null ? "" : ` of ${status.wanted}`} connected`];
      return [
        "alert",
        `${count(connectedOf(status))} of ${plural(status.members.length, "replica")} connected, ${count(status.quorum)} needed`,
      ];
    default:
      return ["check", `${count(connectedOf(status))} of ${plural(status.members.length, "replica")} connected`];
  }
}

/** `origin`: the page's, to tell operators what to allow. */
export class ServerPanel {
  #server;
  #origin;
  #log;
  #trust;
  #isOpen = false;
  #wasAsked = false;
  #toggle = h("button", { type: "button", class: "disclosure", "aria-expanded": "false", "aria-controls": "server-more" });
  #explained = h("div", { class: "explained" });
  #committee = new Committee();
  #facts = h("dl", { class: "facts" });
  #logFact = new LogFact();
  #input = h("input", {
    id: "server-address",
    type: "text",
    class: "key",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "host:port",
    "aria-describedby": "server-complaint",
  });
  #complaint = h("p", { class: "complaint", id: "server-complaint", role: "alert", hidden: true });
  #token = h("input", {
    id: "server-token",
    type: "password",
    class: "key",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "vouch-token-…",
    "aria-describedby": "server-token-hint",
  });
  #tokenHint = h("p", { class: "quiet", id: "server-token-hint", role: "status" }, TOKEN_HINT);
  #form;
  #more;
  element;

  /** `log`: the `LogWatch` of this server, judging by the identity of `trust`. `onTyped(base)`: a server was entered. */
  constructor(server, { log, trust, origin, onTyped = () => {} }) {
    this.#server = server;
    this.#log = log;
    this.#trust = trust;
    this.#origin = origin;
    this.#toggle.addEventListener("click", () => this.open(!this.#isOpen));
    const submit = (event) => {
      event.preventDefault();
      const isServer = server.type(this.#input.value);
      setText(this.#complaint, isServer ? "" : "This is no server: give HOST:PORT, or a URL with http, https, ws or wss.");
      this.#complaint.hidden = isServer;
      this.#input.setAttribute("aria-invalid", String(!isServer));
      if (isServer) onTyped(server.base);
      else this.#input.focus();
    };
    this.#form = h(
      "form",
      { class: "server-form", onsubmit: submit },
      h("label", { for: "server-address" }, "Server address"),
      h("div", { class: "field" }, this.#input, button("Use this server")),
      this.#complaint,
    );
    this.#token.addEventListener("input", () => {
      const isToken = server.useToken(this.#token.value);
      this.#token.setAttribute("aria-invalid", String(!isToken));
      setText(this.#tokenHint, isToken ? TOKEN_HINT : "This is no token: its text begins with vouch-token-.");
    });
    const tokens = h(
      "div",
      { class: "server-form" },
      h("label", { for: "server-token" }, "Token"),
      h("div", { class: "field" }, this.#token),
      this.#tokenHint,
    );
    this.#more = h(
      "div",
      { id: "server-more", class: "disclosed", hidden: true },
      this.#explained,
      this.#form,
      tokens,
      this.#committee.element,
      this.#facts,
    );
    this.element = h("section", { id: "server", class: "panel", "aria-label": "Server" }, this.#toggle, this.#more);
    server.addEventListener("change", () => this.#show());
    log.addEventListener("change", () => {
      if (this.element.dataset.log !== log.state) this.#show();
      else this.showLog();
    });
    this.#show();
  }

  open(isOpen) {
    this.#isOpen = isOpen;
    this.#more.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
  }

  /** Shows what is known of the log, and how old it is now. */
  showLog() {
    this.#logFact.update(this.#log, this.#trust.decision.source);
  }

  #show() {
    const { state, from, base, status, ignored } = this.#server;
    setData(this.element, { state, from: from ?? "", log: this.#log.state });
    const [mark, text] = this.#short();
    const what = base === null ? "none yet" : foreign(serverName(base), { class: "server-name" });
    this.#toggle.replaceChildren(...summaryLine(mark, "Server", what, text));
    // It asks by itself once, when there is none; whoever folds it away means it.
    if (state === "none" && !this.#wasAsked) {
      this.#wasAsked = true;
      this.open(true);
    }
    this.#explained.replaceChildren(...this.#explanation(state, ignored, base).map((content) => h("p", {}, content)));
    this.#form.hidden = from === "page";
    const members = status?.members ?? [];
    this.#committee.element.hidden = members.length === 0;
    if (members.length > 0) {
      const shown = members.map(({ member, name, connected }) => ({ member, name, state: connected ? "connected" : "absent" }));
      this.#committee.update({ members: shown, quorum: status.quorum, counts: "connected" });
    }
    this.#facts.replaceChildren(...this.#factsOf(status));
    this.showLog();
  }

  #short() {
    const [mark, text] = short(this.#server);
    const trouble = logTrouble(this.#log);
    return trouble === null ? [mark, text] : ["alert", `${text}; ${trouble}`];
  }

  #explanation(state, ignored, base) {
    const texts = [];
    if (state === "none")
      texts.push(
        "This page came from a host that is no Vouch server. Name one to certify and fetch files. It need not be trusted: what it sends is checked here.",
      );
    if (state === "unreachable") texts.push("Nothing answers there. Is the server running, and the address right? The page keeps trying.");
    if (state === "not-allowed")
      texts.push([
        "It accepts no links from pages of this origin. Ask its operator to start it with ",
        h("code", { class: "command" }, `--allow-origin ${this.#origin}`),
        ".",
      ]);
    if (state === "not-vouch") texts.push("What answers there is no Vouch server, or one of another version. Is the address right?");
    if (state === "mixed")
      texts.push(
        "This page came over an encrypted connection, and browsers then allow no other. Use a server with https, or open the page from the server itself.",
      );
    if (state === "waiting")
      texts.push("Files cannot be certified before enough replicas are connected. The page notices by itself when they are.");
    if (ignored !== null)
      texts.push([
        "The address also names the server ",
        foreign(serverName(ignored)),
        ". This page came from a server of its own, ",
        foreign(serverName(base)),
        ", and uses only that.",
      ]);
    if (texts.length === 0 && base !== null)
      texts.push("It passes files on to the replicas and collects their signatures. It signs nothing itself, and need not be trusted.");
    return texts;
  }

  #factsOf(status) {
    if (status === null) return [];
    const facts = [fact("server-key", "Key of the server's links", code(status.server))];
    if (status.cluster !== null) {
      facts.unshift(
        this.#logFact.element,
        fact(
          "tolerated",
          "Tolerated",
          status.toleratedFaults === 0
            ? "no failure: every replica must be up"
            : `${plural(status.toleratedFaults, "replica")} may fail or lie`,
        ),
      );
    }
    return facts;
  }
}
