// Retries of an interrupted put: when it retries, what it sends, and when it gives up.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chunksOf } from "../../verifier-wasm/npm/bytes.js";
import { initClient, put, ServerError } from "../../verifier-wasm/npm/node.js";
import { waitFor } from "../../verifier-wasm/npm/wait.js";
import { Attempts } from "../../verifier-wasm/npm/wasm/vouch_client.js";
import { clockOf } from "./clock.mjs";
import { IDENTITY, OTHER_IDENTITY, startLyingServer } from "../browser/support/lying_server.mjs";

const BLOCK = 256 << 10;
const MIB = 1 << 20;
const [BUSY, NO_SPACE, DIGEST_DIFFERS, TIMED_OUT] = [7, 13, 10, 15];

// The core decides when and how often, and is tested there. These tests show that its decisions reach JavaScript.
describe("attempts", () => {
  before(() => initClient()); // the module's instance is the package's

  test("a server that was never reached is not tried again", () => {
    const attempts = new Attempts(IDENTITY, undefined, 60);
    for (const fault of ["link", "refusal", "no-holder", "permanent", "?"]) assert.equal(attempts.pause(fault, 0, 0), undefined, fault);
  });

  test("the limit of the retries also limits the time to connect", () => {
    const deadline = (limit) => new Attempts(undefined, undefined, limit).connectDeadline();
    assert.deepEqual([undefined, 60, 4, 0, Infinity].map(deadline), [10_000, 10_000, 5000, 10_000, 10_000]);
  });

  test("an identity must be one, and a checkpoint, too", () => {
    assert.throws(() => new Attempts("no identity", undefined, 60), TypeError);
    assert.throws(() => new Attempts(IDENTITY, IDENTITY, 60), TypeError);
  });
});

describe("a wait", () => {
  const listeners = (signal) => {
    const own = new Set();
    const { addEventListener: add, removeEventListener: remove } = signal;
    signal.addEventListener = (type, run) => (own.add(run), add.call(signal, type, run));
    signal.removeEventListener = (type, run) => (own.delete(run), remove.call(signal, type, run));
    return own;
  };

  test("ends after its time and leaves no timer or listener", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { signal } = new AbortController();
    const own = listeners(signal);
    let isOver = false;
    const waiting = waitFor(3, signal).then(() => (isOver = true));
    t.mock.timers.tick(2999);
    await Promise.resolve();
    assert.deepEqual([isOver, own.size], [false, 1]);
    t.mock.timers.tick(1);
    await waiting;
    assert.equal(own.size, 0);
  });

  test("ends at once on a nudge, when the network returns, and with the reason on an abort", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] }); // and never advance them
    await waitFor(3, null, (now) => setImmediate(now));

    const own = new EventTarget();
    Object.assign(globalThis, { addEventListener: own.addEventListener.bind(own), removeEventListener: own.removeEventListener.bind(own) });
    t.after(() => {
      delete globalThis.addEventListener;
      delete globalThis.removeEventListener;
    });
    const online = waitFor(3);
    own.dispatchEvent(new Event("online"));
    await online;

    const [reason, control] = [new Error("enough"), new AbortController()];
    const aborted = waitFor(3, control.signal);
    control.abort(reason);
    await assert.rejects(aborted, reason);
    await assert.rejects(waitFor(3, control.signal), reason);
    await assert.rejects(waitFor(3, null, () => { throw reason; }), reason);
  });
});

test("a file is read in whole slices from an offset on", async () => {
  const bytes = new Uint8Array(9 * MIB + 5).map((_, index) => index >> 8);
  for (const file of [bytes, bytes.buffer, new Blob([bytes])]) {
    for (const from of [0, BLOCK, 5 * MIB + BLOCK, 9 * MIB, bytes.length]) {
      const chunks = [];
      for await (const chunk of chunksOf(file, from)) chunks.push(Buffer.from(chunk));
      assert.ok(Buffer.concat(chunks).equals(bytes.subarray(from)), `${from}`);
      assert.ok(chunks.slice(0, -1).every(({ length }) => length % BLOCK === 0), `${from}: ${chunks.map(({ length }) => length)}`);
    }
  }
});

