// Changes of members, what is signed about them, and the ops that carry it.
//   committee: members `membership/i`, the operator `operator`; the next one has the members of epoch 1 of `membership`
import { ed25519 } from "@noble/curves/ed25519.js";
import { STATEMENT_DST, aggregate, provePossession, publicKey, sign } from "../../independent/bls.mjs";
import { concat, u64 } from "../../independent/bytes.mjs";
import { encodeBitmap, encodeReceipt } from "../../independent/certificate.mjs";
import { decodeGenesis, decodeLater } from "../../independent/committee.mjs";
import {
  changeIdentity,
  checkChange,
  checkNodeVote,
  decodeChange,
  decodeMembershipOp,
  encodeCertified,
  encodeChange,
  encodeNodeVote,
  isSignedByOperator,
  nodeVoteBytes,
  operatorStatement,
} from "../../independent/membership.mjs";
import { encodeOffer, offerBytes, offerStatement } from "../../independent/offer.mjs";
import { KIND_ACCEPT, KIND_HANDOFF, KIND_SEAL, encodeHandoffBody, encodeSealBody, encodeStatement } from "../../independent/statement.mjs";
import { leafHash, rootOf } from "../../independent/merkle.mjs";
import { toHex } from "../../independent/text.mjs";
import { makeEpochs } from "./epochs.mjs";
import { firstQuorum, flipped, nodeSecret, nonceOf, patched, voteSecret } from "./world.mjs";

const DESCRIPTION =
  "A committee of four with an operator, and the next one of seven; bytes in hex. `changes`: changes of the committee of four, each with its identity, what the operator signs, and its signature; `refused` is the rule that forbids it. `operator`: signatures on the first change, and whether they are the operator's." +
  " `votes`: what node keys sign, each with the signed bytes; `refused` says why one does not count. `ops`: bodies of ops by kind, all signatures valid. `invalid`: bytes that are no change, or no body of an op of this kind; `verdict` says which of them are of an unknown version or kind.";

const failureOf = (work) => {
  try {
    work();
    return null;
  } catch (failure) {
    return failure.check ?? failure.verdict;
  }
};

