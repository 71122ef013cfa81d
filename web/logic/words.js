// What verdicts, checks and failures are called on the page: plain words, and what to do next.
import { age, count, date, plural, printable, time } from "./format.js";

export const VERDICTS = { valid: "VALID", invalid: "INVALID", "cannot-check": "CANNOT CHECK" };

export const OUTCOMES = {
  passed: "passed",
  failed: "failed",
  "cannot-check": "cannot be checked",
  "not-reached": "not reached",
  waived: "left out",
};

export const QUESTIONS = ["genuine", "matches", "in_force"];
export const ANSWERS = { yes: "Yes", no: "No", "not-answered": "Not answered" };

/** What it means when a check fails, in one sentence. */
const FAILED = {
  bundle: "The .vouch file is damaged, or is not a .vouch file.",
  certificate: "The certificate in the .vouch file is damaged or forged.",
  committee: "A committee in the .vouch file is damaged or forged.",
  identity: "This certificate is from another cluster than the one you trust.",
  epoch: "The certificate was not made by the committee of its epoch.",
  signers: "Too few members signed: this proves nothing.",
  possession: "The committee in the .vouch file is forged: not every member proved that it holds its own key.",
  chain: "The committees in the .vouch file are forged, or others than the one that you pinned or that this device verified.",
  signature: "The certificate is forged or was altered: its signature does not belong to it.",
  closing: "The certificate was made after its committee had handed over to the next one: this proves nothing.",
  seal: "The proof that this certificate is sealed is damaged or forged.",
  digest: "The certificate is genuine, but this is another file: its content differs.",
  length: "The certificate is genuine, but this is another file: its length differs.",
  time: "The certificate is genuine, but says that it was made in the future. Is this computer's clock right?",
  expiry: "The certificate is genuine, but it has expired: replicas need no longer keep the file.",
};

/** What is missing for a verdict, and what to do. */
const MISSING = {
  identity:
    "There is nothing to judge by: no cluster identity is trusted yet. Ask the operators of the cluster for it and enter it under Trust, at the top.",
  digest: "The certificate is genuine. Add the file to see whether it is the one that was certified.",
  epoch: "The .vouch file lacks the committee of the certificate's epoch. Save it again from a server of its cluster.",
  chain: "The .vouch file does not connect to the committee that you pinned. Save it again from a server of its cluster.",
  seal: "The certificate is not sealed, or the .vouch file lacks what proves it. Save it again from a server of its cluster.",
};
const UNKNOWN = "The .vouch file is of a version that this page does not know. Use a newer version.";

const ALSO = { time: " The certificate says that it was made in the future.", expiry: " The certificate has expired." };

/** The check that failed of a question's, or undefined. */
const failedOf = (report, question) => report.checks.find((check) => check.question === question && check.outcome === "failed")?.name;

const asSentence = (clause) => `${clause[0].toUpperCase()}${clause.slice(1)}.`;

/** Whether the report is about the log: what fails there is said in the core's words. */
const isAboutLog = (report) => ["op", "head", "block"].some((of) => Object.hasOwn(report, of));

/** What a question was answered with, in one sentence. `said` is the content of a file's bundle, or null. */
export function because(report, question, said) {
  const { answer, reason } = report[question];
  if (isAboutLog(report)) return asSentence(reason);
  const failed = failedOf(report, question);
  if (failed !== undefined) return FAILED[failed] ?? "A check failed.";
  if (question === "in_force" && answer === "yes" && said !== null && said.expires_at !== "never")
    return `Replicas must keep the file until ${time(said.expires_at)}.`;
  return asSentence(reason);
}

/** The core's reason for a verdict that is not valid, without a full stop. */
export function reasonOf(report) {
  const decided = report.checks.find(({ name }) => name === report.check);
  return decided === undefined ? report.message : report[decided.question].reason;
}

/** One sentence for a report about the log. */
export function sentenceOfLog(report) {
  const { verdict, check, matches, in_force } = report;
  if (verdict === "valid") return asSentence(matches.answer === "yes" ? matches.reason : in_force.reason);
  return verdict === "cannot-check" && check === "identity" ? MISSING.identity : asSentence(reasonOf(report));
}

const LOG_STATES = {
  unknown: () => "Not known yet.",
  none: () => "No block yet.",
  verified: (_, newest) => newest,
  older: ({ head, got }) =>
    got === null
      ? `The server shows no log head any more, although one of block ${count(head.height)} was verified here. It has lost it, or hides it.`
      : `The server shows an old log head, of block ${printable(got)}, although one of block ${count(head.height)} was verified here. It lags behind, or hides newer blocks.`,
  "not-verified": ({ reason }) => `Not verified: ${printable(reason)}.`,
  unread: ({ reason }) => `The log head could not be read: ${printable(reason)}.`,
};

