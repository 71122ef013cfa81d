// Clusters whose committee has changed, for the lying server and for bundles.
import { NEVER } from "../../independent/bytes.mjs";
import { toBase58 } from "../../independent/text.mjs";
import { Cluster } from "../../vectors/generator/epoch_bundles.mjs";
import { makeEpochs } from "../../vectors/generator/epochs.mjs";
import { fileOf, makeMembers } from "../../vectors/generator/world.mjs";

const LABEL = "changed";
const SIZES = [4, 4, 4];
const make = (options) => makeEpochs(LABEL, SIZES, SIZES.map(() => 1), { receipt: { expiresAt: NEVER }, ...options });

let made;
/** A cluster of epochs 0 to 2. */
export const changed = () => (made ??= make());

let forked;
/** The same genesis, with another committee from epoch 1 on: the keys of its members were sold. */
export const fork = () => (forked ??= make({ alter: (members, epoch) => (epoch === 0 ? members : makeMembers(`fork ${epoch}`, members.length)) }));

/** The same cluster before it reached later epochs than this one. */
export const before = ({ cluster, epochs }, epoch) => ({ cluster, epochs: epochs.slice(0, epoch + 1) });

/** The identity of a cluster. */
export const identityOf = ({ cluster }) => toBase58(cluster);

/** The committee of an epoch, as a checkpoint. */
export const checkpointOf = ({ epochs }, epoch = epochs.length - 1) => `${epoch}:${toBase58(epochs[epoch].committee.digest)}`;

/** A file that was certified in an epoch, and its bundle with the epochs from `start` to `to`. */
export function certifiedIn(world, epoch, { start = 0, to = world.epochs.length - 1 } = {}) {
  const cluster = new Cluster(world);
  const bundle = cluster.bundle(cluster.certified(epoch).certificate, { start, links: cluster.links(start, to) });
  return { bytes: fileOf(`${LABEL} ${epoch}/0`), bundle: JSON.stringify(bundle) };
}
