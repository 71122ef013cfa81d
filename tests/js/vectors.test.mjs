// Every vector through the WebAssembly verifier: verdict and check must be those of the independent implementation.
import assert from "node:assert/strict";
import { test } from "node:test";
import { verify } from "../../verifier-wasm/npm/node.js";
import { bundleBytes, caseFiles, readVectors } from "../vectors/load.mjs";

const question = (file, one) => {
  const { cluster, digest, length, now, waive_expiry: waiveExpiry } = one;
  return { bundle: bundleBytes(file, one), cluster, digest, length, now, waiveExpiry };
};

for (const name of caseFiles()) {
  test(`vectors of ${name} in WebAssembly`, async () => {
    const file = readVectors(name);
    const failures = [];
    for (const one of file.cases) {
      const got = await verify(question(file, one));
      if (got.verdict !== one.verdict || got.check !== one.check) failures.push(`${one.name}: expected ${one.verdict} ${one.check}, got ${got.verdict} ${got.check}: ${got.message}`);
    }
    assert.deepEqual(failures, []);
    assert.ok(file.cases.length > 0);
  });
}

test("a report lists the twelve checks, up to the one that decided", async () => {
  const file = readVectors("checks.json");
  const decided = new Set();
  for (const one of file.cases) {
    const { verdict, check, expected, got, checks, certificate } = await verify(question(file, one));
    assert.equal(checks.length, 12);
    const position = check === null ? 12 : checks.findIndex(({ name }) => name === check);
    checks.forEach(({ outcome, meaning }, i) => {
      const allowed = i < position ? ["passed", "waived"] : i > position ? ["not-reached"] : [verdict === "invalid" ? "failed" : "cannot-check"];
      assert.ok(allowed.includes(outcome), `${one.name}: ${outcome} at ${i}`);
      assert.ok(meaning.length > 0);
    });
    assert.equal(typeof expected === "string" && typeof got === "string", verdict === "invalid", one.name);
    assert.equal(certificate !== undefined, verdict === "valid", one.name);
    decided.add(check);
  }
  assert.ok(decided.size >= 5);
});
