import { concat, utf8 } from "../../independent/bytes.mjs";
import { toBase58, toHex } from "../../independent/text.mjs";
import { VectorFile } from "./file.mjs";
import { baseCertificate, bundleObject, committeeNamed, singleNamed } from "./world.mjs";

const object = (name = "n1") => bundleObject(committeeNamed(name), baseCertificate(name));
const text = (name) => JSON.stringify(object(name));

function replaced(from, to, source = text()) {
  if (!source.includes(from)) throw new Error(`nothing to replace: ${from}`);
  return source.replace(from, () => to);
}

// All cases ask the same question about the bundle; only the bundle's text differs.
const asker = (file) => (name, about, bundle, verdict = "invalid", check = "bundle") =>
  file.add(name, about, { ...(typeof bundle === "string" ? { bundle } : { bundle_base64: Buffer.from(bundle).toString("base64") }), ...VectorFile.question(singleNamed("n1")) }, verdict, check);

function keys(file) {
  const on = asker(file);
  const { genesis } = object();
  on("unknown_key", "At the top.", JSON.stringify({ ...object(), comment: "" }));
  on("unknown_key_null", "At the top, without a value to speak of.", JSON.stringify({ ...object(), comment: null }));
  on("unknown_key_in_genesis", "Inside genesis.", JSON.stringify({ ...object(), genesis: { ...genesis, name: "" } }));
  on("unknown_key_proto", "A key that JavaScript objects treat specially.", replaced('{"type"', '{"__proto__":{},"type"'));
  on("unknown_key_empty", "The empty key.", replaced('{"type"', '{"":1,"type"'));
  on("key_in_upper_case", "Keys are compared exactly.", replaced('"epochs"', '"Epochs"'));
  on("repeated_key", "certificate twice, first another one.", replaced('"certificate"', '"certificate":"AAAA","certificate"'));
  on("repeated_key_last_differs", "certificate twice, last another one.", replaced('"epochs"', '"certificate":"AAAA","epochs"'));
  on("repeated_key_same_value", "epochs twice, both empty.", replaced('"epochs":[]', '"epochs":[],"epochs":[]'));
  on("repeated_key_same_version", "version twice, both 1.", replaced('"version":1', '"version":1,"version":1'));
  on("repeated_key_escaped", "The second spelled with an escape.", replaced('"epochs":[]', '"epochs":[],"\\u0065pochs":[]'));
  on("repeated_key_in_genesis", "committee twice, first another one.", replaced('"committee"', '"committee":"AAAA","committee"'));
  on("repeated_key_in_genesis_same_value", "pops twice, both the same.", replaced('"pops":', `"pops":${JSON.stringify(genesis.pops)},"pops":`));
  on("repeated_genesis", "genesis twice.", replaced('"epochs"', `"genesis":${JSON.stringify(genesis)},"epochs"`));
  for (const key of Object.keys(object())) {
    const { [key]: _, ...rest } = object();
    on(`missing_${key}`, `No ${key}.`, JSON.stringify(rest));
  }
  for (const key of Object.keys(genesis)) {
    const { [key]: _, ...rest } = genesis;
    on(`missing_genesis_${key}`, `No ${key} inside genesis.`, JSON.stringify({ ...object(), genesis: rest }));
  }
}

function types(file) {
  const on = asker(file);
  const wrong = {
    type: [null, 1, ["application/vnd.vouch.bundle+json"]],
    version: [null, "1", true, [1], {}],
    certificate: [null, 1, [], {}, false],
    genesis: [null, "", [], 1],
    epochs: [null, {}, "", 0],
  };
  const kind = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
  for (const [key, values] of Object.entries(wrong)) {
    for (const value of values) on(`${key}_is_${kind(value)}`, `${key} is ${JSON.stringify(value)}.`, JSON.stringify({ ...object(), [key]: value }));
  }
  const inGenesis = (fields) => JSON.stringify({ ...object(), genesis: { ...object().genesis, ...fields } });
  for (const value of [null, 1, [], {}]) on(`committee_is_${kind(value)}`, `committee is ${JSON.stringify(value)}.`, inGenesis({ committee: value }));
  for (const value of [null, "", {}, 1]) on(`pops_is_${kind(value)}`, `pops is ${JSON.stringify(value)}.`, inGenesis({ pops: value }));
  for (const value of [null, 1, [], {}]) on(`pop_is_${kind(value)}`, `A PoP is ${JSON.stringify(value)}.`, inGenesis({ pops: [value] }));
  on("type_other", "Another media type.", JSON.stringify({ ...object(), type: "application/json" }));
  on("type_in_upper_case", "The type is compared exactly.", JSON.stringify({ ...object(), type: object().type.toUpperCase() }));
  on("type_with_parameter", "The type is compared exactly.", JSON.stringify({ ...object(), type: `${object().type};charset=utf-8` }));
  for (const [name, value] of Object.entries({ array: `[${text()}]`, string: JSON.stringify(text()), null: "null", number: "1", true: "true" })) on(`top_is_${name}`, "The bundle is not an object.", value);
  on("epochs_of_number", "epochs has a number.", JSON.stringify({ ...object(), epochs: [1] }));
  on("epochs_of_empty_object", "A later epoch without its keys.", JSON.stringify({ ...object(), epochs: [{}] }));
  on("epochs_unknown_key", "A later epoch with a key more.", JSON.stringify({ ...object(), epochs: [{ handoff: "", committee: "", pops: [] }] }));
  on("epochs_repeated_key", "A later epoch with a key twice.", replaced('"epochs":[]', '"epochs":[{"handoff":"","committee":"","handoff":""}]'));
  on("epochs_bad_base64url", "A later epoch whose handoff is not base64url.", JSON.stringify({ ...object(), epochs: [{ handoff: "A", committee: "" }] }));
}

