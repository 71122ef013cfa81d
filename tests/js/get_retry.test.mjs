// Retries of an interrupted get: which bytes it requests, what reaches the sink, and when it gives up.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ServerError, get, put } from "../../verifier-wasm/npm/node.js";
import { liars, startFront } from "../browser/support/between.mjs";
import { startCluster } from "../browser/support/cluster.mjs";
import { IDENTITY, OTHER_IDENTITY, startLyingServer } from "../browser/support/lying_server.mjs";
import { until } from "../browser/support/until.mjs";
import { clockOf } from "./clock.mjs";

const MIB = 1 << 20;
const LENGTH = 12 * MIB + 77;
// What one link may return beyond a file's bytes: hellos, the committee, proofs, the last group, and what was in flight when it was cut.
const OVERHEAD = 3 * MIB;
const BYTES = new Uint8Array(new Uint32Array(Math.ceil(LENGTH / 4)).map((_, index) => Math.imul(index + 1, 2654435761)).buffer, 0, LENGTH);

/** A get's progress, with its result or its error. */
async function run(digest, options) {
  const told = [];
  const { hears, ...rest } = options;
  const onProgress = (progress) => {
    told.push(progress);
    hears?.(progress);
  };
  const [outcome] = await Promise.allSettled([get(digest, { onProgress, ...rest })]);
  const stages = told.map(({ stage }) => stage).filter((stage, index, all) => stage !== all[index - 1]);
  return { result: outcome.value, error: outcome.reason, stages, of: (name) => told.filter(({ stage }) => stage === name) };
}

/** A sink that takes each write only after `work()`, and fails on two at once. */
function collector(work) {
  const chunks = [];
  let busy = false;
  const write = async (chunk) => {
    assert.equal(busy, false, "one write at a time");
    busy = true;
    await work(chunks.length);
    chunks.push(chunk);
    busy = false;
  };
  const bytes = () => Buffer.concat(chunks);
  return { sink: { write: work === undefined ? (chunk) => void chunks.push(chunk) : write }, bytes, isCorrect: () => bytes().equals(BYTES.subarray(0, bytes().length)) };
}

