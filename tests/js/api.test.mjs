// The JavaScript interface: every form of argument, and invalid values.
import assert from "node:assert/strict";
import { createReadStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inspect as inspectValue } from "node:util";
import { BundleError, createHasher, createVerifier, get, hash, init, inspect, normalizeDigest, put, verify } from "../../verifier-wasm/npm/node.js";
import { BUNDLE, CLUSTER, DIGEST, FILE, LENGTH, NOW, temporaryFolder } from "./files.mjs";

const question = { bundle: BUNDLE, cluster: CLUSTER, now: NOW };
const folder = temporaryFolder();
const text = new TextDecoder().decode(BUNDLE);

// A copy whose memory was transferred away (detached).
function detached(bytes) {
  const copy = bytes.slice();
  structuredClone(copy, { transfer: [copy.buffer] });
  return copy;
}

async function* oneByOne(bytes) {
  for (const byte of bytes) yield Uint8Array.of(byte);
}

const streamOf = (...chunks) => new ReadableStream({
  start(controller) {
    for (const chunk of chunks) controller.enqueue(chunk);
    controller.close();
  },
});

test("a file is accepted in every form", async () => {
  const path = join(folder, "file");
  writeFileSync(path, FILE);
  const forms = {
    Uint8Array: FILE,
    Buffer: Buffer.from(FILE),
    ArrayBuffer: FILE.slice().buffer,
    "part of a larger array": Buffer.from([1, ...FILE, 2]).subarray(1, -1),
    Blob: new Blob([FILE]),
    File: new File([FILE], "report.pdf"),
    ReadableStream: streamOf(FILE.subarray(0, 3), new Uint8Array(), FILE.subarray(3)),
    "the body of a response": new Response(FILE).body,
    "async iterable": oneByOne(FILE),
    "file on disk": createReadStream(path),
    SharedArrayBuffer: (() => {
      const shared = new Uint8Array(new SharedArrayBuffer(FILE.length));
      shared.set(FILE);
      return shared;
    })(),
  };
  for (const [form, file] of Object.entries(forms)) {
    const report = await verify({ ...question, file });
    assert.equal(report.verdict, "valid", `${form}: ${report.message}`);
  }
});

test("another file in pieces is invalid", async () => {
  const { verdict, check } = await verify({ ...question, file: streamOf(FILE, FILE) });
  assert.deepEqual([verdict, check], ["invalid", "digest"]);
});

test("a digest is accepted in every form, with and without a length", async () => {
  const { bytes, hex } = await createHasher().then((hasher) => hasher.update(FILE)).then((hasher) => ({ bytes: hasher.digest(), hex: hasher.digest("hex") }));
  for (const digest of [DIGEST, hex, hex.toUpperCase(), bytes, bytes.slice().buffer]) {
    assert.equal((await verify({ ...question, digest })).verdict, "valid");
    assert.equal((await verify({ ...question, digest, length: LENGTH })).verdict, "valid");
    const { verdict, check } = await verify({ ...question, digest, length: LENGTH + 1 });
    assert.deepEqual([verdict, check], ["invalid", "length"]);
  }
});

test("the time is accepted in every form", async () => {
  for (const now of [NOW, new Date(NOW * 1000), new Date(NOW * 1000 + 999), undefined, null]) {
    const { verdict } = await verify({ ...question, digest: DIGEST, now, waiveExpiry: true });
    // the default is the current time, which may be before the vectors'
    if (now) assert.equal(verdict, "valid");
    else assert.ok(["valid", "invalid"].includes(verdict));
  }
  const { verdict, check } = await verify({ ...question, digest: DIGEST, now: new Date(0) });
  assert.deepEqual([verdict, check], ["invalid", "time"]);
});

test("a bundle is accepted in every form", async () => {
  for (const bundle of [BUNDLE, Buffer.from(BUNDLE), BUNDLE.slice().buffer, text]) {
    assert.equal((await verify({ ...question, bundle, digest: DIGEST })).verdict, "valid");
    assert.equal((await inspect(bundle)).digest_base58, DIGEST);
  }
  const repeated = text.replace('"epochs"', '"epochs":[],"epochs"');
  assert.equal((await verify({ ...question, bundle: repeated, digest: DIGEST })).check, "bundle");
});

test("the returned certificate is the verified one, even if the bundle's memory changes", async () => {
  const bundle = BUNDLE.slice();
  const report = await verify({ ...question, bundle, digest: DIGEST });
  bundle.fill(0);
  assert.equal(report.certificate.digest_base58, DIGEST);
  assert.equal(report.certificate, report.certificate);
  assert.equal(JSON.parse(JSON.stringify(report)).certificate.length, LENGTH);
  assert.equal(structuredClone(report).certificate.length, LENGTH);
  assert.ok(!("certificate" in (await verify({ ...question, digest: DIGEST, length: 0 }))));
});

