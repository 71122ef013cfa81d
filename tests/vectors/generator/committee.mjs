import { concat, u16, u64, u8, utf8 } from "../../independent/bytes.mjs";
import { committeeDigest, encodeCommittee } from "../../independent/committee.mjs";
import { toBase58 } from "../../independent/text.mjs";
import { VectorFile } from "./file.mjs";
import { baseCertificate, committeeNamed, flipped, nonceOf, patched } from "./world.mjs";

const encoding = () => committeeNamed("n4").encoding;
const member = (i) => 148 + 104 * i;
const pinned = (committee) => ({ committee, cluster: toBase58(committeeDigest(committee)) });

function alteredFields(file) {
  const at = (name, about, offset, replacement, verdict, check) => {
    const committee = patched(encoding(), offset, replacement);
    file.on("n4", name, about, { committee }, verdict, check);
    // The altered committee's own identity is trusted, so the check fails on the certificate, which names another committee.
    if (check === "identity") file.on("n4", `${name}_and_trusted`, `${about} Its own identity is the trusted one.`, pinned(committee), "invalid", "epoch");
  };
  at("magic_altered", "The first byte differs.", 0, 0x77, "invalid", "committee");
  at("version_unknown", "Version 2.", 7, 2, "cannot-check", "committee");
  at("version_zero", "Version 0.", 7, 0, "cannot-check", "committee");
  at("epoch_one", "Not a genesis.", 8, u64(1), "invalid", "committee");
  at("epoch_too_large", "Epoch 2^53.", 8, u64(2n ** 53n), "invalid", "committee");
  at("cluster_not_zero", "A genesis names no cluster.", 16, 1, "invalid", "committee");
  at("cluster_last_byte_not_zero", "A genesis names no cluster.", 47, 1, "invalid", "committee");
  at("previous_not_zero", "A genesis has no previous committee.", 48, 1, "invalid", "committee");
  at("nonce_altered", "One bit of the nonce.", 80, encoding()[80] ^ 1, "invalid", "identity");
  at("policy_operator_without_key", "An operator without a key.", 96, 1, "invalid", "committee");
  at("policy_operator_with_key", "An operator whose key is the number 1, which is no point: nobody looks at it here.", 96, concat(Uint8Array.of(1), encoding().slice(97, 147), Uint8Array.of(1)), "invalid", "identity");
  at("policy_two", "Policy 2.", 96, 2, "cannot-check", "committee");
  at("policy_unknown", "Policy 255.", 96, 255, "cannot-check", "committee");
  at("fault_rule_zero", "Fault rule 0.", 97, 0, "invalid", "committee");
  at("fault_rule_two", "Fault rule 2.", 97, 2, "invalid", "committee");
  at("n_zero", "No members.", 98, u16(0), "invalid", "committee");
  at("n_smaller", "n = 3 with four members.", 98, u16(3), "invalid", "committee");
  at("n_larger", "n = 5 with four members.", 98, u16(5), "invalid", "committee");
  at("operator_key_not_zero", "An open committee has no operator.", 100, 1, "invalid", "committee");
  at("operator_key_last_byte_not_zero", "An open committee has no operator.", 147, 1, "invalid", "committee");
  at("node_key_altered", "One bit of the last member's node key.", member(3) + 31, encoding()[member(3) + 31] ^ 1, "invalid", "identity");
  at("vote_key_altered", "One bit of the first member's vote key.", member(0) + 40, encoding()[member(0) + 40] ^ 1, "invalid", "identity");
  at("name_altered", "One letter of the first member's name.", member(0) + 80, 0x52, "invalid", "identity");
}

function members(file) {
  const [a, b, c, d] = committeeNamed("n4").members;
  const on = (name, about, list) => file.on("n4", name, about, pinned(encodeCommittee({ nonce: nonceOf("n4"), members: list })), "invalid", "committee");
  on("members_not_ascending", "Members 1 and 2 exchanged.", [a, c, b, d]);
  on("members_descending", "Members in reverse.", [d, c, b, a]);
  on("member_repeated", "Member 1 twice.", [a, b, b, d]);
  on("node_key_repeated", "Member 1's node key twice, with different vote keys.", [a, b, { ...c, node: b.node }, d]);
  on("vote_key_repeated", "Member 0's vote key also at member 3.", [a, b, c, { ...d, vote: a.vote }]);
  on("vote_key_repeated_next", "Member 1's vote key also at member 2.", [a, b, { ...c, vote: b.vote }, d]);
  const empty = encodeCommittee({ nonce: nonceOf("n4"), members: [] });
  file.on("n4", "no_members", "A committee of nobody, well-formed.", { ...pinned(empty), pops: [] }, "invalid", "committee");
}