describe("an interrupted get of a cluster", () => {
  let cluster, front, replicas, identity, digest;
  before(async () => {
    replicas = liars();
    cluster = await startCluster({ via: replicas.via });
    identity = await cluster.identity();
    front = await startFront(cluster.url);
    ({ digest } = (await put(BYTES, { server: cluster.address, cluster: identity })).report.certificate);
  });
  after(async () => {
    front?.close();
    replicas?.close();
    await cluster?.stop();
  });
  beforeEach(() => {
    Object.assign(front, { cuts: [], isUp: true, links: [] });
    Object.assign(replicas, { isLying: false, everyone: false, liar: null });
  });

  const at = (options) => ({ server: front.url, cluster: identity, ...options });
  const returned = () => front.links.reduce((sum, link) => sum + link.returned, 0);

  const SINKS = { blob: undefined, sink: () => collector(), "slow sink": () => collector(() => sleep(1)) };
  for (const [name, make] of Object.entries(SINKS)) {
    test(`delivers each byte once and in order: ${name}`, async () => {
      front.cuts = [5 * MIB, 4 * MIB];
      const collected = make?.();
      const { result, error, stages, of } = await run(digest, at({ sink: collected?.sink }));
      assert.equal(error, undefined);
      const got = collected?.bytes() ?? Buffer.from(await result.blob.arrayBuffer());
      assert.ok(got.equals(BYTES), `${got.length} bytes, ${LENGTH} expected`);
      assert.deepEqual([result.digest, result.start, result.length, result.total, result.cluster], [digest, 0, LENGTH, LENGTH, identity]);
      const attempt = ["connecting", "start", "receiving"];
      assert.deepEqual(stages, [...attempt, "lost", ...attempt, "lost", ...attempt]);
      for (const { code, members, message, retry_in } of of("lost")) {
        assert.deepEqual([code, members, typeof message], ["connection", [], "string"]);
        assert.ok(retry_in > 0 && retry_in <= 0.4, `${retry_in}`);
      }
      // No byte was requested twice, and the progress goes on.
      assert.ok(returned() < LENGTH + 3 * OVERHEAD, `${returned()} bytes`);
      const offsets = of("start").map(({ offset }) => offset);
      assert.ok(offsets[0] === 0 && offsets[1] > MIB && offsets[2] > offsets[1] + MIB, `${offsets}`);
      const done = of("receiving").map((progress) => progress.done);
      assert.ok(done.every((bytes, index) => index === 0 || bytes > done[index - 1]), "progress went back");
      assert.ok(of("receiving").every(({ total }) => total === LENGTH) && done.at(-1) === LENGTH);
    });
  }

  test("resumes within a range", async () => {
    for (const [range, start, end] of [[`${MIB}-${10 * MIB}`, MIB, 10 * MIB + 1], [`-${9 * MIB}`, LENGTH - 9 * MIB, LENGTH]]) {
      front.cuts = [4 * MIB];
      const { result, error, of } = await run(digest, at({ range }));
      assert.equal(error, undefined);
      assert.ok(Buffer.from(await result.blob.arrayBuffer()).equals(BYTES.subarray(start, end)), range);
      assert.deepEqual([result.start, result.length, result.total, of("lost").length], [start, end - start, LENGTH, 1], range);
      assert.deepEqual(of("receiving").at(-1), { stage: "receiving", done: end - start, total: end - start });
    }
  });

  test("survives a restart of the server, also while no replica has reconnected", async () => {
    const hears = ({ stage, done }) => stage === "receiving" && done > 4 * MIB && restart();
    let restarted;
    const restart = () => (restarted ??= cluster.server.kill().then(() => cluster.startServer()));
    const { result, error } = await run(digest, at({ hears }));
    await restarted;
    await cluster.untilConnected();
    assert.equal(error, undefined);
    assert.ok(Buffer.from(await result.blob.arrayBuffer()).equals(BYTES));
  });

  test("dials again only once the sink has taken what arrived", async () => {
    let release;
    let isStuck = false;
    const released = new Promise((resolve) => (release = resolve));
    const collected = collector((written) => (written === 5 ? ((isStuck = true), released) : undefined));
    const getting = run(digest, at({ sink: collected.sink, onWaiting: (now) => now() }));
    await until("the sink is stuck", () => isStuck);
    front.links[0].close();
    await sleep(500); // dialling takes a hundredth of that
    assert.equal(front.links.length, 1, "bytes of a second link could overtake those of the first");
    release();
    const { error } = await getting;
    assert.deepEqual([error, front.links.length], [undefined, 2]);
    assert.ok(collected.bytes().equals(BYTES));
  });

  test("ends with the sink's error if the sink fails during a wait", async () => {
    const full = new Error("the disk is full");
    let fail;
    const writing = new Promise((_, reject) => (fail = reject));
    const write = () => writing;
    const hears = ({ stage }) => {
      if (stage === "receiving") front.links[0].close();
      if (stage === "lost") fail(full);
    };
    const { error, of } = await run(digest, at({ sink: { write }, hears }));
    assert.deepEqual([error, of("lost").length, front.links.length], [full, 1, 1]);
  });

  test("is not retried with retry 0, and leaves a correct beginning", async () => {
    front.cuts = [5 * MIB];
    const collected = collector();
    const { error, of } = await run(digest, at({ retry: 0, sink: collected.sink }));
    assert.ok(error instanceof ServerError && error.code === "connection" && error.canRetry, `${error?.stack}`);
    assert.deepEqual([of("lost"), front.links.length], [[], 1]);
    assert.ok(collected.isCorrect() && collected.bytes().length > MIB);
  });

  test("an abort ends a wait at once, and a wait for the sink", { timeout: 60_000 }, async () => {
    const reason = new Error("enough");
    const waiting = new AbortController();
    front.cuts = [5 * MIB];
    const waited = await run(digest, at({ signal: waiting.signal, onWaiting: () => waiting.abort(reason) }));
    assert.deepEqual([waited.error, front.links.length], [reason, 1]);

    const writing = new AbortController();
    const sink = { write: () => new Promise(() => {}) };
    const hears = ({ stage }) => {
      if (stage === "receiving") front.links[1].close();
      if (stage === "lost") setTimeout(() => writing.abort(reason), 500);
    };
    const stuck = await run(digest, at({ signal: writing.signal, sink, hears, onWaiting: (now) => now() }));
    assert.deepEqual([stuck.error, front.links.length], [reason, 2]);
    await sleep(300);
    assert.equal(front.links.length, 2, "it was retried after the abort");
  });

  test("an abort ends the wait for the last write", { timeout: 60_000 }, async () => {
    const [reason, control] = [new Error("enough"), new AbortController()];
    const sink = { write: () => (setTimeout(() => control.abort(reason), 300), new Promise(() => {})) };
    const { error } = await run(digest, at({ range: "0-99", signal: control.signal, sink }));
    assert.equal(error, reason);
  });

  test("replicas that lie after an interruption are named once the retries end", { timeout: 60_000 }, async () => {
    front.cuts = [5 * MIB];
    const hears = ({ stage }) => stage === "lost" && Object.assign(replicas, { isLying: true, everyone: true });
    const collected = collector();
    const { error, of } = await run(digest, at({ retry: 1, sink: collected.sink, hears }));
    assert.deepEqual([error?.code, error?.members.toSorted()], ["exhausted", ["replica-1", "replica-2", "replica-3", "replica-4"]], error?.message);
    const [first, ...later] = of("lost").map(({ code }) => code);
    assert.ok(first === "connection" && later.length > 0 && later.every((code) => code === "exhausted"), `${first},${later}`);
    assert.ok(collected.isCorrect());
  });
});

