// What a bundle of the log proves: an op, a block or a log head, with its place in the log.
import { count, isoTime, plural, printable, time } from "../logic/format.js";
import { code, fact, foreign, h } from "./dom.js";

// A note has at most 4096 bytes.
const LONGEST_NOTE = 4096;

const moment = (seconds) => h("time", { datetime: isoTime(seconds) }, time(seconds));
const bytes = (hex) => (hex === "" ? "empty" : code(hex));

/** A note, which its author chose: in a box of its own, line by line, with nothing in it that acts. */
function note(text) {
  const lines = text.split("\n").map((line) => printable(line, LONGEST_NOTE));
  return [
    h("blockquote", { class: "note", dir: "auto" }, lines.join("\n")),
    h("p", { class: "quiet" }, "The note's author chose this text. Verification shows only that the log has it."),
  ];
}

const content = ({ text, body }) => (text === null ? fact("body", "Body", bytes(body)) : fact("note", "Note", note(text)));
const kindOf = ({ kind, text }) => (text === null ? count(kind) : `${count(kind)}, a note`);

const certified = ({ signers, members }) => `by ${count(signers)} of ${plural(members, "replica")}`;
const log = (height, seconds) => [`block ${count(height)} of `, moment(seconds)];

const ofOp = (op) => [
  content(op),
  fact("op", "Op", code(op.id)),
  fact("kind", "Kind", kindOf(op)),
  fact("effect", "Effect", op.effect_text === null ? bytes(op.effect) : foreign(op.effect_text)),
  fact("submitter", "Submitted by", code(op.submitter)),
  fact("height", "In the log", [...log(op.height, op.time), `, op ${count(op.index + 1)} of ${count(op.count)}`]),
  fact("head", "Log head", log(op.head_height, op.head_time)),
  fact("signed", "Signed", certified(op)),
  fact("cluster", "Cluster", code(op.cluster)),
];

const ofHead = (head) => [
  fact("height", "Log head", log(head.height, head.time)),
  fact("block", "Digest of the block", code(head.block)),
  fact("log-root", "Log root", code(head.log_root)),
  fact("signed", "Signed", certified(head)),
  fact("cluster", "Cluster", code(head.cluster)),
];

const opOfBlock = (op) =>
  h(
    "li",
    {},
    h("dl", { class: "facts" }, content(op), fact("op", "Op", code(op.id)), fact("kind", "Kind", kindOf(op)), fact("submitter", "Submitted by", code(op.submitter))),
  );

const ofBlock = (block) => [
  fact("height", "Block", log(block.height, block.time)),
  fact("block", "Digest of the block", code(block.digest)),
  fact("author", "Made by", code(block.author)),
  fact("ops", plural(block.ops.length, "op"), h("ol", { class: "ops" }, block.ops.map(opOfBlock))),
  fact("head", "Log head", log(block.head_height, block.head_time)),
  fact("signed", "Signed", certified(block)),
  fact("cluster", "Cluster", code(block.cluster)),
];

/** What was proved; null unless the verdict is VALID. */
export function provedFacts({ op = null, head = null, block = null }) {
  const facts = op !== null ? ofOp(op) : head !== null ? ofHead(head) : block !== null ? ofBlock(block) : null;
  return facts === null ? null : h("dl", { class: "facts" }, facts);
}
