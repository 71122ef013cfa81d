// Bundles of log heads, of blocks and of evidence: cases with the expected answers of the verifier.
import { ed25519 } from "@noble/curves/ed25519.js";
import { BLOCK_MEDIA_TYPE, EVIDENCE_MEDIA_TYPE, HEAD_MEDIA_TYPE, OP_MEDIA_TYPE } from "../../independent/bundle.mjs";
import { concat, u32 } from "../../independent/bytes.mjs";
import * as log from "../../independent/log.mjs";
import { toBase58, toBase64url } from "../../independent/text.mjs";
import { blockBytes, blockPathOf, certifyHead, epochAfter, epochEnds, epochSignedForAnotherHeight, headOf, membersAfter, makeBlock, makeOp, theLog } from "./log_world.mjs";
import { NOW, baseCertificate, bundleObject, committeeNamed, flipped, nodeSecret, patched } from "./world.mjs";

const FORMAT =
  "Bundles of the log of `ops.json`, of three types (`of`). `height`: the height that is asked for, null for any. Each case says the verdict, the check that decides, and the answers" +
  " to the three questions; `times`: the times that the deciding check compared. A case gives its bundle as `bundle` (text), or as changes of the text `bases[of]`: parse that, replace those of `certificate`, `block`, `path` and `evidence`" +
  " that the case has, and genesis.committee (`committee`) and genesis.pops (`pops`), and serialise it compactly.";

const MATCHES = ["ops", "block", "height"];
const BYTES = ["certificate", "block", "path", "evidence", "committee"];
const BLOCK = 4;

class LogBundleFile {
  constructor() {
    const { committee, blocks } = theLog();
    Object.assign(this, { committee, blocks, cases: [], names: new Set() });
    this.head = headOf(blocks);
    this.certificate = certifyHead(committee, this.head, { signers: [0, 1, 3] });
    this.block = blockBytes(blocks[BLOCK - 1]);
    this.path = blockPathOf(blocks, BLOCK);
    this.evidence = this.#evidence();
    const { certificate: _, ...genesis } = bundleObject(committee, this.certificate);
    const certified = { ...genesis, certificate: toBase64url(this.certificate) };
    this.bases = {
      head: { ...certified, type: HEAD_MEDIA_TYPE },
      block: { ...certified, type: BLOCK_MEDIA_TYPE, block: toBase64url(this.block), path: toBase64url(this.path) },
      evidence: { ...genesis, type: EVIDENCE_MEDIA_TYPE, evidence: toBase64url(this.evidence.precommits) },
    };
  }

