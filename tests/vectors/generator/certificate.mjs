import { concat, u16, u32, u64, u8, utf8 } from "../../independent/bytes.mjs";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { toBase58 } from "../../independent/text.mjs";
import { VectorFile } from "./file.mjs";
import { ISSUED, baseCertificate, batchOf, committeeNamed, flipped, makeBatch, patched, receiptOf, singleNamed } from "./world.mjs";

const TOO_LARGE = u64(2n ** 53n);
const n4 = () => baseCertificate("n4");

function alteredFields(file) {
  const at = (name, about, offset, replacement, verdict, check, fields = {}) =>
    file.on("n4", name, about, { certificate: patched(n4(), offset, replacement), ...fields }, verdict, check);
  at("magic_altered", "The first byte differs.", 0, 0x77, "invalid", "certificate");
  at("version_unknown", "Version 2.", 5, 2, "cannot-check", "certificate");
  at("version_zero", "Version 0.", 5, 0, "cannot-check", "certificate");
  at("kind_handoff", "Statement kind 2 is reserved.", 6, u16(2), "cannot-check", "certificate");
  at("kind_zero", "Statement kind 0.", 6, u16(0), "cannot-check", "certificate");
  at("kind_high_byte", "Statement kind 257: both bytes count.", 6, u16(257), "cannot-check", "certificate");
  at("epoch_one", "Epoch 1: handoffs are not specified yet.", 8, u64(1), "cannot-check", "epoch");
  at("epoch_too_large", "Epoch 2^53.", 8, TOO_LARGE, "invalid", "certificate");
  at("committee_digest_altered", "Another committee's digest.", 16, n4()[16] ^ 1, "invalid", "epoch");
  at("issued_at_altered", "One second earlier than what was signed.", 48, u64(ISSUED - 1), "invalid", "signature");
  at("issued_at_too_large", "issued_at is 2^53.", 48, TOO_LARGE, "invalid", "certificate");
  at("issued_at_all_ones", "There is no never for issued_at.", 48, u64(2n ** 64n - 1n), "invalid", "certificate");
  at("count_zero", "No receipts.", 56, u32(0), "invalid", "certificate");
  at("count_without_its_path", "Count 2 makes the next 32 bytes a path.", 56, u32(2), "invalid", "certificate");
  at("index_equals_count", "Index 1 of 1.", 60, u32(1), "invalid", "certificate");
  at("index_huge", "Index 2^32 − 1.", 60, u32(2 ** 32 - 1), "invalid", "certificate");
  at("receipt_kind_unknown", "Receipt kind 2.", 64, 2, "cannot-check", "certificate");
  at("receipt_kind_zero", "Receipt kind 0.", 64, 0, "cannot-check", "certificate");
  at("salt_altered", "One bit of the salt differs.", 65, n4()[65] ^ 1, "invalid", "signature");
  const other = receiptOf("another file").digest;
  at("digest_altered", "The receipt's digest is neither the file's nor what was signed: the certificate is forged, and the file is not blamed.", 81, other, "invalid", "signature");
  at("digest_altered_for_its_file", "The receipt's digest is the file's, and not what was signed.", 81, other, "invalid", "signature", { digest: toBase58(other) });
  at("length_altered", "The receipt's length is neither the file's nor what was signed.", 113, u64(99), "invalid", "signature");
  at("length_altered_unknown", "The file's length is not known; the signature still covers it.", 113, u64(99), "invalid", "signature", { length: null });
  at("length_too_large", "Length 2^53.", 113, TOO_LARGE, "invalid", "certificate");
  at("expires_at_altered", "One bit of expires_at differs.", 121, n4()[121] ^ 1, "invalid", "signature");
  at("expires_at_too_large", "expires_at is 2^53.", 121, TOO_LARGE, "invalid", "certificate");
  at("expires_at_almost_never", "expires_at is 2^64 − 2.", 121, u64(2n ** 64n - 2n), "invalid", "certificate");
  at("expires_at_made_never", "Never, where a date was signed.", 121, u64(2n ** 64n - 1n), "invalid", "signature");
  at("n_zero", "n = 0.", 129, u16(0), "invalid", "certificate");
  at("n_altered", "n = 5, whose bitmap has the same size.", 129, u16(5), "invalid", "signers");
  at("n_too_large", "n = 1001.", 129, u16(1001), "invalid", "certificate");
  at("no_signer", "An empty bitmap.", 131, 0, "invalid", "certificate");
  at("spare_bit", "Bit 4 of 4 members.", 131, n4()[131] | 0x10, "invalid", "certificate");
  at("spare_bit_last", "Bit 7 of 4 members.", 131, n4()[131] | 0x80, "invalid", "certificate");
  at("signer_swapped", "Member 2 instead of member 3.", 131, 0b0111, "invalid", "signature");
  at("signer_added", "All four bits, three signatures.", 131, 0b1111, "invalid", "signature");
  at("signer_removed", "Two bits of three signatures.", 131, 0b0011, "invalid", "signers");
  at("signature_last_byte_altered", "The last byte of the signature differs.", 227, n4()[227] ^ 1, "invalid", "signature");
  file.on("n4", "signature_altered", "The sign of the signature's point differs.", { certificate: patched(n4(), 132, n4()[132] ^ 0x20) }, "invalid", "signature");
}

