// Checks every vector with the independent verifier, and the committed vectors against their generator.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  APPROVE,
  DECIDE,
  accessChangeIdentity,
  authorisationBytes,
  checkAuthorisation,
  decodeAccessChange,
  decodeAccessOp,
  decodeAuthorisation,
  encodeAccessChange,
  encodeApproveAccess,
  encodeAuthorisation,
  encodeDecide,
  isAccessSignedByOperator,
  parseTokenSecret,
  tokenSecretText,
} from "../independent/access.mjs";
import { decodeGenesis } from "../independent/committee.mjs";
import { Failure } from "../independent/failure.mjs";
import { decodeMessage } from "../independent/link.mjs";
import { checkNodeVote, nodeVoteBytes } from "../independent/membership.mjs";
import { fromHex, toHex } from "../independent/text.mjs";
import { verify, verifyBlock, verifyEvidence, verifyHead, verifyOp } from "../independent/verify.mjs";
import { bundleBytes, caseFiles, logBundleBytes, opBundleBytes, readVectors } from "../vectors/load.mjs";

const spelled = ({ verdict, check, times, genuine, matches, in_force: inForce }) => `${verdict} ${check} ${JSON.stringify(times ?? null)} ${genuine} ${matches} ${inForce}`;

for (const name of caseFiles()) {
  test(`vectors of ${name}`, () => {
    const file = readVectors(name);
    const failures = [];
    for (const one of file.cases) {
      const { cluster, checkpoint, require_sealed: requireSealed, digest, length, now, waive_expiry: waiveExpiry } = one;
      const got = verify({ bundle: bundleBytes(file, one), cluster, checkpoint, requireSealed, digest, length, now, waiveExpiry });
      if (spelled(got) !== spelled(one)) failures.push(`${one.name}: expected ${spelled(one)}, got ${spelled(got)}: ${got.message}`);
      if (one.standing !== undefined) assert.deepEqual(got.standing, one.standing, one.name);
    }
    assert.deepEqual(failures, []);
    assert.ok(file.cases.length > 0);
  });
}

test("vectors of ops.json", () => {
  const file = readVectors("ops.json");
  const failures = [];
  for (const one of file.cases) {
    const got = verifyOp({ bundle: opBundleBytes(file, one), cluster: one.cluster, op: one.op, now: one.now });
    if (spelled(got) !== spelled(one)) failures.push(`${one.name}: expected ${spelled(one)}, got ${spelled(got)}: ${got.message}`);
  }
  assert.deepEqual(failures, []);
  assert.ok(file.cases.length > 200);
});

test("vectors of log_bundles.json", () => {
  const file = readVectors("log_bundles.json");
  const judges = { head: verifyHead, block: verifyBlock, evidence: verifyEvidence };
  const failures = [];
  for (const one of file.cases) {
    const { of, cluster, height, now } = one;
    const got = judges[of]({ bundle: logBundleBytes(file, one), cluster, height, now });
    if (spelled(got) !== spelled(one)) failures.push(`${one.name}: expected ${spelled(one)}, got ${spelled(got)}: ${got.message}`);
  }
  assert.deepEqual(failures, []);
  assert.ok(file.cases.length > 100);
});

const failureOf = (work) => {
  try {
    work();
    return null;
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return failure.check ?? failure.verdict;
  }
};

test("vectors of access.json: what is decided, and by whom", () => {
  const { committees, operator, changes, votes, ops } = readVectors("access.json");
  const own = decodeGenesis(fromHex(committees.own));
  const key = fromHex(operator.key);
  assert.equal(toHex(own.operator), operator.key);
  for (const { name, change, identity, operator_signature: signature } of changes) {
    const bytes = fromHex(change);
    assert.equal(toHex(encodeAccessChange(decodeAccessChange(bytes))), change, name);
    assert.equal(toHex(accessChangeIdentity(bytes)), identity, name);
    assert.ok(isAccessSignedByOperator(key, own, bytes, fromHex(signature)), name);
    for (let length = 0; length < bytes.length; length++) assert.notEqual(failureOf(() => decodeAccessChange(bytes.slice(0, length))), null, `${name}: ${length}`);
  }
  for (const one of operator.signatures) {
    const got = isAccessSignedByOperator(fromHex(one.key ?? operator.key), own, fromHex(operator.change), fromHex(one.signature));
    assert.equal(got, one.valid, one.name);
  }
  for (const { name, body, signed, refused } of votes) {
    const { node, number, signature, change } = decodeAccessOp(APPROVE, fromHex(body));
    const vote = { says: "approve-access", change: accessChangeIdentity(encodeAccessChange(change)), number, node, signature };
    assert.equal(toHex(nodeVoteBytes(vote, { cluster: own.cluster, committee: own.digest })), signed, name);
    assert.equal(failureOf(() => checkNodeVote(vote, own)), refused, name);
  }
  for (const { name, kind, body } of ops) {
    const { change, ...signed } = decodeAccessOp(kind, fromHex(body));
    const encode = { [DECIDE]: encodeDecide, [APPROVE]: encodeApproveAccess }[kind];
    assert.equal(toHex(encode({ ...signed, change: encodeAccessChange(change) })), body, name);
  }
});

