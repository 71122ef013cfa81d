// Puts and gets from Node.js: against a real cluster, and against a server that lies.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { WebSocket as Socket } from "ws";
import { ServerError, get, hash, inspect, put, verify } from "../../verifier-wasm/npm/node.js";
import { startCluster } from "../browser/support/cluster.mjs";
import { clockOf } from "./clock.mjs";
import { CERTIFICATE_LIES, IDENTITY, LINK_LIES, OTHER_IDENTITY, READ_LIES, startLyingServer } from "../browser/support/lying_server.mjs";

const text = (bytes) => new TextEncoder().encode(bytes);
const FILE = text("a file put from Node.js\n");
// Too large for one message with its offer.
const SCAN = pattern(100_000);

let cluster;
let identity;
let liar;
before(async () => {
  [cluster, liar] = await Promise.all([startCluster(), startLyingServer()]);
  identity = await cluster.identity();
});
after(async () => {
  liar.close();
  await cluster.stop();
});

const atCluster = (options = {}) => ({ server: cluster.address, cluster: identity, ...options });
const atLiar = (lie, options = {}) => {
  liar.lie = lie;
  return { server: liar.url, cluster: IDENTITY, ...options };
};
const failure = async (promise) => {
  const error = await promise.then(() => assert.fail("it succeeded"), (thrown) => thrown);
  assert.ok(error instanceof ServerError, `${error.stack}`);
  return error;
};

async function* pieces(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

// Bytes without repetition.
function pattern(length) {
  const words = new Uint32Array(Math.ceil(length / 4)).map((_, index) => Math.imul(index + 1, 2654435761));
  return new Uint8Array(words.buffer, 0, length);
}

test("a put ends with a valid certificate, and a get returns the bytes", async () => {
  const result = await put(FILE, atCluster());
  assert.equal(result.report.verdict, "valid");
  assert.equal(result.cluster, identity);
  assert.equal(result.report.certificate.expires_at, "never");
  assert.equal((await verify({ bundle: result.bundle, file: FILE, cluster: identity })).verdict, "valid");
  const { digest } = await hash(FILE);
  const got = await get(digest, atCluster());
  assert.deepEqual(new Uint8Array(await got.blob.arrayBuffer()), FILE);
  assert.deepEqual([got.digest, got.length, got.cluster, got.blob.type], [digest, FILE.length, identity, "application/octet-stream"]);
});

test("an earlier certificate is returned at once, unless renewal is requested", async () => {
  const bytes = pattern(700_001);
  const stages = new Set();
  const first = await put(bytes, atCluster());
  assert.equal(first.reused, false);
  const again = await put(new Blob([bytes]), atCluster({ onProgress: ({ stage }) => stages.add(stage) }));
  assert.deepEqual([again.reused, again.bundle], [true, first.bundle]);
  assert.ok(!stages.has("sending") && stages.has("committee"), `${[...stages]}`);
  const streamed = await put(pieces(bytes, 100_000), atCluster());
  assert.deepEqual([streamed.reused, streamed.bundle], [true, first.bundle]);
  const renewed = await put(bytes, atCluster({ renew: true }));
  assert.equal(renewed.reused, false);
  assert.notEqual(renewed.bundle, first.bundle);
  await assert.rejects(put(bytes, atCluster({ renew: "yes" })), TypeError);
});

test("every form of file is put, in lengths around chunk and message limits", async () => {
  for (const length of [0, 1, 65536, 65537, 262143, 262144, 262145, (4 << 20) + 1]) {
    const bytes = pattern(length);
    const { digest } = await hash(bytes);
    for (const file of [bytes, new Blob([bytes]), new Response(bytes).body, pieces(bytes, 100_000)]) {
      const { report } = await put(file, atCluster());
      assert.deepEqual([report.verdict, report.certificate.digest, report.certificate.length], ["valid", digest, length]);
    }
    const { blob } = await get(digest, atCluster({ length }));
    assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), bytes, `${length}`);
  }
});

