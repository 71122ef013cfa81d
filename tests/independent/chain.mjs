// Chains of committees: each later one follows from the one before.
import { decodeKey } from "./bls.mjs";
import { equal } from "./bytes.mjs";
import { decodeHandoffCertificate } from "./certificate.mjs";
import { decodeGenesis, decodeLater } from "./committee.mjs";
import { NO_HISTORY, historyAfter } from "./epochs.mjs";
import { invalid, named } from "./failure.mjs";
import { statementIdentity } from "./statement.mjs";
import { checkSignature, checkSigners } from "./verify.mjs";

const holds = (check, condition, message) => {
  if (!condition) throw invalid(message, { check });
};

// Returns the identity of the handoff.
function checkHandoff(handoff, previous, cluster) {
  if (!equal(handoff.committee, previous.digest) || handoff.epoch !== previous.epoch) throw invalid("another committee signed");
  checkSigners(handoff, previous);
  return statementIdentity(checkSignature(handoff, previous, cluster));
}

// `links`: the handoff to each later epoch, its committee, and the identity of the seal that its history names. Returns the committees.
// Proofs of possession are not looked at.
export function verifyChain(genesis, links) {
  const committees = [decodeGenesis(genesis)];
  const cluster = committees[0].digest;
  let before;
  for (const link of links) {
    const previous = committees.at(-1);
    const committee = decodeLater(link.committee);
    const handoff = decodeHandoffCertificate(link.handoff);
    holds("epoch", committee.epoch === previous.epoch + 1, "not the next epoch");
    holds("cluster", equal(committee.cluster, cluster), "another cluster");
    holds("previous", equal(committee.previous, previous.digest), "another committee before");
    holds("seal", (link.seal === undefined) === (committee.epoch === 1), "the identity of the seal");
    const history = before === undefined ? NO_HISTORY : historyAfter(previous.history, before.identity, link.seal);
    holds("history", equal(committee.history, history), "another history");
    holds("next", equal(handoff.next, committee.digest), "a handoff to another committee");
    holds("height", handoff.height > (before?.height ?? 0), "the block is not after that of the handoff before");
    const identity = named("handoff", () => checkHandoff(handoff, previous, cluster));
    for (const { vote } of committee.members) holds("vote-key", decodeKey(vote) !== null, "a vote key is not a valid point");
    before = { identity, height: handoff.height };
    committees.push(committee);
  }
  return committees;
}
