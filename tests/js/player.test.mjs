// The page's player without a browser: which files it plays, the ranges of its requests, and their retries.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { SliceRetry, initSync } from "../../verifier-wasm/npm/wasm/vouch_slices.js";
import { mediaType } from "../../web/logic/playable.js";
import { rangeOf } from "../../web/player/range.js";
import { verifiedBytes } from "../../web/player/slices.js";

initSync({ module: readFileSync(new URL("../../verifier-wasm/npm/wasm/vouch_slices_bg.wasm", import.meta.url)) });

test("a video is recognized by its first bytes, not by a declared type", () => {
  const start = (...parts) => Buffer.concat([...parts.map((part) => Buffer.from(part)), Buffer.alloc(64)]);
  const ebml = [0x1a, 0x45, 0xdf, 0xa3, 0x9f, 0x42, 0x86, 0x81, 1, 0x42, 0x82, 0x84];
  for (const [bytes, type] of [
    [start([0, 0, 0, 32], "ftypisom"), "video/mp4"],
    [start([0, 0, 0, 32], "ftypM4A "), "audio/mp4"],
    [start([0, 0, 0, 32], "ftypavif"), null],
    [start(ebml, "webm"), "video/webm"],
    [start(ebml, "matroska"), null],
    [start("OggS"), "video/ogg"],
    [start("RIFF", [1, 2, 3, 4], "WAVE"), "audio/wav"],
    [start("RIFF", [1, 2, 3, 4], "WEBP"), null],
    [start("<!doctype html><script>"), null],
    [new Uint8Array(0), null],
    [new Uint8Array([0x1a]), null],
  ])
    assert.equal(mediaType(bytes), type, `${bytes.subarray(0, 16)}`);
});

test("ranges follow RFC 9110", () => {
  const range = (start, end) => ({ start, end });
  for (const [header, expected] of [
    ["bytes=0-", range(0, 100)],
    ["bytes=0-0", range(0, 1)],
    ["bytes=99-", range(99, 100)],
    ["bytes=50-1000", range(50, 100)],
    ["bytes=-10", range(90, 100)],
    ["bytes=-1000", range(0, 100)],
    ["bytes=100-", false],
    ["bytes=-0", false],
    ["bytes=9-8", null],
    ["bytes=-", null],
    ["bytes=0-1,5-6", null],
    ["items=0-1", null],
    ["bytes=99999999999999999999-", null],
    [null, null],
  ])
    assert.deepEqual(rangeOf(header, 100), expected, header);
});

// A reader that treats its input as verified; `answers` are the server's responses, one for each request.
async function played(t, answers, { start = 0, end = 10 << 20 } = {}) {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const asked = [];
  const pauses = [];
  let freed = 0;
  const createReader = () => ({ push: (bytes) => bytes, finish() {}, free: () => (freed += 1) });
  const createRetry = () => new SliceRetry();
  const fetch = async (url) => {
    const query = new URL(url).searchParams;
    const range = [Number(query.get("start")), Number(query.get("end"))];
    asked.push(range);
    return (answers.shift() ?? whole)(...range);
  };
  const blob = { digest: "d", length: 10 << 20, server: "http://h" };
  let got = 0;
  let error = null;
  try {
    const pause = async (milliseconds) => {
      pauses.push(milliseconds);
      now += milliseconds;
    };
    const shell = { createReader, createRetry, fetch, signal: new AbortController().signal, pause };
    for await (const bytes of verifiedBytes(blob, { start, end }, shell)) got += bytes.length;
  } catch (thrown) {
    error = thrown;
  }
  assert.equal(freed, asked.length);
  return { asked, got, error, pauses };
}
const whole = (from, to) => new Response(new Uint8Array(to - from));
const dead = () => Promise.reject(new TypeError("no connection"));
const cutAfter = (bytes) => () => {
  const body = new ReadableStream({
    start: (stream) => stream.enqueue(new Uint8Array(bytes)),
    pull: (stream) => stream.error(new TypeError("cut")),
  });
  return new Response(body);
};
const refusal = (status, code, members = []) => () => Response.json({ code, detail: "why", members }, { status });

test("a range is requested in windows", async (t) => {
  const { asked, got } = await played(t, [], { start: 1 << 20, end: 9 << 20 });
  assert.deepEqual(asked, [[1 << 20, 4 << 20], [4 << 20, 8 << 20], [8 << 20, 9 << 20]]);
  assert.equal(got, 8 << 20);
});

test("a truncated response is continued where it ended, for a limited time without progress", async (t) => {
  const cut = await played(t, [cutAfter(1000), dead, cutAfter(500)], { end: 2000 });
  assert.deepEqual(cut.asked, [[0, 2000], [1000, 2000], [1000, 2000], [1500, 2000]]);
  assert.deepEqual([cut.got, cut.error], [2000, null]);
  // Bytes are progress: the backoff starts again.
  assert.ok(cut.pauses[0] <= 200 && cut.pauses[1] > 200 && cut.pauses[2] <= 200, `${cut.pauses}`);
  const gone = await played(t, new Array(20).fill(dead));
  assert.deepEqual([gone.error.code, gone.asked.length], ["connection", gone.pauses.length + 1]);
  const waited = gone.pauses.reduce((sum, pause) => sum + pause, 0);
  assert.ok(waited > 1800 && waited <= 5000, `${gone.pauses}`);
});

test("a refusal names the members, and is retried if it is temporary", async (t) => {
  const { error, asked } = await played(t, [refusal(502, "exhausted", ["replica-1", 7])]);
  assert.deepEqual([error.code, error.members, asked.length], ["exhausted", ["replica-1"], 1]);
  for (const code of ["busy", "not-enough-replicas"]) {
    const busy = await played(t, [refusal(503, code)], { end: 10 });
    assert.deepEqual([busy.error, busy.asked.length], [null, 2], code);
  }
  // A server that is back after a restart finds no holder until its replicas are connected again.
  const restarted = await played(t, [dead, refusal(502, "exhausted")], { end: 10 });
  assert.deepEqual([restarted.error, restarted.asked.length], [null, 3]);
  for (const [status, code] of [[507, "no-space"], [400, "bad-request"], [502, "invalid"]]) {
    const refused = await played(t, [refusal(status, code)]);
    assert.deepEqual([refused.error.code, refused.error.reason, refused.asked.length], ["refused", code, 1]);
  }
  const odd = await played(t, [() => new Response("<html>", { status: 500 })]);
  assert.deepEqual([odd.error.code, odd.asked.length], ["refused", 1]);
});
