// The log: ops, blocks, what members sign about them, and the proof of an op.
import { ed25519 } from "@noble/curves/ed25519.js";
import { Reader, compare, concat, derive, equal, u16, u32, u64, u8, utf8 } from "./bytes.mjs";
import { cannotCheck, invalid, named } from "./failure.mjs";
import { pathLength, treeKind } from "./merkle.mjs";
import { toBase58, toHex } from "./text.mjs";

const MAX_BODY = 4096;
const MAX_EFFECT = 1024;
const MAX_OPS = 512;
const MAX_BLOCK_PATH = 53;
const MAX_BLOCK = 65_536;
const NO_ROUND = 0xffffffff;

export const resultTree = treeKind("log result");
export const logTree = treeKind("log");

// The encoders check nothing, so that invalid values can be made for the vectors.
export const encodeOp = ({ version = 1, kind, nonce, expiresAt, body }) => concat(u8(version), u16(kind), nonce, u64(expiresAt), u16(body.length), body);
export const opIdentity = (cluster, op) => derive("vouch log op v1", concat(cluster, op));
export const signedOpBytes = (cluster, op) => concat(u8(15), utf8("vouch/log-op/v1"), cluster, op);
export const encodeSignedOp = ({ op, submitter, signature }) => concat(op, submitter, signature);
export const submitOp = (cluster, op, secret) => encodeSignedOp({ op, submitter: ed25519.getPublicKey(secret), signature: ed25519.sign(signedOpBytes(cluster, op), secret) });
export const opsDigest = (signedOps) => derive("vouch log ops v1", concat(...signedOps));
export const encodeEffect = (effect) => concat(u16(effect.length), effect);
export const encodeResult = ({ op, submitter, effect }) => concat(op, submitter, encodeEffect(effect));

export function encodeHeader({ version = 1, cluster, epoch = 0, height, parent, author, time, logRoot, count, ops, results, state }) {
  return concat(utf8("vouchlb"), u8(version), cluster, u64(epoch), u64(height), parent, author, u64(time), logRoot, u32(count), ops, results, state);
}
export const blockDigest = (header) => derive("vouch log block v1", header);
export const stateDigest = (state) => derive("vouch log state v1", state);

// What the engine signs.
const engineBytes = (cluster, epoch, message, height, round) => concat(u8(12), utf8("vouch/log/v1"), cluster, u64(epoch), u8(message), u64(height), u32(round));
export const voteBytes = ({ cluster, epoch, type, height, round, block = new Uint8Array(32) }) => concat(engineBytes(cluster, epoch, type, height, round), block);
export const proposalBytes = ({ cluster, epoch, height, round, validRound = NO_ROUND, block }) => concat(engineBytes(cluster, epoch, 3, height, round), u32(validRound), block);

export function encodeEvidence({ cluster, epoch, member, message, height, round, both }) {
  const parts = both.map(({ validRound = NO_ROUND, block, signature }) => concat(message === 3 ? u32(validRound) : new Uint8Array(0), block, signature));
  return concat(utf8("vouchev"), u8(1), cluster, u64(epoch), member, u8(message), u64(height), u32(round), ...parts);
}

export function encodeProof({ version = 1, header, index, submitter, op, effect, resultPath, blockPath }) {
  return concat(utf8("vouchop"), u8(version), header, u32(index), submitter, op, effect, ...resultPath, ...blockPath);
}

function decodeHeader(reader) {
  const start = reader.at;
  reader.tag("vouchlb");
  reader.known(1, "block version", 1);
  const cluster = reader.take(32, "cluster");
  const epoch = reader.bounded("epoch");
  const height = reader.height("height");
  reader.take(32 + 32, "parent and author");
  const time = reader.bounded("time");
  reader.take(32, "log root");
  const count = reader.small(4, "number of ops");
  if (count < 1 || count > MAX_OPS) throw invalid("wrong number of ops", { expected: `1 to ${MAX_OPS}`, got: `${count}` });
  const ops = reader.take(32, "digest of the ops");
  const results = reader.take(32, "results root");
  reader.take(32, "state digest");
  return { cluster, epoch, height, time, count, ops, results, digest: blockDigest(reader.bytes.slice(start, reader.at)) };
}

