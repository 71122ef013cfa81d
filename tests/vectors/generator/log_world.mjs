// A log of a few blocks, its certified heads and the proofs of its ops, all derived from fixed labels:
//   op i of block h:  kind 0, the nonce of `op h/i`, expires a minute after its block, the body `note h/i`, the effect `effect h/i`
//   block h:          made by member h mod n, at the time ISSUED + h; its state digest is that of the text `state h`
import { ed25519 } from "@noble/curves/ed25519.js";
import { STATEMENT_DST, aggregate, sign } from "../../independent/bls.mjs";
import { OP_MEDIA_TYPE } from "../../independent/bundle.mjs";
import { concat, u64, utf8 } from "../../independent/bytes.mjs";
import { NO_HISTORY } from "../../independent/epochs.mjs";
import { encodeBitmap, encodeBodyCertificate } from "../../independent/certificate.mjs";
import * as log from "../../independent/log.mjs";
import { encodeHandoffBody, encodeHeadBody, encodeStatement, KIND_HANDOFF, KIND_LOG_HEAD } from "../../independent/statement.mjs";
import { fromBase64url, toBase64url } from "../../independent/text.mjs";
import { certified } from "./epochs.mjs";
import { ISSUED, bundleObject, committeeNamed, firstQuorum, makeCommittee, makeMembers, nodeSecret, nonceOf, patched } from "./world.mjs";

const ZERO = new Uint8Array(32);
const OTHER_ROOT = new Uint8Array(32).fill(7);
export const OPS_OF_BLOCKS = [1, 2, 3, 5, 1, 4, 2];

// `overrides` replace what is derived from the labels.
export function makeOp(committee, height, index, overrides = {}) {
  const time = ISSUED + height;
  const { kind = 0, nonce = nonceOf(`op ${height}/${index}`), expiresAt = time + 60, body = utf8(`note ${height}/${index}`), effect = utf8(`effect ${height}/${index}`), secret = nodeSecret(committee.members[index % committee.n].label) } = overrides;
  const encoding = log.encodeOp({ kind, nonce, expiresAt, body });
  const identity = log.opIdentity(committee.digest, encoding);
  return { encoding, identity, effect, submitter: ed25519.getPublicKey(secret), signed: log.submitOp(committee.digest, encoding, secret) };
}

export const leafOf = ({ identity, submitter, effect }) => log.encodeResult({ op: identity, submitter, effect });

export function makeBlock(committee, height, earlier, ops, overrides = {}) {
  const fields = {
    cluster: committee.digest,
    height,
    parent: earlier.at(-1) ?? ZERO,
    author: committee.members[height % committee.n].node,
    time: ISSUED + height,
    logRoot: earlier.length === 0 ? ZERO : log.logTree.rootOf(earlier.map(log.logTree.leafHash)),
    count: ops.length,
    ops: log.opsDigest(ops.map(({ signed }) => signed)),
    results: log.resultTree.rootOf(ops.map((op) => log.resultTree.leafHash(leafOf(op)))),
    state: log.stateDigest(utf8(`state ${height}`)),
    ...overrides,
  };
  const header = log.encodeHeader(fields);
  return { height, ops, fields, header, digest: log.blockDigest(header) };
}

export function makeLog(committee, counts = OPS_OF_BLOCKS) {
  const blocks = [];
  for (const count of counts) {
    const height = blocks.length + 1;
    const ops = Array.from({ length: count }, (_, i) => makeOp(committee, height, i));
    blocks.push(makeBlock(committee, height, blocks.map(({ digest }) => digest), ops));
  }
  return blocks;
}

export const rootOfBlocks = (blocks) => log.logTree.rootOf(blocks.map(({ digest }) => log.logTree.leafHash(digest)));

export function headOf(blocks, overrides = {}) {
  const last = blocks.at(-1);
  return { height: last.height, block: last.digest, logRoot: rootOfBlocks(blocks), time: last.fields.time, ...overrides };
}

