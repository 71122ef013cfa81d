// What the page remembers of a cluster's committees: what raises it, what never does, and what is judged from it.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseCheckpoint } from "../../web/logic/checkpoint.js";
import { verifyingTasks } from "../../web/engine/verifying.js";
import { examine, examineOfLog } from "../../web/logic/examine.js";
import { createMemory } from "../../web/logic/memory.js";
import { Trust } from "../../web/logic/trust.js";
import { explain, forkOf } from "../../web/logic/words.js";
import { decideTrust, inspect, verify } from "../../verifier-wasm/npm/node.js";
import { certifiedIn, changed, checkpointOf, fork, identityOf } from "../browser/support/worlds.mjs";

const CLUSTER = identityOf(changed());
const KEY = `vouch:committee:${CLUSTER}`;
const committees = (world, to, from = 0) => world.epochs.slice(from, to + 1).map(({ epoch }) => parseCheckpoint(checkpointOf(world, epoch)));

// As localStorage: what several tabs share.
function storage(entries = {}) {
  const map = new Map(Object.entries(entries));
  return {
    map,
    get length() {
      return map.size;
    },
    key: (i) => [...map.keys()][i] ?? null,
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, String(value)),
    removeItem: (key) => void map.delete(key),
  };
}
const recorded = (store) => createMemory(() => store).recallCommittee(CLUSTER)?.checkpoint ?? null;

describe("the newest verified committee", () => {
  test("is recorded with its day, and raised", () => {
    const store = storage();
    const memory = createMemory(() => store);
    assert.equal(memory.recallCommittee(CLUSTER), null);
    // The first committee is the identity.
    assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 0), 5), false);
    assert.equal(store.map.size, 0);
    assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 1), 6), true);
    assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 2).reverse(), 7), true);
    const { epoch, committee } = parseCheckpoint(checkpointOf(changed(), 2));
    assert.deepEqual(memory.recallCommittee(CLUSTER), { checkpoint: checkpointOf(changed(), 2), epoch, committee, since: 7 });
    // Each cluster has its own.
    assert.equal(memory.recallCommittee("another"), null);
  });

  test("is never lowered, and keeps its day", () => {
    const store = storage();
    const memory = createMemory(() => store);
    memory.raiseCommittee(CLUSTER, committees(changed(), 2), 1);
    for (const to of [0, 1, 2]) assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), to), 9), false, `${to}`);
    assert.deepEqual([recorded(store), memory.recallCommittee(CLUSTER).since], [checkpointOf(changed(), 2), 1]);
  });

  test("of a tab that was slower does not replace a newer one of another tab", () => {
    const store = storage();
    const [slow, fast] = [createMemory(() => store), createMemory(() => store)];
    assert.equal(slow.recallCommittee(CLUSTER), null);
    fast.raiseCommittee(CLUSTER, committees(changed(), 2), 1);
    assert.equal(slow.raiseCommittee(CLUSTER, committees(changed(), 1), 2), false);
    assert.equal(recorded(store), checkpointOf(changed(), 2));
  });

  test("is replaced by no fork: not in its epoch, and not by later committees that do not follow", () => {
    const store = storage();
    const memory = createMemory(() => store);
    memory.raiseCommittee(CLUSTER, committees(changed(), 1), 1);
    for (const [to, from] of [[1, 0], [2, 0], [2, 2]]) assert.equal(memory.raiseCommittee(CLUSTER, committees(fork(), to, from), 2), false, `${to}`);
    // A chain that is not known to contain the recorded committee may be a fork.
    assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 2, 2), 2), false);
    assert.equal(recorded(store), checkpointOf(changed(), 1));
  });

  test("of a corrupt text is nothing, and is replaced", () => {
    const good = checkpointOf(changed(), 1);
    const [, digest] = good.split(":");
    const entry = (checkpoint, since = 1) => JSON.stringify({ checkpoint, since });
    const corrupt = [
      "", "{", "7", "null", "[]", "{}", good, entry(7), entry(null), entry(digest), entry(`1:${digest}:1`), entry(`-1:${digest}`), entry(`01:${digest}`), entry(`1.5:${digest}`),
      entry(` 1:${digest}`), entry(`9007199254740992:${digest}`), entry(`0:${digest}`), entry(`1:${digest}1`), entry(`1:1${digest}`), entry(`1:${digest.slice(2)}`), entry(`1:${"z".repeat(44)}`),
      entry(`1:${"1".repeat(33)}`), entry(`1:${digest.replace(/.$/, "0")}`), entry(`1:${"7".repeat(5000)}`), entry(good, "1"), entry(good, null), entry(good, -1), entry(good, 1e300),
    ];
    for (const text of corrupt) {
      const store = storage({ [KEY]: text });
      const memory = createMemory(() => store);
      assert.equal(memory.recallCommittee(CLUSTER), null, text);
      assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 1), 1), true, text);
      assert.equal(recorded(store), good);
    }
    // Digests with zeros in front are digests.
    for (const checkpoint of [`3:${"1".repeat(32)}`, `9007199254740991:${digest}`]) assert.equal(recorded(storage({ [KEY]: entry(checkpoint) })), checkpoint);
  });

  test("is nothing without storage", () => {
    const memory = createMemory(() => { throw new Error("denied"); });
    assert.equal(memory.recallCommittee(CLUSTER), null);
    assert.equal(memory.raiseCommittee(CLUSTER, committees(changed(), 1), 1), false);
    assert.equal(memory.knowsServerOf(CLUSTER), false);
    memory.forgetCommittee(CLUSTER);
  });
});

