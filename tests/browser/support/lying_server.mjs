// A server written from the specification, with its own committee, that lies on demand. With lie `null` it is honest:
// the control, which shows that a refusal is due to the lie.
import { createServer } from "node:http";
import { ed25519 } from "@noble/curves/ed25519.js";
import { WebSocketServer } from "ws";
import { NEVER, Reader, concat, digestOf, u16, u32, u64, u8, utf8 } from "../../independent/bytes.mjs";
import { faulty, quorum } from "../../independent/committee.mjs";
import { encodeEpochs } from "../../independent/epochs.mjs";
import { ROLES, authBytes, encodeAuth, encodeHello } from "../../independent/link.mjs";
import { toBase58 } from "../../independent/text.mjs";
import { flipped, makeBatch, makeCommittee, makeMembers, nodeSecret } from "../../vectors/generator/world.mjs";
import { PAGE, listen, serveFolder } from "./static_host.mjs";

const TAG = { hello: 0x01, auth: 0x02, cluster: 0x03, failed: 0x04, put: 0x10, chunk: 0x11, putEnd: 0x12, cancel: 0x13, ready: 0x14, progress: 0x15, certified: 0x16, blob: 0x18, locate: 0x20, located: 0x21, read: 0x22 };
const NAMES = Object.fromEntries(Object.entries(TAG).map(([name, tag]) => [tag, name]));
const STAGE = { receiving: 1, stored: 2, voted: 3, dropped: 4 };
const NOT_FOUND = 12;

export const honest = makeCommittee("page", makeMembers("page", 4));
export const stranger = makeCommittee("stranger", makeMembers("stranger", 4));

/** The identity of the honest server's committee. */
export const IDENTITY = toBase58(honest.digest);
export const OTHER_IDENTITY = toBase58(stranger.digest);

const key = nodeSecret("lying server");
const now = () => Math.floor(Date.now() / 1000);
const issue = (receipt, { committee = honest, issuedAt = now(), ...how } = {}) => makeBatch(committee, [receipt], { issuedAt }).certify(0, how);
// By the committee of a cluster's last epoch.
function issueIn({ cluster, epochs }, receipt) {
  const epoch = epochs.length - 1;
  return makeBatch(epochs[epoch].committee, [receipt], { issuedAt: now(), statement: { epoch, cluster } }).certify(0, { epoch });
}
const elsewhere = (receipt, fields) => ({ ...receipt, ...fields });

/** Every lie about a certificate: makes a certificate from the client's receipt. */
const CERTIFICATES = {
  "forged signature": (receipt) => makeBatch(honest, [receipt], { issuedAt: now() }).certify(0, { signature: otherSignature() }),
  "signature of no point": (receipt) => issue(receipt, { signature: new Uint8Array(96).fill(0xff) }),
  "another digest": (receipt) => issue(elsewhere(receipt, { digest: digestOf(utf8("another file")) })),
  "another length": (receipt) => issue(elsewhere(receipt, { length: receipt.length + 1 })),
  "another salt": (receipt) => issue(elsewhere(receipt, { salt: new Uint8Array(16) })),
  "shorter duty": (receipt) => issue(elsewhere(receipt, { expiresAt: now() + 3600 })),
  "too few signers": (receipt) => issue(receipt, { signers: [0, 1] }),
  "a signer who did not sign": (receipt) => makeBatch(honest, [receipt], { issuedAt: now() }).certify(0, { signers: [0, 1, 2], bitmap: u8(0b1011) }),
  "old certificate": (receipt) => issue(receipt, { issuedAt: now() - 3600 }),
  "certificate of the future": (receipt) => issue(receipt, { issuedAt: now() + 3600 }),
  "certificate of another cluster": (receipt) => issue(receipt, { committee: stranger }),
  // Valid with its own committee: only the identity differs.
  "another cluster on the link": (receipt) => issue(receipt, { committee: stranger }),
  "truncated certificate": (receipt) => issue(receipt).slice(0, -1),
};

// A valid signature by the right members over another statement.
function otherSignature() {
  const receipt = { salt: new Uint8Array(16), digest: digestOf(utf8("something else")), length: 14, expiresAt: NEVER };
  return issue(receipt).slice(-96);
}

