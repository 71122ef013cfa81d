// Measures what browsers do, in Chromium, each figure beside its reference in the same run: `make bench`.
import { once } from "node:events";
import { createServer } from "node:http";
import { createWriteStream } from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { close, launch } from "../browser/support/chromium.mjs";
import { PROGRAM, startCluster } from "../browser/support/cluster.mjs";
import { listen, serveFolder } from "../browser/support/static_host.mjs";
import { median, row } from "./figures.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const RUNS = 5;
const VERIFICATIONS = 25;
const PUT_MEBIBYTES = 256;

/** A page without a content security policy, which may load any file of the repository. */
async function bareHost() {
  const serve = serveFolder(ROOT);
  return listen(createServer((request, response) => {
    if (request.url !== "/") return serve(request, response);
    response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>bench</title>");
  }));
}

// Runs in the page.
async function verifyInPage({ n, rounds }) {
  const wasm = await import("/target/wasm/bench/vouch_verifier.js");
  await wasm.default();
  const { verifying } = await import("/tests/bench/sample.mjs");
  const sample = new wasm.Sample(n);
  const works = [verifying(wasm, sample), () => sample.bareVerify()];
  const times = works.map(() => []);
  for (const work of works) work(); // warm up and open the committee
  for (let round = 0; round < rounds; round++) {
    works.forEach((work, i) => {
      const start = performance.now();
      if (!work()) throw new Error("a good certificate was not accepted");
      times[i].push(performance.now() - start);
    });
  }
  return times;
}

// Runs in the page. GiB/s of each round.
async function hashInPage({ mebibytes, rounds }) {
  const { createHasher } = await import("/verifier-wasm/npm/browser.js");
  const script = document.createElement("script");
  const loaded = new Promise((resolve) => (script.onload = resolve));
  script.src = "/tests/node_modules/hash-wasm/dist/blake3.umd.min.js";
  document.head.append(script);
  await loaded;
  const theirs = await globalThis.hashwasm.createBLAKE3();
  const piece = new Uint8Array(1 << 20).map((_, i) => i * 31);
  const speeds = [[], []];
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    const hasher = await createHasher();
    for (let i = 0; i < mebibytes; i++) hasher.update(piece);
    const one = hasher.digest("hex");
    hasher.free();
    const middle = performance.now();
    theirs.init();
    for (let i = 0; i < mebibytes; i++) theirs.update(piece);
    const other = theirs.digest("hex");
    const end = performance.now();
    if (one !== other) throw new Error("the digests differ");
    if (round === 0) continue; // warm
    for (const [i, time] of [middle - start, end - middle].entries()) speeds[i].push(mebibytes / 1024 / (time / 1000));
  }
  return speeds;
}

async function benchModules(browser) {
  const host = await bareHost();
  const page = await browser.newPage();
  await page.goto(host.url);
  for (const n of [4, 100, 1000]) {
    const [ours, bare] = await page.evaluate(verifyInPage, { n, rounds: VERIFICATIONS });
    row(`verify in Chromium, n = ${n}`, ours, bare, "ms", "bare blst verify, same module");
  }
  const [ours, theirs] = await page.evaluate(hashInPage, { mebibytes: 64, rounds: RUNS });
  row("hash in Chromium, 64 MiB", ours, theirs, "GiB/s", "hash-wasm");
  await page.close();
  host.close();
}

/** A file whose bytes differ in every run. */
async function writeNoise(path, mebibytes, seed) {
  const stream = createWriteStream(path);
  const words = new Uint32Array(1 << 18);
  let state = seed;
  for (let i = 0; i < mebibytes; i++) {
    for (let at = 0; at < words.length; at++) words[at] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    if (!stream.write(Buffer.from(words.slice().buffer))) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "finish");
}

/** Seconds from the choice of the file to the verdict on its certificate; each in a new context with an empty cache. */
async function putThroughPage(browser, cluster, identity, path) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(300_000);
  await page.goto(`${cluster.url}#cluster=${identity}`);
  await page.locator("html[data-ready]").waitFor();
  const start = performance.now();
  await page.getByLabel("Choose files to certify").setInputFiles(path);
  await page.locator("#certify .verdict[data-state=valid]").waitFor();
  const time = (performance.now() - start) / 1000;
  await context.close();
  return time;
}

function putByCommand(cluster, identity, path) {
  const start = performance.now();
  const { status, stderr } = spawnSync(PROGRAM, ["put", path, "--server", cluster.address, "--cluster", identity], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return (performance.now() - start) / 1000;
}

async function benchPut(browser) {
  const cluster = await startCluster();
  const identity = await cluster.identity();
  const [page, command] = [[], []];
  const path = join(cluster.folder, "noise");
  for (let run = 0; run <= RUNS; run++) {
    await writeNoise(path, PUT_MEBIBYTES, 2 * run + 1);
    const throughPage = await putThroughPage(browser, cluster, identity, path);
    await writeNoise(path, PUT_MEBIBYTES, 2 * run + 2);
    const byCommand = putByCommand(cluster, identity, path);
    if (run === 0) continue; // warm
    page.push(throughPage);
    command.push(byCommand);
  }
  row(`put ${PUT_MEBIBYTES} MiB through the page`, page, command, "s", "vouch put");
  await benchLoad(browser, cluster, identity);
  await cluster.stop();
}

/** Network traffic until the page is ready, and from there until the first certificate, in kilobytes with headers. */
async function benchLoad(browser, cluster, identity) {
  const context = await browser.newContext();
  const page = await context.newPage();
  let bytes = 0;
  context.on("requestfinished", async (request) => {
    const { responseBodySize, responseHeadersSize } = await request.sizes().catch(() => ({ responseBodySize: 0, responseHeadersSize: 0 }));
    bytes += responseBodySize + responseHeadersSize;
  });
  await page.goto(`${cluster.url}#cluster=${identity}`);
  await page.locator("html[data-ready]").waitFor();
  await page.waitForLoadState("networkidle");
  const first = bytes / 1024;
  await page.getByLabel("Choose files to certify").setInputFiles({ name: "note.txt", mimeType: "text/plain", buffer: Buffer.from("a note") });
  await page.locator("#certify .verdict[data-state=valid]").waitFor();
  await page.waitForLoadState("networkidle");
  console.log(`${"first load of the page".padEnd(46)} ${first.toFixed(1).padStart(9)} KB; ${((bytes / 1024) - first).toFixed(1)} KB more until the first certificate`);
  await context.close();
}

const browser = await launch();
console.log(`Chromium ${browser.version()}, medians of ${VERIFICATIONS} verifications and ${RUNS} runs, interleaved\n`);
await benchModules(browser);
await benchPut(browser);
await close();
