// The log head that the page shows: when it asks, and what it makes of the answers. Heads are judged by the package itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import { toBase58 } from "../independent/text.mjs";
import { headBundle } from "../browser/support/log_bundles.mjs";
import { committeeNamed } from "../vectors/generator/world.mjs";
import { makeLog } from "../vectors/generator/log_world.mjs";
import { LogWatch } from "../../web/logic/log_watch.js";
import { logHead, logTrouble } from "../../web/logic/words.js";
import { limits, verifyHead } from "../../verifier-wasm/npm/node.js";
import { NOW } from "./files.mjs";

const [committee, stranger] = [committeeNamed("n4"), committeeNamed("n7")];
const [CLUSTER, OTHER] = [committee, stranger].map(({ digest }) => toBase58(digest));
const blocks = makeLog(committee);
const headAt = (height, how) => headBundle(committee, blocks.slice(0, height), how);
const SECOND = 1000;

const ok = (text) => async () => new Response(text);
const status = (code) => async () => new Response(null, { status: code });
const endless = (piece) => async (_, { signal }) => {
  const pull = (stream) => (signal.aborted ? stream.error(signal.reason) : stream.enqueue(piece));
  return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
};
const hanging = (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

// A watch of a server with these answers, one after the other; the last one again and again.
function watching(...answers) {
  const at = { clock: 0, asked: [], judged: 0 };
  const fetch = (url, options) => {
    at.asked.push(url);
    return (answers.length > 1 ? answers.shift() : answers[0])(url, options);
  };
  const judge = async ({ bundle, cluster, height }) => {
    at.judged += 1;
    return verifyHead({ bundle: await bundle.text(), cluster, height, now: NOW + 3600 });
  };
  const watch = new LogWatch({ fetch, limits, judge, now: () => at.clock });
  watch.follow("http://server", CLUSTER);
  const after = async (seconds) => {
    at.clock += seconds * SECOND;
    await watch.tick(true);
    return watch.state;
  };
  return Object.assign(at, { watch, after });
}

test("a server without a head is asked to wait for one, and a server with one for its newest, every 20 s", async () => {
  const { watch, asked, after } = watching(status(204), ok(headAt(3)), ok(headAt(7)));
  assert.equal(await after(0), "none");
  assert.equal(watch.head, null);
  assert.equal(await after(19), "none");
  assert.equal(await after(1), "verified");
  assert.equal(watch.head.height, 3);
  assert.equal(await after(19), "verified");
  assert.equal(await after(1), "verified");
  assert.equal(watch.head.height, 7);
  assert.deepEqual(asked, ["/v1/log/head?after=0", "/v1/log/head?after=0", "/v1/log/head"].map((path) => `http://server${path}`));
});

test("the age of the head grows while the page is open", async () => {
  const { watch, after } = watching(ok(headAt(7)), hanging);
  await after(0);
  const age = watch.head.age;
  watch.tick(false);
  void after(61);
  assert.equal(watch.age, age + 61);
});

test("a page that nobody sees asks nothing, and ends what it has asked", async () => {
  const one = watching(hanging, ok(headAt(7)));
  await one.watch.tick(false);
  assert.equal(one.asked.length, 0);
  const hidden = one.watch.tick(true);
  await new Promise((resolve) => setTimeout(resolve));
  await one.watch.tick(true); // while it is being asked
  assert.equal(one.asked.length, 1);
  await one.watch.tick(false);
  await hidden;
  assert.equal(one.watch.state, "unknown");
  // Seen again, it asks at once.
  assert.equal(await one.after(0), "verified");
});

test("an older head than one that was verified is called old, and the newest stays known", async () => {
  const { watch, after } = watching(ok(headAt(7)), ok(headAt(3)), status(404), ok(headAt(7)));
  await after(0);
  assert.equal(await after(20), "older");
  assert.deepEqual([watch.got, watch.head.height], ["3", 7]);
  const [shown, more] = logHead(watch);
  assert.match(shown, /^The server shows an old log head, of block 3, although one of block 7 was verified here\./);
  assert.match(more, /^The newest that was verified: Block 7 of 21 September 2026 at 14:13:27 UTC, .+ ago\. 3 of 4 replicas signed it\.$/);
  assert.equal(logTrouble(watch), "it shows an old log head");
  assert.equal(await after(20), "older");
  assert.equal(watch.got, null);
  assert.match(logHead(watch)[0], /^The server shows no log head any more, although one of block 7 was verified here\./);
  assert.equal(await after(20), "verified");
  assert.equal(logTrouble(watch), null);
});

test("the highest head is remembered for the cluster, also with another server of it", async () => {
  const { watch, asked, after } = watching(ok(headAt(7)), ok(headAt(3)));
  await after(0);
  watch.follow("http://another", CLUSTER);
  assert.equal(watch.state, "unknown");
  assert.equal(await after(0), "older");
  assert.equal(asked.at(-1), "http://another/v1/log/head");
});

test("what does not verify is not shown as a head, with the core's reason", async () => {
  const bytes = new Uint8Array(96);
  const cases = [
    [headAt(7, { signature: bytes }), /^Not verified: the certificate is forged or altered \(signature: /],
    [headAt(7, { signers: [0, 1] }), /^Not verified: too few members signed the certificate \(signers: expected at least 3, got 2\)\.$/],
    [headBundle(stranger, makeLog(stranger)), /^Not verified: the certificate is by another cluster than the one you trust /],
    ["<!doctype html>", /^Not verified: the bundle is damaged, or is not a bundle /],
    [headAt(7).replace("log-head", "op-proof"), /^Not verified: the bundle is damaged, or is not a bundle \(bundle type: expected "application\/vnd\.vouch\.log-head\+json"/],
    ["", /^Not verified: /],
  ];
  for (const [text, reason] of cases) {
    const { watch, after } = watching(ok(text));
    assert.equal(await after(0), "not-verified", text.slice(0, 40));
    assert.match(logHead(watch)[0], reason);
    assert.deepEqual([watch.head, logTrouble(watch)], [null, "its log head is not verified"]);
  }
});

test("a head from the future is not verified", async () => {
  const { watch, after } = watching(ok(headBundle(committee, blocks, { head: { time: NOW + 3600 + 61 } })));
  assert.equal(await after(0), "not-verified");
  assert.match(watch.reason, /^the certificate is genuine, but it was issued in the future /);
});

test("an endless answer is read to one byte beyond the limit, and no further", async () => {
  const { bundle: limit } = await limits();
  const { watch, after } = watching(endless(new Uint8Array(limit / 4).fill(0x20)));
  assert.equal(await after(0), "not-verified");
  assert.match(watch.reason, /^the bundle is damaged, or is not a bundle \(bundle: expected at most 8388608 bytes, got /);
});

test("after answers that prove nothing, the pauses grow to five minutes, and are short again afterwards", async () => {
  const { watch, asked, after } = watching(status(503), status(503), ok("{"), async () => { throw new TypeError("failed to fetch"); }, status(500), status(500), status(500), ok(headAt(7)), ok(headAt(7)));
  const pauses = [];
  await after(0);
  assert.deepEqual([watch.state, watch.reason], ["unread", "the server answered 503"]);
  assert.equal(logHead(watch)[0], "The log head could not be read: the server answered 503.");
  for (let last = 0; asked.length < 9; last += 1) {
    const before = asked.length;
    await after(1);
    if (asked.length > before) pauses.push(last + 1), (last = -1);
  }
  assert.deepEqual(pauses, [20, 40, 80, 160, 300, 300, 300, 20]);
});

test("another server or identity begins anew, and a late answer about the first is ignored", async () => {
  const one = watching(hanging, ok(headAt(7)));
  const first = one.watch.tick(true);
  await new Promise((resolve) => setTimeout(resolve));
  one.watch.follow("http://another", OTHER);
  await first;
  assert.equal(one.watch.state, "unknown");
  assert.equal(await one.after(0), "not-verified");
  one.watch.follow(null, OTHER);
  assert.equal(await one.after(3600), "unknown");
  one.watch.follow("http://another", null);
  assert.equal(await one.after(3600), "unknown");
  assert.equal(one.asked.length, 2);
});