test("progress is reported in order", async () => {
  const bytes = pattern(6 << 20);
  const told = [];
  const { report } = await put(new Blob([bytes]), atCluster({ onProgress: (progress) => told.push(progress) }));
  const stages = told.map(({ stage }) => stage).filter((stage, index, all) => stage !== all[index - 1]);
  assert.deepEqual(stages.slice(0, 4), ["hashing", "hashed", "connecting", "committee"]);
  const of = (name) => told.filter(({ stage }) => stage === name);
  for (const name of ["hashing", "sending"]) {
    const done = of(name).map((progress) => progress.done);
    assert.deepEqual(done, [...done].sort((a, b) => a - b), name);
    assert.equal(done.at(-1), bytes.length, name);
    assert.ok(of(name).every(({ total }) => total === bytes.length), name);
  }
  const [{ members, quorum, cluster: shown }] = of("committee");
  assert.deepEqual([members.map(({ name }) => name).sort(), quorum, shown], [["replica-1", "replica-2", "replica-3", "replica-4"], 3, identity]);
  for (const { member, name } of report.certificate.members.filter(({ signed }) => signed)) {
    const states = of("member").filter((progress) => progress.member === member).map(({ state }) => state);
    assert.deepEqual(states, ["receiving", "stored", "voted"], name);
  }
});

test("sending is reported to its end, even if the upload never sees the socket's buffer empty", async (t) => {
  const bytes = pattern(3 << 20);
  bytes[0] ^= 2; // a file that nobody put before
  // The upload polls the buffer every few milliseconds. On a busy machine, the certificate may arrive before the poll that would see it empty:
  // here, the buffer never is, and no such timer fires.
  class NeverEmpty extends Socket {
    get bufferedAmount() {
      return Math.max(1, super.bufferedAmount);
    }
  }
  const { WebSocket, setTimeout: real } = globalThis;
  globalThis.WebSocket = NeverEmpty;
  t.after(() => (globalThis.WebSocket = WebSocket));
  t.mock.method(globalThis, "setTimeout", (run, ms, ...args) => (ms > 0 && ms < 10 ? undefined : real(run, ms, ...args)));
  const done = [];
  const onProgress = (progress) => progress.stage === "sending" && done.push(progress.done);
  const { report } = await put(bytes, atCluster({ onProgress }));
  assert.deepEqual([report.verdict, ...done.slice(-2)], ["valid", bytes.length - 1, bytes.length]);
});

test("progress never goes back while the server reads nothing", async () => {
  const bytes = pattern(6 << 20);
  bytes[0] ^= 1; // a file that nobody put before
  const done = [];
  const onProgress = (progress) => {
    if (progress.stage !== "sending") return;
    done.push(progress.done);
    // Not before: it must have said where to begin.
    if (done.length === 1) cluster.server.pause();
    // More reports than chunks: by now, the socket's buffer holds some of them.
    if (done.length === 50) cluster.server.resume();
  };
  const { report } = await put(new Blob([bytes]), atCluster({ onProgress }));
  assert.equal(report.verdict, "valid");
  assert.deepEqual(done, [...done].sort((a, b) => a - b));
  assert.equal(done.at(-1), bytes.length);
});

test("a small file is put in one message", async () => {
  for (const [length, messages] of [[0, ["blob"]], [65536, ["blob"]], [65537, ["put", "chunk", "putEnd"]]]) {
    const bytes = pattern(length);
    for (const file of [bytes, new Blob([bytes.subarray(0, 1), bytes.subarray(1)])]) {
      liar.received = [];
      const told = [];
      const { report, reused, resumed_from } = await put(file, atLiar(null, { onProgress: (progress) => told.push(progress) }));
      assert.deepEqual([report.verdict, reused, resumed_from], ["valid", false, 0]);
      assert.deepEqual(liar.received, messages, `${length} bytes`);
      assert.deepEqual(Buffer.from(liar.blobs.get(report.certificate.digest_base58)), Buffer.from(bytes));
      const stages = told.map(({ stage }) => stage).filter((stage, index, all) => stage !== all[index - 1]);
      const [hashed, ...rest] = stages.slice(stages.indexOf("hashed"));
      assert.deepEqual([hashed, ...rest.slice(0, 3)], ["hashed", "connecting", "committee", length === 65537 ? "member" : "sending"]);
      assert.deepEqual(told.findLast(({ stage }) => stage === "sending"), { stage: "sending", done: length, total: length });
      // Reported once the certificate names the signers.
      const states = told.filter(({ stage, member }) => stage === "member" && member === 0).map(({ state }) => state);
      assert.deepEqual(states.slice(-2), ["stored", "voted"]);
    }
  }
});

