// Bundles of files that were certified in any epoch of a cluster: cases with the expected answers of the verifier.
import { STATEMENT_DST, aggregate, sign } from "../../independent/bls.mjs";
import { concat, u16, u64 } from "../../independent/bytes.mjs";
import { MEDIA_TYPE, OP_MEDIA_TYPE } from "../../independent/bundle.mjs";
import { committeeDigest } from "../../independent/committee.mjs";
import { encodeSealPath } from "../../independent/epochs.mjs";
import { toBase58, toBase64url } from "../../independent/text.mjs";
import { ChainFile, chainsFile } from "./chains.mjs";
import { makeEpochs, theEpochs } from "./epochs.mjs";
import { VectorFile } from "./file.mjs";
import { keyNotOnCurve } from "./points.mjs";
import { encodeBitmap } from "../../independent/certificate.mjs";
import { ISSUED, NOW, committeeNamed, flipped, makeBatch, patched, receiptOf } from "./world.mjs";

const DESCRIPTION =
  "Certificates of the cluster of `epochs.json`, with its chain of committees. A case may also have a `checkpoint`, EPOCH:DIGEST, and `require_sealed`;" +
  " `standing` says what was found out about a genuine certificate: the epoch that is trusted, the handoffs between it and the certificate's, the closing, and the state of the seal.";

// What belongs to one cluster: its epochs and the links between them.
export class Cluster {
  constructor(world) {
    this.epochs = world.epochs;
    this.identity = toBase58(world.cluster);
    this.chain = new ChainFile(world);
  }

  checkpoint(epoch) {
    return `${epoch}:${toBase58(this.epochs[epoch].committee.digest)}`;
  }

  // The links to the epochs after `from`, up to `to`.
  links(from, to) {
    return Array.from({ length: to - from }, (_, i) => this.chain.link(from + i + 1));
  }

  // A bundle. `start`: the first epoch in it; `links`: the later ones; `more`: other keys.
  bundle(certificate, { start = 0, links = [], more = {} } = {}) {
    const { committee } = this.epochs[start];
    const first = { committee: toBase64url(committee.encoding), pops: committee.pops.map(toBase58) };
    if (start > 0) first.handoff = toBase64url(this.epochs[start - 1].handoff.identity);
    const epochs = links.map(({ handoff, committee: encoding, seal }) => ({ handoff: toBase64url(handoff), committee: toBase64url(encoding), ...(seal && { seal: toBase64url(seal) }) }));
    return { type: MEDIA_TYPE, version: 1, certificate: toBase64url(certificate), [start > 0 ? "checkpoint" : "genesis"]: first, epochs, ...more };
  }

  // Of statement j of an epoch: its certificate, and the question about its file.
  certified(epoch, j = 0, fields = {}) {
    const batch = this.epochs[epoch].batches[j];
    return { certificate: batch.certify(0, { epoch, ...fields }), question: { ...VectorFile.question(batch), cluster: this.identity } };
  }

  sealed(epoch, j = 0) {
    const { seal, statements } = this.epochs[epoch];
    return toBase64url(encodeSealPath(seal.tree.path(statements[j])));
  }
}

// `of`: the epoch of the certificate; `from` and `to`: the epochs in the bundle; `pin`: the pinned epoch.
function asker(file, cluster) {
  return (name, about, { of, j = 0, from = 0, to = of, pin, require = false, links, more, certificate, ...fields }, verdict, check = null, standing = undefined) => {
    const certified = cluster.certified(of, j);
    const bundle = cluster.bundle(certificate ?? certified.certificate, { start: from, links: links ?? cluster.links(from, to), more });
    const checkpoint = pin === undefined ? {} : { checkpoint: typeof pin === "string" ? pin : cluster.checkpoint(pin) };
    const asked = { ...certified.question, ...checkpoint, ...(require && { require_sealed: true }), ...fields };
    file.add(name, about, { bundle: JSON.stringify(bundle), ...asked, ...(standing && { standing }) }, verdict, check);
  };
}

const stands = (trusted_epoch, handoffs, closing, seal) => ({ trusted_epoch, handoffs, closing, seal });
const closingOf = (epoch) => ISSUED + 600 * (epoch + 1);

