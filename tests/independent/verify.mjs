// The checks in order, and the three questions that they answer; the first failure decides.
import { POP_DST, decodeKey, decodeSignature, verifySignature } from "./bls.mjs";
import { MAX_INTEGER, NEVER, concat, equal } from "./bytes.mjs";
import { decodeBlockBundle, decodeBundle, decodeEvidenceBundle, decodeForkBundle, decodeHeadBundle, decodeOpBundle } from "./bundle.mjs";
import { decodeCertificate, decodeHandoffCertificate, decodeHeadCertificate } from "./certificate.mjs";
import { checkLinks, checkVoteKeys } from "./chain.mjs";
import { decodeGenesis, decodeLater } from "./committee.mjs";
import { decodeSealPath, sealRoot } from "./epochs.mjs";
import { Failure, cannotCheck, invalid, named, renamed } from "./failure.mjs";
import { checkAccusation, checkBlock, checkHeight, checkOp, decodeEvidence } from "./log.mjs";
import { checkSignature, checkSigners } from "./signed.mjs";
import { KIND_SEAL, encodeSealBody, encodeStatement, statementIdentity } from "./statement.mjs";
import { parse32, toBase58, toHex } from "./text.mjs";

const CLOCK_TOLERANCE = 60;

function checkIdentity(first, cluster) {
  if (cluster === undefined) throw cannotCheck("no trusted identity was given");
  if (!equal(first.cluster, cluster)) throw invalid("another cluster", { expected: toBase58(cluster), got: toBase58(first.cluster) });
}

function checkPinned(committees, pinned) {
  const [first] = committees;
  if (pinned === undefined) {
    if (first.epoch > 0) throw cannotCheck("no committee is pinned");
    return;
  }
  const committee = committees[pinned.epoch - first.epoch];
  if (committee === undefined) throw cannotCheck("the bundle does not have the pinned epoch");
  if (!equal(committee.digest, pinned.committee)) throw invalid("another committee than the pinned one", { expected: toBase58(pinned.committee), got: toBase58(committee.digest) });
}

// Returns the committee that the certificate is by.
function checkEpoch(certificate, committees) {
  const committee = committees[certificate.epoch - committees[0].epoch];
  if (committee === undefined) throw cannotCheck("the bundle does not have the certificate's epoch");
  checkSignedBy(certificate, committee);
  return committee;
}

function checkSignedBy(certificate, committee) {
  if (!equal(certificate.committee, committee.digest)) throw invalid("the certificate names another committee", { expected: toBase58(committee.digest), got: toBase58(certificate.committee) });
  if (certificate.epoch !== committee.epoch) throw invalid("the committee is of another epoch", { expected: `${committee.epoch}`, got: `${certificate.epoch}` });
}

function checkDigest(receipt, digest) {
  if (digest === undefined) throw cannotCheck("no subject was given");
  if (!equal(receipt.digest, digest)) throw invalid("this is another file", { expected: toBase58(receipt.digest), got: toBase58(digest) });
}

function checkLength(receipt, length) {
  if (length !== undefined && receipt.length !== length) throw invalid("the file's length differs", { expected: `${receipt.length}`, got: `${length}` });
}

function checkTime(issuedAt, now) {
  const latest = now + CLOCK_TOLERANCE;
  if (issuedAt > latest) throw invalid("issued in the future", { expected: `at most ${latest}`, got: `${issuedAt}`, times: { expected: latest, got: issuedAt } });
}

function checkExpiry({ expiresAt }, now, waiveExpiry) {
  const isExpired = expiresAt !== NEVER && expiresAt <= BigInt(now);
  if (isExpired && !waiveExpiry) throw invalid("expired", { expected: `after ${now}`, got: `${expiresAt}`, times: { expected: now, got: Number(expiresAt) } });
}

// The result depends only on the committee and its PoPs, so it is cached by both.
const possessed = new Set();

