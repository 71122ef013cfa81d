// The page's engine without a browser: choice of server, verdicts, and the protocol with its workers.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Engine } from "../../web/engine/engine.js";
import { HashedModule, loading, moduleTasks, sha256 } from "../../web/engine/modules.js";
import { serve } from "../../web/engine/serve.js";
import { examine, isGenuine } from "../../web/logic/examine.js";
import { Server } from "../../web/logic/server.js";
import { time } from "../../web/logic/format.js";
import { because, compared, explain, sentence } from "../../web/logic/words.js";
import { limits } from "../../verifier-wasm/npm/node.js";

const SERVER = "http://127.0.0.1:9090";
const turns = async (n = 10) => {
  for (let i = 0; i < n; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

const MEMBERS = ["a", "b", "c", "d"].map((name, member) => ({ member, name, node_key: "n", vote_key: "v", connected: true }));
const STATUS = { cluster: "9xA8pvVa6HLJit6ZQ6vFGxaUDEsRWQWH6YweGGe2K2wU", server: "K", ready: true, epoch: 0, quorum: 3, tolerated_faults: 1, connected: 4, wanted: null, members: MEMBERS };
const answer = (body, status = 200) => new Response(typeof body === "string" ? body : JSON.stringify(body), { status });

test("the page's own server is tried first, then the address, then the typed one", async () => {
  const serving = (base) => async (url) => (url.startsWith(base) ? answer(STATUS) : answer("no", 404));
  const own = new Server({ page: SERVER, own: SERVER, fetch: serving(SERVER), limits });
  await own.find("other:1");
  assert.deepEqual([own.from, own.base, own.state, own.ignored, own.servesPage], ["page", SERVER, "ready", "http://other:1", true]);

  const host = new Server({ page: "http://host", own: "http://host", fetch: serving(SERVER), limits });
  await host.find(null);
  assert.deepEqual([host.from, host.base, host.state], [null, null, "none"]);
  assert.equal(host.type("a b"), false);
  assert.equal(host.type("127.0.0.1:9090"), true);
  await turns();
  assert.deepEqual([host.from, host.base, host.state, host.servesPage], ["typed", SERVER, "ready", false]);
  await host.find("127.0.0.1:1");
  assert.deepEqual([host.from, host.state], ["address", "not-vouch"]);
});

test("every failure has a text, also an unknown one", () => {
  for (const code of ["connection", "refused", "invalid", "protocol", "source", "not-found", "exhausted", "origin", "browser", "bundle", "other-cluster", "of-a-later-version", undefined]) {
    const { title, advice } = explain({ code, reason: null, check: null });
    assert.ok(title.length > 10 && typeof advice === "string", code);
  }
  assert.match(explain({ code: "refused", reason: "not-enough-replicas" }).title, /Not enough replicas/);
  assert.match(sentence({ verdict: "cannot-check", check: "certificate", checks: [] }), /version/);
});

// ---- verdicts ----

const CHECKS = ["bundle", "identity", "signature", "digest", "length"];
function report(verdict, check = null) {
  const at = check === null ? CHECKS.length : CHECKS.indexOf(check);
  const outcomeOf = (index) => (index < at ? "passed" : index > at ? "not-reached" : verdict === "invalid" ? "failed" : "cannot-check");
  const genuine = { answer: at > CHECKS.indexOf("signature") ? "yes" : verdict === "invalid" ? "no" : "not-answered", reason: "" };
  return { verdict, check, genuine, checks: CHECKS.map((name, index) => ({ name, outcome: outcomeOf(index), meaning: "" })) };
}

/** `judge(subject)` returns the report and records the subject. */
function examining(judge, inspection = { digest_base58: "D", length: 3 }) {
  const asked = [];
  const engine = {
    async run(task, args) {
      asked.push(task);
      if (task === "inspect") return inspection === null ? { report: report("invalid", "bundle") } : { inspection };
      if (task === "hash") return { digest: "F", length: 3 };
      return judge(args.subject);
    },
  };
  return { asked, run: (about) => examine({ engine, bundle: {}, cluster: "S", ...about }) };
}
const needsFile = (subject) => (subject === null ? report("cannot-check", "digest") : report("valid"));

test("a file is hashed only when the certificate is genuine", async () => {
  const other = examining(() => report("invalid", "identity"));
  assert.equal((await other.run({ file: {} })).report.check, "identity");
  assert.deepEqual(other.asked, ["inspect", "judge"]);
  const good = examining(needsFile);
  const found = await good.run({ file: {} });
  assert.deepEqual([found.report.verdict, found.subject.digest], ["valid", "F"]);
  assert.deepEqual(good.asked, ["inspect", "judge", "hash", "judge"]);
});

test("a file that was hashed before is not hashed again", async () => {
  const again = examining(needsFile);
  await again.run({ file: {}, subject: { digest: "F", length: 3 } });
  assert.deepEqual(again.asked, ["inspect", "judge"]);
});

test("a bundle alone is judged once and never called valid", async () => {
  const alone = examining(needsFile);
  const found = await alone.run({});
  assert.deepEqual([found.report.verdict, found.report.check, isGenuine(found.report)], ["cannot-check", "digest", true]);
  assert.deepEqual(alone.asked, ["inspect", "judge"]);
  const forged = examining(() => report("invalid", "signature"));
  for (const about of [{}, { file: {} }]) {
    const { report: refused, subject } = await forged.run(about);
    assert.deepEqual([refused.verdict, refused.check, isGenuine(refused), subject], ["invalid", "signature", false, null]);
  }
  assert.ok(!forged.asked.includes("hash"));
});

test("another file and a forged certificate have different texts", () => {
  const said = (verdict, check) => sentence(report(verdict, check));
  for (const check of ["digest", "length"]) assert.match(said("invalid", check), /^The certificate is genuine, but this is another file/);
  assert.match(said("invalid", "signature"), /forged/);
  assert.doesNotMatch(said("invalid", "signature"), /another file/);
  assert.match(said("cannot-check", "digest"), /^The certificate is genuine\. Add the file/);
  const late = report("invalid", "digest");
  late.checks.push({ name: "expiry", question: "in_force", outcome: "failed", meaning: "" });
  assert.match(sentence(late), /another file.+ The certificate has expired\.$/);
});

test("times are shown as dates, from the report's numbers and not from its texts", () => {
  const [early, late] = [1790000000, 1821536000];
  const of = (check, times) => compared({ check, expected: "8 bytes", got: "12345678 bytes", times });
  assert.deepEqual(of("length", null), { expected: "8 bytes", got: "12345678 bytes" });
  assert.deepEqual(of("time", { expected: early, got: late }), { expected: `at most ${time(early)}`, got: time(late) });
  assert.deepEqual(of("expiry", { expected: late, got: early }), { expected: `later than ${time(late)}`, got: `${time(early)} (expired)` });
  const inForce = { checks: [], in_force: { answer: "yes", reason: "replicas must keep the file" } };
  assert.equal(because(inForce, "in_force", { expires_at: late }), `Replicas must keep the file until ${time(late)}.`);
  assert.equal(because(inForce, "in_force", { expires_at: "never" }), "Replicas must keep the file.");
});

test("an unreadable bundle gets its verdict at once", async () => {
  const broken = examining(() => assert.fail("nothing to judge"), null);
  assert.deepEqual([(await broken.run({ file: {} })).report.verdict, broken.asked], ["invalid", ["inspect"]]);
});

// ---- the protocol with the worker ----

function worker(tasks, { terminated = [] } = {}) {
  const { port1, port2 } = new MessageChannel();
  serve(port2, tasks);
  port1.terminate = () => (terminated.push(true), port1.close());
  return port1;
}

test("a task has progress and a result, or an error with its fields", async () => {
  const engine = new Engine(() =>
    worker({
      async count({ to }, { progress }) {
        for (let done = 0; done <= to; done += 1) progress({ stage: "hashing", done, total: to });
        progress({ stage: "member", member: 0 });
        progress({ stage: "member", member: 1 });
        return "counted";
      },
      fail: async () => Promise.reject(Object.assign(new TypeError("no"), { code: "refused", reason: "busy", members: ["a"] })),
    }),
  );
  const heard = [];
  assert.equal(await engine.run("count", { to: 1000 }, { onProgress: (event) => heard.push(event) }), "counted");
  assert.ok(heard.length < 20, `${heard.length} messages`);
  assert.deepEqual(heard.slice(-3), [{ stage: "hashing", done: 1000, total: 1000 }, { stage: "member", member: 0 }, { stage: "member", member: 1 }]);
  await assert.rejects(engine.run("fail", {}), { name: "TypeError", message: "no", code: "refused", reason: "busy", members: ["a"] });
  engine.end();
});

test("a cancelled task rejects at once and is notified", async () => {
  let wasAborted = false;
  const engine = new Engine(() => worker({ wait: (_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => ((wasAborted = true), reject(signal.reason)))) }));
  const control = new AbortController();
  const waiting = engine.run("wait", {}, { signal: control.signal });
  await turns();
  control.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await turns(50);
  assert.ok(wasAborted);
  await assert.rejects(engine.run("wait", {}, { signal: control.signal }), /enough/);
  engine.end();
});

test("a nudge reaches its running task only", async () => {
  const nudged = [];
  const engine = new Engine(() => worker({ wait: ({ name }, { onNudge }) => new Promise((resolve) => onNudge(() => (nudged.push(name), resolve(name)))) }));
  const [one, two] = [new EventTarget(), new EventTarget()];
  const tasks = [engine.run("wait", { name: "one" }, { nudges: one }), engine.run("wait", { name: "two" }, { nudges: two })];
  await turns();
  two.dispatchEvent(new Event("nudge"));
  assert.equal(await tasks[1], "two");
  two.dispatchEvent(new Event("nudge"));
  await turns();
  assert.deepEqual(nudged, ["two"]);
  one.dispatchEvent(new Event("nudge"));
  assert.equal(await tasks[0], "one");
  engine.end();
});

test("an unresponsive worker is terminated, and the next task gets a new one", { timeout: 10_000 }, async () => {
  const terminated = [];
  let started = 0;
  const engine = new Engine(() => {
    started += 1;
    return worker({ hang: () => new Promise(() => {}), quick: async () => "done" }, { terminated });
  });
  const control = new AbortController();
  const hanging = engine.run("hang", {}, { signal: control.signal });
  control.abort();
  await assert.rejects(hanging, { name: "AbortError" });
  while (terminated.length === 0) await turns();
  assert.equal(await engine.run("quick", {}), "done");
  assert.equal(started, 2);
  engine.end();
});

test("the page does the work itself if workers are blocked", async () => {
  const instead = () => worker({ quick: async () => "here" });
  const thrown = new Engine(() => { throw new Error("refused"); }, { instead });
  assert.equal(await thrown.run("quick", {}), "here");
  thrown.end();

  const silent = () => {
    const dead = { postMessage: () => setImmediate(() => dead.onerror({ message: "blocked" })), terminate: () => {} };
    return dead;
  };
  const blocked = new Engine(silent, { instead });
  assert.deepEqual(await Promise.all([blocked.run("quick", {}), blocked.run("quick", {})]), ["here", "here"]);
  blocked.end();
  await assert.rejects(new Engine(silent).run("quick", {}), { code: "browser" });
});

test("offline, the running workers do the remaining tasks", async () => {
  let started = 0;
  const engine = new Engine(() => {
    started += 1;
    if (started === 1) return worker({ slow: () => turns(20).then(() => "done") });
    const dead = { postMessage: () => setImmediate(() => dead.onerror({ message: "offline" })), terminate: () => {} };
    return dead;
  });
  const tasks = [1, 2, 3].map(() => engine.run("slow", {}));
  assert.deepEqual(await Promise.all(tasks), ["done", "done", "done"]);
  assert.ok(started > 1);
  engine.end();
});

test("a module's hash is of the bytes that were compiled, and a failed load is tried again", async () => {
  const given = [new Uint8Array([1]), new Uint8Array([2, 3]), new Uint8Array([4])];
  const compiled = [];
  let fails = true;
  const module = new HashedModule("a.wasm", async () => given.shift(), async (bytes) => {
    if (fails) throw new Error("no memory");
    compiled.push(bytes);
    return "compiled";
  });
  await assert.rejects(module.load(), /no memory/);
  fails = false;
  assert.equal(await module.load(), "compiled");
  assert.equal(await module.load(), "compiled");
  assert.equal(compiled.length, 1);
  const sha256 = createHash("sha256").update(compiled[0]).digest("hex");
  assert.deepEqual(await module.fact(), { name: "a.wasm", size: 2, sha256 });
  assert.deepEqual(await moduleTasks(module).modules(), [await module.fact()]);
});

test("where the browser does not hash, there is no hash", async () => {
  assert.equal(await sha256(new Uint8Array([1]), {}), null);
  assert.equal(await sha256(new Uint8Array([1]), undefined), createHash("sha256").update(new Uint8Array([1])).digest("hex"));
});

test("functions wait for their modules", async () => {
  const order = [];
  const module = new HashedModule("a.wasm", async () => new Uint8Array(), async () => order.push("loaded"));
  const { twice } = loading({ twice: (n) => (order.push("called"), 2 * n) }, ["twice"], module);
  assert.equal(await twice(4), 8);
  assert.deepEqual(order, ["loaded", "called"]);
});
