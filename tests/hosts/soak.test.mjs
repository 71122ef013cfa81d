// The hosts of `make soak`: see README.md. Their packages are in target/hosts/soak, where make installs them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { close } from "../browser/support/chromium.mjs";
import { until } from "../browser/support/until.mjs";
import { assertPage, FETCH, FILES, HTML, inChromium, JUDGE, page, PAGE_AND_WORKER, prefixed, project, READ, RIGHT, run, WORK, write } from "./support.mjs";
import { testVite } from "./vite.mjs";

after(close);

const TOOLS = join(WORK, "soak");
const require = createRequire(join(TOOLS, "package.json"));
if (!existsSync(join(TOOLS, "node_modules"))) throw new Error("the hosts are not installed; run `make soak`");

const inside = { within: TOOLS }; // other imports of a project are resolved there
const program = (name) => join(TOOLS, "node_modules", name);
const node = (script, args, folder, env = {}) => run(process.execPath, [program(script), ...args], { cwd: folder, env: { ...process.env, CI: "1", ...env } });

const PROGRAM = `import { verify } from "vouch-verifier";\n${READ}console.log(${JUDGE});\n`;

// Their dev servers pre-bundle the package and lose its WebAssembly modules, unless it is excluded.
const DEV = { optimizeDeps: { exclude: ["vouch-verifier"] } };
for (const name of ["vite7", "vite6"]) testVite(await import(pathToFileURL(join(TOOLS, "node_modules", name, "dist/node/index.js"))), DEV);

test("Parcel: the web, page and Worker", async (t) => {
  const folder = await project(t, { ...PAGE_AND_WORKER, "index.html": HTML }, inside);
  await node("parcel/lib/bin.js", ["build", "index.html", "--dist-dir", "dist", "--no-cache", "--public-url", "/"], folder, { PARCEL_WORKERS: "0" });
  write(folder, prefixed("dist", FILES));
  await assertPage(join(folder, "dist"), `${RIGHT} ${RIGHT}`);
});

const NEXT = {
  "next.config.mjs": `import { fileURLToPath } from "node:url";
const root = fileURLToPath(new URL("..", import.meta.url));
export default { serverExternalPackages: ["vouch-verifier"], outputFileTracingRoot: root, turbopack: { root } };\n`,
  "app/layout.js": "export default function Layout({ children }) { return <html><body>{children}</body></html>; }\n",
  "app/page.js": `import { verify } from "vouch-verifier";\n${READ.split("\n")[0]}
export const dynamic = "force-dynamic";
export default async function Page() {
  const [bundle, file] = ["report.pdf.vouch", "report.pdf"].map((name) => new Uint8Array(readFileSync(name)));
  return <p>found {${JUDGE}}</p>;
}\n`,
  "app/handler/route.js": `import { verify } from "vouch-verifier";\n${READ.split("\n")[0]}
export const dynamic = "force-dynamic";
export async function GET() {
  const [bundle, file] = ["report.pdf.vouch", "report.pdf"].map((name) => new Uint8Array(readFileSync(name)));
  return new Response(${JUDGE});
}\n`,
  "app/client/page.js": `"use client";
import { useEffect } from "react";
import { verify } from "vouch-verifier";
export default function Page() {
  useEffect(() => { ${page(`${FETCH} return ${JUDGE};`)} }, []);
  return <p>client</p>;
}\n`,
  ...prefixed("public", FILES),
};
for (const bundler of ["turbopack", "webpack"]) {
  test(`Next.js with ${bundler}: handler, page on the server, page in Chromium`, async (t) => {
    const folder = await project(t, NEXT, inside);
    const env = { NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" };
    await node("next/dist/bin/next", ["build", `--${bundler}`], folder, env);
    const args = [program("next/dist/bin/next"), "start", "--port", "0", "--hostname", "127.0.0.1"];
    const child = spawn(process.execPath, args, { cwd: folder, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    let said = "";
    child.stdout.on("data", (data) => (said += data));
    try {
      const address = () => /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(said)?.[0];
      await until("Next.js listens", () => address() !== undefined || child.exitCode !== null);
      assert.equal(child.exitCode, null, said);
      const text = async (path) => (await fetch(`${address()}${path}`)).text();
      assert.equal(await text("/handler"), RIGHT);
      assert.match(await text("/"), new RegExp(`found (<!-- -->)?${RIGHT}`));
      assert.equal(await inChromium(`${address()}/client`), RIGHT);
    } finally {
      child.kill();
      await ended;
    }
  });
}

test("Vitest", async (t) => {
  const folder = await project(t, { "report.test.js": `import { expect, test } from "vitest";\nimport { verify } from "vouch-verifier";\n${READ}test("it verifies", async () => expect(${JUDGE}).toBe("${RIGHT}"));\n` }, inside);
  const report = JSON.parse(await node("vitest/vitest.mjs", ["run", "--root", folder, "--reporter=json"], folder));
  assert.deepEqual([report.numPassedTests, report.numTotalTests], [1, 1]);
});

test("Jest, in an ES module", async (t) => {
  const folder = await project(t, {
    "package.json": '{ "private": true, "type": "module", "jest": { "transform": {}, "testEnvironment": "node" } }\n',
    "report.test.js": `import { verify } from "vouch-verifier";\n${READ}test("it verifies", async () => expect(${JUDGE}).toBe("${RIGHT}"));\n`,
  }, inside);
  const report = JSON.parse(await node("jest/bin/jest.js", ["--json", "--rootDir", folder], folder, { NODE_OPTIONS: "--experimental-vm-modules" }));
  assert.deepEqual([report.numPassedTests, report.numTotalTests], [1, 1]);
});

const ARCH = { x64: { deno: "x64", bun: "x64" }, arm64: { deno: "arm64", bun: "aarch64" } }[process.arch];
const PLATFORM = { linux: { deno: "-glibc" }, darwin: {}, win32: {} }[process.platform];
const places = ARCH && PLATFORM && {
  deno: `@deno/${process.platform}-${ARCH.deno}${PLATFORM.deno ?? ""}/deno`,
  bun: `@oven/bun-${process.platform}-${ARCH.bun}/bin/bun`,
};
for (const [name, args] of [["deno", ["run", "--no-remote", "--node-modules-dir=manual", "--allow-read", "--allow-env"]], ["bun", ["run"]]]) {
  test(name, async (t) => {
    const folder = await project(t, { "app.js": PROGRAM });
    let path;
    try {
      path = require.resolve(places[name]);
    } catch (error) {
      return t.skip(`${name} has no program for this machine: ${error.message}`);
    }
    const home = { ...process.env, HOME: folder, DENO_DIR: join(folder, ".deno"), DENO_NO_UPDATE_CHECK: "1" };
    assert.equal((await run(path, [...args, "app.js"], { cwd: folder, env: home })).trim(), RIGHT);
  });
}