test("a small file that is certified already gets the earlier certificate", async () => {
  const bytes = text(`certified once: ${Math.random()}\n`);
  const first = await put(bytes, atCluster());
  const again = await put(bytes, atCluster());
  assert.deepEqual([first.reused, again.reused, again.bundle], [false, true, first.bundle]);
  const renewed = await put(bytes, atCluster({ renew: true }));
  assert.deepEqual([renewed.reused, renewed.bundle === first.bundle], [false, false]);
});

test("an expiry is in the certificate", async () => {
  const expires = new Date(Date.now() + 86_400_000);
  const { bundle } = await put(FILE, atCluster({ expires, renew: true }));
  assert.equal((await inspect(bundle)).expires_at, Math.floor(expires / 1000));
  const past = await failure(put(FILE, atCluster({ expires: 1 })));
  assert.deepEqual([past.code, past.reason, past.canRetry], ["refused", "expired", false]);
});

test("a slow sink applies backpressure and loses no byte", async () => {
  const bytes = pattern(5_000_000);
  const { report } = await put(bytes, atCluster());
  const chunks = [];
  let busy = 0;
  const sink = {
    write: async (chunk) => {
      assert.equal(++busy, 1, "one call at a time");
      await new Promise((resolve) => setTimeout(resolve, 2));
      chunks.push(chunk);
      busy -= 1;
    },
  };
  const got = await get(report.certificate.digest, atCluster({ sink }));
  assert.equal(got.blob, undefined);
  assert.deepEqual(new Uint8Array(Buffer.concat(chunks)), bytes);
});

test("a range is verified by itself and yields only its bytes", async () => {
  const bytes = pattern(3_000_001);
  const { report } = await put(bytes, atCluster());
  const { digest } = report.certificate;
  const cases = { "0-0": [0, 1], "100-700000": [100, 700_001], "2999990-": [2_999_990, 3_000_001], "-5": [2_999_996, 3_000_001], "-300000": [2_700_001, 3_000_001], "0-99999999999999999999": [0, 3_000_001] };
  for (const [range, [start, end]] of Object.entries(cases)) {
    const told = [];
    const got = await get(digest, atCluster({ range, onProgress: (progress) => progress.stage === "receiving" && told.push(progress) }));
    assert.deepEqual(new Uint8Array(await got.blob.arrayBuffer()), bytes.slice(start, end), range);
    assert.deepEqual([got.start, got.length, got.total], [start, end - start, bytes.length], range);
    assert.deepEqual(told.at(-1), { stage: "receiving", done: end - start, total: end - start }, range);
  }
  const beyond = await failure(get(digest, atCluster({ range: "3000001-" })));
  assert.deepEqual([beyond.code, beyond.got, beyond.canRetry], ["range", "3000001-", false], beyond.message);
  for (const range of ["", "5", "2-1", "0-1,3-4", " 0-1"]) await assert.rejects(get(digest, atCluster({ range })), { name: "TypeError", message: /^range: expected / });
  await assert.rejects(get(digest, atCluster({ range: 5 })), TypeError);
});

test("a sink that fails ends the get", async () => {
  const { report } = await put(FILE, atCluster({ renew: true }));
  for (const write of [() => { throw new Error("full"); }, async () => { throw new Error("full"); }]) {
    await assert.rejects(get(report.certificate.digest, atCluster({ sink: { write } })), { message: "full" });
  }
});