  // Conflicting messages of member 1 at height 3, round 1.
  #evidence() {
    const { committee, blocks } = this;
    const secret = nodeSecret(committee.members[1].label);
    const place = { cluster: committee.digest, epoch: 0, height: 3, round: 1 };
    const both = [blocks[0].digest, blocks[1].digest].sort(Buffer.compare);
    const votes = (type, own = place, key = secret) => both.map((block) => ({ block, signature: ed25519.sign(log.voteBytes({ ...own, type, block }), key) }));
    const proposed = (all) => all.map((one) => ({ ...one, signature: ed25519.sign(log.proposalBytes({ ...place, ...one }), secret) }));
    const encoded = (message, signed, own = place, member = 1) => log.encodeEvidence({ ...own, member: committee.members[member].node, message, both: signed });
    const elsewhere = { ...place, cluster: committeeNamed("n7").digest };
    const stranger = nodeSecret(committeeNamed("n7").members[0].label);
    return {
      prevotes: encoded(1, votes(1)),
      precommits: encoded(2, votes(2)),
      proposals: encoded(3, proposed(both.map((block) => ({ block })))),
      reversed: encoded(2, votes(2).reverse()),
      anothers: encoded(2, votes(2), place, 2),
      elsewhere: encoded(2, votes(2, elsewhere), elsewhere),
      later: encoded(2, votes(2, { ...place, epoch: 1 }), { ...place, epoch: 1 }),
      // A valid round that is not before the round, and a proposal of zero.
      oddProposals: encoded(3, proposed([{ validRound: 7, block: new Uint8Array(32) }, { validRound: 1, block: both[1] }])),
      sameBlock: encoded(3, proposed([{ validRound: 0, block: both[0] }, { block: both[0] }])),
      laterStranger: log.encodeEvidence({ ...place, epoch: 1, member: ed25519.getPublicKey(stranger), message: 2, both: votes(2, { ...place, epoch: 1 }, stranger) }),
      stranger: log.encodeEvidence({ ...place, member: ed25519.getPublicKey(stranger), message: 2, both: votes(2, place, stranger) }),
    };
  }

  add(of, name, about, fields, verdict, check = null) {
    const full = `${of}_${name}`;
    if (this.names.has(full)) throw new Error(`two cases are named ${full}`);
    this.names.add(full);
    const { height = null, cluster = toBase58(this.committee.digest), now = NOW, pops, bundle, ...bytes } = fields;
    const not = verdict === "invalid" ? "no" : "not-answered";
    const asked = of === "evidence" || (of === "head" && height === null) ? "not-answered" : "yes";
    const inForce = of === "evidence" ? "not-answered" : "yes";
    let answers = { genuine: not, matches: "not-answered", in_force: "not-answered" };
    if (check === null) answers = { genuine: "yes", matches: asked, in_force: inForce };
    else if (MATCHES.includes(check)) answers = { genuine: "yes", matches: not, in_force: now + 60 < this.head.time ? "no" : "yes" };
    else if (check === "time") answers = { genuine: "yes", matches: asked, in_force: not };
    const times = check === "time" && { expected: now + 60, got: this.head.time };
    const changed = BYTES.filter((key) => bytes[key] !== undefined).map((key) => [key, toBase64url(bytes[key])]);
    this.cases.push({ name: full, about, of, ...(bundle && { bundle }), ...Object.fromEntries(changed), ...(pops && { pops: pops.map(toBase58) }), cluster, height, now, verdict, check, ...(times && { times }), ...answers });
  }

  toString() {
    const cases = this.cases.map((one) => `\n    ${JSON.stringify(one)}`);
    const bases = Object.entries(this.bases).map(([of, base]) => `\n    ${JSON.stringify(of)}: ${JSON.stringify(JSON.stringify(base))}`);
    return `{\n  "description": ${JSON.stringify(FORMAT)},\n  "bases": {${bases.join(",")}\n  },\n  "cases": [${cases.join(",")}\n  ]\n}\n`;
  }
}

// What holds for the JSON of every type, and for the certificate of a head.
function texts(file) {
  for (const [of, base] of Object.entries(file.bases)) {
    const add = (name, about, change, verdict = "invalid") => {
      const one = { ...base };
      file.add(of, name, about, { bundle: change(one) ?? JSON.stringify(one) }, verdict, "bundle");
    };
    add("with_the_type_of_an_op", "The media type of an op's bundle.", (one) => void (one.type = OP_MEDIA_TYPE));
    add("of_a_file", "The bundle of a file.", () => JSON.stringify(bundleObject(committeeNamed("n4"), baseCertificate("n4"))));
    add("with_an_unknown_key", "A key that no version 1 has.", (one) => void (one.op = ""));
    add("of_version_2", "Version 2.", (one) => void (one.version = 2), "cannot-check");
    for (const key of Object.keys(base).filter((one) => !["type", "version"].includes(one))) {
      add(`without_${key}`, `The key \`${key}\` is missing.`, (one) => void delete one[key]);
    }
    for (const key of ["block", "path", "evidence"].filter((one) => one in base)) {
      add(`with_padded_${key}`, "base64url with padding.", (one) => void (one[key] += "="));
      add(`with_${key}_twice`, `The key \`${key}\` is repeated.`, (one) => JSON.stringify(one).replace(`"${key}"`, `"${key}":"","${key}"`));
    }
    file.add(of, "without_identity", "No trusted identity.", { cluster: null }, "cannot-check", "identity");
    file.add(of, "of_another_cluster", "The identity of another cluster.", { cluster: toBase58(committeeNamed("n7").digest) }, "invalid", "identity");
    file.add(of, "with_a_cut_committee", "The committee lacks its last byte.", { committee: file.committee.encoding.slice(0, -1) }, "invalid", "committee");
    file.add(of, "with_a_pop_too_few", "One proof of possession fewer than members.", { pops: file.committee.pops.slice(1) }, "invalid", "committee");
  }
}