function checkPossession(committee, pops) {
  const known = toHex(concat(committee.digest, ...pops));
  if (possessed.has(known)) return;
  committee.members.forEach(({ vote, name }, i) => {
    const key = decodeKey(vote);
    if (key === null) throw invalid(`the vote key of member ${i} (${name}) is not a valid point`, { got: toHex(vote) });
    const pop = decodeSignature(pops[i]);
    if (pop === null || !verifySignature(pop, vote, key, POP_DST)) throw invalid(`the PoP of member ${i} (${name}) is not valid`, { got: toBase58(pops[i]) });
  });
  possessed.add(known);
}

// A cluster or digest that is no 32-byte value is a caller's error, not a verdict.
function input32(text, what) {
  if (text === undefined || text === null) return undefined;
  const bytes = parse32(text);
  if (bytes === null) throw new TypeError(`${what} is neither base58 nor hex of 32 bytes`);
  return bytes;
}

function inputNow(now) {
  if (!Number.isInteger(now) || now < 0 || now > MAX_INTEGER) throw new RangeError(`now is no integer from 0 to ${MAX_INTEGER}`);
  return now;
}

// The first committee of a bundle.
function firstOf({ committee, pops, handedBy }) {
  const decoded = handedBy === undefined ? decodeGenesis(committee) : decodeLater(committee);
  if (pops.length !== decoded.n) throw invalid("wrong number of PoPs", { expected: `${decoded.n}`, got: `${pops.length}` });
  return decoded;
}

// All of them, and the links between them.
function committeesOf(parts) {
  const first = firstOf(parts);
  const links = parts.epochs.map(({ handoff, committee, seal }) => ({ handoff: decodeHandoffCertificate(handoff), committee: decodeLater(committee), seal }));
  return { committees: [first, ...links.map(({ committee }) => committee)], links };
}

// The checks `possession` and `chain`.
function checkCommittees(parts, committees, links, { checkpoint }) {
  named("possession", () => checkPossession(committees[0], parts.pops));
  renamed("chain", () => {
    checkPinned(committees, checkpoint);
    checkLinks(committees[0], parts.handedBy, links, checkpoint?.epoch);
  });
}

// Checks 2 to 10. `decode` is the decoder of the kind of certificate, `checkEnd` compares it with the handoff by which its epoch ended.
function genuineCertificate(parts, decode, trust, checkEnd) {
  const certificate = named("certificate", () => decode(parts.certificate));
  const { committees, links } = named("committee", () => committeesOf(parts));
  named("identity", () => checkIdentity(committees[0], trust.cluster));
  const committee = named("epoch", () => checkEpoch(certificate, committees));
  named("signers", () => checkSigners(certificate, committee));
  checkCommittees(parts, committees, links, trust);
  renamed("chain", () => checkVoteKeys(committee));
  const pinned = trust.checkpoint?.epoch ?? 0;
  const statement = named("signature", () => checkSignature(certificate, committee, trust.cluster));
  const place = certificate.epoch - committees[0].epoch;
  const end = links[place]?.handoff;
  const isFixed = end !== undefined && named("closing", () => checkEnd(certificate, end));
  const closing = end?.closing ?? null;
  const proved = pinned >= certificate.epoch + 2 ? "sealed" : "unpinned";
  const standing = { trusted_epoch: pinned, handoffs: Math.abs(certificate.epoch - pinned), closing, seal: closing === null ? "open" : isFixed ? proved : "unproved" };
  return { certificate, committee, statement: statementIdentity(statement), sealing: committees[place + 1], seal: links[place + 1]?.seal, standing };
}

// Both say whether the handoff fixes what the certificate says.
function checkClosing({ issuedAt }, { closing }) {
  if (issuedAt > closing) throw invalid("issued after its epoch closed", { expected: `at most ${closing}`, got: `${issuedAt}`, times: { expected: closing, got: issuedAt } });
  return false;
}

function checkLastBlock(head, { height, logRoot }) {
  if (head.height > height) throw invalid("a block after the last of the epoch", { expected: `at most ${height}`, got: `${head.height}` });
  if (head.height < height) return false;
  if (!equal(head.logRoot, logRoot)) throw invalid("another log root than the handoff's", { expected: toHex(logRoot), got: toHex(head.logRoot) });
  return true;
}

