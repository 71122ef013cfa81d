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

const QUESTIONS_OF_OP = QUESTIONS.map(([key, question]) => [key, key === "matches" ? "Does the log have the op?" : question]);

function validOp({ id, kind, body, effect, index, count, height, time: at, signers, members, cluster }) {
  const shown = (hex) => hex || "empty";
  return [
    `kind     ${kind}`,
    `body     ${shown(body)}`,
    `effect   ${shown(effect)}`,
    `VALID: op ${id}, ${index + 1} of ${count} in block ${height} of ${time(at)}, certified by ${signers} of ${members} members of cluster ${cluster}`,
  ].join("\n");
}

export const layoutOp = (report) => text(checksOf(report, QUESTIONS_OF_OP), report, () => validOp(report.op));
