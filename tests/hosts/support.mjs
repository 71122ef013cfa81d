// A project of a user: an empty folder with the packed package in it, and a file to verify.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch } from "../browser/support/chromium.mjs";
import { listen, serveFolder } from "../browser/support/static_host.mjs";
import { BUNDLE, CLUSTER, FILE, NOW } from "../js/files.mjs";

export { listen, serveFolder };

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SOURCE = join(ROOT, "verifier-wasm", "npm");
/** Outside every folder whose `node_modules` has `ws`. */
export const WORK = join(ROOT, "target", "hosts");
const TIMEOUT = 300_000;

const exec = promisify(execFile);

/** Runs a command; returns its standard output, or rejects with its output if it fails. */
export async function run(command, args, options = {}) {
  try {
    const { stdout } = await exec(command, args, { timeout: TIMEOUT, maxBuffer: 1 << 26, ...options });
    return stdout;
  } catch (error) {
    throw new Error(`${command} ${args.join(" ")}: ${error.message}\n${error.stdout}\n${error.stderr}`, { cause: error });
  }
}

let packing;
async function packed() {
  mkdirSync(WORK, { recursive: true });
  const folder = mkdtempSync(join(WORK, "packed-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const [{ filename }] = JSON.parse(await run("npm", ["pack", SOURCE, "--json", "--ignore-scripts", "--pack-destination", folder]));
  return join(folder, filename);
}

/** Options for `verify` in every example; the bytes `bundle` and `file` are in scope there. */
export const QUESTION = `{ bundle, file, cluster: ${JSON.stringify(CLUSTER)}, now: ${NOW} }`;
export const TAMPERED = `{ bundle, file: new TextEncoder().encode("another file"), cluster: ${JSON.stringify(CLUSTER)}, now: ${NOW} }`;
/** An expression for the expected finding: the verdicts of the file and of another file. */
export const JUDGE = `[(await verify(${QUESTION})).verdict, (await verify(${TAMPERED})).check].join()`;
export const RIGHT = "valid,digest";

/** Reads the inputs from disk. */
export const READ = `import { readFileSync } from "node:fs";
const [bundle, file] = ["report.pdf.vouch", "report.pdf"].map((name) => new Uint8Array(readFileSync(name)));
`;
/** Fetches the inputs, in a page or a Worker. */
export const FETCH = `const bytes = async (name) => new Uint8Array(await (await fetch("/" + name)).arrayBuffer());
const [bundle, file] = await Promise.all(["report.pdf.vouch", "report.pdf"].map(bytes));
`;
/** A page's module, which leaves its finding for `inChromium`. */
export const page = (body) => `globalThis.found = (async () => { ${body} })().catch((error) => "" + error.stack);\n`;
export const HTML = '<!doctype html><meta charset="utf-8" /><title>test</title><script type="module" src="./main.js"></script>\n';

/** Creates the project: `files` by name, in a new folder inside `within`. */
export async function project(t, files, { within = WORK } = {}) {
  const tarball = await (packing ??= packed());
  mkdirSync(within, { recursive: true });
  const folder = mkdtempSync(join(within, "project-"));
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const installed = join(folder, "node_modules", "vouch-verifier");
  mkdirSync(installed, { recursive: true });
  await run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"]);
  write(folder, { "package.json": '{ "private": true, "type": "module" }\n', "report.pdf": FILE, "report.pdf.vouch": BUNDLE, ...files });
  return folder;
}

export function write(folder, files) {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}

export const FILES = { "report.pdf": FILE, "report.pdf.vouch": BUNDLE };
export const prefixed = (folder, files) => Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content]));

/** The page and its Worker both verify; the finding combines both. */
export const PAGE_AND_WORKER = {
  "worker.js": `import { verify } from "vouch-verifier";\nonmessage = async () => { try { ${FETCH} postMessage(${JUDGE}); } catch (error) { postMessage(error.stack); } };\n`,
  "main.js": `import { verify } from "vouch-verifier";\n${page(`${FETCH}
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const answer = new Promise((resolve) => { worker.onmessage = ({ data }) => resolve(data); worker.onerror = ({ message }) => resolve("Worker: " + message); });
  worker.postMessage(1);
  return ${JUDGE} + " " + (await answer);`)}`,
};

/** The finding of the page at `url`. */
export async function inChromium(url) {
  const context = await (await launch()).newContext();
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    page.setDefaultNavigationTimeout(120_000);
    await page.goto(url);
    // A dev server may reload the page once it has discovered all its packages.
    await page.waitForFunction(() => globalThis.found !== undefined);
    return await page.evaluate(() => globalThis.found);
  } finally {
    await context.close();
  }
}

/** Serves a built folder and asserts its page's finding. */
export async function assertPage(folder, expected = RIGHT) {
  const host = await listen(createServer(serveFolder(folder)));
  try {
    assert.equal(await inChromium(host.url), expected);
  } finally {
    host.close();
  }
}
