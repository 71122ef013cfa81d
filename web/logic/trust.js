// Which cluster's identity is trusted. The core decides; this keeps what is known and what is remembered. No DOM: Node.js can run it.

import { contains, parseCheckpoint } from "./checkpoint.js";

// The core calls what the user entered "given", and names no source for none.
const SOURCES = { given: "typed", address: "address", remembered: "remembered", "first-use": "first-use" };

const EPOCH = /^[0-9]+$/;
const NOTHING = { typed: null, address: { cluster: null, problem: null }, remembered: null, taken: null, shown: null };
const UNDECIDED = { state: "none", identity: null, source: "none", compared: false, since: null, refusal: null, differsFrom: null, record: false };

/**
 * The decision about everything that is known, by `decideTrust` of the package. Identities are in their one usual form.
 *
 * - `typed`: entered by the user in this visit
 * - `address`: `{ cluster, problem }` of the page's fragment; the problem says that something was named but is no identity
 * - `remembered`: of an earlier visit to this server
 * - `taken`: from the server in this visit, on first use
 * - `shown`: what the server shows now
 */
export async function decisionOf(known, decideTrust) {
  const { typed, address, remembered, taken, shown } = { ...NOTHING, ...known };
  const decided = await decideTrust({
    given: typed,
    address: address.cluster,
    isAddressMalformed: address.problem !== null,
    remembered: remembered?.cluster,
    wasCompared: remembered?.compared,
    taken,
    shown,
  });
  const { state, identity, compared, record } = decided;
  const source = SOURCES[decided.source] ?? "none";
  const isNamed = source === "typed" || source === "address";
  return {
    state,
    identity,
    source,
    compared,
    since: source === "remembered" ? remembered.since : null,
    refusal: state === "refused" ? { kind: isNamed ? "server-differs" : "server-changed", expected: identity, got: shown } : null,
    differsFrom: decided.differs_from_remembered ? remembered : null,
    record,
  };
}

/** Holds what is known of the server's cluster, asks the core what to trust, and keeps the memory. Every change resolves once it is decided. */
export class Trust extends EventTarget {
  #known = { ...NOTHING };
  #server = null;
  #memory;
  #normalize;
  #decide;
  #now;
  #turn = 0;
  #changing = Promise.resolve();
  #otherProblems = [];
  // A committee that is trusted besides the identity: `{ identity, text }`. It means nothing under another identity.
  #pinned = null;
  decision = UNDECIDED;
  /** False when the browser refuses to remember. */
  remembers = true;

  /** `normalize(text)` resolves to the usual form, or rejects with a TypeError; `decide` is `decideTrust` of the package. */
  constructor({ memory, normalize, decide, now = Date.now }) {
    super();
    this.#memory = memory;
    this.#normalize = normalize;
    this.#decide = decide;
    this.#now = now;
  }

  get server() {
    return this.#server;
  }

  /** The fragment, at the start and whenever it changes: the latest wish of whoever opened it, so it outdoes what was typed. */
  async useAddress({ cluster, problems }) {
    const turn = ++this.#turn;
    const problem = problems.find(({ key }) => key === "cluster") ?? null;
    this.#otherProblems = problems.filter(({ key }) => key !== "cluster");
    let address = { cluster: null, problem };
    if (cluster !== null) {
      address = await this.#normalize(cluster).then(
        (identity) => ({ cluster: identity, problem: null }),
        (error) => {
          if (error.name !== "TypeError") throw error;
          return { cluster: null, problem: { kind: "malformed", key: "cluster", got: cluster } };
        },
      );
    }
    if (turn !== this.#turn) return; // it changed again meanwhile
    await this.#change(() => Object.assign(this.#known, { address, typed: null }));
  }

  /** What of the address could not be taken up: [{ kind, key, got }]. */
  get addressProblems() {
    const { typed, address } = this.#known;
    const ofCluster = typed === null && address.problem !== null ? [address.problem] : [];
    return [...ofCluster, ...this.#otherProblems];
  }

  ignoreAddress() {
    return this.#change(() => Object.assign(this.#known, { address: NOTHING.address }));
  }

  /** Rejects with a TypeError for what is no identity. */
  async type(text) {
    const typed = await this.#normalize(text.trim());
    this.#turn += 1;
    await this.#change(() => {
      Object.assign(this.#known, { typed, address: NOTHING.address });
      this.#keep(typed, "typed", true);
    });
  }

  /** The committee that the user has pinned, `EPOCH:DIGEST`, or null. */
  get checkpoint() {
    const { identity } = this.decision;
    return identity !== null && this.#pinned?.identity === identity ? this.#pinned.text : null;
  }