function chains(file, cluster) {
  const on = asker(file, cluster);
  on("open_epoch", "The bundle ends with the certificate's epoch.", { of: 0 }, "valid", null, stands(0, 0, null, "open"));
  on("one_handoff", "Epoch 1, from the genesis.", { of: 1 }, "valid", null, stands(0, 1, null, "open"));
  on("three_handoffs", "Epoch 3, from the genesis.", { of: 3 }, "valid", null, stands(0, 3, null, "open"));
  on("ended_epoch", "The bundle has the handoff by which the certificate's epoch ended.", { of: 0, to: 1 }, "valid", null, stands(0, 0, closingOf(0), "unproved"));
  on("ended_later_epoch", "The same in epoch 1.", { of: 1, to: 3 }, "valid", null, stands(0, 1, closingOf(1), "unproved"));
  on("epoch_not_in_the_bundle", "A certificate of epoch 1, and the genesis alone.", { of: 1, to: 0, links: [] }, "cannot-check", "epoch");
  on("epoch_before_the_bundle", "A certificate of epoch 0, and a bundle from epoch 2 on.", { of: 0, from: 2, to: 3, pin: 3 }, "cannot-check", "epoch");
  on("committee_of_another_epoch", "A certificate of epoch 1 that says epoch 0.", { of: 1, certificate: cluster.certified(1, 0, { epoch: 0 }).certificate }, "invalid", "epoch");
  on("epoch_of_another_committee", "A certificate of epoch 0 that says epoch 1.", { of: 0, to: 1, certificate: cluster.certified(0, 0, { epoch: 1 }).certificate }, "invalid", "epoch");
  on("too_few_of_a_later_epoch", "Four of seven signed.", { of: 3, certificate: cluster.certified(3, 0, { signers: [0, 1] }).certificate }, "invalid", "signers");
  on("signature_of_a_later_epoch", "One bit of the signature.", { of: 3, certificate: flipped(cluster.certified(3).certificate, 227) }, "invalid", "signature");
  const swapped = cluster.bundle(cluster.certified(1).certificate, { start: 1 });
  swapped.checkpoint.pops.reverse();
  file.add("pops_of_a_checkpoint_reversed", "The first committee's proofs are checked, whatever its epoch.", { bundle: JSON.stringify(swapped), ...cluster.certified(1).question, checkpoint: cluster.checkpoint(1) }, "invalid", "possession");
}

