// Who may put and read: tokens, what their holders sign, the changes of access, and the ops that carry these into the log.
import { ed25519 } from "@noble/curves/ed25519.js";
import { STATEMENT_DST, decodeKey, decodeSignature, verifySignature } from "./bls.mjs";
import { MAX_INTEGER, NEVER, Reader, concat, derive, equal, u64, u8, utf8 } from "./bytes.mjs";
import { NAME_SIZE, decodeName, encodeName } from "./committee.mjs";
import { hasSigned } from "./ed25519.mjs";
import { cannotCheck, invalid, named } from "./failure.mjs";
import { KIND_ACCESS, encodeStatement } from "./statement.mjs";
import { fromBase58, toBase58 } from "./text.mjs";

/** In place of a limit or an expiry: there is none. */
export const NO_LIMIT = NEVER;

const [RULES, GRANT, REVOKE] = [1, 2, 3];
export const DECIDE = 11;
export const APPROVE = 12;

// The encoders check nothing, so that invalid values can be made for the vectors.
export const encodeRules = ({ put, read }) => concat(u8(put), u8(read));

export const encodeGrant = ({ name, largest, rate, quota, expiresAt }) => concat(encodeName(name), u64(largest), u64(rate), u64(quota), u64(expiresAt));

function encodeDecision({ rules, grant, revoke }) {
  if (rules !== undefined) return concat(u8(RULES), encodeRules(rules));
  if (grant !== undefined) return concat(u8(GRANT), grant.token, encodeGrant(grant));
  return concat(u8(REVOKE), revoke);
}

/** `decision` is one of `{ rules: { put, read } }`, `{ grant: { token, name, largest, rate, quota, expiresAt } }` and `{ revoke: token }`. */
export const encodeAccessChange = ({ version = 1, cluster, number, decision }) => concat(utf8("vouchac"), u8(version), cluster, u64(number), encodeDecision(decision));

export const accessChangeIdentity = (change) => derive("vouch access change v1", change);

function readFlag(reader, field) {
  const value = reader.small(1, field);
  if (value > 1) throw invalid(`${reader.what}: ${field} is neither 0 nor 1`, { expected: "0 or 1", got: `${value}` });
  return value;
}

export const readRules = (reader) => ({ put: readFlag(reader, "who may put"), read: readFlag(reader, "who may read") });

// The largest u64 is no limit; any other is at most 2^53 − 1.
function readLimit(reader, field) {
  const value = reader.big(8, field);
  if (value > BigInt(MAX_INTEGER) && value !== NO_LIMIT) throw invalid(`${reader.what}: ${field} is too large`, { expected: `at most ${MAX_INTEGER}, or no limit`, got: `${value}` });
  return value;
}

export function readGrant(reader) {
  const name = decodeName(reader.take(NAME_SIZE, "name"), 0);
  const [largest, rate, quota, expiresAt] = ["largest", "rate", "quota", "expires_at"].map((field) => readLimit(reader, field));
  if (rate === 0n) throw invalid(`${reader.what}: a rate of 0`, { expected: "1 or more", got: "0" });
  return { name, largest, rate, quota, expiresAt };
}

const DECISIONS = {
  [RULES]: (reader) => ({ rules: readRules(reader) }),
  [GRANT]: (reader) => ({ grant: { token: reader.take(32, "token key"), ...readGrant(reader) } }),
  [REVOKE]: (reader) => ({ revoke: reader.take(32, "token key") }),
};

function readAccessChange(reader) {
  reader.tag("vouchac");
  reader.known(1, "version of the access change", 1);
  const cluster = reader.take(32, "cluster");
  const number = reader.bounded("number");
  if (number === 0) throw invalid("the access change has number 0", { expected: "1 or more", got: "0" });
  const decision = reader.small(1, "decision");
  if (DECISIONS[decision] === undefined) throw invalid("no such decision", { expected: "1 to 3", got: `${decision}` });
  return { cluster, number, decision: DECISIONS[decision](reader) };
}