function expect(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, the independent check says ${got}`);
}

class World {
  constructor() {
    this.operatorSecret = voteSecret("operator");
    this.operator = publicKey(this.operatorSecret);
    const { cluster, epochs } = makeEpochs("membership", [4, 7], [2, 0], { rules: { policy: 1, operator: this.operator } });
    Object.assign(this, { cluster, epochs });
    this.committee = decodeGenesis(epochs[0].committee.encoding);
    this.next = decodeLater(epochs[1].committee.encoding);
    this.base = { epoch: 0, cluster, committee: this.committee.digest, nonce: nonceOf("a change") };
  }

  nodes(...members) {
    return members.map((i) => this.committee.members[i].node);
  }

  joiners(count, label = "membership") {
    const all = Array.from({ length: count }, (_, i) => ({ node: ed25519.getPublicKey(nodeSecret(`${label}/joiner ${i}`)), name: `joiner-${i}` }));
    return all.sort((a, b) => Buffer.compare(a.node, b.node));
  }

  vote(i, vote, { by = i, committee = this.committee.digest, cluster = this.cluster } = {}) {
    const signed = nodeVoteBytes(vote, { cluster, committee });
    const { label, node } = this.epochs[0].committee.members[i];
    const secret = nodeSecret(by === i ? label : this.epochs[0].committee.members[by].label);
    return { ...vote, node, signature: ed25519.sign(signed, secret) };
  }
}

function changes(world) {
  const cases = [];
  const add = (name, about, fields, refused = null) => {
    const bytes = encodeChange({ ...world.base, ...fields });
    const change = decodeChange(bytes);
    expect(`change ${name}`, failureOf(() => checkChange(change, world.committee)), refused);
    const identity = changeIdentity(bytes);
    const statement = operatorStatement({ ...change, identity });
    const signature = sign(statement, world.operatorSecret, STATEMENT_DST);
    cases.push({ name, about, change: toHex(bytes), identity: toHex(identity), operator_statement: toHex(statement), operator_signature: toHex(signature), refused });
  };
  const [one, two] = world.joiners(2);
  add("replaced", "Member 2 leaves, and two nodes join.", { removed: world.nodes(2), added: [one, two] });
  add("rotated", "Nobody joins or leaves: all members get new vote keys.", {});
  add("forced", "Takes effect before the next committee has every blob.", { forced: 1, removed: world.nodes(0) });
  add("another_nonce", "The first change, proposed again.", { nonce: nonceOf("another change"), removed: world.nodes(2), added: [one, two] });
  add("sixty_four_join", "As many as one change may have.", { added: world.joiners(64) });
  add("one_name_twice", "Names need not be unique.", { added: [one, two].map(({ node }) => ({ node, name: "é".repeat(12) })) });
  add("of_another_epoch", "The committee's digest, said to be of epoch 1.", { epoch: 1 }, "committee");
  add("of_another_cluster", "The committee's digest, said to be of another cluster.", { cluster: world.next.digest }, "committee");
  add("of_the_next_committee", "Of the committee of epoch 1.", { epoch: 1, committee: world.next.digest }, "committee");
  add("added_descend", "The joining nodes are not in order.", { added: [two, one] }, "order");
  add("added_twice", "One node joins twice.", { added: [one, one] }, "order");
  add("removed_twice", "One member leaves twice.", { removed: world.nodes(1, 1) }, "order");
  add("removed_descend", "The leaving members are not in order.", { removed: world.nodes(2, 1) }, "order");
  add("removed_stranger", "A node leaves that is no member.", { removed: [one.node] }, "removed");
  add("added_member", "A node joins that is a member.", { added: [{ node: world.nodes(3)[0], name: "again" }] }, "added");
  add("two_of_four_leave", "At most n - 2f - 1 = 1 may leave.", { removed: world.nodes(0, 3), added: [one, two] }, "most-removed");
  return cases;
}

function operatorSignatures(world) {
  const bytes = encodeChange({ ...world.base, removed: world.nodes(2), added: world.joiners(2) });
  const change = { ...decodeChange(bytes), identity: changeIdentity(bytes) };
  const cases = [];
  const add = (name, about, signature, isValid = false) => {
    expect(`operator ${name}`, isSignedByOperator(world.operator, bytes, signature), isValid);
    cases.push({ name, about, signature: toHex(signature), valid: isValid });
  };
  const signed = (fields = {}, secret = world.operatorSecret) => sign(operatorStatement({ ...change, ...fields }), secret, STATEMENT_DST);
  add("by_the_operator", "Its own signature.", signed(), true);
  add("by_a_member", "A member's vote key signed.", signed({}, world.epochs[0].committee.members[0].secret));
  add("of_another_change", "The same change with another nonce.", signed({ identity: changeIdentity(encodeChange({ ...world.base, nonce: nonceOf("another change"), removed: world.nodes(2), added: world.joiners(2) })) }));
  add("in_another_epoch", "The header names epoch 1.", signed({ epoch: 1 }));
  add("in_another_cluster", "The header names another cluster.", signed({ cluster: world.next.digest }));
  add("of_another_committee", "The header names the next committee.", signed({ committee: world.next.digest }));
  add("as_an_accept", "Kind 3 with the same body.", sign(encodeStatement({ ...change, kind: KIND_ACCEPT, body: change.identity }), world.operatorSecret, STATEMENT_DST));
  add("altered", "One bit of the signature.", flipped(signed(), 95));
  return { change: toHex(bytes), key: toHex(world.operator), signatures: cases };
}

function votes(world) {
  const cases = [];
  const change = changeIdentity(encodeChange(world.base));
  const add = (name, about, says, signed, refused = null) => {
    expect(`vote ${name}`, failureOf(() => checkNodeVote(signed, world.committee)), refused);
    const { cluster, committee } = { cluster: world.cluster, committee: world.committee.digest };
    const kind = { approve: 2, stop: 6, "seal-ready": 9 }[says];
    cases.push({ name, about, kind, body: toHex(encodeNodeVote(signed)), signed: toHex(nodeVoteBytes(signed, { cluster, committee })), refused });
  };
  const [approve, stop, ready] = [{ says: "approve", change, number: 7 }, { says: "stop", until: 1_790_000_600 }, { says: "seal-ready" }];
  add("approve", "Member 1 approves.", "approve", world.vote(1, approve));
  add("stop", "Member 2 stops.", "stop", world.vote(2, stop));
  add("stop_at_the_end_of_time", "The greatest time.", "stop", world.vote(2, { says: "stop", until: Number.MAX_SAFE_INTEGER }));
  add("seal_ready", "Member 3 lacks no certificate.", "seal-ready", world.vote(3, ready));
  add("number_altered", "A later number than was signed.", "approve", { ...world.vote(1, approve), number: 8 }, "signature");
  add("change_altered", "Another change than was signed.", "approve", { ...world.vote(1, approve), change: flipped(change, 0) }, "signature");
  add("time_altered", "A later time than was signed.", "stop", { ...world.vote(2, stop), until: stop.until + 1 }, "signature");
  add("by_another_member", "Member 0 signed for member 3.", "seal-ready", world.vote(3, ready, { by: 0 }), "signature");
  add("for_the_next_committee", "Signed for epoch 1.", "seal-ready", world.vote(3, ready, { committee: world.next.digest }), "signature");
  add("in_another_cluster", "Signed for another cluster.", "stop", world.vote(2, stop, { cluster: world.next.digest }), "signature");
  const stranger = nodeSecret("membership/joiner 0");
  const bytes = nodeVoteBytes(ready, { cluster: world.cluster, committee: world.committee.digest });
  add("by_a_stranger", "The voter is no member.", "seal-ready", { ...ready, node: ed25519.getPublicKey(stranger), signature: ed25519.sign(bytes, stranger) }, "voter");
  return cases;
}

function offerOf(world) {
  const { label, node } = world.epochs[0].committee.members[0];
  const secret = voteSecret("membership, offered");
  const offer = { epoch: 0, cluster: world.cluster, committee: world.committee.digest, node, vote: publicKey(secret), possession: provePossession(secret) };
  return encodeOffer({ ...offer, nodeSignature: ed25519.sign(offerBytes(offer), nodeSecret(label)), voteSignature: sign(offerStatement(offer), secret, STATEMENT_DST) });
}

// The statements that the committee of four certified, with the signers that certify them.
function certifiedBy(world) {
  const { committee, batches } = world.epochs[0];
  return batches.map(({ statement, receipts, vote }, j) => {
    const signers = j === 0 ? firstQuorum(committee) : [1, 2, 3];
    const root = rootOf(receipts.map((receipt) => leafHash(encodeReceipt(receipt))));
    const issuedAt = Number(new DataView(statement.buffer, statement.byteOffset).getBigUint64(96, true));
    return encodeCertified({ issuedAt, count: receipts.length, root, n: committee.n, bitmap: encodeBitmap(signers, committee.n), signature: aggregate(signers.map(vote)) });
  });
}

function ops(world) {
  const cases = [];
  const add = (name, about, kind, body) => {
    expect(`op ${name}`, failureOf(() => decodeMembershipOp(kind, body)), null);
    cases.push({ name, about, kind, body: toHex(body) });
  };
  const [old, next] = world.epochs.map(({ committee }) => committee);
  const change = encodeChange({ ...world.base, removed: world.nodes(2), added: world.joiners(2) });
  const identity = changeIdentity(change);
  const operator = sign(operatorStatement({ ...world.base, identity }), world.operatorSecret, STATEMENT_DST);
  const signed = ({ members, digest }, i, epoch, kind, body) => concat(members[i].node, sign(encodeStatement({ kind, epoch, cluster: world.cluster, committee: digest, body }), members[i].secret, STATEMENT_DST));
  add("propose", "A change of an open committee.", 1, concat(Uint8Array.of(0), change));
  add("propose_with_operator", "The same with the operator's signature.", 1, concat(Uint8Array.of(1), operator, change));
  add("approve", "Member 0 approves it.", 2, encodeNodeVote(world.vote(0, { says: "approve", change: identity, number: 1 })));
  add("offer", "Member 0 offers a vote key.", 3, offerOf(world));
  add("fix", "The keys are fixed.", 4, identity);
  add("accept", "Member 6 of the next committee accepts.", 5, signed(next, 6, 1, KIND_ACCEPT, identity));
  add("stop", "Member 0 stops.", 6, encodeNodeVote(world.vote(0, { says: "stop", until: 1_790_000_600 })));
  const { handoff, seal } = world.epochs[0];
  add("sign_handoff", "Member 1 signs the handoff.", 7, signed(old, 1, 0, KIND_HANDOFF, encodeHandoffBody(handoff)));
  const certified = certifiedBy(world);
  add("certified_one", "One statement.", 8, certified[0]);
  add("certified_two", "Two statements.", 8, concat(...certified));
  add("seal_ready", "Member 0 lacks no certificate.", 9, encodeNodeVote(world.vote(0, { says: "seal-ready" })));
  add("sign_seal", "Member 0 of the next committee signs the seal.", 10, signed(next, 0, 1, KIND_SEAL, encodeSealBody(seal)));
  return cases;
}

function invalid(world, good) {
  const cases = [];
  // Without a kind, the bytes are those of a change.
  const add = (name, about, bytes, verdict = "invalid", kind = null) => {
    expect(name, failureOf(() => (kind === null ? decodeChange(bytes) : decodeMembershipOp(kind, bytes))) ?? "accepted", verdict);
    cases.push({ name, about, kind, bytes: toHex(bytes), verdict });
  };
  const joiners = world.joiners(2);
  const change = encodeChange({ ...world.base, removed: world.nodes(2), added: joiners });
  add("change_tag", "Another tag.", flipped(change, 6));
  add("change_version_2", "An unknown version.", patched(change, 7, 2), "cannot-check");
  add("change_version_0", "An unknown version.", patched(change, 7, 0), "cannot-check");
  add("change_epoch_last", "There is no epoch after 2^53 - 1.", patched(change, 8, u64(Number.MAX_SAFE_INTEGER)));
  add("change_epoch_too_large", "An epoch of 2^53.", patched(change, 8, u64(2n ** 53n)));
  add("change_forced_2", "Forced is neither 0 nor 1.", patched(change, 96, 2));
  add("change_65_members", "65 nodes join.", encodeChange({ ...world.base, added: world.joiners(65) }));
  add("change_65_members_together", "64 nodes join and one member leaves.", encodeChange({ ...world.base, removed: world.nodes(2), added: world.joiners(64) }));
  add("change_255_removed", "255 members leave, and there are none.", patched(encodeChange(world.base), 97, 255));
  const named = (name) => encodeChange({ ...world.base, added: [{ ...joiners[0], name }] });
  add("change_name_empty", "A name without characters.", named(""));
  add("change_name_control", "A name with a line feed.", named("a\nb"));
  add("change_name_not_utf8", "A name that is not UTF-8.", named(Uint8Array.of(0xff)));
  add("change_name_zero_inside", "A zero byte inside a name.", named(Uint8Array.of(97, 0, 98)));
  add("change_trailing_byte", "One byte more.", concat(change, new Uint8Array(1)));
  add("change_member_missing", "One joining node fewer than said.", change.slice(0, -56));
  for (const length of [0, 7, 8, 16, 48, 80, 96, 98, 99, 130, change.length - 1]) add(`change_cut_to_${length}`, `${length} of ${change.length} bytes.`, change.slice(0, length));
  for (const { name, kind, body } of good) {
    const bytes = Uint8Array.from(Buffer.from(body, "hex"));
    add(`${name}_empty`, "No bytes.", new Uint8Array(0), "invalid", kind);
    add(`${name}_cut`, "One byte fewer.", bytes.slice(0, -1), "invalid", kind);
    add(`${name}_trailing_byte`, "One byte more.", concat(bytes, new Uint8Array(1)), "invalid", kind);
  }
  const bodyOf = (name) => Uint8Array.from(Buffer.from(good.find((one) => one.name === name).body, "hex"));
  add("kind_0", "A note is no op about members.", bodyOf("fix"), "cannot-check", 0);
  add("kind_11", "An unknown kind.", bodyOf("fix"), "cannot-check", 11);
  add("propose_flag_2", "The first byte is neither 0 nor 1.", patched(bodyOf("propose"), 0, 2), "invalid", 1);
  add("propose_signature_missing", "The first byte promises a signature.", patched(bodyOf("propose"), 0, 1), "invalid", 1);
  add("propose_change_version_2", "A change of an unknown version.", patched(bodyOf("propose"), 8, 2), "cannot-check", 1);
  add("propose_change_of_65", "A change of 65 members.", concat(new Uint8Array(1), encodeChange({ ...world.base, added: world.joiners(65) })), "invalid", 1);
  add("approve_number_too_large", "A number of 2^53.", patched(bodyOf("approve"), 64, u64(2n ** 53n)), "invalid", 2);
  add("approve_as_stop", "The body of another kind.", bodyOf("approve"), "invalid", 6);
  add("offer_version_2", "An offer of an unknown version.", patched(bodyOf("offer"), 7, 2), "cannot-check", 3);
  add("stop_time_too_large", "A time of 2^53.", patched(bodyOf("stop"), 32, u64(2n ** 53n)), "invalid", 6);
  const certified = bodyOf("certified_one");
  add("certified_count_0", "A statement of no receipts.", patched(certified, 8, new Uint8Array(4)), "invalid", 8);
  add("certified_count_4097", "One receipt too many.", patched(certified, 8, Uint8Array.of(1, 16, 0, 0)), "invalid", 8);
  add("certified_issued_at_too_large", "A time of 2^53.", patched(certified, 0, u64(2n ** 53n)), "invalid", 8);
  add("certified_no_signer", "An empty bitmap.", patched(certified, 46, 0), "invalid", 8);
  add("certified_spare_bit", "Member 4 of four.", patched(certified, 46, 0x17), "invalid", 8);
  add("certified_of_nobody", "n is 0.", patched(certified, 44, new Uint8Array(2)), "invalid", 8);
  add("certified_n_1001", "n is 1001.", patched(certified, 44, Uint8Array.of(0xe9, 3)), "invalid", 8);
  return cases;
}

export function membershipFile() {
  const world = new World();
  const lines = (all) => all.map((one) => `\n    ${JSON.stringify(one)}`).join(",");
  const good = ops(world);
  const committees = { genesis: toHex(world.epochs[0].committee.encoding), next: toHex(world.epochs[1].committee.encoding), pops: world.epochs.map(({ committee }) => committee.pops.map(toHex)) };
  const { signatures, ...signed } = operatorSignatures(world);
  const operator = `{"change": "${signed.change}", "key": "${signed.key}", "signatures": [${lines(signatures)}\n  ]}`;
  const { closing, height, logRoot } = world.epochs[0].handoff;
  const { count, root } = world.epochs[0].seal;
  const bodies = { handoff: { closing, height, log_root: toHex(logRoot) }, seal: { count, root: toHex(root) } };
  return `{\n  "description": ${JSON.stringify(DESCRIPTION)},\n  "committees": ${JSON.stringify(committees)},\n  "bodies": ${JSON.stringify(bodies)},\n  "changes": [${lines(changes(world))}\n  ],\n  "operator": ${operator},\n  "votes": [${lines(votes(world))}\n  ],\n  "ops": [${lines(good)}\n  ],\n  "invalid": [${lines(invalid(world, good))}\n  ]\n}\n`;
}