// Every chain that is refused, with a certificate of the genesis in front.
function brokenChains(file, cluster) {
  const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
  const genesis = Buffer.from(cluster.epochs[0].committee.encoding).toString("hex");
  const on = asker(file, cluster);
  for (const one of chainsFile().cases) {
    if ((one.genesis ?? genesis) !== genesis || one.refused === null) continue;
    const links = one.links.map(({ handoff, committee, seal }) => ({ handoff: bytes(handoff), committee: bytes(committee), seal: seal === null ? undefined : bytes(seal) }));
    // The text says in which places there is a seal.
    if (links.some(({ seal }, i) => (seal === undefined) !== (i === 0))) continue;
    on(`chain_${one.name}`, one.about, { of: 0, links }, "invalid", "chain");
  }
  const [one, two] = cluster.links(0, 2);
  const handoff = (name, about, alter, verdict) => on(`handoff_${name}`, about, { of: 0, links: [one, { ...two, handoff: alter(two.handoff) }] }, verdict, "committee");
  handoff("cut", "One byte fewer.", (bytes) => bytes.slice(0, -1), "invalid");
  handoff("version_2", "An unknown version.", (bytes) => patched(bytes, 5, 2), "cannot-check");
  handoff("of_another_kind", "Kind 9.", (bytes) => patched(bytes, 6, u16(9)), "cannot-check");
  const both = (name, about, handoff, committee, verdict) => on(name, about, { of: 0, links: [{ ...one, committee }, { ...two, handoff }] }, verdict, "committee");
  both("committees_in_order", "Epoch 1 is of an unknown version, and the handoff to epoch 2 is broken.", two.handoff.slice(1), patched(one.committee, 7, 2), "cannot-check");
  both("committees_in_order_too", "Epoch 1 is broken, and the handoff to epoch 2 is of an unknown version.", patched(two.handoff, 5, 2), one.committee.slice(1), "invalid");
  const counted = cluster.bundle(cluster.certified(0).certificate, { links: [{ ...one, committee: patched(one.committee, 7, 2) }] });
  counted.genesis.pops = [];
  file.add("pops_before_later_committees", "A PoP is missing, and epoch 1 is of an unknown version.", { bundle: JSON.stringify(counted), ...cluster.certified(0).question }, "invalid", "committee");
  const five = cluster.chain.link(1, { committee: { epoch: 5, history: cluster.epochs[2].history } });
  const batch = makeBatch({ ...cluster.epochs[1].committee, digest: committeeDigest(five.committee) }, [receiptOf("epoch 5")], { statement: { epoch: 1, cluster: cluster.epochs[0].committee.digest } });
  file.add("place_of_another_epoch", "The committee at the place of epoch 1 says that it is of epoch 5.", { bundle: JSON.stringify(cluster.bundle(batch.certify(0, { epoch: 1 }), { links: [five] })), ...VectorFile.question(batch), cluster: cluster.identity }, "invalid", "epoch");
  const committee = (name, about, alter, verdict) => on(`committee_${name}`, about, { of: 0, links: [one, { ...two, committee: alter(two.committee) }] }, verdict, "committee");
  committee("cut", "One byte fewer.", (bytes) => bytes.slice(0, -1), "invalid");
  committee("version_2", "An unknown version.", (bytes) => patched(bytes, 7, 2), "cannot-check");
  committee("policy_2", "An unknown policy.", (bytes) => patched(bytes, 96, 2), "cannot-check");
  committee("epoch_2_to_the_53", "An epoch that is too large.", (bytes) => patched(bytes, 8, concat(new Uint8Array(6), Uint8Array.of(32, 0))), "invalid");
  on("certificate_before_committees", "A broken certificate, and a broken handoff.", { of: 0, certificate: new Uint8Array(3), links: [{ ...one, handoff: new Uint8Array(3) }] }, "invalid", "certificate");
  on("committees_before_identity", "A broken handoff, and no identity.", { of: 0, cluster: null, links: [{ ...one, handoff: new Uint8Array(3) }] }, "invalid", "committee");
  on("identity_before_chain", "An altered handoff, and another identity.", { of: 0, cluster: toBase58(committeeNamed("n7").digest), links: [{ ...one, handoff: flipped(one.handoff, 48) }] }, "invalid", "identity");
  on("signers_before_chain", "Too few signers, and an altered handoff.", { of: 1, certificate: cluster.certified(1, 0, { signers: [0] }).certificate, links: [{ ...one, handoff: flipped(one.handoff, 48) }] }, "invalid", "signers");
  on("chain_before_signature", "An altered handoff, and an altered signature.", { of: 0, certificate: flipped(cluster.certified(0).certificate, 227), links: [{ ...one, handoff: flipped(one.handoff, 48) }] }, "invalid", "chain");
  on("signature_before_closing", "Issued after the closing, which makes another statement.", { of: 0, to: 1, certificate: patched(cluster.certified(0).certificate, 48, u64(closingOf(0) + 1)), now: NOW }, "invalid", "signature");
}