describe("an interrupted put", () => {
  let server;
  before(async () => (server = await startLyingServer()));
  after(() => server.close());
  beforeEach(() => {
    Object.assign(server, { lie: null, cuts: [], offset: null, refusals: [], offers: [], begun: [], cancelled: [], received: [], silences: 0 });
    server.kept.clear();
  });

  let last = 0;
  /** Bytes that no test put before. */
  const fresh = (length) => {
    const bytes = new Uint8Array(length).map((_, index) => index >> 10);
    new DataView(bytes.buffer).setUint32(0, ++last);
    return bytes;
  };

  /** A put's progress, with its result or its error. */
  async function run(file, options = {}) {
    const told = [];
    const onProgress = (progress) => {
      told.push(progress);
      options.hears?.(progress);
    };
    const { hears: _, ...rest } = options;
    const [outcome] = await Promise.allSettled([put(file, { server: server.url, cluster: IDENTITY, onProgress, ...rest })]);
    const stages = told.map(({ stage }) => stage).filter((stage, index, all) => stage !== all[index - 1] && stage !== "member");
    const of = (name) => told.filter(({ stage }) => stage === name);
    return { result: outcome.value, error: outcome.reason, stages, of };
  }

  for (const [name, form] of Object.entries({ bytes: (bytes) => bytes, buffer: ({ buffer }) => buffer, blob: (bytes) => new Blob([bytes]) })) {
    test(`resumes ${name} at the server's offset`, async () => {
      const bytes = fresh(5 * MIB + 77);
      server.cuts = [{ at: MIB }, { at: 3 * MIB }];
      const { result, error, stages, of } = await run(form(bytes));
      assert.equal(error, undefined);
      assert.equal(result.report.verdict, "valid");
      assert.equal(result.resumed_from, 3 * MIB);
      assert.deepEqual(server.begun, [0, MIB, 3 * MIB]);
      assert.deepEqual(of("resuming"), [MIB, 3 * MIB].map((offset) => ({ stage: "resuming", offset, total: bytes.length })));
      assert.equal(of("hashed").length, 1, "hashed once");
      const again = ["lost", "connecting", "committee", "resuming", "sending"];
      assert.deepEqual(stages, ["hashing", "hashed", "connecting", "committee", "sending", ...again, ...again]);
      // The parts of all attempts add up to the file.
      const held = [...server.blobs.values()].at(-1);
      assert.ok(Buffer.from(held).equals(bytes));
      for (const { code, message, members, retry_in } of of("lost")) {
        assert.deepEqual([code, members, typeof message], ["connection", [], "string"]);
        assert.ok(retry_in > 0 && retry_in <= 0.4, `${retry_in}`);
      }
    });
  }

  test("progress starts at the resume offset", async () => {
    const bytes = fresh(4 * MIB);
    server.cuts = [{ at: 2 * MIB }];
    let resumed = false;
    const done = [];
    const hears = ({ stage, done: far }) => {
      resumed ||= stage === "resuming";
      if (resumed && stage === "sending") done.push(far);
    };
    await run(bytes, { hears });
    assert.ok(done.every((far) => far >= 2 * MIB), `${done}`);
    assert.deepEqual([done.at(-1), done], [bytes.length, done.toSorted((a, b) => a - b)]);
  });

  test("sends nothing when everything is stored, and everything when nothing was kept", async () => {
    const bytes = fresh(2 * MIB);
    server.cuts = [{ at: bytes.length }];
    const whole = await run(bytes);
    assert.deepEqual([whole.result.resumed_from, server.begun, whole.of("sending").at(-1).done], [bytes.length, [0, bytes.length], bytes.length]);

    Object.assign(server, { begun: [], cuts: [{ at: MIB }], offset: 0 });
    const none = await run(fresh(2 * MIB));
    assert.deepEqual([none.result.resumed_from, none.of("resuming"), server.begun], [0, [], [0, 0]]);
  });

  test("keeps its salt, so that a certificate lost in transit is accepted as its own", async () => {
    server.cuts = [{ at: MIB }];
    await run(fresh(2 * MIB));
    const [first, second] = server.offers.map(({ salt }) => Buffer.from(salt).toString("hex"));
    assert.equal(first, second);
    await run(fresh(2 * MIB));
    assert.notEqual(Buffer.from(server.offers[2].salt).toString("hex"), first);
  });

  test("retries after a temporary refusal, and not after a permanent one", async () => {
    server.cuts = [{ at: MIB, code: TIMED_OUT }];
    const { result, of } = await run(fresh(2 * MIB));
    assert.deepEqual([result.report.verdict, result.resumed_from, of("lost").map(({ code, reason }) => [code, reason])], ["valid", MIB, [["refused", "timed-out"]]]);

    for (const [code, reason] of [[DIGEST_DIFFERS, "digest-differs"], [NO_SPACE, "no-space"]]) {
      Object.assign(server, { begun: [], cuts: [{ at: MIB, code }] });
      const { error } = await run(fresh(2 * MIB));
      assert.deepEqual([error.code, error.reason, server.begun.length], ["refused", reason, 1]);
    }
  });

  test("a put that cannot start fails at once", async () => {
    server.refusals = [BUSY];
    const busy = await run(fresh(MIB));
    assert.deepEqual([busy.error.reason, busy.of("lost"), server.offers.length], ["busy", [], 1]);
    server.refusals = [BUSY];
    const small = await run(fresh(1000));
    assert.deepEqual([small.error.reason, small.of("lost"), server.offers.length], ["busy", [], 2]);
    const gone = await run(fresh(MIB), { server: "127.0.0.1:1" });
    assert.deepEqual([gone.error.code, gone.of("lost")], ["connection", []]);
  });

  test("keeps retrying while the server refuses to resume yet", async () => {
    server.cuts = [{ at: MIB }];
    let isFirst = true;
    const hears = ({ stage }) => {
      if (stage !== "lost") return;
      if (isFirst) server.refusals = [BUSY, BUSY];
      isFirst = false;
    };
    const { result, of } = await run(fresh(2 * MIB), { hears });
    assert.deepEqual([result.resumed_from, of("lost").map(({ code }) => code)], [MIB, ["connection", "refused", "refused"]]);
    // The backoff doubles; each wait is shortened at random by up to a half.
    const waits = of("lost").map((lost) => lost.retry_in);
    assert.ok([0.2, 0.4, 0.8].every((most, index) => waits[index] > most / 2 - 0.01 && waits[index] <= most), `${waits}`);
  });

  test("waits for a decision of the server no longer than the retries may take", async (t) => {
    const pass = clockOf(t, server);
    for (const [lie, what] of Object.entries({ "never opens": "opening the link", "never ready": "offering the file", "never certifies": "having the file certified" })) {
      Object.assign(server, { lie, links: 0, cancelled: [] });
      const { error, of } = await pass(() => run(fresh(MIB), { retry: 8 }), 10);
      assert.deepEqual([error.code, error.canRetry, of("lost"), server.links], ["connection", true, [], 1], lie);
      assert.match(error.message, new RegExp(`^the server made no progress for \\d+ s while ${what}, and no more time is allowed; `), lie);
      if (lie === "never opens") continue; // the server knows of no put yet
      while (server.cancelled.length === 0) await sleep(5);
      assert.deepEqual(server.cancelled, [true], `${lie}: a later put of the file resumes`);
    }
  });

  test("tells the server whether its bytes are still of use", async () => {
    // A file whose second reading, by the upload, is another than the first, by the hasher.
    const file = (upload) => {
      let readings = 0;
      const bytes = fresh(2 * MIB);
      return { size: bytes.length, slice: () => (readings++ === 0 ? new Blob([bytes]) : { arrayBuffer: () => upload(bytes) }) };
    };
    const gone = async () => {
      throw new Error("the disk is gone");
    };
    const shorter = async (bytes) => bytes.slice(0, -1).buffer;
    for (const [upload, keep] of [[gone, true], [shorter, false]]) {
      server.cancelled = [];
      const { error } = await run(file(upload));
      assert.equal(error.code, "source", error.message);
      while (server.cancelled.length === 0) await sleep(5);
      assert.deepEqual(server.cancelled, [keep], error.message);
    }
  });

  test("is not retried with retry 0, or if it is a stream", async () => {
    for (const [file, options] of [[fresh(2 * MIB), { retry: 0 }], [new Blob([fresh(2 * MIB)]).stream(), {}]]) {
      Object.assign(server, { begun: [], cuts: [{ at: MIB }] });
      const { error, of } = await run(file, options);
      assert.ok(error instanceof ServerError && error.code === "connection", `${error?.stack}`);
      assert.deepEqual([of("lost"), server.begun], [[], [0]]);
    }
  });

  test("gives up after the limit without progress", { timeout: 20_000 }, async () => {
    server.lie = "hangs up when signed";
    const { error, of } = await run(fresh(MIB), { retry: 1.5 });
    assert.deepEqual([error.code, error.canRetry], ["connection", true]);
    assert.ok(of("lost").length >= 2, `${of("lost").length} tries`);
    assert.deepEqual(server.cancelled, [], "what came is kept");
  });

  test("progress restores the full retry time", async () => {
    server.cuts = [1, 2, 3, 4].map((mib) => ({ at: mib * MIB }));
    const { result, error } = await run(fresh(5 * MIB), { retry: 0.25 }); // enough for the first wait, but not for a second
    assert.deepEqual([result?.resumed_from, error], [4 * MIB, undefined]);
  });

  test("a retry accepts only the cluster of the first attempt", async () => {
    server.cuts = [{ at: MIB }];
    const hears = ({ stage }) => stage === "lost" && (server.lie = "another cluster");
    const { error } = await run(fresh(2 * MIB), { cluster: null, hears });
    assert.deepEqual([error.code, error.check, error.expected, error.got], ["invalid", "identity", IDENTITY, OTHER_IDENTITY]);
  });

  test("verifies the committee again if a later server shows other proofs for it", async () => {
    server.cuts = [{ at: MIB }];
    const hears = ({ stage }) => stage === "lost" && (server.lie = "forged possession");
    const { error } = await run(fresh(2 * MIB), { hears });
    assert.deepEqual([error.code, error.check], ["invalid", "possession"]);
  });

  test("a server cannot choose an invalid resume offset", async () => {
    for (const offset of [1, BLOCK + 1, 3 * MIB, Number.MAX_SAFE_INTEGER]) {
      server.offset = offset;
      const { error } = await run(fresh(2 * MIB));
      assert.equal(error?.code, "protocol", `${offset}: ${error?.message}`);
    }
    server.offset = BLOCK;
    const { error } = await run(new Blob([fresh(2 * MIB)]).stream());
    assert.equal(error?.code, "protocol");
  });

  test("an abort ends a wait at once, and a running transfer", async () => {
    const reason = new Error("enough");
    const waiting = new AbortController();
    server.cuts = [{ at: MIB }];
    const waited = await run(fresh(2 * MIB), { signal: waiting.signal, onWaiting: () => waiting.abort(reason) });
    assert.deepEqual([waited.error, server.begun.length, server.cancelled], [reason, 1, []]);

    const sending = new AbortController();
    const hears = ({ stage, done }) => stage === "sending" && done > 0 && sending.abort(reason);
    const sent = await run(new Blob([fresh(20 * MIB)]), { signal: sending.signal, hears });
    assert.equal(sent.error, reason);
    while (server.cancelled.length === 0) await sleep(5);
    assert.deepEqual(server.cancelled, [false]);
  });

  test("is retried at once when the caller asks", async (t) => {
    Object.assign(server, { cuts: new Array(6).fill({ at: MIB }), offset: 0 });
    // The timers of the announced waits never fire, so only the caller can end a wait.
    const waits = new Set();
    let held = 0;
    const { setTimeout: real } = globalThis;
    t.mock.method(globalThis, "setTimeout", (run, ms, ...args) => {
      if (!waits.delete(ms)) return real(run, ms, ...args);
      held += 1;
      return undefined;
    });
    const hears = ({ stage, retry_in: seconds }) => stage === "lost" && waits.add(1000 * seconds);
    const { result } = await run(fresh(2 * MIB), { hears, onWaiting: (now) => setImmediate(now) });
    assert.deepEqual([result.report.verdict, held], ["valid", 6]);
  });

  test("a file of one message is sent again as a whole", async () => {
    server.lie = "hangs up when signed";
    const hears = ({ stage }) => stage === "lost" && (server.lie = null);
    const { result } = await run(fresh(1000), { hears });
    assert.deepEqual([result.report.verdict, result.resumed_from], ["valid", 0]);
    assert.deepEqual(server.received, ["blob", "blob"]);
  });

  test("invalid options are named", async () => {
    for (const [options, name] of [[{ retry: "60" }, "TypeError"], [{ retry: -1 }, "RangeError"], [{ retry: NaN }, "RangeError"], [{ onWaiting: 1 }, "TypeError"]]) {
      await assert.rejects(put(fresh(4), { server: server.url, cluster: IDENTITY, ...options }), { name });
    }
  });
});
