// Puts and gets with a recorded checkpoint: which servers are refused, and what a program learns to record.
import assert from "node:assert/strict";
import { after, before as beforeAll, beforeEach, test } from "node:test";
import { ServerError, get, put, verify } from "../../verifier-wasm/npm/node.js";
import { startLyingServer } from "../browser/support/lying_server.mjs";
import { before, changed, checkpointOf, fork, identityOf } from "../browser/support/worlds.mjs";

const FILE = new TextEncoder().encode("a file put after the committee changed\n");
// Too large for one message with its offer.
const SCAN = new Uint8Array(100_000).fill(7);
const identity = identityOf(changed());

let server;
beforeAll(async () => {
  server = await startLyingServer();
});
after(() => server.close());
beforeEach(() => Object.assign(server, { lie: null, world: changed(), received: [], cuts: [] }));

const at = (options = {}) => ({ server: server.url, cluster: identity, ...options });
const failure = async (promise) => {
  const error = await promise.then(() => assert.fail("it succeeded"), (thrown) => thrown);
  assert.ok(error instanceof ServerError, `${error.stack}`);
  return error;
};
const tasks = (checkpoint) => [() => put(FILE, at({ checkpoint })), () => put(SCAN, at({ checkpoint })), () => get("1".repeat(32), at({ checkpoint }))];
const sent = () => server.received.filter((name) => ["blob", "chunk", "read", "locate"].includes(name));

test("a put and a get name the newest committee, in the event and in the result", async () => {
  const told = [];
  const onProgress = (progress) => progress.stage === "committee" && told.push([progress.epoch, progress.checkpoint, progress.cluster]);
  const stored = await put(FILE, at({ onProgress }));
  assert.deepEqual(told, [[2, checkpointOf(changed()), identity]]);
  assert.deepEqual([stored.checkpoint, stored.report.standing.trusted_epoch], [checkpointOf(changed()), 0]);
  const got = await get(stored.report.certificate.digest, at());
  assert.equal(got.checkpoint, checkpointOf(changed()));
  // The founding committee has one, too.
  server.world = before(changed(), 0);
  assert.equal((await put(FILE, at({ checkpoint: `0:${identity}` }))).checkpoint, `0:${identity}`);
});

test("a server with the recorded committee is accepted, also if it knows later ones", async () => {
  for (const epoch of [0, 1, 2]) {
    const checkpoint = checkpointOf(changed(), epoch);
    const { report, bundle, checkpoint: newest } = await put(SCAN, at({ checkpoint }));
    // The certificate is judged from the recorded committee, and the bundle serves also those who have none.
    assert.deepEqual([report.verdict, report.standing.trusted_epoch, newest], ["valid", epoch, checkpointOf(changed())]);
    assert.equal((await verify({ bundle, file: SCAN, cluster: identity })).verdict, "valid");
    assert.equal((await get(report.certificate.digest, at({ checkpoint }))).length, SCAN.length);
  }
});

test("a server that shows only earlier committees is refused before any byte is sent", async () => {
  server.world = before(changed(), 1);
  const checkpoint = checkpointOf(changed());
  for (const task of tasks(checkpoint)) {
    const { code, check, expected, got, canRetry } = await failure(task());
    assert.deepEqual([code, check, expected, got, canRetry], ["old-epoch", "epoch", "epoch 2", "1", true]);
  }
  assert.deepEqual(server.received, []);
  // Nobody can know without the record.
  assert.equal((await put(FILE, at())).report.verdict, "valid");
});

test("a server that shows another committee is refused before any byte is sent", async () => {
  server.world = fork();
  for (const epoch of [1, 2]) {
    const checkpoint = checkpointOf(changed(), epoch);
    for (const task of tasks(checkpoint)) {
      const { code, check, expected, got, canRetry } = await failure(task());
      const [, own] = checkpoint.split(":");
      const [, others] = checkpointOf(fork(), epoch).split(":");
      assert.deepEqual([code, check, expected, got, canRetry], ["another-committee", "chain", own, others, false]);
    }
  }
  assert.deepEqual(sent(), []);
});

test("a server that loses its newest committee during a put is refused with the same code", async () => {
  const codes = [];
  const onProgress = (progress) => {
    if (progress.stage === "committee") server.world = before(changed(), 1);
    if (progress.stage === "lost") codes.push(progress.code);
  };
  server.cuts = [{ at: 65_536 }];
  const error = await failure(put(SCAN, at({ onProgress, retry: 1 })));
  assert.equal(error.code, "old-epoch");
  assert.deepEqual([codes[0], ...new Set(codes.slice(1))], ["connection", "old-epoch"]);
});

test("a checkpoint is a text of an epoch and a digest", async () => {
  for (const checkpoint of [7, {}, "", identity, `-1:${identity}`, `1:${identity}0`, `1:${"1".repeat(200)}`]) {
    for (const task of tasks(checkpoint)) await assert.rejects(task, { name: "TypeError", message: /^checkpoint: / });
  }
  assert.equal((await put(FILE, at({ checkpoint: null }))).report.verdict, "valid");
});