function pinned(file, cluster) {
  const on = asker(file, cluster);
  on("pinned_genesis", "A pin of the genesis says what the identity says.", { of: 1, pin: 0 }, "valid", null, stands(0, 1, null, "open"));
  on("pinned_own_epoch", "The committee that signed is pinned.", { of: 1, pin: 1 }, "valid", null, stands(1, 0, null, "open"));
  on("pinned_before", "From a pinned committee, forwards.", { of: 3, pin: 1 }, "valid", null, stands(1, 2, null, "open"));
  on("pinned_after", "From a pinned committee, backwards.", { of: 1, to: 3, pin: 3 }, "valid", null, stands(3, 2, closingOf(1), "unproved"));
  on("pinned_another", "Another committee of this epoch.", { of: 1, to: 3, pin: `3:${toBase58(committeeNamed("n7").digest)}` }, "invalid", "chain");
  on("pinned_of_another_epoch", "The committee of epoch 2, said to be of epoch 3.", { of: 1, to: 3, pin: `3:${toBase58(cluster.epochs[2].committee.digest)}` }, "invalid", "chain");
  on("pinned_beyond_the_bundle", "The bundle ends below the pinned epoch.", { of: 1, to: 2, pin: 3 }, "cannot-check", "chain");
  on("pinned_far_beyond", "Epoch 2^53 - 1.", { of: 1, to: 2, pin: `9007199254740991:${toBase58(cluster.epochs[2].committee.digest)}` }, "cannot-check", "chain");
  on("pinned_without_identity", "A pin is no identity.", { of: 1, pin: 1, cluster: null }, "cannot-check", "identity");
  on("starts_at_the_pin", "The bundle starts with the pinned committee.", { of: 3, from: 2, pin: 2 }, "valid", null, stands(2, 1, null, "open"));
  on("starts_at_the_pin_alone", "It has no other.", { of: 3, from: 3, pin: 3 }, "valid", null, stands(3, 0, null, "open"));
  on("starts_before_the_pin", "It starts with a committee that the pinned one fixes.", { of: 1, from: 1, to: 3, pin: 3 }, "valid", null, stands(3, 2, closingOf(1), "unproved"));
  on("starts_after_the_pin", "The pinned committee is before the bundle's first.", { of: 3, from: 2, pin: 1 }, "cannot-check", "chain");
  on("starts_later_without_pin", "It does not start with the genesis, and nothing is pinned.", { of: 3, from: 2 }, "cannot-check", "chain");
  on("too_few_signers_before_the_pin", "Too few signers, and another pinned committee.", { of: 3, pin: `3:${toBase58(committeeNamed("n7").digest)}`, certificate: cluster.certified(3, 0, { signers: [0] }).certificate }, "invalid", "signers");
  on("starts_later_in_another_cluster", "Another identity is trusted.", { of: 3, from: 2, pin: 2, cluster: toBase58(committeeNamed("n7").digest) }, "invalid", "identity");
  const [one, two, three] = cluster.links(0, 3);
  const unsigned = (link) => ({ ...link, handoff: flipped(link.handoff, link.handoff.length - 1) });
  on("signature_below_the_pin", "Nobody needs the signature of a handoff that the pinned committee fixes.", { of: 1, pin: 3, links: [unsigned(one), two, three] }, "valid", null, stands(3, 2, closingOf(1), "unproved"));
  on("signature_of_the_handoff_to_the_pin", "The pinned committee does not fix the handoff to it.", { of: 1, pin: 3, links: [one, two, unsigned(three)] }, "invalid", "chain");
  on("signature_above_the_pin", "Nor those after it.", { of: 1, pin: 2, links: [one, two, unsigned(three)] }, "invalid", "chain");
  on("closing_below_the_pin", "The closing is fixed, too.", { of: 1, pin: 3, links: [{ ...one, handoff: flipped(one.handoff, 48) }, two, three] }, "invalid", "chain");
  const junk = (name, about, fields, check = "chain") => on(`below_the_pin_${name}`, about, { of: 1, pin: 3, links: [one, cluster.chain.link(2, fields), three] }, "invalid", check);
  junk("too_few_signers", "Two of four signers of a handoff whose signature nobody looks at.", { signers: [0, 1] });
  junk("another_number_of_members", "Its bitmap is of seven members.", { certificate: { n: 7, bitmap: encodeBitmap([0, 1, 2], 7) } });
  junk("another_committee", "Its certificate names the genesis.", { certificate: { committee: cluster.epochs[0].committee.digest } });
  junk("another_epoch", "Its certificate names epoch 0.", { certificate: { epoch: 0 } });
  on("pin_missing_and_chain_broken", "An altered handoff, and a bundle that ends below the pin.", { of: 0, pin: 3, links: [{ ...one, handoff: flipped(one.handoff, 48) }] }, "cannot-check", "chain");
  on("pin_wrong_and_chain_broken", "An altered handoff, and another committee than the pinned one.", { of: 0, pin: `1:${toBase58(committeeNamed("n7").digest)}`, links: [{ ...one, handoff: flipped(one.handoff, 48) }] }, "invalid", "chain");
  on("starts_later_and_chain_broken", "An altered handoff, and nothing is pinned.", { of: 3, from: 2, links: [{ ...three, handoff: flipped(three.handoff, 48) }] }, "cannot-check", "chain");
  const proofs = (name, about, pin, links) => {
    const bundle = cluster.bundle(cluster.certified(1).certificate, { start: 1, links });
    bundle.checkpoint.pops.reverse();
    file.add(name, about, { bundle: JSON.stringify(bundle), ...cluster.certified(1).question, ...(pin === undefined ? {} : { checkpoint: cluster.checkpoint(pin) }) }, "invalid", "possession");
  };
  proofs("possession_before_pin", "Proofs exchanged, and a bundle that ends below the pin.", 3, []);
  proofs("possession_before_missing_pin", "Proofs exchanged, and nothing is pinned.", undefined, []);
  proofs("possession_before_chain", "Proofs exchanged, and an altered handoff.", 1, [{ ...two, handoff: flipped(two.handoff, 48) }]);
  const wrong = cluster.bundle(cluster.certified(3).certificate, { start: 2, links: [three] });
  wrong.checkpoint.handoff = toBase64url(cluster.epochs[0].handoff.identity);
  file.add("starts_with_another_handoff", "The history of the next epoch names the handoff to the first.", { bundle: JSON.stringify(wrong), ...cluster.certified(3).question, checkpoint: cluster.checkpoint(2) }, "invalid", "chain");
}

