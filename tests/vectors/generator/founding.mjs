// Foundings and refusals: valid ones, and each way to be invalid.
import { ed25519 } from "@noble/curves/ed25519.js";
import { POP_DST, STATEMENT_DST, sign } from "../../independent/bls.mjs";
import { concat, u16, u32, utf8 } from "../../independent/bytes.mjs";
import { acceptStatement, checkFounding, checkRefusal, encodeAcceptances, encodeFounding, encodeRefusal, encodeRefusals, encodeReplicaStatus, refusalBytes } from "../../independent/founding.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { toHex } from "../../independent/text.mjs";
import * as points from "./points.mjs";
import { committeeNamed, flipped, makeCommittee, makeMembers, nodeSecret, patched, singleNamed } from "./world.mjs";

const DESCRIPTION =
  "Foundings, bytes in hex. `founding` is the message as it travels. `expected`: complete, where all members accepted; incomplete, where what is there holds and members are missing; invalid, where the message does not hold. A refusal is of the founding of `genesis`, and valid by `member` or invalid.";

const acceptOf = (committee, i, overrides = {}, dst = STATEMENT_DST) => sign(acceptStatement(committee.digest, overrides), committee.members[i].secret, dst);
const acceptsOf = (committee) => committee.members.map((_, i) => acceptOf(committee, i));

const message = (committee, acceptances = acceptsOf(committee), pops = committee.pops) => encodeFounding({ committee: committee.encoding, pops, acceptances });

function statements() {
  return ["n1", "n4", "n7"].map((name) => {
    const committee = committeeNamed(name);
    const statement = acceptStatement(committee.digest);
    return { committee: name, founding: toHex(committee.digest), statement: toHex(statement), identity: toHex(statementIdentity(statement)), acceptances: acceptsOf(committee).map(toHex) };
  });
}

function answer(check) {
  try {
    return check();
  } catch {
    return "invalid";
  }
}

function foundings() {
  const cases = [];
  const on = (name, about, founding, expected) => {
    const got = answer(() => (checkFounding(founding).isComplete ? "complete" : "incomplete"));
    if (got !== expected) throw new Error(`founding ${name}: expected ${expected}, the independent check says ${got}`);
    cases.push({ name, about, founding: toHex(founding), expected });
  };
  const n1 = committeeNamed("n1");
  const n4 = committeeNamed("n4");
  const n7 = committeeNamed("n7");
  const all = acceptsOf(n4);
  const with2 = (acceptance) => all.map((honest, i) => (i === 2 ? acceptance : honest));
  const instead = (name, about, acceptance) => on(name, about, message(n4, with2(acceptance)), "invalid");

  for (const [name, committee] of [["n1", n1], ["n4", n4], ["n7", n7]]) on(`complete_${name}`, "All members accepted.", message(committee), "complete");
  on("nobody", "No acceptance.", message(n4, []), "incomplete");
  on("quorum_is_not_all", "Three of four: a quorum, and not enough.", message(n4, with2(undefined)), "incomplete");
  on("one_of_seven", "Member 6 alone.", message(n7, acceptsOf(n7).map((one, i) => (i === 6 ? one : undefined))), "incomplete");

  instead("acceptance_of_another_member", "Member 1's in member 2's place.", all[1]);
  instead("acceptance_of_another_founding", "Member 2's of another committee.", acceptOf(n4, 2, { cluster: n7.digest, committee: n7.digest }));
  instead("acceptance_of_another_cluster", "The cluster in the header is another.", acceptOf(n4, 2, { cluster: n7.digest }));
  instead("acceptance_of_another_committee", "The committee in the header is another.", acceptOf(n4, 2, { committee: n7.digest }));
  instead("acceptance_without_cluster", "The cluster in the header is zero.", acceptOf(n4, 2, { cluster: new Uint8Array(32) }));
  instead("acceptance_of_epoch_1", "The epoch is 1.", acceptOf(n4, 2, { epoch: 1 }));
  instead("acceptance_of_a_proposal", "The body is not zero.", acceptOf(n4, 2, { body: new Uint8Array(32).fill(1) }));
  instead("acceptance_with_empty_body", "The body is empty.", acceptOf(n4, 2, { body: new Uint8Array(0) }));
  instead("acceptance_of_kind_2", "Another kind with the same body.", acceptOf(n4, 2, { kind: 2 }));
  instead("acceptance_under_pop_dst", "The statement under the PoPs' DST.", acceptOf(n4, 2, {}, POP_DST));
  instead("acceptance_is_a_vote", "Member 2's vote for a blob.", singleNamed("n4").vote(2));
  instead("acceptance_is_a_pop", "Member 2's PoP.", n4.pops[2]);
  instead("acceptance_infinity", "c0 and zeros.", points.infinity(96));
  instead("acceptance_not_in_subgroup", "On the curve, outside the prime-order subgroup.", points.signatureNotInSubgroup());
  instead("acceptance_negated", "The negative of the valid one.", points.negatedSignature(all[2]));
  on("acceptances_swapped", "Those of members 0 and 1 exchanged: their sum is the honest one.", message(n4, [all[1], all[0], all[2], all[3]]), "invalid");
  on("pop_of_another_member", "Member 1's PoP also for member 2.", message(n4, all, n4.pops.map((pop, i) => (i === 2 ? n4.pops[1] : pop))), "invalid");

  const whole = message(n4);
  const bitmapAt = 1 + 4 + n4.encoding.length + 4 * 96;
  on("bitmap_beyond_the_last_member", "A bit for member 4 of four.", patched(whole, bitmapAt, Uint8Array.of(0x1f)), "invalid");
  on("bitmap_without_its_acceptance", "A bit for member 3 without its acceptance.", whole.slice(0, whole.length - 96), "invalid");
  on("acceptance_without_its_bit", "Four acceptances, three bits.", patched(whole, bitmapAt, Uint8Array.of(0x07)), "invalid");
  on("trailing_byte", "One more byte.", concat(whole, Uint8Array.of(0)), "invalid");
  on("length_of_the_committee", "The committee's length is one less.", patched(whole, 1, u32(n4.encoding.length - 1)), "invalid");
  const later = makeCommittee("later epoch", makeMembers("later epoch", 4), { epoch: 1 });
  on("not_a_genesis", "A committee of epoch 1.", message(later), "invalid");
  return cases;
}