async function trusting(store, { server = "http://one", shown = CLUSTER } = {}) {
  const trust = new Trust({ memory: createMemory(() => store), normalize: async (text) => text, decide: decideTrust, now: () => 7 });
  await trust.useServer(server);
  await trust.serverShows(shown);
  return trust;
}

describe("trust", () => {
  test("a server must show the later one of the pinned and the verified committee", async () => {
    const store = storage();
    const trust = await trusting(store);
    assert.equal(trust.checkpointOfLink(CLUSTER), null);
    let changes = 0;
    trust.addEventListener("change", () => (changes += 1));
    await trust.verified(CLUSTER, committees(changed(), 1));
    await trust.verified(CLUSTER, committees(changed(), 1));
    assert.equal(changes, 1);
    assert.equal(trust.checkpointOfLink(CLUSTER), checkpointOf(changed(), 1));
    await trust.pin(checkpointOf(changed(), 0));
    assert.equal(trust.checkpointOfLink(CLUSTER), checkpointOf(changed(), 1));
    await trust.pin(checkpointOf(changed(), 2));
    assert.equal(trust.checkpointOfLink(CLUSTER), checkpointOf(changed(), 2));
    // What the user enters counts.
    await trust.pin(checkpointOf(fork(), 1));
    assert.equal(trust.checkpointOfLink(CLUSTER), checkpointOf(fork(), 1));
    assert.equal(trust.checkpointOfLink(null), null);
    assert.equal(trust.checkpointOfLink("another"), null);
    // Another server of the cluster, at another visit.
    assert.equal((await trusting(store, { server: "http://two" })).checkpointOfLink(CLUSTER), checkpointOf(changed(), 1));
  });

  test("the committee is forgotten with the last server of its cluster, or by itself", async () => {
    const store = storage();
    await (await trusting(store)).verified(CLUSTER, committees(changed(), 2));
    const [one, two, other] = [await trusting(store), await trusting(store, { server: "http://two" }), await trusting(store, { server: "http://other", shown: "another" })];
    await other.forget();
    assert.equal(recorded(store), checkpointOf(changed(), 2));
    await one.forget();
    assert.equal(recorded(store), checkpointOf(changed(), 2), "http://two is remembered");
    // What the server shows is a first use again, and is remembered.
    await one.useServer(null);
    store.removeItem("vouch:cluster:http://one");
    await two.forget();
    assert.equal(recorded(store), null);
    await two.verified(CLUSTER, committees(changed(), 1));
    await two.forgetCommittee();
    assert.deepEqual([recorded(store), two.committee, two.decision.identity], [null, null, CLUSTER]);
  });

  test("a chain of a cluster that was unknown before is compared afterwards", async () => {
    const trust = await trusting(storage());
    assert.equal(trust.contradictionOf(CLUSTER, committees(fork(), 2)), null);
    await trust.verified(CLUSTER, committees(changed(), 2));
    assert.equal(trust.contradictionOf(CLUSTER, committees(changed(), 2)), null);
    assert.equal(trust.contradictionOf(CLUSTER, committees(changed(), 1)).code, "old-epoch");
    const { code, expected, got } = trust.contradictionOf(CLUSTER, committees(fork(), 2));
    assert.deepEqual([code, `2:${expected}`, `2:${got}`], ["another-committee", checkpointOf(changed(), 2), checkpointOf(fork(), 2)]);
  });
});