test("a bundle of any size gets a verdict", async () => {
  for (const bundle of [new Uint8Array(), "", new Uint8Array((8 << 20) + 1), new Uint8Array(1 << 28)]) {
    const { verdict, check } = await verify({ ...question, bundle, digest: DIGEST });
    assert.deepEqual([verdict, check], ["invalid", "bundle"]);
  }
});

test("missing input gives a verdict", async () => {
  for (const cluster of [undefined, null]) {
    const { verdict, check } = await verify({ ...question, cluster, digest: DIGEST });
    assert.deepEqual([verdict, check], ["cannot-check", "identity"]);
  }
  for (const nothing of [{}, { file: undefined }, { file: null, digest: null, length: null }]) {
    const { verdict, check } = await verify({ ...question, ...nothing });
    assert.deepEqual([verdict, check], ["cannot-check", "digest"]);
  }
});

test("a file is not read when an earlier check decides", async () => {
  let read = false;
  const file = {
    async *[Symbol.asyncIterator]() {
      read = true;
      yield FILE;
    },
  };
  assert.equal((await verify({ ...question, cluster: null, file })).check, "identity");
  assert.equal((await verify({ ...question, bundle: "{}", file })).check, "bundle");
  assert.equal(read, false);
  assert.equal((await verify({ ...question, file })).verdict, "valid");
  assert.equal(read, true);
});

test("an error of the file is rethrown, and its stream is closed", async () => {
  const broken = new Error("the disk is on fire");
  const failing = new ReadableStream({ pull: () => Promise.reject(broken) });
  await assert.rejects(verify({ ...question, file: failing }), broken);
  await assert.rejects(hash(createReadStream(join(folder, "none"))), { code: "ENOENT" });
  let cancelled = false;
  const strings = new ReadableStream({ pull: (controller) => controller.enqueue("text"), cancel: () => (cancelled = true) });
  await assert.rejects(hash(strings), /^TypeError: file: expected chunks of Uint8Array, got a string/);
  assert.ok(cancelled);
});

const IMPOSTOR = Object.defineProperty({}, Symbol.toStringTag, { value: "Uint8Array" });
const shown = (value) => (ArrayBuffer.isView(value) ? `${value.constructor.name} of ${value.byteLength}` : inspectValue(value).slice(0, 80));
const SENSELESS = {
  TypeError: {
    bundle: [undefined, null, 1, JSON.parse(text), [], new Blob([BUNDLE]), new Uint16Array(4), new DataView(new ArrayBuffer(4)), IMPOSTOR, detached(BUNDLE), Symbol("x"), () => BUNDLE],
    cluster: ["", "abc", "0".repeat(63), "g".repeat(64), "0OIl", "1".repeat(100_000), " ", 7, {}, new Uint8Array(32), true],
    digest: ["", "abc", "g".repeat(64), `${DIGEST}1`, `${DIGEST} `, 7, 7n, {}, [], new Uint8Array(31), new Uint8Array(33), new Uint8Array(1 << 28), new Uint16Array(16), detached(new Uint8Array(32))],
    length: ["19", 19n, {}, [], true, new Date()],
    now: ["now", "1790000000", 1n, {}, [], true],
    waiveExpiry: ["true", 1, {}, []],
    file: ["report.pdf", 1, true, {}, [], [FILE], new Uint16Array(4), IMPOSTOR, detached(FILE), () => FILE],
  },
  RangeError: {
    length: [NaN, Infinity, -Infinity, -1, 0.5, 2 ** 53, 1e300, 5e-324],
    now: [NaN, Infinity, -1, 0.5, 2 ** 53, new Date(NaN), new Date(-1)],
  },
};

for (const [name, options] of Object.entries(SENSELESS)) {
  for (const [option, values] of Object.entries(options)) {
    test(`an invalid ${option} is a ${name}`, async () => {
      for (const value of values) {
        const subject = option === "file" ? {} : { digest: DIGEST };
        const got = verify({ ...question, ...subject, [option]: value });
        await assert.rejects(got, (error) => {
          assert.equal(error.name, name, `${shown(value)}: ${error}`);
          assert.match(error.message, new RegExp(`^${option}: expected .+, got .+`));
          assert.ok(error.message.length < 300);
          return true;
        }, shown(value));
      }
    });
  }
}

