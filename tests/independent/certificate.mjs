// Certificates and the receipts in them.
import { MAX_INTEGER, NEVER, Reader, concat, isZero, u16, u32, u64, u8, utf8 } from "./bytes.mjs";
import { invalid } from "./failure.mjs";
import { leafHash, pathLength, rootFromPath } from "./merkle.mjs";
import { KIND_HANDOFF, KIND_LOG_HEAD, KIND_SEAL, KIND_STORED, encodeStoredBody } from "./statement.mjs";

const MAX_COUNT = 4096;
const MAX_MEMBERS = 1000;

// The encoders check nothing, so that invalid certificates can be made for the vectors.
export const encodeReceipt = ({ kind = 1, salt, digest, length, expiresAt }) => concat(u8(kind), salt, digest, u64(length), u64(expiresAt));

export function encodeBitmap(signers, n) {
  const bitmap = new Uint8Array(Math.ceil(n / 8));
  for (const i of signers) bitmap[i >> 3] |= 1 << (i & 7);
  return bitmap;
}

export function encodeCertificate(certificate) {
  const { kind = KIND_STORED, epoch = 0, committee, issuedAt, count, index, receipt, path, n, bitmap, signature } = certificate;
  return concat(utf8("vouch"), u8(1), u16(kind), u64(epoch), committee, u64(issuedAt), u32(count), u32(index), receipt, ...path, u16(n), bitmap, signature);
}

export function readReceipt(reader) {
  const start = reader.at;
  reader.known(1, "receipt kind", 1);
  const salt = reader.take(16, "salt");
  const digest = reader.take(32, "digest");
  const length = reader.bounded("length");
  const expiresAt = reader.big(8, "expires_at");
  if (expiresAt > BigInt(MAX_INTEGER) && expiresAt !== NEVER) throw invalid("expires_at is too large", { expected: `at most ${MAX_INTEGER}, or never`, got: `${expiresAt}` });
  return { salt, digest, length, expiresAt, encoding: reader.bytes.slice(start, reader.at) };
}

export function decodeSigners(reader) {
  const n = reader.small(2, "n");
  if (n < 1 || n > MAX_MEMBERS) throw invalid("wrong number of members", { expected: `1 to ${MAX_MEMBERS}`, got: `${n}` });
  const bitmap = reader.take(Math.ceil(n / 8), "bitmap");
  const signers = [];
  for (let i = 0; i < 8 * bitmap.length; i++) {
    if (((bitmap[i >> 3] >> (i & 7)) & 1) === 0) continue;
    if (i >= n) throw invalid(`the spare bit ${i} of the bitmap is set`);
    signers.push(i);
  }
  if (signers.length === 0) throw invalid("no signer");
  return { n, signers };
}

// What every kind of certificate has around its claim. The claim of a certificate fixes the signed body.
function decodeKind(bytes, wanted, decodeClaim) {
  const reader = new Reader(bytes, "the certificate");
  reader.tag("vouch");
  reader.known(1, "version", 1);
  const kind = reader.known(2, "statement kind", wanted);
  const epoch = reader.bounded("epoch");
  const committee = reader.take(32, "committee digest");
  const claim = decodeClaim(reader);
  const { n, signers } = decodeSigners(reader);
  const signature = reader.take(96, "signature");
  reader.end();
  return { kind, epoch, committee, ...claim, n, signers, signature };
}

function decodeStoredClaim(reader) {
  const issuedAt = reader.bounded("issued_at");
  const count = reader.small(4, "count");
  if (count < 1 || count > MAX_COUNT) throw invalid("wrong count", { expected: `1 to ${MAX_COUNT}`, got: `${count}` });
  const index = reader.small(4, "index");
  if (index >= count) throw invalid("the index is not below the count", { expected: `below ${count}`, got: `${index}` });
  const receipt = readReceipt(reader);
  const path = Array.from({ length: pathLength(index, count) }, (_, i) => reader.take(32, `path hash ${i}`));
  const body = encodeStoredBody({ issuedAt, count, root: rootFromPath(leafHash(receipt.encoding), index, count, path) });
  return { issuedAt, count, index, receipt, path, body };
}

export const decodeCertificate = (bytes) => decodeKind(bytes, KIND_STORED, decodeStoredClaim);

// The certificate of a kind whose claim is the signed body itself: a log head, unless `kind` says otherwise.
export function encodeBodyCertificate({ kind = KIND_LOG_HEAD, epoch = 0, committee, body, n, bitmap, signature }) {
  return concat(utf8("vouch"), u8(1), u16(kind), u64(epoch), committee, body, u16(n), bitmap, signature);
}

// Reads a claim that is the signed body itself.
const withBody = (read) => (reader) => {
  const start = reader.at;
  const claim = read(reader);
  return { ...claim, body: reader.bytes.slice(start, reader.at) };
};

const decodeHeadClaim = withBody((reader) => {
  const height = reader.height("height");
  const block = reader.take(32, "block digest");
  const logRoot = reader.take(32, "log root");
  const time = reader.bounded("time");
  return { height, block, logRoot, time };
});

const decodeHandoffClaim = withBody((reader) => {
  const closing = reader.bounded("closing");
  const next = reader.take(32, "next committee");
  const height = reader.height("height");
  const logRoot = reader.take(32, "log root");
  return { closing, next, height, logRoot };
});

const decodeSealClaim = withBody((reader) => {
  const sealed = reader.bounded("sealed epoch");
  const sealedCommittee = reader.take(32, "sealed committee");
  const count = reader.bounded("count");
  const root = reader.take(32, "root");
  if (count === 0 && !isZero(root)) throw invalid("a seal of nothing has a root");
  return { sealed, sealedCommittee, count, root };
});

export const decodeHandoffCertificate = (bytes) => decodeKind(bytes, KIND_HANDOFF, decodeHandoffClaim);
export function decodeSealCertificate(bytes) {
  const certificate = decodeKind(bytes, KIND_SEAL, decodeSealClaim);
  if (certificate.epoch !== certificate.sealed + 1) throw invalid("a committee seals the epoch before its own", { expected: `${certificate.sealed + 1}`, got: `${certificate.epoch}` });
  return certificate;
}
export const decodeHeadCertificate = (bytes) => decodeKind(bytes, KIND_LOG_HEAD, decodeHeadClaim);
