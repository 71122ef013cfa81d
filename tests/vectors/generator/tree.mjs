// Hash trees of blobs: digest, outboard, and the proofs of slices.
import { toHex } from "../../independent/text.mjs";
import { GROUP, digestOfTree, outboardOf, proofOf } from "../../independent/tree.mjs";

const BLOCK = 16 * GROUP;
const LENGTHS = [0, 1, 1024, 1025, GROUP, GROUP + 1, 2 * GROUP, 3 * GROUP + 7, 5 * GROUP - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3 * GROUP + 100];
const EDGES = [0, GROUP, 2 * GROUP, 3 * GROUP, 4 * GROUP, BLOCK - GROUP, BLOCK, BLOCK + GROUP, 2 * BLOCK];

/** The byte pattern of the blobs in the vectors. */
export const contentOf = (length) => Uint8Array.from({ length }, (_, i) => i % 251);

function slicesOf(blob) {
  const edges = [...EDGES.filter((edge) => edge < blob.length), blob.length];
  const ranges = edges.flatMap((start, i) => edges.slice(i + 1).map((end) => [start, end]));
  // a sample only: all of them would take megabytes
  const some = ranges.filter((_, i) => ranges.length < 12 || i % 4 === 0);
  return some.map(([start, end]) => ({ start, end, proof: proofOf(blob, start, end).map(toHex) }));
}

function blobOf(length) {
  const blob = contentOf(length);
  return { length, digest: toHex(digestOfTree(blob)), outboard: toHex(outboardOf(blob)), slices: slicesOf(blob) };
}

export function treeFile() {
  const description = "Hash trees. Byte i of a blob is i modulo 251. Its outboard, and the proofs of slices from `start` up to `end`, a parent each.";
  return `${JSON.stringify({ description, blobs: LENGTHS.map(blobOf) }, null, 1)}\n`;
}
