const MARKS = { passed: " ok", failed: "BAD", "cannot-check": " ? ", "not-reached": " - ", waived: "n/a" };
const ANSWERS = { yes: "yes", no: "no", "not-answered": "not answered" };
const QUESTIONS = ["genuine", "matches", "in_force"];
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const LONGEST = 400;
const LAST_FOUR_DIGIT_YEAR = 253402300799;

export function printable(text) {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return short.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

export function time(seconds) {
  if (seconds > LAST_FOUR_DIGIT_YEAR) return `${seconds} s after 1970`;
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

function valid(name, certificate) {
  const { digest_base58: digest, length, issued_at: issued, signers, members, cluster } = certificate;
  return `VALID: ${printable(name)} ${digest}, ${length} bytes, certified ${time(issued)} by ${signers.length} of ${members.length} members of cluster ${cluster}`;
}

function checksOf(report) {
  const lines = QUESTIONS.flatMap((key) => [
    `${report.questions[key]} ${ANSWERS[report[key].answer]}`,
    ...report.checks.filter((check) => check.question === key).map((check) => `${MARKS[check.outcome]}  ${check.name.padEnd(13)}${check.meaning}`),
  ]);
  if (report.verdict === "invalid") lines.push(`expected ${printable(report.expected)}`, `got      ${printable(report.got)}`);
  return lines;
}

const text = (lines, report, valid) => `${[...lines, report.verdict === "valid" ? valid() : printable(report.message)].join("\n")}\n`;

export const layout = (name, report) => text(checksOf(report), report, () => valid(name, report.certificate));

const certifiedBy = ({ signers, members, cluster }) => `certified by ${signers} of ${members} members of cluster ${cluster}`;
const shown = (hex) => hex || "empty";

// A number of seconds in its two largest units.
function age(seconds) {
  const units = [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ];
  let rest = seconds;
  const parts = units.map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return [count, unit];
  });
  const first = parts.findIndex(([count]) => count > 0);
  const largest = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2).filter(([count]) => count > 0);
  return largest.map(([count, unit]) => `${count}${unit}`).join(" ");
}

function validOp(op) {
  return [
    `kind     ${op.kind}`,
    `body     ${shown(op.body)}`,
    `effect   ${shown(op.effect)}`,
    `VALID: op ${op.id}, ${op.index + 1} of ${op.count} in block ${op.height} of ${time(op.time)}, ${certifiedBy(op)}`,
  ].join("\n");
}

const validHead = (head) => `VALID: log head of height ${head.height} of ${time(head.time)} (${age(head.age)} ago), ${certifiedBy(head)}`;

// A note is shown as text.
const opOfBlock = ({ id, kind, body, text }) => (text === null ? `${id}, kind ${kind}, body ${shown(body)}` : `${id}, note ${JSON.stringify(printable(text))}`);

function validBlock(block) {
  const { height, ops, head_height: head } = block;
  return [
    ...ops.map((op) => `op       ${opOfBlock(op)}`),
    `VALID: block ${height} of ${time(block.time)} (${age(block.age)} ago), with ${ops.length} ${ops.length === 1 ? "op" : "ops"}, under log head ${head}, ${certifiedBy(block)}`,
  ].join("\n");
}

const VALID_OF_LOG = { op: validOp, head: validHead, block: validBlock };

// A report about the log; `of` is `op`, `head` or `block`, and the key of what was proved.
export const layoutOfLog = (of, report) => text(checksOf(report), report, () => VALID_OF_LOG[of](report[of]));
