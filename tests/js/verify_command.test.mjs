// The package's command, vouch-verify, as users get it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readVectors } from "../vectors/load.mjs";
import { pathToFileURL } from "node:url";
import { BUNDLE, CLUSTER, DIGEST, FILE, LENGTH, NOW, OP } from "./files.mjs";
import { folder, installed, run, succeed } from "./installed.mjs";

const verifyCommand = join(folder, "node_modules", ".bin", "vouch-verify");
const verify = (args, options) => run(verifyCommand, args, options);
const trusted = ["--cluster", CLUSTER, "--now", `${NOW}`];

test("npx runs the command", () => {
  const { stdout } = succeed("npx", ["--no-install", "vouch-verify", "report.pdf", "report.pdf.vouch", ...trusted]);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.length, 19);
  const questions = ["Is the certificate genuine? yes", "Is this the file? yes", "Is it in force? yes"];
  assert.deepEqual([0, 12, 15].map((at) => lines[at]), questions);
  assert.equal(lines.filter((line) => line.startsWith(" ok  ")).length, 13);
  assert.deepEqual(lines.filter((line) => line.startsWith("n/a ")).map((line) => line.slice(5, 12)), ["closing", "seal   "]);
  assert.equal(lines[4], " ok  identity     the committees are those of the cluster you trust");
  assert.equal(lines[18], `VALID: report.pdf ${DIGEST}, ${LENGTH} bytes, certified 2026-09-21T14:13:20Z by 3 of 4 members of cluster ${CLUSTER}`);
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
  assert.deepEqual([0, 12, 15].map((at) => lines[at]), questions);
  assert.equal(lines[13], "BAD  digest       the file is the certified one, byte for byte");
  assert.equal(lines[14], " -   length       the file has the certified length");
  assert.equal(lines[18], `expected ${DIGEST}`);
  assert.match(lines[19], /^got {6}\w{43,44}$/);
  assert.match(lines[20], /^INVALID: the certificate is genuine, but this is another file \(digest: /);
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

test("a checkpoint is followed, and a seal can be demanded", () => {
  const { cases } = readVectors("epoch_bundles.json");
  const { bundle, cluster, checkpoint, digest, now } = cases.find(({ name }) => name === "sealed");
  writeFileSync(join(folder, "sealed.vouch"), bundle);
  const judged = (...args) => verify(["--digest", digest, "sealed.vouch", "--cluster", cluster, "--now", `${now}`, ...args]);
  const sealed = judged("--checkpoint", checkpoint, "--require-sealed");
  assert.equal(sealed.status, 0, sealed.stderr);
  assert.match(sealed.stdout, /^ ok {2}chain {8}its committee is 2 handoffs before the one of epoch 2, which you pinned$/m);
  assert.match(sealed.stdout, /^ ok {2}seal {9}sealed: /m);
  assert.match(judged().stdout, /^n\/a {2}seal {9}not sealed: it is in a seal, but only /m);
  assert.equal(judged("--require-sealed").status, 2);
  assert.equal(judged("--checkpoint", `2:${digest}`).status, 1);
  assert.equal(judged("--checkpoint", `9:${digest}`).status, 2);
  for (const wrong of ["12", `1.0:${digest}`, "1:abc"]) {
    const { status, stderr } = judged("--checkpoint", wrong);
    assert.equal(status, 2, wrong);
    assert.match(stderr, /--checkpoint: /, wrong);
  }
  assert.match(verify(["--op", "any", "sealed.vouch", "--require-sealed"]).stderr, /--op cannot be used with --require-sealed/);
});

test("--json prints the report", () => {
  const valid = verify(["report.pdf", "report.pdf.vouch", "--json", ...trusted]);
  const report = JSON.parse(valid.stdout);
  assert.deepEqual([valid.status, report.verdict, report.check, report.checks.length], [0, "valid", null, 15]);
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
    [["report.pdf"], /expected FILE and BUNDLE, or the bundle of a log head or of a block, got "report.pdf" alone; .+--help/],
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

test("the command verifies log heads as the library does", () => {
  const by = `certified by 3 of 4 members of cluster ${CLUSTER}`;
  const head = succeed(verifyCommand, ["head.vouch", ...trusted]).stdout;
  assert.match(head, /^Does the log reach this height\? not answered$/m);
  assert.match(head, new RegExp(`^VALID: log head of height 7 of 2026-09-21T14:13:27Z \\(59m 53s ago\\), ${by}$`, "m"));
  assert.equal(JSON.parse(succeed(verifyCommand, ["head.vouch", ...trusted, "--json"]).stdout).head.height, 7);
  assert.match(succeed(verifyCommand, ["--height", "7", "head.vouch", ...trusted]).stdout, /^Does the log reach this height\? yes$/m);
  const old = verify(["--height", "8", "head.vouch", ...trusted]);
  assert.equal(old.status, 1);
  assert.match(old.stdout, /^BAD {2}height/m);
  assert.equal(verify(["head.vouch"]).status, 2);
  const wrong = [["op.vouch"], ["evidence.vouch"], ["report.pdf"], ["report.pdf", "report.pdf.vouch", "--height", "1"], ["head.vouch", "--waive-expiry"], ["head.vouch", "--height", "0"]];
  for (const args of wrong) {
    const { status, stdout, stderr } = verify([...args, ...trusted]);
    assert.deepEqual([status, stdout], [2, ""], args.join(" "));
    assert.match(stderr, /^CANNOT CHECK: /);
  }
});

test("the command verifies blocks as the library does", () => {
  const block = succeed(verifyCommand, ["block.vouch", ...trusted]).stdout;
  assert.match(block, /^Does the log have the block\? yes$/m);
  assert.match(block, /^op {7}\w{43,44}, note "note 4\/0"$/m);
  assert.match(block, new RegExp(`^VALID: block 4 of 2026-09-21T14:13:24Z \\(.+ ago\\), with 5 ops, under log head 7, certified by 3 of 4 members of cluster ${CLUSTER}$`, "m"));
  assert.equal(JSON.parse(succeed(verifyCommand, ["--height", "4", "block.vouch", ...trusted, "--json"]).stdout).block.ops.length, 5);
  const another = verify(["--height", "5", "block.vouch", ...trusted]);
  assert.equal(another.status, 1);
  assert.match(another.stdout, /^INVALID: the certificate is genuine, but this is another block /m);
  assert.equal(verify(["block.vouch", "--waive-expiry", ...trusted]).status, 2);
});
