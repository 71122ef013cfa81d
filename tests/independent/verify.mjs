// The checks in order, and the three questions that they answer; the first failure decides.
import { MAX_INTEGER, NEVER, concat, equal } from "./bytes.mjs";
import { decodeBlockBundle, decodeBundle, decodeEvidenceBundle, decodeHeadBundle, decodeOpBundle } from "./bundle.mjs";
import { decodeCertificate, decodeHeadCertificate } from "./certificate.mjs";
import { decodeGenesis, quorum } from "./committee.mjs";
import { Failure, cannotCheck, invalid, named } from "./failure.mjs";
import { checkAccusation, checkBlock, checkHeight, checkOp, decodeEvidence } from "./log.mjs";
import { G1, POP_DST, STATEMENT_DST, decodeKey, decodeSignature, sum, verifySignature } from "./bls.mjs";
import { encodeStatement } from "./statement.mjs";
import { parse32, toBase58, toHex } from "./text.mjs";

const CLOCK_TOLERANCE = 60;

function checkIdentity(committee, cluster) {
  if (cluster === undefined) throw cannotCheck("no trusted identity was given");
  if (!equal(committee.digest, cluster)) throw invalid("another cluster", { expected: toBase58(cluster), got: toBase58(committee.digest) });
}

function checkEpoch(certificate, committee, epochs) {
  if (certificate.epoch > 0) throw cannotCheck("later epochs are not specified", { expected: "0", got: `${certificate.epoch}` });
  if (epochs.length > 0) throw cannotCheck("handoffs are not specified", { expected: "no epochs", got: `${epochs.length} epochs` });
  if (!equal(certificate.committee, committee.digest)) throw invalid("the certificate names another committee", { expected: toBase58(committee.digest), got: toBase58(certificate.committee) });
}

export function checkSigners(certificate, committee) {
  if (certificate.n !== committee.n) throw invalid("another number of members", { expected: `${committee.n}`, got: `${certificate.n}` });
  const threshold = quorum(committee.n);
  if (certificate.signers.length < threshold) throw invalid("too few signers", { expected: `${threshold} of ${committee.n}`, got: `${certificate.signers.length}` });
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

// Returns the statement that was signed.
export function checkSignature(certificate, committee, cluster) {
  const signature = decodeSignature(certificate.signature);
  if (signature === null) throw invalid("the signature is not a valid point", { got: toHex(certificate.signature) });
  const key = sum(G1, certificate.signers.map((i) => decodeKey(committee.members[i].vote)));
  if (key.is0()) throw invalid("the signers' vote keys add up to infinity");
  const { kind, epoch, body } = certificate;
  const statement = encodeStatement({ kind, epoch, cluster, committee: certificate.committee, body });
  if (!verifySignature(signature, statement, key, STATEMENT_DST)) throw invalid("the signature is not the signers' over this statement", { got: toHex(certificate.signature) });
  return statement;
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

const genesisOf = ({ committee, pops }) =>
  named("committee", () => {
    const decoded = decodeGenesis(committee);
    if (pops.length !== decoded.n) throw invalid("wrong number of PoPs", { expected: `${decoded.n}`, got: `${pops.length}` });
    return decoded;
  });

// Checks 2 to 8: everything that needs no file. `decode` is the decoder of the kind of certificate. Returns the certificate.
function genuineCertificate(parts, decode, trusted) {
  const certificate = named("certificate", () => decode(parts.certificate));
  const committee = genesisOf(parts);
  named("identity", () => checkIdentity(committee, trusted));
  named("epoch", () => checkEpoch(certificate, committee, parts.epochs));
  named("signers", () => checkSigners(certificate, committee));
  named("possession", () => checkPossession(committee, parts.pops));
  named("signature", () => checkSignature(certificate, committee, trusted));
  return certificate;
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

export function verify({ bundle, cluster, digest, length, now: time, waiveExpiry = false }) {
  const trusted = input32(cluster, "cluster");
  const subject = input32(digest, "digest");
  const subjectLength = length ?? undefined;
  const now = inputNow(time);
  const genuine = ask(() => genuineCertificate(named("bundle", () => decodeBundle(bundle)), decodeCertificate, trusted));
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
  return verdictOf(answers, genuine, matches, inForce);
}

// A bundle of the log: the certificate of a head, and what else is in the bundle. `isAsked`: whether the second question is asked at all.
function verifyOfLog({ bundle, cluster, now: time }, decode, check, isAsked = true) {
  const trusted = input32(cluster, "cluster");
  const now = inputNow(time);
  let parts;
  const genuine = ask(() => {
    parts = named("bundle", () => decode(bundle));
    return genuineCertificate(parts, decodeHeadCertificate, trusted);
  });
  const matches = asked(genuine.value, (head) => check(parts, head, trusted));
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
export function verifyEvidence({ bundle, cluster }) {
  const trusted = input32(cluster, "cluster");
  const genuine = ask(() => {
    const parts = named("bundle", () => decodeEvidenceBundle(bundle));
    const evidence = named("evidence", () => decodeEvidence(parts.evidence));
    return checkAccusation(evidence, genesisOf(parts), parts.epochs, trusted);
  });
  return { ...verdictOf({ genuine: genuine.answer, matches: "not-answered", in_force: "not-answered" }, genuine), value: genuine.value };
}