test("an abort ends a put and a get at once, and the server continues", async () => {
  const reason = new Error("enough");
  await assert.rejects(put(FILE, atCluster({ signal: AbortSignal.abort(reason) })), reason);
  for (const stage of ["hashing", "connecting", "committee", "sending"]) {
    const controller = new AbortController();
    const onProgress = (progress) => progress.stage === stage && controller.abort(reason);
    await assert.rejects(put(new Blob([pattern(20 << 20)]), atCluster({ signal: controller.signal, onProgress })), reason, stage);
  }
  const { report } = await put(pattern(5 << 20), atCluster());
  const controller = new AbortController();
  const onProgress = ({ stage }) => stage === "receiving" && controller.abort(reason);
  await assert.rejects(get(report.certificate.digest, atCluster({ signal: controller.signal, onProgress })), reason);
  assert.equal((await put(FILE, atCluster())).report.verdict, "valid");
});

test("an unreadable file, or one shorter than its size, fails the put", async () => {
  const broken = async function* () {
    yield FILE;
    throw new Error("the disk is gone");
  };
  const unread = await failure(put(broken(), atCluster()));
  assert.deepEqual([unread.code, unread.canRetry], ["source", false]);
  assert.match(unread.message, /the disk is gone/);

  let reads = 0;
  const shrinking = {
    size: SCAN.length,
    slice: (from, to) => new Blob([reads++ === 0 ? SCAN : SCAN.subarray(1)]).slice(from, to),
  };
  const changed = await failure(put(shrinking, atCluster()));
  assert.deepEqual([changed.code, changed.expected, changed.canRetry], ["source", "100000 bytes", true]);
});

test("a server of another cluster is refused, whichever side notices first", async () => {
  const { reason, code } = await failure(put(FILE, atCluster({ cluster: OTHER_IDENTITY })));
  assert.deepEqual([code, reason], ["refused", "another-cluster"]);
  for (const task of [(options) => put(FILE, options), (options) => get("1".repeat(32), options)]) {
    const error = await failure(task(atLiar(null, { cluster: OTHER_IDENTITY })));
    assert.deepEqual([error.code, error.check, error.expected, error.got], ["invalid", "identity", OTHER_IDENTITY, IDENTITY]);
  }
});

test("the lying server's honest answer is accepted", async () => {
  assert.equal((await put(FILE, atLiar(null))).report.verdict, "valid");
  const taken = await put(FILE, atLiar(null, { cluster: null }));
  assert.deepEqual([taken.report.verdict, taken.cluster], ["valid", IDENTITY]);
});

const CHECKS = {
  "forged signature": "signature",
  "signature of no point": "signature",
  "another digest": "digest",
  "another length": "length",
  "another salt": "receipt",
  "shorter duty": "receipt",
  "too few signers": "signers",
  "a signer who did not sign": "signature",
  "old certificate": "time",
  "certificate of the future": "time",
  "certificate of another cluster": "epoch",
};

for (const lie of CERTIFICATE_LIES) {
  test(`a lying server: ${lie}`, async () => {
    for (const file of [FILE, SCAN]) {
      // Without `renew`, the answer to a small file may be an earlier certificate, which has another salt.
      const error = await failure(put(file, atLiar(lie, { renew: file === FILE })));
      if (lie === "truncated certificate") {
        assert.equal(error.code, "protocol");
        continue;
      }
      assert.deepEqual([error.code, error.check, error.canRetry], ["invalid", CHECKS[lie], false], error.message);
      assert.ok(error.expected && error.got && error.expected !== error.got, error.message);
    }
  });
}

const LINKS = {
  "another cluster": ["invalid", "identity"],
  "another committee": ["invalid", "identity"],
  "hello of another cluster": ["invalid", "identity"],
  "another cluster on the link": ["invalid", "identity"],
  "forged possession": ["invalid", "possession"],
  "bad Auth": ["invalid", "link"],
  "no Auth": ["protocol", null],
  garbage: ["protocol", null],
  "garbage certificate": ["protocol", null],
  "hangs up": ["connection", null],
  "hangs up when signed": ["connection", null],
};

