// The page's logic without a browser: addresses, trust, recognizing bundles, speeds, queues, names.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bundleOf } from "../../web/logic/certificate.js";
import { formatFragment, isAllowedUnasked, parseFragment, serverBase } from "../../web/logic/address.js";
import { abbreviated, age, duration, exactSize, printable, shortened, size, time } from "../../web/logic/format.js";
import { advance as advanceGet, newGet } from "../../web/logic/get.js";
import { createMemory } from "../../web/logic/memory.js";
import { bundleKind, isOfLog, place } from "../../web/logic/pairing.js";
import { advance, certifiedMembers, isActive, newPut, tally } from "../../web/logic/put.js";
import { Queue } from "../../web/logic/queue.js";
import { Rate } from "../../web/logic/rate.js";
import { ask, readiness, statusOf } from "../../web/logic/server.js";
import { Trust, decisionOf } from "../../web/logic/trust.js";
import { decideTrust, limits } from "../../verifier-wasm/npm/node.js";
import { continuedAt, waiting } from "../../web/logic/words.js";
import { BUNDLE, CLUSTER, LOG_BUNDLES, OP_BUNDLE } from "./files.mjs";

const [A, B] = ["identity-A", "identity-B"];

describe("the page's address", () => {
  test("names a cluster and a server", () => {
    assert.deepEqual(parseFragment("#cluster=abc&server=host%3A9090&more=1"), { cluster: "abc", server: "host:9090", problems: [] });
    assert.deepEqual(parseFragment(""), { cluster: null, server: null, problems: [] });
    assert.deepEqual(parseFragment(formatFragment({ cluster: "x y", server: "http://h/&" })), { cluster: "x y", server: "http://h/&", problems: [] });
  });

  test("repeated or malformed values are reported and ignored", () => {
    const kinds = (fragment) => parseFragment(fragment).problems.map(({ kind, key }) => `${kind} ${key}`);
    assert.deepEqual(kinds("#cluster=a&cluster=b"), ["repeated cluster"]);
    assert.equal(parseFragment("#cluster=a&cluster=a").cluster, null);
    assert.deepEqual(kinds("#cluster="), ["malformed cluster"]);
    assert.deepEqual(kinds(`#cluster=${"a".repeat(5000)}`), ["malformed cluster"]);
    for (const server of ["ftp://host", "http://user:word@host", "http://", "javascript:alert(1)", "http://h/?q"]) {
      assert.deepEqual(kinds(`#server=${encodeURIComponent(server)}`), ["malformed server"], server);
      assert.equal(parseFragment(`#server=${encodeURIComponent(server)}`).server, null);
    }
  });

  test("a server is an HTTP address", () => {
    assert.equal(serverBase("host:1", "http:"), "http://host:1");
    assert.equal(serverBase("host:1", "https:"), "https://host:1");
    assert.equal(serverBase(" wss://host/a/b// ", "http:"), "https://host/a/b");
    assert.equal(isAllowedUnasked("http://127.0.0.1:1", "http://127.0.0.1:1"), true);
    assert.equal(isAllowedUnasked("http://name.example", "http://name.example"), false);
    assert.equal(isAllowedUnasked("http://127.0.0.1:2", "http://127.0.0.1:1"), false);
  });
});

