// Committees after the genesis, with the handoffs and seals between them.
//   member i of epoch e: the node key of `epochs/i`, the vote key of `epochs/i of e`
//   epoch e:             closes 600 s after it began, at block 10 (e + 1), with the log root of the text `log e`
//   statement j of e:    kind 1, of one receipt: that of `epochs e/j`
import { ed25519 } from "@noble/curves/ed25519.js";
import { STATEMENT_DST, aggregate, provePossession, publicKey, sign } from "../../independent/bls.mjs";
import { compare, concat, derive, u64, utf8 } from "../../independent/bytes.mjs";
import { decodeHandoffCertificate, decodeSealCertificate, encodeBitmap, encodeBodyCertificate } from "../../independent/certificate.mjs";
import { decodeGenesis, decodeLater } from "../../independent/committee.mjs";
import { NO_HISTORY, decodeSealPath, encodeEpochs, encodeSealPath, historyAfter, isSealed, sealTree } from "../../independent/epochs.mjs";
import { pathLength } from "../../independent/merkle.mjs";
import { KIND_HANDOFF, KIND_SEAL, encodeHandoffBody, encodeSealBody, encodeStatement, statementIdentity } from "../../independent/statement.mjs";
import { checkOffer, decodeOffer, encodeOffer, offerBytes, offerStatement } from "../../independent/offer.mjs";
import { toHex } from "../../independent/text.mjs";
import { infinity, keyNotInSubgroup } from "./points.mjs";
import { ISSUED, firstQuorum, flipped, makeBatch, makeCommittee, nodeSecret, patched, receiptOf, voteSecret } from "./world.mjs";

const DESCRIPTION =
  "A cluster of 1, 4, 7 and 4 members; bytes in hex. Each epoch has its committee, the handoff to the next one, and the seal of it by the next one, each with the signed statement, its identity and a certificate;" +
  " the identities of the statements that it certified, each with its path in the seal; and paths that prove nothing (`not_sealed`). `messages`: the messages `Epochs` with all later epochs, in one and in two. `offers`: key offers for the committee after the genesis, each with what both keys sign, and the check that refuses it. `invalid`: bytes that are no key offer, no later committee, no certificate of a handoff or of a seal, or no path, by what they are; `verdict` says which of them a verifier cannot check.";
const SIZES = [1, 4, 7, 4];
const STATEMENTS = [5, 1, 0, 3];

function membersOf(label, epoch, n) {
  const members = Array.from({ length: n }, (_, i) => {
    const secret = voteSecret(`${label}/${i} of ${epoch}`);
    return { label: `${label}/${i}`, node: ed25519.getPublicKey(nodeSecret(`${label}/${i}`)), vote: publicKey(secret), secret, name: `replica-${i}` };
  });
  return members.sort((a, b) => compare(a.node, b.node));
}

// What the committee says of itself, signed by its first quorum.
export function certified(committee, epoch, cluster, kind, body) {
  const statement = encodeStatement({ kind, epoch, cluster, committee: committee.digest, body });
  const signers = firstQuorum(committee);
  const signature = aggregate(signers.map((i) => sign(statement, committee.members[i].secret, STATEMENT_DST)));
  const certificate = encodeBodyCertificate({ kind, epoch, committee: committee.digest, body, n: committee.n, bitmap: encodeBitmap(signers, committee.n), signature });
  return { statement, identity: statementIdentity(statement), certificate };
}

const storedBatch = (label, committee, epoch, cluster, j, receipt) =>
  makeBatch(committee, [receiptOf(`${label} ${epoch}/${j}`, receipt)], { issuedAt: ISSUED + 600 * epoch + j, statement: { epoch, cluster } });

let made;
export const theEpochs = () => (made ??= makeEpochs("epochs", SIZES, STATEMENTS));

// A cluster with committees of these sizes, each of which certified so many statements. `alter(members, epoch)` replaces members; `rules` are fields
// of all committees, `receipt` those of all receipts.
export function makeEpochs(label, sizes, counts, { alter = (members) => members, rules = {}, receipt = {} } = {}) {
  const epochs = [];
  let cluster;
  for (const [epoch, n] of sizes.entries()) {
    const members = alter(membersOf(label, epoch, n), epoch);
    let committee = makeCommittee(label, members, rules);
    if (epoch === 0) cluster = committee.digest;
    else {
      const before = epochs[epoch - 1];
      const history = epoch === 1 ? NO_HISTORY : historyAfter(before.history, epochs[epoch - 2].handoff.identity, epochs[epoch - 2].seal.identity);
      committee = makeCommittee(label, members, { ...rules, epoch, cluster, previous: before.committee.digest, nonce: new Uint8Array(16), history });
      committee.history = history;
      const handoff = { closing: ISSUED + 600 * epoch, next: committee.digest, height: 10 * epoch, logRoot: derive("vouch test root v1", utf8(`log ${epoch - 1}`)) };
      before.handoff = { ...handoff, ...certified(before.committee, epoch - 1, cluster, KIND_HANDOFF, encodeHandoffBody(handoff)) };
      const tree = sealTree(before.statements);
      const seal = { epoch: epoch - 1, committee: before.committee.digest, count: tree.count, root: tree.root };
      before.seal = { ...seal, tree, ...certified(committee, epoch, cluster, KIND_SEAL, encodeSealBody(seal)) };
    }
    const batches = Array.from({ length: counts[epoch] }, (_, j) => storedBatch(label, committee, epoch, cluster, j, receipt));
    const statements = batches.map(({ statement }) => statementIdentity(statement));
    epochs.push({ epoch, committee, history: committee.history ?? NO_HISTORY, batches, statements });
  }
  return { cluster, epochs };
}