describe("an interrupted get of a lying server", () => {
  const FILE = new TextEncoder().encode("a file to get again\n");
  let server, digest;
  before(async () => {
    server = await startLyingServer();
    ({ digest } = (await put(FILE, { server: server.url, cluster: IDENTITY })).report.certificate);
  });
  after(() => server.close());
  beforeEach(() => Object.assign(server, { lie: null, links: 0, silences: 0 }));

  const at = (options) => ({ server: server.url, cluster: IDENTITY, ...options });

  test("gives up after the limit without progress", { timeout: 20_000 }, async () => {
    server.lie = "hangs up when read";
    const { error, of } = await run(digest, at({ retry: 1.5 }));
    assert.deepEqual([error.code, error.canRetry], ["connection", true]);
    assert.ok(of("lost").length >= 2 && server.links === of("lost").length + 1, `${of("lost").length} waits, ${server.links} links`);
  });

  test("lying replicas are not asked again if nothing was lost", async () => {
    server.lie = "flipped byte by all";
    const { error, of } = await run(digest, at({}));
    assert.deepEqual([error.code, error.members.length, of("lost"), server.links], ["exhausted", 4, [], 1]);
  });

  test("a get that cannot start fails at once", async () => {
    const gone = await run(digest, at({ server: "127.0.0.1:1" }));
    assert.deepEqual([gone.error.code, gone.of("lost")], ["connection", []]);
    const unknown = await run("1".repeat(32), at({}));
    assert.deepEqual([unknown.error.code, unknown.of("lost"), server.links], ["not-found", [], 1]);
  });

  test("a retry accepts only the cluster of the first attempt", async () => {
    server.lie = "hangs up when read";
    const hears = ({ stage }) => stage === "lost" && (server.lie = "another cluster");
    const { error } = await run(digest, at({ cluster: null, hears }));
    assert.deepEqual([error.code, error.check, error.expected, error.got], ["invalid", "identity", IDENTITY, OTHER_IDENTITY]);
  });

  test("verifies the committee again if a later server shows other proofs for it", async () => {
    server.lie = "hangs up when read";
    const hears = ({ stage }) => stage === "lost" && (server.lie = "forged possession");
    const { error } = await run(digest, at({ hears }));
    assert.deepEqual([error.code, error.check], ["invalid", "possession"]);
  });

  test("waits for the server to find the file no longer than the retries may take", async (t) => {
    const pass = clockOf(t, server);
    server.lie = "never located";
    const { error, of } = await pass(() => run(digest, at({ retry: 8 })), 10);
    assert.deepEqual([error.code, error.canRetry, of("lost"), server.links], ["connection", true, [], 1]);
    assert.match(error.message, /^the server made no progress for \d+ s while looking for the file, and no more time is allowed; /);
  });

  test("is retried at once when the caller asks", { timeout: 60_000 }, async (t) => {
    server.lie = "hangs up when read";
    // The timers of the announced waits never fire, so only the caller can end a wait.
    const waits = new Set();
    let held = 0;
    const { setTimeout: real } = globalThis;
    t.mock.method(globalThis, "setTimeout", (run, ms, ...args) => {
      if (!waits.delete(ms)) return real(run, ms, ...args);
      held += 1;
      return undefined;
    });
    const hears = ({ stage, retry_in: seconds }) => {
      if (stage !== "lost") return;
      waits.add(1000 * seconds);
      if (server.links === 4) server.lie = null;
    };
    const { result } = await run(digest, at({ hears, onWaiting: (now) => setImmediate(now) }));
    assert.deepEqual([Buffer.from(await result.blob.arrayBuffer()), held], [Buffer.from(FILE), 4]);
  });

  test("invalid options are named", async () => {
    for (const [options, name] of [[{ retry: "60" }, "TypeError"], [{ retry: -1 }, "RangeError"], [{ retry: NaN }, "RangeError"], [{ onWaiting: 1 }, "TypeError"]]) {
      await assert.rejects(get(digest, at(options)), { name });
    }
    assert.equal(server.links, 0);
  });
});
