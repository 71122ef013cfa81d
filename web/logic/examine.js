// The way to a verdict: whether the certificate is genuine comes first, and needs no file; only then is a file worth hashing.

/** The signature was verified: what the certificate says is true, whatever else is the matter. */
export const isGenuine = (report) => report?.genuine?.answer === "yes";

/** Judges `bundle` (a Blob), which is of the log: `kind` is "op", "head" or "block". Answers as `examine`. */
export async function examineOfLog({ engine, bundle, kind, cluster, checkpoint = null, signal }) {
  return { report: await engine.run("judgeOfLog", { kind, bundle, cluster, checkpoint }, { signal }), inspection: null, subject: null };
}

/**
 * Judges `bundle` (a Blob), against `file` (a Blob) if there is one. `subject` is the file's `{ digest, length }` when it was hashed
 * before. Answers `{ report, inspection, subject }`: `inspection` is null for a bundle that cannot be read.
 */
export async function examine({ engine, bundle, file = null, subject = null, cluster, checkpoint = null, waiveExpiry = false, signal, onProgress }) {
  const judge = (about) => engine.run("judge", { bundle, cluster, checkpoint, subject: about, waiveExpiry }, { signal });
  const { inspection = null, report: unreadable } = await engine.run("inspect", { bundle }, { signal });
  if (inspection === null) return { report: unreadable, inspection, subject };
  if (subject !== null) return { report: await judge(subject), inspection, subject };
  // A file may take minutes to read, and none matters to a forged certificate.
  const report = await judge(null);
  if (file === null || !isGenuine(report)) return { report, inspection, subject: null };
  const hashed = await engine.run("hash", { file }, { signal, onProgress });
  return { report: await judge(hashed), inspection, subject: hashed };
}