function versions(file) {
  const on = asker(file);
  const version = (value) => replaced('"version":1', `"version":${value}`);
  for (const [name, value] of Object.entries({ zero: "0", two: "2", ten: "10", largest: "9007199254740991" })) on(`version_${name}`, `Version ${value} is unknown.`, version(value), "cannot-check");
  const bad = { negative: "-1", minus_zero: "-0", minus_two: "-2", with_fraction: "1.0", two_with_fraction: "2.0", with_exponent: "1e0", fraction: "1.5", leading_zero: "01", leading_plus: "+1", nan: "NaN", infinity: "Infinity", hexadecimal: "0x1", point_only: "1.", huge_exponent: "1e400" };
  for (const [name, value] of Object.entries(bad)) on(`version_${name}`, `Version ${value} is not an unsigned integer.`, version(value));
  on("version_huge_exponent_negative", "Version -1e400 is no number that a double holds.", version("-1e400"));
  on("version_too_large", "Version 2^53 is larger than an integer may be.", version("9007199254740992"));
  const two = { ...object(), version: 2 };
  on("version_2_with_other_keys", "Only type and version are looked at.", JSON.stringify({ type: object().type, version: 2, proofs: [{}, [null]] }), "cannot-check");
  on("version_2_of_another_type", "The type must be a string, no more.", JSON.stringify({ ...two, type: "application/json" }), "cannot-check");
  on("version_2_with_bad_base64url", "Not looked at.", JSON.stringify({ ...two, certificate: "=" }), "cannot-check");
  on("version_2_without_type", "There is no type.", JSON.stringify({ version: 2 }));
  on("version_2_type_number", "The type is not a string.", JSON.stringify({ ...two, type: 2 }));
  on("version_2_trailing_garbage", "Not JSON.", `${JSON.stringify(two)}x`);
  on("version_2_cut", "Not JSON.", JSON.stringify(two).slice(0, -1));
  const laterThan1 = (value) => JSON.stringify({ type: object().type, version: 2, more: 0 }).replace('"more":0', `"more":${value}`);
  const notJson = {
    lone_surrogate: ["An escaped lone surrogate is no text.", '"\\ud800"'],
    lone_low_surrogate: ["An escaped lone surrogate is no text.", '"\\udc00"'],
    reversed_surrogates: ["A low surrogate before a high one.", '"\\udc00\\ud800"'],
    surrogate_and_letter: ["A high surrogate before a letter.", '"\\ud800a"'],
    number_out_of_range: ["A number that no double holds.", "1e400"],
    negative_number_out_of_range: ["A number that no double holds.", "-1e400"],
    number_just_out_of_range: ["Rounds to infinity.", "1.7976931348623159e308"],
    integer_out_of_range: ["400 digits.", "9".repeat(400)],
    repeated_key: ["Within another value.", '{"a":1,"a":2}'],
    nested_65: ["65 deep: the bundle itself counts as 1.", `${"[".repeat(64)}${"]".repeat(64)}`],
    nested_65_objects: ["65 deep.", `${'{"a":'.repeat(64)}0${"}".repeat(64)}`],
  };
  for (const [name, [about, value]] of Object.entries(notJson)) on(`version_2_${name}`, `${about} Not JSON, or too much of it, in any version.`, laterThan1(value));
  const isJson = {
    surrogate_pair: ["An escaped pair of surrogates is one character.", '"\\ud83e\\udd16"'],
    largest_number: ["The largest double.", "1.7976931348623157e308"],
    number_just_in_range: ["Rounds to the largest double.", "1.7976931348623158e308"],
    tiny_number: ["Rounds to zero.", "1e-400"],
    zero_with_huge_exponent: ["Zero.", "0e400"],
    nested_64: ["64 deep: the bundle itself counts as 1.", `${"[".repeat(63)}${"]".repeat(63)}`],
    nested_64_objects: ["64 deep.", `${'{"a":'.repeat(63)}0${"}".repeat(63)}`],
  };
  for (const [name, [about, value]] of Object.entries(isJson)) on(`version_2_${name}`, `${about} Only the version is unknown.`, laterThan1(value), "cannot-check");
  // The bundle, its type, its version and the array are four values.
  const many = (name, about, text, times, verdict) =>
    file.add(name, about, { bundle: laterThan1("[FILL0]"), fill: { text, times }, ...VectorFile.question(singleNamed("n1")) }, verdict, "bundle");
  many("version_2_values_65536", "65 536 values, the limit.", "0,", 65_531, "cannot-check");
  many("version_2_values_65537", "One more.", "0,", 65_532, "invalid");
  many("version_2_values_65536_arrays", "Arrays count.", "[],", 65_531, "cannot-check");
  many("version_2_values_65537_arrays", "One more.", "[],", 65_532, "invalid");
  many("version_2_values_65535_objects", "An object and what it holds are two values, its key is none.", '{"":0},', 32_765, "cannot-check");
  many("version_2_values_65537_objects", "Two more.", '{"":0},', 32_766, "invalid");
  on("version_1_and_2", "A text with two versions has none.", replaced('"version":1', '"version":1,"version":2'));
  on("version_2_and_1", "A text with two versions has none.", replaced('"version":1', '"version":2,"version":1'));
}

