// Bundles of ops: cases with the expected answers of the verifier.
import { concat, u32, utf8 } from "../../independent/bytes.mjs";
import { MEDIA_TYPE } from "../../independent/bundle.mjs";
import { encodeBodyCertificate } from "../../independent/certificate.mjs";
import * as log from "../../independent/log.mjs";
import { pathLength, rootOf as receiptRoot } from "../../independent/merkle.mjs";
import { encodeHeadBody } from "../../independent/statement.mjs";
import { toBase58, toBase64url, toHex } from "../../independent/text.mjs";
import { certifyHead, epochEnds, headOf, leafOf, makeBlock, makeOp, opBundleObject, proofOf, theLog } from "./log_world.mjs";
import { NOW, baseCertificate, bundleObject, committeeNamed, flipped, nodeSecret, patched } from "./world.mjs";

const FORMAT =
  "Bundles of ops, most of them of the last block's log head. `op`: the identity that is asked for, null for any. Each case says the verdict, the check that decides, and the" +
  " answers to the three questions; `times`: the times that the deciding check compared, in seconds since 1970. A case gives its bundle as `bundle` (text), or as changes of the text `base`: parse that, replace `proof`, `certificate`, genesis.committee" +
  " (`committee`) and genesis.pops (`pops`) where the case has them, and serialise it compactly.";

const MATCHES = ["proof", "block", "result", "op"];

class OpFile {
  constructor() {
    const { committee, blocks } = theLog();
    Object.assign(this, { committee, blocks, cases: [], names: new Set() });
    this.head = headOf(blocks);
    this.certificate = certifyHead(committee, this.head, { signers: [0, 1, 3] });
    this.base = JSON.stringify(opBundleObject(committee, this.certificate, proofOf(blocks, 4, 2)));
    this.op = blocks[3].ops[2];
  }

  // A case. Without a proof, it is that of op 2 of block 4.
  add(name, about, fields, verdict, check = null) {
    if (this.names.has(name)) throw new Error(`two cases are named ${name}`);
    this.names.add(name);
    const { op = toBase58(this.op.identity), cluster = toBase58(this.committee.digest), now = NOW, proof, certificate, committee, pops, times, ...rest } = fields;
    const not = verdict === "invalid" ? "no" : "not-answered";
    let answers = { genuine: not, matches: "not-answered", in_force: "not-answered" };
    if (check === null) answers = { genuine: "yes", matches: "yes", in_force: "yes" };
    else if (MATCHES.includes(check)) answers = { genuine: "yes", matches: not, in_force: "yes" };
    else if (check === "time") answers = { genuine: "yes", matches: "yes", in_force: not };
    this.cases.push({
      name,
      about,
      ...rest,
      ...(proof && { proof: toBase64url(proof) }),
      ...(certificate && { certificate: toBase64url(certificate) }),
      ...(committee && { committee: toBase64url(committee) }),
      ...(pops && { pops: pops.map(toBase58) }),
      cluster,
      op,
      now,
      verdict,
      check,
      ...(times && { times }),
      ...answers,
    });
  }

  toString() {
    const cases = this.cases.map((one) => `\n    ${JSON.stringify(one)}`);
    return `{\n  "description": ${JSON.stringify(FORMAT)},\n  "base": ${JSON.stringify(this.base)},\n  "cases": [${cases.join(",")}\n  ]\n}\n`;
  }
}

function valid(file) {
  const { blocks, committee } = file;
  file.add("example", "Op 2 of block 4 in a log of seven; the example of the specification.", {}, "valid");
  for (const block of blocks) {
    for (const [index, { identity }] of block.ops.entries()) {
      file.add(`block_${block.height}_op_${index}`, `Op ${index} of the ${block.ops.length} in block ${block.height}.`, { proof: proofOf(blocks, block.height, index), op: toBase58(identity) }, "valid");
    }
  }
  for (let size = 1; size < 7; size++) {
    const shorter = blocks.slice(0, size);
    const fields = { proof: proofOf(shorter, 1, 0), certificate: certifyHead(committee, headOf(shorter)), op: toBase58(blocks[0].ops[0].identity) };
    file.add(`block_1_under_head_${size}`, `The first block under the head of height ${size}.`, fields, "valid");
  }
  file.add("any_op", "No op is asked for.", { op: null }, "valid");
  file.add("op_in_hex", "The identity in hex.", { op: toHex(file.op.identity) }, "valid");
  file.add("head_60_seconds_ahead", "The head's time is now + 60, the clock tolerance.", { now: file.head.time - 60 }, "valid");
  file.add("long_after", "An op does not expire: it stays in the log.", { now: Number.MAX_SAFE_INTEGER }, "valid");
}

