// The arguments of puts and gets: what is refused, when they are read, and the forms of addresses and digests.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { get, hash, normalizeDigest, put } from "../../verifier-wasm/npm/node.js";
import { linkAddress } from "../../verifier-wasm/npm/link.js";
import { startCluster } from "../browser/support/cluster.mjs";
import { IDENTITY, OTHER_IDENTITY } from "../browser/support/lying_server.mjs";

const FILE = new TextEncoder().encode("a file put from Node.js\n");

let cluster;
let identity;
before(async () => {
  cluster = await startCluster();
  identity = await cluster.identity();
});
after(() => cluster.stop());

const atCluster = (options = {}) => ({ server: cluster.address, cluster: identity, ...options });

// A freshly imported package loads its module first, so a change after the call could still take effect.
const fresh = () => import(`../../verifier-wasm/npm/node.js?fresh=${Math.random()}`);

test("changing the arguments after the call affects no put and no get", async () => {
  const { digest } = await hash(FILE);
  for (const bytes of [FILE.slice(), Buffer.from(FILE), FILE.slice().buffer]) {
    for (const api of [await fresh(), { put, get }]) {
      const view = new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, FILE.length);
      view.set(FILE);
      const expires = new Date(Date.now() + 86_400_000);
      const until = Math.floor(expires / 1000);
      const options = atCluster({ expires, server: new URL(`http://${cluster.address}`), renew: true });
      const { server } = options;
      const putting = api.put(bytes, options);
      view.fill(0);
      expires.setTime(0);
      server.port = "1";
      Object.assign(options, { cluster: OTHER_IDENTITY, renew: false });
      const { certificate } = (await putting).report;
      assert.deepEqual([certificate.digest, certificate.expires_at], [digest, until]);
    }
  }
  for (const api of [await fresh(), { put, get }]) {
    const wanted = Buffer.from(digest, "hex");
    const options = atCluster({ range: "0-3" });
    const getting = api.get(wanted, options);
    wanted.fill(0);
    Object.assign(options, { range: "4-5", cluster: OTHER_IDENTITY });
    assert.deepEqual(new Uint8Array(await (await getting).blob.arrayBuffer()), FILE.slice(0, 4));
  }
});

test("inherited options count, and each option is read once", async () => {
  const { digest } = await hash(FILE);
  const inherited = Object.assign(Object.create({ range: "0-3", signal: null }), atCluster());
  assert.equal((await get(digest, inherited)).length, 4);
  const reads = [];
  const watched = new Proxy(atCluster(), { get: (target, name) => (reads.push(name), target[name]) });
  await put(FILE, watched);
  assert.deepEqual(reads.sort(), ["checkpoint", "cluster", "expires", "onProgress", "onWaiting", "renew", "retry", "server", "signal", "token"]);
});

test("invalid arguments are named before anything is sent", async () => {
  const cases = [
    [undefined, /expected an object/],
    [{}, /server: expected/],
    [{ server: "x:1" }, /cluster: expected the identity that you trust, or null/],
    [atCluster({ servr: 1 }), /unknown option "servr"/],
    [atCluster({ cluster: 7 }), /cluster: expected a string/],
    [atCluster({ cluster: "no identity" }), /cluster: /],
    [atCluster({ expires: "soon" }), /expires: expected/],
    [atCluster({ onProgress: 1 }), /onProgress: expected a function/],
  ];
  for (const server of ["", "ftp://host", "http://user@host/", "http://", "a b"]) cases.push([atCluster({ server }), /server: expected HOST:PORT or a URL/]);
  for (const [options, message] of cases) await assert.rejects(put(FILE, options), { name: "TypeError", message });
  await assert.rejects(put(FILE, atCluster({ expires: 0.5 })), RangeError);
  await assert.rejects(put("a path", atCluster()), TypeError);
  await assert.rejects(get(7, atCluster()), TypeError);
  await assert.rejects(get("short", atCluster()), TypeError);
  await assert.rejects(get(IDENTITY, atCluster({ length: -1 })), RangeError);
});

test("a server address becomes a link address", () => {
  const cases = {
    "host:9090": "ws://host:9090/v1/link",
    "[::1]:9090": "ws://[::1]:9090/v1/link",
    "http://host:9090": "ws://host:9090/v1/link",
    "https://host/": "wss://host/v1/link",
    "wss://host/prefix": "wss://host/prefix/v1/link",
    "http://host/prefix/?query#fragment": "ws://host/prefix/v1/link",
  };
  for (const [server, address] of Object.entries(cases)) assert.equal(linkAddress(server), address);
  assert.equal(linkAddress(new URL("http://host:1/")), "ws://host:1/v1/link");
});

test("identities and digests are returned in one form", async () => {
  const { digest, digest_base58: base58 } = await hash(FILE);
  for (const form of [digest, digest.toUpperCase(), base58]) assert.equal(await normalizeDigest(form), base58);
  for (const bad of ["", "short", "0OIl", `${digest}0`, undefined, 7]) await assert.rejects(normalizeDigest(bad), TypeError);
});
