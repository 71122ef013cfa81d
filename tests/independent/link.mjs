// The link messages that the vectors contain.
import { readAuthorisation, readGrant, readRules } from "./access.mjs";
import { Reader, compare, concat, derive, u16, u32, u64, u8, utf8 } from "./bytes.mjs";
import { readReceipt } from "./certificate.mjs";
import { invalid } from "./failure.mjs";

export const ROLES = { client: 1, replica: 2, server: 3 };

export const LINK_VERSION = 3;

export const encodeHello = ({ role, cluster, epoch, node, nonce }) => concat(u8(0x01), u16(LINK_VERSION), u8(role), cluster, u64(epoch), node, nonce);

export function authBytes({ dialerHello, listenerHello, signerRole, exporter = new Uint8Array(0) }) {
  const hash = (hello) => derive("vouch hello v1", hello);
  return concat(u8(0x0d), utf8("vouch/link/v1"), hash(dialerHello), hash(listenerHello), u8(signerRole), u8(exporter.length), exporter);
}

// Signed clock readings: what a member signs, and the question and answer messages.
export const timeBytes = ({ cluster, asker, nonce, time }) => concat(u8(0x0d), utf8("vouch/time/v1"), cluster, asker, nonce, u64(time));

export const encodeAskTime = ({ stream, asker, nonce }) => concat(u8(0x37), u32(stream), asker, nonce);

export const encodeSignedTime = ({ stream, member, time, signature }) => concat(u8(0x38), u32(stream), u16(member), u64(time), signature);

// Frames between members: everything before the signature, and what is signed.
const frameHeader = ({ kind, from, to, session, number }) => concat(u8(1), u8(kind), from, to, session, u64(number));

export const peerHello = ({ echo, asks, address = "", ...header }) =>
  concat(frameHeader({ ...header, kind: 1 }), u8(echo ? 1 : 0), echo ?? new Uint8Array(16), u8(asks ? 1 : 0), u8(address.length), utf8(address));

export const peerMessage = ({ message, ...header }) => concat(frameHeader({ ...header, kind: 2 }), message);

export const peerFrameBytes = ({ cluster, frame, receiver = new Uint8Array(0) }) => concat(u8(0x0d), utf8("vouch/peer/v1"), cluster, frame, receiver);

export const encodeAuth = (signature) => concat(u8(0x02), signature);

const MAX_SMALL = 65_536;
const MAX_TOKENS = 4096;
const NOTHING = new Uint8Array(0);

const [OFFERED, RENEW, AUTHORISED] = [1, 2, 4];
const [BLOB_RENEW, BLOB_AUTHORISED] = [1, 2];

// The messages that carry authorisations. `receipt`, `authorisation` and `grant` are encodings; the encoders check nothing.
export const encodePut = ({ stream, renew = false, receipt, authorisation }) =>
  concat(u8(0x10), u32(stream), u8((receipt ? OFFERED : 0) | (renew ? RENEW : 0) | (authorisation ? AUTHORISED : 0)), receipt ?? NOTHING, authorisation ?? NOTHING);

export const encodePutEnd = ({ stream, receipt, authorisation = NOTHING }) => concat(u8(0x12), u32(stream), receipt, authorisation);

export const encodeBlob = ({ stream, renew = false, receipt, authorisation, bytes }) =>
  concat(u8(0x18), u32(stream), u8((renew ? BLOB_RENEW : 0) | (authorisation ? BLOB_AUTHORISED : 0)), receipt, authorisation ?? NOTHING, bytes);

export const encodeLocate = ({ stream, digest, authorisation = NOTHING }) => concat(u8(0x20), u32(stream), digest, authorisation);

// What a replica tells a server about access.
export const encodeAccess = ({ number, rules, tokens, count = tokens.length }) => concat(u8(0x5d), u64(number), rules, u32(count), ...tokens.flatMap(({ token, grant }) => [token, grant]));

const rest = (reader) => reader.bytes.length - reader.at;

function readFlags(reader, most) {
  const flags = reader.small(1, "flags");
  if (flags > most) throw invalid(`${reader.what} has unknown flags`, { expected: `at most ${most}`, got: `${flags}` });
  return flags;
}

const optionalAuthorisation = (reader) => (rest(reader) === 0 ? null : readAuthorisation(reader));

function readTokens(reader) {
  const count = reader.small(4, "number of tokens");
  if (count > MAX_TOKENS) throw invalid("too many tokens", { expected: `at most ${MAX_TOKENS}`, got: `${count}` });
  const tokens = Array.from({ length: count }, () => ({ token: reader.take(32, "token key"), ...readGrant(reader) }));
  if (tokens.some(({ token }, i) => i > 0 && compare(tokens[i - 1].token, token) >= 0)) throw invalid("the tokens do not ascend");
  return tokens;
}

const MESSAGES = {
  0x10: (reader) => {
    const [stream, flags] = [reader.small(4, "stream"), readFlags(reader, OFFERED | RENEW | AUTHORISED)];
    const receipt = flags & OFFERED ? readReceipt(reader) : null;
    return { stream, renew: (flags & RENEW) !== 0, receipt, authorisation: flags & AUTHORISED ? readAuthorisation(reader) : null };
  },
  0x12: (reader) => ({ stream: reader.small(4, "stream"), receipt: readReceipt(reader), authorisation: optionalAuthorisation(reader) }),
  0x18: (reader) => {
    const [stream, flags] = [reader.small(4, "stream"), readFlags(reader, BLOB_RENEW | BLOB_AUTHORISED)];
    const receipt = readReceipt(reader);
    const authorisation = flags & BLOB_AUTHORISED ? readAuthorisation(reader) : null;
    if (rest(reader) > MAX_SMALL) throw invalid("too many bytes in a single message", { expected: `at most ${MAX_SMALL}`, got: `${rest(reader)}` });
    return { stream, renew: (flags & BLOB_RENEW) !== 0, receipt, authorisation, bytes: reader.take(rest(reader), "bytes") };
  },
  0x20: (reader) => ({ stream: reader.small(4, "stream"), digest: reader.take(32, "digest"), authorisation: optionalAuthorisation(reader) }),
  0x5d: (reader) => ({ number: reader.bounded("number of access changes"), rules: readRules(reader), tokens: readTokens(reader) }),
};

/** Decodes one of the messages above. */
export function decodeMessage(bytes) {
  const reader = new Reader(bytes, "the message");
  const tag = reader.small(1, "tag");
  if (MESSAGES[tag] === undefined) throw invalid("another message", { got: `${tag}` });
  const message = MESSAGES[tag](reader);
  reader.end();
  return { tag, ...message };
}
