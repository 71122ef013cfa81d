// Every vector against the independent verifier, and the committed vectors against their generator.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { verify } from "../independent/verify.mjs";
import { bundleBytes, caseFiles, readVectors } from "../vectors/load.mjs";

for (const name of caseFiles()) {
  test(`vectors of ${name}`, () => {
    const file = readVectors(name);
    const failures = [];
    for (const one of file.cases) {
      const { cluster, digest, length, now, waive_expiry: waiveExpiry } = one;
      const got = verify({ bundle: bundleBytes(file, one), cluster, digest, length, now, waiveExpiry });
      if (got.verdict !== one.verdict || got.check !== one.check) failures.push(`${one.name}: expected ${one.verdict} ${one.check}, got ${got.verdict} ${got.check}: ${got.message}`);
    }
    assert.deepEqual(failures, []);
    assert.ok(file.cases.length > 0);
  });
}

test("the committed vectors are what the generator makes", () => {
  const generator = fileURLToPath(new URL("../vectors/generate.mjs", import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [generator, "--check"], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
});
