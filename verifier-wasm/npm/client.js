// Puts and gets: the file is read, the socket is opened, the module decides.
import { createApi, digestBytes, expectText, expectType, given } from "./api.js";
import { chunksOf, kindOf, lengthOf } from "./bytes.js";
import { faultOf, linkAddress, openLink, ServerError } from "./link.js";
import { hashed, upload } from "./source.js";
import { waitFor } from "./wait.js";

// How much of a get is kept in one Blob, which is the browser's to keep off the heap.
const BLOB_PART = 4 << 20;

// Seconds that a put which was cut off goes on trying.
const RETRY = 60;

const random = (size) => crypto.getRandomValues(new Uint8Array(size));
const now = () => Math.floor(Date.now() / 1000);

function checkServer(options) {
  if (!given(options.server)) throw new TypeError("server: expected HOST:PORT or a URL, got nothing");
  if (options.cluster === undefined) throw new TypeError("cluster: expected the identity that you trust, or null to take the server's; got nothing");
  expectText("cluster", options.cluster, "; give its base58 or hex text");
  expectType("onProgress", options.onProgress, "function");
  options.signal?.throwIfAborted();
  return { address: linkAddress(options.server), cluster: options.cluster ?? undefined, tell: options.onProgress ?? (() => {}) };
}

// Seconds since 1970; undefined for never.
function expiryOf(expires) {
  if (!given(expires) || expires === "never") return undefined;
  if (Object.prototype.toString.call(expires) === "[object Date]") return Math.floor(expires.getTime() / 1000);
  if (typeof expires === "number") return expires;
  throw new TypeError(`expires: expected a Date, seconds since 1970 or "never", got ${kindOf(expires)}`);
}

function retryOf(retry) {
  if (!given(retry)) return RETRY;
  if (typeof retry !== "number") throw new TypeError(`retry: expected seconds, got ${kindOf(retry)}`);
  if (!(retry >= 0)) throw new RangeError(`retry: expected at least 0 seconds, got ${retry}`);
  return retry;
}

// What a listener of the module hears, as promises: the first of a stage, or the end of it all.
function listen(link, hear) {
  let fail;
  const failed = new Promise((_, reject) => (fail = reject));
  failed.catch(() => {});
  const waiting = new Map();
  const listener = (told) => {
    try {
      if (typeof told !== "string") return hear.bytes(told);
      const { stage, ...about } = JSON.parse(told);
      if (stage === "failed") return fail(new ServerError(about));
      waiting.get(stage)?.(about);
      hear[stage]?.(about);
    } catch (error) {
      fail(error); // of the caller's own functions
    }
  };
  const first = (stage) => Promise.race([failed, link.ended, new Promise((resolve) => waiting.set(stage, resolve))]);
  return { listener, first, fail };
}

function blobSink() {
  const parts = [];
  let last = [];
  let size = 0;
  const flush = () => {
    if (size > 0) parts.push(new Blob(last));
    last = [];
    size = 0;
  };
  return {
    write: (bytes) => {
      last.push(bytes);
      size += bytes.length;
      if (size >= BLOB_PART) flush();
    },
    blob: () => {
      flush();
      return new Blob(parts, { type: "application/octet-stream" });
    },
  };
}