// One block as the whole log, with ops of extreme sizes.
function sizes(file) {
  const { committee } = file;
  const alone = (name, about, overrides) => {
    const op = makeOp(committee, 1, 0, overrides);
    const blocks = [makeBlock(committee, 1, [], [op])];
    file.add(name, about, { proof: proofOf(blocks, 1, 0), certificate: certifyHead(committee, headOf(blocks)), op: toBase58(op.identity) }, "valid");
  };
  const empty = new Uint8Array(0);
  alone("empty_body_and_effect", "Neither body nor effect has a byte.", { body: empty, effect: empty });
  alone("largest_body", "A body of 4096 bytes.", { body: new Uint8Array(4096).fill(7) });
  alone("largest_effect", "An effect of 1024 bytes.", { effect: new Uint8Array(1024).fill(7) });
  alone("submitter_is_a_stranger", "The submitter is not a member: the quorum has checked that, and a verifier does not.", { secret: nodeSecret(committeeNamed("n7").members[0].label) });
  alone("largest_kind_and_expiry", "Kind 65535; expires_at is 2^53 − 1.", { kind: 65535, expiresAt: Number.MAX_SAFE_INTEGER });
  const ops = Array.from({ length: 512 }, (_, i) => makeOp(committee, 1, i));
  const full = [makeBlock(committee, 1, [], ops)];
  const certificate = certifyHead(committee, headOf(full));
  for (const index of [0, 255, 511]) {
    file.add(`count_512_op_${index}`, `Op ${index} of a block of 512: a path of 9 hashes.`, { proof: proofOf(full, 1, index), certificate, op: toBase58(ops[index].identity) }, "valid");
  }
  // Heights that no test can build a log up to: the siblings are hashes of labels, and the root follows from them.
  const far = (height, size) => {
    const op = makeOp(committee, height, 0, { expiresAt: 0 });
    const block = makeBlock(committee, height, [file.head.block], [op], { time: 0 });
    const blockPath = Array.from({ length: pathLength(height - 1, size) }, (_, i) => log.stateDigest(utf8(`sibling ${i}`)));
    const logRoot = log.logTree.rootFromPath(log.logTree.leafHash(block.digest), height - 1, size, blockPath);
    const proof = log.encodeProof({ header: block.header, index: 0, submitter: op.submitter, op: op.encoding, effect: log.encodeEffect(op.effect), resultPath: [], blockPath });
    return { proof, certificate: certifyHead(committee, { height: size, block: file.head.block, logRoot, time: 0 }), op: toBase58(op.identity) };
  };
  const largest = Number.MAX_SAFE_INTEGER;
  file.add("largest_height", "Block and head of height 2^53 − 1.", far(largest, largest), "valid");
  file.add("first_block_of_the_largest_log", "Block 1 of 2^53 − 1: a path of 53 hashes.", far(1, largest), "valid");
  file.add("block_2_to_the_32", "Block 2^32 of 2^32 + 1.", far(2 ** 32, 2 ** 32 + 1), "valid");
}

function bundles(file) {
  const object = () => opBundleObject(file.committee, file.certificate, proofOf(file.blocks, 4, 2));
  const add = (name, about, change, verdict = "invalid") => {
    const one = object();
    const text = change(one) ?? JSON.stringify(one);
    file.add(name, about, { bundle: text }, verdict, "bundle");
  };
  add("type_of_a_file", "The media type of a file's bundle.", (one) => void (one.type = MEDIA_TYPE));
  add("bundle_of_a_file", "The bundle of a file.", () => JSON.stringify(bundleObject(committeeNamed("n4"), baseCertificate("n4"))));
  add("no_proof", "The key `proof` is missing.", (one) => void delete one.proof);
  add("proof_is_no_text", "The proof is an array.", (one) => void (one.proof = [one.proof]));
  add("proof_with_padding", "base64url with padding.", (one) => void (one.proof += "="));
  add("proof_twice", "The key `proof` is repeated.", (one) => JSON.stringify(one).replace('"proof"', '"proof":"","proof"'));
  add("unknown_key", "A key that no version 1 has.", (one) => void (one.op = ""));
  add("newer_version", "Version 2.", (one) => void (one.version = 2), "cannot-check");
}

