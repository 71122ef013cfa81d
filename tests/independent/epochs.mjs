// What links a committee to those before it: history and seals.
import { Reader, compare, concat, derive, equal, u16, u32, u64, u8, utf8 } from "./bytes.mjs";
import { cannotCheck, invalid } from "./failure.mjs";
import { pathLength, treeKind } from "./merkle.mjs";

export const NO_HISTORY = new Uint8Array(32);
// Of epoch k, from that of k - 1, the identity of the handoff to k - 1, and that of the seal of k - 2.
export const historyAfter = (history, handoff, seal) => derive("vouch history v1", concat(history, handoff, seal));

// The message `Epochs`. Each epoch has a committee, the handoff to it, and, from epoch 2 on, a seal.
export const encodeEpochs = (more, epochs) =>
  concat(
    u8(0x44),
    u8(more ? 1 : 0),
    u16(epochs.length),
    ...epochs.flatMap(({ committee, handoff, seal }) => [u32(committee.length), committee, u16(handoff.length), handoff, u8(seal === undefined ? 0 : 1), seal ?? new Uint8Array(0)]),
  );

const tree = treeKind("seal");

// The identities of all statements that an epoch certified, in any order.
export function sealTree(identities) {
  const sorted = [...identities].sort(compare);
  const leaves = sorted.map(tree.leafHash);
  return {
    count: sorted.length,
    root: sorted.length === 0 ? new Uint8Array(32) : tree.rootOf(leaves),
    path(identity) {
      const index = sorted.findIndex((one) => equal(one, identity));
      return { count: sorted.length, index, path: tree.pathOf(leaves, index) };
    },
  };
}

// The encoder checks nothing, so that invalid paths can be made for the vectors.
export const encodeSealPath = ({ version = 1, count, index, path }) => concat(utf8("vouchsp"), u8(version), u64(count), u64(index), ...path);

export function decodeSealPath(bytes) {
  const reader = new Reader(bytes, "the seal path");
  reader.tag("vouchsp");
  const version = reader.small(1, "version");
  if (version !== 1) throw cannotCheck(`version ${version} of a seal path is unknown`, { expected: "1", got: `${version}` });
  const count = reader.bounded("count");
  if (count === 0) throw invalid("the seal has no statements");
  const index = reader.bounded("index");
  if (index >= count) throw invalid("the index is not below the count");
  const path = [];
  while (reader.at < bytes.length) path.push(reader.take(32, "a hash of the path"));
  const length = pathLength(index, count);
  if (path.length !== length) throw invalid("the path has another length", { expected: `${length}`, got: `${path.length}` });
  return { count, index, path };
}

// The root of the seal that has the statement by this path.
export const sealRoot = (identity, { count, index, path }) => tree.rootFromPath(tree.leafHash(identity), index, count, path);

export const isSealed = (seal, identity, path) => path.count === seal.count && equal(sealRoot(identity, path), seal.root);
