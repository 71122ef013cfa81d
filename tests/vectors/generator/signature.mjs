import { G1, POP_DST, STATEMENT_DST, aggregate, decodeKey, decodeSignature, publicKey, sign, sum } from "../../independent/bls.mjs";
import { concat, u16, u64, utf8 } from "../../independent/bytes.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { VectorFile } from "./file.mjs";
import * as points from "./points.mjs";
import { baseCertificate, committeeNamed, makeBatch, makeCommittee, patched, receiptOf, singleNamed, voteSecret } from "./world.mjs";

const SIGNERS = [0, 1, 3];

// Member 2, who does not sign, has the given vote key; the committee's own identity is the trusted one.
function withVoteKey(file, name, about, vote, pop) {
  const n4 = committeeNamed("n4");
  const members = n4.members.map((member, i) => (i === 2 ? { ...member, vote } : member));
  const pops = n4.pops.map((honest, i) => (i === 2 && pop ? pop : honest));
  const batch = makeBatch(makeCommittee(name, members, { pops }), [receiptOf(name)]);
  file.of(batch, name, about, { certificate: batch.certify(0, { signers: SIGNERS }) }, "invalid", "possession");
}

function notReducedKey() {
  for (let i = 0; ; i++) {
    const secret = voteSecret(`key not reduced/${i}`);
    const vote = points.notReduced(publicKey(secret), 0);
    if (vote !== undefined) return { vote, pop: sign(vote, secret, POP_DST) };
  }
}

function voteKeys(file) {
  const on = (name, about, vote, pop) => withVoteKey(file, name, about, vote, pop);
  const { secret, vote } = committeeNamed("n4").members[2];
  on("vote_key_infinity", "c0 and zeros.", points.infinity(48));
  on("vote_key_infinity_with_sign", "e0 and zeros.", points.infinity(48, 0xe0));
  on("vote_key_infinity_with_payload", "c0, zeros and a one.", points.infinity(48, 0xc0, 1));
  on("vote_key_zeros", "48 zero bytes.", new Uint8Array(48));
  on("vote_key_not_on_curve", "An x that has no y.", points.keyNotOnCurve());
  on("vote_key_not_in_subgroup", "On the curve, outside the prime-order subgroup.", points.keyNotInSubgroup());
  const small = points.keyPlusSmallOrder(vote);
  on("vote_key_plus_point_of_order_3", "A valid key plus a point of order 3, with its PoP: pairings alone do not see it.", small, sign(small, secret, POP_DST));
  const plain = patched(vote, 0, vote[0] & 0x7f);
  on("vote_key_not_marked_compressed", "The highest bit is clear.", plain, sign(plain, secret, POP_DST));
  const large = notReducedKey();
  on("vote_key_not_reduced", "x + p instead of x, with its PoP.", large.vote, large.pop);
}

function possession(file) {
  const { members, pops } = committeeNamed("n4");
  const with2 = (pop) => pops.map((honest, i) => (i === 2 ? pop : honest));
  const on = (name, about, list) => file.on("n4", name, about, { pops: list }, "invalid", "possession");
  on("pop_foreign", "The PoP of a key outside the committee.", with2(committeeNamed("n7").pops[0]));
  on("pops_swapped", "The PoPs of members 0 and 1 exchanged.", [pops[1], pops[0], pops[2], pops[3]]);
  on("pop_of_another_member", "Member 1's PoP also for member 2.", with2(pops[1]));
  on("pop_wrong_dst", "Over the key, under the statements' DST.", with2(sign(members[2].vote, members[2].secret, STATEMENT_DST)));
  on("pop_of_another_message", "Under the right DST, over the node key.", with2(sign(members[2].node, members[2].secret, POP_DST)));
  on("pop_is_a_vote", "A vote of the same member.", with2(singleNamed("n4").vote(2)));
  on("pop_infinity", "c0 and zeros.", with2(points.infinity(96)));
  on("pop_not_on_curve", "An x that has no y.", with2(points.signatureNotOnCurve()));
  on("pop_not_in_subgroup", "On the curve, outside the prime-order subgroup.", with2(points.signatureNotInSubgroup()));
  on("pop_plus_point_of_order_13", "A valid PoP plus a point of order 13, so outside the subgroup.", with2(points.signaturePlusSmallOrder(pops[2])));
  on("pop_negated", "The negative of a valid PoP.", with2(points.negatedSignature(pops[2])));
  on("pop_not_reduced", "The second coordinate's value plus p.", with2(points.notReduced(pops[2], 48)));
  const shift = decodeSignature(pops[3]);
  const cancelling = [decodeSignature(pops[0]).add(shift).toBytes(), decodeSignature(pops[1]).subtract(shift).toBytes(), pops[2], pops[3]];
  on("pops_cancelling", "PoP 0 plus and PoP 1 minus the same point: seen by weights, not by a plain sum.", cancelling);
  const [last] = members.slice(3);
  file.on("n4", "pop_of_signer_wrong", "The last member's PoP is over another message.", { pops: [...pops.slice(0, 3), sign(last.node, last.secret, POP_DST)] }, "invalid", "possession");
}

// Member 3 takes g·x minus the others' keys: all keys together are then g·x, and x alone signs for all.
function rogue(file) {
  const { members, pops } = committeeNamed("n4");
  const x = voteSecret("rogue");
  const others = sum(G1, members.slice(0, 3).map(({ vote }) => decodeKey(vote)));
  const vote = decodeKey(publicKey(x)).subtract(others).toBytes();
  const rogueMembers = [...members.slice(0, 3), { ...members[3], vote }];
  const committee = makeCommittee("rogue key", rogueMembers, { pops: [...pops.slice(0, 3), sign(vote, x, POP_DST)] });
  const batch = makeBatch(committee, [receiptOf("rogue key")]);
  const certificate = batch.certify(0, { signers: [0, 1, 2, 3], signature: sign(batch.statement, x, STATEMENT_DST) });
  file.of(batch, "rogue_key", "The forged aggregate fits the sum of the keys; only the PoP, which cannot be made, betrays it.", { certificate }, "invalid", "possession");
}

