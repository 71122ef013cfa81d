// The log's intermediate values, and evidence against a member.
import { ed25519 } from "@noble/curves/ed25519.js";
import { concat, u64 } from "../../independent/bytes.mjs";
import * as log from "../../independent/log.mjs";
import { statementIdentity } from "../../independent/statement.mjs";
import { toHex } from "../../independent/text.mjs";
import { certifyHead, headOf, headStatement, rootOfBlocks, theLog } from "./log_world.mjs";
import { committeeNamed, flipped, nodeSecret, patched } from "./world.mjs";

const DESCRIPTION =
  "Intermediate values of the log in `ops.json`; bytes in hex. `edge`: the log tree over the blocks up to this one, as it is stored. `evidence`: two messages of the engine by one member; valid by `member`, or invalid.";

function blocks({ committee, blocks: all }) {
  return all.map(({ height, ops, header, digest, fields }, i) => ({
    height,
    block: toHex(concat(header, ...ops.map(({ signed }) => signed))),
    digest: toHex(digest),
    ops_digest: toHex(fields.ops),
    results_root: toHex(fields.results),
    log_root_before: toHex(fields.logRoot),
    log_root: toHex(rootOfBlocks(all.slice(0, i + 1))),
    edge: toHex(edge(all.slice(0, i + 1))),
    statement: toHex(headStatement(committee, headOf(all.slice(0, i + 1)))),
    statement_identity: toHex(statementIdentity(headStatement(committee, headOf(all.slice(0, i + 1))))),
    certificate: toHex(certifyHead(committee, headOf(all.slice(0, i + 1)))),
    ops: ops.map(({ encoding, identity, signed, effect, submitter }) => ({ op: toHex(encoding), identity: toHex(identity), signed: toHex(signed), effect: toHex(effect), submitter: toHex(submitter) })),
  }));
}

// The roots of the complete subtrees, largest first.
function edge(all) {
  const peaks = [];
  let from = 0;
  for (let size = 2 ** 30; size >= 1; size /= 2) {
    if ((all.length & size) === 0) continue;
    peaks.push(rootOfBlocks(all.slice(from, from + size)));
    from += size;
  }
  return concat(u64(all.length), ...peaks);
}

function engine({ committee, blocks: all }) {
  const place = { cluster: committee.digest, epoch: 0, height: 3, round: 1 };
  const secret = nodeSecret(committee.members[1].label);
  const signed = (fields, bytes) => ({ ...fields, signed: toHex(bytes), signature: toHex(ed25519.sign(bytes, secret)) });
  const [block, other] = [all[2].digest, all[1].digest];
  return {
    member: 1,
    node_secret: toHex(secret),
    votes: [1, 2].flatMap((type) => [block, undefined].map((one) => signed({ type, height: 3, round: 1, block: one ? toHex(one) : null }, log.voteBytes({ ...place, type, block: one })))),
    proposals: [undefined, 0].map((validRound) => signed({ height: 3, round: 1, valid_round: validRound ?? null, block: toHex(other) }, log.proposalBytes({ ...place, validRound, block: other }))),
  };
}

function evidence({ committee, blocks: all }) {
  const cases = [];
  const secret = nodeSecret(committee.members[1].label);
  const place = { cluster: committee.digest, epoch: 0, height: 3, round: 1 };
  const [low, high] = [all[0].digest, all[1].digest].sort(Buffer.compare);
  const votes = (type, blocks, own = place, key = secret) => blocks.map((block) => ({ block, signature: ed25519.sign(log.voteBytes({ ...own, type, block }), key) }));
  const proposals = (rounds) => [low, high].map((block, i) => ({ validRound: rounds[i], block, signature: ed25519.sign(log.proposalBytes({ ...place, validRound: rounds[i], block }), secret) }));
  const fields = { ...place, member: committee.members[1].node };
  const encoded = (message, both, overrides = {}) => log.encodeEvidence({ ...fields, message, both, ...overrides });
  const add = (name, about, bytes, expected) => {
    let got;
    try {
      got = log.checkEvidence(bytes, committee) === 1 ? "valid" : "invalid";
    } catch (failure) {
      got = failure.verdict;
    }
    if (got !== expected) throw new Error(`evidence ${name}: expected ${expected}, the independent check says ${got}`);
    cases.push({ name, about, evidence: toHex(bytes), expected });
  };
  const none = new Uint8Array(32);
  const good = encoded(2, votes(2, [low, high]));
  add("two_prevotes", "Two prevotes.", encoded(1, votes(1, [low, high])), "valid");
  add("two_precommits", "Two precommits.", good, "valid");
  add("precommit_and_none", "A precommit for a block, and one for none.", encoded(2, votes(2, [none, high])), "valid");
  add("two_proposals", "Two proposals.", encoded(3, proposals([undefined, undefined])), "valid");
  add("proposals_of_different_valid_rounds", "Two proposals, one with a valid round.", encoded(3, proposals([undefined, 0])), "valid");
  add("same_vote_twice", "One vote, twice.", encoded(2, votes(2, [low, low])), "invalid");
  add("blocks_descend", "The greater block first.", encoded(2, votes(2, [high, low])), "invalid");
  add("prevotes_as_precommits", "Two prevotes, said to be precommits.", encoded(2, votes(1, [low, high])), "invalid");
  add("votes_of_two_heights", "The second vote is of another height.", encoded(2, [...votes(2, [low]), ...votes(2, [high], { ...place, height: 4 })]), "invalid");
  add("votes_of_two_rounds", "The second vote is of another round.", encoded(2, [...votes(2, [low]), ...votes(2, [high], { ...place, round: 2 })]), "invalid");
  add("votes_of_two_members", "The second vote is by another member.", encoded(2, [...votes(2, [low]), ...votes(2, [high], place, nodeSecret(committee.members[2].label))]), "invalid");
  add("another_member_accused", "The votes are by member 1, member 2 is accused.", encoded(2, votes(2, [low, high]), { member: committee.members[2].node }), "invalid");
  const stranger = nodeSecret("stranger");
  add("stranger_accused", "The signer is not a member.", encoded(2, votes(2, [low, high], place, stranger), { member: ed25519.getPublicKey(stranger) }), "invalid");
  add("another_cluster", "Votes of another cluster.", encoded(2, votes(2, [low, high], { ...place, cluster: committeeNamed("n7").digest }), { cluster: committeeNamed("n7").digest }), "invalid");
  add("another_epoch", "Votes of epoch 1.", encoded(2, votes(2, [low, high], { ...place, epoch: 1 }), { epoch: 1 }), "invalid");
  add("forged", "One bit of the last signature is flipped.", flipped(good, good.length - 1), "invalid");
  add("height_0", "There is no block 0.", encoded(2, votes(2, [low, high], { ...place, height: 0 }), { height: 0 }), "invalid");
  add("kind_of_message_0", "No message has this kind.", patched(good, 80, 0), "invalid");
  add("kind_of_message_4", "No message has this kind.", patched(good, 80, 4), "invalid");
  add("another_tag", "Another tag.", flipped(good, 0), "invalid");
  add("one_byte_shorter", "The last byte is missing.", good.slice(0, -1), "invalid");
  add("one_byte_longer", "A trailing byte.", concat(good, new Uint8Array(1)), "invalid");
  add("version_2", "An unknown version.", patched(good, 7, 2), "cannot-check");
  return cases;
}

export function logFile() {
  const world = theLog();
  const values = { description: DESCRIPTION, cluster: toHex(world.committee.digest), blocks: blocks(world), engine: engine(world), evidence: evidence(world) };
  return `${JSON.stringify(values, null, 1)}\n`;
}
