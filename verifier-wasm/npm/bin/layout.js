const MARKS = { passed: " ok", failed: "BAD", "cannot-check": " ? ", "not-reached": " - ", waived: "n/a" };
const ANSWERS = { yes: "yes", no: "no", "not-answered": "not answered" };
const QUESTIONS = [
  ["genuine", "Is the certificate genuine?"],
  ["matches", "Is this the file?"],
  ["in_force", "Is it in force?"],
];
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

function checksOf(report, questions) {
  const lines = questions.flatMap(([key, question]) => [
    `${question} ${ANSWERS[report[key].answer]}`,
    ...report.checks.filter((check) => check.question === key).map((check) => `${MARKS[check.outcome]}  ${check.name.padEnd(13)}${check.meaning}`),
  ]);
  if (report.verdict === "invalid") lines.push(`expected ${printable(report.expected)}`, `got      ${printable(report.got)}`);
  return lines;
}

const text = (lines, report, valid) => `${[...lines, report.verdict === "valid" ? valid() : printable(report.message)].join("\n")}\n`;

export const layout = (name, report) => text(checksOf(report, QUESTIONS), report, () => valid(name, report.certificate));

const asking = (matches) => QUESTIONS.map(([key, question]) => [key, key === "matches" ? matches : question]);
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

const OF_LOG = {
  op: [asking("Does the log have the op?"), validOp],
  head: [asking("Does the log reach this height?"), validHead],
};

// A report about the log; `of` is `op` or `head`, and the key of what was proved.
export function layoutOfLog(of, report) {
  const [questions, valid] = OF_LOG[of];
  return text(checksOf(report, questions), report, () => valid(report[of]));
}
