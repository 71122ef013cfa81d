// Who stands between two others and changes what one of them says.
import { createServer, request as ask } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { listen } from "./static_host.mjs";

const HEAD = 24;
const BEFORE_BYTES = 13;
const PARENT = 64;

/** Flips a bit of the byte that stands at `place` of the blob, in a body of slices. Other bodies stay as they are. */
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
 * A server that is an honest one's front and lies when told to: `change(body, url)` alters bodies of slices in place, `flipAt` is a
 * place of the blob whose byte it flips. `asked` is what slices were asked for: `{ start, end }` each. Those that `holds(range)` is
 * true of wait until it is not. Of what links bring, no more than `most` bytes pass in all; `links` has, for each, how many did.
 */
export async function startFront(target) {
  const { hostname, port } = new URL(target);
  const front = { change: null, flipAt: null, holds: () => false, asked: [], most: Infinity, links: [] };
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
        return response.destroy(); // the server cut it short, and so does this
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
      // either end hung up, which ends the other
    }
  }
  http.on("upgrade", (request, socket, start) => {
    const to = connect(port, hostname, () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      to.write(`${lines.join("\r\n")}\r\n\r\n`);
      to.write(start);
      const link = { passed: 0 };
      front.links.push(link);
      to.pipe(socket);
      void pass(socket, to, link);
    });
    for (const one of [socket, to]) for (const end of ["error", "close"]) one.on(end, () => (socket.destroy(), to.destroy()));
  });
  return Object.assign(front, await listen(http));
}

/** Replicas whose bytes may be flipped on their way. The first to send many of them, once `isLying`, is `liar` from then on; or `everyone` is. */
export function liars() {
  const state = { isLying: false, everyone: false, liar: null, flipped: 0, servers: [] };
  // Only messages that carry a blob are so long.
  const LONG = 8 << 10;
  /** The address for a replica of this name to dial. */
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
