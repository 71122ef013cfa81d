// Merkle trees: the shape of RFC 9162 section 2.1 with BLAKE3's key derivation. Each kind of tree has its own contexts.
import { concat, derive } from "./bytes.mjs";

// The largest power of two smaller than m.
function split(m) {
  let k = 1;
  while (2 * k < m) k *= 2;
  return k;
}

export function pathLength(index, count) {
  if (count === 1) return 0;
  const k = split(count);
  return 1 + (index < k ? pathLength(index, k) : pathLength(index - k, count - k));
}

// The hashes of one kind of tree.
export function treeKind(name) {
  const leafHash = (leaf) => derive(`vouch ${name} leaf v1`, leaf);
  const nodeHash = (left, right) => derive(`vouch ${name} node v1`, concat(left, right));

  function rootOf(leaves) {
    if (leaves.length === 1) return leaves[0];
    const k = split(leaves.length);
    return nodeHash(rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
  }

  // Nearest sibling first.
  function pathOf(leaves, index) {
    if (leaves.length === 1) return [];
    const k = split(leaves.length);
    return index < k
      ? [...pathOf(leaves.slice(0, k), index), rootOf(leaves.slice(k))]
      : [...pathOf(leaves.slice(k), index - k), rootOf(leaves.slice(0, k))];
  }

  // The same recursion as pathOf, upwards: the sides are collected from the root down, then used in reverse.
  function rootFromPath(leaf, index, count, path) {
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

  return { leafHash, nodeHash, rootOf, pathOf, rootFromPath };
}

// The receipts of a batch.
export const { leafHash, nodeHash, rootOf, pathOf, rootFromPath } = treeKind("receipt");