// The state of the seal of a genuine certificate; `proof` is the bundle's.
function sealState({ certificate, committee, statement, sealing, seal, standing }, proof, cluster, requireSealed) {
  let state = standing.seal;
  if (proof !== undefined) {
    const path = decodeSealPath(proof);
    if (seal === undefined) throw cannotCheck("the bundle does not have the committee that names the seal");
    const body = encodeSealBody({ epoch: certificate.epoch, committee: committee.digest, count: path.count, root: sealRoot(statement, path) });
    const identity = statementIdentity(encodeStatement({ kind: KIND_SEAL, epoch: certificate.epoch + 1, cluster, committee: sealing.digest, body }));
    if (!equal(identity, seal)) throw invalid("another seal", { expected: toBase58(seal), got: toBase58(identity) });
    state = standing.trusted_epoch >= certificate.epoch + 2 ? "sealed" : "unpinned";
  }
  if (requireSealed && state !== "sealed") throw cannotCheck("not sealed");
  return state;
}

// One question: its answer, and the failure if the answer is not yes.
function ask(question) {
  try {
    return { answer: "yes", value: question() };
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return { answer: failure.verdict === "invalid" ? "no" : "not-answered", failure };
  }
}

const NOT_ASKED = { answer: "not-answered" };

// Answers 2 and 3 to a certificate that is not genuine count for nothing.
const asked = (certificate, question) => (certificate === undefined ? NOT_ASKED : ask(() => question(certificate)));

function verdictOf(answers, ...questions) {
  const failure = questions.map((question) => question.failure).find((one) => one !== undefined);
  if (failure === undefined) return { verdict: "valid", check: null, message: "valid", ...answers };
  const { verdict, check, expected, got, times, message } = failure;
  return { verdict, check, expected, got, times, message, ...answers };
}

// A checkpoint is an epoch, a colon and a digest.
function inputCheckpoint(text) {
  if (text === undefined || text === null) return undefined;
  const [, epoch, digest] = /^([0-9]+):(.*)$/s.exec(text) ?? [];
  if (epoch === undefined || BigInt(epoch) > BigInt(MAX_INTEGER)) throw new TypeError("checkpoint is not EPOCH:DIGEST");
  return { epoch: Number(epoch), committee: input32(digest, "checkpoint") };
}

const inputTrust = (cluster, checkpoint) => ({ cluster: input32(cluster, "cluster"), checkpoint: inputCheckpoint(checkpoint) });

export function verify({ bundle, cluster, checkpoint, requireSealed = false, digest, length, now: time, waiveExpiry = false }) {
  const trust = inputTrust(cluster, checkpoint);
  const subject = input32(digest, "digest");
  const subjectLength = length ?? undefined;
  const now = inputNow(time);
  let standing = null;
  const genuine = ask(() => {
    const parts = named("bundle", () => decodeBundle(bundle));
    const found = genuineCertificate(parts, decodeCertificate, trust, checkClosing);
    const seal = named("seal", () => sealState(found, parts.sealed, trust.cluster, requireSealed));
    standing = { ...found.standing, seal };
    return found.certificate;
  });
  const certificate = genuine.value;
  const matches = asked(certificate, ({ receipt }) => {
    named("digest", () => checkDigest(receipt, subject));
    named("length", () => checkLength(receipt, subjectLength));
  });
  const inForce = asked(certificate, ({ receipt, issuedAt }) => {
    named("time", () => checkTime(issuedAt, now));
    named("expiry", () => checkExpiry(receipt, now, waiveExpiry));
  });
  // With expiry waived, the question whether it is in force is not asked.
  const isWaived = waiveExpiry && inForce.answer === "yes";
  const answers = { genuine: genuine.answer, matches: matches.answer, in_force: isWaived ? "not-answered" : inForce.answer };
  return { ...verdictOf(answers, genuine, matches, inForce), standing };
}

