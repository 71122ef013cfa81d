// Verify: a file and its bundle, in whatever order they come, judged in a worker and without any connection.
import { examine, examineOfLog, isGenuine } from "../logic/examine.js";
import { size } from "../logic/format.js";
import { isOfLog, place } from "../logic/pairing.js";
import { Rate } from "../logic/rate.js";
import { VERDICTS, sentenceOfLog } from "../logic/words.js";
import { action, cut, foreign, h, oncePerFrame, setData } from "./dom.js";
import { createDropZone, foldersNotice } from "./drop.js";
import { failure } from "./failure.js";
import { icon } from "./icons.js";
import { provedFacts } from "./log_verdict.js";
import { Running } from "./running.js";
import { epochLine } from "./epochs.js";
import { certificateCommittee, checkList, checksSummary, forkNotice, mainFacts, memberKeys, otherFacts, verdictBanner } from "./verdict.js";

const NOTICES = {
  neither: ([a, b]) => [
    "Neither ",
    foreign(a),
    " nor ",
    foreign(b),
    " is a .vouch bundle. Give a file and the bundle that was saved when it was certified.",
  ],
  both: ([a, b]) => [
    "Both ",
    foreign(a),
    " and ",
    foreign(b),
    " are .vouch bundles, and neither is named after the other. Give a bundle and the file that it certifies.",
  ],
  "of-log": ([a, b]) => ["One of ", foreign(a), " and ", foreign(b), " is a bundle of the log, which certifies no file. Give it alone."],
  evidence: (names) => [
    ...(names.length === 1 ? [foreign(names[0]), " is"] : ["One of these files is"]),
    " evidence against replicas, which this page does not check. Check it with ",
    h("code", { class: "command" }, "vouch verify"),
    ".",
  ],
  "too-many": (names) => [`These are ${names.length} files. Give one file and its .vouch bundle.`],
};
const SLOTS = [
  ["file", "The file", "not given yet"],
  ["bundle", "Its .vouch bundle", "not given yet"],
];
const SLOT_OF_LOG = { op: "The bundle of an op of the log", head: "The bundle of a log head", block: "The bundle of a block of the log" };

export class Verify {
  #context;
  #file = null; // { name, isBundle, kind, blob }
  #bundle = null;
  #subject = null; // of the file, once it was hashed
  #report = null;
  #waivesExpiry = false;
  #control = new AbortController();
  #judgedBy = null;
  #rate = new Rate();
  #running = new Running();
  #progress = null;
  #slots = h("div", { class: "slots", hidden: true });
  #notice = h("p", { class: "notice", role: "alert", hidden: true });
  #result = h("div", { class: "result" });
  #draw = oncePerFrame(() => this.#showProgress());
  zone;
  element;

