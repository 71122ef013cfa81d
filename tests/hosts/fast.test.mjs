// The hosts of `make test`: see README.md.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import * as esbuild from "esbuild";
import { rollup } from "rollup";
import * as vite from "vite";
import webpack from "webpack";
import { close } from "../browser/support/chromium.mjs";
import { assertPage, FETCH, FILES, HTML, JUDGE, page, PAGE_AND_WORKER, prefixed, project, READ, RIGHT, run, write } from "./support.mjs";
import { testVite } from "./vite.mjs";

after(close);

const TSC = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
const PROGRAM = `import { verify } from "vouch-verifier";\n${READ}console.log(${JUDGE});\n`;
// For CommonJS, which has no top-level await.
const CALLED = `import { init, verify } from "vouch-verifier";\n${READ}(async () => {
  await init(readFileSync("node_modules/vouch-verifier/wasm/vouch_verifier_bg.wasm"));
  console.log(${JUDGE});
})();\n`;

const runs = async (folder, program) => (await run(process.execPath, [program], { cwd: folder })).trim();

test("Node.js: the module from bytes, path, URL and promise, and the package's own", async (t) => {
  const module = "node_modules/vouch-verifier/wasm/vouch_verifier_bg.wasm";
  const sources = [
    "undefined",
    `readFileSync("${module}")`,
    `new WebAssembly.Module(readFileSync("${module}"))`,
    `Promise.resolve(readFileSync("${module}"))`,
    `"${module}"`,
    `new URL("${module}", import.meta.url)`,
    `new URL("${module}", import.meta.url).href`,
    `"data:application/wasm;base64," + readFileSync("${module}").toString("base64")`,
    `new Response(readFileSync("${module}"), { headers: { "content-type": "application/wasm" } })`,
  ];
  const program = (source) => `import { init, verify } from "vouch-verifier";\n${READ}await init(${source});\nconsole.log(${JUDGE});\n`;
  const folder = await project(t, Object.fromEntries(sources.map((source, i) => [`source-${i}.js`, program(source)])));
  for (const [i, source] of sources.entries()) assert.equal(await runs(folder, `source-${i}.js`), RIGHT, source);
  // Bytes that are no module are refused, and the next call retries.
  const retry = `import { init, initClient, verify } from "vouch-verifier";\n${READ}
const failed = [];
for (const call of [init, initClient]) await call(new Uint8Array(8)).catch((error) => failed.push(error.name));
await initClient(readFileSync("node_modules/vouch-verifier/wasm/vouch_client_bg.wasm"));
console.log([...failed, ${JUDGE}].join());\n`;
  write(folder, { "retry.js": retry });
  assert.equal(await runs(folder, "retry.js"), `CompileError,CompileError,${RIGHT}`);
});

test("Node.js: without ws, a put says what to install, unless Node.js has a WebSocket", async (t) => {
  const program = 'import { put } from "vouch-verifier"; await put(new Uint8Array(1), { server: "127.0.0.1:1", cluster: null }).catch((error) => console.log(error.message));\n';
  const folder = await project(t, { "put.js": program });
  assert.match(await runs(folder, "put.js"), globalThis.WebSocket === undefined ? /npm install ws/ : /cannot open a link/);
});

test("TypeScript: the types work without and with DOM types", async (t) => {
  const folder = await project(t, {
    "plain.ts": `import { verify, put, get, hash, init, initClient, ServerError, BundleError, type Report } from "vouch-verifier";
import module from "vouch-verifier/verifier.wasm";
import client from "vouch-verifier/client.wasm";
export async function judge(bundle: Uint8Array, file: AsyncIterable<Uint8Array>): Promise<string> {
  await init(module);
  await initClient(client);
  const report: Report = await verify({ bundle, file, cluster: "x" });
  return report.verdict === "valid" ? report.certificate.cluster : report.message;
}
export async function bytes(digest: string): Promise<number> {
  const { blob } = await get(digest, { server: "h:1", cluster: null });
  const { bundle } = await put(new Uint8Array(3), { server: "h:1", cluster: null });
  return (blob?.size ?? 0) + bundle.length;
}
void [hash, ServerError, BundleError];
// @ts-expect-error a number is no file
void hash(1);
`,
    "dom.ts": `import { get, init, put, verify } from "vouch-verifier";
declare const stream: ReadableStream<Uint8Array>;
declare const blob: Blob;
await verify({ bundle: "x", file: stream });
await verify({ bundle: "x", file: blob });
await put(blob, { server: new URL("http://x"), cluster: null, signal: new AbortController().signal });
const got: Blob | undefined = (await get("x", { server: "h:1", cluster: null })).blob;
void [init(fetch("x")), init(new URL("http://x")), got];
`,
  });
  const tsc = (module, resolution, lib, ...files) =>
    run(process.execPath, [TSC, "--strict", "--noEmit", "--target", "es2022", "--module", module, "--moduleResolution", resolution, "--lib", lib, "--typeRoots", "none", ...files], { cwd: folder });
  await tsc("nodenext", "nodenext", "es2022", "plain.ts");
  await tsc("nodenext", "nodenext", "es2022,dom", "plain.ts", "dom.ts");
  await tsc("esnext", "bundler", "es2022,dom", "plain.ts", "dom.ts");
});