// `wasm` is ready. The options and bytes given are this client's own: the caller cannot change them. What a put
// brings home is verified like any other bundle.
export function createClient(wasm, openSocket) {
  const api = createApi(wasm, async () => {});

  // One try, on a link of its own. `about` is of the whole put, and learns from every try.
  async function attempt(about) {
    const { file, stream, subject, total, options, tell, retry } = about;
    const { signal } = options;
    tell({ stage: "connecting" });
    const link = await openLink(openSocket, about.address, signal);
    let session;
    let isOver = false;
    try {
      const { listener, first, fail } = listen(link, {
        committee(shown) {
          // Whoever answers later must be of the same cluster.
          about.cluster ??= shown.cluster;
          retry.opened();
          tell({ stage: "committee", ...shown });
        },
        member(progress) {
          retry.member(progress.state);
          tell({ stage: "member", ...progress });
        },
      });
      const { cluster, expires, salt, began } = about;
      // Its share is the session's from now on, whether the session likes the rest or not.
      session = new wasm.Put(link.socket, listener, cluster, subject?.share(), expires, salt, random(32), began, options.renew === true);
      link.watch(session);
      const certifying = first("certified");
      certifying.catch(() => {});
      // What was certified before is not asked for again.
      const ready = await Promise.race([first("ready"), certifying]);
      if (ready.bundle === undefined) {
        const from = ready.offset;
        about.from = from;
        retry.ready(from);
        if (from > 0) tell({ stage: "resuming", offset: from, total });
        const sent = (done) => {
          retry.sent(done);
          tell({ stage: "sending", done, total: total ?? null });
        };
        const uploading = upload(wasm, session, stream ?? chunksOf(file, from), from, sent, () => isOver);
        uploading.catch(fail);
      }
      const { bundle, cluster: shown, server, digest, length, reused } = await certifying;
      const report = await api.verify({ bundle, cluster: cluster ?? shown, digest, length });
      if (report.verdict !== "valid") {
        const { check, expected, got, message } = report;
        throw new ServerError({ code: "invalid", check, expected, got, message });
      }
      return { bundle, report, cluster: shown, server, reused, resumed_from: reused ? 0 : about.from };
    } catch (error) {
      // The replicas delete what they have. After a fault that passes they keep it for the next try.
      if (faultOf(error) === "permanent" && link.socket.readyState === 1) session?.cancel();
      throw error;
    } finally {
      isOver = true;
      link.close();
      // Not within a call of its own listener.
      if (session !== undefined) setTimeout(() => session.free());
    }
  }

  async function put(file, options) {
    const { address, cluster, tell } = checkServer(options);
    const { signal, onWaiting } = options;
    expectType("renew", options.renew, "boolean");
    expectType("onWaiting", onWaiting, "function");
    const expires = expiryOf(options.expires);
    const retry = new wasm.Retry(retryOf(options.retry));
    const total = lengthOf(file);
    const stream = total === undefined ? chunksOf(file) : undefined;
    const subject = stream === undefined ? await hashed(wasm, file, total, tell, signal) : undefined;

    // With one salt for all tries, a certificate that came too late for its own link is still this put's.
    const about = { file, stream, subject, total, options, tell, retry, address, cluster, expires, salt: random(16), began: now(), from: 0 };
    try {
      for (;;) {
        try {
          return await attempt(about);
        } catch (error) {
          // A stream cannot be read again.
          const wait = stream === undefined ? retry.pause(faultOf(error), performance.now(), random(1)[0]) : undefined;
          if (wait === undefined) throw error;
          const { code, reason, members, message } = error;
          tell({ stage: "lost", code, reason, members, message, retry_in: wait });
          await waitFor(wait, signal, onWaiting);
        }
      }
    } finally {
      subject?.free();
      retry.free();
    }
  }

  async function get(digest, options) {
    const { address, cluster, tell } = checkServer(options);
    const { signal, length, range } = options;
    expectType("length", length, "number");
    expectText("range", range, "; give it as \"0-1023\", \"500-\" or \"-500\"");
    const wanted = digestBytes(wasm, digest);
    const sink = options.sink ?? blobSink();

    tell({ stage: "connecting" });
    const link = await openLink(openSocket, address, signal);
    let session;
    try {
      let file; // its length, verified, and the bytes of it that come
      let done = 0;
      let writing; // of the sink, when it takes its time
      const { listener, first, fail } = listen(link, {
        start: (about) => tell({ stage: "start", ...about }),
        length: (about) => (file = about),
        bytes(bytes) {
          done += bytes.length;
          write(() => sink.write(bytes));
          tell({ stage: "receiving", done, total: file.end - file.start });
        },
        rejected: (about) => tell({ stage: "rejected", ...about }),
      });
      // One call after the other; meanwhile the session keeps back what arrives.
      const write = (call) => {
        if (writing === undefined) {
          const result = call();
          if (typeof result?.then !== "function") return;
          writing = Promise.resolve(result);
        } else {
          writing = writing.then(call);
        }
        session?.pause();
        const mine = writing;
        mine.then(() => {
          if (writing !== mine) return;
          writing = undefined;
          session?.resume();
        }, fail);
      };
      session = new wasm.Get(link.socket, listener, cluster, wanted, length ?? undefined, range ?? undefined, random(32));
      link.watch(session);
      const { cluster: shown } = await first("verified");
      await writing;
      return {
        blob: given(options.sink) ? undefined : sink.blob(),
        digest: wasm.digestHex(wanted),
        digest_base58: wasm.digestBase58(wanted),
        start: file.start,
        length: done,
        total: file.length,
        cluster: shown,
      };
    } finally {
      link.close();
      if (session !== undefined) {
        const ended = session;
        session = undefined;
        setTimeout(() => ended.free());
      }
    }
  }

  return { put, get };
}