function signaturePoints(file) {
  const batch = singleNamed("n4");
  const honest = baseCertificate("n4").slice(132);
  const on = (name, about, signature) => file.on("n4", name, about, { certificate: batch.certify(0, { signers: SIGNERS, signature }) }, "invalid", "signature");
  on("signature_infinity", "c0 and zeros.", points.infinity(96));
  on("signature_infinity_with_payload", "c0, zeros and a one.", points.infinity(96, 0xc0, 1));
  on("signature_zeros", "96 zero bytes.", new Uint8Array(96));
  on("signature_not_on_curve", "An x that has no y.", points.signatureNotOnCurve());
  on("signature_not_in_subgroup", "On the curve, outside the prime-order subgroup.", points.signatureNotInSubgroup());
  on("signature_plus_point_of_order_13", "The valid one plus a point of order 13, so outside the subgroup.", points.signaturePlusSmallOrder(honest));
  on("signature_negated", "The negative of the valid one.", points.negatedSignature(honest));
  on("signature_not_marked_compressed", "The highest bit is clear.", patched(honest, 0, honest[0] & 0x7f));
  on("signature_not_reduced", "The second coordinate's value plus p.", points.notReduced(honest, 48));
  on("signature_of_one", "Member 0's alone, three bits.", batch.vote(0));
  on("signature_missing_one", "Members 0 and 1, three bits.", aggregate([0, 1].map(batch.vote)));
  on("signature_counted_twice", "Member 0's signature twice instead of member 3's.", aggregate([0, 1, 0].map(batch.vote)));
  on("signature_of_all", "All four signatures, three bits.", aggregate([0, 1, 2, 3].map(batch.vote)));
  on("signature_of_another_file", "A valid aggregate of the same members over another statement.", makeBatch(committeeNamed("n4"), [receiptOf("another file")]).certify(0, { signers: SIGNERS }).slice(132));
  on("signature_is_a_pop", "Member 0's PoP.", committeeNamed("n4").pops[0]);
}

// Signed by three of four, but over other bytes than the certificate implies.
function statements(file) {
  const n4 = committeeNamed("n4");
  const n7 = committeeNamed("n7");
  const receipts = [receiptOf("n4")];
  const on = (name, about, options) => file.of(makeBatch(n4, receipts, options), name, about, {}, "invalid", "signature");
  on("signed_under_pop_dst", "The statement under the PoPs' DST.", { dst: POP_DST });
  on("signed_under_basic_dst", "The statement under the basic scheme's DST.", { dst: "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_" });
  on("signed_as_another_kind", "Kind 2 with the same body.", { statement: { kind: 2 } });
  on("signed_for_another_epoch", "Epoch 1.", { statement: { epoch: 1 } });
  on("signed_for_another_cluster", "Another cluster's identity.", { statement: { cluster: n7.digest } });
  on("signed_for_another_committee", "Another committee's digest.", { statement: { committee: n7.digest } });
  on("signed_for_another_root", "A root of zeros.", { root: new Uint8Array(32) });
  const { statement } = singleNamed("n4");
  const over = (name, about, message) => {
    const batch = singleNamed("n4");
    const signature = aggregate(SIGNERS.map((i) => sign(message, n4.members[i].secret, STATEMENT_DST)));
    file.on("n4", name, about, { certificate: batch.certify(0, { signers: SIGNERS, signature }) }, "invalid", "signature");
  };
  over("signed_identity_instead", "The statement identity instead of the statement.", statementIdentity(statement));
  over("signed_body_alone", "The body without the header.", statement.slice(96));
  over("signed_other_statement_version", "Statement version 2.", patched(statement, 16, u16(2)));
  over("signed_without_tag", "The header without its first 16 bytes.", statement.slice(16));
  over("signed_body_with_trailing_byte", "One more byte.", concat(statement, Uint8Array.of(0)));
  over("signed_at_another_time", "issued_at one second later.", patched(statement, 96, u64(1_790_000_001)));
  over("signed_empty_message", "Nothing.", utf8(""));
}

// Two keys k and −k with valid PoPs: their sum is infinity, so their aggregate proves nothing.
function infiniteSum(file) {
  const [a, b] = committeeNamed("n2").members;
  const negative = (G1.Fn.ORDER - BigInt(`0x${Buffer.from(a.secret).toString("hex")}`)).toString(16).padStart(64, "0");
  const members = [a, { ...b, vote: points.negatedKey(a.vote), secret: Uint8Array.from(Buffer.from(negative, "hex")) }];
  const batch = makeBatch(makeCommittee("infinite sum", members), [receiptOf("infinite sum")]);
  const certify = (signature) => ({ certificate: batch.certify(0, { signers: [0, 1], signature }) });
  file.of(batch, "keys_sum_to_infinity", "The second vote key is the negative of the first; the signature is the first member's.", certify(batch.vote(0)), "invalid", "signature");
  file.of(batch, "keys_and_signatures_sum_to_infinity", "The same, with the honest sum of both signatures: infinity.", certify(points.infinity(96)), "invalid", "signature");
}

export function signatureFile() {
  const file = new VectorFile("Vote keys, proofs of possession, the aggregate signature and what it is over.");
  for (const part of [voteKeys, possession, rogue, signaturePoints, statements, infiniteSum]) part(file);
  return file;
}
