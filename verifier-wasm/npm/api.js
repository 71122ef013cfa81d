// All that browsers and Node.js share: arguments are looked at, files are hashed, the module decides.
import { asBytes, chunksOf, kindOf, pieces } from "./bytes.js";

const OPTIONS = ["bundle", "cluster", "file", "digest", "length", "now", "waiveExpiry"];

/** A bundle whose form alone decides the verdict: there is nothing to inspect. */
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

export function expectOptions(options, names) {
  if (typeof options !== "object" || options === null) throw new TypeError(`expected an object with ${names.join(", ")}, got ${kindOf(options)}`);
  // A misspelt option would silently be no option.
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new TypeError(`unknown option ${JSON.stringify(unknown)}; expected ${names.join(", ")}`);
}

function checkOptions(options) {
  expectOptions(options, OPTIONS);
  expectType("cluster", options.cluster, "string", "; give its base58 or hex text");
  expectType("length", options.length, "number");
  expectType("waiveExpiry", options.waiveExpiry, "boolean");
  if (given(options.file) && given(options.digest)) throw new TypeError("expected file or digest, got both");
  if (given(options.file) && given(options.length)) throw new TypeError("length: expected with digest only, got it with a file, which has its own");
  return options;
}

function secondsOf(now) {
  if (!given(now)) return Math.floor(Date.now() / 1000);
  if (Object.prototype.toString.call(now) === "[object Date]") return Math.floor(now.getTime() / 1000);
  if (typeof now === "number") return now;
  throw new TypeError(`now: expected a Date or seconds since 1970, got ${kindOf(now)}`);
}

// A digest as 32 bytes: its text is the module's to read.
export function digestBytes(wasm, digest) {
  if (typeof digest === "string") return wasm.digestBytes(digest);
  const bytes = asBytes("digest", digest);
  if (bytes === undefined) throw new TypeError(`digest: expected base58, hex or 32 bytes, got ${kindOf(digest)}`);
  // The size is checked before the bytes are copied.
  if (bytes.length !== 32) throw new TypeError(`digest: expected 32 bytes, got ${bytes.length}`);
  return bytes;
}

export function createApi(wasm, ready) {
  // Texts go to the module as they are: JSON.parse would hide a repeated key.
  function bundleBytes(bundle) {
    const bytes = typeof bundle === "string" ? new TextEncoder().encode(bundle) : asBytes("bundle", bundle);
    if (bytes === undefined) {
      const hint = typeof bundle === "object" && bundle !== null ? "; give the text of the .vouch file, not what JSON.parse makes of it" : "";
      throw new TypeError(`bundle: expected a Uint8Array, ArrayBuffer or string, got ${kindOf(bundle)}${hint}`);
    }
    // Of one that is too long, this much is enough to say so.
    const limit = wasm.maxBundle();
    return bytes.length > limit ? bytes.subarray(0, limit + 1) : bytes;
  }

  // What the certificate says is read when it is asked for: of a large committee, that takes longer than to verify it.
  function withCertificate(bundle, report) {
    if (report.verdict !== "valid") return report;
    const verified = bundle.slice(); // the caller's memory may change
    let certificate;
    const get = () => (certificate ??= JSON.parse(wasm.inspect(verified)));
    return Object.defineProperty(report, "certificate", { get, enumerable: true, configurable: true });
  }

  class Hasher {
    #inner = new wasm.Hasher();

    update(bytes) {
      const view = asBytes("bytes", bytes);
      if (view === undefined) throw new TypeError(`bytes: expected a Uint8Array or ArrayBuffer, got ${kindOf(bytes)}`);
      for (const piece of pieces(view)) this.#inner.update(piece);
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
      this.#inner.free();
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
    #inner = new wasm.Verifier();

    async verify(options) {
      const { cluster, file, digest, length, waiveExpiry } = checkOptions(options);
      const bundle = bundleBytes(options.bundle);
      const now = secondsOf(options.now);
      const subject = given(digest) ? { digest: digestBytes(wasm, digest), length } : undefined;
      const chunks = given(file) ? chunksOf(file) : undefined;
      const judgement = this.#inner.judge(bundle, cluster ?? undefined, now, waiveExpiry ?? false);
      try {
        const holdAgainst = (about) => judgement.holdAgainst(about.digest, about.length ?? undefined);
        if (subject !== undefined) holdAgainst(subject);
        // A file may take minutes to read: no file matters to a certificate that is not genuine.
        else if (chunks !== undefined && judgement.isGenuine()) holdAgainst(await hashed(chunks));
        return withCertificate(bundle, JSON.parse(judgement.report()));
      } finally {
        judgement.free();
      }
    }

    free() {
      this.#inner.free();
    }
  }

  let shared;

  return {
    async verify(options) {
      await ready();
      shared ??= new Verifier();
      return shared.verify(options);
    },

    async inspect(bundle) {
      await ready();
      const bytes = bundleBytes(bundle);
      try {
        return JSON.parse(wasm.inspect(bytes));
      } catch (thrown) {
        throw typeof thrown === "string" ? new BundleError(JSON.parse(thrown)) : thrown;
      }
    },

    async hash(file) {
      const chunks = chunksOf(file);
      await ready();
      const { digest, length } = await hashed(chunks);
      return { digest: wasm.digestHex(digest), digest_base58: wasm.digestBase58(digest), length };
    },

    async normalizeDigest(text) {
      expectType("digest", text ?? "", "string");
      await ready();
      return wasm.digestBase58(wasm.digestBytes(text ?? ""));
    },

    async createHasher() {
      await ready();
      return new Hasher();
    },

    async createVerifier() {
      await ready();
      return new Verifier();
    },
  };
}
