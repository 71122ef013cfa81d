// Forks: two handoffs that one committee signed. Cases with the expected verdict.
import { u16, u64 } from "../../independent/bytes.mjs";
import { FORK_MEDIA_TYPE } from "../../independent/bundle.mjs";
import { encodeBitmap } from "../../independent/certificate.mjs";
import { toBase58, toBase64url } from "../../independent/text.mjs";
import { verifyFork } from "../../independent/verify.mjs";
import { Cluster } from "./epoch_bundles.mjs";
import { theEpochs } from "./epochs.mjs";
import { committeeNamed, flipped, patched } from "./world.mjs";

const DESCRIPTION =
  "Bundles of forks: two handoffs that a committee of the cluster of `epochs.json` signed. Each case says the verdict, the check that decides, and the members that signed both; `checkpoint`: EPOCH:DIGEST, or null. `apart`: two bundles of a file whose committees part after epoch 1.";

export function forksFile() {
  const cluster = new Cluster(theEpochs());
  const cases = [];
  // The handoff from `epoch`; `fields` as for links.
  const handoff = (epoch, fields) => cluster.chain.link(epoch + 1, fields).handoff;
  const add = (name, about, [first, second], { from = 0, to = 1, pin = null, identity = cluster.identity, alter = (bundle) => bundle } = {}, verdict = "valid", check = null, both = null) => {
    const { certificate: _, ...rest } = cluster.bundle(new Uint8Array(0), { start: from, links: cluster.links(from, to) });
    const bundle = JSON.stringify(alter({ ...rest, type: FORK_MEDIA_TYPE, first: toBase64url(first), second: toBase64url(second) }));
    const checkpoint = pin === null ? null : cluster.checkpoint(pin);
    const got = verifyFork({ bundle: new TextEncoder().encode(bundle), cluster: identity, checkpoint });
    const own = JSON.stringify([verdict, check, both]);
    const said = JSON.stringify([got.verdict, got.check, got.value?.both ?? null]);
    if (own !== said) throw new Error(`fork ${name}: expected ${own}, the independent verifier says ${said}: ${got.message}`);
    cases.push({ name, about, bundle, cluster: identity, checkpoint, verdict, check, both });
  };
  const first = handoff(1);
  const second = handoff(1, { committee: { members: cluster.epochs[2].committee.members.slice(1) } });
  const invalid = (name, about, pair, check, more = {}) => add(name, about, pair, more, "invalid", check);
  const cannot = (name, about, pair, check, more = {}) => add(name, about, pair, more, "cannot-check", check);
  add("two_successors", "Committees of other members.", [first, second], {}, "valid", null, [0, 1, 2]);
  add("two_closings", "The same committee, and another closing.", [first, handoff(1, { handoff: { closing: cluster.epochs[1].handoff.closing + 1 } })], {}, "valid", null, [0, 1, 2]);
  add("other_signers", "Members 1 and 2 signed both.", [first, handoff(1, { committee: { members: cluster.epochs[2].committee.members.slice(1) }, signers: [1, 2, 3] })], {}, "valid", null, [1, 2]);
  add("of_the_genesis", "Its one member signed two.", [handoff(0), handoff(0, { handoff: { closing: 1 } })], { to: 0 }, "valid", null, [0]);
  add("with_one_of_them_in_the_chain", "The bundle goes on to epoch 2.", [first, second], { to: 2 }, "valid", null, [0, 1, 2]);
  add("from_a_checkpoint", "The bundle starts with the committee, which is pinned.", [first, second], { from: 1, pin: 1 }, "valid", null, [0, 1, 2]);
  invalid("one_handoff", "The same twice.", [first, first], "conflict");
  invalid("one_handoff_of_other_signers", "The same statement, signed by others.", [first, handoff(1, { signers: [1, 2, 3] })], "conflict");
  invalid("too_few_signers", "Two of four.", [first, handoff(1, { handoff: { closing: 1 }, signers: [0, 1] })], "signers");
  invalid("too_few_signers_of_the_first", "Two of four.", [handoff(1, { handoff: { closing: 1 }, signers: [0, 1] }), first], "signers");
  invalid("another_size", "A bitmap of seven.", [first, handoff(1, { handoff: { closing: 1 }, certificate: { n: 7, bitmap: encodeBitmap([0, 1, 2], 7) } })], "signers");
  invalid("of_two_epochs", "A handoff of epoch 0, and one of epoch 1.", [first, handoff(0)], "epoch");
  invalid("signature_altered", "One bit of the second signature.", [first, flipped(second, second.length - 1)], "signature");
  invalid("first_signature_altered", "One bit of the first signature.", [flipped(first, first.length - 1), second], "signature");
  invalid("handoff_cut", "One byte fewer.", [first, second.slice(0, -1)], "evidence");
  cannot("handoff_version_2", "An unknown version.", [patched(first, 5, 2), second], "evidence");
  cannot("handoff_of_another_kind", "Kind 9.", [first, patched(second, 6, u16(9))], "evidence");
  invalid("handoff_of_height_0", "There is no block 0.", [patched(first, 88, u64(0)), second], "evidence");
  invalid("another_cluster", "Another identity is trusted.", [first, second], "identity", { identity: toBase58(committeeNamed("n7").digest) });
  cannot("no_identity", "None is trusted.", [first, second], "identity", { identity: null });
  cannot("without_the_committee", "The bundle ends with epoch 0.", [first, second], "epoch", { to: 0 });
  cannot("below_the_pin", "The bundle ends below the pinned epoch.", [first, second], "chain", { pin: 3 });
  const change = (name, about, alter, check) => invalid(name, about, [first, second], check, { alter });
  change("broken_chain", "An altered handoff to epoch 1.", (bundle) => ({ ...bundle, epochs: [{ ...bundle.epochs[0], handoff: toBase64url(flipped(handoff(0), 48)) }] }), "chain");
  change("proof_altered", "The proof of another.", ({ genesis, ...rest }) => ({ ...rest, genesis: { ...genesis, pops: [toBase58(committeeNamed("n4").pops[0])] } }), "possession");
  change("committee_cut", "One byte fewer.", (bundle) => ({ ...bundle, epochs: [{ ...bundle.epochs[0], committee: bundle.epochs[0].committee.slice(0, -4) }] }), "committee");
  change("second_missing", "A key too few.", ({ second: _, ...rest }) => rest, "bundle");
  change("with_a_certificate", "A key too many.", (bundle) => ({ ...bundle, certificate: "" }), "bundle");
  // Two bundles of one file whose committees part after epoch 1.
  const { certificate, question } = cluster.certified(0);
  const other = cluster.chain.link(2, { committee: { members: cluster.epochs[2].committee.members.slice(1) } });
  const [whole, parted] = [cluster.links(0, 3), [cluster.chain.link(1), other]].map((links) => JSON.stringify(cluster.bundle(certificate, { links })));
  const apart = { cluster: question.cluster, first: whole, second: parted };
  const lines = cases.map((one) => `\n    ${JSON.stringify(one)}`);
  return `{\n  "description": ${JSON.stringify(DESCRIPTION)},\n  "apart": ${JSON.stringify(apart)},\n  "cases": [${lines.join(",")}\n  ]\n}\n`;
}