export const CERTIFICATE_LIES = Object.keys(CERTIFICATES).filter((lie) => lie !== "another cluster on the link");
export const LINK_LIES = ["another cluster", "another cluster on the link", "another committee", "hello of another cluster", "forged possession", "bad Auth", "no Auth", "garbage", "garbage certificate", "hangs up", "hangs up when signed"];
export const READ_LIES = ["flipped byte by one", "flipped byte by all", "short by all", "reads nothing"];

const announced = (lie, world) => (["another cluster", "another cluster on the link", "hello of another cluster"].includes(lie) ? stranger : world.epochs[0].committee);

/** The cluster of the honest committee, which never changed. */
const UNCHANGED = { cluster: honest.digest, epochs: [{ committee: honest }] };
const current = ({ epochs }) => epochs.at(-1).committee;

// The message with the epochs after `known`; null if there is none.
function epochsAfter({ epochs }, known) {
  const links = epochs.slice(known + 1).map(({ epoch, committee }) => ({
    committee: committee.encoding,
    handoff: epochs[epoch - 1].handoff.certificate,
    seal: epoch > 1 ? epochs[epoch - 2].seal.identity : undefined,
  }));
  return links.length === 0 ? null : encodeEpochs(false, links);
}

function clusterMessage(committee, lie) {
  const pops = lie === "forged possession" ? [committee.pops[1], committee.pops[0], ...committee.pops.slice(2)] : committee.pops;
  return concat(u8(TAG.cluster), u32(committee.encoding.length), committee.encoding, ...pops);
}

function decodeReceipt(bytes) {
  const reader = new Reader(bytes, "the receipt");
  reader.take(1, "kind");
  return { salt: reader.take(16, "salt"), digest: reader.take(32, "digest"), length: Number(reader.big(8, "length")), expiresAt: reader.big(8, "expires_at") };
}

const lengthOf = (chunks) => chunks.reduce((sum, { length }) => sum + length, 0);

/** One client's link. */
class Link {
  constructor(socket, server) {
    const { lie, blobs, liar, world } = server;
    Object.assign(this, { socket, lie, blobs, liar, world, server, puts: new Map() });
    socket.on("message", (data, isBinary) => this.take(isBinary ? new Uint8Array(data) : new Uint8Array()));
  }

  send(...parts) {
    this.socket.send(concat(...parts));
  }

  take(bytes) {
    const body = new Reader(bytes.subarray(1), "the message");
    if (bytes[0] === TAG.hello) return this.welcome(bytes);
    if (!this.welcomed) return this.socket.close();
    this.server.received.push(NAMES[bytes[0]]);
    const stream = body.take(4, "stream");
    if (bytes[0] === TAG.put) return this.put(stream, body.small(1, "flags") & 1 ? decodeReceipt(body.take(65, "receipt")) : null);
    if (bytes[0] === TAG.blob) return this.blob(stream, body);
    if (bytes[0] === TAG.chunk) return this.chunk(stream, body);
    if (bytes[0] === TAG.cancel) return this.server.cancelled.push(body.small(1, "keep") === 1);
    if (bytes[0] === TAG.putEnd) return this.putEnd(stream, decodeReceipt(body.take(65, "receipt")));
    if (bytes[0] === TAG.locate) return this.locate(stream, body.take(32, "digest"));
    if (bytes[0] === TAG.read) return this.read(stream, body);
  }

  welcome(dialerHello) {
    if (this.lie === "never opens") return this.staySilent();
    this.welcomed = true;
    const committee = ["another cluster", "another cluster on the link", "another committee"].includes(this.lie) ? stranger : this.world.epochs[0].committee;
    const listenerHello = encodeHello({ role: ROLES.server, cluster: announced(this.lie, this.world).digest, epoch: this.world.epochs.length - 1, node: ed25519.getPublicKey(key), nonce: digestOf(utf8("nonce")) });
    this.send(listenerHello);
    const signature = ed25519.sign(authBytes({ dialerHello, listenerHello, signerRole: ROLES.server }), key);
    if (this.lie !== "no Auth") this.send(encodeAuth(this.lie === "bad Auth" ? flipped(signature, 40) : signature));
    if (this.lie === "garbage") this.send(new Uint8Array(1000).fill(0xee));
    this.send(clusterMessage(committee, this.lie));
    const later = epochsAfter(this.world, Number(new DataView(dialerHello.buffer, dialerHello.byteOffset).getBigUint64(36, true)));
    if (later !== null) this.send(later);
    if (this.lie === "hangs up") this.socket.terminate();
  }