describe("trust", () => {
  const told = (cluster) => ({ cluster, problem: null });
  const met = (cluster, compared = false) => ({ cluster, source: "first-use", since: 1, compared });
  // The core's tests cover the rules. These tests cover what the page passes to the core, and how it uses the decision.
  const outcome = async (known) => {
    const { state, identity, source, refusal } = await decisionOf(known, decideTrust);
    return [state, identity, source, refusal?.kind ?? null];
  };

  test("a given identity takes precedence over a remembered one, and that over the server's claim", async () => {
    assert.deepEqual(await outcome({}), ["none", null, "none", null]);
    assert.deepEqual(await outcome({ shown: A }), ["first-use", A, "first-use", null]);
    assert.deepEqual(await outcome({ shown: A, remembered: met(A) }), ["trusted", A, "remembered", null]);
    assert.deepEqual(await outcome({ shown: A, remembered: met(A), address: told(A) }), ["trusted", A, "address", null]);
    assert.deepEqual(await outcome({ shown: A, address: told(B), typed: A }), ["trusted", A, "typed", null]);
  });

  test("a server that shows another identity is refused", async () => {
    assert.deepEqual(await outcome({ shown: B, remembered: met(A) }), ["refused", A, "remembered", "server-changed"]);
    assert.deepEqual(await outcome({ shown: B, address: told(A) }), ["refused", A, "address", "server-differs"]);
    assert.deepEqual(await outcome({ shown: B, typed: A }), ["refused", A, "typed", "server-differs"]);
    assert.deepEqual(await outcome({ shown: B, taken: A }), ["refused", A, "first-use", "server-changed"]);
    const { refusal } = await decisionOf({ shown: B, typed: A }, decideTrust);
    assert.deepEqual([refusal.expected, refusal.got], [A, B]);
  });

  test("a malformed identity in the address: no cluster is trusted, not even the server's", async () => {
    const address = { cluster: null, problem: { kind: "malformed", key: "cluster", got: "?" } };
    assert.deepEqual(await outcome({ shown: A, remembered: met(A), address }), ["malformed", null, "none", null]);
    assert.deepEqual(await outcome({ shown: A, address, typed: A }), ["trusted", A, "typed", null]);
  });

  test("a difference from the remembered identity is reported, and how long it is known", async () => {
    const differs = await decisionOf({ address: told(B), remembered: met(A), shown: B }, decideTrust);
    assert.equal(differs.differsFrom.cluster, A);
    assert.equal((await decisionOf({ address: told(A), remembered: met(A), shown: A }, decideTrust)).differsFrom, null);
    const met_before = await decisionOf({ remembered: met(A, true) }, decideTrust);
    assert.deepEqual([met_before.since, met_before.compared], [1, true]);
  });

  const storage = () => {
    const map = new Map();
    return { getItem: (key) => map.get(key) ?? null, setItem: (key, value) => map.set(key, value), removeItem: (key) => map.delete(key), map };
  };
  const trusting = async (store) => {
    const trust = new Trust({ memory: createMemory(() => store), normalize: async (text) => text, decide: decideTrust, now: () => 7 });
    await trust.useServer("http://server");
    return trust;
  };
  const state = ({ decision: { state, identity, source } }) => [state, identity, source];

  test("an identity is remembered on first contact, compared, and forgotten on request", async () => {
    const store = storage();
    const first = await trusting(store);
    await first.serverShows(A);
    assert.deepEqual(state(first), ["first-use", A, "first-use"]);
    const second = await trusting(store);
    await second.serverShows(A);
    assert.deepEqual(state(second), ["trusted", A, "remembered"]);
    assert.equal(second.decision.compared, false);
    await second.confirm();
    assert.equal((await trusting(store)).decision.compared, true);
    const third = await trusting(store);
    await third.serverShows(B);
    assert.deepEqual(state(third), ["refused", A, "remembered"]);
    await third.forget();
    assert.deepEqual(state(third), ["first-use", B, "first-use"]);
  });

  test("an identity from the address is remembered once the server agrees, and never replaces another", async () => {
    const store = storage();
    const first = await trusting(store);
    await first.useAddress({ cluster: A, problems: [] });
    assert.equal(store.map.size, 0);
    await first.serverShows(B);
    assert.deepEqual([state(first)[0], store.map.size], ["refused", 0]);
    await first.serverShows(A);
    assert.deepEqual(state(await trusting(store)), ["trusted", A, "remembered"]);
    const later = await trusting(store);
    await later.useAddress({ cluster: B, problems: [] });
    await later.serverShows(B);
    assert.deepEqual(state(later), ["trusted", B, "address"]);
    assert.deepEqual(state(await trusting(store)), ["trusted", A, "remembered"]);
  });

  test("everything works without storage, or with broken storage", () => {
    const none = createMemory(() => { throw new Error("denied"); });
    assert.equal(none.recall("s"), null);
    assert.equal(none.keep("s", {}), false);
    const broken = storage();
    for (const text of ["{", "7", "null", '{"cluster":7,"source":"typed","since":1,"compared":true}']) {
      broken.getItem = () => text;
      assert.equal(createMemory(() => broken).recall("s"), null, text);
    }
  });
});

