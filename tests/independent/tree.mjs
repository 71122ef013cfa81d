// A blob's hash tree, written from BLAKE3's paper and the specification, without a library: slow, and short enough to check by eye.
import { concat } from "./bytes.mjs";

export const GROUP = 16384;
const CHUNK = 1024;
const BLOCK = 64;
const [CHUNK_START, CHUNK_END, PARENT, ROOT] = [1, 2, 4, 8];

const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
// The four state words of each of a round's eight mixing steps: the columns, then the diagonals.
const MIXED = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

const rotated = (word, by) => (word >>> by) | (word << (32 - by));

/** The chaining value after one block; section 2.2. */
function compress(chained, block, counter, length, flags) {
  const state = [...chained, ...IV.slice(0, 4), counter | 0, Math.floor(counter / 2 ** 32), length, flags];
  let words = block;
  for (let round = 0; round < 7; round++) {
    MIXED.forEach(([a, b, c, d], at) => {
      for (const [word, first, second] of [[words[2 * at], 16, 12], [words[2 * at + 1], 8, 7]]) {
        state[a] = (state[a] + state[b] + word) | 0;
        state[d] = rotated(state[d] ^ state[a], first);
        state[c] = (state[c] + state[d]) | 0;
        state[b] = rotated(state[b] ^ state[c], second);
      }
    });
    words = PERMUTATION.map((from) => words[from]);
  }
  return chained.map((_, i) => state[i] ^ state[i + 8]);
}

function wordsOf(bytes) {
  const padded = new Uint8Array(BLOCK);
  padded.set(bytes);
  const view = new DataView(padded.buffer);
  return Array.from({ length: 16 }, (_, i) => view.getInt32(4 * i, true));
}

function bytesOf(words) {
  const view = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, i) => view.setInt32(4 * i, word, true));
  return new Uint8Array(view.buffer);
}

function chunkHash(bytes, number, isRoot) {
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK));
  let chained = IV;
  for (let i = 0; i < blocks; i++) {
    const block = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
    const flags = (i === 0 ? CHUNK_START : 0) | (i === blocks - 1 ? CHUNK_END | (isRoot ? ROOT : 0) : 0);
    chained = compress(chained, wordsOf(block), number, block.length, flags);
  }
  return bytesOf(chained);
}

/** A parent is 64 bytes; section 2.5. */
const parentHash = (parent, isRoot) => bytesOf(compress(IV, wordsOf(parent), 0, BLOCK, PARENT | (isRoot ? ROOT : 0)));

// The largest power-of-two multiple of the unit that leaves a nonempty right side.
function leftOf(length, unit) {
  let left = unit;
  while (2 * left < length) left *= 2;
  return left;
}

/** The chaining value of bytes at an offset; for the root, the digest. */
function hashOf(bytes, offset, isRoot) {
  if (bytes.length <= CHUNK) return chunkHash(bytes, offset / CHUNK, isRoot);
  const left = leftOf(bytes.length, CHUNK);
  return parentHash(concat(hashOf(bytes.subarray(0, left), offset, false), hashOf(bytes.subarray(left), offset + left, false)), isRoot);
}

export const digestOfTree = (blob) => hashOf(blob, 0, true);

/** All parents above the groups, in post-order. */
export function outboardOf(blob) {
  const parents = [];
  const walk = (start, end, isRoot) => {
    if (end - start <= GROUP) return hashOf(blob.subarray(start, end), start, isRoot);
    const middle = start + leftOf(end - start, GROUP);
    const parent = concat(walk(start, middle, false), walk(middle, end, false));
    parents.push(parent);
    return parentHash(parent, isRoot);
  };
  walk(0, blob.length, true);
  return concat(...parents);
}

const isOutside = (start, end, from, to) => end <= from || start >= to;
const isWithin = (start, end, from, to) => start >= from && end <= to;

/** The parents of all nodes that are only partly in the slice from `from` to `to`, in pre-order. */
export function proofOf(blob, from, to) {
  const parents = [];
  const walk = (start, end) => {
    if (isOutside(start, end, from, to) || isWithin(start, end, from, to)) return;
    const middle = start + leftOf(end - start, GROUP);
    parents.push(concat(hashOf(blob.subarray(start, middle), start, false), hashOf(blob.subarray(middle, end), middle, false)));
    walk(start, middle);
    walk(middle, end);
  };
  walk(0, blob.length);
  return parents;
}

const equal = (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]);

/** Whether these bytes are at this offset of the blob of this digest and length. */
export function isSlice(digest, length, offset, bytes, proof) {
  const to = offset + bytes.length;
  if (offset % GROUP !== 0 || (to % GROUP !== 0 && to !== length) || to > length || (bytes.length === 0) !== (length === 0)) return false;
  const parents = [...proof];
  const walk = (start, end, expected, isRoot) => {
    if (isOutside(start, end, offset, to) && length > 0) return true;
    if (isWithin(start, end, offset, to)) return equal(hashOf(bytes.subarray(start - offset, end - offset), start, isRoot), expected);
    const parent = parents.shift();
    if (parent === undefined || !equal(parentHash(parent, isRoot), expected)) return false;
    const middle = start + leftOf(end - start, GROUP);
    return walk(start, middle, parent.subarray(0, 32), false) && walk(middle, end, parent.subarray(32), false);
  };
  return walk(0, length, digest, true) && parents.length === 0;
}