function decodeOp(reader) {
  const start = reader.at;
  reader.known(1, "op version", 1);
  const kind = reader.small(2, "kind");
  reader.take(16, "nonce");
  const expiresAt = reader.bounded("expires_at");
  const length = reader.small(2, "body length");
  if (length > MAX_BODY) throw invalid("the body is too long", { expected: `at most ${MAX_BODY}`, got: `${length}` });
  const body = reader.take(length, "body");
  return { kind, expiresAt, body, encoding: reader.bytes.slice(start, reader.at) };
}

// A block's path extends to the end.
function decodeBlockPath(reader) {
  const hashes = Math.ceil((reader.bytes.length - reader.at) / 32);
  if (hashes > MAX_BLOCK_PATH) throw invalid("the block's path is too long", { expected: `at most ${MAX_BLOCK_PATH} hashes`, got: `${hashes}` });
  return Array.from({ length: hashes }, (_, i) => reader.take(32, `hash ${i} of the block's path`));
}

export function decodeBlock(bytes) {
  if (bytes.length > MAX_BLOCK) throw invalid("the block is too large", { expected: `at most ${MAX_BLOCK} bytes`, got: `${bytes.length}` });
  const reader = new Reader(bytes, "the block");
  const block = decodeHeader(reader);
  const start = reader.at;
  for (let i = 0; i < block.count; i++) {
    decodeOp(reader);
    reader.take(32 + 64, `submitter and signature of op ${i}`);
  }
  reader.end();
  const digest = opsDigest([bytes.slice(start)]);
  if (!equal(digest, block.ops)) throw invalid("the header is for other ops", { expected: toHex(block.ops), got: toHex(digest) });
  return block;
}

export function decodeProof(bytes) {
  const reader = new Reader(bytes, "the op proof");
  reader.tag("vouchop");
  reader.known(1, "version", 1);
  const block = decodeHeader(reader);
  const index = reader.small(4, "index");
  if (index >= block.count) throw invalid("the index is not below the count", { expected: `below ${block.count}`, got: `${index}` });
  const submitter = reader.take(32, "submitter");
  const op = decodeOp(reader);
  const length = reader.small(2, "effect length");
  if (length > MAX_EFFECT) throw invalid("the effect is too long", { expected: `at most ${MAX_EFFECT}`, got: `${length}` });
  const effect = reader.take(length, "effect");
  const resultPath = Array.from({ length: pathLength(index, block.count) }, (_, i) => reader.take(32, `hash ${i} of the result's path`));
  const blockPath = decodeBlockPath(reader);
  return { block, index, submitter, op, effect, resultPath, blockPath };
}

// Two messages of one member that it must not both have signed.
export function decodeEvidence(bytes) {
  const reader = new Reader(bytes, "the evidence");
  reader.tag("vouchev");
  reader.known(1, "evidence version", 1);
  const cluster = reader.take(32, "cluster");
  const epoch = reader.bounded("epoch");
  const member = reader.take(32, "member");
  const message = reader.small(1, "kind of message");
  if (message < 1 || message > 3) throw invalid("unknown kind of message", { expected: "1 to 3", got: `${message}` });
  const height = reader.height("height");
  const round = reader.small(4, "round");
  const both = [0, 1].map(() => {
    const validRound = message === 3 ? reader.small(4, "valid round") : undefined;
    const block = reader.take(32, "block");
    return { validRound, block, signature: reader.take(64, "signature") };
  });
  reader.end();
  if (compare(both[0].block, both[1].block) >= 0) throw invalid("the blocks do not ascend");
  return { cluster, epoch, member, message, height, round, both };
}

// The index of the accused in the committee.
function accusedIn(member, committee) {
  const index = committee.members.findIndex(({ node }) => equal(node, member));
  if (index < 0) throw invalid("not a member");
  return index;
}

