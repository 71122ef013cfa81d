import { u64 } from "../../independent/bytes.mjs";
import { encodeCommittee } from "../../independent/committee.mjs";
import { toBase58, toBase64url, toHex } from "../../independent/text.mjs";
import { VectorFile } from "./file.mjs";
import { EXPIRES, ISSUED, NOW, baseCertificate, bundleObject, committeeNamed, flipped, makeBatch, nonceOf, patched, receiptOf, singleNamed } from "./world.mjs";

const n4 = () => baseCertificate("n4");
const otherFile = () => toBase58(receiptOf("another file").digest);
const otherCluster = () => toBase58(committeeNamed("n7").digest);

function single(file) {
  const on = (name, about, fields, verdict, check) => file.on("n4", name, about, fields, verdict, check);
  on("no_cluster", "No trusted identity was given.", { cluster: null }, "cannot-check", "identity");
  on("another_cluster", "The trusted identity is another cluster's.", { cluster: otherCluster() }, "invalid", "identity");
  on("another_cluster_in_hex", "The same in hex.", { cluster: toHex(committeeNamed("n7").digest) }, "invalid", "identity");
  on("no_subject", "No digest was given.", { digest: null, length: null }, "cannot-check", "digest");
  on("no_subject_but_length", "A length alone is no subject.", { digest: null }, "cannot-check", "digest");
  on("another_digest", "The digest of another file.", { digest: otherFile() }, "invalid", "digest");
  on("another_length", "One byte more.", { length: singleNamed("n4").receipts[0].length + 1 }, "invalid", "length");
  on("length_zero", "A known length of zero is a length.", { length: 0 }, "invalid", "length");
  on("issued_61_seconds_ahead", "issued_at = now + 61.", { now: ISSUED - 61, times: { expected: ISSUED - 1, got: ISSUED } }, "invalid", "time");
  on("issued_far_ahead", "now is 0.", { now: 0, times: { expected: 60, got: ISSUED } }, "invalid", "time");
  on("issued_ahead_and_expiry_waived", "Waiving expiry does not waive the time.", { now: ISSUED - 61, waive_expiry: true, times: { expected: ISSUED - 1, got: ISSUED } }, "invalid", "time");
  on("expires_now", "expires_at = now.", { now: EXPIRES, times: { expected: EXPIRES, got: EXPIRES } }, "invalid", "expiry");
  on("expired", "expires_at = now − 1.", { now: EXPIRES + 1, times: { expected: EXPIRES + 1, got: EXPIRES } }, "invalid", "expiry");
  const zero = makeBatch(committeeNamed("n4"), [receiptOf("expires at zero", { expiresAt: 0 })]);
  file.of(zero, "expires_at_zero", "Zero is a date, not never.", { times: { expected: NOW, got: 0 } }, "invalid", "expiry");
  on("cluster_of_zeros", "32 times the character 1: each leading 1 is a zero byte.", { cluster: "1".repeat(32) }, "invalid", "identity");
  const epochs = (list) => JSON.stringify({ ...bundleObject(committeeNamed("n4"), n4()), epochs: list });
  const later = { handoff: toBase64url(n4()), committee: toBase64url(committeeNamed("n7").encoding) };
  const question = VectorFile.question(singleNamed("n4"));
  file.add("epochs_not_empty", "Another kind of certificate in place of a handoff.", { bundle: epochs([later]), ...question }, "cannot-check", "committee");
  file.add("epochs_of_two", "The second names no seal.", { bundle: epochs([later, later]), ...question }, "invalid", "bundle");
}

