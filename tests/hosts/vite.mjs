// Vite, of any version: the dev server and the build, page and Worker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { join } from "node:path";
import { assertPage, HTML, inChromium, PAGE_AND_WORKER, prefixed, FILES, project, RIGHT } from "./support.mjs";

const BOTH = `${RIGHT} ${RIGHT}`;
const files = { ...PAGE_AND_WORKER, "index.html": HTML, ...prefixed("public", FILES) };

/** `config`: what a user of this version needs, for dev. */
export function testVite(vite, config) {
  const common = { configFile: false, logLevel: "silent", clearScreen: false };

  test(`Vite ${vite.version}: dev`, async (t) => {
    const root = await project(t, files);
    const server = await vite.createServer({ ...common, ...config, root, server: { host: "127.0.0.1", port: 0, strictPort: false, hmr: false, watch: null } });
    try {
      await server.listen();
      assert.equal(await inChromium(`http://127.0.0.1:${server.httpServer.address().port}/`), BOTH);
    } finally {
      await server.close();
    }
  });

  test(`Vite ${vite.version}: build`, async (t) => {
    const root = await project(t, files);
    await vite.build({ ...common, root, worker: { format: "es" } });
    await assertPage(join(root, "dist"), BOTH);
  });
}
