// The module's BLAKE3, which uses SIMD, against the official vectors and against @noble/hashes.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { blake3 } from "@noble/hashes/blake3.js";
import { createHasher, hash } from "../../verifier-wasm/npm/node.js";

const OFFICIAL = new URL("../../../shared/vectors/blake3/test_vectors.json", import.meta.url);
const hex = (bytes) => Buffer.from(bytes).toString("hex");

// The official vectors' input: 0, 1, … 250, and again.
const input = (length) => Uint8Array.from({ length }, (_, i) => i % 251);

// Reproducible pseudorandom numbers (xorshift32).
function generator(seed) {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test("official vectors match", { skip: !existsSync(OFFICIAL) && "the vectors are not here" }, async () => {
  const { cases } = JSON.parse(readFileSync(OFFICIAL, "utf8"));
  assert.ok(cases.length > 30);
  for (const { input_len: length, hash: expected } of cases) {
    const got = await hash(input(length));
    assert.deepEqual([got.digest, got.length], [expected.slice(0, 64), length]);
  }
});

test("sizes around block, chunk and SIMD group boundaries match", async () => {
  const borders = [0, 64, 1024, 2048, 4096, 8192, 16_384, 65_536, 1 << 20];
  for (const size of borders.flatMap((border) => [border - 1, border, border + 1]).filter((size) => size >= 0)) {
    const bytes = input(size);
    assert.equal((await hash(bytes)).digest, hex(blake3(bytes)), `${size} bytes`);
  }
});

test("the digest does not depend on how the bytes are split", async () => {
  const bytes = input(200_000);
  const expected = hex(blake3(bytes));
  const random = generator(7);
  for (let round = 0; round < 20; round++) {
    const hasher = await createHasher();
    for (let at = 0; at < bytes.length; ) {
      const next = at + random(round < 10 ? 3000 : 40_000);
      hasher.update(bytes.subarray(at, next));
      at = next;
    }
    assert.deepEqual([hasher.digest("hex"), hasher.length], [expected, bytes.length]);
    hasher.free();
  }
});

test("a hasher can continue after a digest", async () => {
  const hasher = await createHasher();
  assert.equal(hasher.digest("hex"), hex(blake3(input(0))));
  hasher.update(input(5));
  assert.equal(hasher.digest("hex"), hex(blake3(input(5))));
  assert.deepEqual(hasher.digest(), hasher.digest("bytes"));
});
