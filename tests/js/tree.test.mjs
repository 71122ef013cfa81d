// The independent hash tree against a BLAKE3 library, and its slice proofs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { blake3 } from "@noble/hashes/blake3.js";
import { digestOfTree, isSlice } from "../independent/tree.mjs";
import { contentOf } from "../vectors/generator/tree.mjs";
import { readVectors } from "../vectors/load.mjs";

const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const flipped = (bytes, at) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

test("the independent tree has BLAKE3's digests", () => {
  for (const length of [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 5000, 16384, 16385, 40000]) {
    assert.deepEqual(digestOfTree(contentOf(length)), blake3(contentOf(length)), `${length}`);
  }
});

test("every slice of the vectors verifies, and no altered one does", () => {
  for (const { length, digest, slices } of readVectors("tree.json").blobs) {
    const blob = contentOf(length);
    assert.deepEqual(unhex(digest), blake3(blob));
    for (const { start, end, proof } of slices) {
      const bytes = blob.subarray(start, end);
      const parents = proof.map(unhex);
      const name = `${start} to ${end} of ${length}`;
      assert.ok(isSlice(unhex(digest), length, start, bytes, parents), name);
      assert.ok(!isSlice(unhex(digest), length, start, flipped(bytes, bytes.length - 1), parents), name);
      assert.ok(!isSlice(unhex(digest), length, start, bytes, [...parents, new Uint8Array(64)]), name);
      if (parents.length > 0) assert.ok(!isSlice(unhex(digest), length, start, bytes, parents.with(-1, flipped(parents.at(-1), 40))), name);
    }
  }
});