describe("a bundle of the log", () => {
  // `last`: the last epoch in it.
  async function judged(trust, last, answer) {
    const asked = [];
    const engine = { run: async (task, args) => (task === "lastEpochOf" ? last : (asked.push(args.checkpoint), answer)) };
    const found = await examineOfLog({ engine, bundle: {}, kind: "head", cluster: trust.decision.identity, judgingOf: (...args) => trust.judgingOf(...args) });
    return { ...found, asked };
  }
  const reason = "the bundle has other committees than the one that you pinned";
  const forged = (expected) => ({ verdict: "invalid", check: "chain", expected, got: "other", message: reason, genuine: { answer: "no", reason }, checks: [{ name: "chain", question: "genuine", outcome: "failed", meaning: "" }] });

  test("is judged from the verified committee if it has its epoch, and a fork is said to be one", async () => {
    const trust = await trusting(storage());
    await trust.verified(CLUSTER, committees(changed(), 1));
    const { committee, checkpoint } = trust.committee;
    for (const [last, expected] of [[-1, null], [0, null], [1, checkpoint], [5, checkpoint]]) assert.deepEqual((await judged(trust, last, forged(""))).asked, [expected], `${last}`);
    const { report, committee: used } = await judged(trust, 1, forged(committee));
    assert.equal(report.genuine.reason, "the bundle has other committees than the one that this device verified");
    assert.match(forkOf(report, used).join(" "), /another committee of epoch 1/);
  });

  test("says the last epoch in it, whatever else it is", async () => {
    const tasks = verifyingTasks({ limits: async () => ({ bundle: 1000 }) });
    const last = (text) => tasks.lastEpochOf({ bundle: new Blob([text]) });
    for (const [text, expected] of [['{"genesis":{},"epochs":[]}', 0], ['{"genesis":{},"epochs":[{},{}]}', 2], ['{"checkpoint":{},"epochs":[{}]}', -1], ['{"genesis":{},"epochs":{"length":5}}', -1], ['{"genesis":{}}', -1], ["null", -1], ["{", -1]]) {
      assert.equal(await last(text), expected, text);
    }
  });
});