// The certificate of a head. `signed` is the head that the members signed, if it is another one.
export function certifyHead(committee, head, { signed = head, signers = firstQuorum(committee), statement = {}, ...fields } = {}) {
  const bytes = headStatement(committee, signed, statement);
  const signature = aggregate(signers.map((i) => sign(bytes, committee.members[i].secret, STATEMENT_DST)));
  return encodeBodyCertificate({ committee: committee.digest, body: encodeHeadBody(head), n: committee.n, bitmap: encodeBitmap(signers, committee.n), signature, ...fields });
}

export const headStatement = (committee, head, overrides = {}) =>
  encodeStatement({ kind: KIND_LOG_HEAD, epoch: 0, cluster: committee.digest, committee: committee.digest, body: encodeHeadBody(head), ...overrides });

// The proof of one op, under the head of `blocks`.
export function proofOf(blocks, height, index, overrides = {}) {
  const block = blocks[height - 1];
  const op = block.ops[index];
  return log.encodeProof({
    header: block.header,
    index,
    submitter: op.submitter,
    op: op.encoding,
    effect: log.encodeEffect(op.effect),
    resultPath: log.resultTree.pathOf(block.ops.map((one) => log.resultTree.leafHash(leafOf(one))), index),
    blockPath: log.logTree.pathOf(blocks.map(({ digest }) => log.logTree.leafHash(digest)), height - 1),
    ...overrides,
  });
}

export const blockBytes = ({ header, ops }) => concat(header, ...ops.map(({ signed }) => signed));
export const blockPathOf = (blocks, height) => concat(...log.logTree.pathOf(blocks.map(({ digest }) => log.logTree.leafHash(digest)), height - 1));

export const opBundleObject = (committee, certificate, proof) => ({ ...bundleObject(committee, certificate), type: OP_MEDIA_TYPE, proof: toBase64url(proof) });

export const membersAfter = () => makeMembers("after", 4);

// The entry of a bundle for epoch 1, to which the committee handed over at a block.
export function epochAfter(committee, blocks, height, logRoot = rootOfBlocks(blocks.slice(0, height))) {
  const next = makeCommittee("after", membersAfter(), { epoch: 1, cluster: committee.digest, previous: committee.digest, nonce: new Uint8Array(16), history: NO_HISTORY });
  const body = encodeHandoffBody({ closing: ISSUED + 600, next: next.digest, height, logRoot });
  const { certificate } = certified(committee, 0, committee.digest, KIND_HANDOFF, body);
  return { handoff: toBase64url(certificate), committee: toBase64url(next.encoding) };
}

// The end of the epoch at height 7, but its handoff names height 8, which was not signed.
export function epochSignedForAnotherHeight(committee, blocks) {
  const ended = epochAfter(committee, blocks, 7);
  return { ...ended, handoff: toBase64url(patched(fromBase64url(ended.handoff), 88, u64(8))) };
}

// Ends of the epoch, and how the head of the log's 7 blocks is judged with each of them.
export const epochEnds = (committee, blocks) => [
  { name: "epoch_ended_at_the_head", about: "The head is of the epoch's last block.", epoch: epochAfter(committee, blocks, 7), verdict: "valid", check: null },
  { name: "epoch_ended_before_the_head", about: "The epoch's last block is before the head.", epoch: epochAfter(committee, blocks, 6), verdict: "invalid", check: "closing" },
  { name: "epoch_ended_with_another_log", about: "The handoff names another log root at the height of the head.", epoch: epochAfter(committee, blocks, 7, OTHER_ROOT), verdict: "invalid", check: "closing" },
  { name: "epoch_ended_after_the_head", about: "The epoch went on after the head: the handoff does not fix its log root.", epoch: epochAfter(committee, blocks, 8, OTHER_ROOT), verdict: "valid", check: null },
  { name: "chain_of_another_height", about: "The committee signed another height.", epoch: epochSignedForAnotherHeight(committee, blocks), verdict: "invalid", check: "chain" },
];

let made;
// The log of the committee n4 that most cases use.
export function theLog() {
  const committee = committeeNamed("n4");
  made ??= { committee, blocks: makeLog(committee) };
  return made;
}