for (const [format, name] of [["esm", "out.mjs"], ["cjs", "out.cjs"]]) {
  test(`esbuild: Node.js, ${format}, with the module's bytes`, async (t) => {
    const folder = await project(t, { "app.js": CALLED, "bare.js": PROGRAM });
    const build = (entry, outfile) => esbuild.build({ absWorkingDir: folder, entryPoints: [entry], bundle: true, platform: "node", format, outfile, logLevel: "silent" });
    await build("app.js", name);
    assert.equal(await runs(folder, name), RIGHT);
    if (format === "cjs") return;
    // Without the bytes it says what to do.
    await build("bare.js", "bare.mjs");
    await assert.rejects(runs(folder, "bare.mjs"), /a bundler moved this file away from its module.+init\(bytes\)/);
  });
}

test("esbuild: the web, the module through a loader", async (t) => {
  const main = page(`${FETCH} await init(new URL(module, location.href)); return ${JUDGE};`);
  const folder = await project(t, { "main.js": `import { init, verify } from "vouch-verifier"; import module from "vouch-verifier/verifier.wasm"; ${main}` });
  write(folder, prefixed("dist", { "index.html": HTML, ...FILES }));
  await esbuild.build({ absWorkingDir: folder, entryPoints: ["main.js"], bundle: true, format: "esm", outdir: "dist", loader: { ".wasm": "file" }, logLevel: "silent" });
  await assertPage(join(folder, "dist"));
});

test("rollup: the web, the module copied beside the bundle", async (t) => {
  const folder = await project(t, { "main.js": `import { verify } from "vouch-verifier"; ${page(`${FETCH} return ${JUDGE};`)}` });
  write(folder, prefixed("dist", { "index.html": HTML, "wasm/.keep": "", ...FILES }));
  const bundle = await rollup({ input: join(folder, "main.js"), plugins: [nodeResolve({ browser: true })], onwarn: (warning) => assert.fail(warning.message) });
  await bundle.write({ dir: join(folder, "dist"), format: "es" });
  await bundle.close();
  copyFileSync(join(folder, "node_modules/vouch-verifier/wasm/vouch_verifier_bg.wasm"), join(folder, "dist/wasm/vouch_verifier_bg.wasm"));
  await assertPage(join(folder, "dist"));
});

const packs = (options) =>
  new Promise((resolve, reject) =>
    webpack({ mode: "production", ...options }, (error, stats) => {
      if (error) return reject(error);
      if (stats.hasErrors() || stats.hasWarnings()) return reject(new Error(stats.toString()));
      resolve();
    }),
  );

test("webpack: Node.js, without ws", async (t) => {
  const folder = await project(t, { "app.js": PROGRAM.replace("console.log", "export default console.log") });
  await packs({ context: folder, entry: "./app.js", target: "node20", output: { path: join(folder, "out"), filename: "main.cjs" } });
  assert.equal(await runs(folder, "out/main.cjs"), RIGHT);
});

test("webpack: the web, page and Worker", async (t) => {
  const folder = await project(t, PAGE_AND_WORKER);
  await packs({ context: folder, entry: "./main.js", performance: false, output: { path: join(folder, "dist"), filename: "main.js", publicPath: "auto" } });
  write(folder, prefixed("dist", { "index.html": HTML, ...FILES }));
  await assertPage(join(folder, "dist"), `${RIGHT} ${RIGHT}`);
});

testVite(vite, {});

const require = createRequire(import.meta.url);
const workerd = () => require.resolve(`@cloudflare/workerd-${process.platform}-${process.arch === "x64" ? "64" : process.arch}/bin/workerd`);

test("workerd: a Worker that gives its module to init", async (t) => {
  let program;
  try {
    program = workerd();
  } catch (error) {
    return t.skip(`workerd has no program for this machine: ${error.message}`);
  }
  const worker = `import { init, verify } from "vouch-verifier";
import module from "vouch-verifier/verifier.wasm";
import bundle from "./report.pdf.vouch";
import file from "./report.pdf";
export default { async fetch() { await init(module); return new Response(${JUDGE.replaceAll("{ bundle,", "{ bundle: new Uint8Array(bundle),").replaceAll(" file,", " file: new Uint8Array(file),")}); } };
`;
  const folder = await project(t, { "worker.js": worker });
  // Like wrangler, whose rules leave these to the host.
  const left = { name: "left", setup: (build) => build.onResolve({ filter: /\.(wasm|vouch|pdf)$/ }, ({ path }) => ({ path, external: true })) };
  await esbuild.build({ absWorkingDir: folder, entryPoints: ["worker.js"], bundle: true, format: "esm", conditions: ["workerd", "worker", "browser"], outfile: "out.js", plugins: [left], logLevel: "silent" });
  write(folder, {
    "config.capnp": `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .main)], sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]);
const main :Workerd.Worker = (compatibilityDate = "2025-10-01", modules = [
  (name = "out.js", esModule = embed "out.js"),
  (name = "vouch-verifier/verifier.wasm", wasm = embed "node_modules/vouch-verifier/wasm/vouch_verifier_bg.wasm"),
  (name = "report.pdf.vouch", data = embed "report.pdf.vouch"),
  (name = "report.pdf", data = embed "report.pdf"),
]);
`,
  });
  const child = spawn(program, ["serve", "config.capnp", "--control-fd=3"], { cwd: folder, stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const ended = once(child, "exit");
  try {
    const port = await Promise.race([listening(child.stdio[3]), ended.then(([code]) => assert.fail(`workerd ended with ${code}`))]);
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    assert.equal(await answer.text(), RIGHT);
  } finally {
    child.kill();
    await ended;
  }
});

async function listening(pipe) {
  let text = "";
  for await (const piece of pipe) {
    text += piece;
    for (const line of text.split("\n").slice(0, -1)) {
      const { event, port } = JSON.parse(line);
      if (event === "listen") return port;
    }
  }
  return assert.fail(`workerd told no port: ${text}`);
}