// A bundle of the log: the certificate of a head, and what else is in the bundle. `isAsked`: whether the second question is asked at all.
function verifyOfLog({ bundle, cluster, checkpoint, now: time }, decode, check, isAsked = true) {
  const trust = inputTrust(cluster, checkpoint);
  const now = inputNow(time);
  let parts;
  const genuine = ask(() => {
    parts = named("bundle", () => decode(bundle));
    return genuineCertificate(parts, decodeHeadCertificate, trust, checkLastBlock).certificate;
  });
  const matches = asked(genuine.value, (head) => check(parts, head, trust.cluster));
  const inForce = asked(genuine.value, (head) => named("time", () => checkTime(head.time, now)));
  const answers = { genuine: genuine.answer, matches: isAsked ? matches.answer : "not-answered", in_force: inForce.answer };
  return { ...verdictOf(answers, genuine, matches, inForce), value: matches.value };
}

// The bundle of an op: does the log of the trusted cluster have the op? `op`: the identity asked for; without one, any op.
export function verifyOp({ op, ...question }) {
  const wanted = input32(op, "op");
  return verifyOfLog(question, decodeOpBundle, (parts, head, trusted) => checkOp(parts.proof, head, trusted, wanted));
}

// The bundle of a log head: does the log reach this height? Without one, that is not asked.
export function verifyHead({ height, ...question }) {
  const wanted = height ?? undefined;
  return verifyOfLog(question, decodeHeadBundle, (_, head) => named("height", () => checkHeight(head, wanted)), wanted !== undefined);
}

// The bundle of a block: does the log have it, at this height? Without one, any block.
export function verifyBlock({ height, ...question }) {
  return verifyOfLog(question, decodeBlockBundle, ({ block, path }, head, trusted) => checkBlock(block, path, head, trusted, height ?? undefined));
}

// Evidence: did a member of the trusted cluster sign two conflicting messages?
export function verifyEvidence({ bundle, cluster, checkpoint }) {
  const trust = inputTrust(cluster, checkpoint);
  const genuine = ask(() => {
    const parts = named("bundle", () => decodeEvidenceBundle(bundle));
    const evidence = named("evidence", () => decodeEvidence(parts.evidence));
    const { committees, links } = named("committee", () => committeesOf(parts));
    // The messages are signed with node keys: where there is only a genesis, a bad proof of possession must not shield the member.
    const isGenesisAlone = parts.handedBy === undefined && links.length === 0 && trust.checkpoint === undefined;
    return checkAccusation(evidence, committees, trust.cluster, () => isGenesisAlone || checkCommittees(parts, committees, links, trust));
  });
  return { ...verdictOf({ genuine: genuine.answer, matches: "not-answered", in_force: "not-answered" }, genuine), value: genuine.value };
}

// A fork: did one committee of the trusted cluster sign two handoffs? `value`: the members that signed both.
export function verifyFork({ bundle, cluster, checkpoint }) {
  const trust = inputTrust(cluster, checkpoint);
  const genuine = ask(() => {
    const parts = named("bundle", () => decodeForkBundle(bundle));
    const handoffs = named("evidence", () => [parts.first, parts.second].map(decodeHandoffCertificate));
    const { committees, links } = named("committee", () => committeesOf(parts));
    named("identity", () => checkIdentity(committees[0], trust.cluster));
    const committee = named("epoch", () => checkEpoch(handoffs[0], committees));
    named("signers", () => checkSigners(handoffs[0], committee));
    named("epoch", () => checkSignedBy(handoffs[1], committee));
    named("signers", () => checkSigners(handoffs[1], committee));
    checkCommittees(parts, committees, links, trust);
    renamed("chain", () => checkVoteKeys(committee));
    const [first, second] = named("signature", () => handoffs.map((handoff) => checkSignature(handoff, committee, trust.cluster)));
    named("conflict", () => {
      if (equal(first, second)) throw invalid("both handoffs are one");
    });
    return { epoch: handoffs[0].epoch, both: handoffs[0].signers.filter((member) => handoffs[1].signers.includes(member)) };
  });
  return { ...verdictOf({ genuine: genuine.answer, matches: "not-answered", in_force: "not-answered" }, genuine), value: genuine.value };
}
