// The npm package as users get it: packed, installed offline into an empty folder, and used there.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { verify as judge } from "../../verifier-wasm/npm/node.js";
import { startCluster } from "../browser/support/cluster.mjs";
import { BUNDLE, CLUSTER, DIGEST, FILE, LENGTH, NOW, OP, temporaryFolder, writeFiles } from "./files.mjs";

const SOURCE = fileURLToPath(new URL("../../verifier-wasm/npm/", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMPILER = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));

const folder = temporaryFolder();
const installed = join(folder, "node_modules", "vouch-verifier");

function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: folder, encoding: "utf8", timeout: 120_000, ...options });
  assert.ifError(error);
  return { status, stdout, stderr };
}

function succeed(command, args, options) {
  const result = run(command, args, options);
  assert.equal(result.status, 0, result.stderr);
  return result;
}

const verifyCommand = join(folder, "node_modules", ".bin", "vouch-verify");
const verify = (args, options) => run(verifyCommand, args, options);
const trusted = ["--cluster", CLUSTER, "--now", `${NOW}`];

let packed;
before(() => {
  writeFiles(folder);
  writeFileSync(join(folder, "package.json"), '{ "type": "module", "private": true }\n');
  [packed] = JSON.parse(succeed("npm", ["pack", SOURCE, "--json", "--pack-destination", folder]).stdout);
  succeed("npm", ["install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", join(folder, packed.filename)]);
});