  /** Pins a committee of the trusted cluster, for this visit. Rejects with a TypeError for what is no `EPOCH:DIGEST`. */
  async pin(text) {
    const { identity } = this.decision;
    const [epoch, digest, ...more] = text.trim().split(":");
    if (!EPOCH.test(epoch) || !Number.isSafeInteger(Number(epoch)) || digest === undefined || more.length > 0) throw new TypeError("expected EPOCH:DIGEST");
    const committee = await this.#normalize(digest);
    await this.#change(() => {
      this.#pinned = { identity, text: `${Number(epoch)}:${committee}` };
    });
  }

  unpin() {
    return this.#change(() => {
      this.#pinned = null;
    });
  }

  /** The newest committee of the trusted cluster that was verified on this device, `{ checkpoint, epoch, committee, since }`, or null. */
  get committee() {
    return this.#committeeOf(this.decision.identity);
  }

  /** The committee that a server of a cluster must show, as a checkpoint, or null: the later one of what is pinned and what was verified. */
  checkpointOfLink(cluster) {
    const pinned = cluster === this.decision.identity ? this.checkpoint : null;
    const verified = this.#committeeOf(cluster);
    if (pinned === null || verified === null) return pinned ?? verified?.checkpoint ?? null;
    return verified.epoch > parseCheckpoint(pinned).epoch ? verified.checkpoint : pinned;
  }

  /**
   * What to judge a bundle from, besides the identity: `{ checkpoint, committee }`. What the user has pinned counts. Otherwise it is the
   * committee that was verified on this device, if the bundle has its epoch: then one signature is checked, and not one for each epoch. A
   * bundle that ends before is judged from the first committee, and stays valid. `committee` is the verified one, or null. `cluster`: the
   * bundle's; `hasEpoch(epoch)`: whether it has this epoch.
   */
  judgingOf(cluster, hasEpoch) {
    if (this.checkpoint !== null) return { checkpoint: this.checkpoint, committee: null };
    const { identity } = this.decision;
    const verified = cluster === identity ? this.#committeeOf(identity) : null;
    return verified !== null && hasEpoch(verified.epoch) ? { checkpoint: verified.checkpoint, committee: verified } : { checkpoint: null, committee: null };
  }

  /** Records the last of these committees, `[{ epoch, committee }]`, of a chain that was verified, if it is newer: see `raiseCommittee`. */
  verified(cluster, committees) {
    return this.#change(() => this.#memory.raiseCommittee(cluster, committees, this.#now()));
  }

  /**
   * Why a chain, of a cluster that was not known before the link, is not the one that was verified on this device: an error's fields; null if
   * it is, or nothing is recorded.
   */
  contradictionOf(cluster, committees) {
    const verified = this.#committeeOf(cluster);
    if (verified === null || contains(committees, verified)) return null;
    const other = committees.find(({ epoch }) => epoch === verified.epoch);
    if (other !== undefined) return { code: "another-committee", expected: verified.committee, got: other.committee };
    return { code: "old-epoch", expected: `epoch ${verified.epoch}`, got: `${Math.max(...committees.map(({ epoch }) => epoch))}` };
  }

  /** Forgets the verified committee of the trusted cluster. */
  forgetCommittee() {
    return this.#change(() => this.#memory.forgetCommittee(this.decision.identity));
  }

  /** Which server it is about; null for none. */
  useServer(server) {
    return this.#change(() => {
      if (server === this.#server) return false;
      this.#server = server;
      const remembered = server === null ? null : this.#memory.recall(server);
      Object.assign(this.#known, { remembered, taken: null, shown: null });
      return true;
    });
  }

  /** The identity that the server shows; null while it has none. */
  serverShows(identity) {
    return this.#change(() => {
      const isNew = identity !== this.#known.shown;
      this.#known.shown = identity;
      return isNew;
    });
  }

  /** The user compared the identity with what the operators gave out. */
  confirm() {
    return this.#change(() => {
      const { identity } = this.decision;
      if (identity !== null) this.#keep(identity, "typed", true);
    });
  }

  /** Takes what the address names in the place of what was remembered. */
  replaceRemembered() {
    return this.#change(() => {
      const { identity, source } = this.decision;
      if (source === "address") this.#keep(identity, "address", true);
    });
  }

  /**
   * Forgets this server's identity; what the server shows is then a first use again. The committee of its cluster is forgotten with the last
   * server of the cluster.
   */
  forget() {
    return this.#change(() => {
      const cluster = this.#known.remembered?.cluster ?? this.#known.taken;
      if (this.#server !== null) this.#memory.forget(this.#server);
      if (cluster !== null && !this.#memory.knowsServerOf(cluster)) this.#memory.forgetCommittee(cluster);
      Object.assign(this.#known, { remembered: null, taken: null, typed: null });
    });
  }

  #committeeOf(cluster) {
    return cluster === null ? null : this.#memory.recallCommittee(cluster);
  }

  #keep(cluster, source, compared) {
    if (this.#server === null) return;
    const before = this.#known.remembered;
    const since = before?.cluster === cluster ? before.since : this.#now();
    const entry = { cluster, source, since, compared };
    this.remembers = this.#memory.keep(this.#server, entry);
    // A first use stays one for this visit: its word is no better for having been written down.
    if (source === "first-use") this.#known.taken = cluster;
    else this.#known.remembered = entry;
  }

  // One change after the other: each decision takes in everything before it. `change` returns false if it changed nothing.
  #change(change) {
    const changed = this.#changing.then(() => this.#decideAnew(change));
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #decideAnew(change) {
    if (change() === false) return;
    const ask = () => decisionOf(this.#known, this.#decide);
    let decision = await ask();
    // What the server and the decision agree on is kept.
    if (decision.record) {
      const isFirstUse = decision.source === "first-use";
      this.#keep(decision.identity, decision.source, !isFirstUse);
      if (isFirstUse) this.#known.taken = decision.identity; // also where nothing can be kept
      decision = await ask();
    }
    this.decision = decision;
    this.dispatchEvent(new Event("change"));
  }
}