/** What to say about a `LogWatch`: `[what the server shows, more]`; `more` may be empty. */
export function logHead(watch) {
  const { state, head } = watch;
  const newest = head === null ? "" : `Block ${count(head.height)} of ${time(head.time)}, ${age(watch.age)} ago.`;
  const signed = head === null ? "" : `${count(head.signers)} of ${plural(head.members, "replica")} signed it.`;
  const more = state === "verified" ? `Verified: ${signed}` : newest === "" ? "" : `The newest that was verified: ${newest} ${signed}`;
  return [LOG_STATES[state](watch, newest), more];
}

/** What is wrong with the log head that a server shows, for one line; null if nothing is known to be. */
export const logTrouble = ({ state }) =>
  ({ older: "it shows an old log head", "not-verified": "its log head is not verified" })[state] ?? null;

/** What a failed check expected and got, for people: times as dates. */
export function compared({ check, expected, got, times }) {
  if (times === null) return { expected, got };
  const [bound, found] = [time(times.expected), time(times.got)];
  return check === "expiry" ? { expected: `later than ${bound}`, got: `${found} (expired)` } : { expected: `at most ${bound}`, got: found };
}

/** One sentence for a report. */
export function sentence(report, { fileName } = {}) {
  const { verdict, check } = report;
  if (verdict === "valid") return fileName === undefined ? "Every check passed." : "is the certified file, byte for byte.";
  const said = verdict === "invalid" ? (FAILED[check] ?? "A check failed.") : (MISSING[check] ?? UNKNOWN);
  // The questions are answered each by itself: this one may be answered with no as well.
  const also = check === "digest" || check === "length" ? (ALSO[failedOf(report, "in_force")] ?? "") : "";
  return said + also;
}

/** The report in which the core's "you pinned" says what it was judged from: `committee`, verified on this device, or null if the user pinned one. */
export function fromVerified(report, committee) {
  if (committee === null) return report;
  const told = (text) => text.replace(/\b(that|which) you pinned\b/, "$1 this device verified");
  const checks = report.checks.map((check) => ({ ...check, meaning: told(check.meaning) }));
  return { ...report, message: told(report.message), genuine: { ...report.genuine, reason: told(report.genuine.reason) }, checks };
}

/** What a refused committee means, and what to do. A record may also be wrong: only its owner knows. */
const FORGED =
  "A committee never has two successors, so somebody forged one of them. Rely on neither before you know which: the command vouch compare shows from two bundles where they part. If you know that this device has the forged one, forget it under Trust, at the top.";

/** What to say about a bundle that has another committee than the one verified on this device, `committee`, in sentences; null if it has not. */
export function forkOf(report, committee) {
  if (committee === null || report.verdict !== "invalid" || report.check !== "chain" || report.expected !== committee.committee) return null;
  return [`This device verified another committee of epoch ${count(committee.epoch)}, on ${date(committee.since)}.`, FORGED];
}

/** Where the trusted identity came from, after "judged by". */
export const SOURCES = {
  address: "named in the address that you opened",
  typed: "entered by you",
  remembered: "remembered from an earlier visit",
  "first-use": "taken from the server, which you have not told this page to trust",
  none: "",
};

export const MEMBER_STATES = {
  idle: "waiting",
  receiving: "receiving",
  stored: "stored durably",
  signed: "signed",
  claimed: "named as a signer, not verified",
  dropped: "left out",
  unsigned: "did not sign",
  connected: "connected",
  absent: "not connected",
};

// By what the server or a replica gave as its reason: [title, what to do].
const REFUSED = {
  "not-enough-replicas": ["Not enough replicas took part.", "Their operators have to start them again. Then retry."],
  "no-committee-yet": ["The server has no committee yet.", "Its operators have to connect replicas first. Then retry."],
  busy: ["The server is busy.", "Retry in a moment."],
  "not-admitted": ["This needs a token that the cluster accepts.", "Enter one under Server, then retry. The operator of the cluster makes tokens."],
  "no-space": ["Too many replicas have no space left.", "Tell their operators."],
  "storage-fault": ["Too many replicas cannot write to their disks.", "Tell their operators."],
  "timed-out": ["Too many replicas were too slow.", "Retry."],
  "too-large": ["The file is larger than the replicas accept.", "Ask the operators for their limit."],
  "shutting-down": ["The server is shutting down.", "Retry when it is back."],
  "new-epoch": ["The cluster has changed its committee.", "Retry now."],
  "clock-out-of-range": ["The replicas' clocks do not agree.", "Tell their operators."],
  "clock-in-doubt": ["Too many replicas doubt their clocks.", "Tell their operators. Then retry."],
  "digest-differs": [
    "What arrived differs from what was sent.",
    "If the file changes while it is sent, wait until it does not. Then retry.",
  ],
  "length-differs": [
    "What arrived has another length than what was sent.",
    "If the file changes while it is sent, wait until it does not. Then retry.",
  ],
  "unsupported-version": ["The server speaks another version.", "Reload this page: the server may bring a newer one."],
  "another-cluster": ["The server belongs to another cluster.", "Compare the identities under Trust, at the top."],
  expired: ["The time to keep the file has passed already.", "Choose a longer one."],
  "not-found": ["Nobody in this cluster holds this file.", "Is the digest right, and this the cluster that certified it?"],
  "not-held": ["Replicas do not hold the file any more.", "Retry."],
};

