// Puts and gets. This code reads the file and opens the socket; the wasm module decides.
import { checkTrust, digestBytes, expectText, expectType, given } from "./api.js";
import { chunksOf, kindOf, lengthOf } from "./bytes.js";
import { faultOf, linkAddress, openLink, ServerError } from "./link.js";
import { blobSink, createWriter } from "./sink.js";
import { hashed, upload } from "./source.js";
import { orAborted, waitFor } from "./wait.js";

const random = (size) => crypto.getRandomValues(new Uint8Array(size));
const now = () => Math.floor(Date.now() / 1000);

function checkServer(options) {
  const servers = serversOf(options.server);
  if (options.cluster === undefined) throw new TypeError("cluster: expected the identity that you trust, or null to take the server's; got nothing");
  checkTrust(options);
  expectText("token", options.token, "; give the secret, which begins with vouch-token-");
  expectType("onProgress", options.onProgress, "function");
  options.signal?.throwIfAborted();
  expectType("onWaiting", options.onWaiting, "function");
  const { cluster, checkpoint, token, onProgress } = options;
  return { servers, cluster: cluster ?? undefined, checkpoint: checkpoint ?? undefined, token: token ?? undefined, tell: onProgress ?? (() => {}) };
}

// The servers in the order given, each once.
function serversOf(option) {
  const listed = Array.isArray(option) ? option : [option];
  if (listed.length === 0) throw new TypeError("server: expected at least one server, got an empty list");
  if (!listed.every(given)) throw new TypeError("server: expected HOST:PORT or a URL, got nothing");
  const servers = new Map(listed.map((server) => [linkAddress(server), String(server).trim()]));
  return [...servers].map(([address, name]) => ({ address, name }));
}

// The error after every server failed. `last`: the last error of each.
function everyServer(servers, last) {
  const errors = servers.flatMap(({ name }, at) => (last[at] === undefined ? [] : [{ server: name, error: last[at] }]));
  const message = ["every server failed", ...errors.map(({ server, error }) => `${server}: ${error.message}`)].join("; ");
  return new ServerError({ code: "every-server", message, can_retry: errors.some(({ error }) => error.canRetry), errors });
}

// Seconds since 1970; undefined for never.
function expiryOf(expires) {
  if (!given(expires) || expires === "never") return undefined;
  if (Object.prototype.toString.call(expires) === "[object Date]") return Math.floor(expires.getTime() / 1000);
  if (typeof expires === "number") return expires;
  throw new TypeError(`expires: expected a Date, seconds since 1970 or "never", got ${kindOf(expires)}`);
}

// Seconds; undefined for the core's default.
function retryOf(retry) {
  if (!given(retry)) return undefined;
  if (typeof retry !== "number") throw new TypeError(`retry: expected seconds, got ${kindOf(retry)}`);
  if (!(retry >= 0)) throw new RangeError(`retry: expected at least 0 seconds, got ${retry}`);
  return retry;
}

// Turns the module's events into promises: one for the first event of a stage, rejected if the session fails or the link ends.
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
      fail(error); // thrown by a function of the caller
    }
  };
  const first = (stage) => Promise.race([failed, link.ended, new Promise((resolve) => waiting.set(stage, resolve))]);
  return { listener, first, fail };
}

