// Checks every vector with the independent verifier, and the committed vectors against their generator.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
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