test("vectors of access.json: authorisations and secrets", () => {
  const { tokens, secrets, authorisations } = readVectors("access.json");
  for (const { name, authorisation, cluster, action, content, now, signed, refused } of authorisations) {
    const decoded = decodeAuthorisation(fromHex(authorisation));
    const asked = { cluster: fromHex(cluster), action, content: fromHex(content) };
    assert.equal(toHex(encodeAuthorisation(decoded)), authorisation, name);
    assert.equal(toHex(authorisationBytes({ ...asked, signedAt: decoded.signedAt })), signed, name);
    assert.equal(failureOf(() => checkAuthorisation(decoded, { ...asked, now })), refused, name);
  }
  // No field of an authorisation that counts can be changed.
  const { authorisation, cluster, action, content, now } = authorisations.find(({ name }) => name === "store");
  const asked = { cluster: fromHex(cluster), action, content: fromHex(content), now };
  for (let offset = 0; offset < 104; offset++) {
    const altered = fromHex(authorisation);
    altered[offset] ^= 1;
    const refused = failureOf(() => checkAuthorisation(decodeAuthorisation(altered), asked));
    assert.ok(["signature", "time", "invalid"].includes(refused), `${offset}: ${refused}`);
  }
  for (const { label, seed, text } of tokens) assert.deepEqual([tokenSecretText(fromHex(seed)), toHex(parseTokenSecret(text))], [text, seed], label);
  for (const { name, text } of secrets) assert.equal(parseTokenSecret(text), null, name);
});

test("vectors of access.json: messages, and bytes that are refused", () => {
  const { messages, invalid } = readVectors("access.json");
  for (const { name, message } of messages) assert.equal(failureOf(() => decodeMessage(fromHex(message))), null, name);
  for (const { of, kind, name, bytes, verdict } of invalid) {
    const decode = { change: decodeAccessChange, op: (body) => decodeAccessOp(kind, body), authorisation: decodeAuthorisation, message: decodeMessage }[of];
    assert.equal(failureOf(() => decode(fromHex(bytes))), verdict, name);
  }
});

test("the committed vectors equal the generator's output", () => {
  const generator = fileURLToPath(new URL("../vectors/generate.mjs", import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [generator, "--check"], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
});

test("an invalid question is a caller's error, not a verdict", () => {
  const file = readVectors("valid.json");
  const one = file.cases.find(({ name }) => name === "n4");
  const question = { bundle: bundleBytes(file, one), cluster: one.cluster, digest: one.digest, now: one.now };
  assert.equal(verify(question).verdict, "valid");
  for (const now of [0, Number.MAX_SAFE_INTEGER]) assert.equal(typeof verify({ ...question, now }).verdict, "string");
  for (const now of [-1, 0.5, 2 ** 53, NaN, Infinity, "1790003600", undefined]) assert.throws(() => verify({ ...question, now }), RangeError, `${now}`);
  // 64 ASCII bytes are hex. Other texts of 64 characters or 64 bytes are base58, and invalid.
  for (const text of ["g".repeat(64), "é".repeat(64), "é".repeat(32), "\uff10".repeat(64), "1".repeat(31), "1".repeat(33)]) {
    assert.throws(() => verify({ ...question, digest: text }), TypeError, text);
    assert.throws(() => verify({ ...question, cluster: text }), TypeError, text);
  }
});

test("the committee cache is keyed by committee and proofs of possession", () => {
  const [valid, signature] = ["valid.json", "signature.json"].map(readVectors);
  // The same committee and digest: with its own proofs, and with two proofs swapped.
  const good = [valid, valid.cases.find(({ name }) => name === "n4")];
  const bad = [signature, signature.cases.find(({ name }) => name === "pops_swapped")];
  for (const order of [[good, bad, good], [bad, good, bad]]) {
    for (const [file, one] of order) {
      const { verdict, check } = verify({ bundle: bundleBytes(file, one), cluster: one.cluster, digest: one.digest, now: one.now });
      assert.deepEqual([verdict, check], [one.verdict, one.check]);
    }
  }
});
