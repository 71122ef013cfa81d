// The code that browsers and Node.js share. It checks arguments and hashes files; the wasm module decides.
import { asBytes, chunksOf, heldBytes, kindOf, pieces } from "./bytes.js";

// A valid identity or digest has at most 64 characters. Texts up to this length are passed to the module, whose error says what is wrong.
const LONGEST_TEXT = 128;
const VERIFY_OPTIONS = ["bundle", "cluster", "checkpoint", "requireSealed", "file", "digest", "length", "now", "waiveExpiry"];
const PUT_OPTIONS = ["server", "cluster", "checkpoint", "token", "expires", "renew", "retry", "signal", "onProgress", "onWaiting"];
const KNOWN_IDENTITIES = ["given", "address", "isAddressMalformed", "remembered", "wasCompared", "taken", "shown"];
const GET_OPTIONS = ["server", "cluster", "checkpoint", "token", "length", "range", "sink", "retry", "signal", "onProgress", "onWaiting"];

/** The bundle is malformed or of an unknown version: there is nothing to inspect. */
export class BundleError extends Error {
  constructor(report) {
    super(report.message);
    this.name = "BundleError";
    this.report = report;
  }
}

export const given = (value) => value !== undefined && value !== null;

export function expectType(name, value, type, hint = "") {
  if (given(value) && typeof value !== type) throw new TypeError(`${name}: expected a ${type}, got ${kindOf(value)}${hint}`);
}

// Checks the text of an identity or a digest. A long text is refused before it is copied into the module.
export function expectText(name, value, hint = "") {
  expectType(name, value, "string", hint);
  if (given(value) && value.length > LONGEST_TEXT) throw new TypeError(`${name}: expected at most ${LONGEST_TEXT} characters, got ${value.length}`);
}

// Reads each option exactly once, including inherited options and getters: later changes have no effect.
export function readOptions(options, names) {
  if (typeof options !== "object" || options === null) throw new TypeError(`expected an object with ${names.join(", ")}, got ${kindOf(options)}`);
  // Refuse unknown names: otherwise a misspelt option is silently ignored.
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new TypeError(`unknown option ${JSON.stringify(unknown)}; expected ${names.join(", ")}`);
  return Object.fromEntries(names.map((name) => [name, options[name]]));
}

const isDate = (value) => Object.prototype.toString.call(value) === "[object Date]";

// Checks the texts of what is trusted.
export function checkTrust({ cluster, checkpoint }) {
  expectText("cluster", cluster, "; give its base58 or hex text");
  expectText("checkpoint", checkpoint, "; give EPOCH:DIGEST");
}

function readVerifyOptions(options) {
  const own = readOptions(options, VERIFY_OPTIONS);
  const { file, digest, length, now, waiveExpiry, requireSealed } = own;
  checkTrust(own);
  expectType("requireSealed", requireSealed, "boolean");
  expectType("length", length, "number");
  expectType("waiveExpiry", waiveExpiry, "boolean");
  if (given(file) && given(digest)) throw new TypeError("expected file or digest, got both");
  if (given(file) && given(length)) throw new TypeError("length: expected with digest only, got it with a file, which has its own");
  return { ...own, now: secondsOf(now) };
}

// Options of a put or a get. Lists, URLs and dates are mutable objects, so their values are copied now.
function readClientOptions(options, names) {
  const own = readOptions(options, names);
  const copy = (server) => (typeof server === "object" && server !== null ? String(server) : server);
  own.server = Array.isArray(own.server) ? own.server.map(copy) : copy(own.server);
  if (isDate(own.expires)) own.expires = new Date(own.expires.getTime());
  return own;
}

export function secondsOf(now) {
  if (!given(now)) return Math.floor(Date.now() / 1000);
  if (isDate(now)) return Math.floor(now.getTime() / 1000);
  if (typeof now === "number") return now;
  throw new TypeError(`now: expected a Date or seconds since 1970, got ${kindOf(now)}`);
}

// A digest as 32 bytes. The module parses its text.
export const digestBytes = (wasm, digest) => (typeof digest === "string" ? wasm.digestBytes(digest) : digest);

