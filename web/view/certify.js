// Certify: files go to the replicas, two at a time; each ends with its bundle or with a reason.
import { isGenuine } from "../logic/examine.js";
import { bundleName, isNamedBundle } from "../logic/pairing.js";
import { count, plural, size } from "../logic/format.js";
import { ACTIVE, advance, certifiedMembers, isActive, isOver, newPut, tally } from "../logic/put.js";
import { Queue } from "../logic/queue.js";
import { Rate } from "../logic/rate.js";
import { continuedAt, fromVerified, waiting } from "../logic/words.js";
import { Card, saveLink } from "./card.js";
import { Committee } from "./committee.js";
import { foreign, h, oncePerFrame, setData, setText } from "./dom.js";
import { createDropZone, foldersNotice } from "./drop.js";
import { diagnose, failure, obstacle } from "./failure.js";
import { RetryWait } from "./retrying.js";
import { checkList, checksSummary, mainFacts, memberKeys, otherFacts, verdictBanner } from "./verdict.js";

const AT_ONCE = 2;
const DAY = 86_400;
const KEEP = [
  ["never", "for ever"],
  [30 * DAY, "30 days"],
  [365 * DAY, "1 year"],
  [3650 * DAY, "10 years"],
];

class Job {
  #context;
  #expires;
  #put;
  #rate = new Rate();
  #control = null;
  #wait = new RetryWait();
  #leave = () => {};
  #committee = new Committee();
  #revoke = () => {};
  #draw = oncePerFrame(() => this.#show());
  file;
  card;

  constructor(file, context, { note, expires }) {
    this.file = file;
    this.#context = context;
    this.#expires = expires;
    this.card = new Card(file.name, { note });
    this.enqueue();
  }

  get state() {
    return this.#put.state;
  }