function refusals() {
  const cases = [];
  const n4 = committeeNamed("n4");
  const n7 = committeeNamed("n7");
  const [, { label, node }] = n4.members;
  const secret = nodeSecret(label);
  const on = (name, about, refusal, expected) => {
    const got = answer(() => checkRefusal(refusal, { ...n4, members: n4.members }));
    if (got !== expected) throw new Error(`refusal ${name}: expected ${expected}, the independent check says ${got}`);
    cases.push({ name, about, genesis: toHex(n4.encoding), refusal: toHex(refusal), expected: expected === "invalid" ? "invalid" : "valid", ...(expected === "invalid" ? {} : { member: expected }) });
  };
  const refuse = ({ refused = n4.digest, accepted = n7.digest, by = secret, node: key = node, signed = refusalBytes(refused, accepted) } = {}) =>
    encodeRefusal({ refused, accepted, node: key, signature: ed25519.sign(signed, by) });
  const valid = refuse();
  const stranger = nodeSecret("a stranger");

  on("valid", "Member 1 accepted another founding.", valid, 1);
  on("of_another_founding", "It refuses a founding that is not this one.", refuse({ refused: n7.digest, accepted: n4.digest }), "invalid");
  on("in_favour_of_itself", "The founding accepted is the one refused.", refuse({ accepted: n4.digest }), "invalid");
  on("by_a_stranger", "The node key is no member's.", refuse({ by: stranger, node: ed25519.getPublicKey(stranger) }), "invalid");
  on("signed_by_another", "Member 1's node key, another's signature.", refuse({ by: stranger }), "invalid");
  on("exchanged", "Signed with refused and accepted exchanged.", refuse({ signed: refusalBytes(n7.digest, n4.digest) }), "invalid");
  on("without_namespace", "Signed without the first 17 bytes.", refuse({ signed: concat(n4.digest, n7.digest) }), "invalid");
  on("of_a_link", "Signed as links are.", refuse({ signed: concat(Uint8Array.of(0x0d), utf8("vouch/link/v1"), n4.digest, n7.digest, u16(2)) }), "invalid");
  on("changed", "The founding accepted was changed after it was signed.", flipped(valid, 40), "invalid");
  on("signature_changed", "One bit of R.", flipped(valid, 100), "invalid");
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = valid.slice(128).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + order;
  const notReduced = Uint8Array.from({ length: 32 }, (_, i) => Number((s >> BigInt(8 * i)) & 0xffn));
  on("signature_not_reduced", "S plus the group's order.", patched(valid, 128, notReduced), "invalid");
  on("cut_off", "The last byte is missing.", valid.slice(0, 159), "invalid");
  return cases;
}

// The other messages of a founding, with their contents.
function messages() {
  const n4 = committeeNamed("n4");
  const accepts = [0, 3].map((member) => ({ member, signature: acceptOf(n4, member) }));
  const { refusal } = refusals()[0];
  return {
    acceptances: { founding: toHex(n4.digest), members: [0, 3], message: toHex(encodeAcceptances(n4.digest, accepts)) },
    refusals: { refusal, message: toHex(encodeRefusals([Uint8Array.from(Buffer.from(refusal, "hex"))])) },
    replica_status: { status: 1, detail: "waits for replica-2 ‘Zürich’", message: toHex(encodeReplicaStatus(1, "waits for replica-2 ‘Zürich’")) },
  };
}

export function foundingFile() {
  return `${JSON.stringify({ description: DESCRIPTION, statements: statements(), foundings: foundings(), refusals: refusals(), messages: messages() }, null, 1)}\n`;
}