const hexOf = (fields) => Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, value instanceof Uint8Array ? toHex(value) : value]));

function shown({ epoch, committee, history, statements, handoff, seal }) {
  const { tree, ...sealed } = seal ?? {};
  return {
    epoch,
    committee: toHex(committee.encoding),
    digest: toHex(committee.digest),
    history: toHex(history),
    pops: committee.pops.map(toHex),
    ...(handoff && { handoff: hexOf({ closing: handoff.closing, next: handoff.next, height: handoff.height, log_root: handoff.logRoot, statement: handoff.statement, identity: handoff.identity, certificate: handoff.certificate }) }),
    ...(seal && { seal: hexOf(sealed) }),
    ...(seal && { not_sealed: notSealed(seal, statements) }),
    statements: statements.map((identity) => ({ identity: toHex(identity), ...(tree && { path: toHex(encodeSealPath(tree.path(identity))) }) })),
  };
}

// Well-formed paths that prove nothing: of the statement in the seal.
function notSealed({ tree, ...seal }, [identity]) {
  if (identity === undefined) return [];
  const good = tree.path(identity);
  const { count, index, path } = good;
  const cases = [{ about: "Of one statement alone.", count: 1, index: 0, path: [] }].filter(() => count > 1);
  if (path.length > 0) cases.push({ ...good, about: "Another hash.", path: [seal.root, ...path.slice(1)] });
  const other = index ^ 1;
  if (other < count) cases.push({ ...good, about: "The index is that of its neighbour.", index: other });
  if (pathLength(index, count + 1) === path.length) cases.push({ ...good, about: "One statement more.", count: count + 1 });
  return cases.map(({ about, ...wrong }) => {
    if (isSealed(seal, identity, wrong)) throw new Error(`${about} It proves something.`);
    const bytes = encodeSealPath(wrong);
    decodeSealPath(bytes);
    return { about, identity: toHex(identity), path: toHex(bytes) };
  });
}

// The messages `Epochs` that show all later epochs: in one, and in two.
function messages({ epochs }) {
  const links = epochs.slice(1).map(({ epoch, committee }) => ({
    committee: committee.encoding,
    handoff: epochs[epoch - 1].handoff.certificate,
    seal: epoch > 1 ? epochs[epoch - 2].seal.identity : undefined,
  }));
  return [[encodeEpochs(false, links)], [encodeEpochs(true, links.slice(0, 2)), encodeEpochs(false, links.slice(2))]].map((all) => all.map(toHex));
}

