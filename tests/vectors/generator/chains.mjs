// Chains of later committees: cases with the check that refuses them.
import { STATEMENT_DST, aggregate, decodeSignature, hashToG2, publicKey, sign } from "../../independent/bls.mjs";
import { u64 } from "../../independent/bytes.mjs";
import { encodeBitmap, encodeBodyCertificate } from "../../independent/certificate.mjs";
import { committeeDigest, encodeCommittee } from "../../independent/committee.mjs";
import { Failure } from "../../independent/failure.mjs";
import { verifyChain } from "../../independent/chain.mjs";
import { KIND_HANDOFF, KIND_LOG_HEAD, encodeHandoffBody, encodeStatement } from "../../independent/statement.mjs";
import { toHex } from "../../independent/text.mjs";
import { makeEpochs, theEpochs } from "./epochs.mjs";
import { infinity, keyNotInSubgroup, keyNotOnCurve, signatureNotInSubgroup } from "./points.mjs";
import { committeeNamed, firstQuorum, patched, voteSecret } from "./world.mjs";

const operatorKey = () => publicKey(voteSecret("operator"));

const DESCRIPTION =
  "Chains of committees from the genesis on; bytes in hex. Each link has the certificate of the handoff, the committee that it hands over to, and the identity of the seal that its history names." +
  " `refused` is null, or the check that refuses the chain and the epoch that does not follow. `pops`: the proofs of possession of the genesis; those of later committees are never looked at.";

export class ChainFile {
  constructor(world) {
    this.cases = [];
    Object.assign(this, world);
  }

  // The link to an epoch; `fields` replace what is signed, `certificate` and `link` what is around it.
  link(epoch, { committee = {}, handoff = {}, statement = {}, certificate = {}, signers, votes, ...rest } = {}) {
    const [previous, next] = [this.epochs[epoch - 1], this.epochs[epoch]];
    const record = { epoch, cluster: this.cluster, previous: previous.committee.digest, nonce: new Uint8Array(16), history: next.history, members: next.committee.members, ...committee };
    const encoding = encodeCommittee(record);
    const { closing, height, logRoot } = previous.handoff;
    const body = encodeHandoffBody({ closing, height, logRoot, next: committeeDigest(encoding), ...handoff });
    const signed = encodeStatement({ kind: KIND_HANDOFF, epoch: epoch - 1, cluster: this.cluster, committee: previous.committee.digest, body, ...statement });
    const by = signers ?? firstQuorum(previous.committee);
    const signature = votes?.(signed) ?? aggregate(by.map((i) => sign(signed, previous.committee.members[i].secret, STATEMENT_DST)));
    const fields = { kind: KIND_HANDOFF, epoch: epoch - 1, committee: previous.committee.digest, body, n: previous.committee.n, bitmap: encodeBitmap(by, previous.committee.n), signature, ...certificate };
    return { handoff: encodeBodyCertificate(fields), committee: encoding, seal: epoch > 1 ? this.epochs[epoch - 2].seal.identity : undefined, ...rest };
  }

  // Every case is judged by the independent implementation, or this file is wrong.
  add(name, about, links, check = null, epoch = null) {
    let got = null;
    try {
      verifyChain(this.epochs[0].committee.encoding, links);
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      got = failure.check;
    }
    if (got !== check) throw new Error(`${name}: expected ${check}, the independent check says ${got}`);
    const shown = links.map(({ handoff, committee, seal }) => ({ handoff: toHex(handoff), committee: toHex(committee), seal: seal ? toHex(seal) : null }));
    this.cases.push({ name, about, links: shown, refused: check && { check, epoch } });
  }

  // The genesis and its proofs, by which every case begins.
  get genesis() {
    const { encoding, pops } = this.epochs[0].committee;
    return { genesis: toHex(encoding), pops: pops.map(toHex) };
  }

  toString() {
    const cases = this.cases.map((one) => `\n    ${JSON.stringify({ ...this.genesis, ...one })}`).join(",");
    return `{\n  "description": ${JSON.stringify(DESCRIPTION)},\n  "cases": [${cases}\n  ]\n}\n`;
  }
}

