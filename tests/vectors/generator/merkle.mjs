import { concat, derive, digestOf, u8 } from "../../independent/bytes.mjs";
import { encodeReceipt } from "../../independent/certificate.mjs";
import { leafHash, nodeHash, pathOf, rootOf } from "../../independent/merkle.mjs";
import { VectorFile } from "./file.mjs";
import { batchOf, committeeNamed, makeBatch } from "./world.mjs";

function valid(file) {
  for (const count of [1, 2, 3, 5, 7]) {
    for (let index = 0; index < count; index++) file.of(batchOf(count), `count_${count}_index_${index}`, `Receipt ${index} of ${count}.`, { index }, "valid");
  }
  for (const index of [0, 2048, 4095]) file.of(batchOf(4096), `count_4096_index_${index}`, `Receipt ${index} of 4096: a path of 12 hashes.`, { index }, "valid");
}

function paths(file) {
  const batch = batchOf(5);
  const on = (name, about, path, verdict, check) => file.of(batch, name, about, { certificate: batch.certify(0, { path }) }, verdict, check);
  const path = pathOf(batch.leaves, 0);
  on("path_too_long", "One hash more than index and count ask for.", [...path, path[0]], "invalid", "certificate");
  on("path_too_short", "One hash fewer than index and count ask for.", path.slice(1), "invalid", "certificate");
  on("path_missing", "No path at all.", [], "invalid", "certificate");
  on("path_reversed", "Farthest sibling first.", [...path].reverse(), "invalid", "signature");
  on("path_of_a_neighbour", "The path of receipt 1.", pathOf(batch.leaves, 1), "invalid", "signature");
  const single = batchOf(1);
  file.of(single, "path_where_there_is_none", "A path hash for a batch of one.", { certificate: single.certify(0, { path: [path[0]] }) }, "invalid", "certificate");
  const last = batch.certify(4, { path: pathOf(batch.leaves, 0) });
  file.of(batch, "path_of_the_balanced_length", "Receipt 4 of 5 has a path of one hash, not of three.", { index: 4, certificate: last }, "invalid", "certificate");
}

// Other tree constructions, each correctly signed: the root must follow this protocol.
function trees(file) {
  const { receipts, leaves } = batchOf(5);
  const encoded = receipts.map(encodeReceipt);
  const prefixedLeaf = (receipt) => digestOf(concat(u8(0), receipt));
  const prefixedNode = (left, right) => digestOf(concat(u8(1), left, right));
  const tree = (items, node) => {
    if (items.length === 1) return items[0];
    const k = 2 ** Math.floor(Math.log2(items.length - 1));
    return node(tree(items.slice(0, k), node), tree(items.slice(k), node));
  };
  const balanced = (items) => (items.length === 1 ? items[0] : nodeHash(balanced(items.slice(0, Math.ceil(items.length / 2))), balanced(items.slice(Math.ceil(items.length / 2)))));
  const roots = {
    tree_split_in_the_middle: ["Five receipts split three and two.", balanced(leaves)],
    tree_with_last_leaf_repeated: ["Filled up to eight leaves with the last one.", rootOf([...leaves, leaves[4], leaves[4], leaves[4]])],
    tree_filled_with_zeros: ["Filled up to eight leaves with zero.", rootOf([...leaves, ...new Array(3).fill(new Uint8Array(32))])],
    leaves_and_nodes_with_prefixes: ["RFC 9162's prefix bytes instead of derivation contexts.", tree(encoded.map(prefixedLeaf), prefixedNode)],
    leaves_hashed_as_nodes: ["The node context for the leaves.", rootOf(encoded.map((receipt) => derive("vouch receipt node v1", receipt)))],
    nodes_hashed_as_leaves: ["The leaf context for the nodes.", tree(leaves, (left, right) => leafHash(concat(left, right)))],
    sides_exchanged: ["Right before left.", tree(leaves, (left, right) => nodeHash(right, left))],
    root_is_the_leaf: ["The leaf itself was signed as the root.", leaves[0]],
    root_is_the_digest: ["The file's digest was signed as the root.", receipts[0].digest],
  };
  for (const [name, [about, root]] of Object.entries(roots)) {
    file.of(makeBatch(committeeNamed("n4"), receipts, { root }), name, about, {}, "invalid", "signature");
  }
}

export function merkleFile() {
  const file = new VectorFile("Batches: every place in small ones, the ends of the largest, wrong paths and other trees.");
  for (const part of [valid, paths, trees]) part(file);
  return file;
}