  // "never ready", "stops reading", "never certifies" are no lies: they keep the client in a state that would pass too quickly to inspect.
  put(stream, offer) {
    this.server.offers.push(offer);
    if (this.lie === "never ready") return this.staySilent();
    const code = this.server.refusals.shift();
    if (code !== undefined) return this.refuse(stream, code);
    const kept = (offer && this.server.kept.get(toBase58(offer.digest))) ?? [];
    this.puts.set(`${stream}`, kept);
    const offset = this.server.offset ?? lengthOf(kept);
    this.server.begun.push(offset);
    this.send(u8(TAG.ready), stream, u64(offset));
    for (const member of honest.members.keys()) this.progress(stream, member, STAGE.receiving);
    if (this.lie === "stops reading") this.socket.pause();
  }

  // A small file with its offer.
  blob(stream, body) {
    body.take(1, "renew");
    const receipt = decodeReceipt(body.take(65, "receipt"));
    this.server.offers.push(receipt);
    this.blobs.set(toBase58(receipt.digest), body.bytes.slice(body.at));
    if (["never ready", "never certifies"].includes(this.lie)) return this.staySilent();
    const code = this.server.refusals.shift();
    if (code !== undefined) return this.refuse(stream, code);
    this.certify(stream, receipt);
  }

  staySilent() {
    this.server.silences += 1;
  }

  progress(stream, member, stage) {
    this.send(u8(TAG.progress), stream, u16(member), u8(stage));
  }

  chunk(stream, body) {
    body.take(8, "offset");
    body.take(64 * body.small(1, "number of parents"), "parents");
    const came = this.puts.get(`${stream}`);
    came?.push(body.bytes.slice(body.at));
    const { cuts, kept, offers } = this.server;
    if (came === undefined || cuts.length === 0 || lengthOf(came) < cuts[0].at) return;
    const { code, lie = this.server.lie } = cuts.shift();
    this.server.lie = lie;
    if (offers.at(-1) !== null) kept.set(toBase58(offers.at(-1).digest), came);
    if (code === undefined) return this.socket.terminate();
    this.puts.delete(`${stream}`);
    this.refuse(stream, code);
  }

  refuse(stream, code) {
    this.send(u8(TAG.failed), stream, u16(code), u16(0), u16(0));
  }

  putEnd(stream, receipt) {
    const came = this.puts.get(`${stream}`);
    if (came === undefined) return; // sent before the refusal arrived
    const bytes = concat(...came);
    this.blobs.set(toBase58(digestOf(bytes)), bytes);
    if (this.lie === "never certifies") {
      [STAGE.voted, STAGE.dropped, STAGE.stored].forEach((stage, member) => this.progress(stream, member, stage));
      return this.staySilent();
    }
    for (const stage of [STAGE.stored, STAGE.voted]) {
      for (const member of honest.members.keys()) this.progress(stream, member, stage);
    }
    this.certify(stream, receipt);
  }

  certify(stream, receipt) {
    if (this.lie === "hangs up when signed") return this.socket.close();
    if (this.lie === "garbage certificate") return this.send(u8(TAG.certified), stream, new Uint8Array(228).fill(0xee));
    this.send(u8(TAG.certified), stream, (CERTIFICATES[this.lie] ?? ((receipt) => issueIn(this.world, receipt)))(receipt));
  }

  locate(stream, digest) {
    if (this.lie === "never located") return this.staySilent();
    const blob = this.blobs.get(toBase58(digest));
    const holders = blob ? [...honest.members.keys()] : [];
    this.send(u8(TAG.located), stream, u16(holders.length), ...holders.map((member) => concat(u16(member), u64(blob.length))));
  }

