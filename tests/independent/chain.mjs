// Chains of committees: each later one follows from the one before.
import { decodeKey } from "./bls.mjs";
import { equal } from "./bytes.mjs";
import { decodeHandoffCertificate } from "./certificate.mjs";
import { decodeGenesis, decodeLater } from "./committee.mjs";
import { NO_HISTORY, historyAfter } from "./epochs.mjs";
import { invalid, named } from "./failure.mjs";
import { checkSignature, checkSigners } from "./signed.mjs";
import { encodeStatement, statementIdentity } from "./statement.mjs";

const holds = (check, condition, message) => {
  if (!condition) throw invalid(message, { check });
};

// Returns the identity of the handoff. A fixed one needs no signature: a later committee, which is trusted, names it.
function checkHandoff(handoff, previous, cluster, isFixed) {
  if (!equal(handoff.committee, previous.digest) || handoff.epoch !== previous.epoch) throw invalid("another committee signed");
  checkSigners(handoff, previous);
  if (!isFixed) {
    checkVoteKeys(previous);
    return statementIdentity(checkSignature(handoff, previous, cluster));
  }
  const { kind, epoch, committee, body } = handoff;
  return statementIdentity(encodeStatement({ kind, epoch, cluster, committee, body }));
}

export function checkVoteKeys({ members }) {
  for (const { vote } of members) holds("vote-key", decodeKey(vote) !== null, "a vote key is not a valid point");
}

// `links`: the handoff to each epoch after the first, its committee, and the identity of the seal that its history names. `handedBy`: the
// identity of the handoff to the first committee, of a later epoch. `pinned`: the epoch of a trusted committee, which was compared.
export function checkLinks(first, handedBy, links, pinned = 0) {
  const { cluster } = first;
  let [previous, before, height, closing] = [first, handedBy, 0, 0];
  for (const { handoff, committee, seal } of links) {
    holds("epoch", committee.epoch === previous.epoch + 1, "not the next epoch");
    holds("cluster", equal(committee.cluster, cluster), "another cluster");
    holds("previous", equal(committee.previous, previous.digest), "another committee before");
    holds("policy", committee.policy === previous.policy && equal(committee.operator, previous.operator), "another policy");
    holds("seal", (seal === undefined) === (committee.epoch === 1), "the identity of the seal");
    const history = committee.epoch === 1 ? NO_HISTORY : historyAfter(previous.history, before, seal);
    holds("history", equal(committee.history, history), "another history");
    holds("next", equal(handoff.next, committee.digest), "a handoff to another committee");
    holds("height", handoff.height > height, "the block is not after that of the handoff before");
    holds("closing", handoff.closing >= closing, "the epoch closed before the one before it");
    const isFixed = committee.epoch < pinned;
    before = named("handoff", () => checkHandoff(handoff, previous, cluster, isFixed));
    if (!isFixed) checkVoteKeys(committee);
    [previous, height, closing] = [committee, handoff.height, handoff.closing];
  }
}

// The same for encoded committees and certificates, from a genesis on. Proofs of possession are not looked at.
export function verifyChain(genesis, links) {
  const decoded = links.map(({ handoff, committee, seal }) => ({ handoff: decodeHandoffCertificate(handoff), committee: decodeLater(committee), seal }));
  checkLinks(decodeGenesis(genesis), undefined, decoded);
}