// Every case is refused by the independent decoder, or this file is wrong.
function invalid({ epochs }) {
  const cases = [];
  const decoders = { committee: decodeLater, handoff: decodeHandoffCertificate, seal: decodeSealCertificate, path: decodeSealPath, offer: decodeOffer };
  const add = (of, name, about, bytes, verdict = "invalid") => {
    let got = "accepted";
    try {
      decoders[of](bytes);
    } catch (failure) {
      got = failure.verdict;
    }
    if (got !== verdict) throw new Error(`${of} ${name}: expected ${verdict}, the independent decoder says ${got}`);
    cases.push({ name: `${of}_${name}`, about, of, bytes: toHex(bytes), verdict });
  };
  const [genesis, first, second] = epochs.map(({ committee }) => committee.encoding);
  add("committee", "genesis", "A genesis is no later committee.", genesis);
  add("committee", "epoch_0", "Epoch 0.", patched(second, 8, u64(0)));
  add("committee", "epoch_too_large", "Epoch 2^53.", patched(second, 8, concat(new Uint8Array(6), Uint8Array.of(32, 0))));
  add("committee", "nonce", "Only a genesis has a nonce.", flipped(second, 80));
  add("committee", "version_2", "An unknown version.", patched(second, 7, 2), "cannot-check");
  add("committee", "policy_2", "An unknown policy.", patched(second, 96, 2), "cannot-check");
  add("committee", "operator_without_key", "An operator without a key.", patched(second, 96, 1));
  add("committee", "fault_rule", "An unknown fault rule.", patched(second, 97, 2));
  add("committee", "operator_key", "An open committee with an operator key.", flipped(second, 100));
  add("committee", "first_not_after_genesis", "Epoch 1, after another committee than the genesis.", flipped(first, 48));
  add("committee", "first_with_history", "Epoch 1 has no history.", flipped(first, 148));
  add("committee", "vote_key_twice", "Two members have one vote key.", patched(first, 180 + 104 + 32, first.slice(180 + 32, 180 + 80)));
  add("committee", "members_swapped", "The members do not ascend.", concat(first.slice(0, 180), first.slice(284, 388), first.slice(180, 284), first.slice(388)));
  add("committee", "member_missing", "One member fewer than n.", second.slice(0, -104));
  add("committee", "trailing_byte", "One byte more.", concat(second, new Uint8Array(1)));
  add("committee", "no_members", "n is 0.", patched(second, 98, Uint8Array.of(0, 0)));
  add("committee", "members_1001", "n is 1001.", patched(second, 98, Uint8Array.of(0xe9, 3)));
  for (const length of [0, 8, 147, 148, 179, 180]) add("committee", `cut_to_${length}`, `${length} of ${second.length} bytes.`, second.slice(0, length));
  const { handoff, seal } = epochs[1];
  add("handoff", "height_0", "There is no block 0.", patched(handoff.certificate, 88, new Uint8Array(8)));
  add("handoff", "closing_too_large", "A closing of 2^53.", patched(handoff.certificate, 48, concat(new Uint8Array(6), Uint8Array.of(32, 0))));
  add("handoff", "of_a_seal", "The certificate of a seal.", seal.certificate, "cannot-check");
  add("handoff", "cut", "One byte fewer.", handoff.certificate.slice(0, -1));
  add("seal", "of_its_own_epoch", "The header names the sealed epoch.", patched(seal.certificate, 8, u64(1)));
  add("seal", "of_two_epochs_before", "The header names the epoch after the next.", patched(seal.certificate, 8, u64(3)));
  add("seal", "by_the_genesis", "There is no epoch before epoch 0.", patched(seal.certificate, 8, u64(0)));
  add("seal", "empty_with_root", "A count of 0, and a root.", patched(seal.certificate, 88, new Uint8Array(8)));
  add("seal", "epoch_too_large", "A sealed epoch of 2^53.", patched(seal.certificate, 48, concat(new Uint8Array(6), Uint8Array.of(32, 0))));
  add("seal", "trailing_byte", "One byte more.", concat(seal.certificate, new Uint8Array(1)));
  const path = encodeSealPath(epochs[0].seal.tree.path(epochs[0].statements[0]));
  add("path", "tag", "Another tag.", flipped(path, 6));
  add("path", "version_2", "An unknown version.", patched(path, 7, 2), "cannot-check");
  add("path", "count_0", "An empty seal proves nothing.", encodeSealPath({ count: 0, index: 0, path: [] }));
  add("path", "count_too_large", "A count of 2^53.", patched(path, 8, concat(new Uint8Array(6), Uint8Array.of(32, 0))));
  add("path", "index_not_below_count", "Index 5 of 5.", patched(path, 16, u64(5)));
  add("path", "index_too_large", "An index of 2^53.", patched(path, 16, concat(new Uint8Array(6), Uint8Array.of(32, 0))));
  add("path", "part_of_a_hash", "The last hash lacks a byte.", path.slice(0, -1));
  add("path", "hash_missing", "One hash too few.", path.slice(0, -32));
  add("path", "hash_too_many", "One hash too many.", concat(path, new Uint8Array(32)));
  const offer = encodeOffer({ epoch: 0, cluster: new Uint8Array(32), committee: new Uint8Array(32), node: new Uint8Array(32), vote: new Uint8Array(48), possession: new Uint8Array(96), nodeSignature: new Uint8Array(64), voteSignature: new Uint8Array(96) });
  add("offer", "tag", "Another tag.", flipped(offer, 6));
  add("offer", "version_2", "An unknown version.", patched(offer, 7, 2), "cannot-check");
  add("offer", "epoch_too_large", "There is no epoch after 2^53 - 1.", patched(offer, 8, u64(Number.MAX_SAFE_INTEGER)));
  add("offer", "cut", "One byte fewer.", offer.slice(0, -1));
  add("offer", "trailing_byte", "One byte more.", concat(offer, new Uint8Array(1)));
  return cases;
}

