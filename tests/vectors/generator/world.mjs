// Everything in the vectors, derived from fixed labels. The secret keys are public test keys:
//   vote key:  derive("vouch test vote key v1", label), its two highest bits cleared, big-endian
//   node key:  derive("vouch test node key v1", label) as ed25519 seed
//   nonce:     the first 16 bytes of derive("vouch test nonce v1", label)
//   salt:      the first 16 bytes of derive("vouch test salt v1", label)
//   file:      the text `Vouch test file <label>` and a line feed
import { ed25519 } from "@noble/curves/ed25519.js";
import { STATEMENT_DST, aggregate, provePossession, publicKey, sign } from "../../independent/bls.mjs";
import { NEVER, compare, derive, digestOf, utf8 } from "../../independent/bytes.mjs";
import { MEDIA_TYPE } from "../../independent/bundle.mjs";
import { encodeBitmap, encodeCertificate, encodeReceipt } from "../../independent/certificate.mjs";
import { committeeDigest, encodeCommittee, quorum } from "../../independent/committee.mjs";
import { leafHash, pathOf, rootOf } from "../../independent/merkle.mjs";
import { encodeStatement, encodeStoredBody } from "../../independent/statement.mjs";
import { toBase58, toBase64url } from "../../independent/text.mjs";

export const ISSUED = 1_790_000_000;
export const NOW = ISSUED + 3600;
export const EXPIRES = ISSUED + 365 * 86_400;
export { NEVER };

export function voteSecret(label) {
  const secret = derive("vouch test vote key v1", utf8(label));
  secret[0] &= 0x3f;
  return secret;
}
export const nodeSecret = (label) => derive("vouch test node key v1", utf8(label));
export const nonceOf = (label) => derive("vouch test nonce v1", utf8(label)).slice(0, 16);
export const saltOf = (label) => derive("vouch test salt v1", utf8(label)).slice(0, 16);
export const fileOf = (label) => utf8(`Vouch test file ${label}\n`);

export function receiptOf(label, overrides = {}) {
  const file = overrides.file ?? fileOf(label);
  return { salt: saltOf(label), digest: digestOf(file), length: file.length, expiresAt: EXPIRES, ...overrides };
}

export function makeMembers(label, n, names = []) {
  const members = Array.from({ length: n }, (_, i) => {
    const secret = voteSecret(`${label}/${i}`);
    return { label: `${label}/${i}`, node: ed25519.getPublicKey(nodeSecret(`${label}/${i}`)), vote: publicKey(secret), secret };
  });
  // Names follow member order: replica-2 is member 2.
  return members.sort((a, b) => compare(a.node, b.node)).map((member, i) => ({ ...member, name: names[i] ?? `replica-${i}` }));
}

// `fields` go to the encoder unchanged, `pops` replace the valid ones.
export function makeCommittee(label, members, { pops, ...fields } = {}) {
  const encoding = encodeCommittee({ nonce: nonceOf(label), members, ...fields });
  return {
    label,
    members,
    encoding,
    n: members.length,
    digest: committeeDigest(encoding),
    pops: pops ?? members.map(({ secret }) => provePossession(secret)),
  };
}

export const firstQuorum = (committee) => Array.from({ length: quorum(committee.n) }, (_, i) => i);

// A batch and its certificates. `statement` overrides signed fields, `dst` the domain, `root` the tree.
export function makeBatch(committee, receipts, { issuedAt = ISSUED, statement = {}, dst = STATEMENT_DST, root } = {}) {
  const leaves = receipts.map((receipt) => leafHash(encodeReceipt(receipt)));
  const body = encodeStoredBody({ issuedAt, count: receipts.length, root: root ?? rootOf(leaves) });
  const signed = encodeStatement({ epoch: 0, cluster: committee.digest, committee: committee.digest, body, ...statement });
  const votes = new Map();
  const vote = (i) => {
    if (!votes.has(i)) votes.set(i, sign(signed, committee.members[i].secret, dst));
    return votes.get(i);
  };
  const aggregates = new Map();
  const certify = (index = 0, { signers = firstQuorum(committee), signature, ...fields } = {}) => {
    const key = signers.join();
    if (signature === undefined && !aggregates.has(key)) aggregates.set(key, aggregate(signers.map(vote)));
    return encodeCertificate({
      committee: committee.digest,
      issuedAt,
      count: receipts.length,
      index,
      receipt: encodeReceipt(receipts[index]),
      path: pathOf(leaves, index),
      n: committee.n,
      bitmap: encodeBitmap(signers, committee.n),
      signature: signature ?? aggregates.get(key),
      ...fields,
    });
  };
  return { committee, receipts, leaves, statement: signed, vote, certify };
}

export function bundleObject(committee, certificate) {
  return {
    type: MEDIA_TYPE,
    version: 1,
    certificate: toBase64url(certificate),
    genesis: { committee: toBase64url(committee.encoding), pops: committee.pops.map(toBase58) },
    epochs: [],
  };
}

export function patched(bytes, offset, replacement) {
  const out = bytes.slice();
  out.set(typeof replacement === "number" ? [replacement] : replacement, offset);
  return out;
}

// Flips one bit of the byte at `offset`.
export const flipped = (bytes, offset) => patched(bytes, offset, bytes[offset] ^ 1);

// Committees and batches that several files use; made once, on first use.
function lazily(makers) {
  const made = new Map();
  return (name) => {
    if (!made.has(name)) made.set(name, makers[name]());
    return made.get(name);
  };
}

export const committeeNamed = lazily({
  n1: () => makeCommittee("n1", makeMembers("n1", 1)),
  n2: () => makeCommittee("n2", makeMembers("n2", 2)),
  n4: () => makeCommittee("n4", makeMembers("n4", 4)),
  n7: () => makeCommittee("n7", makeMembers("n7", 7)),
  n100: () => makeCommittee("n100", makeMembers("n100", 100)),
});

const batchReceipts = (count) => Array.from({ length: count }, (_, i) => receiptOf(`batch of ${count}, receipt ${i}`));

const batches = new Map();
export function batchOf(count) {
  if (!batches.has(count)) batches.set(count, makeBatch(committeeNamed("n4"), batchReceipts(count)));
  return batches.get(count);
}

export const singleNamed = lazily({
  n1: () => makeBatch(committeeNamed("n1"), [receiptOf("n1")]),
  n2: () => makeBatch(committeeNamed("n2"), [receiptOf("n2"), receiptOf("n2 neighbour")]),
  n4: () => makeBatch(committeeNamed("n4"), [receiptOf("n4")]),
  n7: () => makeBatch(committeeNamed("n7"), [receiptOf("n7")]),
  n100: () => makeBatch(committeeNamed("n100"), [receiptOf("n100")]),
});

// The members whose signatures are in the base certificates; n4's is the example of the specification.
export const BASE_SIGNERS = { n1: [0], n2: [0, 1], n4: [0, 1, 3], n7: [0, 2, 3, 5, 6], n100: Array.from({ length: 67 }, (_, i) => i + 33) };
export const baseCertificate = (name) => singleNamed(name).certify(0, { signers: BASE_SIGNERS[name] });