function certificates(file) {
  const { committee, certificate, head } = file;
  const [a, b, ...others] = committee.pops;
  for (const of of ["head", "block"]) {
    file.add(of, "kind_stored", "The certificate is of kind 1.", { certificate: baseCertificate("n4") }, "cannot-check", "certificate");
    file.add(of, "later_epoch", "The certificate names epoch 1.", { certificate: patched(certificate, 8, 1) }, "cannot-check", "epoch");
    file.add(of, "two_signers", "Two of four signed.", { certificate: certifyHead(committee, head, { signers: [0, 1] }) }, "invalid", "signers");
    file.add(of, "pops_swapped", "Two proofs of possession are swapped.", { pops: [b, a, ...others] }, "invalid", "possession");
    file.add(of, "forged", "The signature is altered; another height is asked for.", { certificate: flipped(certificate, certificate.length - 1), height: 5 }, "invalid", "signature");
    file.add(of, "another_height_signed", "The members signed another height.", { certificate: certifyHead(committee, { ...head, height: head.height + 1 }, { signed: head }) }, "invalid", "signature");
    file.add(of, "60_seconds_ahead", "The head's time is now + 60, the clock tolerance.", { now: head.time - 60 }, "valid");
    file.add(of, "61_seconds_ahead", "The head's time is now + 61.", { now: head.time - 61 }, "invalid", "time");
  }
}

function heads(file) {
  const { blocks, committee } = file;
  file.add("head", "example", "The head of the log of seven blocks; no height is asked for.", {}, "valid");
  for (let size = 1; size <= 7; size++) file.add("head", `of_height_${size}`, `The head of height ${size}, asked for as such.`, { certificate: certifyHead(committee, headOf(blocks.slice(0, size))), height: size }, "valid");
  file.add("head", "above_the_height", "A lower height is asked for.", { height: 1 }, "valid");
  file.add("head", "below_the_height", "A greater height is asked for: the head is genuine, but old.", { height: 8 }, "invalid", "height");
  file.add("head", "below_the_height_and_ahead", "A greater height, and a head from the future.", { height: 8, now: file.head.time - 61 }, "invalid", "height");
}