// A committee with a key that is no point: a verifier that pins a later one does not look at the key, unless it must have signed.
function badKeys(file) {
  const alter = (members, epoch) => (epoch === 1 ? members.map((member, i) => (i === 3 ? { ...member, vote: keyNotOnCurve() } : member)) : members);
  const cluster = new Cluster(makeEpochs("bad key", [1, 4, 4, 4], [1, 1, 1, 1], { alter }));
  const on = asker(file, cluster);
  on("bad_key_in_the_chain", "A vote key of epoch 1 is no point.", { of: 0, to: 2 }, "invalid", "chain");
  on("bad_key_below_the_pin", "Epoch 1 is below the pinned epoch 3, and nobody asks for its keys.", { of: 0, to: 3, pin: 3 }, "valid", null, stands(3, 3, closingOf(0), "unproved"));
  on("bad_key_of_the_signing_committee", "The certificate is by this committee.", { of: 1, to: 3, pin: 3 }, "invalid", "chain");
  on("bad_key_before_the_pin", "It must have signed the handoff to the pinned committee.", { of: 0, to: 2, pin: 2 }, "invalid", "chain");
}

function closings(file, cluster) {
  const { committee } = cluster.epochs[1];
  const issued = (name, about, after, verdict, check = null, standing = undefined, { to = 2, more = {}, ...asked } = {}) => {
    const batch = makeBatch(committee, [receiptOf(name)], { issuedAt: closingOf(1) + after, statement: { epoch: 1, cluster: cluster.epochs[0].committee.digest } });
    const times = check === null ? {} : { times: { expected: closingOf(1), got: closingOf(1) + after } };
    const bundle = cluster.bundle(batch.certify(0, { epoch: 1 }), { links: cluster.links(0, to), more });
    file.add(name, about, { bundle: JSON.stringify(bundle), ...VectorFile.question(batch), cluster: cluster.identity, ...asked, ...times, ...(standing && { standing }) }, verdict, check);
  };
  issued("issued_at_the_closing", "At the very closing.", 0, "valid", null, stands(0, 1, closingOf(1), "unproved"));
  issued("issued_after_the_closing", "A second later.", 1, "invalid", "closing");
  issued("issued_after_the_closing_under_a_pin", "The pinned committee fixes the closing.", 1, "invalid", "closing", undefined, { to: 3, checkpoint: cluster.checkpoint(3) });
  issued("closing_before_seal", "After the closing, and a broken path.", 1, "invalid", "closing", undefined, { to: 3, checkpoint: cluster.checkpoint(3), more: { sealed: "" } });
}