function json(file) {
  const on = asker(file);
  const bad = {
    empty: "",
    white_space_alone: " \n",
    cut: text().slice(0, 400),
    cut_by_one: text().slice(0, -1),
    trailing_garbage: `${text()}x`,
    trailing_brace: `${text()}}`,
    trailing_zero_byte: `${text()}\0`,
    two_texts: text() + text(),
    trailing_comma: replaced('"epochs":[]}', '"epochs":[],}'),
    trailing_comma_in_array: replaced('"epochs":[]', '"epochs":[,]'),
    trailing_comma_in_pops: replaced('"]}', '",]}'),
    missing_comma: replaced('"version":1,', '"version":1 '),
    missing_colon: replaced('"version":1', '"version" 1'),
    line_comment: `// a comment\n${text()}`,
    block_comment: replaced('"version"', '/* a comment */"version"'),
    single_quotes: replaced('"version"', "'version'"),
    unquoted_key: replaced('"version"', "version"),
    form_feed: replaced('"version"', '\f"version"'),
    no_break_space: replaced('"version"', '\u00a0"version"'),
    line_separator: replaced('"version"', '\u2028"version"'),
    byte_order_mark: `\ufeff${text()}`,
    line_feed_in_string: replaced("application/", "application\n/"),
    unknown_escape: replaced("application/", "\\application/"),
    short_escape: replaced("application/", "\\u61/"),
    lone_high_surrogate: replaced("application/", "\\ud800application/"),
    lone_low_surrogate: replaced("application/", "\\udc00application/"),
    lone_surrogate_in_key: replaced('{"type"', '{"\\ud800":0,"type"'),
    true_in_upper_case: replaced('"epochs":[]', '"epochs":TRUE'),
    undefined_value: replaced('"epochs":[]', '"epochs":undefined'),
    number_out_of_range: replaced('"epochs":[]', '"epochs":[1e400]'),
    nested_65: replaced('"epochs":[]', `"epochs":${"[".repeat(64)}${"]".repeat(64)}`),
    nested_deeply: replaced('"epochs":[]', `"epochs":${"[".repeat(20_000)}${"]".repeat(20_000)}`),
    nested_deeply_and_open: "[".repeat(20_000),
  };
  for (const [name, value] of Object.entries(bad)) on(`json_${name}`, "Not the one JSON text that a bundle is.", value);
  const bytes = (...inserted) => {
    const [head, tail] = text().split("application/");
    return concat(utf8(head), Uint8Array.from(inserted), utf8(`application/${tail}`));
  };
  on("utf8_stray_byte", "The byte ff.", bytes(0xff));
  on("utf8_continuation_alone", "The byte 80.", bytes(0x80));
  on("utf8_overlong", "A slash in two bytes.", bytes(0xc0, 0xaf));
  on("utf8_encoded_surrogate", "U+D800 in three bytes.", bytes(0xed, 0xa0, 0x80));
  on("utf8_above_unicode", "U+110000.", bytes(0xf4, 0x90, 0x80, 0x80));
  on("utf8_cut_at_end", "The first byte of two, behind the text.", concat(utf8(text()), Uint8Array.of(0xc3)));
  on("utf16", "UTF-16, little-endian.", Buffer.from(text(), "utf16le"));
  file.add("one_byte_too_large", "8 MiB and one byte.", { bundle: text(), pad_to: 8 * 1024 * 1024 + 1, ...VectorFile.question(singleNamed("n1")) }, "invalid", "bundle");
}

