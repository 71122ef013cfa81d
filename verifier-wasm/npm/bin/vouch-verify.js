#!/usr/bin/env node
// Checks one file against one bundle. Opens no socket. Exit code 1 means only INVALID: every error is 2.
import { open, readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { layout, layoutOfLog, printable } from "./layout.js";
import { withProgress } from "./progress.js";

const HELP = `Check that a file is the one that a cluster certified. Works offline.

Usage: vouch-verify FILE BUNDLE --cluster IDENTITY [options]
       vouch-verify --digest DIGEST BUNDLE --cluster IDENTITY [options]
       vouch-verify --op OP BUNDLE --cluster IDENTITY [options]
       vouch-verify [--height HEIGHT] BUNDLE --cluster IDENTITY [options]

  FILE                the file; - for standard input
  BUNDLE              its certificate with what is needed to check it, usually FILE.vouch; or, without a file, the bundle
                      of a log head or of a block of the log

  --digest DIGEST     check that the bundle certifies this digest (base58 or hex) instead of a file
  --op OP             check that the cluster's log has this op (base58 or hex; any: whichever op the bundle is of)
  --height HEIGHT     check that the bundle is of the block of this height; or, of a log head, that the log has this height
  --cluster IDENTITY  the cluster that you trust: base58, or 64 hexadecimal digits. Have it from its operators or
                      from your own records, not from a server and not from the bundle
  --checkpoint EPOCH:DIGEST
                      a committee of the cluster that you trust as well, from the same source
  --require-sealed    accept only a certificate that is sealed under the checkpoint
  --now SECONDS       judge as of this time, in whole seconds since 1970, 0 to 9007199254740991 [default: the clock]
  --waive-expiry      accept an expired certificate: replicas need no longer keep the file
  --json              print the report as JSON, and an error as JSON with its text in "error"
  --help              print this
  --version           print the version

Exit codes: 0 valid, 1 invalid, 2 could not check
`;

// One byte above the size limit of a bundle: enough to see that it is too long.
const ENOUGH = (8 << 20) + 1;

const REASONS = { ENOENT: "there is no such file", EACCES: "permission denied", EPERM: "permission denied", EISDIR: "it is a folder" };
const HIGH_WATER = 1 << 20;

// An error because of which no verdict is possible.
class CannotCheck extends Error {}
const usage = (message) => new CannotCheck(`${message}; vouch-verify --help tells more`);
const unreadable = (name, error) => new CannotCheck(`cannot read ${name}: ${REASONS[error.code] ?? error.message}`);

function parse(args) {
  const flag = { type: "boolean", default: false };
  const options = { cluster: { type: "string" }, checkpoint: { type: "string" }, "require-sealed": flag, digest: { type: "string" }, op: { type: "string" }, height: { type: "string" }, now: { type: "string" }, "waive-expiry": flag, json: flag, help: flag, version: flag };
  let parsed;
  try {
    parsed = parseArgs({ args, options, allowPositionals: true, strict: true, tokens: true });
  } catch (error) {
    throw usage(error.message.split(". ")[0]);
  }
  // Refuse repeated options: with two identities, their order would decide which one is trusted.
  const seen = new Set();
  for (const { kind, name } of parsed.tokens) {
    if (kind !== "option") continue;
    if (seen.has(name)) throw usage(`--${name} cannot be used multiple times`);
    seen.add(name);
  }
  return parsed;
}

function whole(name, text, least, what) {
  if (text === undefined) return undefined;
  // The comparison is exact: 2^53 is not rounded into the range.
  const isInRange = /^[0-9]+$/.test(text) && BigInt(text) >= BigInt(least) && BigInt(text) <= BigInt(Number.MAX_SAFE_INTEGER);
  if (!isInRange) throw usage(`--${name}: expected ${what}, ${least} to ${Number.MAX_SAFE_INTEGER}, got ${JSON.stringify(text)}`);
  return Number(text);
}

const secondsOf = (text) => whole("now", text, 0, "whole seconds since 1970");

async function opened(name) {
  try {
    const handle = await open(name);
    if ((await handle.stat()).isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
    return handle;
  } catch (error) {
    throw unreadable(name, error);
  }
}

async function* chunksOf(name, stream) {
  try {
    yield* stream;
  } catch (error) {
    throw unreadable(name, error);
  }
}

async function readBundle(name) {
  const handle = await opened(name);
  const chunks = [];
  let length = 0;
  for await (const chunk of chunksOf(name, handle.createReadStream({ highWaterMark: HIGH_WATER }))) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= ENOUGH) break;
  }
  return Buffer.concat(chunks).subarray(0, ENOUGH);
}

async function readFileOrInput(name) {
  if (name === "-") return withProgress(chunksOf("standard input", process.stdin), 0);
  const handle = await opened(name);
  const { size } = await handle.stat();
  return withProgress(chunksOf(name, handle.createReadStream({ highWaterMark: HIGH_WATER })), size);
}

// Imported dynamically: with a static import, a failure to load would end with exit code 1.
async function loadVerifier() {
  try {
    const verifier = await import("../node.js");
    await verifier.init();
    return verifier;
  } catch (error) {
    throw new CannotCheck(`the verifier is not complete (${error.code ?? error.message}); install it again, or run make build in a copy of the sources`);
  }
}