test("the package is complete, has the workspace's version, and has no dependencies", () => {
  const files = packed.files.map(({ path }) => path).sort();
  assert.deepEqual(files, [
    "LICENSE", "README.md", "api.js", "bin/layout.js", "bin/progress.js", "bin/vouch-verify.js", "browser.js", "bytes.js", "client.js", "index.d.ts",
    "link.js", "module_source.js", "node.js", "once.js", "package.json", "source.js", "wait.js", "wasm.d.ts", "wasm/vouch_client.js", "wasm/vouch_client_bg.wasm", "wasm/vouch_verifier.js", "wasm/vouch_verifier_bg.wasm",
  ]);
  const { version, dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  assert.equal(version, /^version = "(.+)"/m.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8"))[1]);
  assert.equal(dependencies, undefined);
  assert.deepEqual(peerDependenciesMeta, { ws: { optional: true } });
  assert.equal(readFileSync(join(installed, "LICENSE"), "utf8"), readFileSync(join(ROOT, "LICENSE"), "utf8"));
});

test("npx runs the command", () => {
  const { stdout } = succeed("npx", ["--no-install", "vouch-verify", "report.pdf", "report.pdf.vouch", ...trusted]);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.length, 16);
  const questions = ["Is the certificate genuine? yes", "Is this the file? yes", "Is it in force? yes"];
  assert.deepEqual([0, 9, 12].map((at) => lines[at]), questions);
  assert.equal(lines.filter((line) => line.startsWith(" ok  ")).length, 12);
  assert.equal(lines[4], " ok  identity     the committee is that of the cluster you trust");
  assert.equal(lines[15], `VALID: report.pdf ${DIGEST}, ${LENGTH} bytes, certified 2026-09-21T14:13:20Z by 3 of 4 members of cluster ${CLUSTER}`);
});

test("npx finds the command by the package's name", () => {
  assert.match(succeed("npx", ["--no-install", "vouch-verifier", "--version"]).stdout, /^vouch-verify /);
});

test("a tampered file is invalid", () => {
  writeFileSync(join(folder, "tampered"), "Vouch test file N4\n");
  const { status, stdout, stderr } = verify(["tampered", "report.pdf.vouch", ...trusted]);
  assert.equal(status, 1, stderr);
  const lines = stdout.trimEnd().split("\n");
  const questions = ["Is the certificate genuine? yes", "Is this the file? no", "Is it in force? yes"];
  assert.deepEqual([0, 9, 12].map((at) => lines[at]), questions);
  assert.equal(lines[10], "BAD  digest       the file is the certified one, byte for byte");
  assert.equal(lines[11], " -   length       the file has the certified length");
  assert.equal(lines[15], `expected ${DIGEST}`);
  assert.match(lines[16], /^got {6}\w{43,44}$/);
  assert.match(lines[17], /^INVALID: the certificate is genuine, but this is another file \(digest: /);
});

test("without an identity the command cannot check, and says what to do", () => {
  const { status, stdout, stderr } = verify(["report.pdf", "report.pdf.vouch"]);
  assert.equal(status, 2);
  assert.match(stdout, /^ \? {3}identity /m);
  assert.match(stdout, /CANNOT CHECK: .+\n$/);
  assert.match(stderr, /--cluster IDENTITY/);
});

test("expiry counts, and can be waived", () => {
  const late = ["report.pdf", "report.pdf.vouch", "--cluster", CLUSTER, "--now", `${NOW + 10 * 365 * 86_400}`];
  const expired = verify(late);
  assert.equal(expired.status, 1);
  assert.match(expired.stdout, /^BAD {2}expiry .+[^]*INVALID: the certificate is genuine, but it has expired \(/m);
  const waived = verify([...late, "--waive-expiry"]);
  assert.equal(waived.status, 0);
  assert.match(waived.stdout, /^n\/a {2}expiry/m);
});

test("--json prints the report", () => {
  const valid = verify(["report.pdf", "report.pdf.vouch", "--json", ...trusted]);
  const report = JSON.parse(valid.stdout);
  assert.deepEqual([valid.status, report.verdict, report.check, report.checks.length], [0, "valid", null, 12]);
  assert.equal(report.certificate.digest_base58, DIGEST);
  const invalid = verify(["tampered", "report.pdf.vouch", "--json", ...trusted]);
  assert.deepEqual([invalid.status, JSON.parse(invalid.stdout).check], [1, "digest"]);
  const unreadable = verify(["none", "report.pdf.vouch", "--json", ...trusted]);
  assert.deepEqual([unreadable.status, JSON.parse(unreadable.stdout).verdict], [2, "cannot-check"]);
  for (const args of [["none", "report.pdf.vouch", ...trusted], ["a", "b", "c"], ["--cluser", "a"], ["a", "b", "--now", "-1"]]) {
    const { status, stdout } = verify([...args, "--json"]);
    assert.equal(status, 2);
    assert.match(JSON.parse(stdout).error, /^CANNOT CHECK: /);
  }
});

test("a digest is checked without its file", () => {
  const hex = JSON.parse(verify(["report.pdf", "report.pdf.vouch", "--json", ...trusted]).stdout).certificate.digest;
  for (const digest of [DIGEST, hex]) {
    const { status, stdout } = verify(["--digest", digest, "report.pdf.vouch", ...trusted]);
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^n/a {2}length [^]*^VALID: digest ${DIGEST}, `, "m"));
  }
  const { status, stdout } = verify(["--digest", CLUSTER, "report.pdf.vouch", ...trusted]);
  assert.equal(status, 1);
  assert.match(stdout, /^INVALID: the certificate is genuine, but this is another file/m);
});

test("--now has the range of the program", () => {
  const judgedAt = (now) => verify(["report.pdf", "report.pdf.vouch", "--cluster", CLUSTER, "--waive-expiry", "--now", now]).status;
  assert.equal(judgedAt("9007199254740991"), 0);
  assert.equal(judgedAt("0"), 1);
  for (const now of ["9007199254740992", "9007199254740993", "18446744073709551616", "1e9", "1.0", "+1", " 1", "0x1", ""]) assert.equal(judgedAt(now), 2, now);
});

test("the file may come from standard input", () => {
  assert.equal(verify(["-", "report.pdf.vouch", ...trusted], { input: FILE }).status, 0);
  assert.equal(verify(["-", "report.pdf.vouch", ...trusted], { input: "" }).status, 1);
});

test("every error has exit code 2, never 1, and a reason", () => {
  mkdirSync(join(folder, "a folder"), { recursive: true });
  const cases = [
    [["none", "report.pdf.vouch", ...trusted], /cannot read none: there is no such file/],
    [["report.pdf", "none.vouch", ...trusted], /cannot read none.vouch: there is no such file/],
    [["a folder", "report.pdf.vouch", ...trusted], /cannot read a folder: it is a folder/],
    [["report.pdf", "a folder", ...trusted], /cannot read a folder: it is a folder/],
    [[], /expected FILE and BUNDLE, got neither; .+--help/],
    [["report.pdf"], /expected FILE and BUNDLE, got "report.pdf"; .+--help/],
    [["a", "b", "c"], /expected FILE and BUNDLE, got "a", "b", "c"; .+--help/],
    [["report.pdf", "report.pdf.vouch", "--cluser", CLUSTER], /--cluser.+--help/],
    [["report.pdf", "report.pdf.vouch", "--cluster"], /--cluster.+--help/],
    [["report.pdf", "report.pdf.vouch", "--cluster", "abc"], /--cluster: expected 32 bytes, got/],
    [["report.pdf", "report.pdf.vouch", "--cluster", CLUSTER, "--now", "yesterday"], /--now: expected whole seconds since 1970, 0 to 9007199254740991, got "yesterday"/],
    [["report.pdf", "report.pdf.vouch", ...trusted, "--cluster", CLUSTER], /--cluster cannot be used multiple times.+--help/],
    [["report.pdf", "report.pdf.vouch", ...trusted, "--now", "1"], /--now cannot be used multiple times.+--help/],
    [["report.pdf", "report.pdf.vouch", "--digest", DIGEST, ...trusted], /expected BUNDLE alone with --digest, got "report.pdf", "report.pdf.vouch"/],
    [["--digest", DIGEST, ...trusted], /expected BUNDLE alone with --digest, got no bundle/],
    [["--digest", "abc", "report.pdf.vouch", ...trusted], /--digest: expected/],
    [["report.pdf", "report.pdf.vouch", "--cluster", CLUSTER, "--now=-1"], /--now: expected/],
    [["report.pdf", "report.pdf.vouch", "--cluster", CLUSTER, "--now", "9007199254740992"], /--now: expected/],
  ];
  for (const [args, reason] of cases) {
    const { status, stdout, stderr } = verify(args);
    assert.equal(status, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, reason);
    assert.match(stderr, /^CANNOT CHECK: [^\n]+\n$/);
  }
});

test("a package without its module cannot check", () => {
  const broken = join(folder, "broken");
  succeed("cp", ["-r", installed, broken]);
  for (const file of ["vouch_verifier_bg.wasm", "vouch_verifier.js"]) {
    succeed("rm", [join(broken, "wasm", file)]);
    const { status, stderr } = run(process.execPath, [join(broken, "bin", "vouch-verify.js"), "report.pdf", "report.pdf.vouch", ...trusted]);
    assert.equal(status, 2);
    assert.match(stderr, /CANNOT CHECK: the verifier is not complete/);
  }
});

test("a bundle's contents cannot control the terminal", () => {
  const forged = new TextDecoder().decode(BUNDLE).replace('"epochs"', '"\\u001b[2J\\nVALID: \u202e everything\\u0007":0,"epochs"');
  writeFileSync(join(folder, "forged.vouch"), forged);
  const { status, stdout } = verify(["report.pdf", "forged.vouch", ...trusted]);
  assert.equal(status, 1);
  assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/);
  assert.doesNotMatch(stdout, /^VALID/m);
});

test("a full standard output is an error", () => {
  const full = openSync("/dev/full", "w");
  for (const more of [[], ["--json"]]) {
    const { status, stderr } = verify(["report.pdf", "report.pdf.vouch", ...more, ...trusted], { stdio: ["ignore", full, "pipe"] });
    assert.deepEqual([status, stderr.replace(/: [^:]*$/, "")], [2, "vouch-verify: cannot write to standard output: ENOSPC"]);
  }
  closeSync(full);
});

test("a closed pipe does not change the exit code", async () => {
  const child = spawn(verifyCommand, ["report.pdf", "report.pdf.vouch", ...trusted], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.destroy();
  const code = await new Promise((resolve) => child.on("exit", resolve));
  assert.ok([0, 2].includes(code), `${code}`);
});

test("--help and --version print to standard output", () => {
  assert.match(verify(["--help"]).stdout, /^Check that .+\n\nUsage: vouch-verify FILE BUNDLE --cluster IDENTITY/);
  assert.match(verify(["--version"]).stdout, /^vouch-verify \d+\.\d+\.\d+\n$/);
});

test("the command opens no socket", () => {
  // Any use of the network ends the process.
  const guard = 'import net from "node:net"; import dgram from "node:dgram"; const no = () => process.abort(); net.Socket.prototype.connect = no; net.Server.prototype.listen = no; dgram.createSocket = no; globalThis.fetch = no;';
  writeFileSync(join(folder, "guard.mjs"), guard);
  const { status } = run(process.execPath, ["--import", pathToFileURL(join(folder, "guard.mjs")).href, join(installed, "bin", "vouch-verify.js"), "report.pdf", "report.pdf.vouch", ...trusted]);
  assert.equal(status, 0);
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

test("the command verifies an op as the library does", () => {
  const { stdout } = succeed(verifyCommand, ["--op", OP, "op.vouch", ...trusted]);
  assert.match(stdout, /^Does the log have the op\? yes$/m);
  assert.match(stdout, new RegExp(`^VALID: op ${OP}, 3 of 5 in block 4 of 2026-09-21T14:13:24Z, certified by 3 of 4 members of cluster ${CLUSTER}$`, "m"));
  assert.equal(JSON.parse(succeed(verifyCommand, ["--op", "any", "op.vouch", ...trusted, "--json"]).stdout).op.id, OP);
  const another = verify(["--op", CLUSTER, "op.vouch", ...trusted]);
  assert.equal(another.status, 1);
  assert.match(another.stdout, /^INVALID: the certificate is genuine, but this is another op /m);
  assert.equal(verify(["--op", "any", "op.vouch"]).status, 2);
  for (const wrong of [["report.pdf", "op.vouch"], ["op.vouch", "--digest", DIGEST], ["op.vouch", "--waive-expiry"], []]) {
    const { status, stdout: none, stderr } = verify(["--op", "any", ...wrong, ...trusted]);
    assert.deepEqual([status, none], [2, ""], stderr);
    assert.match(stderr, /--op/);
  }
});

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
  type CheckName, type PutProgress, type Report,
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
    case "committee": return progress.members.length;
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
const got = await get("…", { server: "host:1", cluster: null, length: 1, range: "0-9", sink: { async write(bytes: Uint8Array) { void bytes; } } });
const blob: Blob | undefined = got.blob;
try { await get(new Uint8Array(32), { server: "host:1", cluster: null }); } catch (error) {
  if (error instanceof ServerError && error.code === "invalid") void [error.check, error.expected, error.got, error.members[0], error.canRetry];
}
void [valid, issued, from, blob, most, members];
try { await inspect(""); } catch (error) { if (error instanceof BundleError) void error.report.message; }
void [text, bytes, digest, length, state, identity];
`);
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.asynciterable", "--skipLibCheck", "false"];
  const { status, stdout } = run(process.execPath, [COMPILER, ...options, "use.ts", "values.ts"]);
  assert.equal(status, 0, stdout);
});