function checkConflict({ cluster, epoch, member, message, height, round, both }) {
  for (const { validRound, block, signature } of both) {
    const signed = message === 3 ? proposalBytes({ cluster, epoch, height, round, validRound, block }) : voteBytes({ cluster, epoch, type: message, height, round, block });
    if (!ed25519.verify(signature, signed, member, { zip215: false })) throw invalid("not signed by the member");
  }
}

// Returns the accused member's index.
export function checkEvidence(bytes, committee) {
  const evidence = decodeEvidence(bytes);
  if (!equal(evidence.cluster, committee.digest)) throw invalid("another cluster");
  if (evidence.epoch !== 0) throw invalid("another epoch");
  const index = accusedIn(evidence.member, committee);
  checkConflict(evidence);
  return index;
}

// The checks of evidence against a member of the trusted cluster. `checkChain` verifies the bundle's committees.
export function checkAccusation(evidence, committees, cluster, checkChain) {
  const [first] = committees;
  named("identity", () => {
    if (cluster === undefined) throw cannotCheck("no trusted identity was given");
    for (const got of [first.cluster, evidence.cluster]) if (!equal(got, cluster)) throw invalid("another cluster", { expected: toBase58(cluster), got: toBase58(got) });
  });
  checkChain();
  const member = named("accused", () => {
    const committee = committees[evidence.epoch - first.epoch];
    if (committee === undefined) throw cannotCheck("the bundle does not have the epoch of the evidence");
    return accusedIn(evidence.member, committee);
  });
  named("conflict", () => checkConflict(evidence));
  return { member, height: evidence.height, round: evidence.round };
}

function checkInLog({ block, blockPath }, head, cluster) {
  if (!equal(block.cluster, cluster)) throw invalid("the block is of another cluster", { expected: toBase58(cluster), got: toBase58(block.cluster) });
  if (block.height > head.height) throw invalid("the block comes after the head", { expected: `at most ${head.height}`, got: `${block.height}` });
  const length = pathLength(block.height - 1, head.height);
  if (blockPath.length !== length) throw invalid("the block's path has another length", { expected: `${length}`, got: `${blockPath.length}` });
  const root = logTree.rootFromPath(logTree.leafHash(block.digest), block.height - 1, head.height, blockPath);
  if (!equal(root, head.logRoot)) throw invalid("the block is not in the log", { expected: toHex(head.logRoot), got: toHex(root) });
}

function checkResult({ block, index, submitter, op, effect, resultPath }) {
  const identity = opIdentity(block.cluster, op.encoding);
  const leaf = resultTree.leafHash(encodeResult({ op: identity, submitter, effect }));
  const root = resultTree.rootFromPath(leaf, index, block.count, resultPath);
  if (!equal(root, block.results)) throw invalid("the op is not in the block with this effect", { expected: toHex(block.results), got: toHex(root) });
  return identity;
}

// The checks of question 2 for an op: is it in the log whose head is certified? Returns its identity, place and effect.
export function checkOp(encoded, head, cluster, wanted) {
  const proof = named("proof", () => decodeProof(encoded));
  named("block", () => checkInLog(proof, head, cluster));
  const identity = named("result", () => checkResult(proof));
  named("op", () => {
    if (wanted !== undefined && !equal(identity, wanted)) throw invalid("this is another op", { expected: toBase58(wanted), got: toBase58(identity) });
  });
  return { identity, height: proof.block.height, index: proof.index, effect: proof.effect };
}

// The checks of question 2 for a block: is it in the log whose head is certified, at the height asked for?
export function checkBlock(encoded, path, head, cluster, height) {
  const [block, blockPath] = named("ops", () => [decodeBlock(encoded), decodeBlockPath(new Reader(path, "the path"))]);
  named("block", () => checkInLog({ block, blockPath }, head, cluster));
  named("height", () => {
    if (height !== undefined && block.height !== height) throw invalid("another block", { expected: `${height}`, got: `${block.height}` });
  });
  return { height: block.height, count: block.count, digest: block.digest };
}

// The check of question 2 for a log head.
export function checkHeight(head, height) {
  if (height !== undefined && head.height < height) throw invalid("the head is older", { expected: `at least ${height}`, got: `${head.height}` });
}