function names(file) {
  const [first, ...others] = committeeNamed("n4").members;
  const on = (name, about, bytes) => file.on("n4", name, about, pinned(encodeCommittee({ nonce: nonceOf("n4"), members: [{ ...first, name: bytes }, ...others] })), "invalid", "committee");
  on("name_empty", "24 zero bytes.", new Uint8Array(24));
  on("name_begins_with_zero", "A zero byte before the name.", utf8("\0name"));
  on("name_with_zero_inside", "A zero byte inside the name.", utf8("na\0me"));
  on("name_not_zero_behind_padding", "The last byte is not zero.", concat(utf8("name"), new Uint8Array(19), u8(0x61)));
  on("name_with_line_feed", "U+000A.", utf8("na\nme"));
  on("name_with_escape", "U+001B.", utf8("na\u001bme"));
  on("name_with_unit_separator", "U+001F.", utf8("na\u001fme"));
  on("name_with_delete", "U+007F.", utf8("na\u007fme"));
  on("name_with_c1_control", "U+0085.", utf8("na\u0085me"));
  on("name_with_last_c1_control", "U+009F.", utf8("na\u009fme"));
  on("name_not_utf8", "The byte ff.", Uint8Array.of(0x6e, 0xff, 0x6d));
  on("name_overlong_utf8", "A slash in two bytes.", Uint8Array.of(0x6e, 0xc0, 0xaf));
  on("name_encoded_surrogate", "U+D800 in three bytes.", Uint8Array.of(0x6e, 0xed, 0xa0, 0x80));
  on("name_above_unicode", "U+110000 in four bytes.", Uint8Array.of(0x6e, 0xf4, 0x90, 0x80, 0x80));
  on("name_cut_utf8", "24 bytes that end inside a character.", concat(utf8("a".repeat(23)), u8(0xc3)));
}

function shapes(file) {
  const on = (name, about, committee, verdict, check = "committee") => file.on("n4", name, about, { committee }, verdict, check);
  const { pops } = committeeNamed("n4");
  on("empty", "No bytes at all.", new Uint8Array(0), "invalid");
  on("trailing_byte", "One zero byte behind the last member.", concat(encoding(), u8(0)), "invalid");
  on("certificate_as_committee", "The bytes of the certificate.", baseCertificate("n4"), "invalid");
  file.on("n4", "pop_missing", "Three PoPs for four members.", { pops: pops.slice(0, 3) }, "invalid", "committee");
  file.on("n4", "pop_extra", "Five PoPs for four members.", { pops: [...pops, pops[0]] }, "invalid", "committee");
  file.on("n4", "pops_empty", "No PoP.", { pops: [] }, "invalid", "committee");
}

// An unknown value ends decoding at its offset; everything before it was decoded.
function order(file) {
  const on = (name, about, committee, verdict, fields = {}) => file.on("n4", name, about, { committee, ...fields }, verdict, "committee");
  on("version_unknown_and_nothing_behind", "Eight bytes.", concat(utf8("vouchcm"), u8(2)), "cannot-check");
  on("version_unknown_and_rubbish_behind", "Nothing behind an unknown version is decoded.", concat(utf8("vouchcm"), u8(2), new Uint8Array(500).fill(0xff)), "cannot-check");
  on("magic_wrong_and_version_unknown", "The tag comes first.", patched(encoding(), 6, Uint8Array.of(0x6e, 2)), "invalid");
  on("policy_unknown_and_nothing_behind", "97 bytes.", patched(encoding(), 96, 2).slice(0, 97), "cannot-check");
  on("policy_unknown_and_fault_rule_unknown", "The fault rule is behind the policy.", patched(encoding(), 96, Uint8Array.of(2, 9)), "cannot-check");
  on("policy_unknown_and_operator_key", "The operator key is behind the policy.", patched(patched(encoding(), 96, 2), 100, 1), "cannot-check");
  on("policy_unknown_and_epoch_one", "The epoch is before the policy.", patched(patched(encoding(), 96, 2), 8, u64(1)), "invalid");
  on("policy_unknown_and_previous_not_zero", "The previous digest is before the policy.", patched(flipped(encoding(), 48), 96, 2), "invalid");
  on("policy_unknown_and_pop_missing", "The PoPs are counted behind the policy.", patched(encoding(), 96, 2), "cannot-check", { pops: committeeNamed("n4").pops.slice(0, 3) });
}

// 1000 members are decoded and 1001 are not. The members are fictitious: no check here reaches their keys.
function largest(file) {
  const made = (n) =>
    encodeCommittee({
      nonce: nonceOf("largest"),
      members: Array.from({ length: n }, (_, i) => ({ node: concat(u8(i >> 8), u8(i & 0xff), new Uint8Array(30)), vote: concat(u16(i), new Uint8Array(46)), name: `m${i}` })),
    });
  const [pop] = committeeNamed("n1").pops;
  const thousand = { type: "application/vnd.vouch.bundle+json", version: 1, certificate: "", genesis: { committee: "", pops: new Array(1000).fill(toBase58(pop)) }, epochs: [] };
  file.bases.thousand_pops = JSON.stringify(thousand);
  const { certificate } = JSON.parse(file.bases.n4);
  const question = { ...VectorFile.question({ committee: committeeNamed("n4"), receipts: [{ digest: new Uint8Array(32), length: 0 }] }), cluster: null };
  const fields = (n) => ({ base: "thousand_pops", ...question, certificate: Buffer.from(certificate, "base64url"), committee: made(n) });
  file.add("thousand_members", "1000 members, the limit; no trusted identity was given.", fields(1000), "cannot-check", "identity");
  file.add("thousand_and_one_members", "1001 members.", fields(1001), "invalid", "committee");
}

export function committeeFile() {
  const file = new VectorFile("Every field of a genesis committee altered, alone; members, names, shape; the order of its rules.");
  for (const part of [alteredFields, members, names, shapes, order, largest]) part(file);
  return file;
}
