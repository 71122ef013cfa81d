// Proxies that alter what passes through them.
import { createServer, request as ask } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { listen } from "./static_host.mjs";

const HEAD = 24;
const BEFORE_BYTES = 13;
const PARENT = 64;

/** Flips a bit of the blob's byte at `place` in a body of slices. Other bodies are unchanged. */
function flipIn(body, place) {
  for (let at = HEAD; at + BEFORE_BYTES <= body.length; ) {
    const offset = Number(body.readBigUInt64LE(at));
    const size = body.readUInt32LE(at + 8);
    const bytes = at + BEFORE_BYTES + PARENT * body[at + 12];
    if (place >= offset && place < offset + size) body[bytes + place - offset] ^= 1;
    at = bytes + size;
  }
}

/**
 * A proxy to an honest server that lies on demand: `change(body, url)` alters bodies of slices in place; `flipAt` is the
 * offset of a blob's byte to flip. `asked` lists the requested slices as `{ start, end }`. Those for which `holds(range)` is
 * true wait until it is false. Links pass at most `most` bytes to the server in total, and none are accepted unless `isUp`. Each of `cuts` ends one
 * link once the client has got that many bytes on it; `onCut()` is called before. Each of `links` has the number of bytes that it `passed` to the server and `returned` to the client, and `close()`.
 */
export async function startFront(target) {
  const { hostname, port } = new URL(target);
  const front = { change: null, flipAt: null, holds: () => false, asked: [], most: Infinity, isUp: true, cuts: [], onCut: () => {}, links: [] };
  const left = () => front.most - front.links.reduce((sum, { passed }) => sum + passed, 0);
  const http = createServer(async (request, response) => {
    const isSlices = /^\/v1\/blobs\/[^/]+\/slice\?/.test(request.url);
    if (isSlices) {
      const query = new URL(request.url, target).searchParams;
      const range = { start: Number(query.get("start")), end: Number(query.get("end")) };
      front.asked.push(range);
      while (front.holds(range) && !response.destroyed) await sleep(20);
    }
    const { method, url, headers } = request;
    const asking = ask({ hostname, port, method, path: url, headers }, async (answer) => {
      if (!isSlices) {
        response.writeHead(answer.statusCode, answer.headers);
        return answer.pipe(response);
      }
      const pieces = [];
      try {
        for await (const piece of answer) pieces.push(piece);
      } catch {
        return response.destroy(); // the server truncated its response: do the same
      }
      const body = Buffer.concat(pieces);
      if (front.flipAt !== null) flipIn(body, front.flipAt);
      front.change?.(body, request.url);
      response.writeHead(answer.statusCode, answer.headers);
      response.end(body);
    });
    asking.on("error", () => response.destroy());
    request.pipe(asking);
  });
  async function pass(from, to, link) {
    try {
      for await (const data of from) {
        while (left() < data.length && !to.destroyed) await sleep(5);
        link.passed += data.length;
        if (!to.write(data)) await once(to, "drain");
      }
    } catch {
      // one end hung up: end the other
    }
  }
  async function passBack(from, to, link) {
    try {
      for await (const data of from) {
        link.returned += data.length;
        if (!to.write(data)) await once(to, "drain");
        if (link.returned < (front.cuts[0] ?? Infinity)) continue;
        front.cuts.shift();
        front.onCut();
        return link.close();
      }
    } catch {
      // one end hung up: end the other
    }
  }
  http.on("upgrade", (request, socket, start) => {
    if (!front.isUp) return socket.destroy();
    const to = connect(port, hostname, () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      to.write(`${lines.join("\r\n")}\r\n\r\n`);
      to.write(start);
      const link = { passed: 0, returned: 0, close: () => (socket.destroy(), to.destroy()) };
      front.links.push(link);
      void passBack(to, socket, link);
      void pass(socket, to, link);
    });
    for (const one of [socket, to]) for (const end of ["error", "close"]) one.on(end, () => (socket.destroy(), to.destroy()));
  });
  return Object.assign(front, await listen(http));
}

/** Proxies to replicas that can flip bytes. Once `isLying`, the first replica to send many bytes becomes the `liar`; with `everyone`, all lie. */
export function liars() {
  const state = { isLying: false, everyone: false, liar: null, flipped: 0, servers: [] };
  // Only messages that carry blob bytes are this long.
  const LONG = 8 << 10;
  /** The address that the replica of this name dials. */
  state.via = async (address, name) => {
    const [host, port] = address.split(":");
    const server = createTcpServer((replica) => {
      const up = connect(Number(port), host);
      replica.on("data", (data) => {
        if (state.isLying && data.length >= LONG && (state.everyone || (state.liar ?? name) === name)) {
          state.liar = name;
          state.flipped += 1;
          data[data.length >> 1] ^= 1;
        }
        if (!up.write(data)) replica.pause();
      });
      up.on("drain", () => replica.resume());
      up.pipe(replica);
      for (const one of [replica, up]) one.on("close", () => (replica.destroy(), up.destroy())).on("error", () => {});
    });
    server.listen(0, "127.0.0.1");
    server.unref();
    await once(server, "listening");
    state.servers.push(server);
    return `127.0.0.1:${server.address().port}`;
  };
  state.close = () => state.servers.forEach((server) => server.close());
  return state;
}