// A digest that the caller can no longer change.
export function heldDigest(digest) {
  if (typeof digest === "string") {
    expectText("digest", digest);
    return digest;
  }
  const bytes = asBytes("digest", digest);
  if (bytes === undefined) throw new TypeError(`digest: expected base58, hex or 32 bytes, got ${kindOf(digest)}`);
  // Check the size before copying the bytes.
  if (bytes.length !== 32) throw new TypeError(`digest: expected 32 bytes, got ${bytes.length}`);
  return new Uint8Array(bytes);
}

// A bundle that the caller can no longer change, at most one byte above the limit. Its text is passed to the module unparsed: JSON.parse would
// hide a repeated key.
export function heldBundle(bundle, limit = Infinity) {
  if (typeof bundle === "string") return bundle;
  const bytes = asBytes("bundle", bundle);
  if (bytes === undefined) {
    const hint = typeof bundle === "object" && bundle !== null ? "; give the text of the .vouch file, not what JSON.parse makes of it" : "";
    throw new TypeError(`bundle: expected a Uint8Array, ArrayBuffer or string, got ${kindOf(bundle)}${hint}`);
  }
  return new Uint8Array(bytes.subarray(0, limit + 1));
}

// A bundle's bytes, cut one byte above the limit, which is enough to see that it is too long. A text has at least one byte per UTF-16 unit.
export function bundleBytes(wasm, held) {
  const limit = wasm.maxBundle();
  const bytes = typeof held === "string" ? new TextEncoder().encode(held.slice(0, limit + 1)) : held;
  return bytes.length > limit ? bytes.subarray(0, limit + 1) : bytes;
}