test("a server's bundle is read to one byte beyond the limit, and no further", async () => {
  const { bundle: limit } = await limits();
  let chunks = 0;
  const pull = (stream) => (chunks += 1, stream.enqueue(new Uint8Array(limit / 4)));
  const fetch = async () => new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  const { size } = await bundleOf("digest", { server: "http://server", fetch, limits, signal: new AbortController().signal });
  assert.deepEqual([size > limit, chunks], [true, 5]);
});

describe("recognizing the bundle", () => {
  const file = (name, isBundle = false) => ({ name, isBundle });
  const names = ({ file, bundle, notice }) => [file?.name ?? null, bundle?.name ?? null, notice];
  const nothing = { file: null, bundle: null };

  test("goes by content", () => {
    assert.equal(bundleKind(new TextDecoder().decode(BUNDLE)), "file");
    assert.equal(bundleKind(OP_BUNDLE), "op");
    for (const kind of ["head", "block", "evidence"]) assert.equal(bundleKind(LOG_BUNDLES[kind]), kind);
    assert.equal(bundleKind('{"type": "application/vnd.vouch.bundle+json", broken'), "file");
    assert.equal(bundleKind('{"type": "application/vnd.vouch.fork+json"}'), "evidence");
    assert.equal(bundleKind(' {"type": "application/vnd.vouch.log-head+json", broken'), "head");
    const others = ["", "{}", "[]", '{"type":"other"}', '{"type":7}', '{"type":"application/vnd.vouch.constructor"}', '{"type":"application/vnd.vouch.slice"}', "a text about application/vnd.vouch.bundle"];
    for (const text of others) assert.equal(bundleKind(text), null, text);
  });

  test("works in any order, together or one after the other", () => {
    const [report, bundle] = [file("report.pdf"), file("report.pdf.vouch", true)];
    assert.deepEqual(names(place(nothing, [report, bundle], false)), ["report.pdf", "report.pdf.vouch", null]);
    assert.deepEqual(names(place(nothing, [bundle, report], false)), ["report.pdf", "report.pdf.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle: null }, [bundle], false)), ["report.pdf", "report.pdf.vouch", null]);
    assert.deepEqual(names(place({ file: null, bundle }, [report], false)), ["report.pdf", "report.pdf.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle }, [file("other.txt")], true)), ["other.txt", null, null]);
  });

  test("a bundle of the log is a question of its own", () => {
    const of = (kind, name) => ({ ...file(name, true), kind });
    const [op, head, bundle, report] = [of("op", "note.vouch"), of("head", "head.vouch"), of("file", "report.pdf.vouch"), file("report.pdf")];
    assert.deepEqual([op, head, bundle, report, null].map(isOfLog), [true, true, false, false, false]);
    assert.deepEqual(names(place(nothing, [op], false)), [null, "note.vouch", null]);
    assert.deepEqual(names(place({ file: null, bundle: head }, [op], false)), [null, "note.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle: null }, [op], false)), [null, "note.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle }, [op], false)), [null, "note.vouch", null]);
    assert.deepEqual(names(place({ file: null, bundle: op }, [report], false)), ["report.pdf", null, null]);
    assert.deepEqual(names(place({ file: null, bundle: op }, [bundle], false)), [null, "report.pdf.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle: null }, [report, op], false)), ["report.pdf", null, "of-log"]);
    // certified as a file, in whichever order the two come
    const certified = of("file", "note.vouch.vouch");
    for (const given of [[op, certified], [certified, op]]) assert.deepEqual(names(place(nothing, given, false)), ["note.vouch", "note.vouch.vouch", null]);
    for (const [first, second] of [[op, certified], [certified, op]]) assert.deepEqual(names(place({ file: null, bundle: first }, [second], false)), ["note.vouch", "note.vouch.vouch", null]);
    assert.deepEqual(names(place({ file: report, bundle: null }, [of("evidence", "evidence.json")], false)), ["report.pdf", null, "evidence"]);
  });

  test("reports impossible combinations", () => {
    assert.equal(place(nothing, [file("a"), file("b")], false).notice, "neither");
    assert.equal(place(nothing, [file("a.vouch", true), file("b.vouch", true)], false).notice, "both");
    assert.equal(place(nothing, [file("a"), file("b"), file("c")], false).notice, "too-many");
    // a bundle that was certified as a file
    assert.deepEqual(names(place(nothing, [file("a.vouch.vouch", true), file("a.vouch", true)], false)), ["a.vouch", "a.vouch.vouch", null]);
  });
});

describe("the server's description of itself", () => {
  const status = { cluster: CLUSTER, server: "key", ready: true, epoch: 0, quorum: 3, tolerated_faults: 1, connected: 3, wanted: null, members: [0, 1, 2, 3].map((member) => ({ member, name: `r${member}`, connected: member !== 1 })) };

  test("is accepted only in the expected shape", async () => {
    const { members: most } = await limits();
    assert.equal(readiness(statusOf(status, most)), "ready");
    assert.equal(readiness(statusOf({ ...status, ready: false }, most)), "waiting");
    assert.equal(readiness(statusOf({ ...status, cluster: null, members: [] }, most)), "waiting");
    assert.equal(statusOf({ ...status, members: new Array(most).fill(status.members[0]) }, most).members.length, most);
    for (const wrong of [null, [], "x", {}, { ...status, quorum: -1 }, { ...status, members: [null] }, { ...status, cluster: 7 }, { ...status, cluster: "<b>" }, { ...status, members: new Array(most + 1).fill(status.members[0]) }]) {
      assert.equal(statusOf(wrong, most), null, JSON.stringify(wrong)?.slice(0, 60));
    }
  });

  test("a refusal by origin differs from an unreachable server", async () => {
    const page = "http://elsewhere";
    const answer = (body, how = {}) => async () => new Response(body, how);
    const dead = async () => { throw new TypeError("failed"); };
    const opaque = async (_, { mode }) => { if (mode !== "no-cors") throw new TypeError("failed"); return new Response(); };
    const problem = async (fetch, at = page) => (await ask("http://server", { page: at, fetch, limits })).problem;
    assert.equal(await problem(answer(JSON.stringify(status))), undefined);
    assert.equal(await problem(dead), "unreachable");
    assert.equal(await problem(opaque), "not-allowed");
    assert.equal(await problem(answer("", { status: 403 })), "not-allowed");
    assert.equal(await problem(answer("<html>")), "not-vouch");
    assert.equal(await problem(answer(" ".repeat(2 << 20))), "not-vouch");
    assert.equal(await problem(dead, "https://page"), "mixed");
    const lacking = () => Promise.reject(new Error("no verifier"));
    assert.deepEqual(await ask("http://server", { page, fetch: answer(JSON.stringify(status)), limits: lacking }), { problem: "no-verifier" });
  });
});

describe("a put's state", () => {
  const committee = { stage: "committee", cluster: A, quorum: 3, tolerated_faults: 1, members: [0, 1, 2, 3].map((member) => ({ member, name: `r${member}` })) };
  const run = (...events) => events.reduce(advance, newPut({ name: "f", length: 10 }));

  test("goes through its stages", () => {
    const states = [{ stage: "hashing", done: 5, total: 10 }, { stage: "connecting" }, committee, { stage: "sending", done: 4, total: 10 }, { stage: "sending", done: 10, total: 10 }];
    assert.deepEqual(states.map((_, i) => run(...states.slice(0, i + 1)).state), ["hashing", "connecting", "connecting", "sending", "waiting"]);
    assert.equal(run({ stage: "unheard of" }).state, "queued");
  });

  test("waits after an interruption, retries, and resumes at the given offset", () => {
    const lost = { stage: "lost", code: "refused", reason: "busy", members: [], message: "busy", retry_in: 3 };
    const [connecting, sending] = [{ stage: "connecting" }, (done) => ({ stage: "sending", done, total: 10 })];
    const cut = [connecting, committee, sending(6), lost];
    const what = (...events) => {
      const { state, done, resumedFrom, lost } = run(...events);
      return [state, done, resumedFrom, lost?.isWaiting ?? null];
    };
    assert.deepEqual(what(...cut), ["lost", 6, 0, true]);
    assert.deepEqual(run(...cut).lost, { code: "refused", reason: "busy", isWaiting: true });
    // A retry counts as waiting until bytes flow: a waiting put can be cancelled, and its page must not close without asking.
    assert.deepEqual(what(...cut, connecting, committee), ["lost", 6, 0, false]);
    assert.equal(isActive(run(...cut)), true);
    assert.deepEqual(what(...cut, connecting, lost), ["lost", 6, 0, true]);
    const on = [...cut, connecting, committee, { stage: "resuming", offset: 5, total: 10 }];
    assert.deepEqual(what(...on), ["sending", 5, 5, null]);
    assert.deepEqual(what(...on, sending(10)), ["waiting", 10, 5, null]);
    // The replicas kept nothing this time.
    assert.deepEqual(what(...on, lost, connecting, sending(1)), ["sending", 1, 0, null]);
  });

  test("has a text for each wait", () => {
    assert.equal(waiting({ code: "connection", reason: null }, 3), "Connection lost. Trying again in 3\u00a0s");
    assert.equal(waiting({ code: "refused", reason: "not-enough-replicas" }, 0), "Not enough replicas took part. Trying again now");
    assert.equal(waiting({ code: "refused", reason: "of-a-later-version" }, 1), "The server gave up. Trying again in 1\u00a0s");
    assert.equal(waiting({ code: "not-found", reason: null }, 2), "No replica that holds this file is connected. Trying again in 2\u00a0s");
    assert.equal(waiting({ code: "exhausted", reason: null }, 0), "Every replica that holds this file failed. Trying again now");
    assert.deepEqual([continuedAt(629, 1000), continuedAt(7, 7)], ["Continued at 62\u00a0%", "Continued at 100\u00a0%"]);
  });

  test("counts members, and finally follows the certificate", () => {
    const member = (number, state) => ({ stage: "member", member: number, state });
    const put = run(committee, member(0, "stored"), member(1, "voted"), member(2, "dropped"), member(9, "voted"), member(3, "odd"));
    assert.deepEqual(tally(put), { stored: 2, signed: 1, dropped: 1 });
    const certificate = { members: committee.members.map((one) => ({ ...one, signed: one.member !== 2 && one.member !== 3 })) };
    assert.deepEqual(certifiedMembers(put, certificate).map(({ state }) => state), ["signed", "signed", "dropped", "unsigned"]);
  });
});

test("a get's state: waits after an interruption, and keeps what it has", () => {
  const [connecting, lost] = [{ stage: "connecting" }, { stage: "lost", code: "not-found", reason: null, members: [], message: "", retry_in: 3 }];
  const start = (name, length) => ({ stage: "start", name, length, offset: 0 });
  const receiving = (done) => ({ stage: "receiving", done, total: 10 });
  const what = (...events) => {
    const { state, from, done, total, lost } = events.reduce(advanceGet, newGet());
    return [state, from, done, total, lost?.isWaiting ?? null];
  };
  assert.deepEqual(what(connecting), ["connecting", null, 0, undefined, null]);
  const cut = [connecting, start("r1", 99), receiving(6), lost];
  assert.deepEqual(what(...cut.slice(0, 2)), ["receiving", "r1", 0, 99, null]);
  assert.deepEqual(what(...cut), ["lost", "r1", 6, 10, true]);
  assert.deepEqual(cut.reduce(advanceGet, newGet()).lost, { code: "not-found", reason: null, isWaiting: true });
  // A retry counts as waiting until a replica is read from.
  assert.deepEqual(what(...cut, connecting), ["lost", "r1", 6, 10, false]);
  assert.deepEqual(what(...cut, connecting, lost), ["lost", "r1", 6, 10, true]);
  assert.deepEqual(what(...cut, connecting, start("r2", 98)), ["receiving", "r2", 6, 10, null]);
  assert.deepEqual(what(...cut, connecting, start("r2", 98), { stage: "rejected", name: "r2", reason: "" }), ["connecting", "r2", 6, 10, null]);
  assert.deepEqual(what({ stage: "unheard of" }), ["connecting", null, 0, undefined, null]);
});

test("two run at once, the rest in order, and a failure frees its slot", async () => {
  const queue = new Queue(2);
  const started = [];
  const ends = [];
  const job = (name) => () => new Promise((resolve, reject) => {
    started.push(name);
    ends.push({ resolve, reject });
  });
  const leave = ["a", "b", "c", "d"].map((name) => queue.add(job(name)));
  const turn = () => new Promise((resolve) => setTimeout(resolve));
  await turn();
  assert.deepEqual(started, ["a", "b"]);
  leave[2]();
  ends[0].reject(new Error("failed"));
  await turn();
  assert.deepEqual(started, ["a", "b", "d"]);
});

test("a speed covers the last seconds and is never guessed", () => {
  const rate = new Rate();
  rate.add(0, 0);
  rate.add(1000, 100);
  assert.equal(rate.speed, undefined);
  for (let second = 1; second <= 20; second++) rate.add(1000 + 100 * second, 1000 * second);
  assert.equal(Math.round(rate.speed), 100);
  assert.equal(Math.round(rate.secondsLeft(4000)), 10);
  rate.add(0, 21_000); // restarted
  assert.equal(rate.speed, undefined);
});

test("numbers, times and foreign texts are formatted safely", () => {
  assert.deepEqual([0, 1, 999, 1000, 58211, 300 << 20, 5e15].map(size), ["0 bytes", "1 byte", "999 bytes", "0.98 KiB", "56.8 KiB", "300 MiB", "4.44 PiB"]);
  assert.equal(exactSize(58211), "58,211 bytes (56.8 KiB)");
  assert.deepEqual([0.2, 1, 59.2, 61, 3600, 5400].map(duration), ["1 s", "1 s", "59 s", "1 min", "1 h", "1 h 30 min"]);
  assert.deepEqual([0, 59, 5400, 86_400, 172_799, 172_800, 1e9].map(age), ["1 s", "59 s", "1 h 30 min", "24 h", "48 h", "2 days", "11,574 days"]);
  assert.equal(time(1790000000), "21 September 2026 at 14:13:20 UTC");
  assert.equal(time(2 ** 53 - 1), "9007199254740991 s after 1970");
  assert.equal(printable("a\u202eb\u0007\n<b>"), "a\\u{202e}b\\u{7}\\u{a}<b>");
  assert.equal(printable("x".repeat(5000)).length, 601);
  assert.equal(printable("x".repeat(5000), 4096).length, 4097);
  assert.equal(abbreviated("3UDUyZQXNCDVRBTtTsqbfr6sdPxUAeJyH2HR7VQMjaVj"), "3UDUyZ…QMjaVj");
  assert.equal([...shortened("🦀".repeat(30))].length, 14);
});
