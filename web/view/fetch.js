// Fetch: a digest or a bundle brings the file back; nothing is offered before every byte is verified.
import { parseCheckpoint } from "../logic/checkpoint.js";
import { epochsIn, isGenuine } from "../logic/examine.js";
import { size } from "../logic/format.js";
import { advance, newGet } from "../logic/get.js";
import { withoutSuffix } from "../logic/pairing.js";
import { Rate } from "../logic/rate.js";
import { fromVerified, waiting } from "../logic/words.js";
import { Card, saveLink } from "./card.js";
import { code, cut, foreign, h, oncePerFrame, setText } from "./dom.js";
import { createDropZone } from "./drop.js";
import { diagnose, failure, obstacle } from "./failure.js";
import { Showing, typeOf } from "./play.js";
import { RetryWait } from "./retrying.js";
import { certificateCommittee, checkList, checksSummary, forkNotice, mainFacts, verdictBanner } from "./verdict.js";

const isOver = (state) => ["fetched", "failed", "cancelled"].includes(state);

class Job {
  #context;
  #wanted; // { digest, name } or { bundle, name }, and `said` once the bundle was read
  #get;
  #rate;
  #control = null;
  #wait = new RetryWait();
  #revoke = () => {};
  #canPlay = false;
  #failed = h("ul", { class: "rejected", role: "list", "aria-label": "Replicas that failed" });
  #draw = oncePerFrame(() => this.#show());
  card;

  constructor(wanted, context) {
    this.#wanted = wanted;
    this.#context = context;
    this.card = new Card(wanted.name);
    this.start();
  }

