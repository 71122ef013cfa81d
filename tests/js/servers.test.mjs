// A client of several servers: the next one goes on when one fails, stands still, or lies.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { get, put, ServerError } from "../../verifier-wasm/npm/node.js";
import { startFront } from "../browser/support/between.mjs";
import { startCluster } from "../browser/support/cluster.mjs";
import { startLyingServer } from "../browser/support/lying_server.mjs";

const MIB = 1 << 20;
const BYTES = new Uint8Array(new Uint32Array(6 * MIB).map((_, index) => Math.imul(index + 1, 2654435761)).buffer);
const DEAD = "127.0.0.1:1";

/** Runs a put or a get. Returns its progress, with its result or its error. */
async function run(work, { hears, ...options }) {
  const told = [];
  const onProgress = (progress) => {
    told.push(progress);
    hears?.(progress);
  };
  const [{ value, reason }] = await Promise.allSettled([work({ ...options, onProgress })]);
  return { result: value, error: reason, of: (name) => told.filter(({ stage }) => stage === name) };
}

describe("with several servers", () => {
  let cluster, front, liar, direct, identity;

  before(async () => {
    cluster = await startCluster();
    direct = `http://${cluster.address}`;
    front = await startFront(direct);
    liar = await startLyingServer(); // of another cluster
    identity = (await put(new TextEncoder().encode("first"), { server: direct, cluster: null })).cluster;
  });
  after(async () => {
    await cluster?.stop();
    await front?.close();
    await liar?.close();
  });
  beforeEach(() => Object.assign(front, { cuts: [], isUp: true, links: [], most: Infinity }));

  const at = (server, more) => ({ server, cluster: identity, ...more });

  test("a put goes on at the next one, at once, and sends no byte twice that the replicas have", async () => {
    const servers = [front.url, direct];
    const hears = ({ stage, done }) => stage === "sending" && done > 12 * MIB && front.links[0].close();
    front.most = 16 * MIB;
    const { result, error, of } = await run((options) => put(BYTES, options), at(servers, { hears }));
    assert.equal(error, undefined);
    assert.equal(result.report.verdict, "valid");
    assert.ok(result.resumed_from > MIB, `resumed from ${result.resumed_from}`);
    assert.deepEqual(of("lost").map(({ code, retry_in, server, next }) => [code, retry_in, server, next]), [["connection", 0, front.url, direct]]);
    assert.deepEqual(of("resuming").length, 1);
  });

  test("a get goes on at the next one, and gets no byte twice", async () => {
    const { report } = await put(BYTES, at(direct));
    front.cuts = [8 * MIB];
    const { result, error, of } = await run((options) => get(report.certificate.digest, options), at([front.url, new URL(direct), front.url]));
    assert.equal(error, undefined);
    assert.ok(Buffer.from(await result.blob.arrayBuffer()).equals(BYTES));
    assert.deepEqual(of("lost").map(({ retry_in, server, next }) => [retry_in, server, next]), [[0, front.url, new URL(direct).href]]);
    assert.ok(of("start")[1].offset > MIB);
  });

  test("one where nothing listens, and one of another cluster, are passed over", async () => {
    const servers = [DEAD, liar.url, direct];
    const { result, error, of } = await run((options) => put(new TextEncoder().encode("passed on"), options), at(servers, { retry: 0 }));
    assert.equal(error, undefined);
    assert.equal(result.cluster, identity);
    assert.deepEqual(of("lost").map(({ code, server, next }) => [code, server, next]), [["connection", DEAD, liar.url], ["invalid", liar.url, direct]]);
    assert.deepEqual(liar.received, [], "another cluster receives nothing");
  });

  test("a stream goes on at the next one until it was read from", async () => {
    async function* stream() {
      for (let at = 0; at < BYTES.length; at += MIB) {
        yield BYTES.subarray(at, at + MIB);
        await sleep(5);
      }
    }
    const fresh = await run((options) => put(stream(), options), at([DEAD, direct]));
    assert.equal(fresh.error, undefined);
    const hears = ({ stage, done }) => stage === "sending" && done > 4 * MIB && front.links[0].close();
    const { error, of } = await run((options) => put(stream(), options), at([front.url, direct], { hears }));
    assert.deepEqual([error?.code, of("lost").length], ["connection", 0]);
  });

  test("the error has the last error of each", async () => {
    const { error } = await run((options) => get(new Uint8Array(32), options), at([DEAD, liar.url]));
    assert.ok(error instanceof ServerError);
    assert.equal(error.code, "every-server");
    assert.deepEqual(error.errors.map(({ server, error: of }) => [server, of.code]), [[DEAD, "connection"], [liar.url, "invalid"]]);
    assert.ok(error.message.includes(`; ${DEAD}: `) && error.message.includes(`; ${liar.url}: `), error.message);
    assert.equal(error.canRetry, true);
    // None is there.
    const missing = await run((options) => get(new Uint8Array(32), options), at([front.url, direct]));
    assert.deepEqual(missing.error.errors.map(({ error: of }) => of.code), ["not-found", "not-found"]);
  });

  test("an error of the caller ends it at once", async () => {
    const full = new Error("the disk is full");
    const { report } = await put(BYTES, at(direct));
    const sink = { write: () => Promise.reject(full) };
    const { error, of } = await run((options) => get(report.certificate.digest, options), at([front.url, direct], { sink }));
    assert.deepEqual([error, of("lost").length], [full, 0]);
    const outside = await run((options) => get(report.certificate.digest, options), at([front.url, direct], { range: `${BYTES.length}-` }));
    assert.deepEqual([outside.error.code, outside.of("lost").length], ["range", 0]);
    for (const server of [[], [""], [DEAD, ""], [DEAD, null], undefined]) await assert.rejects(put(BYTES, at(server)), TypeError);
  });

  test("at first contact, the cluster of the first that answers is the only one that counts", async () => {
    const bytes = BYTES.map((byte) => byte ^ 1);
    const hears = ({ stage, done }) => stage === "sending" && done > 4 * MIB && front.links.length === 1 && front.links[0].close();
    const { result, error, of } = await run((options) => put(bytes, options), { server: [front.url, liar.url], cluster: null, hears });
    assert.equal(error, undefined);
    assert.equal(result.cluster, identity);
    assert.deepEqual(of("lost").map(({ code, next }) => [code, next]), [["connection", liar.url], ["invalid", front.url]]);
    assert.deepEqual(liar.received, []);
  });
});
