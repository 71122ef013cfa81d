// The tasks that talk to a server.

/** Of the package `vouch-verifier`: put, get. */
export function transferringTasks({ put, get }) {
  return {
    /** `{ bundle, report, cluster, reused, resumed_from }`. A nudge ends the wait before another try. */
    async put({ file, ...options }, { signal, progress, onNudge }) {
      const { bundle, report, cluster, reused, resumed_from } = await put(file, { ...options, signal, onProgress: progress, onWaiting: onNudge });
      // What the certificate says is read when it is asked for, and does not travel with the rest.
      const { certificate, ...rest } = report;
      return { bundle, cluster, reused, resumed_from, certificate, report: rest };
    },

    /** `{ blob, digest_base58, length }`: the bytes are those of the digest. */
    async get({ digest, ...options }, { signal, progress }) {
      const { blob, digest_base58, length } = await get(digest, { ...options, signal, onProgress: progress });
      return { blob, digest: digest_base58, length };
    },
  };
}
