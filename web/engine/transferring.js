// The tasks that talk to a server.

/** Of the package `vouch-verifier`: put, get. */
export function transferringTasks({ put, get }) {
  return {
    /** `{ bundle, report, certificate, cluster, reused, resumed_from }`. A nudge ends the pause before a retry. */
    async put({ file, ...options }, { signal, progress, onNudge }) {
      const { bundle, report, cluster, reused, resumed_from } = await put(file, { ...options, signal, onProgress: progress, onWaiting: onNudge });
      // The certificate is decoded on access, so it is sent as a value of its own.
      const { certificate, ...rest } = report;
      return { bundle, cluster, reused, resumed_from, certificate, report: rest };
    },

    /** `{ blob, digest, length, cluster, checkpoint }`; the bytes are verified. A nudge ends the pause before a retry. */
    async get({ digest, ...options }, { signal, progress, onNudge }) {
      const { blob, digest_base58, length, cluster, checkpoint } = await get(digest, { ...options, signal, onProgress: progress, onWaiting: onNudge });
      return { blob, digest: digest_base58, length, cluster, checkpoint };
    },
  };
}