function blocksOf(file) {
  const { blocks, committee } = file;
  const add = (...args) => file.add("block", ...args);
  add("example", "Block 4 of seven; no height is asked for.", {}, "valid");
  for (const one of blocks) add(`of_height_${one.height}`, `Block ${one.height}, asked for as such.`, { block: blockBytes(one), path: blockPathOf(blocks, one.height), height: one.height }, "valid");
  add("of_another_height", "Block 4, and block 3 is asked for.", { height: 3 }, "invalid", "height");
  const op = makeOp(committee, 1, 0);
  const full = [makeBlock(committee, 1, [], Array.from({ length: 512 }, (_, i) => makeOp(committee, 1, i, { body: new Uint8Array(0), effect: new Uint8Array(0) })))];
  add("of_512_ops", "As many ops as a block may have.", { block: blockBytes(full[0]), path: new Uint8Array(0), certificate: certifyHead(committee, headOf(full)), height: 1 }, "valid");

  // What members check, and a verifier leaves to them.
  const alone = (name, about, blockOps, overrides = {}, headOverrides = {}) => {
    const log = [makeBlock(committee, 1, [], blockOps, overrides)];
    add(name, about, { block: blockBytes(log[0]), path: new Uint8Array(0), certificate: certifyHead(committee, headOf(log, headOverrides)), height: 1 }, "valid");
  };
  const stranger = nodeSecret(committeeNamed("n7").members[0].label);
  alone("with_one_op_twice", "The same op, twice.", [op, op]);
  alone("of_a_stranger_s_op", "The submitter of an op is not a member.", [makeOp(committee, 1, 0, { secret: stranger })]);
  alone("made_by_a_stranger", "The author is not a member.", [op], { author: ed25519.getPublicKey(stranger) });
  alone("of_a_later_epoch", "The header names epoch 1.", [op], { epoch: 1 });
  alone("after_its_head", "The block's time is after the head's.", [op], { time: file.head.time + 1000 }, { time: file.head.time });
  alone("with_another_digest_in_its_head", "The head of the same height names another block.", [op], {}, { block: blocks[2].digest });

  // The header is 260 bytes; then the ops, whose version comes first.
  const ops = (name, about, fields, verdict = "invalid") => add(name, about, fields, verdict, "ops");
  for (const length of [0, 7, 259, 260, 261, file.block.length - 1]) ops(`cut_to_${length}`, `${length} of ${file.block.length} bytes.`, { block: file.block.slice(0, length) });
  ops("one_byte_longer", "A trailing byte.", { block: concat(file.block, new Uint8Array(1)) });
  ops("above_the_limit", "More than 65 536 bytes.", { block: concat(file.block, new Uint8Array(65_536)) });
  ops("tag", "Another tag.", { block: flipped(file.block, 6) });
  ops("version_2", "An unknown version of blocks.", { block: patched(file.block, 7, 2) }, "cannot-check");
  ops("version_2_and_broken_path", "An unknown version of blocks comes before a path of 95 bytes.", { block: patched(file.block, 7, 2), path: file.path.slice(0, -1) }, "cannot-check");
  ops("above_the_limit_of_version_2", "The size comes before the version.", { block: concat(patched(file.block, 7, 2), new Uint8Array(65_536)) });
  ops("op_version_2", "An unknown version of ops.", { block: patched(file.block, 260, 2) }, "cannot-check");
  ops("fewer_ops_than_its_count", "A count of 4.", { block: patched(file.block, 160, u32(4)) });
  ops("submitter_exchanged", "The submitter of op 0 is another member.", { block: patched(file.block, 260 + 29 + 8, committee.members[3].node) });
  ops("signature_exchanged", "One bit of the last op's signature.", { block: flipped(file.block, file.block.length - 1) });
  ops("ops_swapped", "Two ops are swapped.", { block: concat(blocks[BLOCK - 1].header, ...[1, 0, 2, 3, 4].map((i) => blocks[BLOCK - 1].ops[i].signed)) });
  ops("path_of_54_hashes", "A path above the limit.", { path: new Uint8Array(32 * 54) });
  ops("path_of_a_part_of_a_hash", "A path of 95 bytes.", { path: file.path.slice(0, -1) });

  const notInLog = (name, about, fields) => add(name, about, fields, "invalid", "block");
  const other = committeeNamed("n7");
  const [elsewhere] = [makeBlock(other, 1, [], [op])];
  notInLog("made_in_another_cluster", "A block that another cluster made.", { block: blockBytes(elsewhere) });
  notInLog("beyond_the_head", "Block 4 under the certified head of height 3.", { certificate: certifyHead(committee, headOf(blocks.slice(0, 3))) });
  notInLog("path_too_long", "One hash more than height and head ask for.", { path: concat(file.path, file.path.slice(0, 32)) });
  notInLog("path_missing", "No path at all.", { path: new Uint8Array(0) });
  notInLog("path_of_a_neighbour", "The path of block 3.", { path: blockPathOf(blocks, 3) });
  const altered = makeBlock(committee, BLOCK, blocks.slice(0, 3).map(({ digest }) => digest), blocks[BLOCK - 1].ops.slice(0, 4));
  notInLog("without_its_last_op", "A block made to fit fewer ops.", { block: blockBytes(altered) });
  notInLog("state_exchanged", "The header has another state.", { block: concat(log.encodeHeader({ ...blocks[BLOCK - 1].fields, state: blocks[0].digest }), file.block.slice(260)) });
}