// Offers for the committee after the genesis: cases with the check that refuses them.
function offers({ epochs }) {
  const { committee } = epochs[0];
  const previous = decodeGenesis(committee.encoding);
  const other = decodeLater(epochs[1].committee.encoding);
  const cases = [];
  const make = (label, fields = {}, { by = {}, signed = {} } = {}) => {
    const secret = voteSecret(`${label}, offered`);
    const offer = { epoch: 0, cluster: previous.digest, committee: previous.digest, node: ed25519.getPublicKey(nodeSecret(label)), vote: publicKey(secret), possession: provePossession(secret), ...fields };
    const nodeSignature = ed25519.sign(offerBytes({ ...offer, ...signed }), by.node ?? nodeSecret(label));
    const voteSignature = sign(offerStatement({ ...offer, ...signed }), by.vote ?? secret, STATEMENT_DST);
    return { ...offer, nodeSignature, voteSignature };
  };
  const add = (name, about, offer, check = null) => {
    const bytes = encodeOffer(offer);
    let got = null;
    try {
      checkOffer(decodeOffer(bytes), previous);
    } catch (failure) {
      got = failure.check;
    }
    if (got !== check) throw new Error(`offer ${name}: expected ${check}, the independent check says ${got}`);
    cases.push({ name, about, offer: toHex(bytes), statement: toHex(offerStatement(offer)), node_bytes: toHex(offerBytes(offer)), refused: check });
  };
  const secrets = ["joiner", "another"].map((label) => ({ node: nodeSecret(label), vote: voteSecret(`${label}, offered`) }));
  const [own, another] = secrets;
  add("of_a_joiner", "A key for epoch 1.", make("joiner"));
  add("after_epoch_1", "A key for epoch 2.", make("joiner", { epoch: 1, committee: other.digest }), "committee");
  add("of_another_epoch", "The genesis, said to be of epoch 1.", make("joiner", { epoch: 1 }), "committee");
  add("in_another_cluster", "The genesis, said to be of another cluster.", make("joiner", { cluster: other.digest }), "committee");
  add("node_key_of_another", "A replica offers another's vote key, with its proof and its signature.", { ...make("joiner"), node: ed25519.getPublicKey(another.node), nodeSignature: ed25519.sign(offerBytes({ ...make("joiner"), node: ed25519.getPublicKey(another.node) }), another.node) }, "vote-signature");
  add("enlisted", "Somebody offers a key for another's node key.", make("joiner", {}, { by: { node: another.node } }), "node-signature");
  add("proof_of_another", "The proof of another key.", make("joiner", { possession: provePossession(another.vote) }), "possession");
  add("proof_exchanged", "The proof was exchanged after the node key had signed.", { ...make("joiner"), possession: provePossession(another.vote) }, "node-signature");
  add("vote_signature_over_another_committee", "The vote key signed for another committee.", { ...make("joiner"), voteSignature: sign(offerStatement({ ...make("joiner"), committee: other.digest }), own.vote, STATEMENT_DST) }, "vote-signature");
  add("vote_signature_as_a_proof", "The proof of possession in place of the vote key's signature.", { ...make("joiner"), voteSignature: provePossession(own.vote) }, "vote-signature");
  add("vote_key_at_infinity", "The vote key is the point at infinity.", make("joiner", { vote: infinity(48) }), "possession");
  add("vote_key_not_in_subgroup", "The vote key is outside the subgroup.", make("joiner", { vote: keyNotInSubgroup() }), "possession");
  return cases;
}

// The independent decoder reads back what was made.
function check({ epochs }) {
  for (const { epoch, committee, history, statements, handoff, seal } of epochs) {
    const decoded = epoch === 0 ? decodeGenesis(committee.encoding) : decodeLater(committee.encoding);
    if (compare(decoded.digest, committee.digest) !== 0 || (epoch > 0 && compare(decoded.history, history) !== 0)) throw new Error(`epoch ${epoch}: the committee`);
    if (handoff === undefined) continue;
    if (decodeHandoffCertificate(handoff.certificate).closing !== handoff.closing) throw new Error(`epoch ${epoch}: the handoff`);
    const sealed = decodeSealCertificate(seal.certificate);
    for (const identity of statements) {
      if (!isSealed(sealed, identity, decodeSealPath(encodeSealPath(seal.tree.path(identity))))) throw new Error(`epoch ${epoch}: a path`);
    }
  }
}

export function epochsFile() {
  const world = theEpochs();
  check(world);
  const lines = (all) => all.map((one) => `\n    ${JSON.stringify(one)}`).join(",");
  return `{\n  "description": ${JSON.stringify(DESCRIPTION)},\n  "cluster": "${toHex(world.cluster)}",\n  "epochs": [${lines(world.epochs.map(shown))}\n  ],\n  "messages": [${lines(messages(world))}\n  ],\n  "offers": [${lines(offers(world))}\n  ],\n  "invalid": [${lines(invalid(world))}\n  ]\n}\n`;
}
