// The batch's Merkle tree: the shape of RFC 9162 section 2.1 with BLAKE3's key derivation.
import { concat, derive } from "./bytes.mjs";

export const leafHash = (receipt) => derive("vouch receipt leaf v1", receipt);
export const nodeHash = (left, right) => derive("vouch receipt node v1", concat(left, right));

// The largest power of two smaller than m.
function split(m) {
  let k = 1;
  while (2 * k < m) k *= 2;
  return k;
}

export function rootOf(leaves) {
  if (leaves.length === 1) return leaves[0];
  const k = split(leaves.length);
  return nodeHash(rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
}

// Nearest sibling first.
export function pathOf(leaves, index) {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return index < k
    ? [...pathOf(leaves.slice(0, k), index), rootOf(leaves.slice(k))]
    : [...pathOf(leaves.slice(k), index - k), rootOf(leaves.slice(0, k))];
}

export function pathLength(index, count) {
  if (count === 1) return 0;
  const k = split(count);
  return 1 + (index < k ? pathLength(index, k) : pathLength(index - k, count - k));
}

// The same recursion as pathOf, upwards: the sides are collected from the root down, then used in reverse.
export function rootFromPath(leaf, index, count, path) {
  const siblingIsRight = [];
  for (let i = index, m = count; m > 1; ) {
    const k = split(m);
    siblingIsRight.push(i < k);
    if (i < k) m = k;
    else [i, m] = [i - k, m - k];
  }
  if (siblingIsRight.length !== path.length) throw new RangeError("path length does not follow from index and count");
  return path.reduce((hash, sibling) => (siblingIsRight.pop() ? nodeHash(hash, sibling) : nodeHash(sibling, hash)), leaf);
}
