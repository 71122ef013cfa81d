// A verdict: one word that cannot be missed, why, and every check by name.
import { abbreviated, count, date, exactSize, isoTime, plural, printable, time } from "../logic/format.js";
import { isGenuine } from "../logic/examine.js";
import { ANSWERS, OUTCOMES, QUESTIONS, SOURCES, VERDICTS, because, compared, forkOf, sentence } from "../logic/words.js";
import { Committee } from "./committee.js";
import { code, fact, foreign, h } from "./dom.js";
import { ANSWER_ICONS, icon, OUTCOME_ICONS, VERDICT_ICONS } from "./icons.js";

function comparison(report) {
  const { check, times } = report;
  // The certificate's value is expected, the file's is got: here is no doubt which is which.
  const [first, second] =
    check === "digest" || check === "length" ? ["in the certificate (expected)", "of your file (got)"] : ["expected", "got"];
  const forPeople = compared(report);
  const shown = (field) =>
    times === null ? code(report[field]) : h("span", { title: printable(report[field]) }, foreign(forPeople[field]));
  return h(
    "dl",
    { class: "comparison" },
    h("div", {}, h("dt", {}, first), h("dd", { "data-field": "expected" }, shown("expected"))),
    h("div", {}, h("dt", {}, second), h("dd", { "data-field": "got" }, shown("got"))),
  );
}

const verifiedOn = (committee) =>
  committee === null ? "" : `, and by its committee of epoch ${count(committee.epoch)}, which this device verified on ${date(committee.since)}`;

/**
 * The banner. `about`: what to say after the file's name instead of the usual. `trust`: what it was judged by; `committee`: the one verified on this
 * device from which it was judged, or null. `actions`: what can be done next.
 */
export function verdictBanner(
  report,
  { fileName, about = null, trust = null, committee = null, actions = [], heading = "h3" } = {},
) {
  const { verdict, check, message } = report;
  // Of what is missing only the ordinary is known by heart here.
  const isOdd = about === null && verdict === "cannot-check" && check !== "identity" && check !== "digest";
  const text = about ?? sentence(report, { fileName });
  const isNamed = verdict === "valid" && fileName !== undefined;
  const judgedBy =
    trust?.identity && check !== "bundle"
      ? h("p", { class: "judged-by" }, "Judged by cluster ", code(abbreviated(trust.identity)), `, ${SOURCES[trust.source]}${verifiedOn(committee)}.`)
      : null;
  return h(
    "div",
    { class: "verdict", "data-state": verdict, "data-check": check ?? "" },
    h("div", { class: "verdict-sign" }, icon(VERDICT_ICONS[verdict])),
    h(
      "div",
      { class: "verdict-text" },
      h(heading, { class: "verdict-word" }, VERDICTS[verdict]),
      h("p", { class: "verdict-about" }, isNamed ? [foreign(fileName), ` ${text}`] : text),
      verdict === "invalid" ? comparison(report) : null,
      isOdd ? h("p", { class: "quiet verdict-message" }, foreign(message)) : null,
      judgedBy,
      actions.length > 0 ? h("div", { class: "actions" }, actions) : null,
    ),
  );
}

/** What to say after the banner if the bundle has another committee than the one verified on this device, as elements: none if it has not. */
export function forkNotice(report, committee) {
  const texts = forkOf(report, committee);
  return texts === null ? [] : [h("div", { class: "notice", role: "alert", "data-notice": "fork" }, texts.map((text) => h("p", {}, text)))];
}

/**
 * The three questions, each with its answer, why, and its checks: what came of each and what it means. `said` is the content of the
 * bundle, or null.
 */
export function checkList(report, said) {
  const row = ({ name, outcome, meaning }) =>
    h(
      "li",
      { class: "check", "data-check": name, "data-outcome": outcome },
      icon(OUTCOME_ICONS[outcome] ?? "dash"),
      h("span", { class: "check-name" }, foreign(name)),
      h("span", { class: "check-meaning" }, foreign(meaning)),
      h("span", { class: "check-outcome" }, OUTCOMES[outcome] ?? foreign(outcome)),
    );
  const question = (key) => {
    const { answer } = report[key];
    const text = report.questions[key];
    const rows = report.checks.filter((check) => check.question === key).map(row);
    return h(
      "div",
      { class: "question", "data-question": key, "data-answer": answer },
      h(
        "p",
        { class: "question-line" },
        icon(ANSWER_ICONS[answer] ?? "dash"),
        h("strong", {}, text),
        " ",
        h("strong", { class: "question-answer" }, ANSWERS[answer] ?? foreign(answer)),
        " ",
        h("span", { class: "quiet" }, foreign(because(report, key, said))),
      ),
      h("ul", { class: "checks", role: "list", "aria-label": `Checks: ${text}` }, rows),
    );
  };
  return h("div", { class: "questions" }, QUESTIONS.map(question));
}