// `wasm` is loaded. The options and bytes passed to this client are copies that the caller cannot change. `verify` is the package's own: the
// bundle of a put is verified like any other.
export function createClient(wasm, openSocket, verify) {
  const open = (address, connectDeadline, signal) => {
    const [writeDeadline, checkInterval] = [wasm.writeDeadline(), wasm.checkInterval()];
    return openLink(openSocket, address, { connectDeadline, writeDeadline, checkInterval }, signal);
  };

  // Attempts until one succeeds or none is left. `canRepeat`: whether another attempt is possible.
  async function repeat(attempt, { servers, attempts, tell }, canRepeat, { signal, onWaiting }) {
    const last = [];
    for (;;) {
      const at = attempts.server();
      try {
        return await attempt(servers[at].address);
      } catch (error) {
        if (faultOf(error) === "local" || !canRepeat()) throw error;
        last[at] = error;
        const wait = attempts.pause(faultOf(error), performance.now(), random(1)[0]);
        if (wait === undefined) throw servers.length > 1 ? everyServer(servers, last) : error;
        const { code, reason, members, message } = error;
        const [server, next] = [at, attempts.server()].map((place) => servers[place].name);
        tell({ stage: "lost", code, reason, members, message, retry_in: wait, server, next });
        if (wait > 0) await waitFor(wait, signal, onWaiting);
      }
    }
  }

  // One attempt of a put, on a link of its own.
  async function putOnce(about, address) {
    const { file, stream, subject, total, options, tell, attempts, cluster, checkpoint, expires, salt, began } = about;
    tell({ stage: "connecting" });
    const link = await open(address, attempts.connectDeadline(), options.signal);
    let session;
    let hasEnded = false;
    try {
      const { listener, first, fail } = listen(link, {
        committee: (shown) => tell({ stage: "committee", ...shown }),
        member: (progress) => tell({ stage: "member", ...progress }),
        sent: () => tell({ stage: "sending", done: total, total }),
      });
      // The session takes ownership of the share, even if its constructor throws.
      session = new wasm.Put(link.socket, listener, attempts, subject?.share(), expires, salt, random(32), began, options.renew === true);
      link.watch(session);
      const certifying = first("certified");
      certifying.catch(() => {});
      // `certified` comes without `ready` if the file was certified before, or was sent with the offer.
      const ready = await Promise.race([first("ready"), certifying]);
      const isSending = ready.bundle === undefined;
      let told; // the last number of sent bytes that was reported
      const progress = () => tell({ stage: "sending", done: (told = session.sent()), total: total ?? null });
      if (isSending) {
        const from = ready.offset;
        if (from > 0) tell({ stage: "resuming", offset: from, total });
        about.isSpent = stream !== undefined;
        const uploading = upload(wasm, session, stream ?? chunksOf(file, from), progress, () => hasEnded);
        uploading.catch(fail);
      }
      const { bundle, cluster: shown, checkpoint: newest, server, digest, length, reused, resumed_from } = await certifying;
      // The certificate may arrive before the upload has seen the socket's buffer empty.
      if (isSending && told !== session.sent()) progress();
      // The link has verified all committees. From the checkpoint on, one signature is enough, and not one for each epoch.
      const report = await verify({ bundle, cluster: cluster ?? shown, checkpoint, digest, length });
      if (report.verdict !== "valid") {
        const { check, expected, got, message } = report;
        throw new ServerError({ code: "invalid", check, expected, got, message });
      }
      return { bundle, report, cluster: shown, checkpoint: newest, server, reused, resumed_from };
    } catch (error) {
      // If only the link is lost, the replicas keep the received bytes for the retry. A session that failed by itself has told the server.
      if (["permanent", "local"].includes(faultOf(error))) session?.cancel(error.code === "source");
      throw error;
    } finally {
      hasEnded = true;
      link.close();
      // Deferred: the session must not be freed while its listener runs.
      if (session !== undefined) setTimeout(() => session.free());
    }
  }

  async function put(file, options) {
    const { servers, cluster, checkpoint, token, tell } = checkServer(options);
    expectType("renew", options.renew, "boolean");
    const expires = expiryOf(options.expires);
    const attempts = new wasm.Attempts(cluster, checkpoint, retryOf(options.retry), servers.length, token);
    const total = lengthOf(file);
    // A stream cannot be read again, so there is no further attempt once it was read from.
    const stream = total === undefined ? chunksOf(file) : undefined;
    const subject = stream === undefined ? await hashed(wasm, file, total, tell, options.signal) : undefined;

    // All attempts have the same salt, so a certificate that is made after its link was lost still belongs to this put.
    const about = { file, stream, subject, total, options, tell, servers, attempts, cluster, checkpoint, expires, salt: random(16), began: now(), isSpent: false };
    try {
      return await repeat((address) => putOnce(about, address), about, () => !about.isSpent, options);
    } finally {
      subject?.free();
      attempts.free();
    }
  }

  // One attempt of a get, on a link of its own. `received` passes from one attempt to the next.
  async function getOnce({ resumable, received, writer, tell, attempts, signal }, address) {
    // Otherwise a sink that never ends a write would collect the bytes of every attempt.
    await orAborted(writer.ended(), signal);
    tell({ stage: "connecting" });
    const link = await open(address, attempts.connectDeadline(), signal);
    let session;
    try {
      const { listener, first, fail } = listen(link, {
        start: (about) => tell({ stage: "start", ...about }),
        length: (about) => (received.file = about),
        bytes(bytes) {
          received.done += bytes.length;
          writer.write(bytes, { pause: () => session?.pause(), resume: () => session?.resume(), fail });
          tell({ stage: "receiving", done: received.done, total: received.file.end - received.file.start });
        },
        rejected: (about) => tell({ stage: "rejected", ...about }),
      });
      session = new wasm.Get(link.socket, listener, attempts, resumable, random(32), now());
      link.watch(session);
      const { cluster, checkpoint } = await first("verified");
      await orAborted(writer.ended(), signal);
      return { cluster, checkpoint };
    } finally {
      link.close();
      if (session !== undefined) {
        const ended = session;
        session = undefined; // a write that ends later does not resume it: the next attempt requests what it holds back
        setTimeout(() => ended.free());
      }
    }
  }

  async function get(digest, options) {
    const { servers, cluster, checkpoint, token, tell } = checkServer(options);
    const { signal, length, range } = options;
    expectType("length", length, "number");
    expectText("range", range, "; give it as \"0-1023\", \"500-\" or \"-500\"");
    const retry = retryOf(options.retry);
    const wanted = digestBytes(wasm, digest);
    const sink = options.sink ?? blobSink();
    const resumable = new wasm.ResumableGet(wanted, length ?? undefined, range ?? undefined);
    const attempts = new wasm.Attempts(cluster, checkpoint, retry, servers.length, token);

    const received = { file: undefined, done: 0 }; // the verified length and the whole range; the number of bytes passed to the sink
    const about = { resumable, received, writer: createWriter(sink), tell, servers, attempts, signal };
    try {
      const shown = await repeat((address) => getOnce(about, address), about, () => true, options);
      return {
        blob: given(options.sink) ? undefined : sink.blob(),
        digest: wasm.digestHex(wanted),
        digest_base58: wasm.digestBase58(wanted),
        start: received.file.start,
        length: received.done,
        total: received.file.length,
        cluster: shown.cluster,
        checkpoint: shown.checkpoint,
      };
    } finally {
      resumable.free();
      attempts.free();
    }
  }

  return { put, get };
}
