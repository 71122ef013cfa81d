// Every vector through the WebAssembly verifier: verdict and check must be those of the independent implementation.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createVerifier, verify, verifyBlock, verifyHead, verifyOp } from "../../verifier-wasm/npm/node.js";
import { bundleBytes, caseFiles, logBundleBytes, opBundleBytes, readVectors } from "../vectors/load.mjs";

const question = (file, one) => {
  const { cluster, checkpoint, require_sealed: requireSealed, digest, length, now, waive_expiry: waiveExpiry } = one;
  return { bundle: bundleBytes(file, one), cluster, checkpoint, requireSealed, digest, length, now, waiveExpiry };
};

const spelled = ({ verdict, check, times, genuine, matches, in_force: inForce }) => `${verdict} ${check} ${JSON.stringify(times ?? null)} ${genuine} ${matches} ${inForce}`;

for (const name of caseFiles()) {
  test(`vectors of ${name} in WebAssembly`, async () => {
    const file = readVectors(name);
    const failures = [];
    for (const one of file.cases) {
      const report = await verify(question(file, one));
      const [expected, got] = [spelled(one), spelled({ ...report, genuine: report.genuine.answer, matches: report.matches.answer, in_force: report.in_force.answer })];
      if (got !== expected) failures.push(`${one.name}: expected ${expected}, got ${got}: ${report.message}`);
      if (one.standing !== undefined) {
        const { trusted_epoch, handoffs, closing, seal } = report.standing;
        assert.deepEqual({ trusted_epoch, handoffs, closing, seal }, one.standing, one.name);
      }
    }
    assert.deepEqual(failures, []);
    assert.ok(file.cases.length > 0);
  });
}

test("vectors of ops.json in WebAssembly", async () => {
  const file = readVectors("ops.json");
  const failures = [];
  for (const one of file.cases) {
    const { cluster, op, now } = one;
    const report = await verifyOp({ bundle: opBundleBytes(file, one), cluster, op, now });
    const [expected, got] = [spelled(one), spelled({ ...report, genuine: report.genuine.answer, matches: report.matches.answer, in_force: report.in_force.answer })];
    if (got !== expected) failures.push(`${one.name}: expected ${expected}, got ${got}: ${report.message}`);
    assert.equal(report.op !== null, report.verdict === "valid", one.name);
    assert.equal(report.checks.length, 15);
  }
  assert.deepEqual(failures, []);
  assert.ok(file.cases.length > 400);
});

// What the bundles about the log have in common. `of`: the kind of bundle, and the field of the report with what was proved.
async function logVectorsHold(of, verify) {
  const file = readVectors("log_bundles.json");
  const cases = file.cases.filter((one) => one.of === of);
  const failures = [];
  for (const one of cases) {
    const { cluster, height, now } = one;
    const report = await verify({ bundle: logBundleBytes(file, one), cluster, height, now });
    const [expected, got] = [spelled(one), spelled({ ...report, genuine: report.genuine.answer, matches: report.matches.answer, in_force: report.in_force.answer })];
    if (got !== expected) failures.push(`${one.name}: expected ${expected}, got ${got}: ${report.message}`);
    assert.equal(report[of] !== null, report.verdict === "valid", one.name);
  }
  assert.deepEqual(failures, []);
  assert.ok(cases.length > 25);
}

test("vectors of log heads in WebAssembly", () => logVectorsHold("head", verifyHead));
test("vectors of blocks in WebAssembly", () => logVectorsHold("block", verifyBlock));

test("a report has the words of its questions, and the text of a note", async () => {
  const { bases, cases } = readVectors("log_bundles.json");
  const { cluster, now } = cases[0];
  const [head, block] = await Promise.all([verifyHead({ bundle: bases.head, cluster, now }), verifyBlock({ bundle: bases.block, cluster, now })]);
  const questions = (matches) => ({ genuine: "Is the certificate genuine?", matches, in_force: "Is it in force?" });
  assert.deepEqual(head.questions, questions("Does the log reach this height?"));
  assert.deepEqual(block.questions, questions("Does the log have the block?"));
  assert.deepEqual(block.block.ops.map(({ text }) => text), [0, 1, 2, 3, 4].map((i) => `note 4/${i}`));
  const ops = readVectors("ops.json");
  const proved = async (name) => {
    const one = ops.cases.find((one) => one.name === name);
    return verifyOp({ bundle: opBundleBytes(ops, one), cluster: one.cluster, op: one.op, now: one.now });
  };
  const { questions: ofOp, op } = await proved("example");
  assert.deepEqual([ofOp, op.text, op.effect_text], [questions("Does the log have the op?"), "note 4/2", "effect 4/2"]);
});