function seals(file, cluster) {
  const on = asker(file, cluster);
  const sealed = cluster.sealed(0, 3);
  const of = { of: 0, j: 3, to: 3 };
  on("sealed", "The pinned committee names the seal.", { ...of, pin: 2, more: { sealed }, require: true }, "valid", null, stands(2, 2, closingOf(0), "sealed"));
  on("sealed_under_a_later_pin", "A later one fixes it.", { ...of, pin: 3, more: { sealed }, require: true }, "valid", null, stands(3, 3, closingOf(0), "sealed"));
  on("sealed_of_one", "The only statement of its epoch.", { of: 1, to: 3, pin: 3, more: { sealed: cluster.sealed(1) }, require: true }, "valid", null, stands(3, 2, closingOf(1), "sealed"));
  on("sealed_from_a_checkpoint", "The bundle starts with the certificate's committee.", { of: 1, from: 1, to: 3, pin: 3, more: { sealed: cluster.sealed(1) }, require: true }, "valid", null, stands(3, 2, closingOf(1), "sealed"));
  on("sealed_without_pin", "An attacker with old keys can make a chain with a seal.", { ...of, more: { sealed } }, "valid", null, stands(0, 0, closingOf(0), "unpinned"));
  on("sealed_under_an_earlier_pin", "The committee of epoch 1 does not fix the seal of epoch 0.", { ...of, pin: 1, more: { sealed } }, "valid", null, stands(1, 1, closingOf(0), "unpinned"));
  on("required_without_pin", "Not sealed.", { ...of, more: { sealed }, require: true }, "cannot-check", "seal");
  on("required_under_an_earlier_pin", "Not sealed.", { ...of, pin: 1, more: { sealed }, require: true }, "cannot-check", "seal");
  on("required_without_proof", "Not sealed.", { ...of, pin: 3, require: true }, "cannot-check", "seal");
  on("required_in_an_open_epoch", "Not sealed.", { of: 3, require: true }, "cannot-check", "seal");
  const wrong = (name, about, proof, verdict = "invalid", fields = {}) => on(`seal_${name}`, about, { ...of, pin: 3, more: { sealed: proof }, ...fields }, verdict, "seal");
  wrong("path_of_another_statement", "The path of another statement.", cluster.sealed(0, 2));
  wrong("path_of_another_epoch", "The path of a statement of epoch 1.", cluster.sealed(1));
  const path = new Uint8Array(Buffer.from(sealed, "base64url"));
  wrong("path_altered", "One bit of a hash.", toBase64url(flipped(path, path.length - 1)));
  wrong("count_altered", "One statement more.", toBase64url(patched(path, 8, u64(6))));
  wrong("path_cut", "One byte fewer.", toBase64url(path.slice(0, -1)));
  wrong("path_empty", "No bytes.", "");
  wrong("path_version_2", "An unknown version.", toBase64url(patched(path, 7, 2)), "cannot-check");
  wrong("without_the_naming_committee", "The bundle ends before the committee that names the seal.", sealed, "cannot-check", { to: 1, pin: 1 });
  wrong("in_an_open_epoch", "The bundle ends with the certificate's epoch.", sealed, "cannot-check", { to: 0, pin: 0 });
  wrong("broken_and_open", "A broken path, in an open epoch.", toBase64url(path.slice(0, -1)), "invalid", { to: 0, pin: 0 });
  on("required_with_a_wrong_path", "A seal is demanded, and its path is another's.", { ...of, pin: 3, more: { sealed: cluster.sealed(0, 2) }, require: true }, "invalid", "seal");
  on("signature_before_seal", "An altered signature decides before a wrong seal.", { ...of, pin: 3, more: { sealed: "" }, certificate: flipped(cluster.certified(0, 3).certificate, 227) }, "invalid", "signature");
  on("seal_before_digest", "A wrong seal, and another file.", { ...of, pin: 3, more: { sealed: "" }, digest: toBase58(committeeNamed("n7").digest) }, "invalid", "seal");
}

