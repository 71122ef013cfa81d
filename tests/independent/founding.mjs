// Foundings: what members sign, its messages, and when a genesis committee is founded.
import { ed25519 } from "@noble/curves/ed25519.js";
import { POP_DST, STATEMENT_DST, decodeKey, decodeSignature, verifySignature } from "./bls.mjs";
import { Reader, concat, equal, u16, u32, u8, utf8 } from "./bytes.mjs";
import { decodeGenesis } from "./committee.mjs";
import { invalid } from "./failure.mjs";
import { KIND_ACCEPT, encodeStatement } from "./statement.mjs";

export const acceptStatement = (digest, overrides = {}) =>
  encodeStatement({ kind: KIND_ACCEPT, epoch: 0, cluster: digest, committee: digest, body: new Uint8Array(32), ...overrides });

export const refusalBytes = (refused, accepted) => concat(u8(0x10), utf8("vouch/refusal/v1"), refused, accepted);

export const encodeRefusal = ({ refused, accepted, node, signature }) => concat(refused, accepted, node, signature);

// `acceptances` has a signature or undefined for each member.
export function encodeFounding({ committee, pops, acceptances }) {
  const bitmap = new Uint8Array(Math.ceil(pops.length / 8));
  for (let i = 0; i < pops.length; i++) if (acceptances[i]) bitmap[i >> 3] |= 1 << (i & 7);
  return concat(u8(0x40), u32(committee.length), committee, ...pops, bitmap, ...acceptances.filter((one) => one));
}

export const encodeAcceptances = (founding, acceptances) =>
  concat(u8(0x41), founding, u16(acceptances.length), ...acceptances.map(({ member, signature }) => concat(u16(member), signature)));

export const encodeRefusals = (refusals) => concat(u8(0x42), u16(refusals.length), ...refusals);

export const encodeReplicaStatus = (status, detail) => concat(u8(0x43), u8(status), u16(utf8(detail).length), utf8(detail));

function signedBy(vote, message, signature, dst, what) {
  let holds = false;
  try {
    holds = verifySignature(decodeSignature(signature), message, decodeKey(vote), dst);
  } catch {
    // an invalid point
  }
  if (!holds) throw invalid(`${what} is not the member's`);
}

// The genesis committee and the members that accepted it; throws if anything in the message is invalid.
export function checkFounding(message) {
  const reader = new Reader(message, "the founding");
  reader.known(1, "tag", 0x40);
  const genesis = decodeGenesis(reader.take(reader.small(4, "length of the committee"), "committee"));
  const pops = genesis.members.map((_, i) => reader.take(96, `PoP of member ${i}`));
  const bitmap = reader.take(Math.ceil(genesis.n / 8), "bitmap");
  const has = (i) => ((bitmap[i >> 3] >> (i & 7)) & 1) === 1;
  for (let i = genesis.n; i < 8 * bitmap.length; i++) if (has(i)) throw invalid(`the bitmap names member ${i}, which does not exist`);
  const accepted = genesis.members.map((_, i) => i).filter(has);
  const signatures = accepted.map((i) => reader.take(96, `acceptance of member ${i}`));
  reader.end();
  genesis.members.forEach(({ vote }, i) => signedBy(vote, vote, pops[i], POP_DST, `PoP ${i}`));
  accepted.forEach((i, at) => signedBy(genesis.members[i].vote, acceptStatement(genesis.digest), signatures[at], STATEMENT_DST, `acceptance ${i}`));
  return { genesis, accepted, isComplete: accepted.length === genesis.n };
}

// The member that refuses the founding of `genesis`; throws if the refusal is invalid.
export function checkRefusal(bytes, genesis) {
  const reader = new Reader(bytes, "the refusal");
  const [refused, accepted, node] = ["refused", "accepted", "node key"].map((field) => reader.take(32, field));
  const signature = reader.take(64, "signature");
  reader.end();
  if (!equal(refused, genesis.digest)) throw invalid("the refusal is of another founding");
  if (equal(refused, accepted)) throw invalid("the refusal names the refused founding as accepted");
  const member = genesis.members.findIndex((one) => equal(one.node, node));
  if (member < 0) throw invalid("the refusal is not by a member");
  // strict: no small-order key, canonical S
  if (!ed25519.verify(signature, refusalBytes(refused, accepted), node, { zip215: false })) throw invalid("the refusal is not signed by its node key");
  return member;
}