test("contradictory or unknown options are errors", async () => {
  const refused = (options, message) => assert.rejects(verify(options), (error) => error instanceof TypeError && message.test(error.message));
  await refused({ ...question, file: FILE, digest: DIGEST }, /expected file or digest, got both/);
  await refused({ ...question, file: FILE, length: LENGTH }, /^length: /);
  await refused({ ...question, digest: DIGEST, lenght: LENGTH }, /unknown option "lenght"/);
  await refused(undefined, /expected an object/);
  await refused(null, /expected an object/);
  await refused("bundle", /expected an object/);
});

test("zero and the largest integer are valid numbers", async () => {
  for (const number of [0, -0, Number.MAX_SAFE_INTEGER]) {
    assert.equal((await verify({ ...question, digest: DIGEST, length: number })).check, "length");
    assert.equal(typeof (await verify({ ...question, digest: DIGEST, now: number })).verdict, "string");
  }
});

test("hashing refuses non-bytes and can continue", async () => {
  const hasher = await createHasher();
  for (const bytes of [undefined, null, "text", 1, [1], new Uint16Array(1), detached(FILE)]) assert.throws(() => hasher.update(bytes), TypeError);
  assert.throws(() => hasher.digest("base64"), TypeError);
  assert.equal(hasher.update(FILE).digest("base58"), DIGEST);
  assert.equal(hasher.length, FILE.length);
  await assert.rejects(hash("report.pdf"), /createReadStream/);
});

test("inspect shows the bundle, or why it cannot be read", async () => {
  const said = await inspect(BUNDLE);
  assert.equal(said.cluster, CLUSTER);
  assert.equal(said.length, LENGTH);
  assert.deepEqual(said.members.filter(({ signed }) => signed).map(({ member }) => member), said.signers);
  await assert.rejects(inspect(text.slice(1)), (error) => {
    assert.ok(error instanceof BundleError);
    assert.deepEqual([error.name, error.report.verdict, error.report.check], ["BundleError", "invalid", "bundle"]);
    return true;
  });
  await assert.rejects(inspect(text.replace('"version": 1', '"version":1').replace('"version":1', '"version":2')), (error) => error.report.verdict === "cannot-check");
  await assert.rejects(inspect(JSON.parse(text)), TypeError);
});

test("concurrent verifications do not affect each other", async () => {
  await init();
  const [one, other] = await Promise.all([createVerifier(), createVerifier()]);
  const reports = await Promise.all([one, other, one].map((verifier) => verifier.verify({ ...question, file: oneByOne(FILE) })));
  assert.deepEqual(reports.map(({ verdict }) => verdict), ["valid", "valid", "valid"]);
  one.free();
  assert.equal((await other.verify({ ...question, digest: DIGEST })).verdict, "valid");
});

test("memory does not grow with the file size", async () => {
  const piece = new Uint8Array(1 << 20);
  async function* large() {
    for (let i = 0; i < 512; i++) yield piece;
  }
  await hash(large());
  const before = process.memoryUsage();
  assert.equal((await hash(large())).length, 512 << 20);
  const after = process.memoryUsage();
  assert.ok(after.rss - before.rss < 32 << 20, `${after.rss - before.rss} bytes more`);
});

// Two calls on a loaded package, and one on a freshly imported package, which loads its module first.
const fresh = () => import(`../../verifier-wasm/npm/node.js?fresh=${Math.random()}`);

test("changing the arguments after the call does not change the verdict", async () => {
  const evil = FILE.slice();
  evil[0] ^= 1;
  for (const api of [{ verify, createVerifier }, await fresh()]) {
    const options = { ...question, file: evil };
    const judged = api.verify(options);
    options.file = FILE;
    assert.equal((await judged).check, "digest");

    const other = { ...question, cluster: DIGEST, file: FILE };
    const refused = api.verify(other);
    other.cluster = CLUSTER;
    assert.equal((await refused).check, "identity");

    let asked = 0;
    const fickle = { ...question, get file() { return asked++ === 0 ? evil : FILE; } };
    assert.equal((await api.verify(fickle)).check, "digest");

    const reads = [];
    const watched = new Proxy({ ...question, file: evil }, { get: (target, name) => (reads.push(name), target[name]) });
    assert.equal((await api.verify(watched)).check, "digest");
    assert.deepEqual(reads.sort(), ["bundle", "checkpoint", "cluster", "digest", "file", "length", "now", "requireSealed", "waiveExpiry"]);
  }
});

// Buffer's slice does not copy; this class's slice does not even return bytes.
class OddBytes extends Uint8Array {
  slice() {
    return this;
  }
}

