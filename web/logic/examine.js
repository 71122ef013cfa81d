// The way to a verdict: whether the certificate is genuine comes first, and needs no file; only then is a file worth hashing.
import { fromVerified } from "./words.js";

/** The signature was verified: what the certificate says is true, whatever else is the matter. */
export const isGenuine = (report) => report?.genuine?.answer === "yes";

/**
 * Whether a bundle has an epoch: for `judgingOf` of `Trust`. `said`: its content. The places after the first committee count, as they do for
 * the verifier, and not what later committees say of themselves: a broken chain would otherwise be one that cannot be checked.
 */
export const epochsIn = (said) => (epoch) => epoch >= said.epochs[0].epoch && epoch < said.epochs[0].epoch + said.epochs.length;

const FROM_THE_FIRST = { checkpoint: null, committee: null };

/**
 * Judges `bundle` (a Blob), which is of the log: `kind` is "op", "head" or "block"; `height`: of a head, the least one that is valid. Answers
 * as `examine`.
 */
export async function examineOfLog({ engine, bundle, kind, cluster, height = null, judgingOf = () => FROM_THE_FIRST, signal }) {
  // If it is of another cluster, that decides before any committee does.
  const last = await engine.run("lastEpochOf", { bundle }, { signal });
  const { checkpoint, committee } = judgingOf(cluster, (epoch) => epoch <= last);
  const report = await engine.run("judgeOfLog", { kind, bundle, cluster, checkpoint, height }, { signal });
  return { report: fromVerified(report, committee), inspection: null, subject: null, committee };
}

/**
 * Judges `bundle` (a Blob), against `file` (a Blob) if there is one. `subject` is the file's `{ digest, length }` when it was hashed
 * before. `judgingOf` is that of `Trust`. Answers `{ report, inspection, subject, committee }`: `inspection` is null for a bundle that
 * cannot be read; `committee` is the one of `judgingOf`.
 */
export async function examine({ engine, bundle, file = null, subject = null, cluster, judgingOf = () => FROM_THE_FIRST, waiveExpiry = false, signal, onProgress }) {
  const { inspection = null, report: unreadable } = await engine.run("inspect", { bundle }, { signal });
  if (inspection === null) return { report: unreadable, inspection, subject, committee: null };
  const { checkpoint, committee } = judgingOf(inspection.cluster, epochsIn(inspection));
  const judge = async (about) => fromVerified(await engine.run("judge", { bundle, cluster, checkpoint, subject: about, waiveExpiry }, { signal }), committee);
  if (subject !== null) return { report: await judge(subject), inspection, subject, committee };
  // A file may take minutes to read, and none matters to a forged certificate.
  const report = await judge(null);
  if (file === null || !isGenuine(report)) return { report, inspection, subject: null, committee };
  const hashed = await engine.run("hash", { file }, { signal, onProgress });
  return { report: await judge(hashed), inspection, subject: hashed, committee };
}