for (const lie of LINK_LIES) {
  test(`a lying server: ${lie}`, async () => {
    for (const file of [FILE, SCAN]) {
      const error = await failure(put(file, atLiar(lie, { retry: 0 })));
      assert.deepEqual([error.code, error.check], LINKS[lie], error.message);
      assert.equal(error.canRetry, error.code === "connection");
    }
  });
}

test("every lie was tested", () => {
  assert.deepEqual([...CERTIFICATE_LIES].sort(), [...Object.keys(CHECKS), "truncated certificate"].sort());
  assert.deepEqual([...LINK_LIES].sort(), Object.keys(LINKS).sort());
});

for (const lie of READ_LIES) {
  test(`lying replicas: ${lie}`, async () => {
    const { report } = await put(FILE, atLiar(null));
    const rejected = [];
    const getting = get(report.certificate.digest, atLiar(lie, { onProgress: (progress) => progress.stage === "rejected" && rejected.push(progress.name) }));
    if (lie === "flipped byte by one") {
      assert.deepEqual(new Uint8Array(await (await getting).blob.arrayBuffer()), FILE);
      assert.equal(rejected.length, 1);
    } else {
      // The get fails when the last replica has failed.
      const error = await failure(getting);
      assert.deepEqual([error.code, error.members.length, rejected.length], ["exhausted", 4, 3], error.message);
    }
  });
}

test("a get of an unknown blob fails", async () => {
  const { code, message } = await failure(get("1".repeat(32), atCluster()));
  assert.equal(code, "not-found");
  assert.match(message, /1{32}/);
});

test("an unreachable server and a foreign service are errors", async () => {
  const gone = await failure(put(FILE, atCluster({ server: "127.0.0.1:1" })));
  assert.deepEqual([gone.code, gone.canRetry], ["connection", true]);
  assert.match(gone.message, /127\.0\.0\.1:1/);
  const other = createServer((socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n")).listen(0, "127.0.0.1");
  await new Promise((resolve) => other.once("listening", resolve));
  assert.equal((await failure(put(FILE, atCluster({ server: `127.0.0.1:${other.address().port}` })))).code, "connection");
  other.close();
});

test("a put succeeds with one dead replica, and names two", async () => {
  const [first, second] = cluster.replicas;
  await first.kill();
  await cluster.untilConnected(3);
  const { report } = await put(FILE, atCluster({ renew: true }));
  assert.equal(report.certificate.signers.length, 3);
  await second.kill();
  await cluster.untilConnected(2);
  const error = await failure(put(FILE, atCluster({ renew: true })));
  assert.deepEqual([error.code, error.reason, error.members.sort(), error.canRetry], ["refused", "not-enough-replicas", ["replica-1", "replica-2"], true]);
  first.start();
  second.start();
  await cluster.untilConnected(4);
});

test("a server that only answers pings times out with a reason", async (t) => {
  const pass = clockOf(t, liar);
  liar.lie = null;
  const { digest } = await hash(FILE);
  await put(FILE, atLiar(null));
  const cases = [
    ["never opens", () => put(FILE, atLiar("never opens", { retry: 0 })), 20, "opening the link", "Hello and Auth"],
    ["never ready", () => put(SCAN, atLiar("never ready", { retry: 0 })), 100, "offering the file", "Ready or Certified"],
    ["never certifies", () => put(FILE, atLiar("never certifies", { retry: 0 })), 100, "having the file certified", "Progress or Certified"],
    ["never located", () => get(digest, atLiar("never located", { retry: 0 })), 30, "looking for the file", "Located"],
    ["never read", () => get(digest, atLiar("never read", { retry: 0 })), 60, "reading the file", "Chunk"],
  ];
  for (const [lie, attempt, seconds, what, expected] of cases) {
    const error = await failure(pass(attempt, seconds));
    assert.deepEqual([error.code, error.canRetry, error.expected, error.got], ["connection", true, expected, "nothing"], lie);
    assert.match(error.message, new RegExp(`^the server made no progress for ${seconds} s while ${what}: expected ${expected}, got nothing; try again`), lie);
  }
});