function evidence(file) {
  const { evidence: all, committee } = file;
  const add = (...args) => file.add("evidence", ...args);
  for (const what of ["prevotes", "precommits", "proposals"]) add(`two_${what}`, `Two ${what} of member 1.`, { evidence: all[what] }, "valid");
  add("two_odd_proposals", "Valid rounds that are not before the round, and a proposal of zero: any are well formed.", { evidence: all.oddProposals }, "valid");
  const [a, b, ...others] = committee.pops;
  add("pops_swapped", "Proofs of possession are not checked: the messages are signed with node keys.", { pops: [b, a, ...others] }, "valid");
  const malformed = (name, about, bytes, verdict = "invalid") => add(name, about, { evidence: bytes }, verdict, "evidence");
  for (const length of [0, 7, 92, all.precommits.length - 1]) malformed(`cut_to_${length}`, `${length} of ${all.precommits.length} bytes.`, all.precommits.slice(0, length));
  malformed("one_byte_longer", "A trailing byte.", concat(all.precommits, new Uint8Array(1)));
  malformed("tag", "Another tag.", flipped(all.precommits, 6));
  malformed("version_2", "An unknown version of evidence.", patched(all.precommits, 7, 2), "cannot-check");
  malformed("reversed", "The blocks descend.", all.reversed);
  malformed("of_one_block", "Two proposals of one block, with different valid rounds.", all.sameBlock);
  malformed("message_4", "An unknown kind of message.", patched(all.precommits, 80, 4));
  malformed("height_0", "There is no height 0.", patched(all.precommits, 81, new Uint8Array(8)));
  add("about_another_cluster", "The evidence is about another cluster than the committee.", { evidence: all.elsewhere }, "invalid", "identity");
  add("of_a_later_epoch", "The evidence is about epoch 1.", { evidence: all.later }, "cannot-check", "accused");
  add("of_a_later_epoch_against_a_stranger", "The accused is in no known committee; the epoch comes first.", { evidence: all.laterStranger }, "cannot-check", "accused");
  add("against_a_stranger", "The accused is not a member.", { evidence: all.stranger }, "invalid", "accused");
  add("against_another_member", "The messages of member 1, attributed to member 2.", { evidence: all.anothers }, "invalid", "conflict");
  add("of_another_round", "The messages were signed for round 1.", { evidence: patched(all.precommits, 89, u32(2)) }, "invalid", "conflict");
  add("as_prevotes", "Precommits, given as prevotes.", { evidence: patched(all.precommits, 80, 1) }, "invalid", "conflict");
  add("with_an_altered_signature", "One bit of the second signature.", { evidence: flipped(all.precommits, all.precommits.length - 40) }, "invalid", "conflict");
}

// The epoch of the head ended at a block.
function epochs(file) {
  const { committee, blocks, bases } = file;
  for (const of of ["head", "block"]) {
    for (const { name, about, epoch, verdict, check } of epochEnds(committee, blocks)) {
      file.add(of, name, about, { bundle: JSON.stringify({ ...bases[of], epochs: [epoch] }) }, verdict, check);
    }
    file.add(of, "with_a_seal", "A key that only the bundle of a file may have.", { bundle: JSON.stringify({ ...bases[of], sealed: "" }) }, "invalid", "bundle");
  }
  const later = membersAfter()[2];
  const place = { cluster: committee.digest, epoch: 1, height: 9, round: 0 };
  const both = [blocks[0].digest, blocks[1].digest].sort(Buffer.compare).map((block) => ({ block, signature: ed25519.sign(log.voteBytes({ ...place, type: 2, block }), nodeSecret(later.label)) }));
  const evidence = toBase64url(log.encodeEvidence({ ...place, member: later.node, message: 2, both }));
  const of = (name, about, changes, verdict, check = null) => file.add("evidence", name, about, { bundle: JSON.stringify({ ...bases.evidence, epochs: [epochAfter(committee, blocks, 7)], ...changes }) }, verdict, check);
  of("of_epoch_0_with_a_later_one", "The accused is of epoch 0.", {}, "valid");
  of("of_epoch_1", "The accused is of epoch 1.", { evidence }, "valid");
  of("of_epoch_1_without_it", "The bundle ends with epoch 0.", { evidence, epochs: [] }, "cannot-check", "accused");
  const [a, b, ...rest] = bases.evidence.genesis.pops;
  of("of_epoch_1_with_pops_swapped", "Where there is a later committee, the chain to it must hold.", { evidence, genesis: { ...bases.evidence.genesis, pops: [b, a, ...rest] } }, "invalid", "possession");
  of("of_epoch_1_with_a_broken_chain", "The committee of epoch 0 signed another height.", { evidence, epochs: [epochSignedForAnotherHeight(committee, blocks)] }, "invalid", "chain");
}

export function logBundlesFile() {
  const file = new LogBundleFile();
  for (const part of [texts, certificates, heads, blocksOf, evidence, epochs]) part(file);
  return file;
}
