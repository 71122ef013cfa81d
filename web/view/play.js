// Play: a certified film or sound, of which each byte is verified before the browser's player sees it.
import { bundleOf } from "../logic/certificate.js";
import { epochsIn, isGenuine } from "../logic/examine.js";
import { size } from "../logic/format.js";
import { withoutSuffix } from "../logic/pairing.js";
import { SIGNATURE, mediaType } from "../logic/playable.js";
import { NO_PLAYER, STOPPED, fromVerified } from "../logic/words.js";
import { Card, problem } from "./card.js";
import { action, code, cut, foreign, h, oncePerFrame, setText } from "./dom.js";
import { diagnose, failure, obstacle } from "./failure.js";
import { certificateCommittee, checkList, checksSummary, forkNotice, mainFacts, verdictBanner } from "./verdict.js";

const isOver = (state) => ["failed", "cancelled", "stopped"].includes(state);
// How long the service worker may take to say why the player has got an error, in milliseconds.
const LATER = 500;
const kindOf = (type) => (type.startsWith("audio/") ? "audio" : "video");

/** The media type of a certified file, by its first bytes, or null. `about`: `{ digest, length, cluster, server }`. */
export async function typeOf(engine, { length, ...about }, options) {
  if (length === 0) return null;
  const { blob } = await engine.run("get", { ...about, length, range: `0-${SIGNATURE - 1}`, retry: 0 }, options);
  const type = mediaType(new Uint8Array(await blob.arrayBuffer()));
  // What it says is at best "maybe": the codecs within show when it is played.
  return type !== null && document.createElement(kindOf(type)).canPlayType(type) !== "" ? type : null;
}

/** The card of one film. */
export class Showing {
  #context;
  #wanted; // { digest, name } or { bundle, name }
  #state = "checking";
  #control = null;
  #release = () => {};
  #verified = 0;
  #focused = null;
  #blob = null; // what is played
  #figures = h("p", { class: "quiet" });
  #rejected = h("ul", { class: "rejected", role: "list", "aria-label": "Replicas that failed" });
  #draw = oncePerFrame(() => setText(this.#figures, `${size(this.#verified)} verified so far.`));
  card;

  /** `context.fetchInstead(wanted)` brings the file as a whole. */
  constructor(wanted, context) {
    this.#wanted = wanted;
    this.#context = context;
    this.card = new Card(wanted.name, { note: "to play" });
    this.start();
  }