function texts(file, cluster) {
  const { certificate, question } = cluster.certified(3);
  const whole = () => cluster.bundle(certificate, { links: cluster.links(0, 3) });
  const on = (name, about, alter, verdict = "invalid") => {
    const bundle = whole();
    const altered = alter(bundle) ?? bundle;
    file.add(`text_${name}`, about, { bundle: JSON.stringify(altered), ...question, checkpoint: cluster.checkpoint(3) }, verdict, verdict === "valid" ? null : "bundle");
  };
  on("whole", "Nothing altered.", () => {}, "valid");
  on("unknown_key_in_an_epoch", "A key too many.", ({ epochs }) => void (epochs[1].more = ""));
  on("seal_in_epoch_1", "Epoch 1 has no seal to name.", ({ epochs }) => void (epochs[0].seal = epochs[1].seal));
  on("no_seal_in_epoch_2", "Epoch 2 names one.", ({ epochs }) => void delete epochs[1].seal);
  on("seal_of_31_bytes", "A byte too few.", ({ epochs }) => void (epochs[1].seal = toBase64url(new Uint8Array(31))));
  on("seal_null", "Not a text.", ({ epochs }) => void (epochs[1].seal = null));
  on("no_handoff", "A key too few.", ({ epochs }) => void delete epochs[1].handoff);
  on("no_committee", "A key too few.", ({ epochs }) => void delete epochs[1].committee);
  on("handoff_padded", "Padding.", ({ epochs }) => void (epochs[1].handoff += "="));
  const many = cluster.bundle(certificate, { links: [] });
  many.epochs = ["FILL"];
  file.add("text_epochs_4097", "One more epoch than a bundle may have.", { bundle: JSON.stringify(many).replace('"FILL"', '{"handoff":"","committee":""}FILL'), fill: { text: ',{"handoff":"","committee":"","seal":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}', times: 4096 }, ...question, checkpoint: cluster.checkpoint(3) }, "invalid", "bundle");
  file.add("text_epochs_4096", "As many as it may have, each of them empty.", { bundle: JSON.stringify(many).replace('"FILL"', '{"handoff":"","committee":""}FILL'), fill: { text: ',{"handoff":"","committee":"","seal":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}', times: 4095 }, ...question, checkpoint: cluster.checkpoint(3) }, "invalid", "committee");
  on("epoch_an_array", "Not an object.", ({ epochs }) => void (epochs[1] = []));
  on("sealed_a_number", "Not a text.", () => ({ ...whole(), sealed: 1 }));
  on("sealed_padded", "Padding.", () => ({ ...whole(), sealed: "AA==" }));
  on("genesis_with_handoff", "No handoff leads to a genesis.", ({ genesis, epochs }) => void (genesis.handoff = epochs[1].seal));
  on("neither_start", "No first committee.", ({ genesis: _, ...rest }) => rest);
  const later = () => cluster.bundle(certificate, { start: 2, links: cluster.links(2, 3) });
  on("both_starts", "A genesis and a checkpoint.", ({ genesis }) => ({ ...later(), genesis }));
  on("checkpoint_without_handoff", "Its handoff is missing.", () => {
    const bundle = later();
    delete bundle.checkpoint.handoff;
    return bundle;
  });
  on("checkpoint_handoff_of_33_bytes", "A byte too many.", () => {
    const bundle = later();
    bundle.checkpoint.handoff = toBase64url(new Uint8Array(33));
    return bundle;
  });
  on("checkpoint_without_seal", "Every epoch after a checkpoint names a seal.", () => {
    const bundle = later();
    delete bundle.epochs[0].seal;
    return bundle;
  });
  const add = (name, about, bundle, check) => file.add(`text_${name}`, about, { bundle: JSON.stringify(bundle), ...question, checkpoint: cluster.checkpoint(3) }, "invalid", check);
  add("genesis_as_checkpoint", "A genesis is no checkpoint.", { ...later(), checkpoint: { ...whole().genesis, handoff: later().checkpoint.handoff } }, "committee");
  const { handoff: _, ...first } = later().checkpoint;
  const { checkpoint: __, ...rest } = later();
  add("checkpoint_as_genesis", "A later committee is no genesis, and the seal is one too many.", { ...rest, genesis: first }, "bundle");
  add("type_of_an_op", "The bundle of a file with another type.", { ...whole(), type: OP_MEDIA_TYPE }, "bundle");
}

export function epochBundlesFile() {
  const file = new VectorFile(DESCRIPTION);
  const cluster = new Cluster(theEpochs());
  for (const part of [chains, brokenChains, pinned, closings, seals, texts]) part(file, cluster);
  badKeys(file);
  return file;
}