/** `{ title, advice, code, reason }` of what a put, a get or a verification was rejected with. */
export function explain(error, { isSending = false } = {}) {
  const code = error.code ?? "unexpected";
  const told = (title, advice, reason = null) => ({ title, advice, code, reason });
  switch (code) {
    case "connection":
      return told(
        "The connection to the server was lost or could not be made.",
        isSending ? "Nothing was certified. Retry when it is back." : "Retry when it is back.",
      );
    case "refused": {
      const [title, advice] = REFUSED[error.reason] ?? ["The server gave up.", "Retry, or tell its operators."];
      return told(title, advice, error.reason);
    }
    case "invalid":
      if (error.check === "identity")
        return told(
          "The server belongs to another cluster than the one you trust.",
          "Do not go on before you know why: compare the identities under Trust, at the top.",
        );
      return told("What the server sent does not hold.", "It was not accepted. The server, or something between, is faulty or dishonest.");
    case "old-epoch":
      return told(
        "This server is behind: it shows only earlier committees of the cluster than this device has verified.",
        `${isSending ? "Nothing was certified. " : ""}Retry later, or use another server. If it stays so, ask the operators: somebody may show the cluster as it was, with keys of members that have left.`,
      );
    case "another-committee":
      return told("This server shows another committee than the one that this device has verified.", `${isSending ? "Nothing was certified. " : ""}${FORGED}`);
    case "protocol":
      return told("The server sent something that makes no sense.", "It may be of another version: reload this page, then retry.");
    case "source":
      return told("The file cannot be read, or it changed while it was read.", "Choose it again.");
    case "not-found":
      return told("Nobody in this cluster holds this file.", "Is the digest right, and this the cluster that certified it?");
    case "exhausted":
      return told("Every replica that holds this file failed to deliver it.", "Retry later, or tell their operators.");
    case "bundle":
      return told("This .vouch bundle cannot be read.", "Give the one that was saved when the file was certified, or the file's digest.");
    case "other-cluster":
      return told("The bundle is from another cluster than this server's.", "Ask a server of its own cluster.");
    case "origin":
      return told("The server answers, but accepts no links from this page.", "");
    case "browser":
      return told("This browser cannot run the verifier.", "A current Chrome, Edge, Firefox or Safari can.");
    default:
      return told("Something went wrong that this page did not expect.", "Reload the page and retry.");
  }
}

const LOST = {
  "old-epoch": "The server is behind the newest committee.",
  connection: "Connection lost.",
  "not-found": "No replica that holds this file is connected.",
  exhausted: "Every replica that holds this file failed.",
};

/** A put or a get that lost its connection retries in this many whole seconds, or now. */
export function waiting({ code, reason }, seconds) {
  const what = LOST[code] ?? (REFUSED[reason] ?? ["The server gave up."])[0];
  return seconds > 0 ? `${what} Trying again in ${seconds}\u00a0s` : `${what} Trying again now`;
}

/** Where a put that had been cut off went on: whole per cent, rounded down, of a file of `length` bytes. */
export const continuedAt = (offset, length) => `Continued at ${Math.floor((100 * offset) / length)}\u00a0%`;

// By the check that stopped a film, or by what the server did: [title, what it means].
const KEPT_OUT = "None of what is wrong was played. The server, or something between, is faulty or dishonest.";
export const STOPPED = {
  bytes: ["What the server sent is not the certified file: its bytes differ.", KEPT_OUT],
  proof: ["What the server sent as a proof is not the certified file's.", KEPT_OUT],
  length: ["The server claims another length than the certificate.", KEPT_OUT],
  range: ["The server sent another part of the file than the one asked for.", KEPT_OUT],
  protocol: ["The server sent something that makes no sense.", "It was not played. It may be of another version: reload this page, then retry."],
};

/** Why a file is not played here: [title, what to do]. */
export const NO_PLAYER = {
  insecure: [
    "This page cannot play: browsers allow it only to pages that came over https, or from this computer.",
    "Fetch the file instead: it is verified all the same, and can be played from the disk.",
  ],
  missing: ["This page cannot play: this browser runs no service workers here.", "Fetch the file instead, or use another browser."],
  refused: ["This page cannot play: the browser did not start the service worker that verifies.", "Fetch the file instead."],
  "not-playable": ["This is no film or sound that the browser plays, by its first bytes.", "Fetch the file instead."],
  "not-decoded": ["The browser cannot decode what it was given, although every byte is the certified one.", "Fetch the file instead."],
  "no-certificate": [
    "This server has no certificate of this file, and without one nothing is played.",
    "Give the .vouch that was saved when the file was certified, or fetch the file.",
  ],
};