function certificates(file) {
  const { committee, head, certificate } = file;
  const add = (name, about, fields, verdict, check) => file.add(name, about, fields, verdict, check);
  add("kind_stored", "The certificate is of kind 1.", { certificate: baseCertificate("n4") }, "cannot-check", "certificate");
  add("kind_handoff", "The certificate says kind 2.", { certificate: patched(certificate, 6, 2) }, "cannot-check", "certificate");
  add("certificate_version_2", "An unknown version of certificates.", { certificate: patched(certificate, 5, 2) }, "cannot-check", "certificate");
  add("head_height_0", "A head of height 0.", { certificate: certifyHead(committee, { ...head, height: 0 }) }, "invalid", "certificate");
  add("head_height_2_to_the_53", "A height above 2^53 − 1.", { certificate: certifyHead(committee, { ...head, height: 2n ** 53n }) }, "invalid", "certificate");
  add("head_time_2_to_the_53", "A time above 2^53 − 1.", { certificate: certifyHead(committee, { ...head, time: 2n ** 53n }) }, "invalid", "certificate");
  add("certificate_cut", "One byte too few.", { certificate: certificate.slice(0, -1) }, "invalid", "certificate");
  add("certificate_longer", "One byte too many.", { certificate: concat(certificate, new Uint8Array(1)) }, "invalid", "certificate");
  add("no_identity", "No trusted identity.", { cluster: null }, "cannot-check", "identity");
  add("another_cluster", "The identity of another cluster.", { cluster: toBase58(committeeNamed("n7").digest) }, "invalid", "identity");
  add("later_epoch", "The certificate names epoch 1.", { certificate: patched(certificate, 8, 1) }, "cannot-check", "epoch");
  add("another_committee", "The certificate names another committee.", { certificate: patched(certificate, 16, committeeNamed("n7").digest) }, "invalid", "epoch");
  add("two_signers", "Two of four signed.", { certificate: certifyHead(committee, head, { signers: [0, 1] }) }, "invalid", "signers");
  const [a, b, ...others] = committee.pops;
  add("pops_swapped", "Two proofs of possession are swapped.", { pops: [b, a, ...others] }, "invalid", "possession");
  for (const [field, value] of Object.entries({ height: head.height + 1, block: file.blocks[0].digest, logRoot: head.block, time: head.time + 1 })) {
    add(`another_${field}`, `The members signed another ${field}.`, { certificate: certifyHead(committee, { ...head, [field]: value }, { signed: head }) }, "invalid", "signature");
  }
  const stored = certifyHead(committee, head, { statement: { kind: 1 } });
  add("signed_as_kind_1", "The members signed the same body as kind 1.", { certificate: stored }, "invalid", "signature");
  const body = encodeHeadBody(head);
  const reversed = concat(body.slice(0, 8), body.slice(40, 72), body.slice(8, 40), body.slice(72));
  add("roots_exchanged", "The members signed the log root before the block.", { certificate: certifyHead(committee, head, { statement: { body: reversed } }) }, "invalid", "signature");
  const forged = flipped(certificate, certificate.length - 1);
  add("signature_before_op", "A forged certificate and another op: the certificate decides.", { certificate: forged, op: toBase58(file.blocks[0].ops[0].identity) }, "invalid", "signature");
  add("signature_before_proof", "A forged certificate and no proof.", { certificate: encodeBodyCertificate({ committee: committee.digest, body, n: 4, bitmap: Uint8Array.of(11), signature: new Uint8Array(96).fill(1) }), proof: Uint8Array.of(0) }, "invalid", "signature");
}

