// Key offers: a replica offers the vote key with which it would sign in the next committee.
import { ed25519 } from "@noble/curves/ed25519.js";
import { POP_DST, STATEMENT_DST, decodeKey, decodeSignature, verifySignature } from "./bls.mjs";
import { Reader, concat, equal, u64, u8, utf8 } from "./bytes.mjs";
import { cannotCheck, invalid, named } from "./failure.mjs";
import { KIND_KEY_OFFER, encodeStatement } from "./statement.mjs";

const fieldsOf = ({ epoch, cluster, committee, node, vote }) => concat(u64(epoch), cluster, committee, node, vote);

// What the vote key signs, and what the node key signs.
export const offerStatement = ({ epoch, cluster, committee, node, vote }) => encodeStatement({ kind: KIND_KEY_OFFER, epoch, cluster, committee, body: concat(node, vote) });
export const offerBytes = (offer) => concat(u8(0x0e), utf8("vouch/offer/v1"), fieldsOf(offer), offer.possession);

// The encoder checks nothing, so that invalid offers can be made for the vectors.
export const encodeOffer = ({ version = 1, possession, nodeSignature, voteSignature, ...offer }) =>
  concat(utf8("vouchko"), u8(version), fieldsOf(offer), possession, nodeSignature, voteSignature);

export function decodeOffer(bytes) {
  const reader = new Reader(bytes, "the key offer");
  reader.tag("vouchko");
  const version = reader.small(1, "version");
  if (version !== 1) throw cannotCheck(`version ${version} of a key offer is unknown`, { expected: "1", got: `${version}` });
  const epoch = reader.bounded("epoch");
  if (epoch === Number.MAX_SAFE_INTEGER) throw invalid("there is no next epoch");
  const take = (size, what) => reader.take(size, what);
  const offer = { epoch, cluster: take(32, "cluster"), committee: take(32, "committee digest"), node: take(32, "node key"), vote: take(48, "vote key") };
  const [possession, nodeSignature, voteSignature] = [take(96, "proof of possession"), take(64, "signature of the node key"), take(96, "signature of the vote key")];
  reader.end();
  return { ...offer, possession, nodeSignature, voteSignature };
}

function isSignedBy(vote, message, bytes, dst) {
  const [key, signature] = [decodeKey(vote), decodeSignature(bytes)];
  return key !== null && signature !== null && verifySignature(signature, message, key, dst);
}

const holds = (check, condition, message) =>
  named(check, () => {
    if (!condition) throw invalid(message);
  });

// `previous`: the committee before the one that the key is for.
export function checkOffer(offer, previous) {
  const isForIt = offer.epoch === previous.epoch && equal(offer.cluster, previous.cluster) && equal(offer.committee, previous.digest);
  holds("committee", isForIt, "the offer is for the committee after another one");
  holds("node-signature", ed25519.verify(offer.nodeSignature, offerBytes(offer), offer.node, { zip215: false }), "the node key did not sign it");
  holds("possession", isSignedBy(offer.vote, offer.vote, offer.possession, POP_DST), "the vote key is not held");
  holds("vote-signature", isSignedBy(offer.vote, offerStatement(offer), offer.voteSignature, STATEMENT_DST), "the vote key did not sign it");
}