  read(stream, body) {
    if (this.lie === "never read") return this.staySilent();
    const member = body.small(2, "member");
    const blob = this.blobs.get(toBase58(body.take(32, "digest")));
    const [offset, length] = [body.small(8, "offset"), body.small(4, "length")];
    const lies = this.lie === "flipped byte by all" || (this.lie === "flipped byte by one" && member === this.liar);
    const bytes = Uint8Array.from(blob.subarray(offset, offset + length)); // Buffer's slice would not copy
    if (this.lie === "hangs up when read") return this.socket.terminate();
    if (this.lie === "reads nothing") return this.send(u8(TAG.failed), stream, u16(NOT_FOUND), u16(0), u16(0));
    // Blobs here are read in one chunk, and the proof of a whole blob is empty.
    const chunk = (held) => this.send(u8(TAG.chunk), stream, u64(offset), u8(0), held);
    if (this.lie === "short by all") return chunk(bytes.slice(0, -1));
    chunk(lies ? flipped(bytes, 0) : bytes);
  }
}

// A whole blob as one slice needs no proof: enough for a blob that a player requests at once.
function slicesOf(blob, lie) {
  const bytes = lie === "flipped slices" ? flipped(blob, blob.length - 1) : blob;
  return Buffer.concat([u64(blob.length), u64(0), u64(blob.length), u64(0), u32(blob.length), u8(0), bytes]);
}

// HTTP and hello agree, except for the lie that is told on links only.
function clusterStatus(lie, world) {
  const isStranger = lie !== "another cluster on the link" && announced(lie, world) === stranger;
  const { members: shown, n } = isStranger ? stranger : current(world);
  const { digest } = isStranger ? stranger : world.epochs[0].committee;
  const members = shown.map(({ name, node, vote }, member) => ({ member, name, node_key: toBase58(node), vote_key: toBase58(vote), connected: true }));
  return { cluster: toBase58(digest), server: toBase58(ed25519.getPublicKey(key)), ready: true, epoch: world.epochs.length - 1, quorum: quorum(n), tolerated_faults: faulty(n), connected: n, wanted: n, members };
}

function answerHead(head, response) {
  if (typeof head === "function") return head(response);
  response.writeHead(head === null ? 204 : 200).end(head ?? undefined);
}

/**
 * Starts it, with the page. `logHead` is the bundle of the newest log head: a text; a function of the response; null for none. `lie` may be changed between links; only reads from member `liar` are lies; `blobs` can be downloaded, and
 * `bundles` are their certificates. Each of `cuts` ends one put after `at` bytes: with a failure of `code`, else by hanging up, and sets `lie` from then on;
 * the received bytes are `kept`, and the next put of the same digest resumes after them, or at `offset`. Each of `refusals` is a code that one put is
 * answered with. `world` is the cluster that it shows, as `makeEpochs` makes it, with 4 members in the last epoch; `unchanged` is the usual one. `hangUp()` ends all links. It counts `links` and `silences` (requests that it leaves without an answer), and records `offers` (the receipts of puts), `begun` (their resume offsets), the names of all messages `received` after the handshake, and `cancelled` (whether to keep).
 */
export async function startLyingServer(lie = null, folder = PAGE) {
  const serve = serveFolder(folder);
  const http = createServer((request, response) => {
    const [, kind, digest] = /^\/v1\/(certificates|blobs)\/([^/]+)(?:\/slice\?.*)?$/.exec(request.url) ?? [];
    const blob = server.blobs.get(digest);
    if (blob !== undefined && kind === "certificates") return response.end(server.bundles.get(digest));
    if (blob !== undefined && kind === "blobs") return response.end(slicesOf(blob, server.lie));
    if (request.url.startsWith("/v1/log/head")) return answerHead(server.logHead, response);
    if (request.url !== "/v1/cluster") return serve(request, response);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(clusterStatus(server.lie, server.world)));
  });
  const sockets = new WebSocketServer({ server: http, path: "/v1/link", perMessageDeflate: false, handleProtocols: (offered) => offered.has("vouch.v1") && "vouch.v1" });
  const server = { lie, liar: 0, world: UNCHANGED, blobs: new Map(), bundles: new Map(), logHead: null, cuts: [], kept: new Map(), offset: null, refusals: [], offers: [], begun: [], cancelled: [], received: [], links: 0, silences: 0, ...(await listen(http)) };
  sockets.on("connection", (socket) => {
    socket.on("error", () => {}); // ignore clients that hang up
    server.links += 1;
    new Link(socket, server);
  });
  server.unchanged = UNCHANGED;
  const { close } = server;
  server.hangUp = () => sockets.clients.forEach((socket) => socket.terminate());
  server.close = () => {
    server.hangUp();
    close();
  };
  return server;
}