  /** `context`: engine, trust, announce, and `askIdentity()`, which leads to where one can be entered. */
  constructor(context) {
    this.#context = context;
    this.zone = createDropZone({
      label: "Choose a file and its .vouch",
      hint: "or drop them anywhere on this page, together or one after the other; the bundle of an op, a block or a head of the log alone",
      onFiles: (files, folders) => void this.take(files, folders),
    });
    this.element = h(
      "section",
      { "data-state": "empty" },
      h(
        "p",
        { class: "lead" },
        "Is this file the one that the replicas certified? The answer is worked out in your browser. Nothing is sent anywhere.",
      ),
      this.zone,
      this.#notice,
      this.#slots,
      this.#running.element,
      this.#result,
    );
    this.#running.hide();
    context.trust.addEventListener("change", () => {
      const { decision, checkpoint, committee } = context.trust;
      const isForgotten = committee === null && (this.#judgedBy?.committee ?? null) !== null;
      const isJudged = this.#judgedBy?.identity === decision.identity && this.#judgedBy.checkpoint === checkpoint && !isForgotten;
      if (this.#bundle !== null && !isJudged) void this.#judge();
    });
  }

  async take(files, folders = 0) {
    const notices = folders > 0 ? [foldersNotice(folders)] : [];
    const given =
      files.length > 2 ? files.map(({ name }) => ({ name, isBundle: false })) : await Promise.all(files.map((file) => this.#look(file)));
    const isJudged = this.#report !== null && this.#file !== null && this.#bundle !== null;
    const { file, bundle, notice } = place({ file: this.#file, bundle: this.#bundle }, given, isJudged);
    if (notice !== null) notices.push(...NOTICES[notice](given.map(({ name }) => name)));
    this.#notice.replaceChildren(...notices);
    this.#notice.hidden = notices.length === 0;
    setData(this.#notice, { notice: notice ?? "" });
    if (file === this.#file && bundle === this.#bundle) return;
    if (file !== this.#file) this.#subject = null;
    this.#waivesExpiry = false;
    this.#file = file;
    this.#bundle = bundle;
    this.#showSlots();
    await this.#judge();
  }

  // What cannot be read is no bundle here; that it cannot be read is said when it is used.
  async #look(file) {
    const kind = await this.#context.engine.run("look", { file }).catch(() => null);
    return { name: file.name, isBundle: kind !== null, kind, blob: file };
  }

  async #judge() {
    this.#control.abort();
    this.#control = new AbortController();
    const { signal } = this.#control;
    const { engine, trust, announce } = this.#context;
    const [file, bundle] = [this.#file, this.#bundle];
    const { decision } = trust;
    this.#report = null;
    this.#result.replaceChildren();
    if (bundle === null) return this.#showWithoutBundle();
    const { checkpoint } = trust;
    this.#judgedBy = { identity: decision.identity, checkpoint, committee: null };
    this.#progress = null;
    this.#rate = new Rate();
    this.#setState("checking");
    try {
      const question = { engine, bundle: bundle.blob, cluster: decision.identity, judgingOf: (...args) => trust.judgingOf(...args), signal };
      const ofFile = () => ({
        file: file?.blob ?? null,
        subject: this.#subject,
        waiveExpiry: this.#waivesExpiry,
        onProgress: (event) => this.#heard(event),
      });
      const found = isOfLog(bundle) ? await examineOfLog({ ...question, kind: bundle.kind }) : await examine({ ...question, ...ofFile() });
      if (signal.aborted) return;
      this.#subject = found.subject;
      this.#report = found.report;
      this.#judgedBy.committee = found.committee;
      if (found.inspection !== null && isGenuine(found.report)) void trust.verified(found.inspection.cluster, found.inspection.epochs);
      this.#setState("judged");
      this.#showVerdict(found, decision);
      announce(`${VERDICTS[found.report.verdict]}: ${(file ?? bundle).name}.`);
    } catch (error) {
      if (signal.aborted) return;
      this.#setState("failed");
      this.#result.replaceChildren(
        failure(error),
        h(
          "div",
          { class: "actions" },
          action("Retry", (file ?? bundle).name, () => void this.#judge(), { class: "main" }),
        ),
      );
    }
  }

  #cancel() {
    this.#control.abort();
    this.#setState("cancelled");
    const again = action("Check again", this.#file?.name ?? this.#bundle.name, () => void this.#judge(), { class: "main" });
    this.#result.replaceChildren(
      h("p", { class: "quiet ended" }, "Cancelled: there is no verdict."),
      h("div", { class: "actions" }, again),
    );
    again.focus();
  }

  #remove(slot) {
    this.#control.abort();
    if (slot === "file") [this.#file, this.#subject] = [null, null];
    else this.#bundle = null;
    this.#showSlots();
    this.zone.querySelector("input").focus();
    void this.#judge();
  }

  #heard({ done, total }) {
    this.#progress = { done, total };
    this.#rate.add(done, performance.now());
    this.#draw();
  }

  #setState(state) {
    setData(this.element, { state });
    if (state === "checking") this.#showProgress();
    else this.#running.hide();
  }

  #showProgress() {
    if (!["checking", "hashing"].includes(this.element.dataset.state)) return;
    const name = (this.#file ?? this.#bundle).name;
    const isHashing = this.#progress !== null && this.#progress.done < this.#progress.total;
    setData(this.element, { state: isHashing ? "hashing" : "checking" });
    const measured = isHashing ? { ...this.#progress, rate: this.#rate } : {};
    this.#running.show({
      text: isHashing ? "Hashing the file" : "Checking",
      verb: isHashing ? "Hashing" : "Checking",
      name,
      ...measured,
      onCancel: () => this.#cancel(),
    });
  }

  #showSlots() {
    const given = { file: this.#file, bundle: this.#bundle };
    this.#slots.hidden = this.#file === null && this.#bundle === null;
    const slots = isOfLog(this.#bundle) ? [["bundle", SLOT_OF_LOG[this.#bundle.kind]]] : SLOTS;
    this.#slots.replaceChildren(
      ...slots.map(([slot, title, none]) => {
        const one = given[slot];
        const content =
          one === null
            ? [h("span", { class: "quiet" }, none)]
            : [
                cut(one.name, { class: "slot-name" }),
                h("span", { class: "quiet slot-size" }, size(one.blob.size)),
                action("Remove", one.name, () => this.#remove(slot), { class: "small" }),
              ];
        return h(
          "div",
          { class: "slot", "data-slot": slot, "data-given": one !== null },
          icon(slot === "file" ? "file" : "seal"),
          h("span", { class: "slot-title" }, title),
          content,
        );
      }),
    );
  }

  #showWithoutBundle() {
    this.#setState(this.#file === null ? "empty" : "needs-bundle");
    if (this.#file === null) return;
    const what = h("p", { class: "next" }, "Now give its bundle, most likely ", h("strong", {}, foreign(`${this.#file.name}.vouch`)), ".");
    this.#result.replaceChildren(what);
  }

  #showVerdict({ report, inspection, committee }, decision) {
    const actions = [];
    if (report.verdict === "cannot-check" && report.check === "identity") {
      actions.push(
        h("button", { type: "button", class: "button main", onclick: this.#context.askIdentity }, "Enter the cluster's identity"),
      );
    }
    if (report.verdict === "invalid" && report.check === "expiry") {
      const again = () => {
        this.#waivesExpiry = true;
        void this.#judge();
      };
      actions.push(h("button", { type: "button", class: "button", onclick: again }, "Judge as if it had not expired"));
    }
    if (isOfLog(this.#bundle)) return this.#showVerdictOfLog(report, { trust: decision, committee, actions });
    const isValid = report.verdict === "valid";
    const parts = [verdictBanner(report, { fileName: this.#file?.name, trust: decision, committee, actions, heading: "h2" })];
    parts.push(...forkNotice(report, committee));
    if (isValid && this.#waivesExpiry)
      parts.push(h("p", { class: "notice" }, "As you asked, expiry was not considered. If it has expired, replicas need no longer keep the file."));
    if (inspection !== null) parts.push(certificateCommittee(inspection, report), epochLine(inspection, report));
    parts.push(h("details", { class: "more", open: true }, h("summary", {}, checksSummary(report)), checkList(report, inspection)));
    if (inspection !== null) parts.push(mainFacts(inspection, report), otherFacts(inspection), memberKeys(inspection));
    this.#result.replaceChildren(...parts.filter((part) => part !== null));
  }

  #showVerdictOfLog(report, options) {
    const proved = provedFacts(report);
    const parts = [
      verdictBanner(report, { ...options, about: sentenceOfLog(report), heading: "h2" }),
      ...forkNotice(report, options.committee),
      ...(proved === null ? [] : [proved]),
      h("details", { class: "more", open: true }, h("summary", {}, checksSummary(report)), checkList(report, null)),
    ];
    this.#result.replaceChildren(...parts);
  }
}