// Reads exactly one value.
function decodeWith(read, what) {
  return (bytes) => {
    const reader = new Reader(bytes, what);
    const value = read(reader);
    reader.end();
    return value;
  };
}

export const decodeAccessChange = decodeWith(readAccessChange, "the access change");

/** What the operator signs, in the name of this committee. */
export const accessStatement = ({ epoch, cluster, committee, identity }) => encodeStatement({ kind: KIND_ACCESS, epoch, cluster, committee, body: identity });

/** Whether this operator signed the change in the name of this committee. */
export function isAccessSignedByOperator(operator, { epoch, cluster, digest }, encoded, signature) {
  const [key, point] = [decodeKey(operator), decodeSignature(signature)];
  if (key === null || point === null) return false;
  return verifySignature(point, accessStatement({ epoch, cluster, committee: digest, identity: accessChangeIdentity(encoded) }), key, STATEMENT_DST);
}

// The bodies of the ops, of an encoded change.
export const encodeDecide = ({ operator, change }) => concat(operator, change);
export const encodeApproveAccess = ({ node, number, signature, change }) => concat(node, u64(number), signature, change);

const OPS = {
  [DECIDE]: (reader) => ({ operator: reader.take(96, "operator's signature"), change: readAccessChange(reader) }),
  [APPROVE]: (reader) => ({ node: reader.take(32, "node key"), number: reader.bounded("number of the approval"), signature: reader.take(64, "signature"), change: readAccessChange(reader) }),
};

/** The body of an op about access. */
export function decodeAccessOp(kind, body) {
  if (OPS[kind] === undefined) throw cannotCheck(`no op about access has kind ${kind}`, { expected: "11 or 12", got: `${kind}` });
  return decodeWith(OPS[kind], "the op's body")(body);
}

/** Seconds for which an authorisation counts before and after the time in it. */
export const BEFORE = 60;
export const AFTER = 600;

export const STORE = 1;
export const SEND = 2;
export const READ = 3;

/** What a token's holder signs. `content`: a receipt's encoding to store, nothing to send, a digest to read. */
export const authorisationBytes = ({ cluster, signedAt, action, content = new Uint8Array(0) }) => concat(u8(0x0e), utf8("vouch/token/v1"), cluster, u64(signedAt), u8(action), content);

export function authorise(seed, { cluster, signedAt, action, content }) {
  const signature = ed25519.sign(authorisationBytes({ cluster, signedAt, action, content }), seed);
  return { token: ed25519.getPublicKey(seed), signedAt, signature };
}

export const encodeAuthorisation = ({ token, signedAt, signature }) => concat(token, u64(signedAt), signature);

export const readAuthorisation = (reader) => ({ token: reader.take(32, "token key"), signedAt: reader.bounded("signed_at"), signature: reader.take(64, "signature") });

export const decodeAuthorisation = decodeWith(readAuthorisation, "the authorisation");

/** Throws unless the token's holder authorised this action in this cluster lately. */
export function checkAuthorisation({ token, signedAt, signature }, { cluster, action, content, now }) {
  named("time", () => {
    if (now < signedAt - BEFORE || now > signedAt + AFTER) throw invalid("the authorisation does not count now", { expected: `${signedAt - BEFORE} to ${signedAt + AFTER}`, got: `${now}` });
  });
  named("signature", () => {
    if (!hasSigned(token, authorisationBytes({ cluster, signedAt, action, content }), signature)) throw invalid("the token's holder did not sign this");
  });
}

const SECRET_PREFIX = "vouch-token-";

const checksum = (seed) => derive("vouch token checksum v1", seed).slice(0, 4);

export const tokenSecretText = (seed) => SECRET_PREFIX + toBase58(concat(seed, checksum(seed)));

/** The 32 bytes of the seed; null if the text is no token's secret. */
export function parseTokenSecret(text) {
  const bytes = text.startsWith(SECRET_PREFIX) ? fromBase58(text.slice(SECRET_PREFIX.length), 36) : null;
  if (bytes === null) return null;
  const seed = bytes.slice(0, 32);
  return equal(bytes.slice(32), checksum(seed)) ? seed : null;
}
