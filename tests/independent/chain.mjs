// Chains of committees: each later one follows from the one before.
import { G1, STATEMENT_DST, decodeKey, decodeSignature, sum, verifySignature } from "./bls.mjs";
import { equal } from "./bytes.mjs";
import { decodeHandoffCertificate } from "./certificate.mjs";
import { decodeGenesis, decodeLater, quorum } from "./committee.mjs";
import { NO_HISTORY, historyAfter } from "./epochs.mjs";
import { invalid } from "./failure.mjs";
import { KIND_HANDOFF, encodeStatement, statementIdentity } from "./statement.mjs";

const holds = (check, condition, message) => {
  if (!condition) throw invalid(message, { check });
};

function checkHandoff(handoff, previous, cluster) {
  holds("handoff", equal(handoff.committee, previous.digest) && handoff.epoch === previous.epoch, "another committee signed");
  holds("handoff", handoff.n === previous.n, "another number of members");
  holds("handoff", handoff.signers.length >= quorum(previous.n), "too few signers");
  const statement = encodeStatement({ kind: KIND_HANDOFF, epoch: previous.epoch, cluster, committee: previous.digest, body: handoff.body });
  return { statement, identity: statementIdentity(statement) };
}

function checkSignature({ handoff, previous, statement }) {
  const signature = decodeSignature(handoff.signature);
  holds("handoff", signature !== null, "the signature is not a valid point");
  const key = sum(G1, handoff.signers.map((i) => decodeKey(previous.members[i].vote)));
  holds("handoff", !key.is0() && verifySignature(signature, statement, key, STATEMENT_DST), "not signed by the previous committee");
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
    const { statement, identity } = checkHandoff(handoff, previous, cluster);
    checkSignature({ handoff, previous, statement });
    for (const { vote } of committee.members) holds("vote-key", decodeKey(vote) !== null, "a vote key is not a valid point");
    before = { identity, height: handoff.height };
    committees.push(committee);
  }
  return committees;
}