test("a question about a height that makes no sense throws", async () => {
  const { bases, cases } = readVectors("log_bundles.json");
  for (const [verifyOne, bundle, height] of [[verifyHead, bases.head, 7], [verifyBlock, bases.block, 4]]) {
    const asked = { bundle, cluster: cases[0].cluster, now: cases[0].now };
    assert.equal((await verifyOne(asked)).verdict, "valid");
    assert.equal((await verifyOne({ ...asked, height })).matches.answer, "yes");
    assert.equal((await verifyOne({ ...asked, height: height + 1 })).check, "height");
    for (const wrong of [{ height: "4" }, { height: 4n }, { op: asked.cluster }, { cluster: "0" }, { bundle: {} }]) await assert.rejects(verifyOne({ ...asked, ...wrong }), TypeError);
    for (const height of [-1, 0.5, 2 ** 53]) await assert.rejects(verifyOne({ ...asked, height }), RangeError);
  }
});

test("a question about an op that makes no sense throws", async () => {
  const file = readVectors("ops.json");
  const [one] = file.cases;
  const asked = { bundle: opBundleBytes(file, one), cluster: one.cluster, op: one.op, now: one.now };
  assert.equal((await verifyOp(asked)).verdict, "valid");
  assert.equal((await verifyOp({ ...asked, op: null })).op.id, one.op);
  for (const wrong of [{ op: "0" }, { op: 7 }, { op: "1".repeat(129) }, { cluster: "0" }, { bundle: {} }, { digest: one.op }]) await assert.rejects(verifyOp({ ...asked, ...wrong }), TypeError, JSON.stringify(wrong));
  for (const now of [-1, 0.5, 2 ** 53]) await assert.rejects(verifyOp({ ...asked, now }), RangeError);
});

// The permitted outcomes of a question's checks, by its answer.
const OUTCOMES = {
  yes: /^(passed|waived)( passed| waived)*$/,
  no: /^(passed )*failed( not-reached)*$/,
  "not-answered": /^((passed )*cannot-check( not-reached)*|not-reached( not-reached)*|passed waived)$/,
};

test("a report lists the checks by question, and each question has its answer and its reason", async () => {
  const file = readVectors("checks.json");
  const decided = new Set();
  for (const one of file.cases) {
    const report = await verify(question(file, one));
    const { verdict, check, expected, got, checks, certificate } = report;
    assert.deepEqual(checks.map(({ name }) => name), ["bundle", "certificate", "committee", "identity", "epoch", "signers", "possession", "chain", "signature", "closing", "seal", "digest", "length", "time", "expiry"]);
    for (const key of ["genuine", "matches", "in_force"]) {
      const { answer, reason } = report[key];
      const outcomes = checks.filter(({ question }) => question === key).map(({ outcome }) => outcome).join(" ");
      assert.match(outcomes, OUTCOMES[answer], `${one.name}: ${key} ${answer}`);
      assert.ok(reason.length > 10, `${one.name}: ${key}`);
    }
    const outcome = checks.find(({ name }) => name === check)?.outcome;
    assert.equal(outcome, { valid: undefined, invalid: "failed", "cannot-check": "cannot-check" }[verdict], one.name);
    assert.ok(checks.every(({ meaning }) => meaning.length > 0));
    assert.equal(typeof expected === "string" && typeof got === "string", verdict === "invalid", one.name);
    assert.equal(certificate !== undefined, verdict === "valid", one.name);
    decided.add(check);
  }
  assert.ok(decided.size >= 5);
});

test("another file and a forged certificate have different texts, and only the first is about the file", async () => {
  const file = readVectors("checks.json");
  const reportOf = (name) => verify(question(file, file.cases.find((one) => one.name === name)));
  const another = await reportOf("another_digest");
  assert.match(another.message, /^INVALID: the certificate is genuine, but this is another file \(digest: expected /);
  assert.equal(another.matches.reason, another.message.slice("INVALID: ".length));
  for (const name of ["signature_before_digest", "bent_to_another_file"]) {
    const forged = await reportOf(name);
    assert.match(forged.message, /^INVALID: the certificate is forged or altered \(signature: /, name);
    assert.doesNotMatch(JSON.stringify([forged.message, forged.genuine, forged.matches]), /another file/, name);
  }
  const alone = await reportOf("no_subject");
  assert.match(alone.message, /^CANNOT CHECK: the certificate is genuine, but no file /);
});

test("the certificate's value is expected, the file's is got", async () => {
  const file = readVectors("checks.json");
  for (const [name, expected, got] of [["another_digest", "4yBUkS77RL2kJAr22Uhq6gjEpS5yLHzW8W3LLmhFxFHU", null], ["length_zero", "19 bytes", "0"]]) {
    const one = file.cases.find((other) => other.name === name);
    const report = await verify(question(file, one));
    assert.deepEqual([report.expected, report.got], [expected, got ?? one.digest], name);
  }
});

test("the committee cache is keyed by committee and proofs of possession", async () => {
  const [valid, signature] = ["valid.json", "signature.json"].map(readVectors);
  // The same committee and digest: with its own proofs, and with two proofs swapped.
  const good = [valid, valid.cases.find(({ name }) => name === "n4")];
  const bad = [signature, signature.cases.find(({ name }) => name === "pops_swapped")];
  for (const order of [[good, bad, good], [bad, good, bad]]) {
    const verifier = await createVerifier();
    for (const [file, one] of order) {
      const { verdict, check } = await verifier.verify(question(file, one));
      assert.deepEqual([verdict, check], [one.verdict, one.check]);
    }
  }
});