/** "All 13 checks passed", "6 of 15 checks passed". Of what was left out, nothing is said. */
export function checksSummary({ checks }) {
  const made = checks.filter(({ outcome }) => outcome !== "waived");
  const passed = made.filter(({ outcome }) => outcome === "passed").length;
  return passed === made.length ? `All ${passed} checks passed` : `${passed} of ${made.length} checks passed`;
}

const moment = (seconds) => (seconds === "never" ? "never: for ever" : h("time", { datetime: isoTime(seconds) }, time(seconds)));

/** What a certificate says: the few things that people ask for. Unless it was found to be genuine in this report, it only says so. */
export function mainFacts(said, report) {
  const { members, signers, quorum, tolerated_faults: faults } = said;
  const facts = h(
    "dl",
    { class: "facts" },
    fact("issued", "Certified", moment(said.issued_at)),
    fact("expires", "Kept until", moment(said.expires_at)),
    fact("length", "Length", exactSize(said.length)),
    fact(
      "signed",
      "Signed by",
      `${count(signers.length)} of ${plural(members.length, "replica")}; ${count(quorum)} needed, ${count(faults)} may fail or lie`,
    ),
    fact("digest-base58", "Digest", code(said.digest_base58)),
    fact("cluster", "Cluster", code(said.cluster)),
  );
  if (isGenuine(report)) return facts;
  return h("div", { class: "claimed" }, h("p", { class: "quiet" }, "This is what the certificate says. It has not been verified."), facts);
}

/** The rest of it, for those who compare. */
export function otherFacts(said) {
  const list = (keys) => (keys.length === 0 ? "none: it was certified alone" : keys.map((key) => h("div", {}, code(key))));
  return h(
    "details",
    { class: "more" },
    h("summary", {}, "Everything that the certificate says"),
    h(
      "dl",
      { class: "facts" },
      fact("digest", "BLAKE3, as b3sum prints it", code(said.digest)),
      fact("epoch", "Epoch", count(said.epoch)),
      fact("committee", "Committee", code(said.committee)),
      fact("kind", "Kind of statement", foreign(said.kind)),
      fact(
        "batch",
        "Certified together",
        said.batch_count === 1 ? "with no other file" : `file ${count(said.batch_index + 1)} of ${count(said.batch_count)}`,
      ),
      fact("path", "Inclusion proof", list(said.path)),
      fact("salt", "Salt", code(said.salt)),
      fact("statement", "Statement", code(said.statement)),
      fact("signature", "Aggregate signature", code(said.signature)),
      fact("certificate", "Certificate", code(said.certificate)),
    ),
  );
}

/** The members' keys, only built when somebody looks: of a large committee they are long. */
export function memberKeys({ members }) {
  const table = () =>
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Keys of the members" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Member", "Signed", "Node key", "Vote key"].map((title) => h("th", { scope: "col" }, title)),
          ),
        ),
        h(
          "tbody",
          {},
          members.map(({ name, signed, node_key: node, vote_key: vote }) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, foreign(name)),
              h("td", {}, signed ? "yes" : "no"),
              h("td", {}, code(node)),
              h("td", {}, code(vote)),
            ),
          ),
        ),
      ),
    );
  const details = h("details", { class: "more" }, h("summary", {}, "The keys of the members"));
  details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(table()));
  return details;
}

/** The committee of a certificate. Unless the signature was verified in this report, it only claims to be signed. */
export function certificateCommittee(said, report) {
  const committee = new Committee();
  const isVerified = isGenuine(report);
  const state = isVerified ? "signed" : "claimed";
  const members = said.members.map(({ member, name, signed }) => ({ member, name, state: signed ? state : "unsigned" }));
  committee.update({ members, quorum: said.quorum, counts: state, isVerified });
  return committee.element;
}