export function createApi(wasm, ready) {
  let isReady = false;
  const loaded = async () => {
    await ready();
    isReady = true;
  };
  const held = (bundle) => heldBundle(bundle, isReady ? wasm.maxBundle() : undefined);

  // A file that the caller can no longer change. Bytes in memory are hashed at once if the module is loaded; otherwise they are copied.
  function heldFile(file) {
    const bytes = asBytes("file", file);
    if (bytes === undefined) return { chunks: chunksOf(file) };
    return isReady ? { subject: hashedAtOnce(bytes) } : { chunks: chunksOf(new Uint8Array(bytes)) };
  }

  function hashedAtOnce(bytes) {
    const hasher = new Hasher();
    try {
      hasher.update(bytes);
      return { digest: hasher.digest(), length: hasher.length };
    } finally {
      hasher.free();
    }
  }

  // Adds the certificate's content, decoded on first access: for a large committee, decoding takes longer than verifying.
  function withCertificate(bundle, report) {
    if (report.verdict !== "valid") return report;
    let certificate;
    const get = () => (certificate ??= JSON.parse(wasm.inspect(bundle)));
    return Object.defineProperty(report, "certificate", { get, enumerable: true, configurable: true });
  }

  const freed = (what) => new Error(`this ${what} was freed: make another with create${what[0].toUpperCase()}${what.slice(1)}()`);

  class Hasher {
    #own = new wasm.Hasher();

    get #inner() {
      if (this.#own === undefined) throw freed("hasher");
      return this.#own;
    }

    update(bytes) {
      const view = asBytes("bytes", bytes);
      if (view === undefined) throw new TypeError(`bytes: expected a Uint8Array or ArrayBuffer, got ${kindOf(bytes)}`);
      const inner = this.#inner; // throws if the hasher was freed, even for an empty update
      for (const piece of pieces(view)) inner.update(piece);
      return this;
    }

    digest(form = "bytes") {
      const digest = this.#inner.digest();
      if (form === "bytes") return digest;
      if (form === "base58") return wasm.digestBase58(digest);
      if (form === "hex") return wasm.digestHex(digest);
      throw new TypeError(`digest: expected "bytes", "base58" or "hex", got ${JSON.stringify(form) ?? kindOf(form)}`);
    }

    get length() {
      return this.#inner.length();
    }

    free() {
      this.#own?.free();
      this.#own = undefined;
    }
  }

  async function hashed(chunks) {
    const hasher = new Hasher();
    try {
      for await (const chunk of chunks) hasher.update(chunk);
      return { digest: hasher.digest(), length: hasher.length };
    } finally {
      hasher.free();
    }
  }

  class Verifier {
    #own = new wasm.Verifier();

    get #inner() {
      if (this.#own === undefined) throw freed("verifier");
      return this.#own;
    }

    async verify(options) {
      return judge(this.#inner, question(options));
    }

    free() {
      this.#own?.free();
      this.#own = undefined;
    }
  }

  // `verifier` is the module's. Everything is decided before the first await, except for a file that must still be read.
  async function judge(verifier, { bundle, cluster, checkpoint, requireSealed, now, waiveExpiry, subject, file }) {
    const bytes = bundleBytes(wasm, bundle);
    const about = subject === undefined ? file?.subject : { digest: digestBytes(wasm, subject.digest), length: subject.length };
    const judgement = verifier.judge(bytes, cluster ?? undefined, now, waiveExpiry ?? false, checkpoint ?? undefined, requireSealed ?? false);
    try {
      const holdAgainst = ({ digest, length }) => judgement.holdAgainst(digest, length ?? undefined);
      if (about !== undefined) holdAgainst(about);
      // Read the file, which may take minutes, only if the certificate is genuine.
      else if (file !== undefined && judgement.isGenuine()) holdAgainst(await hashed(file.chunks));
      return withCertificate(bytes, JSON.parse(judgement.report()));
    } finally {
      judgement.free();
    }
  }

  // Copies everything that a verdict depends on, so that the caller can no longer change it.
  function question(options) {
    const { bundle, file, digest, length, ...own } = readVerifyOptions(options);
    return {
      ...own,
      bundle: held(bundle),
      subject: given(digest) ? { digest: heldDigest(digest), length } : undefined,
      file: given(file) ? heldFile(file) : undefined,
    };
  }

  let shared;

  return {
    async verify(options) {
      const asked = question(options);
      await loaded();
      shared ??= new wasm.Verifier();
      return judge(shared, asked);
    },

    async inspect(bundle) {
      const own = held(bundle);
      await loaded();
      const bytes = bundleBytes(wasm, own);
      try {
        return JSON.parse(wasm.inspect(bytes));
      } catch (thrown) {
        throw typeof thrown === "string" ? new BundleError(JSON.parse(thrown)) : thrown;
      }
    },

    async hash(file) {
      const own = heldFile(file);
      await loaded();
      const { digest, length } = own.subject ?? (await hashed(own.chunks));
      return { digest: wasm.digestHex(digest), digest_base58: wasm.digestBase58(digest), length };
    },

    async normalizeDigest(text) {
      expectText("digest", text ?? "");
      await loaded();
      return wasm.digestBase58(wasm.digestBytes(text ?? ""));
    },

    async limits() {
      await loaded();
      return { bundle: wasm.maxBundle(), members: wasm.maxMembers() };
    },

    async decideTrust(known) {
      const own = readOptions(known, KNOWN_IDENTITIES);
      const text = (name) => {
        expectText(name, own[name]);
        return own[name] ?? undefined;
      };
      const flag = (name) => {
        expectType(name, own[name], "boolean");
        return own[name] ?? false;
      };
      const args = [text("given"), text("address"), flag("isAddressMalformed"), text("remembered"), flag("wasCompared"), text("taken"), text("shown")];
      await loaded();
      return JSON.parse(wasm.decideTrust(...args));
    },

    async createHasher() {
      await loaded();
      return new Hasher();
    },

    async createVerifier() {
      await loaded();
      return new Verifier();
    },
  };
}

// `put` and `get` of a client that is loaded at its first use. Options and bytes are read before that, synchronously.
export const whenLoaded = (load) => ({
  put: async (file, options) => {
    const own = readClientOptions(options, PUT_OPTIONS);
    const held = heldBytes("file", file);
    return (await load()).put(held, own);
  },
  get: async (digest, options) => {
    const own = readClientOptions(options, GET_OPTIONS);
    const held = heldDigest(digest);
    return (await load()).get(held, own);
  },
});
