// The tasks that need no connection: look at a file, hash it, read a bundle, judge.

import { looksLikeBundle } from "../logic/pairing.js";

// One byte more than a bundle may have: enough for the verifier to say that it is too long.
const ENOUGH = (8 << 20) + 1;
// A slice is read and hashed in a few milliseconds, also where this has to run beside the page itself.
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

/** Of the package `vouch-verifier`: init, verify, inspect, createHasher, normalizeDigest, decideTrust, BundleError. */
export function verifyingTasks({ init, verify, inspect, createHasher, normalizeDigest, decideTrust, BundleError }) {
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

    /** Loads the module, as long as there is a network. */
    prepare: () => init(),

    normalize: ({ text }) => normalizeDigest(text),

    decide: ({ known }) => decideTrust(known),

    /** Whether the file is a bundle by its content. */
    async look({ file }) {
      const start = new TextDecoder().decode(await read(file.slice(0, PEEK)));
      if (!/^[\ufeff\s]*(\{|$)/.test(start)) return false;
      return looksLikeBundle(new TextDecoder().decode(await read(file.slice(0, ENOUGH))));
    },

    /** `{ inspection }`, or `{ report }` for a bundle that cannot be read. */
    async inspect({ bundle }) {
      try {
        return { inspection: await inspect(await read(bundle.slice(0, ENOUGH))) };
      } catch (error) {
        if (error instanceof BundleError) return { report: error.report };
        throw error;
      }
    },

    /** The report. `subject` is `{ digest, length }` of the file, or null. */
    async judge({ bundle, cluster, subject, waiveExpiry }) {
      const question = { bundle: await read(bundle.slice(0, ENOUGH)), cluster, waiveExpiry };
      if (subject !== null) Object.assign(question, { digest: subject.digest, length: subject.length });
      const report = await verify(question);
      // What the certificate says is read when it is asked for: of a large committee that takes longer than to verify it.
      delete report.certificate;
      return report;
    },
  };
}
