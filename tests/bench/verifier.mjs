// Measures the verifier for browsers and Node.js, each figure beside its reference in the same run: `make bench`.
//
// Figures are medians of interleaved runs, as machines are shared and noisy: read the ratios.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { createBLAKE3 } from "hash-wasm";
import { G1, STATEMENT_DST, sum } from "../independent/bls.mjs";
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { median, row } from "./figures.mjs";
import { verifying } from "./sample.mjs";

const ROOT = new URL("../../", import.meta.url);
const BENCH = new URL("target/wasm/bench/", ROOT);
const DELIVERED = new URL("verifier-wasm/npm/wasm/vouch_verifier_bg.wasm", ROOT);
const SIZES = [4, 100, 1000];
const RUNS = 5;
const VERIFICATIONS = 25;
const MOST_KILOBYTES = 100;
const CHAIN = new URL("target/bench/chain.vouch", ROOT);
// An hour after the chain's certificate was issued.
const CHAIN_TIME = 1_790_003_600;
const CHAIN_RUNS = 3;

/** Milliseconds. */
function timed(work) {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** The times of each work, interleaved, so that other load on the machine affects all alike. */
function interleaved(rounds, works) {
  const times = works.map(() => []);
  for (const work of works) work(); // warm
  for (let round = 0; round < rounds; round++) works.forEach((work, i) => times[i].push(timed(work)));
  return times;
}

async function loadModule() {
  const { status } = spawnSync(fileURLToPath(new URL("verifier-wasm/build.sh", ROOT)), ["--bench"], { stdio: "inherit" });
  if (status !== 0) throw new Error("the module for measurements could not be built");
  const wasm = await import(new URL("vouch_verifier.js", BENCH));
  wasm.initSync({ module: readFileSync(new URL("vouch_verifier_bg.wasm", BENCH)) });
  return wasm;
}

const bls = bls12_381.longSignatures;

// noble-curves without caches: hashing to the curve included, as for blst.
function nobleVerify(sample, key) {
  const signature = bls.Signature.fromBytes(sample.signature());
  signature.assertValidity();
  return bls.verify(signature, bls.hash(sample.statement(), STATEMENT_DST), key);
}

function nobleKeys(sample) {
  const bytes = sample.signers();
  return Array.from({ length: bytes.length / 48 }, (_, i) => bls12_381.G1.Point.fromBytes(bytes.subarray(48 * i, 48 * i + 48)));
}

function check(condition, what) {
  if (!condition) throw new Error(`${what} was not accepted`);
}

/** One certificate, the committee loaded: ours, bare blst in the same module, noble-curves. Milliseconds of each round. */
export function benchVerify(wasm, n) {
  const sample = new wasm.Sample(n);
  const isValid = verifying(wasm, sample);
  const ours = () => check(isValid(), "our certificate");
  const bare = () => check(sample.bareVerify(), "blst's signature");
  const opening = timed(ours);

  const keys = nobleKeys(sample);
  const key = sum(G1, keys);
  const nobleCached = () => check(nobleVerify(sample, key), "noble's signature");
  const nobleUncached = () => check(nobleVerify(sample, sum(G1, keys)), "noble's signature");

  const [verify, blst, cached, uncached] = interleaved(VERIFICATIONS, [ours, bare, nobleCached, nobleUncached]);
  return { verify, blst, cached, uncached, opening };
}

/** The first certificate after a thousand handoffs, whose bundle the native measurement left: ours, and blst's bare work. Milliseconds. */
function benchChain(wasm) {
  if (!existsSync(CHAIN)) return console.log("a chain of committees: run `cargo bench --bench native -- chain` first, which leaves one");
  const text = readFileSync(CHAIN, "utf8");
  const bytes = new TextEncoder().encode(text);
  const bare = new wasm.BareChain(text);
  const { cluster } = JSON.parse(wasm.inspect(bytes));
  let verifier;
  const judge = () => {
    const judgement = verifier.judge(bytes, cluster, CHAIN_TIME, false, undefined, false);
    check(judgement.isGenuine(), "the chain");
    judgement.free();
  };
  const first = () => {
    verifier?.free();
    verifier = new wasm.Verifier();
    judge();
  };
  const [whole, blst, later] = interleaved(CHAIN_RUNS, [first, () => check(bare.verify(), "blst's chain"), judge]);
  row("first certificate, 1000 handoffs of 7", whole, blst, "ms", "bare blst, same module");
  row("a later one, same verifier", later, whole, "ms", "the first");
}

/** Hashing 64 MiB: ours and hash-wasm's. GiB/s of each round. */
export async function benchHash(wasm) {
  const buffer = new Uint8Array(64 << 20).map((_, i) => i * 31);
  const theirs = await createBLAKE3();
  const pieces = Array.from({ length: 64 }, (_, i) => buffer.subarray(i << 20, (i + 1) << 20));
  let [one, other] = [];
  const times = interleaved(RUNS, [
    () => {
      const hasher = new wasm.Hasher();
      for (const piece of pieces) hasher.update(piece);
      one = Buffer.from(hasher.digest()).toString("hex");
      hasher.free();
    },
    () => {
      theirs.init();
      for (const piece of pieces) theirs.update(piece);
      other = theirs.digest("hex");
    },
  ]);
  check(one === other, "hash-wasm's digest");
  const [ours, hashWasm] = times.map((milliseconds) => milliseconds.map((time) => buffer.length / 2 ** 30 / (time / 1000)));
  return { ours, hashWasm };
}

/** The module that browsers load, gzipped. */
export const gzipSize = () => gzipSync(readFileSync(DELIVERED), { level: 9 }).length;

async function main() {
  const wasm = await loadModule();
  console.log(`WebAssembly in Node.js ${process.versions.node}, medians of ${VERIFICATIONS} interleaved verifications and ${RUNS} runs of hashing\n`);
  for (const n of SIZES) {
    const { verify, blst, cached, uncached, opening } = benchVerify(wasm, n);
    const what = `verify, n = ${n}, quorum signs`;
    row(what, verify, blst, "ms", "bare blst verify, same module");
    row(what, verify, cached, "ms", "noble-curves, keys' sum cached");
    row(what, verify, uncached, "ms", "noble-curves, keys added up");
    row(`first certificate, n = ${n}, opens the committee`, [opening], [median(verify)], "ms", "a later one");
  }
  benchChain(wasm);
  const { ours, hashWasm } = await benchHash(wasm);
  row("hash, 64 MiB", ours, hashWasm, "GiB/s", "hash-wasm");
  row("download, gzip", [gzipSize() / 1024], [MOST_KILOBYTES], "KB", "the limit");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