function fill(file) {
  const { epochs, cluster } = file;
  const link = (...args) => file.link(...args);
  const [one, two, three] = [link(1), link(2), link(3)];
  file.add("genesis_alone", "No later epoch.", []);
  file.add("one_member_becomes_four", "A chain of one handoff.", [one]);
  file.add("four_become_seven", "A chain of two handoffs.", [one, two]);
  file.add("seven_become_four", "A chain of three handoffs.", [one, two, three]);
  file.add("all_members_signed", "More than a quorum.", [one, link(2, { signers: [0, 1, 2, 3] })]);

  file.add("skipped_epoch", "Epoch 1 is left out.", [two], "epoch", 1);
  file.add("out_of_order", "Epoch 2 comes before epoch 1.", [two, one], "epoch", 1);
  file.add("repeated_epoch", "Epoch 1 comes twice.", [one, one], "epoch", 2);
  file.add("epoch_two_to_the_52", "A committee of epoch 2^52 after the genesis.", [link(1, { committee: { epoch: 2 ** 52, history: epochs[2].history } })], "epoch", 1);
  const n4 = committeeNamed("n4");
  file.add("cluster_of_another", "The committee of epoch 1 names another cluster.", [link(1, { committee: { cluster: n4.digest, previous: n4.digest } })], "cluster", 1);
  file.add("previous_of_another", "Epoch 2 names another committee before it.", [one, link(2, { committee: { previous: n4.digest } })], "previous", 2);
  file.add("seal_missing", "Epoch 2 needs the identity of a seal.", [one, { ...two, seal: undefined }], "seal", 2);
  file.add("seal_in_epoch_1", "Epoch 1 has no seal to name.", [{ ...one, seal: epochs[0].seal.identity }], "seal", 1);
  file.add("seal_of_another_epoch", "Epoch 3 with the seal of epoch 0.", [one, two, { ...three, seal: epochs[0].seal.identity }], "history", 3);
  file.add("history_of_another", "Epoch 3 names the history of epoch 2.", [one, two, link(3, { committee: { history: epochs[2].history } })], "history", 3);
  file.add("history_missing", "Epoch 2 names no history.", [one, link(2, { committee: { history: new Uint8Array(32) } })], "history", 2);
  file.add("next_not_the_signed", "The handoff is to a committee of other members.", [{ ...one, committee: link(1, { committee: { members: epochs[1].committee.members.slice(1) } }).committee }], "next", 1);
  file.add("height_not_above", "The handoff to epoch 2 was decided in the block of that to epoch 1.", [one, link(2, { handoff: { height: epochs[0].handoff.height } })], "height", 2);

  file.add("closing_of_the_epoch_before", "Epoch 1 closed with epoch 0.", [one, link(2, { handoff: { closing: epochs[0].handoff.closing } })]);
  file.add("closing_before_the_epoch_before", "Epoch 1 closed a second before epoch 0.", [one, link(2, { handoff: { closing: epochs[0].handoff.closing - 1 } })], "closing", 2);
  file.add("policy_changed", "Epoch 2 has an operator, which the genesis had not.", [one, link(2, { committee: { policy: 1, operator: operatorKey() } })], "policy", 2);

  const refused = (name, about, fields) => file.add(name, about, [one, link(2, fields)], "handoff", 2);
  refused("below_quorum", "Two of four signed.", { signers: [0, 1] });
  refused("committee_of_another", "The certificate names the genesis.", { certificate: { committee: cluster } });
  refused("epoch_of_another", "The certificate names epoch 0.", { certificate: { epoch: 0 } });
  refused("another_number_of_members", "The bitmap is of seven members.", { certificate: { n: 7, bitmap: encodeBitmap([0, 1, 2], 7) } });
  refused("signed_for_another_cluster", "The members signed the same handoff of another cluster.", { statement: { cluster: n4.digest } });
  refused("signed_as_log_head", "The members signed the body as one of kind 4.", { statement: { kind: KIND_LOG_HEAD } });
  refused("another_closing_signed", "The members signed another closing.", { votes: (statement) => aggregate([0, 1, 2].map((i) => sign(patched(statement, 96, u64(1)), epochs[1].committee.members[i].secret, STATEMENT_DST))) });
  refused("signer_replaced", "Member 3 signed, and the bitmap says member 2.", { votes: (statement) => aggregate([0, 1, 3].map((i) => sign(statement, epochs[1].committee.members[i].secret, STATEMENT_DST))) });
  refused("signature_at_infinity", "The signature is the point at infinity.", { certificate: { signature: infinity(96) } });
  refused("signature_not_in_subgroup", "The signature is outside the subgroup.", { certificate: { signature: signatureNotInSubgroup() } });

  const key = (name, about, vote) => {
    const members = epochs[2].committee.members.map((member, i) => (i === 6 ? { ...member, vote } : member));
    file.add(name, about, [one, link(2, { committee: { members } })], "vote-key", 2);
  };
  key("vote_key_not_on_curve", "The vote key of member 6 is beside the curve.", keyNotOnCurve());
  key("vote_key_not_in_subgroup", "The vote key of member 6 is outside the subgroup.", keyNotInSubgroup());
  key("vote_key_at_infinity", "The vote key of member 6 is the point at infinity.", infinity(48));

  // Two bad signatures whose errors cancel out in a plain sum: weights find them.
  const shift = hashToG2(new TextEncoder().encode("an error"), STATEMENT_DST);
  const shifted = (epoch, by) => {
    const votes = (statement) => {
      const good = aggregate(firstQuorum(epochs[epoch - 1].committee).map((i) => sign(statement, epochs[epoch - 1].committee.members[i].secret, STATEMENT_DST)));
      return by(decodeSignature(good)).toBytes();
    };
    return link(epoch, { votes });
  };
  file.add("errors_that_cancel_out", "The signatures of epochs 1 and 2 are wrong by + d and - d.", [shifted(1, (good) => good.add(shift)), shifted(2, (good) => good.add(shift.negate())), three], "handoff", 1);
  file.add("last_signature_wrong", "Only the last of three handoffs is not signed.", [one, two, shifted(3, (good) => good.add(shift))], "handoff", 3);
}

