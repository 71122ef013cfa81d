// Deadlines of a link's socket, with a manual clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openLink } from "../../verifier-wasm/npm/link.js";

const DEADLINES = { connectDeadline: 10_000, writeDeadline: 30_000, checkInterval: 1_000 };

class FakeSocket extends EventTarget {
  readyState = 0;
  bufferedAmount = 0;
  closed = [];

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  close(code) {
    this.readyState = 2;
    this.closed.push(code);
  }
}

function clock(t) {
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  let now = 0;
  t.mock.method(performance, "now", () => now);
  return async (seconds) => {
    for (let second = 0; second < seconds; second++) {
      now += 1000;
      t.mock.timers.tick(1000);
      await Promise.resolve();
    }
  };
}

async function opened(socket, signal) {
  const opening = openLink(async () => socket, "ws://host:1/v1/link", DEADLINES, signal);
  await Promise.resolve();
  await Promise.resolve();
  socket.open();
  const link = await opening;
  let error;
  link.ended.catch((thrown) => (error = thrown));
  return { link, error: () => error };
}

test("a socket that does not open times out", async (t) => {
  const pass = clock(t);
  const socket = new FakeSocket();
  const opening = assert.rejects(openLink(async () => socket, "ws://host:1/v1/link", DEADLINES), { code: "connection", canRetry: true, message: /host:1 did not answer within 10 s/ });
  await Promise.resolve();
  await pass(11);
  await opening;
  assert.deepEqual(socket.closed, [1000]);
});

test("unsent bytes without progress end the link", async (t) => {
  const pass = clock(t);
  const socket = new FakeSocket();
  const { link, error } = await opened(socket);
  for (let left = 100; left > 1; left -= 1) {
    socket.bufferedAmount = left; // slow progress is progress
    await pass(20);
  }
  assert.equal(error(), undefined);
  await pass(10); // 29 s since the last progress
  assert.equal(error(), undefined);
  await pass(2);
  assert.match(error().message, /took nothing for 30 s/);
  link.close();
});

test("a session checks its deadlines every second until the link closes", async (t) => {
  const pass = clock(t);
  const { link, error } = await opened(new FakeSocket());
  await pass(2);
  const checks = [];
  link.watch({ checkDeadlines: (now) => checks.push(now) });
  await pass(3);
  assert.deepEqual(checks, [3000, 4000, 5000]);
  link.close();
  await pass(3);
  assert.equal(checks.length, 3);
  assert.equal(error(), undefined);
});

test("a closed link gets no more events", async (t) => {
  const pass = clock(t);
  const socket = new FakeSocket();
  const controller = new AbortController();
  const { link, error } = await opened(socket, controller.signal);
  link.close();
  controller.abort();
  await pass(1000);
  assert.equal(error(), undefined);
  assert.deepEqual(socket.closed, [1000]);
});

test("the reason of a close is reported", async (t) => {
  clock(t);
  const socket = new FakeSocket();
  const { link, error } = await opened(socket);
  socket.dispatchEvent(Object.assign(new Event("close"), { reason: "going away" }));
  await Promise.resolve();
  assert.match(error().message, /was lost: going away; try again/);
  link.close();
});