describe("a bundle", () => {
  // The verdict on a bundle, as the page asks for it.
  async function judged(trust, { bytes, bundle }) {
    const engine = {
      async run(task, { bundle, cluster, checkpoint, subject }) {
        if (task === "inspect") return { inspection: await inspect(bundle) };
        return verify({ bundle, cluster, checkpoint, ...subject });
      },
    };
    const { digest_base58: digest } = await inspect(bundle);
    const cluster = trust.decision.identity;
    const { report, committee } = await examine({ engine, bundle, subject: { digest, length: bytes.length }, cluster, judgingOf: (...args) => trust.judgingOf(...args) });
    const { verdict, check, checks, standing } = report;
    if (committee !== null && verdict === "valid") {
      const { meaning } = checks.find(({ name }) => name === "chain");
      assert.match(meaning, /\b(that|which) this device verified\b/);
      assert.doesNotMatch(meaning, /you pinned/);
    }
    return { verdict, check, from: standing?.trusted_epoch ?? null, used: committee?.checkpoint ?? null, fork: forkOf(report, committee) };
  }
  const knowing = async (to) => {
    const trust = await trusting(storage());
    await trust.verified(CLUSTER, committees(changed(), to));
    return trust;
  };

  test("is judged from the verified committee if it has its epoch", async () => {
    const bundle = certifiedIn(changed(), 2);
    assert.deepEqual(await judged(await trusting(storage()), bundle), { verdict: "valid", check: null, from: 0, used: null, fork: null });
    for (const to of [1, 2]) assert.deepEqual(await judged(await knowing(to), bundle), { verdict: "valid", check: null, from: to, used: checkpointOf(changed(), to), fork: null });
    assert.deepEqual(await judged(await knowing(2), certifiedIn(changed(), 0)), { verdict: "valid", check: null, from: 2, used: checkpointOf(changed(), 2), fork: null });
    assert.deepEqual(await judged(await knowing(2), certifiedIn(changed(), 2, { start: 1 })), { verdict: "valid", check: null, from: 2, used: checkpointOf(changed(), 2), fork: null });
  });

  test("that ends before it is judged from the first committee, and stays valid", async () => {
    for (const [epoch, to] of [[0, 0], [0, 1], [1, 1]]) {
      assert.deepEqual(await judged(await knowing(2), certifiedIn(changed(), epoch, { to })), { verdict: "valid", check: null, from: 0, used: null, fork: null });
    }
  });

  test("that begins after it cannot be checked, as before", async () => {
    assert.deepEqual(await judged(await knowing(1), certifiedIn(changed(), 2, { start: 2 })), { verdict: "cannot-check", check: "chain", from: null, used: null, fork: null });
  });

  test("with another committee in its epoch is INVALID, and the page says why", async () => {
    const trust = await knowing(1);
    for (const epoch of [0, 1, 2]) {
      const { fork: texts, ...verdict } = await judged(trust, certifiedIn(fork(), epoch));
      assert.deepEqual(verdict, { verdict: "invalid", check: "chain", from: null, used: checkpointOf(changed(), 1) });
      assert.match(texts.join(" "), /verified another committee of epoch 1, on 1 January 1970\..*vouch compare/);
    }
    // Broken in another way, it is no fork.
    const broken = JSON.parse(certifiedIn(changed(), 2).bundle);
    broken.epochs[1].handoff = broken.epochs[1].handoff.replace(/.{8}$/, "AAAAAAAA");
    const { verdict, check, fork: none } = await judged(trust, { ...certifiedIn(changed(), 2), bundle: JSON.stringify(broken) });
    assert.deepEqual([verdict, check, none], ["invalid", "chain", null]);
    // Without its epoch 1, it ends at place 1, whatever its last committee says.
    const short = JSON.parse(certifiedIn(changed(), 0).bundle);
    short.epochs.splice(0, 1);
    delete short.epochs[0].seal;
    const last = await judged(await knowing(2), { ...certifiedIn(changed(), 0), bundle: JSON.stringify(short) });
    assert.deepEqual(last, { verdict: "invalid", check: "chain", from: null, used: null, fork: null });
    // Only what was recorded tells them apart.
    assert.equal((await judged(await trusting(storage()), certifiedIn(fork(), 2))).verdict, "valid");
  });

  test("is judged by what the user pins, and another cluster's by neither", async () => {
    const trust = await knowing(2);
    await trust.pin(checkpointOf(changed(), 1));
    assert.deepEqual(await judged(trust, certifiedIn(changed(), 2)), { verdict: "valid", check: null, from: 1, used: null, fork: null });
    await trust.unpin();
    await trust.verified("another", committees(fork(), 2));
    await trust.type("another");
    assert.deepEqual(trust.judgingOf(CLUSTER, () => true), { checkpoint: null, committee: null });
  });
});

test("a refused committee is explained, and what to do", () => {
  const behind = explain({ code: "old-epoch" }, { isSending: true });
  assert.match(behind.title, /^This server is behind/);
  assert.match(behind.advice, /^Nothing was certified\..*keys of members that have left/);
  const forged = explain({ code: "another-committee" });
  assert.match(forged.title, /another committee/);
  assert.match(forged.advice, /^A committee never has two successors, so somebody forged one of them\..*vouch compare.*forget it under Trust/);
});