// Offsets: header at 8, index at 268, submitter at 272, op at 304 with its body length at 331, then the body and the effect.
function proofs(file) {
  const { blocks } = file;
  const proof = proofOf(blocks, 4, 2);
  const add = (name, about, changed, verdict = "invalid") => file.add(name, about, { proof: changed }, verdict, "proof");
  const rest = 32 * pathLength(3, 7);
  for (let length = 0; length < proof.length; length++) {
    const isWhole = length >= proof.length - rest && (proof.length - length) % 32 === 0;
    if (!isWhole && (length % 16 === 0 || length > 260)) add(`proof_cut_to_${length}`, `${length} of ${proof.length} bytes.`, proof.slice(0, length));
  }
  add("proof_one_byte_longer", "A trailing byte.", concat(proof, new Uint8Array(1)));
  add("proof_tag", "Another tag.", flipped(proof, 6));
  add("proof_version_2", "An unknown version of proofs.", patched(proof, 7, 2), "cannot-check");
  add("block_tag", "Another tag of the block.", flipped(proof, 8));
  add("block_version_2", "An unknown version of blocks.", patched(proof, 15, 2), "cannot-check");
  add("op_version_2", "An unknown version of ops.", patched(proof, 304, 2), "cannot-check");
  add("block_height_0", "There is no block 0.", patched(proof, 56, new Uint8Array(8)));
  add("block_epoch_too_large", "An epoch above 2^53 − 1.", patched(proof, 48, new Uint8Array(8).fill(255)));
  add("block_time_too_large", "A time above 2^53 − 1.", patched(proof, 128, new Uint8Array(8).fill(255)));
  add("block_of_no_ops", "A count of 0.", patched(proof, 168, u32(0)));
  add("block_of_513_ops", "A count above 512.", patched(proof, 168, u32(513)));
  add("index_is_the_count", "Op 5 of 5.", patched(proof, 268, u32(5)));
  add("op_expiry_too_large", "expires_at above 2^53 − 1.", patched(proof, 323, new Uint8Array(8).fill(255)));
  const block = blocks[3];
  const op = makeOp(file.committee, 4, 2, { body: new Uint8Array(4097) });
  add("body_of_4097_bytes", "A body above the limit.", proofOf(blocks, 4, 2, { op: op.encoding }));
  add("effect_of_1025_bytes", "An effect above the limit.", proofOf(blocks, 4, 2, { effect: log.encodeEffect(new Uint8Array(1025)) }));
  add("block_path_of_54_hashes", "A path above the limit.", proofOf(blocks, 4, 2, { blockPath: new Array(54).fill(block.digest) }));
}

