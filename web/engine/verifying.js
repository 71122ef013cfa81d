// Tasks that need no connection: detect a bundle, hash a file, inspect a bundle, judge it.

import { bundleKind } from "../logic/pairing.js";

// A slice is read and hashed within a few milliseconds, so that it may also run on the page's thread.
const SLICE = 4 << 20;
const PEEK = 64;

const unreadable = (reason) => Object.assign(new Error(reason), { code: "source" });

async function read(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch (error) {
    throw unreadable(error.message);
  }
}

/** Of the package `vouch-verifier`: init, initClient, verify, verifyOp, verifyHead, verifyBlock, inspect, createHasher, normalizeDigest, limits, decideTrust, BundleError. */
export function verifyingTasks({ init, initClient, verify, verifyOp, verifyHead, verifyBlock, inspect, createHasher, normalizeDigest, limits, decideTrust, BundleError }) {
  // One byte beyond the limit is enough for the verifier to see that a bundle is too long.
  const readBundle = async (blob) => read(blob.slice(0, (await limits()).bundle + 1));

  async function hash({ file }, { signal, progress }) {
    const hasher = await createHasher();
    try {
      for (let at = 0; at < file.size; at += SLICE) {
        progress({ stage: "hashing", done: at, total: file.size });
        signal.throwIfAborted();
        hasher.update(await read(file.slice(at, at + SLICE)));
      }
      progress({ stage: "hashing", done: file.size, total: file.size });
      return { digest: hasher.digest("base58"), hex: hasher.digest("hex"), length: hasher.length };
    } finally {
      hasher.free();
    }
  }

  return {
    hash,

    /** Loads the modules while there is a network: bundles of the log are judged by the client's. */
    prepare: () => Promise.all([init(), initClient()]),

    normalize: ({ text }) => normalizeDigest(text),

    limits: () => limits(),

    decide: ({ known }) => decideTrust(known),

    /** What the file is a bundle of, by its content: see `bundleKind`. */
    async look({ file }) {
      const start = new TextDecoder().decode(await read(file.slice(0, PEEK)));
      if (!/^[\ufeff\s]*(\{|$)/.test(start)) return null;
      return bundleKind(new TextDecoder().decode(await readBundle(file)));
    },

    /** The last epoch of a bundle that begins with the first, as it states it. -1 for others: those are judged only from a pinned committee. */
    async lastEpochOf({ bundle }) {
      const bytes = await readBundle(bundle);
      try {
        const { genesis, epochs } = JSON.parse(new TextDecoder().decode(bytes));
        return genesis !== undefined && Array.isArray(epochs) ? epochs.length : -1;
      } catch {
        return -1; // the verifier says what is wrong with it
      }
    },

    /** The report on a bundle of the log. `height`: of a head, the least one that is valid, or null. */
    async judgeOfLog({ kind, bundle, cluster, checkpoint = null, height = null }) {
      const question = { bundle: await readBundle(bundle), cluster, checkpoint };
      if (kind === "op") return verifyOp(question);
      return kind === "head" ? verifyHead({ ...question, height }) : verifyBlock(question);
    },

    /** `{ inspection }`, or `{ report }` for a bundle that cannot be read. */
    async inspect({ bundle }) {
      try {
        return { inspection: await inspect(await readBundle(bundle)) };
      } catch (error) {
        if (error instanceof BundleError) return { report: error.report };
        throw error;
      }
    },

    /** The report. `subject` is `{ digest, length }` of the file, or null. */
    async judge({ bundle, cluster, checkpoint = null, subject, waiveExpiry }) {
      const question = { bundle: await readBundle(bundle), cluster, checkpoint, waiveExpiry };
      if (subject !== null) Object.assign(question, { digest: subject.digest, length: subject.length });
      const report = await verify(question);
      // The certificate's content is decoded on access: for a large committee, decoding takes longer than verifying.
      delete report.certificate;
      return report;
    },
  };
}