export function chainsFile() {
  const file = new ChainFile(theEpochs());
  fill(file);
  const long = new ChainFile(makeEpochs("long", Array(68).fill(1), Array(68).fill(1)));
  const links = Array.from({ length: 67 }, (_, i) => long.link(i + 1));
  long.add("ten_handoffs", "One member with a new vote key in each of ten epochs.", links.slice(0, 10));
  long.add("sixty_seven_handoffs", "More than a verifier may check together.", links);
  const votes = (statement) => sign(patched(statement, 96, u64(1)), long.epochs[65].committee.members[0].secret, STATEMENT_DST);
  long.add("sixty_sixth_not_signed", "The member of epoch 65 signed another closing.", [...links.slice(0, 65), long.link(66, { votes }), links[66]], "handoff", 66);
  const operated = (operator) => new ChainFile(makeEpochs("operated", [1, 1, 1], [0, 0, 0], { rules: { policy: 1, operator } }));
  const ours = operated(operatorKey());
  const [first, second] = [ours.link(1, { committee: { policy: 1, operator: operatorKey() } }), ours.link(2, { committee: { policy: 1, operator: operatorKey() } })];
  ours.add("operator_kept", "A cluster with an operator.", [first, second]);
  ours.add("operator_changed", "Epoch 2 has another operator.", [first, ours.link(2, { committee: { policy: 1, operator: publicKey(voteSecret("another operator")) } })], "policy", 2);
  ours.add("operator_gone", "Epoch 1 has none.", [ours.link(1)], "policy", 1);
  file.cases.push(...ours.cases.map((one) => ({ ...one, ...ours.genesis })));
  file.cases.push(...long.cases.map((one) => ({ ...one, ...long.genesis })));
  return file;
}
