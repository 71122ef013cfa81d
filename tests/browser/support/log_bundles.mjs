// Bundles of the log of a committee whose keys the tests have: of its head, an op and a block.
import { BLOCK_MEDIA_TYPE, HEAD_MEDIA_TYPE } from "../../independent/bundle.mjs";
import { utf8 } from "../../independent/bytes.mjs";
import { toBase64url } from "../../independent/text.mjs";
import { blockBytes, blockPathOf, certifyHead, headOf, makeBlock, makeLog, makeOp, opBundleObject, proofOf } from "../../vectors/generator/log_world.mjs";
import { bundleObject } from "../../vectors/generator/world.mjs";

/** The blocks of a log that begins as that of the vectors and ends with a block of these notes, numbered like those of a cluster. */
export function logWithNotes(committee, notes) {
  const blocks = makeLog(committee);
  const ops = notes.map((text, i) => makeOp(committee, blocks.length + 1, i, { body: utf8(text), effect: utf8(`note ${i + 1}`) }));
  return [...blocks, makeBlock(committee, blocks.length + 1, blocks.map(({ digest }) => digest), ops)];
}

/** The bundle of the log's head. `head` changes what it states, `how` its certificate: see `certifyHead`. */
export const headBundle = (committee, blocks, { head = {}, ...how } = {}) =>
  JSON.stringify({ ...bundleObject(committee, certifyHead(committee, headOf(blocks, head), how)), type: HEAD_MEDIA_TYPE });

/** The bundle of an op, under the log's head. `overrides` change its proof: see `proofOf`. */
export const opBundle = (committee, blocks, height, index, overrides = {}) =>
  JSON.stringify(opBundleObject(committee, certifyHead(committee, headOf(blocks)), proofOf(blocks, height, index, overrides)));

/** The bundle of a block, under the log's head. */
export const blockBundle = (committee, blocks, height) =>
  JSON.stringify({
    ...bundleObject(committee, certifyHead(committee, headOf(blocks))),
    type: BLOCK_MEDIA_TYPE,
    block: toBase64url(blockBytes(blocks[height - 1])),
    path: toBase64url(blockPathOf(blocks, height)),
  });