// Options that mean something for the bundle of a file alone.
const OF_FILES = ["waive-expiry", "require-sealed"];
const trusted = ({ cluster, checkpoint }) => ({ cluster, checkpoint });

async function judge(names, values) {
  const { digest, op } = values;
  const got = names.map((name) => JSON.stringify(name)).join(", ");
  if (op === undefined && digest !== undefined && names.length !== 1) throw usage(`expected BUNDLE alone with --digest, got ${got || "no bundle"}`);
  if (op !== undefined) return judgeOp(names, values);
  if (digest === undefined && names.length === 1) return judgeAlone(names[0], values);
  if (values.height !== undefined) throw usage("--height cannot be used with FILE or --digest");
  if (digest === undefined && names.length !== 2) throw usage(`expected FILE and BUNDLE, got ${got || "neither"}`);
  const now = secondsOf(values.now);
  const { verify } = await loadVerifier();
  const subject = digest === undefined ? { file: await readFileOrInput(names[0]) } : { digest };
  const bundle = await readBundle(names.at(-1));
  const report = await refusing(() => verify({ ...subject, bundle, ...trusted(values), requireSealed: values["require-sealed"], now, waiveExpiry: values["waive-expiry"] }));
  return { report };
}

async function judgeOp(names, { op, digest, height, now, ...values }) {
  if (names.length !== 1) throw usage(`expected BUNDLE alone with --op, got ${names.map((name) => JSON.stringify(name)).join(", ") || "no bundle"}`);
  const other = [digest !== undefined && "digest", height !== undefined && "height", ...OF_FILES.filter((name) => values[name])].find(Boolean);
  if (other) throw usage(`--op cannot be used with --${other}`);
  const seconds = secondsOf(now);
  const { verifyOp } = await loadVerifier();
  const bundle = await readBundle(names[0]);
  return { of: "op", report: await refusing(() => verifyOp({ bundle, ...trusted(values), now: seconds, op: op === "any" ? undefined : op })) };
}

// Errors of arguments are errors of usage.
async function refusing(judged) {
  try {
    return await judged();
  } catch (error) {
    throw error instanceof TypeError || error instanceof RangeError ? usage(`--${error.message}`) : error;
  }
}

const OF_TYPES = { "application/vnd.vouch.log-head+json": "head", "application/vnd.vouch.log-block+json": "block" };

// The type that a bundle claims; the verifier reads it again, strictly.
function claimedType(bundle) {
  try {
    return JSON.parse(bundle)?.type;
  } catch {
    return undefined;
  }
}

// A bundle alone: that of a log head or of a block. Its type says of which.
async function judgeAlone(name, { height, now, ...values }) {
  const seconds = secondsOf(now);
  const wanted = whole("height", height, 1, "a height");
  const bundle = await readBundle(name);
  const type = claimedType(bundle);
  if (type === "application/vnd.vouch.op-proof+json") throw usage(`${name} is the bundle of an op: name the op that you ask for with --op OP, or --op any`);
  const of = OF_TYPES[type];
  if (of === undefined) throw usage(`expected FILE and BUNDLE, or the bundle of a log head or of a block, got ${JSON.stringify(name)} alone`);
  for (const other of OF_FILES) if (values[other]) throw usage(`--${other} is for the bundle of a file`);
  const { verifyHead, verifyBlock } = await loadVerifier();
  const verifyOfLog = of === "head" ? verifyHead : verifyBlock;
  return { of, report: await refusing(() => verifyOfLog({ bundle, ...trusted(values), now: seconds, height: wanted })) };
}

const EXIT_CODES = { valid: 0, invalid: 1, "cannot-check": 2 };
const ASK_FOR_IDENTITY = "Give --cluster IDENTITY: get it from the cluster's operators or from your own records, not from a server.\n";

async function main() {
  const { positionals, values } = parse(process.argv.slice(2));
  if (values.help) return process.stdout.write(HELP);
  if (values.version) return process.stdout.write(`vouch-verify ${JSON.parse(await readFile(new URL("../package.json", import.meta.url))).version}\n`);
  process.exitCode = 2;
  const { of, report } = await judge(positionals, values);
  const shown = () => (of === undefined ? layout(values.digest === undefined ? positionals[0] : "digest", report) : layoutOfLog(of, report));
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : shown());
  if (report.check === "identity" && report.verdict === "cannot-check") process.stderr.write(ASK_FOR_IDENTITY);
  process.exitCode = EXIT_CODES[report.verdict];
}

function fail(error) {
  process.exitCode = 2;
  const reason = error instanceof CannotCheck ? error.message : error.stack;
  const message = `CANNOT CHECK: ${reason}`;
  if (process.argv.includes("--json")) {
    const [genuine, matches, in_force] = new Array(3).fill({ answer: "not-answered", reason });
    const report = { verdict: "cannot-check", check: null, expected: null, got: null, times: null, message, genuine, matches, in_force, checks: [] };
    process.stdout.write(`${JSON.stringify({ ...report, error: message })}\n`);
  }
  process.stderr.write(`${error instanceof CannotCheck ? printable(message) : message}\n`);
}

// If the output cannot be written (a full disk, a closed pipe), the exit code must not be 0.
process.stdout.on("error", (error) => {
  process.stderr.write(`vouch-verify: cannot write to standard output: ${error.message}\n`);
  process.exit(process.exitCode || 2);
});
process.on("uncaughtException", (error) => {
  fail(error);
  process.exit(2);
});
await main().catch(fail);
