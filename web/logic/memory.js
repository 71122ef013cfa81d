// What the browser keeps between visits: for each server the identity met there, as ssh keeps those of hosts; and for each cluster the newest
// committee that was verified here. It is of the cluster, not of the server: otherwise another server could show an earlier one.
//
// All of it is in localStorage: an entry has a hundred bytes, and reading it at once, without a wait, lets a tab compare what another tab has
// recorded meanwhile before it writes.
import { checkpointOf, contains, parseCheckpoint } from "./checkpoint.js";

const PREFIX = "vouch:cluster:";
const COMMITTEES = "vouch:committee:";
// The latest time that a Date can have, in milliseconds since 1970.
const LATEST = 8.64e15;
const SOURCES = ["address", "typed", "first-use"];

function entryOf(text) {
  try {
    const { cluster, source, since, compared } = JSON.parse(text);
    const sound = typeof cluster === "string" && SOURCES.includes(source) && Number.isFinite(since) && typeof compared === "boolean";
    return sound ? { cluster, source, since, compared } : null;
  } catch {
    return null;
  }
}

function committeeOf(text) {
  try {
    const { checkpoint, since } = JSON.parse(text);
    const committee = parseCheckpoint(checkpoint);
    const isTime = Number.isFinite(since) && since >= 0 && since <= LATEST;
    return committee !== null && committee.epoch > 0 && isTime ? { checkpoint, ...committee, since } : null;
  } catch {
    return null;
  }
}

/**
 * `open` returns the storage, or throws where there is none: private windows, file: pages, blocked cookies. Without it
 * everything works and nothing is remembered.
 */
export function createMemory(open) {
  const attempt = (use) => {
    try {
      return use(open());
    } catch {
      return null;
    }
  };
  return {
    /** `{ cluster, source, since, compared }` or null; `since` in milliseconds since 1970. */
    recall: (server) => attempt((storage) => entryOf(storage.getItem(PREFIX + server))),
    /** Whether it will be known at the next visit. */
    keep: (server, entry) =>
      attempt((storage) => {
        storage.setItem(PREFIX + server, JSON.stringify(entry));
        return true;
      }) === true,
    forget: (server) => void attempt((storage) => storage.removeItem(PREFIX + server)),
    /** Whether any server is remembered with this cluster. */
    knowsServerOf: (cluster) =>
      attempt((storage) => {
        const keys = Array.from({ length: storage.length }, (_, i) => storage.key(i)).filter((key) => key.startsWith(PREFIX));
        return keys.some((key) => entryOf(storage.getItem(key))?.cluster === cluster);
      }) === true,
    /** The newest verified committee of a cluster, `{ checkpoint, epoch, committee, since }`, or null; `since` in milliseconds since 1970. */
    recallCommittee: (cluster) => attempt((storage) => committeeOf(storage.getItem(COMMITTEES + cluster))),
    /**
     * Records the last of these committees, `[{ epoch, committee }]`, which are of one verified chain. Returns whether it did. It does not if
     * a later one is recorded, or one that is not known to be in the chain: otherwise a chain with forged successors would replace it. The
     * first committee is the cluster's identity and needs no record.
     */
    raiseCommittee: (cluster, committees, since) =>
      attempt((storage) => {
        const last = committees.reduce((last, one) => (one.epoch > last.epoch ? one : last), { epoch: 0 });
        const known = committeeOf(storage.getItem(COMMITTEES + cluster));
        if (last.epoch <= (known?.epoch ?? 0) || (known !== null && !contains(committees, known))) return false;
        storage.setItem(COMMITTEES + cluster, JSON.stringify({ checkpoint: checkpointOf(last), since }));
        return true;
      }) === true,
    forgetCommittee: (cluster) => void attempt((storage) => storage.removeItem(COMMITTEES + cluster)),
  };
}
