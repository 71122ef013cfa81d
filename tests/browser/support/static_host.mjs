// A plain file host: correct media types, and only the headers that every file host sends.
import { createServer } from "node:http";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

/** The page's folder: VOUCH_PAGE, or the one that `web/build.sh` assembled. */
export const PAGE = process.env.VOUCH_PAGE ?? fileURLToPath(new URL("../../../web/dist/", import.meta.url));

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
};

/** A handler of HTTP requests for the files in `folder`. */
export function serveFolder(folder) {
  if (folder === PAGE && !existsSync(join(folder, "index.html"))) throw new Error(`there is no page in ${folder}; run \`make build\``);
  return async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    try {
      const name = path.endsWith("/") ? `${path}index.html` : path;
      const body = await readFile(join(folder, name));
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream", "content-length": body.length });
      response.end(request.method === "HEAD" ? undefined : body);
    } catch {
      response.writeHead(404, { "content-type": "text/plain" }).end("not found\n");
    }
  };
}

/** Listens on a free loopback port. Returns the URL, ending with a slash, and a function to close it. */
export async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export const startStaticHost = (folder = PAGE) => listen(createServer(serveFolder(folder)));