function inclusion(file) {
  const { blocks, committee, head } = file;
  const block = blocks[3];
  const not = (check) => (name, about, fields) => file.add(name, about, fields, "invalid", check);
  const path = log.logTree.pathOf(blocks.map(({ digest }) => log.logTree.leafHash(digest)), 3);
  const notInLog = not("block");
  notInLog("block_of_another_cluster", "The block's header names another cluster.", { proof: proofOf(blocks, 4, 2, { header: log.encodeHeader({ ...block.fields, cluster: committeeNamed("n7").digest }) }) });
  notInLog("block_beyond_the_head", "Block 4 under the certified head of height 3.", { proof: proofOf(blocks, 4, 2), certificate: certifyHead(committee, headOf(blocks.slice(0, 3))) });
  notInLog("block_path_too_long", "One hash more than height and head ask for.", { proof: proofOf(blocks, 4, 2, { blockPath: [...path, path[0]] }) });
  notInLog("block_path_too_short", "One hash fewer.", { proof: proofOf(blocks, 4, 2, { blockPath: path.slice(1) }) });
  notInLog("block_path_missing", "No path at all.", { proof: proofOf(blocks, 4, 2, { blockPath: [] }) });
  notInLog("block_path_reversed", "Farthest sibling first.", { proof: proofOf(blocks, 4, 2, { blockPath: [...path].reverse() }) });
  notInLog("block_path_of_a_neighbour", "The path of block 3.", { proof: proofOf(blocks, 4, 2, { blockPath: log.logTree.pathOf(blocks.map(({ digest }) => log.logTree.leafHash(digest)), 2) }) });
  notInLog("block_path_of_an_earlier_head", "The path under the head of height 4.", { proof: proofOf(blocks.slice(0, 4), 4, 2) });
  for (const [field, value] of Object.entries({ epoch: 1, height: 3, parent: block.digest, author: committee.members[1].node, time: block.fields.time + 1, logRoot: block.digest, ops: block.digest, state: block.digest })) {
    notInLog(`block_with_another_${field}`, `The header has another ${field}.`, { proof: proofOf(blocks, 4, 2, { header: log.encodeHeader({ ...block.fields, [field]: value }) }) });
  }
  const effect = utf8("another effect");
  const altered = block.ops.map((op, i) => (i === 2 ? { ...op, effect } : op));
  notInLog("block_made_for_another_effect", "A header made to fit another effect.", { proof: proofOf([...blocks.slice(0, 3), makeBlock(committee, 4, blocks.slice(0, 3).map(({ digest }) => digest), altered), ...blocks.slice(4)], 4, 2, { blockPath: path }) });
  const leaves = blocks.map(({ digest }) => log.logTree.leafHash(digest));
  const signedRoot = (name, about, logRoot) => notInLog(name, about, { certificate: certifyHead(committee, { ...head, logRoot }) });
  signedRoot("log_root_without_the_last_block", "The log root of the last block's header, which covers only the blocks before it.", log.logTree.rootOf(leaves.slice(0, -1)));
  signedRoot("log_root_over_bare_digests", "The digests themselves as leaves.", log.logTree.rootOf(blocks.map(({ digest }) => digest)));
  signedRoot("log_root_in_the_receipts_context", "The contexts of receipts.", receiptRoot(leaves));

  const notInBlock = not("result");
  notInBlock("another_effect", "Another effect.", { proof: proofOf(blocks, 4, 2, { effect: log.encodeEffect(effect) }) });
  notInBlock("effect_one_byte_shorter", "The effect without its last byte.", { proof: proofOf(blocks, 4, 2, { effect: log.encodeEffect(block.ops[2].effect.slice(0, -1)) }) });
  for (const [field, value] of Object.entries({ kind: 1, nonce: new Uint8Array(16), expiresAt: 0, body: utf8("note 4/3") })) {
    notInBlock(`op_with_another_${field}`, `The op has another ${field}.`, { proof: proofOf(blocks, 4, 2, { op: makeOp(committee, 4, 2, { [field]: value }).encoding }) });
  }
  notInBlock("another_submitter", "The op was submitted by another member.", { proof: proofOf(blocks, 4, 2, { submitter: committee.members[3].node }) });
  const resultLeaves = block.ops.map((op) => log.resultTree.leafHash(leafOf(op)));
  notInBlock("another_index", "The path of index 2 with index 3: both have three hashes.", { proof: proofOf(blocks, 4, 2, { index: 3 }) });
  notInBlock("result_path_of_a_neighbour", "The path of op 3.", { proof: proofOf(blocks, 4, 2, { resultPath: log.resultTree.pathOf(resultLeaves, 3) }) });
  const rebuilt = (name, about, results) => {
    const other = makeBlock(committee, 4, blocks.slice(0, 3).map(({ digest }) => digest), block.ops, { results });
    const short = [...blocks.slice(0, 3), other];
    notInBlock(name, about, { proof: proofOf(short, 4, 2), certificate: certifyHead(committee, headOf(short)) });
  };
  rebuilt("results_root_over_identities", "The quorum signed a tree over the identities alone.", log.resultTree.rootOf(block.ops.map(({ identity }) => log.resultTree.leafHash(identity))));
  rebuilt("results_root_in_the_logs_context", "The contexts of the log's tree.", log.logTree.rootOf(block.ops.map((op) => log.logTree.leafHash(leafOf(op)))));

  not("op")("another_op", "The proof is of op 2, op 1 is asked for.", { op: toBase58(block.ops[1].identity) });
  not("op")("another_op_before_time", "Another op, and a head from the future.", { op: toBase58(block.ops[1].identity), now: head.time - 60 });
  not("time")("head_61_seconds_ahead", "The head's time is now + 61.", { now: head.time - 61, times: { expected: head.time - 1, got: head.time } });
}

// The epoch of the head ended at a block.
function epochs(file) {
  const { committee, blocks, base } = file;
  for (const { name, about, epoch, verdict, check } of epochEnds(committee, blocks)) {
    file.add(name, about, { bundle: JSON.stringify({ ...JSON.parse(base), epochs: [epoch] }) }, verdict, check);
  }
}

export function opsFile() {
  const file = new OpFile();
  for (const part of [valid, sizes, bundles, certificates, proofs, inclusion, epochs]) part(file);
  return file;
}