  get isActive() {
    return isActive(this.#put);
  }

  get isOver() {
    return isOver(this.#put);
  }

  enqueue() {
    this.#put = newPut({ name: this.file.name, length: this.file.size });
    this.#rate = new Rate();
    this.card.body.replaceChildren();
    this.#leave = this.#context.queue.add(() => this.#run());
    this.#show();
  }

  cancel() {
    this.#leave();
    this.#control?.abort();
    if (!this.isOver) this.#end("cancelled", h("p", { class: "quiet ended" }, "Cancelled. Nothing was certified."));
  }

  remove() {
    this.#revoke();
    this.card.element.remove();
    this.#context.onRemove(this);
  }

  async #run() {
    const { engine, trust, server, origin } = this.#context;
    if (this.isOver) return;
    const control = new AbortController();
    this.#control = control;
    const { signal } = control;
    const inTheWay = await obstacle(this.#context, "Nothing was sent");
    if (signal.aborted) return;
    if (inTheWay !== null) return this.#end("failed", inTheWay);
    const expires = this.#expires === "never" ? "never" : Math.floor(Date.now() / 1000) + this.#expires;
    const { identity: cluster } = trust.decision;
    const committee = trust.committee;
    const checkpoint = trust.checkpointOfLink(cluster);
    const options = { file: this.file, server: server.base, cluster, checkpoint, token: server.token, expires };
    const onProgress = (event) => this.#heard(event);
    try {
      const result = await engine.run("put", options, { signal, onProgress, nudges: this.#wait.nudges });
      const { epochs } = result.certificate;
      // A server that named no cluster before could not be asked for the committee that this device knows.
      const contradiction = trust.contradictionOf(result.cluster, epochs);
      if (contradiction !== null) throw Object.assign(new Error(""), contradiction);
      await trust.serverShows(result.cluster);
      await trust.verified(result.cluster, epochs);
      this.#certified(result, checkpoint === committee?.checkpoint ? committee : null);
    } catch (error) {
      if (!signal.aborted) await diagnose(error, this.#put.cluster !== null, this.#context);
      if (!signal.aborted) this.#end("failed", failure(error, { isSending: true, origin }));
    }
  }

  #heard(event) {
    const before = this.#put.state;
    this.#put = advance(this.#put, event);
    if (this.#put.state !== before) {
      this.#rate = new Rate();
      if (this.#put.state === "lost") this.#context.announce(`${this.file.name}: ${waiting(this.#put.lost, 0)}.`);
      else if (before === "lost") this.#context.announce(`${this.file.name} goes on.`);
    }
    if (event.stage === "lost") this.#wait.begin(event);
    if (event.stage === "hashing" || event.stage === "sending") this.#rate.add(event.done, performance.now());
    this.#draw();
  }

  #end(state, ...content) {
    this.#put = { ...this.#put, state };
    this.card.body.replaceChildren(...content);
    this.#show();
    if (state !== "certified") this.#context.announce(`${this.file.name}: ${state === "failed" ? "not certified." : "cancelled."}`);
    this.#context.onChange();
    // Who was left out may be gone: the panel should not say otherwise for long.
    if (state !== "cancelled") void this.#context.server.refresh();
  }

  #certified({ bundle, report: judged, certificate, reused, resumed_from: from }, committee) {
    const report = fromVerified(judged, committee);
    const name = bundleName(this.file.name);
    const { link, revoke } = saveLink(new Blob([bundle]), name);
    this.#revoke = revoke;
    const members = certifiedMembers(this.#put, certificate);
    this.#committee.update({ members, quorum: certificate.quorum, isVerified: isGenuine(report) });
    const checks = h("details", { class: "more", open: true }, h("summary", {}, checksSummary(report)), checkList(report, certificate));
    const { signers, quorum } = certificate;
    const { length } = certificate;
    const rest = from === 0 ? "" : ` ${continuedAt(from, length)}; ${from < length ? `${size(length - from)} were left to send` : "nothing was left to send"}.`;
    // The day is among the facts below.
    const about = `${reused ? "was certified already" : "is certified"}: ${count(signers.length)} of ${plural(members.length, "replica")} hold it durably and signed, ${count(quorum)} needed.${rest}`;
    const advice = h(
      "p",
      { class: "quiet" },
      "Keep this bundle with the file: it proves on its own that the replicas hold it, to anyone who knows the cluster.",
    );
    const all = [advice, this.#committee.element, checks, mainFacts(certificate, report), otherFacts(certificate), memberKeys(certificate)];
    this.#end(
      "certified",
      verdictBanner(report, { fileName: this.file.name, about, trust: this.#context.trust.decision, committee, actions: [link] }),
      ...(this.#context.isAlone()
        ? all
        : [h("details", { class: "more folded" }, h("summary", {}, `${checksSummary(report)}: see the certificate`), all)]),
    );
    this.#context.announce(`${this.file.name} is certified.`);
  }

  #show() {
    const put = this.#put;
    this.#wait.tick(put.state === "lost", () => this.#show());
    const whole = size(this.file.size);
    setText(this.card.size, put.resumedFrom > 0 ? `${whole} · ${continuedAt(put.resumedFrom, put.length).toLowerCase()}` : whole);
    this.card.update({ state: put.state, running: this.#running(), actions: this.#actions() });
    if (put.members.length > 0 && !isOver(put)) {
      this.#committee.update(put);
      if (!this.#committee.element.isConnected) this.card.body.replaceChildren(this.#committee.element);
    }
    this.#context.onChange();
  }

  #running() {
    const { state, done, length, members, lost } = this.#put;
    const rate = this.#rate;
    switch (state) {
      case "queued":
        return { text: "Waits for its turn" };
      case "hashing":
        return { text: "Hashing", verb: "Hashing", done, total: length, rate };
      case "connecting":
        return { text: "Connecting", verb: "Connecting for" };
      case "sending":
        return { text: "Sending", verb: "Sending", done, total: length, rate };
      case "lost":
        return { text: this.#wait.text(lost), verb: "Waiting to go on with", done, total: length };
      case "waiting": {
        const { stored, signed } = tally(this.#put);
        return {
          text: `Sent. ${count(stored)} of ${plural(members.length, "replica")} stored it, ${count(signed)} signed`,
          verb: "Waiting for signatures on",
        };
      }
      default:
        return null;
    }
  }

  #actions() {
    const cancel = ["Cancel", () => this.cancel()];
    if (this.state === "lost") return [this.#wait.action, cancel];
    if (!this.isOver) return [cancel];
    const remove = ["Remove", () => this.remove()];
    return this.state === "certified" ? [remove] : [["Retry", () => this.enqueue(), { class: "main" }], remove];
  }
}

export function createCertify(page) {
  const queue = new Queue(AT_ONCE);
  const jobs = new Set();
  const list = h("div", { class: "jobs" });
  const summary = h("p", { class: "jobs-summary quiet", hidden: true });
  const notice = h("div", { class: "notice", role: "alert", hidden: true });
  const keep = h(
    "select",
    { id: "keep" },
    KEEP.map(([value, text]) => h("option", { value }, text)),
  );

  const context = {
    ...page,
    queue,
    isAlone: () => jobs.size === 1,
    onRemove(job) {
      jobs.delete(job);
      context.onChange();
      zone.querySelector("input").focus();
    },
    onChange: oncePerFrame(() => {
      const all = [...jobs];
      const having = (...states) => all.filter(({ state }) => states.includes(state)).length;
      const parts = [
        [having("certified"), "certified"],
        [having(...ACTIVE), "under way"],
        [having("queued"), "in the queue"],
        [having("failed"), "failed"],
        [having("cancelled"), "cancelled"],
      ];
      setText(
        summary,
        `${plural(all.length, "file")}: ${parts
          .filter(([n]) => n > 0)
          .map(([n, word]) => `${n} ${word}`)
          .join(", ")}`,
      );
      summary.hidden = all.length < 2;
    }),
  };

  function say(kind, ...content) {
    notice.hidden = content.length === 0;
    setData(notice, { notice: kind });
    notice.replaceChildren(...content);
  }

  function add(files, folders) {
    say("folders", ...(folders > 0 ? [foldersNotice(folders)] : []));
    // Who brings a bundle most likely wants to know, and not to publish what it is about.
    const bundle = files.find(({ name }) => isNamedBundle(name));
    if (bundle === undefined) return start(files);
    const button = (text, props, run) => {
      const onclick = () => (say(""), run());
      return h("button", { type: "button", ...props, onclick }, text);
    };
    const buttons = [button("Verify instead", { class: "button main" }, () => page.verifyInstead(files))];
    buttons.push(button("Certify all the same", { class: "button" }, () => start(files)));
    const what = h(
      "p",
      {},
      foreign(bundle.name),
      " looks like the bundle of a file that was certified already. Nothing has been sent yet.",
    );
    say("bundle", what, h("div", { class: "actions" }, buttons));
  }

  function start(files) {
    const expires = keep.value === "never" ? "never" : Number(keep.value);
    for (const file of files) {
      const same = [...jobs].filter((job) => job.file.name === file.name).length;
      const job = new Job(file, context, { note: same === 0 ? "" : `(no. ${same + 1} of this name)`, expires });
      jobs.add(job);
      list.append(job.card.element);
    }
    context.onChange();
  }

  const zone = createDropZone({ label: "Choose files to certify", hint: "or drop them anywhere on this page", onFiles: add });
  const element = h(
    "section",
    {},
    h(
      "p",
      { class: "lead" },
      "Each replica checks the file, stores it durably and signs. You get one small bundle that proves it, and that anyone can verify offline.",
    ),
    zone,
    h(
      "p",
      { class: "option" },
      h("label", { for: "keep" }, "Keep"),
      " ",
      keep,
      h("span", { class: "quiet" }, " Replicas and server see what is in the file: encrypt it before, if that matters."),
    ),
    notice,
    summary,
    list,
  );
  return { element, zone, isBusy: () => [...jobs].some((job) => job.isActive) };
}