  start() {
    this.#state = "checking";
    this.#verified = 0;
    this.#focused = document.activeElement;
    this.#rejected.replaceChildren();
    this.card.body.replaceChildren(this.#rejected);
    this.#show();
    void this.#run();
  }

  cancel() {
    this.#control?.abort();
    this.#end("cancelled", h("p", { class: "quiet ended" }, "Cancelled."));
  }

  remove() {
    this.#state = "cancelled";
    this.#control?.abort();
    this.#release();
    this.card.element.remove();
    this.#context.onRemove();
  }

  async #run() {
    const { engine, trust, server, origin, player } = this.#context;
    const control = new AbortController();
    this.#control = control;
    const { signal } = control;
    try {
      const inTheWay = await obstacle(this.#context, "Nothing was asked for");
      if (signal.aborted) return;
      if (inTheWay !== null) return this.#end("failed", inTheWay);
      const judged = await this.#judge(signal);
      if (signal.aborted) return;
      if (judged.report.verdict !== "valid") return this.#refused(judged);
      const { digest_base58: digest, length, cluster } = judged.said;
      const about = { digest, length, cluster, checkpoint: trust.checkpointOfLink(cluster), server: server.base, token: server.token };
      const type = await typeOf(engine, about, { signal, onProgress: (event) => this.#heard(event) });
      if (signal.aborted) return;
      if (type === null) return this.#notHere("not-playable");
      await player.ready();
      if (signal.aborted) return;
      this.#play({ digest, length, type, server: server.base }, judged);
    } catch (error) {
      if (!signal.aborted) await diagnose(error, false, this.#context);
      if (signal.aborted) return;
      if (error.name === "NoPlayer") return this.#notHere(error.why, error.message);
      if (error.code === "no-certificate") return this.#notHere(error.code, error.message);
      this.#end("failed", failure(error, { origin }));
    }
  }

  /** `{ report, said, committee }`: the certificate's verdict, for the digest that was asked for; `committee` as in `judgingOf` of `Trust`. */
  async #judge(signal) {
    const { engine, trust, server, limits } = this.#context;
    const { digest = null } = this.#wanted;
    const source = { server: server.base, fetch: (...args) => fetch(...args), limits, signal };
    const bundle = this.#wanted.bundle ?? (await bundleOf(digest, source));
    const { inspection: said, report: unreadable } = await engine.run("inspect", { bundle }, { signal });
    if (said === undefined) return { report: unreadable, said: null, committee: null };
    const subject = { digest: digest ?? said.digest_base58, length: said.length };
    const { checkpoint, committee } = trust.judgingOf(said.cluster, epochsIn(said));
    const question = { bundle, cluster: trust.decision.identity, checkpoint, subject, waiveExpiry: false };
    const report = await engine.run("judge", question, { signal });
    if (isGenuine(report)) await trust.verified(said.cluster, said.epochs);
    return { report: fromVerified(report, committee), said, committee };
  }

  #heard(event) {
    if (event.stage === "rejected")
      this.#rejected.append(h("li", { "data-rejected": true }, h("strong", {}, cut(event.name)), " failed: ", foreign(event.reason)));
  }

  #play(blob, { report, said, committee }) {
    const { player, trust } = this.#context;
    const media = h(kindOf(blob.type), {
      class: "player",
      controls: true,
      playsinline: true,
      preload: "metadata",
      "aria-label": `Player of ${this.#wanted.name}`,
    });
    const { url, end } = player.allow(blob, {
      onVerified: (bytes) => {
        this.#verified += bytes;
        this.#draw();
      },
      onFailed: (error) => this.#stopped(error),
    });
    this.#release = () => {
      end();
      media.removeAttribute("src");
      media.load(); // lets go of what it has, and of the request under way
      this.#release = () => {};
    };
    media.addEventListener("error", () => {
      // What the service worker failed with, it says itself, a moment later.
      const { code: kind, message } = media.error;
      const isLost = kind === MediaError.MEDIA_ERR_NETWORK;
      const tell = () => (isLost ? this.#stopped({ code: "connection", message }) : this.#notHere("not-decoded", message));
      setTimeout(() => this.#state === "playing" && media.hasAttribute("src") && tell(), LATER);
    });
    media.src = url;
    setText(this.card.size, size(blob.length));
    const name = this.#wanted.bundle === undefined ? blob.digest : withoutSuffix(this.#wanted.name);
    this.#blob = blob;
    this.#state = "playing";
    this.card.body.replaceChildren(
      media,
      h(
        "div",
        { class: "playing" },
        h("p", {}, h("strong", {}, "Every byte is verified before it is played."), " This is the file of digest ", code(blob.digest), "."),
        this.#figures,
      ),
      this.#rejected,
      verdictBanner(report, {
        fileName: name,
        about: "has a certificate, of which every check passed. What is played is checked against it.",
        trust: trust.decision,
        committee,
      }),
      certificateCommittee(said, report),
      h("details", { class: "more" }, h("summary", {}, checksSummary(report)), checkList(report, said)),
      mainFacts(said, report),
    );
    this.#draw();
    this.#show();
    this.#context.announce(`${this.#wanted.name}: the certificate is valid. The player is ready.`);
    // Who went somewhere else meanwhile is left there.
    if ([this.#focused, document.body].includes(document.activeElement) || this.card.element.contains(document.activeElement)) media.focus();
    media.play().catch(() => {}); // a browser may want a click first
  }

  async #stopped(failed) {
    if (this.#state !== "playing") return;
    this.#state = "asking";
    const error = failed.code === "connection" ? await this.#why(failed) : failed;
    if (this.#state !== "asking") return;
    const element = error.code in STOPPED || error.check in STOPPED ? this.#lie(error) : failure(error, { origin: this.#context.origin });
    this.#end("stopped", element);
  }

  // A server whose replicas fail in the midst of an answer can only hang up. On a link it says who failed, and how.
  async #why(error) {
    if (error.at === undefined) return error;
    const { digest, length } = this.#blob;
    const { engine, server, trust } = this.#context;
    const { identity: cluster } = trust.decision;
    const options = { digest, length, server: server.base, cluster, checkpoint: trust.checkpointOfLink(cluster), token: server.token, range: `${error.at}-${error.at}`, retry: 0 };
    const { signal } = this.#control;
    return engine.run("get", options, { signal, onProgress: (event) => this.#heard(event) }).then(
      () => error,
      (said) => said,
    );
  }

  // What the server sent is not what was certified: which check failed, on what.
  #lie(error) {
    const { subject, expected, got, message } = error;
    const [title, advice] = STOPPED[error.check] ?? STOPPED[error.code];
    const compared = (name, value) => h("div", {}, h("dt", {}, name), h("dd", { "data-field": name }, code(value)));
    const details = [
      h("p", { class: "quiet" }, "Failed check: ", h("strong", { "data-field": "check" }, foreign(error.check ?? error.code)), "."),
      expected === null ? null : h("dl", { class: "comparison" }, compared("expected", expected), compared("got", got)),
      // which bytes; what was expected of them stands above
      h("p", { class: "quiet" }, foreign(subject || message)),
    ].filter((one) => one !== null);
    return problem({ title: `Stopped. ${title}`, advice, code: error.code }, { details });
  }

  #refused({ report, said, committee }) {
    const parts = [
      verdictBanner(report, { trust: this.#context.trust.decision, committee }),
      ...forkNotice(report, committee),
      h("p", {}, "Nothing is played without a valid certificate."),
      h("details", { class: "more" }, h("summary", {}, checksSummary(report)), checkList(report, said)),
    ];
    this.#end("failed", ...parts, ...(said === null ? [] : [mainFacts(said, report)]));
  }

  /** It is not for this page to play, but the file can be had. */
  #notHere(why, message = null) {
    const [title, advice] = NO_PLAYER[why] ?? NO_PLAYER.refused;
    const fetchInstead = action("Fetch", this.#wanted.name, () => this.#context.fetchInstead(this.#wanted), { class: "main" });
    const details = message === null || !["refused", "not-decoded"].includes(why) ? [] : [h("p", { class: "quiet" }, foreign(message))];
    this.#end("failed", problem({ title, advice, code: why }, { details, extra: [h("div", { class: "actions" }, fetchInstead)] }));
  }

  #end(state, ...content) {
    this.#control?.abort();
    const hadFocus = this.card.body.contains(document.activeElement);
    this.#release();
    this.#state = state;
    this.card.body.replaceChildren(...content.slice(0, 1), this.#rejected, ...content.slice(1));
    this.#show();
    if (hadFocus) this.card.element.querySelector("button")?.focus();
    const told = { failed: "cannot be played", cancelled: "cancelled", stopped: "stopped: what the server sent does not hold" };
    this.#context.announce(`${this.#wanted.name}: ${told[state]}.`);
  }

  #show() {
    const actions = [["Remove", () => this.remove()]];
    if (isOver(this.#state)) actions.unshift(["Retry", () => this.start()]);
    const isChecking = this.#state === "checking";
    this.card.update({
      state: this.#state,
      running: isChecking ? { text: "Checking the certificate", verb: "Checking" } : null,
      actions: isChecking ? [["Cancel", () => this.cancel()]] : actions,
    });
  }
}
