// The npm package as users get it: its files, its types, its README, and the places where it finds its modules.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { verify as judge } from "../../verifier-wasm/npm/node.js";
import { startCluster } from "../browser/support/cluster.mjs";
import { BUNDLE, CLUSTER, DIGEST, FILE, NOW, writeFiles } from "./files.mjs";
import { SOURCE, folder, installed, packed, run, succeed } from "./installed.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMPILER = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));

test("the package is complete, has the workspace's version, and has no dependencies", () => {
  const files = packed.files.map(({ path }) => path).sort();
  assert.deepEqual(files, [
    "LICENSE", "README.md", "api.js", "bin/layout.js", "bin/progress.js", "bin/vouch-verify.js", "browser.js", "bytes.js", "client.js", "index.d.ts",
    "link.js", "log.js", "module_source.js", "node.js", "once.js", "package.json", "sink.js", "source.js", "wait.js", "wasm.d.ts", "wasm/vouch_client.js", "wasm/vouch_client_bg.wasm", "wasm/vouch_verifier.js", "wasm/vouch_verifier_bg.wasm",
  ]);
  const { version, dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  assert.equal(version, /^version = "(.+)"/m.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8"))[1]);
  assert.equal(dependencies, undefined);
  assert.deepEqual(peerDependenciesMeta, { ws: { optional: true } });
  assert.equal(readFileSync(join(installed, "LICENSE"), "utf8"), readFileSync(join(ROOT, "LICENSE"), "utf8"));
});

const readme = readFileSync(join(SOURCE, "README.md"), "utf8");
const blocks = [...readme.matchAll(/^```(js|js browser|sh)\n([^]*?)^```/gm)].map(([, kind, code]) => ({ kind, code: code.replaceAll(/\b[1-9A-HJ-NP-Za-km-z]{43,44}\b/g, CLUSTER) }));
// Globals of a page.
const page = (origin, identity) => `import { readFileSync } from "node:fs";
const input = { files: ["report.pdf", "report.pdf.vouch"].map((name) => new File([readFileSync(name)], name)) };
const output = {}, button = {}, bar = {}, link = {}, location = { origin: ${JSON.stringify(origin)} }, CLUSTER = ${JSON.stringify(identity)};
process.on("exit", () => console.log(output.textContent ?? \`sent \${bar.value * 100} %, saved as \${link.href}\`));
`;
const EXPECTED = { sh: /^VALID: /m, js: /^held by 3 members since|^VALID$|replica-\d/m, "js browser": /^VALID$/m };
const PUTS = { js: /^VALID\n19$/m, "js browser": /^\d voted$[^]*^sent 100 %, saved as blob:/m };

test("the README has examples of each kind", () => {
  for (const kind of Object.keys(EXPECTED)) assert.ok(blocks.some((block) => block.kind === kind), kind);
});

// Before version 22, Node.js needs this package to put and to get.
const linkSocket = (to) => existsSync(join(to, "ws")) || symlinkSync(join(SOURCE, "node_modules", "ws"), join(to, "ws"), "dir");

test("documentation names only existing commands", () => {
  // These names are unpublished: npx and npm would run what a stranger publishes under them.
  const names = /\b(npx|bunx|deno run npm:|(npm|pnpm|yarn|bun) (i|install|add|exec|x|dlx))(?: -\S+)* +@?vouch[\w-]*/;
  for (const wrong of ["npx vouch-verifier a b", "npx --yes vouch-verify a", "npm i vouch-verifier", "npm install -D vouch-verifier", "bunx vouch"]) assert.match(wrong, names);
  for (const right of ["npx ./verifier-wasm/npm a b", "npm install ./vouch-verifier-0.1.0.tgz", "npm install ws"]) assert.doesNotMatch(right, names);
  const listed = succeed("git", ["ls-files", "*.md", "*.html", "*.toml", "web", "node/src", "verifier-wasm", "shared"], { cwd: ROOT }).stdout;
  const files = listed.trim().split("\n");
  for (const name of ["README.md", "verifier-wasm/npm/README.md", "web/index.html", "verifier-wasm/npm/bin/vouch-verify.js"]) assert.ok(files.includes(name), name);
  for (const name of files) {
    if (!/\.(md|html|js|ts|rs|toml|json|css)$/.test(name) || !existsSync(join(ROOT, name))) continue;
    assert.doesNotMatch(readFileSync(join(ROOT, name), "utf8"), names, name);
  }
});

for (const [i, { kind, code }] of blocks.entries()) {
  const usesServer = /import .*\bput\b/.test(code);
  test(`example ${i + 1} of the README (${kind}${usesServer ? ", with a cluster" : ""})`, async () => {
    if (kind === "sh") {
      const { stdout } = succeed("sh", ["-c", code.replace("npx ./verifier-wasm/npm", `npx --offline ${SOURCE}`).trimEnd() + ` --now ${NOW}`]);
      return assert.match(stdout, EXPECTED.sh);
    }
    if (usesServer) return putExample(`example-${i}.mjs`, kind, code);
    const name = join(folder, `example-${i}.mjs`);
    writeFileSync(name, (kind === "js browser" ? page("", CLUSTER) : "") + code);
    // The examples use the current time, which may be before the vectors'.
    const clock = join(folder, "clock.mjs");
    writeFileSync(clock, `Date.now = () => ${NOW * 1000};`);
    const { stdout, stderr } = succeed(process.execPath, ["--import", pathToFileURL(clock).href, name]);
    assert.match(stdout, EXPECTED[kind], stderr);
  });
}

async function putExample(name, kind, code) {
  const cluster = await startCluster();
  try {
    linkSocket(join(folder, "node_modules"));
    const identity = await cluster.identity();
    // Its own folder, as it writes a bundle.
    const cwd = join(folder, name.replace(".mjs", ""));
    mkdirSync(cwd);
    writeFiles(cwd);
    const placed = code.replace("127.0.0.1:9090", cluster.address);
    writeFileSync(join(cwd, name), (kind === "js browser" ? page(cluster.url, identity) : "") + placed);
    const { stdout, stderr } = succeed(process.execPath, [name], { cwd, env: { ...process.env, CLUSTER: identity } });
    assert.match(stdout, PUTS[kind], stderr);
    // not the installed copy: the test of the browser variant below must be the first to load its module
    const { verdict } = await judge({
      bundle: readFileSync(join(cwd, "report.pdf.vouch")),
      file: FILE,
      cluster: kind === "js" ? identity : CLUSTER,
      now: kind === "js" ? undefined : NOW,
    });
    assert.equal(verdict, "valid");
  } finally {
    await cluster.stop();
  }
}

test("the client's module may be anywhere", async (t) => {
  const elsewhere = join(folder, "elsewhere");
  const modules = join(elsewhere, "node_modules");
  const copy = join(modules, "vouch-verifier");
  mkdirSync(modules, { recursive: true });
  cpSync(installed, copy, { recursive: true });
  // Without this the module would be found there, whatever initClient gets.
  renameSync(join(copy, "wasm", "vouch_client_bg.wasm"), join(elsewhere, "client.wasm"));
  writeFileSync(join(elsewhere, "package.json"), '{ "type": "module", "private": true }\n');
  linkSocket(modules);
  const bytes = readFileSync(join(elsewhere, "client.wasm"));
  const web = createServer((_, response) => response.writeHead(200, { "content-type": "application/wasm" }).end(bytes));
  await new Promise((listening) => web.listen(0, "127.0.0.1", listening));
  const cluster = await startCluster();
  t.after(async () => {
    web.close();
    await cluster.stop();
  });
  const url = `http://127.0.0.1:${web.address().port}/client.wasm`;
  const sources = {
    bytes: 'readFileSync("client.wasm")',
    "an ArrayBuffer": 'new Uint8Array(readFileSync("client.wasm")).buffer',
    "a WebAssembly.Module": 'new WebAssembly.Module(readFileSync("client.wasm"))',
    "a promise": 'Promise.resolve(readFileSync("client.wasm"))',
    "a path": '"client.wasm"',
    "a URL of a file": 'new URL("client.wasm", import.meta.url)',
    "a file's URL as text": 'new URL("client.wasm", import.meta.url).href',
    "a URL": `new URL("${url}")`,
    "a URL as text": `"${url}"`,
    "a data URL": '"data:application/wasm;base64," + readFileSync("client.wasm").toString("base64")',
    "a Response": 'new Response(readFileSync("client.wasm"), { headers: { "content-type": "application/wasm" } })',
    "a fetch": `fetch("${url}")`,
  };
  const program = (source) => `import { readFileSync } from "node:fs";
import { get, initClient, put } from "vouch-verifier";
await initClient(${source});
const where = { server: "${cluster.address}", cluster: null };
const { report } = await put(new TextEncoder().encode("from a module elsewhere"), where);
const { blob } = await get(report.certificate.digest, where);
console.log(report.message, await blob.text());
`;
  // The server runs in this process, which must not block while the program runs.
  const runs = async (name) => {
    const child = spawn(process.execPath, [name], { cwd: elsewhere, stdio: ["ignore", "pipe", "pipe"] });
    const [out, error] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { out, error };
  };
  for (const [i, [what, source]] of Object.entries(sources).entries()) {
    writeFileSync(join(elsewhere, `source-${i}.mjs`), program(source));
    const { out, error } = await runs(`source-${i}.mjs`);
    assert.equal(out, "VALID from a module elsewhere\n", `${what}: ${error}`);
  }
  writeFileSync(join(elsewhere, "default.mjs"), program("undefined"));
  const { error } = await runs("default.mjs");
  assert.match(error, /cannot read the WebAssembly module .*initClient\(bytes\)/);
});

test("the variant for browsers gives the same verdicts", async () => {
  const browser = await import(pathToFileURL(join(installed, "browser.js")));
  const question = { bundle: BUNDLE, cluster: CLUSTER, file: new Blob([FILE]), now: NOW };
  // Node.js cannot fetch a file: the first attempt fails, and the next one may succeed.
  await assert.rejects(browser.verify(question));
  await browser.init(readFileSync(join(installed, "wasm", "vouch_verifier_bg.wasm")));
  const node = await import(pathToFileURL(join(installed, "node.js")));
  assert.deepEqual(await browser.verify(question), await node.verify(question));
  assert.deepEqual(Object.keys(browser).sort(), Object.keys(node).sort());
});

test("the types match the package", async () => {
  const { inspect } = await import(pathToFileURL(join(installed, "node.js")));
  const question = { bundle: BUNDLE, cluster: CLUSTER, digest: DIGEST };
  const reports = await Promise.all([{ now: NOW }, { now: 0 }, { cluster: null }].map((part) => judge({ ...question, ...part })));
  // Object literals, so that a superfluous field is an error too.
  writeFileSync(join(folder, "values.ts"), `import type { Inspection, Report } from "vouch-verifier";
export const said: Inspection = ${JSON.stringify(await inspect(BUNDLE))};
export const reports: Report[] = ${JSON.stringify(reports)};
`);
  writeFileSync(join(folder, "use.ts"), `
import {
  BundleError, ServerError, createHasher, createVerifier, decideTrust, get, hash, init, initClient, inspect, limits, normalizeDigest, put, verify,
  type CheckName, type GetProgress, type PutProgress, type Report,
} from "vouch-verifier";

const report: Report = await verify({ bundle: "{}", cluster: "…", file: new Blob([]), now: new Date(), waiveExpiry: true });
switch (report.verdict) {
  case "valid": { const n: number = report.certificate.signers.length; const nothing: null = report.check; void n; void nothing; break; }
  case "invalid": { const check: CheckName = report.check; const got: string = report.got; void check; void got; break; }
  case "cannot-check": { const nothing: null = report.got; void nothing; break; }
  default: { const never: never = report; void never; }
}
await verify({ bundle: new Uint8Array(), digest: "…", length: 1, now: 1 });
await verify({ bundle: new ArrayBuffer(1), file: (async function* () { yield new Uint8Array(); })() });
// @ts-expect-error both
await verify({ bundle: "", file: new Uint8Array(), digest: "" });
// @ts-expect-error a length with a file
await verify({ bundle: "", file: new Uint8Array(), length: 1 });
// @ts-expect-error misspelt
await verify({ bundle: "", cluser: "" });
// @ts-expect-error a parsed bundle
await verify({ bundle: {} });
// @ts-expect-error not before the verdict is known
report.certificate;
const hasher = await createHasher();
const text: string = hasher.update(new Uint8Array()).digest("hex"), bytes: Uint8Array = hasher.digest();
const { digest, length }: { digest: string; length: number } = await hash(new Uint8Array());
(await createVerifier()).free();
const { bundle: most, members }: { bundle: number; members: number } = await limits();
const { state, identity }: { state: string; identity: string | null } = await decideTrust({ given: null, shown: "…" });
await init(new URL("https://example.org/vouch_verifier_bg.wasm"));
await initClient();
const onProgress = (progress: PutProgress): number | null => {
  switch (progress.stage) {
    case "hashing": return progress.done / progress.total;
    case "sending": return progress.total;
    case "member": return progress.state === "voted" ? progress.member : null;
    case "committee": return progress.checkpoint.length + progress.epoch + progress.members.length;
    case "hashed": return progress.digest.length;
    case "resuming": return progress.offset / progress.total;
    case "lost": return progress.retry_in;
    case "connecting": return null;
    default: { const never: never = progress; return never; }
  }
};
const stored = await put(new Blob([]), { server: "host:1", cluster: null, expires: new Date(), signal: AbortSignal.timeout(1), onProgress, retry: 600, onWaiting: (now) => now() });
const valid: "valid" = stored.report.verdict, issued: number = stored.report.certificate.issued_at, from: number = stored.resumed_from;
await put(new Uint8Array(), { server: new URL("https://example.org/"), cluster: await normalizeDigest("…"), expires: "never" });
// @ts-expect-error the cluster is required; null accepts the server's
await put(new Uint8Array(), { server: "host:1" });
const onGetProgress = (progress: GetProgress): number | null => {
  switch (progress.stage) {
    case "start": return progress.offset + progress.length;
    case "receiving": return progress.done / progress.total;
    case "rejected": return progress.reason.length;
    case "lost": return progress.code === "exhausted" ? progress.members.length : progress.retry_in;
    case "connecting": return null;
    default: { const never: never = progress; return never; }
  }
};
const got = await get("…", { server: "host:1", cluster: null, checkpoint: stored.checkpoint, length: 1, range: "0-9", retry: 600, onWaiting: (now) => now(), onProgress: onGetProgress, sink: { async write(bytes: Uint8Array) { void bytes; } } });
const blob: Blob | undefined = got.blob;
await put(new Uint8Array(), { server: "host:1", cluster: null, checkpoint: got.checkpoint });
try { await get(new Uint8Array(32), { server: "host:1", cluster: null }); } catch (error) {
  if (error instanceof ServerError && ["invalid", "old-epoch", "another-committee"].includes(error.code)) void [error.check, error.expected, error.got, error.members[0], error.canRetry];
}
void [valid, issued, from, blob, most, members];
try { await inspect(""); } catch (error) { if (error instanceof BundleError) void error.report.message; }
void [text, bytes, digest, length, state, identity];
`);
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.asynciterable", "--skipLibCheck", "false"];
  const { status, stdout } = run(process.execPath, [COMPILER, ...options, "use.ts", "values.ts"]);
  assert.equal(status, 0, stdout);
});