function batches(file) {
  const batch = batchOf(5);
  const certificate = batch.certify(0);
  const on = (name, about, altered, verdict, check) => file.of(batch, name, about, { certificate: altered }, verdict, check);
  on("count_altered", "Count 6 instead of 5 has a path of the same length here.", patched(certificate, 56, u32(6)), "invalid", "signature");
  on("count_4097", "More receipts than a batch may have.", patched(certificate, 56, u32(4097)), "invalid", "certificate");
  on("count_huge", "Count 2^32 − 1.", patched(certificate, 56, u32(2 ** 32 - 1)), "invalid", "certificate");
  on("index_altered", "Index 1 instead of 0.", patched(certificate, 60, u32(1)), "invalid", "signature");
  on("index_is_count", "Index 5 of 5.", patched(certificate, 60, u32(5)), "invalid", "certificate");
  on("path_hash_altered", "One bit of the first path hash.", flipped(certificate, 129), "invalid", "signature");
  on("path_last_hash_altered", "One bit of the last path hash.", flipped(certificate, 129 + 95), "invalid", "signature");
  const wide = makeBatch(committeeNamed("n4"), [receiptOf("count 4097")]);
  const path = Array.from({ length: 13 }, () => new Uint8Array(32));
  file.of(wide, "count_4097_with_its_path", "Well-formed but for its count.", { certificate: wide.certify(0, { count: 4097, path }) }, "invalid", "certificate");
}

