// Every certificate that the simulation kept of clusters that changed their members: the WebAssembly verifier and the independent
// implementation accept each. The native verifier has accepted it in the simulation.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { createVerifier } from "../../verifier-wasm/npm/node.js";
import * as independent from "../independent/verify.mjs";

// The simulation writes there: cargo test --workspace --locked --test sim
const folder = new URL("../../target/tmp/changes/", import.meta.url);

test("certificates of every epoch verify in WebAssembly and by the independent implementation", async () => {
  const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
  const epochs = new Set();
  let sealed = 0;
  for (const name of files) {
    const { cluster, certificates } = JSON.parse(readFileSync(new URL(name, folder)));
    const verifier = await createVerifier();
    for (const { digest, length, now, bundle } of certificates) {
      const question = { bundle: new TextEncoder().encode(bundle), cluster, digest, length, now };
      const report = await verifier.verify(question);
      const verdict = independent.verify(question);
      assert.deepEqual([report.verdict, verdict.verdict], ["valid", "valid"], `${name}, ${digest}: ${report.message}; ${JSON.stringify(verdict)}`);
      const parsed = JSON.parse(bundle);
      epochs.add(parsed.epochs.length);
      sealed += parsed.sealed === undefined ? 0 : 1;
    }
    verifier.free?.();
  }
  assert.ok(files.length >= 20, `${files.length} files`);
  assert.ok(sealed > 0, "some of them prove that they are in a seal");
  assert.ok([...epochs].some((count) => count > 1), "some of them have a chain");
});
