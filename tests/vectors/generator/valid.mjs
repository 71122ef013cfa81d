import { G2, decodeSignature } from "../../independent/bls.mjs";
import { toHex } from "../../independent/text.mjs";
import { VectorFile } from "./file.mjs";
import { EXPIRES, ISSUED, NEVER, NOW, baseCertificate, bundleObject, committeeNamed, firstQuorum, fileOf, makeBatch, makeCommittee, makeMembers, receiptOf, singleNamed } from "./world.mjs";

const range = (from, to) => Array.from({ length: to - from }, (_, i) => i + from);

function signerSets(file) {
  file.on("n1", "one_member", "A committee of one.", {}, "valid");
  file.on("n2", "two_members", "A committee of two tolerates nobody: both signed.", {}, "valid");
  file.on("n4", "n4", "Three of four signed; the example of the specification.", {}, "valid");
  file.on("n7", "seven_members", "Five of seven signed, members 1 and 4 did not.", {}, "valid");
  file.on("n100", "hundred_members", "Exactly 67 of 100 signed, the first 33 did not.", {}, "valid");
  const sets = {
    n4: { all: range(0, 4), without_first: [1, 2, 3], without_last: [0, 1, 2] },
    n7: { all: range(0, 7), without_first: range(1, 7), quorum_without_first: range(2, 7), quorum_without_last: range(0, 5) },
    n100: { all: range(0, 100), without_last: range(0, 99), quorum_without_last: range(0, 67) },
  };
  for (const [base, named] of Object.entries(sets)) {
    for (const [name, signers] of Object.entries(named)) {
      const certificate = singleNamed(base).certify(0, { signers });
      file.on(base, `${base}_${name}`, `Signed by ${signers.length} of ${base.slice(1)}.`, { certificate }, "valid");
    }
  }
}

function receipts(file) {
  const n4 = committeeNamed("n4");
  const single = (receipt) => makeBatch(n4, [receipt]);
  file.of(single(receiptOf("empty", { file: new Uint8Array(0) })), "empty_file", "A file of zero bytes.", {}, "valid");
  file.of(single(receiptOf("never", { expiresAt: NEVER })), "expires_never", "expires_at is 2^64 − 1.", {}, "valid");
  const never = single(receiptOf("never, late", { expiresAt: NEVER }));
  file.of(never, "expires_never_at_the_end_of_time", "Never is later than any now.", { now: Number.MAX_SAFE_INTEGER }, "valid");
  const largest = { length: Number.MAX_SAFE_INTEGER, expiresAt: Number.MAX_SAFE_INTEGER };
  file.of(single(receiptOf("largest", largest)), "largest_integers", "Length and expires_at are 2^53 − 1.", {}, "valid");
  file.on("n4", "expires_one_second_later", "expires_at = now + 1.", { now: EXPIRES - 1 }, "valid");
  file.on("n4", "expired_but_waived", "Expired, and expiry is waived.", { now: EXPIRES + 1, waive_expiry: true }, "valid");
  file.on("n4", "waived_without_need", "Expiry is waived and not reached.", { waive_expiry: true }, "valid");
  file.on("n4", "issued_60_seconds_ahead", "issued_at = now + 60, the clock tolerance.", { now: ISSUED - 60 }, "valid");
}