function shapes(file) {
  const batch = singleNamed("n4");
  const on = (name, about, certificate, verdict, check) => file.on("n4", name, about, { certificate }, verdict, check);
  on("empty", "No bytes at all.", new Uint8Array(0), "invalid", "certificate");
  on("trailing_byte", "One zero byte behind the signature.", concat(n4(), u8(0)), "invalid", "certificate");
  on("twice", "The certificate twice.", concat(n4(), n4()), "invalid", "certificate");
  on("magic_upper_case", "VOUCH instead of vouch.", patched(n4(), 0, utf8("VOUCH")), "invalid", "certificate");
  on("bitmap_too_long", "Two bytes of bitmap for four members.", batch.certify(0, { bitmap: Uint8Array.of(0b1011, 0) }), "invalid", "certificate");
  on("bitmap_missing", "No byte of bitmap.", batch.certify(0, { bitmap: new Uint8Array(0) }), "invalid", "certificate");
  on("bitmap_of_another_size", "n = 9 with its two bytes of bitmap, for a committee of four.", batch.certify(0, { n: 9, bitmap: Uint8Array.of(0xff, 1) }), "invalid", "signers");
  on("n_smaller", "n = 3, correctly encoded, for a committee of four.", batch.certify(0, { n: 3, bitmap: Uint8Array.of(7) }), "invalid", "signers");
  on("n_1001", "n = 1001 with its 126 bytes of bitmap.", batch.certify(0, { n: 1001, bitmap: new Uint8Array(126).fill(1) }), "invalid", "certificate");
  on("n_1000", "n = 1000, the limit, with its 125 bytes of bitmap, for a committee of four.", batch.certify(0, { n: 1000, bitmap: new Uint8Array(125).fill(1) }), "invalid", "signers");
  on("below_quorum", "Correctly signed by two of four.", batch.certify(0, { signers: [0, 1] }), "invalid", "signers");
  on("single_signer", "Correctly signed by one of four.", batch.certify(0, { signers: [2] }), "invalid", "signers");
  file.on("n7", "below_quorum_n7", "Correctly signed by four of seven.", { certificate: singleNamed("n7").certify(0, { signers: [0, 1, 2, 3] }) }, "invalid", "signers");
  file.on("n2", "below_quorum_n2", "With two members both must sign.", { certificate: singleNamed("n2").certify(0, { signers: [1] }) }, "invalid", "signers");
  const signers = Array.from({ length: 66 }, (_, i) => i + 33);
  file.on("n100", "below_quorum_n100", "Correctly signed by 66 of 100.", { certificate: singleNamed("n100").certify(0, { signers }) }, "invalid", "signers");
}

// An unknown value ends decoding at its offset; everything before it was decoded.
function order(file) {
  const on = (name, about, certificate, verdict) => file.on("n4", name, about, { certificate }, verdict, "certificate");
  const receipt = encodeReceipt(receiptOf("n4", { kind: 2 }));
  on("version_unknown_and_nothing_behind", "Six bytes.", concat(utf8("vouch"), u8(2)), "cannot-check");
  on("version_unknown_and_rubbish_behind", "Nothing behind an unknown version is decoded.", concat(utf8("vouch"), u8(2), new Uint8Array(500).fill(0xff)), "cannot-check");
  on("magic_wrong_and_version_unknown", "The tag comes first.", patched(n4(), 0, concat(utf8("vouck"), u8(2))), "invalid");
  on("kind_unknown_and_nothing_behind", "Eight bytes.", concat(utf8("vouch"), u8(1), u16(9)), "cannot-check");
  on("kind_unknown_and_epoch_too_large", "The epoch is behind the kind.", patched(patched(n4(), 6, u16(9)), 8, TOO_LARGE), "cannot-check");
  on("receipt_kind_unknown_and_nothing_behind", "65 bytes.", patched(n4(), 64, 2).slice(0, 65), "cannot-check");
  on("receipt_kind_unknown_and_trailing_byte", "The end is behind the receipt kind.", concat(patched(n4(), 64, 2), u8(0)), "cannot-check");
  on("receipt_kind_unknown_and_count_zero", "The count is before the receipt kind.", patched(patched(n4(), 64, receipt), 56, u32(0)), "invalid");
  on("receipt_kind_unknown_and_index_out_of_range", "The index is before the receipt kind.", patched(patched(n4(), 64, receipt), 60, u32(1)), "invalid");
  on("receipt_kind_unknown_and_epoch_too_large", "The epoch is before the receipt kind.", patched(patched(n4(), 64, receipt), 8, TOO_LARGE), "invalid");
  on("receipt_kind_unknown_and_issued_at_too_large", "issued_at is before the receipt kind.", patched(patched(n4(), 64, receipt), 48, TOO_LARGE), "invalid");
}

export function certificateFile() {
  const file = new VectorFile("Every field of a certificate altered, alone; its shape; the order of its rules.");
  for (const part of [alteredFields, batches, shapes, order]) part(file);
  return file;
}