// Two faults each: the earlier check decides.
function order(file) {
  const on = (name, about, fields, verdict, check) => file.on("n4", name, about, fields, verdict, check);
  const committee = committeeNamed("n4");
  const broken = patched(committee.encoding, 0, 0x77);
  const other = encodeCommittee({ nonce: nonceOf("another nonce"), members: committee.members });
  on("certificate_before_committee", "Both broken.", { certificate: n4().slice(1), committee: broken }, "invalid", "certificate");
  on("unknown_certificate_before_broken_committee", "Version 2, and a broken committee.", { certificate: patched(n4(), 5, 2), committee: broken }, "cannot-check", "certificate");
  on("committee_before_identity", "Broken, and no trusted identity.", { committee: broken, cluster: null }, "invalid", "committee");
  on("identity_before_epoch", "Another committee than the certificate's, and no trusted identity.", { committee: other, cluster: null }, "cannot-check", "identity");
  on("identity_before_epoch_one", "Epoch 1 in another cluster.", { certificate: patched(n4(), 8, u64(1)), cluster: otherCluster() }, "invalid", "identity");
  on("identity_before_digest", "No identity and no subject.", { cluster: null, digest: null }, "cannot-check", "identity");
  on("epoch_one_before_committee_digest", "Epoch 1 and another committee's digest.", { certificate: flipped(patched(n4(), 8, u64(1)), 16), }, "cannot-check", "epoch");
  on("epoch_before_signers", "Another committee's digest, too few signers.", { certificate: flipped(patched(n4(), 131, 1), 16) }, "invalid", "epoch");
  on("signers_before_digest", "Too few signers, no subject.", { certificate: patched(n4(), 131, 1), digest: null }, "invalid", "signers");
  const swapped = [committee.pops[1], committee.pops[0], committee.pops[2], committee.pops[3]];
  on("signers_before_possession", "Too few signers, and two PoPs exchanged.", { certificate: patched(n4(), 131, 1), pops: swapped }, "invalid", "signers");
  on("possession_before_signature", "Two PoPs exchanged, and a broken signature.", { certificate: flipped(n4(), 227), pops: swapped }, "invalid", "possession");
  on("digest_before_length", "Another file of another length.", { digest: otherFile(), length: 1 }, "invalid", "digest");
  const short = makeBatch(committee, [receiptOf("expires before it is issued", { expiresAt: ISSUED - 1000 })]);
  file.of(short, "time_before_expiry", "Issued ahead, and expired already.", { now: ISSUED - 100, times: { expected: ISSUED - 40, got: ISSUED } }, "invalid", "time");
  file.of(short, "expires_before_it_is_issued", "Expired whenever it is looked at.", { now: ISSUED, times: { expected: ISSUED, got: ISSUED - 1000 } }, "invalid", "expiry");
}

// Faults of two questions: the earlier question decides, and a certificate that is not genuine says nothing about the file.
function questions(file) {
  const on = (name, about, fields, verdict, check) => file.on("n4", name, about, fields, verdict, check);
  const { pops } = committeeNamed("n4");
  const swapped = [pops[1], pops[0], pops[2], pops[3]];
  const forged = flipped(n4(), 227);
  const expired = { now: EXPIRES };
  const ahead = { now: 0 };
  const no = (answers) => ({ answers: { in_force: "no", ...answers } });
  on("possession_before_digest", "Two PoPs exchanged, and another file.", { pops: swapped, digest: otherFile() }, "invalid", "possession");
  on("possession_before_expiry", "Two PoPs exchanged, and expired.", { ...expired, pops: swapped }, "invalid", "possession");
  on("signature_before_digest", "A broken signature, and another file.", { certificate: forged, digest: otherFile() }, "invalid", "signature");
  on("signature_before_no_subject", "A broken signature, and no subject.", { certificate: forged, digest: null, length: null }, "invalid", "signature");
  on("signature_before_length", "A broken signature, and another length.", { certificate: forged, length: 1 }, "invalid", "signature");
  on("signature_before_time", "A broken signature, and issued ahead.", { ...ahead, certificate: forged }, "invalid", "signature");
  on("signature_before_expiry", "A broken signature, and expired.", { ...expired, certificate: forged }, "invalid", "signature");
  on("signature_before_all_else", "A broken signature, another file, and expired.", { ...expired, certificate: forged, digest: otherFile(), length: 1 }, "invalid", "signature");
  on("bent_to_another_file", "The receipt's digest replaced by that of another file, which is the one given: forged, and no word about the file.", { certificate: patched(n4(), 81, receiptOf("another file").digest), digest: otherFile(), length: null }, "invalid", "signature");
  on("another_file_and_expired", "Genuine, another file, expired: each question has its answer.", { ...expired, ...no(), digest: otherFile() }, "invalid", "digest");
  on("another_length_and_issued_ahead", "Genuine, another length, issued ahead.", { ...ahead, ...no(), length: 1 }, "invalid", "length");
  on("no_subject_and_expired", "Genuine and expired; whether this is the file was not asked.", { ...expired, ...no(), digest: null, length: null }, "cannot-check", "digest");
  on("no_subject_and_issued_ahead", "Genuine and issued ahead; whether this is the file was not asked.", { ...ahead, ...no(), digest: null, length: null }, "cannot-check", "digest");
  on("no_subject_and_expiry_waived", "Genuine; neither of the other questions was asked.", { ...expired, digest: null, length: null, waive_expiry: true }, "cannot-check", "digest");
  on("another_file_and_expiry_waived", "Genuine, another file; expiry was waived.", { digest: otherFile(), waive_expiry: true }, "invalid", "digest");
}

export function checksFile() {
  const file = new VectorFile("Identity, subject and times; and several faults at once, of which the earliest check decides.");
  for (const part of [single, order, questions]) part(file);
  return file;
}