function encodings(file) {
  const on = asker(file);
  const { certificate, genesis } = object();
  const withCertificate = (value) => JSON.stringify({ ...object(), certificate: value });
  const withPop = (value) => JSON.stringify({ ...object(), genesis: { ...genesis, pops: [value] } });
  if (!certificate.includes("-") && !certificate.includes("_")) throw new Error("the certificate's base64url has neither - nor _");
  on("base64_alphabet", "The standard alphabet, + and /.", withCertificate(certificate.replaceAll("-", "+").replaceAll("_", "/")));
  on("base64url_padding", "An empty text's worth of padding.", withCertificate(`${certificate}=`));
  on("base64url_line_feed", "A line feed at its end.", withCertificate(`${certificate}\n`));
  on("base64url_space", "A space inside.", withCertificate(`${certificate.slice(0, 76)} ${certificate.slice(76)}`));
  on("base64url_one_character_over", "A length that no bytes have.", withCertificate(`${certificate}A`));
  on("base64url_not_ascii", "A letter outside the alphabet.", withCertificate(`é${certificate.slice(1)}`));
  on("base64url_full_width", "A full-width letter, which some fold.", withCertificate(`Ａ${certificate.slice(1)}`));
  on("base64url_one_byte_over", "Good base64url of one byte too many.", withCertificate(`${certificate}AA`), "invalid", "certificate");
  on("certificate_empty_text", "Good base64url of no bytes.", withCertificate(""), "invalid", "certificate");
  on("committee_empty_text", "Good base64url of no bytes.", JSON.stringify({ ...object(), genesis: { ...genesis, committee: "" } }), "invalid", "committee");
  on("committee_padding", "Padding behind the committee.", JSON.stringify({ ...object(), genesis: { ...genesis, committee: `${genesis.committee}=` } }));
  // 260 bytes leave two unused bits in their last character.
  const n2 = VectorFile.question(singleNamed("n2"));
  const two = object("n2");
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const bumped = two.certificate.slice(0, -1) + last[last.indexOf(two.certificate.at(-1)) + 1];
  file.add("base64url_trailing_bits", "The unused bits of the last character are not zero.", { bundle: JSON.stringify({ ...two, certificate: bumped }), ...n2 }, "invalid", "bundle");
  file.add("base64url_right_padding", "The padding that base64 would have here.", { bundle: JSON.stringify({ ...two, certificate: `${two.certificate}=` }), ...n2 }, "invalid", "bundle");
  const [pop] = committeeNamed("n1").pops;
  for (const character of ["0", "O", "I", "l", "-", " ", "é"]) on(`base58_character_${utf8(character).reduce((name, byte) => name + byte.toString(16), "")}`, `${JSON.stringify(character)} is not in the alphabet.`, withPop(toBase58(pop).slice(0, 60) + character + toBase58(pop).slice(61)));
  on("base58_line_feed", "A line feed at its end.", withPop(`${toBase58(pop)}\n`));
  on("base58_leading_one", "A leading 1 is a zero byte more.", withPop(`1${toBase58(pop)}`));
  on("pop_of_95_bytes", "One byte too few.", withPop(toBase58(pop.slice(0, 95))));
  on("pop_of_97_bytes", "One byte too many.", withPop(toBase58(concat(pop, Uint8Array.of(0)))));
  on("pop_empty", "No bytes.", withPop(""));
  on("pop_in_hex", "Hex is for 32-byte values.", withPop(toHex(pop)));
  on("pop_huge", "100 000 characters.", withPop("z".repeat(100_000)));
}

export function bundleFile() {
  const file = new VectorFile("The JSON text: keys, types, versions, well-formedness, base64url and base58.");
  for (const part of [keys, types, versions, json, encodings]) part(file);
  return file;
}
