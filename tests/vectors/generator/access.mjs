// Tokens, changes of access, what is signed about them, the ops that carry them, and the messages with authorisations.
//   committees: members `access/i`, the operator `access operator`; a token's seed is derive("vouch test token v1", label)
import { ed25519 } from "@noble/curves/ed25519.js";
import {
  APPROVE,
  DECIDE,
  NO_LIMIT,
  READ,
  SEND,
  STORE,
  accessChangeIdentity,
  accessStatement,
  authorisationBytes,
  authorise,
  checkAuthorisation,
  decodeAccessChange,
  decodeAccessOp,
  decodeAuthorisation,
  encodeAccessChange,
  encodeApproveAccess,
  encodeAuthorisation,
  encodeDecide,
  encodeGrant,
  encodeRules,
  isAccessSignedByOperator,
  parseTokenSecret,
  tokenSecretText,
} from "../../independent/access.mjs";
import { STATEMENT_DST, publicKey, sign } from "../../independent/bls.mjs";
import { compare, concat, derive, digestOf, equal, u32, u64, utf8 } from "../../independent/bytes.mjs";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { challenge } from "../../independent/ed25519.mjs";
import { decodeMessage, encodeAccess, encodeBlob, encodeLocate, encodePut, encodePutEnd } from "../../independent/link.mjs";
import { checkNodeVote, nodeVoteBytes } from "../../independent/membership.mjs";
import { KIND_ACCEPT, KIND_OPERATOR, encodeStatement } from "../../independent/statement.mjs";
import { toBase58, toHex } from "../../independent/text.mjs";
import { infinity, keyNotInSubgroup, keyPlusSmallOrder, signatureNotInSubgroup, signaturePlusSmallOrder } from "./points.mjs";
import { ISSUED, fileOf, flipped, makeCommittee, makeMembers, nodeSecret, nonceOf, patched, receiptOf, voteSecret } from "./world.mjs";

const DESCRIPTION =
  "Two committees of four with one operator, of which the second has another nonce, so that it is another cluster; bytes in hex. `tokens`: seeds, their texts and their public keys. `changes`: changes of access, each with its identity, what the operator signs in the name of the first committee, and its signature." +
  " `operator`: signatures on one change, and whether they are the operator's in the name of the first committee; a case may have a key of its own. `votes`: bodies of ops of kind 12, with the bytes that the vote signs; `refused` says why one does not count. `ops`: bodies of ops by kind, all signatures valid." +
  " `authorisations`: each with the signed bytes and the time of the check; `refused` says why one does not count. `messages`: link messages that decode. `secrets`: texts that are no token's secret." +
  " `invalid`: bytes that are not what `of` says (an access change, an op's body of this kind, an authorisation, a message); `verdict` says which of them are of an unknown version or kind. `reason` says why a case is as it is.";

const MOST = Number.MAX_SAFE_INTEGER;
const NOT_A_TIME = 2n ** 53n;

const { Point } = ed25519;
const ORDER = Point.Fn.ORDER;

const failureOf = (work) => {
  try {
    work();
    return null;
  } catch (failure) {
    if (failure.verdict === undefined) throw failure;
    return failure.check ?? failure.verdict;
  }
};