  start() {
    [this.#get, this.#rate] = [newGet(), new Rate()];
    this.#canPlay = false;
    this.#failed.replaceChildren();
    this.card.body.replaceChildren(this.#failed);
    this.#show();
    void this.#run();
  }

  cancel() {
    this.#control?.abort();
    if (!isOver(this.#get.state)) this.#end("cancelled", h("p", { class: "quiet ended" }, "Cancelled. What had arrived is thrown away."));
  }

  remove() {
    this.#control?.abort();
    this.#revoke();
    this.card.element.remove();
    this.#context.onRemove();
  }

  async #run() {
    const { engine, trust, server, origin } = this.#context;
    const control = new AbortController();
    this.#control = control;
    const { signal } = control;
    let said = null;
    try {
      said = await this.#read(signal);
      const inTheWay = await obstacle(this.#context, "Nothing was asked for");
      if (signal.aborted) return;
      if (inTheWay !== null) return this.#end("failed", inTheWay);
      // A bundle says from which cluster it is: only that one has the file.
      const cluster = said?.cluster ?? trust.decision.identity;
      const checkpoint = trust.checkpointOfLink(cluster);
      const options = { digest: said?.digest_base58 ?? this.#wanted.digest, server: server.base, cluster, checkpoint, token: server.token };
      if (said !== null) options.length = said.length;
      if (said !== null) void this.#offerToPlay(said, signal);
      const result = await engine.run("get", options, { signal, onProgress: (event) => this.#heard(event), nudges: this.#wait.nudges });
      if (cluster !== null) await trust.verified(cluster, [checkpoint, result.checkpoint].map(parseCheckpoint).filter((one) => one !== null));
      this.#get = { ...this.#get, state: "checking" };
      this.#show();
      const { digest, length } = result;
      const judged = said === null ? null : await this.#judge(said, { digest, length }, signal);
      this.#fetched(result, said, judged);
    } catch (error) {
      if (!signal.aborted) await diagnose(error, this.#get.from !== null, this.#context);
      if (signal.aborted) return;
      if (error.check === "identity" && said !== null) error.code = "other-cluster";
      this.#end("failed", failure(error, { origin }));
    }
  }

  /** What the bundle says, or null without one. */
  async #read(signal) {
    if (this.#wanted.bundle === undefined) return null;
    const { inspection, report } = await this.#context.engine.run("inspect", { bundle: this.#wanted.bundle }, { signal });
    if (inspection === undefined) throw Object.assign(new Error(report.message), { code: "bundle" });
    return inspection;
  }

  /** `{ report, committee }` of the bundle: see `judgingOf` of `Trust`. */
  async #judge(said, subject, signal) {
    const { engine, trust } = this.#context;
    const { checkpoint, committee } = trust.judgingOf(said.cluster, epochsIn(said));
    const question = { bundle: this.#wanted.bundle, cluster: trust.decision.identity, checkpoint, subject, waiveExpiry: false };
    const report = await engine.run("judge", question, { signal });
    if (isGenuine(report)) await trust.verified(said.cluster, said.epochs);
    return { report: fromVerified(report, committee), committee };
  }

  /** Once the certificate is valid, and what it is about is a film: nobody has to wait for all of it. */
  async #offerToPlay(said, signal) {
    const { engine, trust, server } = this.#context;
    const { digest_base58: digest, length, cluster } = said;
    try {
      const { report } = await this.#judge(said, { digest, length }, signal);
      if (report.verdict !== "valid") return;
      const about = { digest, length, cluster, checkpoint: trust.checkpointOfLink(cluster), server: server.base, token: server.token };
      this.#canPlay = (await typeOf(engine, about, { signal })) !== null;
      this.#show();
    } catch {
      // why, the fetch itself finds out as well, and says so
    }
  }

  #heard(event) {
    const wasLost = this.#get.state === "lost";
    this.#get = advance(this.#get, event);
    const { state, lost } = this.#get;
    if (wasLost && state !== "lost") {
      this.#rate = new Rate();
      this.#context.announce(`${this.#wanted.name} goes on.`);
    }
    if (!wasLost && state === "lost") this.#context.announce(`${this.#wanted.name}: ${waiting(lost, 0)}.`);
    if (event.stage === "lost") this.#wait.begin(event);
    if (event.stage === "receiving") this.#rate.add(event.done, performance.now());
    if (event.stage === "rejected")
      this.#failed.append(h("li", { "data-rejected": true }, h("strong", {}, cut(event.name)), " failed: ", foreign(event.reason)));
    this.#draw();
  }

  #fetched({ blob, digest, length }, said, judged) {
    const name = said === null ? digest : withoutSuffix(this.#wanted.name);
    const { link, revoke } = saveLink(blob, name);
    this.#revoke = revoke;
    setText(this.card.size, size(length));
    const verified = h(
      "div",
      { class: "fetched" },
      h(
        "p",
        {},
        h("strong", {}, "Every byte is verified."),
        " This is the file of digest ",
        code(digest),
        this.#get.from === null ? "" : [", from ", foreign(this.#get.from)],
        ".",
      ),
      h("div", { class: "actions" }, link),
    );
    const parts = [verified];
    if (judged !== null) {
      const { report, committee } = judged;
      parts.push(verdictBanner(report, { fileName: name, trust: this.#context.trust.decision, committee }), ...forkNotice(report, committee));
      parts.push(certificateCommittee(said, report), h("details", { class: "more" }, h("summary", {}, checksSummary(report)), checkList(report, said)), mainFacts(said, report));
    }
    this.#end("fetched", ...parts);
  }

  #end(state, ...content) {
    this.#get = { ...this.#get, state };
    this.card.body.replaceChildren(...content.slice(0, 1), this.#failed, ...content.slice(1));
    this.#show();
    this.#context.announce(
      `${this.#wanted.name}: ${{ fetched: "fetched and verified", failed: "could not be fetched", cancelled: "cancelled" }[state]}.`,
    );
  }

  #show() {
    const { state } = this.#get;
    this.#wait.tick(state === "lost", () => this.#show());
    const actions = !isOver(state)
      ? [["Cancel", () => this.cancel()]]
      : [...(state === "fetched" ? [] : [["Retry", () => this.start(), { class: "main" }]]), ["Remove", () => this.remove()]];
    if (state === "lost") actions.unshift(this.#wait.action);
    if (this.#canPlay) actions.unshift(["Play", () => this.#context.play(this.#wanted)]);
    this.card.update({ state, running: this.#running(), actions });
  }

  #running() {
    const { state, done, total, lost } = this.#get;
    switch (state) {
      case "connecting":
        return { text: "Looking for a replica that holds it", verb: "Connecting for" };
      case "receiving":
        return { text: "Receiving", verb: "Receiving", done, total, rate: this.#rate };
      case "lost":
        return { text: this.#wait.text(lost), verb: "Waiting to go on with", done, total };
      case "checking":
        return { text: "Checking the certificate", verb: "Checking" };
      default:
        return null;
    }
  }
}

export function createFetch(page) {
  const { engine } = page;
  const list = h("div", { class: "jobs" });
  const complaint = h("p", { class: "complaint", id: "digest-complaint", role: "alert", hidden: true });
  const input = h("input", {
    id: "digest",
    type: "text",
    class: "key",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "digest-hint digest-complaint",
  });
  const context = {
    ...page,
    play: (wanted) => list.prepend(new Showing(wanted, context).card.element),
    fetchInstead: (wanted) => list.prepend(new Job(wanted, context).card.element),
    onRemove: () => input.focus(),
  };

  function complain(text) {
    setText(complaint, text);
    complaint.hidden = text === "";
    input.setAttribute("aria-invalid", String(text !== ""));
  }

  async function submit(event) {
    event.preventDefault();
    complain("");
    // Enter presses the first button.
    const take = event.submitter?.value === "play" ? context.play : context.fetchInstead;
    try {
      const digest = await engine.run("normalize", { text: input.value.trim() });
      take({ digest, name: digest });
    } catch (error) {
      complain(
        error.name === "TypeError" ? "This is no digest: give 43 or 44 characters of base58, or 64 hexadecimal digits." : error.message,
      );
      input.focus();
    }
  }

  async function take(files) {
    complain("");
    for (const file of files) {
      const kind = await engine.run("look", { file }).catch(() => null);
      if (kind === "file") context.fetchInstead({ bundle: file, name: file.name });
      else complain(`${file.name} is no .vouch bundle of a file. Give the bundle that was saved when the file was certified, or its digest.`);
    }
  }

  const zone = createDropZone({ label: "Choose a .vouch", hint: "or drop it anywhere on this page", onFiles: (files) => void take(files) });
  zone.classList.add("zone-small");
  const form = h(
    "form",
    { class: "digest-form", onsubmit: (event) => void submit(event) },
    h("label", { for: "digest" }, "Digest"),
    h("div", { class: "field" }, input, h("button", { class: "button main" }, "Fetch"), h("button", { class: "button", value: "play" }, "Play")),
    h("p", { class: "quiet hint", id: "digest-hint" }, "Base58, or the 64 hexadecimal digits that b3sum prints."),
    complaint,
  );
  const element = h(
    "section",
    {},
    h("p", { class: "lead" }, "Brings a file back from the replicas. It is offered only once every byte matches the digest. A certified film or sound can be played at once."),
    form,
    zone,
    list,
  );
  return { element, zone };
}
