// Changes of members: what is proposed, what the operator and the members sign about it, and the ops that carry this into the log.
import { STATEMENT_DST, decodeKey, decodeSignature, verifySignature } from "./bls.mjs";
import { Reader, compare, concat, derive, equal, u16, u32, u64, u8, utf8 } from "./bytes.mjs";
import { decodeSigners } from "./certificate.mjs";
import { MAX_MEMBERS, NAME_SIZE, decodeName, encodeName, faulty } from "./committee.mjs";
import { hasSigned } from "./ed25519.mjs";
import { cannotCheck, invalid, named } from "./failure.mjs";
import { decodeOffer } from "./offer.mjs";
import { KIND_OPERATOR, encodeStatement } from "./statement.mjs";

const MAX_CHANGED = 64;
const MAX_BATCH = 4096;

// The encoders check nothing, so that invalid values can be made for the vectors.
export function encodeChange({ version = 1, epoch, cluster, committee, nonce, forced = 0, removed = [], added = [] }) {
  const members = added.map(({ node, name }) => concat(node, encodeName(name)));
  return concat(utf8("vouchcc"), u8(version), u64(epoch), cluster, committee, nonce, u8(forced), u8(removed.length), u8(added.length), ...removed, ...members);
}

export const changeIdentity = (change) => derive("vouch committee change v1", change);

function flag(reader, field) {
  const value = reader.small(1, field);
  if (value > 1) throw invalid(`${reader.what}: ${field} is neither 0 nor 1`, { expected: "0 or 1", got: `${value}` });
  return value === 1;
}

function readChange(reader) {
  reader.tag("vouchcc");
  reader.known(1, "version of the change", 1);
  const epoch = reader.bounded("epoch");
  if (epoch === Number.MAX_SAFE_INTEGER) throw invalid("there is no next epoch");
  const cluster = reader.take(32, "cluster");
  const committee = reader.take(32, "committee digest");
  const nonce = reader.take(16, "nonce");
  const forced = flag(reader, "forced");
  const sizes = ["removed", "added"].map((field) => reader.small(1, `number of ${field} members`));
  if (sizes[0] + sizes[1] > MAX_CHANGED) throw invalid("too many members in one change", { expected: `at most ${MAX_CHANGED}`, got: `${sizes[0] + sizes[1]}` });
  const removed = Array.from({ length: sizes[0] }, () => reader.take(32, "removed member"));
  const added = Array.from({ length: sizes[1] }, (_, i) => ({ node: reader.take(32, "added member"), name: decodeName(reader.take(NAME_SIZE, "name"), i) }));
  return { epoch, cluster, committee, nonce, forced, removed, added };
}

export function decodeChange(bytes) {
  const reader = new Reader(bytes, "the change");
  const change = readChange(reader);
  reader.end();
  return change;
}

const holds = (check, condition, message) =>
  named(check, () => {
    if (!condition) throw invalid(message);
  });

const ascends = (keys) => keys.every((key, i) => i === 0 || compare(keys[i - 1], key) < 0);

// Whether the change can be made of this committee.
export function checkChange({ epoch, cluster, committee, removed, added }, previous) {
  const isMember = (key) => previous.members.some(({ node }) => equal(node, key));
  const joins = added.map(({ node }) => node);
  holds("committee", epoch === previous.epoch && equal(cluster, previous.cluster) && equal(committee, previous.digest), "the change is of another committee");
  holds("order", ascends(removed) && ascends(joins), "the members do not ascend");
  holds("removed", removed.every(isMember), "a removed node is no member");
  holds("added", !joins.some(isMember), "an added node is a member");
  const most = previous.n - 2 * faulty(previous.n) - 1;
  holds("most-removed", removed.length <= most, `more than ${most} leave`);
  holds("size", previous.n - removed.length + added.length <= MAX_MEMBERS, "the next committee is too large");
}

export const operatorStatement = ({ epoch, cluster, committee, identity }) => encodeStatement({ kind: KIND_OPERATOR, epoch, cluster, committee, body: identity });

// Whether the operator signed the change.
export function isSignedByOperator(operator, encoded, signature) {
  const { epoch, cluster, committee } = decodeChange(encoded);
  const [key, point] = [decodeKey(operator), decodeSignature(signature)];
  return key !== null && point !== null && verifySignature(point, operatorStatement({ epoch, cluster, committee, identity: changeIdentity(encoded) }), key, STATEMENT_DST);
}

const VOTES = {
  approve: { number: 1, encode: ({ change, number }) => concat(change, u64(number)), read: (reader) => ({ change: reader.take(32, "change"), number: reader.bounded("number") }) },
  stop: { number: 2, encode: ({ until }) => u64(until), read: (reader) => ({ until: reader.bounded("time of the stop") }) },
  "seal-ready": { number: 3, encode: () => new Uint8Array(0), read: () => ({}) },
  // Its op has the whole access change, and is read in access.mjs.
  "approve-access": { number: 4, encode: ({ change, number }) => concat(change, u64(number)) },
};

// What a node key signs.
export const nodeVoteBytes = (vote, { cluster, committee }) => concat(u8(19), utf8("vouch/membership/v1"), u8(VOTES[vote.says].number), cluster, committee, VOTES[vote.says].encode(vote));

export const encodeNodeVote = ({ node, signature, ...vote }) => concat(node, VOTES[vote.says].encode(vote), signature);

export function checkNodeVote({ node, signature, ...vote }, committee) {
  holds("voter", committee.members.some((member) => equal(member.node, node)), "the voter is no member");
  const bytes = nodeVoteBytes(vote, { cluster: committee.cluster, committee: committee.digest });
  holds("signature", hasSigned(node, bytes, signature), "the node key did not sign this");
}

export const encodeCertified = ({ issuedAt, count, root, n, bitmap, signature }) => concat(u64(issuedAt), u32(count), root, u16(n), bitmap, signature);

function readCertified(reader) {
  const issuedAt = reader.bounded("issued_at");
  const count = reader.small(4, "count");
  if (count < 1 || count > MAX_BATCH) throw invalid("wrong count", { expected: `1 to ${MAX_BATCH}`, got: `${count}` });
  const root = reader.take(32, "root");
  return { issuedAt, count, root, ...decodeSigners(reader), signature: reader.take(96, "signature") };
}

function readVote(reader, says) {
  const node = reader.take(32, "node key");
  return { says, node, ...VOTES[says].read(reader), signature: reader.take(64, "signature") };
}

const readSigned = (reader) => ({ node: reader.take(32, "node key"), signature: reader.take(96, "signature") });

const OPS = {
  1: (reader) => ({ operator: flag(reader, "operator's signature") ? reader.take(96, "operator's signature") : null, change: readChange(reader) }),
  2: (reader) => readVote(reader, "approve"),
  3: (reader) => decodeOffer(reader.take(reader.bytes.length - reader.at, "offer")),
  4: (reader) => ({ change: reader.take(32, "change") }),
  5: readSigned,
  6: (reader) => readVote(reader, "stop"),
  7: readSigned,
  8: (reader) => {
    const statements = [];
    while (statements.length === 0 || reader.at < reader.bytes.length) statements.push(readCertified(reader));
    return statements;
  },
  9: (reader) => readVote(reader, "seal-ready"),
  10: readSigned,
};

// The body of an op about members.
export function decodeMembershipOp(kind, body) {
  if (OPS[kind] === undefined) throw cannotCheck(`no op about members has kind ${kind}`, { expected: "1 to 10", got: `${kind}` });
  const reader = new Reader(body, "the op's body");
  const op = OPS[kind](reader);
  reader.end();
  return op;
}