function expect(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, the independent check says ${got}`);
}

const tokenSeed = (label) => derive("vouch test token v1", utf8(label));
const tokenKey = (label) => ed25519.getPublicKey(tokenSeed(label));

class World {
  constructor() {
    this.operatorSecret = voteSecret("access operator");
    this.operator = publicKey(this.operatorSecret);
    const rules = { policy: 1, operator: this.operator };
    this.members = makeMembers("access", 4);
    this.committee = this.#named("access", rules);
    this.other = this.#named("access, again", rules);
    this.cluster = this.committee.cluster;
    this.alice = tokenKey("alice");
    this.grant = { token: this.alice, name: "alice", largest: 2 ** 30, rate: 2 ** 20, quota: 2 ** 40, expiresAt: ISSUED + 86_400 };
  }

  #named(label, rules) {
    const { encoding, digest } = makeCommittee(label, this.members, { pops: [], ...rules });
    return { encoding, digest, cluster: digest, epoch: 0, members: this.members };
  }

  change(decision, fields = {}) {
    return encodeAccessChange({ cluster: this.cluster, number: 1, decision, ...fields });
  }

  granted(fields, rest) {
    return this.change({ grant: { ...this.grant, ...fields } }, rest);
  }

  statement(change, fields = {}) {
    return accessStatement({ epoch: 0, cluster: this.cluster, committee: this.committee.digest, identity: accessChangeIdentity(change), ...fields });
  }

  signedByOperator(change, fields, secret = this.operatorSecret) {
    return sign(this.statement(change, fields), secret, STATEMENT_DST);
  }
}

function tokens() {
  const seeds = [
    ["alice", tokenSeed("alice")],
    ["bob", tokenSeed("bob")],
    ["zero bytes", new Uint8Array(32)],
    ["leading zero bytes", concat(new Uint8Array(2), tokenSeed("alice").slice(2))],
    ["bytes 255", new Uint8Array(32).fill(255)],
  ];
  return seeds.map(([label, seed]) => {
    const text = tokenSecretText(seed);
    const parsed = parseTokenSecret(text);
    expect(`the secret of ${label}`, parsed !== null && equal(parsed, seed), true);
    return { label, seed: toHex(seed), text, key: toHex(ed25519.getPublicKey(seed)) };
  });
}

function secrets() {
  const text = tokenSecretText(tokenSeed("alice"));
  const digits = text.slice("vouch-token-".length);
  const coded = (bytes) => `vouch-token-${toBase58(bytes)}`;
  const seed = tokenSeed("alice");
  const sum = derive("vouch token checksum v1", seed);
  const checked = concat(seed, sum.slice(0, 4));
  const cases = [
    ["empty", "No text.", ""],
    ["prefix_alone", "The prefix without a seed.", "vouch-token-"],
    ["without_prefix", "The seed alone.", digits],
    ["prefix_in_upper_case", "The prefix is compared exactly.", `VOUCH-TOKEN-${digits}`],
    ["prefix_with_underscores", "Another prefix.", `vouch_token_${digits}`],
    ["prefix_twice", "A hyphen is no base58.", `vouch-token-${text}`],
    ["hex", "A seed has no form in hex.", `vouch-token-${toHex(tokenSeed("alice"))}`],
    ["cut", "The last character is missing.", text.slice(0, -1)],
    ["cut_by_two", "The last two characters are missing.", text.slice(0, -2)],
    ["one_character_more", "More than 36 bytes.", `${text}1`],
    ["leading_1", "A leading 1 is a zero byte, so that these are 37 bytes.", `vouch-token-1${digits}`],
    ["without_a_checksum", "The 32 bytes of the seed alone.", coded(seed)],
    ["checksum_altered", "One bit of the checksum.", coded(flipped(checked, 35))],
    ["seed_altered", "One bit of the seed.", coded(flipped(checked, 0))],
    ["checksum_of_another_seed", "The checksum is of Bob's seed.", coded(concat(seed, derive("vouch token checksum v1", tokenSeed("bob")).slice(0, 4)))],
    ["checksum_by_plain_hash", "The checksum is of BLAKE3 without a context.", coded(concat(seed, digestOf(seed).slice(0, 4)))],
    ["checksum_of_last_bytes", "The checksum is the last 4 bytes of the hash in place of the first.", coded(concat(seed, sum.slice(-4)))],
    ["checksum_first", "The checksum is before the seed.", coded(concat(sum.slice(0, 4), seed))],
    ["ones_36", "36 zero bytes: the checksum of 32 zero bytes is another.", `vouch-token-${"1".repeat(36)}`],
    ["ones_51", "51 zero bytes: more characters than 36 bytes ever have.", `vouch-token-${"1".repeat(51)}`],
    ["too_large", "50 characters whose number is 2^288 or more.", `vouch-token-${"z".repeat(50)}`],
    ["not_base58", "0 is no character of base58.", `vouch-token-0${digits.slice(1)}`],
    ["space_before", "A space before the prefix.", ` ${text}`],
    ["space_after", "A space after the seed.", `${text} `],
    ["line_feed", "A line feed after the seed: a reader of files removes it first.", `${text}\n`],
    ["fullwidth_digits", "Digits outside ASCII.", `vouch-token-${"１".repeat(32)}`],
  ];
  return cases.map(([name, reason, wrong]) => {
    expect(`secret ${name}`, parseTokenSecret(wrong), null);
    return { name, reason, text: wrong };
  });
}

function changes(world) {
  const cases = [];
  const add = (name, reason, change) => {
    const decoded = decodeAccessChange(change);
    expect(`change ${name}`, equal(encodeAccessChange({ cluster: decoded.cluster, number: decoded.number, decision: decoded.decision }), change), true);
    const [identity, statement, signature] = [accessChangeIdentity(change), world.statement(change), world.signedByOperator(change)];
    cases.push({ name, reason, change: toHex(change), identity: toHex(identity), operator_statement: toHex(statement), operator_signature: toHex(signature) });
  };
  for (const put of [0, 1]) for (const read of [0, 1]) add(`rules_${put}${read}`, "Who may put, and who may read: 0 anyone, 1 holders of tokens.", world.change({ rules: { put, read } }, { number: 1 + 2 * put + read }));
  add("grant", "A token with all four limits.", world.granted({}, { number: 5 }));
  add("grant_without_limits", "2^64 - 1 means no limit.", world.granted({ largest: NO_LIMIT, rate: NO_LIMIT, quota: NO_LIMIT, expiresAt: NO_LIMIT }));
  add("grant_least", "All but the rate may be 0.", world.granted({ largest: 0, rate: 1, quota: 0, expiresAt: 0 }));
  add("grant_greatest", "The greatest numbers that are limits.", world.granted({ largest: MOST, rate: MOST, quota: MOST, expiresAt: MOST }));
  add("grant_name_of_24_bytes", "A name that fills its field.", world.granted({ name: "é".repeat(12) }));
  add("grant_to_no_point", "The key of a token is not checked as a point.", world.granted({ token: new Uint8Array(32).fill(255) }));
  add("revoke", "A token may do nothing more.", world.change({ revoke: world.alice }, { number: 2 }));
  add("last_number", "The greatest number.", world.change({ revoke: world.alice }, { number: MOST }));
  return cases;
}

function operator(world) {
  const change = world.granted({});
  const cases = [];
  const add = (name, reason, signature, isValid = false, key = undefined) => {
    expect(`operator ${name}`, isAccessSignedByOperator(key ?? world.operator, world.committee, change, signature), isValid);
    cases.push({ name, reason, ...(key && { key: toHex(key) }), signature: toHex(signature), valid: isValid });
  };
  const signed = (fields, secret) => world.signedByOperator(change, fields, secret);
  const identity = accessChangeIdentity(change);
  const asKind = (kind) => sign(encodeStatement({ kind, epoch: 0, cluster: world.cluster, committee: world.committee.digest, body: identity }), world.operatorSecret, STATEMENT_DST);
  add("by_the_operator", "Its own signature.", signed(), true);
  add("by_a_member", "A member's vote key signed.", signed({}, world.members[0].secret));
  add("of_another_number", "The same grant with the next number.", world.signedByOperator(world.granted({}, { number: 2 })));
  add("of_a_revocation", "A revocation of the same token.", world.signedByOperator(world.change({ revoke: world.alice })));
  add("in_another_epoch", "The header names epoch 1.", signed({ epoch: 1 }));
  add("in_another_cluster", "The header names another cluster.", signed({ cluster: world.other.digest }));
  add("of_another_committee", "The header names another committee.", signed({ committee: world.other.digest }));
  add("in_the_name_of_another_genesis", "Cluster and committee are those of another founding.", signed({ cluster: world.other.digest, committee: world.other.digest }));
  add("as_a_change_of_members", "Kind 0x8004 with the same body.", asKind(KIND_OPERATOR));
  add("as_an_accept", "Kind 3 with the same body.", asKind(KIND_ACCEPT));
  add("of_the_bytes", "The change itself was signed in place of its statement.", sign(change, world.operatorSecret, STATEMENT_DST));
  add("altered", "One bit of the signature.", flipped(signed(), 95));
  add("signature_at_infinity", "The signature is the point at infinity.", infinity(96));
  add("signature_not_in_subgroup", "The signature is outside the subgroup.", signatureNotInSubgroup());
  add("signature_plus_small_order", "The operator's signature plus a point of order 13.", signaturePlusSmallOrder(signed()));
  add("key_at_infinity", "Key and signature are the points at infinity, so that the pairings are equal for every change.", infinity(96), false, infinity(48));
  add("key_not_in_subgroup", "The key is outside the subgroup.", signed(), false, keyNotInSubgroup());
  add("key_plus_small_order", "The operator's key plus a point of order 3: the pairings are equal.", signed(), false, keyPlusSmallOrder(world.operator));
  add("key_of_a_member", "The operator's signature under a member's key.", signed(), false, world.members[0].vote);
  return { change: toHex(change), key: toHex(world.operator), signatures: cases };
}

const withLargerS = (signature) => {
  const s = signature.slice(32).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + ORDER;
  return concat(signature.slice(0, 32), Uint8Array.from({ length: 32 }, (_, i) => Number((s >> BigInt(8 * i)) & 0xffn)));
};

function votes(world) {
  const cases = [];
  const approved = world.granted({});
  const body = (i, { by = i, vote = {}, number = 7, names = world.committee, change = approved, bytes } = {}) => {
    const signed = bytes ?? nodeVoteBytes({ says: "approve-access", change: accessChangeIdentity(change), number, ...vote }, { cluster: names.cluster, committee: names.digest });
    return { node: world.members[i].node, number, signature: ed25519.sign(signed, nodeSecret(world.members[by].label)), change: approved };
  };
  const add = (name, reason, op, refused = null) => {
    const encoded = encodeApproveAccess(op);
    const { node, number, signature } = decodeAccessOp(APPROVE, encoded);
    const vote = { says: "approve-access", change: accessChangeIdentity(op.change), number, node, signature };
    const committee = world.committee;
    expect(`vote ${name}`, failureOf(() => checkNodeVote(vote, committee)), refused);
    cases.push({ name, reason, body: toHex(encoded), signed: toHex(nodeVoteBytes(vote, { cluster: committee.cluster, committee: committee.digest })), refused });
  };
  add("approve", "Member 1 approves.", body(1));
  add("approve_as_the_last", "Member 3 approves.", body(3));
  add("approve_with_number_0", "The least number of an approval.", body(1, { number: 0 }));
  add("approve_with_the_greatest_number", "The number 2^53 - 1.", body(1, { number: MOST }));
  add("change_altered", "Another change than was signed.", body(1, { change: world.granted({ quota: 1 }) }), "signature");
  add("number_altered", "The same grant with the next number was signed.", body(1, { change: world.granted({}, { number: 2 }) }), "signature");
  add("number_of_the_approval_altered", "Another number of the approval was signed.", body(1, { vote: { number: 8 } }), "signature");
  add("by_another_member", "Member 0 signed for member 3.", body(3, { by: 0 }), "signature");
  add("for_another_committee", "Signed in the name of another committee.", body(1, { names: { cluster: world.cluster, digest: world.other.digest } }), "signature");
  add("in_another_cluster", "Signed for another cluster.", body(1, { names: { cluster: world.other.digest, digest: world.committee.digest } }), "signature");
  add("as_an_approval_of_members", "Vote 1 with the same identity and number.", body(1, { vote: { says: "approve" } }), "signature");
  const own = nodeVoteBytes({ says: "approve-access", change: accessChangeIdentity(approved), number: 7 }, { cluster: world.cluster, committee: world.committee.digest });
  add("as_another_vote", "The same bytes with vote 3 in place of 4.", body(1, { bytes: patched(own, 20, 3) }), "signature");
  add("without_number", "The identity was signed without a number.", body(1, { bytes: own.slice(0, -8) }), "signature");
  add("number_big_endian", "The number was signed with its highest byte first.", body(1, { bytes: concat(own.slice(0, -8), u64(7).reverse()) }), "signature");
  add("altered", "One bit of the signature.", { ...body(1), signature: flipped(body(1).signature, 3) }, "signature");
  add("s_not_canonical", "The group order was added to S.", { ...body(1), signature: withLargerS(body(1).signature) }, "signature");
  const stranger = tokenSeed("bob");
  add("by_a_stranger", "The voter is no member.", { node: ed25519.getPublicKey(stranger), number: 7, signature: ed25519.sign(own, stranger), change: approved }, "voter");
  return cases;
}

function ops(world) {
  const cases = [];
  const add = (name, reason, kind, body) => {
    expect(`op ${name}`, failureOf(() => decodeAccessOp(kind, body)), null);
    cases.push({ name, reason, kind, body: toHex(body) });
  };
  const decisions = { rules: world.change({ rules: { put: 1, read: 0 } }), grant: world.granted({}, { number: 2 }), revoke: world.change({ revoke: world.alice }, { number: 3 }) };
  for (const [name, change] of Object.entries(decisions)) {
    add(`decide_${name}`, "The operator decides.", DECIDE, encodeDecide({ operator: world.signedByOperator(change), change }));
    const signed = nodeVoteBytes({ says: "approve-access", change: accessChangeIdentity(change), number: 3 }, { cluster: world.cluster, committee: world.committee.digest });
    const { node, label } = world.members[2];
    add(`approve_${name}`, "Member 2 approves.", APPROVE, encodeApproveAccess({ node, number: 3, signature: ed25519.sign(signed, nodeSecret(label)), change }));
  }
  return cases;
}

const scalarBytes = (scalar) => Uint8Array.from({ length: 32 }, (_, i) => Number((scalar >> BigInt(8 * i)) & 0xffn));
const scalarOf = (label) => BigInt(`0x${toHex(derive("vouch test scalar v1", utf8(label)))}`) % ORDER;

// Signatures that verify without the strict rules: the equation holds, with or without the cofactor.
function loose(message) {
  const { scalar } = ed25519.utils.getExtendedPublicKey(tokenSeed("alice"));
  const alice = tokenKey("alice");
  const torsion = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
  const s = scalarOf("loose");
  const commitment = Point.BASE.multiply(s).toBytes();
  // The key (0, -1) has order 2: the equation holds if the hash is even.
  const orderTwo = Point.fromAffine({ x: 0n, y: Point.Fp.ORDER - 1n }).toBytes();
  let even = s;
  while (challenge(Point.BASE.multiply(even).toBytes(), orderTwo, message) % 2n === 1n) even += 1n;
  const zero = Point.ZERO.toBytes();
  const mixed = Point.fromBytes(alice).add(torsion).toBytes();
  let r = s;
  while (challenge(Point.BASE.multiply(r).toBytes(), mixed, message) % 8n === 0n) r += 1n;
  const mixedR = Point.BASE.multiply(r).toBytes();
  return {
    keyIdentity: { token: zero, signature: concat(commitment, scalarBytes(s)) },
    keyOrderTwo: { token: orderTwo, signature: concat(Point.BASE.multiply(even).toBytes(), scalarBytes(even)) },
    keyMixed: { token: mixed, signature: concat(mixedR, scalarBytes((r + challenge(mixedR, mixed, message) * scalar) % ORDER)) },
    commitmentIdentity: { token: alice, signature: concat(zero, scalarBytes((challenge(zero, alice, message) * scalar) % ORDER)) },
  };
}

function authorisations(world) {
  const cases = [];
  const receipt = encodeReceipt(receiptOf("access"));
  const digest = digestOf(fileOf("access"));
  const base = { cluster: world.cluster, signedAt: ISSUED, action: STORE, content: receipt };
  const add = (name, reason, authorisation, fields = {}, refused = null) => {
    const asked = { ...base, now: authorisation.signedAt, ...fields };
    const encoded = encodeAuthorisation(authorisation);
    expect(`authorisation ${name}`, failureOf(() => checkAuthorisation(decodeAuthorisation(encoded), asked)), refused);
    const signed = authorisationBytes({ ...asked, signedAt: authorisation.signedAt });
    const { cluster, action, content, now } = asked;
    cases.push({ name, reason, authorisation: toHex(encoded), cluster: toHex(cluster), action, content: toHex(content), now, signed: toHex(signed), refused });
  };
  const by = (fields = {}, label = "alice") => authorise(tokenSeed(label), { ...base, ...fields });
  const none = new Uint8Array(0);
  const [send, read] = [{ action: SEND, content: none }, { action: READ, content: digest }];
  add("store", "To store this blob until its expiry.", by());
  add("store_never_expires", "A receipt without an expiry.", by({ content: encodeReceipt(receiptOf("access", { expiresAt: NO_LIMIT })) }), { content: encodeReceipt(receiptOf("access", { expiresAt: NO_LIMIT })) });
  add("send", "To send bytes whose receipt comes at their end.", by(send), send);
  add("read", "To find and read this blob.", by(read), read);
  add("read_by_a_member", "A member reads with its node key.", authorise(nodeSecret(world.members[0].label), { ...base, ...read }), read);
  add("oldest", "Signed 600 s ago.", by(), { now: ISSUED + 600 });
  add("newest", "Signed 60 s in the future.", by(), { now: ISSUED - 60 });
  add("at_0", "Signed in the first second.", by({ signedAt: 0 }), { now: 600 });
  add("at_the_end_of_time", "The greatest time.", by({ signedAt: MOST }), { now: MOST });
  add("too_old", "Signed 601 s ago.", by(), { now: ISSUED + 601 }, "time");
  add("too_new", "Signed 61 s in the future.", by(), { now: ISSUED - 61 }, "time");
  add("at_0_too_old", "Signed in the first second, 601 s ago.", by({ signedAt: 0 }), { now: 601 }, "time");
  add("at_the_end_of_time_too_new", "The greatest time, at time 0.", by({ signedAt: MOST }), { now: 0 }, "time");
  add("signed_at_altered", "A later time than was signed.", { ...by(), signedAt: ISSUED + 1 }, {}, "signature");
  add("in_another_cluster", "Signed for another cluster.", by({ cluster: world.other.digest }), {}, "signature");
  add("send_for_store", "To send is not to store.", by(send), {}, "signature");
  add("store_for_send", "To store is not to send.", by(), send, "signature");
  add("read_for_store", "To read is not to store.", by(read), {}, "signature");
  add("store_for_read", "To store is not to read.", by(), read, "signature");
  add("send_for_read", "To send is not to read.", by(send), read, "signature");
  const another = (fields) => ({ content: encodeReceipt(receiptOf("access", fields)) });
  add("of_another_salt", "Another put of the same blob.", by(), another({ salt: nonceOf("another salt") }), "signature");
  add("of_another_expiry", "The same blob for a second longer.", by(), another({ expiresAt: receiptOf("access").expiresAt + 1 }), "signature");
  add("of_another_length", "The same digest with another length.", by(), another({ length: 1 }), "signature");
  add("of_another_blob", "Another blob.", by(), { content: encodeReceipt(receiptOf("another blob")) }, "signature");
  add("of_another_digest", "Another blob is read.", by(read), { ...read, content: digestOf(fileOf("another blob")) }, "signature");
  add("by_another_token", "Bob signed in Alice's name.", { ...by({}, "bob"), token: world.alice }, {}, "signature");
  add("altered", "One bit of the signature.", { ...by(), signature: flipped(by().signature, 0) }, {}, "signature");
  add("signature_zero", "No signature.", { ...by(), signature: new Uint8Array(64) }, {}, "signature");
  add("s_not_canonical", "The group order was added to S.", { ...by(), signature: withLargerS(by().signature) }, {}, "signature");
  const { keyIdentity, keyOrderTwo, keyMixed, commitmentIdentity } = loose(authorisationBytes(base));
  const loosely = (name, reason, value, isLoose) => {
    expect(`${name}, not verified strictly`, ed25519.verify(value.signature, authorisationBytes(base), value.token), isLoose);
    add(name, reason, { signedAt: ISSUED, ...value }, {}, "signature");
  };
  loosely("key_of_order_1", "The neutral point as the key: without the strict rules, anybody's signature is valid for it.", keyIdentity, true);
  loosely("key_of_order_2", "A key of order 2: without the strict rules, half of all signatures are valid for it.", keyOrderTwo, true);
  loosely("key_of_mixed_order", "Alice's key plus a point of order 8: valid only if both sides are multiplied by the cofactor.", keyMixed, true);
  loosely("r_of_order_1", "R is the neutral point.", commitmentIdentity, true);
  loosely("key_no_point", "The key is no point of the curve.", { ...by(), token: patched(new Uint8Array(32), 0, 2) }, false);
  return cases;
}

// Link messages: what is encoded, and what must decode to it.
function messages(world) {
  const cases = [];
  const add = (name, reason, bytes) => {
    expect(`message ${name}`, failureOf(() => decodeMessage(bytes)), null);
    cases.push({ name, reason, message: toHex(bytes) });
  };
  const file = fileOf("access");
  const [receipt, digest] = [encodeReceipt(receiptOf("access")), digestOf(file)];
  const authorised = (action, content) => encodeAuthorisation(authorise(tokenSeed("alice"), { cluster: world.cluster, signedAt: ISSUED, action, content }));
  const [store, send, read] = [authorised(STORE, receipt), authorised(SEND), authorised(READ, digest)];
  add("put", "An offer without a token.", encodePut({ stream: 1, receipt }));
  add("put_authorised", "An offer with the token's authorisation.", encodePut({ stream: 1, receipt, authorisation: store }));
  add("put_authorised_renew", "All three flags.", encodePut({ stream: 1, renew: true, receipt, authorisation: store }));
  add("put_of_unknown_length", "No offer, and no token.", encodePut({ stream: 2 }));
  add("put_of_unknown_length_authorised", "Authorised to send.", encodePut({ stream: 2, authorisation: send }));
  add("put_end", "Without a token.", encodePutEnd({ stream: 2, receipt }));
  add("put_end_authorised", "The receipt at the end, authorised.", encodePutEnd({ stream: 2, receipt, authorisation: store }));
  add("blob", "Without a token.", encodeBlob({ stream: 3, receipt, bytes: file }));
  add("blob_authorised", "With the token's authorisation.", encodeBlob({ stream: 3, receipt, authorisation: store, bytes: file }));
  add("blob_authorised_renew", "Both flags.", encodeBlob({ stream: 3, renew: true, receipt, authorisation: store, bytes: file }));
  const empty = encodeReceipt(receiptOf("nothing", { file: new Uint8Array(0) }));
  add("blob_of_no_bytes", "An authorisation, and no bytes after it.", encodeBlob({ stream: 3, receipt: empty, authorisation: authorised(STORE, empty), bytes: new Uint8Array(0) }));
  add("locate", "Without a token.", encodeLocate({ stream: 4, digest }));
  add("locate_authorised", "With the token's authorisation.", encodeLocate({ stream: 4, digest, authorisation: read }));
  add("access", "Rules and two tokens.", encodeAccess({ number: 3, rules: encodeRules({ put: 1, read: 0 }), tokens: grantsOf(world) }));
  add("access_without_tokens", "Rules alone.", encodeAccess({ number: 1, rules: encodeRules({ put: 1, read: 1 }), tokens: [] }));
  return cases;
}

function grantsOf(world) {
  const grant = encodeGrant(world.grant);
  return ["alice", "bob"].map((label) => ({ token: tokenKey(label), grant })).sort((one, other) => compare(one.token, other.token));
}

function invalid(world, good) {
  const cases = [];
  const add = (of, name, reason, bytes, verdict = "invalid", kind = null) => {
    const decode = { change: decodeAccessChange, op: (body) => decodeAccessOp(kind, body), authorisation: decodeAuthorisation, message: decodeMessage }[of];
    expect(name, failureOf(() => decode(bytes)) ?? "accepted", verdict);
    cases.push({ of, name, reason, ...(of === "op" && { kind }), bytes: toHex(bytes), verdict });
  };
  const change = (...parts) => add("change", ...parts);
  const [rules, grant, revoke] = [world.change({ rules: { put: 1, read: 0 } }), world.granted({}), world.change({ revoke: world.alice })];
  change("change_empty", "No bytes.", new Uint8Array(0));
  change("change_tag", "The tag of a change of members.", patched(rules, 0, utf8("vouchcc")));
  change("change_version_0", "An unknown version.", patched(rules, 7, 0), "cannot-check");
  change("change_version_2", "An unknown version.", patched(rules, 7, 2), "cannot-check");
  change("change_number_0", "The first change has number 1.", patched(rules, 40, u64(0)));
  change("change_number_too_large", "A number of 2^53.", patched(rules, 40, u64(NOT_A_TIME)));
  change("change_number_greatest", "A number of 2^64 - 1: it is not a limit.", patched(rules, 40, u64(NO_LIMIT)));
  for (const decision of [0, 4, 255]) change(`change_decision_${decision}`, `There is no decision ${decision}.`, patched(rules, 48, decision));
  for (const value of [2, 255]) {
    change(`rules_put_${value}`, "Who may put is neither 0 nor 1.", patched(rules, 49, value));
    change(`rules_read_${value}`, "Who may read is neither 0 nor 1.", patched(rules, 50, value));
  }
  change("rules_as_grant", "The bytes of rules are too few for a grant.", patched(rules, 48, 2));
  change("rules_as_revocation", "The bytes of rules are too few for a revocation.", patched(rules, 48, 3));
  change("grant_as_revocation", "A revocation with bytes of a grant after it.", patched(grant, 48, 3));
  change("revocation_as_rules", "Rules with more bytes after them.", patched(revoke, 48, 1));
  change("grant_name_empty", "A name without characters.", world.granted({ name: "" }));
  change("grant_name_control", "A name with a line feed.", world.granted({ name: "a\nb" }));
  change("grant_name_c1_control", "A name with the control character U+0080.", world.granted({ name: "a\u0080" }));
  change("grant_name_not_utf8", "A name that is not UTF-8.", world.granted({ name: Uint8Array.of(0xff) }));
  change("grant_name_zero_inside", "A zero byte inside a name.", world.granted({ name: Uint8Array.of(97, 0, 98) }));
  change("grant_name_zero_first", "A name that begins with a zero byte.", world.granted({ name: Uint8Array.of(0, 97) }));
  change("grant_rate_0", "A token with a rate of 0 could put nothing.", world.granted({ rate: 0 }));
  for (const field of ["largest", "rate", "quota", "expiresAt"]) {
    const name = field === "expiresAt" ? "expires_at" : field;
    change(`grant_${name}_too_large`, "2^53 is above every limit, and not the mark of none.", world.granted({ [field]: NOT_A_TIME }));
    change(`grant_${name}_one_below_no_limit`, "2^64 - 2 is not the mark of no limit.", world.granted({ [field]: NO_LIMIT - 1n }));
  }
  const cuts = { rules: [rules, [7, 8, 40, 48, 49, 50]], grant: [grant, [49, 81, 105, 113, 121, 129, 136]], revoke: [revoke, [49, 80]] };
  for (const [name, [bytes, lengths]] of Object.entries(cuts)) {
    for (const length of lengths) change(`${name}_cut_to_${length}`, `${length} of ${bytes.length} bytes.`, bytes.slice(0, length));
    change(`${name}_trailing_byte`, "One byte more.", concat(bytes, new Uint8Array(1)));
  }
  const bodyOf = (name) => Uint8Array.from(Buffer.from(good.find((one) => one.name === name).body, "hex"));
  const op = (name, reason, bytes, kind, verdict) => add("op", name, reason, bytes, verdict, kind);
  for (const { name, kind, body } of good) {
    const bytes = Uint8Array.from(Buffer.from(body, "hex"));
    const change = kind === DECIDE ? 96 : 32 + 8 + 64;
    op(`${name}_empty`, "No bytes.", new Uint8Array(0), kind);
    op(`${name}_cut`, "One byte fewer.", bytes.slice(0, -1), kind);
    op(`${name}_trailing_byte`, "One byte more.", concat(bytes, new Uint8Array(1)), kind);
    op(`${name}_without_change`, "The signature alone.", bytes.slice(0, change), kind);
    op(`${name}_of_version_2`, "A change of an unknown version.", patched(bytes, change + 7, 2), kind, "cannot-check");
    op(`${name}_number_0`, "A change of number 0.", patched(bytes, change + 40, u64(0)), kind);
    op(`${name}_decision_4`, "There is no decision 4.", patched(bytes, change + 48, 4), kind);
    if (kind !== APPROVE) continue;
    op(`${name}_number_of_the_approval_too_large`, "A number of 2^53.", patched(bytes, 32, u64(NOT_A_TIME)), kind);
    op(`${name}_number_of_the_approval_greatest`, "A number of 2^64 - 1: it is not a limit.", patched(bytes, 32, u64(NO_LIMIT)), kind);
    op(`${name}_number_of_the_approval_cut`, "The body ends inside the number of the approval.", bytes.slice(0, 36), kind);
    op(`${name}_without_number`, "Node key, signature and change alone.", concat(bytes.slice(0, 32), bytes.slice(40)), kind);
  }
  op("kind_10", "The last op about members.", bodyOf("approve_revoke"), 10, "cannot-check");
  op("kind_13", "An unknown kind.", bodyOf("approve_revoke"), 13, "cannot-check");
  const authorisation = encodeAuthorisation(authorise(tokenSeed("alice"), { cluster: world.cluster, signedAt: ISSUED, action: SEND }));
  for (const length of [0, 31, 32, 40, 103]) add("authorisation", `authorisation_cut_to_${length}`, `${length} of 104 bytes.`, authorisation.slice(0, length));
  add("authorisation", "authorisation_trailing_byte", "One byte more.", concat(authorisation, new Uint8Array(1)));
  add("authorisation", "authorisation_time_too_large", "A time of 2^53.", patched(authorisation, 32, u64(NOT_A_TIME)));
  add("authorisation", "authorisation_time_greatest", "A time of 2^64 - 1: it is not a limit.", patched(authorisation, 32, u64(NO_LIMIT)));
  invalidMessages(world, authorisation, (...parts) => add("message", ...parts));
  return cases;
}

function invalidMessages(world, authorisation, message) {
  const receipt = encodeReceipt(receiptOf("access"));
  const put = encodePut({ stream: 1, receipt, authorisation });
  message("put_flag_8", "An unknown flag.", patched(put, 5, 8 | put[5]));
  message("put_authorised_without_authorisation", "The flags promise an authorisation.", put.slice(0, -104));
  message("put_authorisation_cut", "One byte fewer.", put.slice(0, -1));
  message("put_trailing_byte", "One byte more.", concat(put, new Uint8Array(1)));
  message("put_not_authorised", "An authorisation that the flags do not name.", patched(put, 5, 1));
  message("put_time_too_large", "An authorisation of time 2^53.", patched(put, 6 + 65 + 32, u64(NOT_A_TIME)));
  const end = encodePutEnd({ stream: 2, receipt, authorisation });
  message("put_end_authorisation_cut", "One byte fewer.", end.slice(0, -1));
  message("put_end_trailing_byte", "One byte more.", concat(end, new Uint8Array(1)));
  message("put_end_one_byte_of_an_authorisation", "Neither an authorisation nor nothing.", end.slice(0, 5 + 65 + 1));
  const blob = encodeBlob({ stream: 3, receipt, authorisation, bytes: fileOf("access") });
  message("blob_flag_4", "An unknown flag.", patched(blob, 5, 4 | blob[5]));
  message("blob_authorisation_cut", "The flags promise a whole authorisation.", blob.slice(0, 6 + 65 + 103));
  const locate = encodeLocate({ stream: 4, digest: receiptOf("access").digest, authorisation });
  message("locate_authorisation_cut", "One byte fewer.", locate.slice(0, -1));
  message("locate_trailing_byte", "One byte more.", concat(locate, new Uint8Array(1)));
  message("locate_one_byte_of_an_authorisation", "Neither an authorisation nor nothing.", locate.slice(0, 5 + 32 + 1));
  const fields = { number: 3, rules: encodeRules({ put: 1, read: 0 }), tokens: grantsOf(world) };
  const access = encodeAccess(fields);
  const [one, two] = fields.tokens;
  message("access_number_too_large", "A number of 2^53.", patched(access, 1, u64(NOT_A_TIME)));
  message("access_put_2", "Who may put is neither 0 nor 1.", patched(access, 9, 2));
  message("access_read_2", "Who may read is neither 0 nor 1.", patched(access, 10, 2));
  message("access_tokens_descend", "The tokens are not in order.", encodeAccess({ ...fields, tokens: [two, one] }));
  message("access_token_twice", "One token twice.", encodeAccess({ ...fields, tokens: [one, one] }));
  message("access_rate_0", "A token with a rate of 0.", encodeAccess({ ...fields, tokens: [{ ...one, grant: encodeGrant({ ...world.grant, rate: 0 }) }] }));
  message("access_token_missing", "One token fewer than said.", access.slice(0, -88));
  message("access_trailing_byte", "One byte more.", concat(access, new Uint8Array(1)));
  message("access_tokens_4097", "The number of tokens is 4097.", patched(access, 11, u32(4097)));
}

export function accessFile() {
  const world = new World();
  const lines = (all) => all.map((one) => `\n    ${JSON.stringify(one)}`).join(",");
  const good = ops(world);
  const { signatures, ...signed } = operator(world);
  const committees = JSON.stringify({ own: toHex(world.committee.encoding), other: toHex(world.other.encoding) });
  const sections = { tokens: tokens(), changes: changes(world), votes: votes(world), ops: good, authorisations: authorisations(world), messages: messages(world), secrets: secrets(), invalid: invalid(world, good) };
  const operatorText = `{"change": "${signed.change}", "key": "${signed.key}", "signatures": [${lines(signatures)}\n  ]}`;
  const rest = Object.entries(sections).map(([name, all]) => `  "${name}": [${lines(all)}\n  ]`);
  return `{\n  "description": ${JSON.stringify(DESCRIPTION)},\n  "committees": ${committees},\n  "operator": ${operatorText},\n${rest.join(",\n")}\n}\n`;
}