function questions(file) {
  const { digest } = singleNamed("n4").receipts[0];
  const hex = toHex(digest);
  const mixed = [...hex].map((letter, i) => (i % 2 ? letter.toUpperCase() : letter)).join("");
  file.on("n4", "digest_in_lower_hex", "The subject's digest as b3sum prints it.", { digest: hex }, "valid");
  file.on("n4", "digest_in_upper_hex", "The subject's digest in upper-case hex.", { digest: hex.toUpperCase() }, "valid");
  file.on("n4", "digest_in_mixed_hex", "The subject's digest in hex of both cases.", { digest: mixed }, "valid");
  file.on("n4", "cluster_in_hex", "The trusted identity in hex.", { cluster: toHex(committeeNamed("n4").digest) }, "valid");
  let i = 0;
  while (receiptOf(`leading zero ${i}`).digest[0] !== 0) i += 1;
  const zero = makeBatch(committeeNamed("n4"), [receiptOf(`leading zero ${i}`)]);
  file.of(zero, "digest_with_leading_zero", "The digest begins with a zero byte, its base58 with a 1.", {}, "valid");
  file.of(zero, "digest_with_leading_zero_in_hex", "The same in hex.", { digest: toHex(zero.receipts[0].digest) }, "valid");
  file.on("n4", "length_unknown", "The subject's length is not known.", { length: null }, "valid");
}

function texts(file) {
  const bundle = bundleObject(committeeNamed("n4"), baseCertificate("n4"));
  const question = VectorFile.question(singleNamed("n4"));
  const add = (name, about, text, fields = {}) => file.add(name, about, { bundle: text, ...question, ...fields }, "valid");
  const { type, version, certificate, genesis, epochs } = bundle;
  const { committee, pops } = genesis;
  add("pretty_printed", "White space as the specification shows it, and a final line feed.", `${JSON.stringify(bundle, null, 2)}\n`);
  add("all_white_space", "Space, tab, line feed and carriage return wherever they may be.", ` \t\r\n${JSON.stringify(bundle, null, "\t").replaceAll("\n", " \r\n").replaceAll(":", " \n: ")}\r\n\t `.replace("vnd.vouch.bundle \n: ", "vnd.vouch.bundle:"));
  add("keys_reordered", "The order of keys is free.", JSON.stringify({ epochs, genesis: { pops, committee }, certificate, version, type }));
  add("escapes_in_keys_and_values", "Escapes are another spelling of the same strings.", JSON.stringify(bundle).replace('"type"', '"\\u0074\\u0079pe"').replace("application/vnd", "application\\/vnd").replace('"genesis"', '"g\\u0065nesis"'));
  add("exactly_the_largest_size", "8 MiB of JSON, padded with spaces.", JSON.stringify(bundle), { pad_to: 8 * 1024 * 1024 });
}

function names(file) {
  const odd = ["a", "Name von 24 Byte: öäü", "\u{1f916}\u{1f916}", "\ufeffbom"];
  const committee = makeCommittee("odd names", makeMembers("odd names", 4, odd));
  file.of(makeBatch(committee, [receiptOf("odd names")]), "odd_names", "Names of one byte, of all 24, outside the BMP, and beginning with U+FEFF.", {}, "valid");
  const same = makeCommittee("same names", makeMembers("same names", 4, new Array(4).fill("same")));
  file.of(makeBatch(same, [receiptOf("same names")]), "same_names", "Names need not differ.", {}, "valid");
}

// s0 + d and s1 − d, where d is another valid signature.
function cancelling(file) {
  const batch = singleNamed("n4");
  const votes = firstQuorum(batch.committee).map((i) => decodeSignature(batch.vote(i)));
  const d = decodeSignature(singleNamed("n1").vote(0));
  const [bad0, bad1, good] = [votes[0].add(d), votes[1].subtract(d), votes[2]];
  const signature = [bad0, bad1, good].reduce((sum, vote) => sum.add(vote), G2.ZERO).toBytes();
  const about = "Made of the bad votes s0 + d and s1 − d: each fails alone, their sum is the honest one. This is why votes are verified one by one.";
  file.on("n4", "cancelling_bad_votes", about, { certificate: batch.certify(0, { signature }) }, "valid");
}

export function validFile() {
  const file = new VectorFile(`Bundles that verify. The subject of n4 is the file ${JSON.stringify(new TextDecoder().decode(fileOf("n4")))}; now is ${NOW} unless a case says otherwise.`);
  for (const part of [signerSets, receipts, questions, texts, names, cancelling]) part(file);
  return file;
}
