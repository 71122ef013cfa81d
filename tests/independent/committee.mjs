// Committees: encoding, digest, thresholds.
import { Reader, compare, concat, derive, equal, fromUtf8, isZero, u16, u64, u8, utf8 } from "./bytes.mjs";
import { cannotCheck, invalid } from "./failure.mjs";
import { toHex } from "./text.mjs";

export const NAME_SIZE = 24;
export const MAX_MEMBERS = 1000;
const [OPEN, OPERATOR] = [0, 1];

export const faulty = (n) => Math.floor((n - 1) / 3);
export const quorum = (n) => n - faulty(n);

export const committeeDigest = (encoding) => derive("vouch committee v1", encoding);

// A name as text, or as bytes that need not be one.
export function encodeName(name) {
  const field = new Uint8Array(NAME_SIZE);
  field.set(typeof name === "string" ? utf8(name) : name);
  return field;
}

// The encoder checks nothing, so that invalid committees can be made for the vectors.
export function encodeCommittee(committee) {
  const { epoch = 0, cluster = new Uint8Array(32), previous = new Uint8Array(32), nonce, policy = 0, faultRule = 1, operator = new Uint8Array(48), history = new Uint8Array(0), members } = committee;
  const encodedMembers = members.map(({ node, vote, name }) => concat(node, vote, encodeName(name)));
  return concat(utf8("vouchcm"), u8(1), u64(epoch), cluster, previous, nonce, u8(policy), u8(faultRule), u16(members.length), operator, history, ...encodedMembers);
}

export function decodeName(field, index) {
  const fail = (why) => {
    throw invalid(`the name of member ${index} ${why}`, { got: toHex(field) });
  };
  const end = field.indexOf(0);
  const inner = end < 0 ? field : field.slice(0, end);
  if (!isZero(field.slice(inner.length))) fail("has a zero byte inside, or bytes after its padding");
  if (inner.length === 0) fail("is empty");
  let name;
  try {
    name = fromUtf8(inner);
  } catch {
    fail("is not UTF-8");
  }
  if (/\p{Cc}/u.test(name)) fail("has a control character");
  return name;
}

export function decodeGenesis(bytes) {
  const reader = new Reader(bytes, "the genesis committee");
  reader.tag("vouchcm");
  reader.known(1, "version", 1);
  const epoch = reader.bounded("epoch");
  if (epoch !== 0) throw invalid("the genesis committee's epoch is not 0", { expected: "0", got: `${epoch}` });
  if (!isZero(reader.take(32, "cluster"))) throw invalid("the genesis committee names a cluster");
  if (!isZero(reader.take(32, "previous digest"))) throw invalid("the genesis committee names a previous committee");
  const nonce = reader.take(16, "nonce");
  const { n, ...rules } = readRules(reader);
  const members = readMembers(reader, n);
  const digest = committeeDigest(bytes);
  return { epoch, nonce, members, n, ...rules, digest, cluster: digest };
}

// A committee of an epoch above 0.
export function decodeLater(bytes) {
  const reader = new Reader(bytes, "the committee");
  reader.tag("vouchcm");
  reader.known(1, "version", 1);
  const epoch = reader.bounded("epoch");
  if (epoch === 0) throw invalid("the later committee's epoch is 0", { expected: "above 0", got: "0" });
  const cluster = reader.take(32, "cluster");
  const previous = reader.take(32, "previous digest");
  if (!isZero(reader.take(16, "nonce"))) throw invalid("a later committee has a nonce");
  const { n, ...rules } = readRules(reader);
  const history = reader.take(32, "history");
  if (epoch === 1 && !equal(previous, cluster)) throw invalid("the committee before epoch 1 is not the genesis");
  if (epoch === 1 && !isZero(history)) throw invalid("epoch 1 has a history");
  const members = readMembers(reader, n);
  return { epoch, cluster, previous, history, members, n, ...rules, digest: committeeDigest(bytes) };
}

function readRules(reader) {
  const policy = reader.small(1, "policy");
  if (policy > OPERATOR) throw cannotCheck(`policy ${policy} is unknown`, { expected: "0 or 1", got: `${policy}` });
  const rule = reader.small(1, "fault rule");
  if (rule !== 1) throw invalid("unknown fault rule", { expected: "1", got: `${rule}` });
  const n = reader.small(2, "n");
  if (n < 1 || n > MAX_MEMBERS) throw invalid("wrong number of members", { expected: `1 to ${MAX_MEMBERS}`, got: `${n}` });
  const operator = reader.take(48, "operator key");
  if (policy === OPEN && !isZero(operator)) throw invalid("an open committee has an operator key");
  if (policy === OPERATOR && isZero(operator)) throw invalid("the operator has no key");
  return { n, policy, operator };
}

function readMembers(reader, n) {
  const members = [];
  const voteKeys = new Set();
  for (let i = 0; i < n; i++) {
    const node = reader.take(32, `node key of member ${i}`);
    if (i > 0 && compare(members[i - 1].node, node) >= 0) throw invalid(`members ${i - 1} and ${i} do not ascend by node key`);
    const vote = reader.take(48, `vote key of member ${i}`);
    if (voteKeys.has(toHex(vote))) throw invalid(`the vote key of member ${i} is repeated`);
    voteKeys.add(toHex(vote));
    members.push({ node, vote, name: decodeName(reader.take(NAME_SIZE, `name of member ${i}`), i) });
  }
  reader.end();
  return members;
}