test("overwriting bytes after the call does not change the verdict, whatever their class", async () => {
  const evil = FILE.slice();
  evil[0] ^= 1;
  for (const copy of [(bytes) => bytes.slice(), (bytes) => Buffer.from(bytes), (bytes) => OddBytes.from(bytes)]) {
    for (const load of [() => ({ hash, inspect, verify }), fresh]) {
      let api = await load();
      const [bytes, bundle] = [copy(evil), copy(BUNDLE)];
      const refilled = api.verify({ ...question, bundle, file: bytes });
      bytes.set(FILE);
      bundle.fill(0);
      assert.equal((await refilled).check, "digest");

      api = await load();
      const [digest, own] = [copy((await createHasher()).update(evil).digest()), copy(BUNDLE)];
      const other = api.verify({ ...question, bundle: own, digest });
      digest.set((await createHasher()).update(FILE).digest());
      assert.equal((await other).check, "digest");

      api = await load();
      const inspected = api.inspect(own);
      own.fill(0);
      assert.equal((await inspected).digest_base58, DIGEST);

      api = await load();
      const hashed = copy(FILE);
      const hashing = api.hash(hashed);
      hashed.fill(0);
      assert.equal((await hashing).digest_base58, DIGEST);
    }
    const verifier = await createVerifier();
    const [file, bundle] = [copy(FILE), copy(BUNDLE)];
    const report = await verifier.verify({ ...question, bundle, file: new Blob([file]) });
    bundle.fill(0);
    assert.equal(report.certificate.digest_base58, DIGEST);
  }
});

test("a stream that was already read is an error, not an empty file", async () => {
  const read = async (stream) => {
    for await (const _ of stream) { /* to its end */ }
    return stream;
  };
  const path = join(folder, "read");
  writeFileSync(path, FILE);
  const locked = streamOf(FILE);
  locked.getReader();
  const generator = oneByOne(FILE);
  await hash(generator);
  for (const file of [await read(streamOf(FILE)), await read(createReadStream(path)), locked, generator]) {
    await assert.rejects(verify({ ...question, file }), { name: "TypeError", message: /was read already/ });
    await assert.rejects(hash(file), TypeError);
  }
  // A second call must not take the drained stream of the first for an empty file.
  for (const file of [streamOf(FILE), createReadStream(path), oneByOne(FILE)]) {
    const [first, second] = await Promise.allSettled([hash(file), hash(file)]);
    assert.deepEqual([first.value?.digest_base58, second.reason?.name], [DIGEST, "TypeError"]);
  }
});

test("a stream that a call did not read stays usable, and a failed one rejects with its reason", async () => {
  for (const file of [streamOf(FILE), oneByOne(FILE)]) {
    assert.equal((await verify({ ...question, cluster: null, file })).check, "identity");
    assert.equal((await verify({ ...question, file })).verdict, "valid");
  }
  const failed = createReadStream(join(folder, "none"));
  await new Promise((resolve) => failed.once("error", resolve));
  await assert.rejects(hash(failed), { code: "ENOENT" });
});

test("oversized text is refused before it is copied", async (t) => {
  for (const length of [129, 1 << 20]) {
    const long = "1".repeat(length);
    const refusal = (name) => ({ name: "TypeError", message: `${name}: expected at most 128 characters, got ${length}` });
    await assert.rejects(verify({ ...question, cluster: long, digest: DIGEST }), refusal("cluster"));
    await assert.rejects(verify({ ...question, digest: long }), refusal("digest"));
    await assert.rejects(normalizeDigest(long), refusal("digest"));
    await assert.rejects(get(long, { server: "127.0.0.1:1", cluster: null }), refusal("digest"));
    await assert.rejects(put(FILE, { server: "127.0.0.1:1", cluster: long }), refusal("cluster"));
  }
  const encode = t.mock.method(TextEncoder.prototype, "encode");
  const { verdict, check } = await verify({ ...question, bundle: " ".repeat(64 << 20), digest: DIGEST });
  assert.deepEqual([verdict, check], ["invalid", "bundle"]);
  assert.deepEqual(encode.mock.calls.map(({ arguments: [encoded] }) => encoded.length).filter((length) => length > 1024), [(8 << 20) + 1]);
});

test("using a freed object is an error", async () => {
  const [verifier, hasher] = [await createVerifier(), await createHasher()];
  for (const own of [verifier, hasher, verifier, hasher]) own.free();
  await assert.rejects(verifier.verify({ ...question, digest: DIGEST }), /this verifier was freed: make another with createVerifier\(\)/);
  for (const use of [() => hasher.update(new Uint8Array()), () => hasher.digest(), () => hasher.length]) assert.throws(use, /this hasher was freed/);
  assert.throws(() => hasher.update(FILE), /this hasher was freed: make another with createHasher\(\)/);
});
