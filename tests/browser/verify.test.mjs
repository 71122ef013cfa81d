// Verifying in the page and in verify.html without a network, and everything that must not verify.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { pathToFileURL } from "node:url";
import { browserTest } from "./support/browser.mjs";
import { altered, bundleFor, certificateOf, certifiedLongAgo } from "./support/bundles.mjs";
import { runProgram, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { IDENTITY, OTHER_IDENTITY, honest } from "./support/lying_server.mjs";
import { address, assertInvalid, assertValid, clear, fileNamed, judge, openPage, ready, saveTo, showTab, verdictOf, verify } from "./support/page.mjs";
import { PAGE } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";
import { toBase58 } from "../independent/text.mjs";

const HTML = pathToFileURL(join(PAGE, "verify.html")).href;
const BYTES = Buffer.from("The very bytes that were certified.\n");
const FILE = fileNamed("report.pdf", BYTES);
const folder = temporaryFolder();

let cluster;
let identity;
let trusted;
let bundle; // of FILE, by the cluster's replicas
let another; // of another file
before(async () => {
  cluster = await startCluster();
  identity = await cluster.identity();
  trusted = address(cluster.url, { cluster: identity });
  const put = (name, bytes) => {
    writeFileSync(join(folder, name), bytes);
    const { status, stderr } = runProgram(folder, "put", name, "--server", cluster.address, "--cluster", identity);
    assert.equal(status, 0, stderr);
    return readFileSync(join(folder, `${name}.vouch`), "utf8");
  };
  bundle = put("report.pdf", BYTES);
  another = put("another.pdf", Buffer.from("Other bytes.\n"));
});
after(() => cluster?.stop());

const vouch = (text, name = "report.pdf.vouch") => fileNamed(name, text);

// The page was open when the network was lost.
async function openOffline(open, url = trusted) {
  const page = await openPage(open, url, { allow: [/ERR_INTERNET_DISCONNECTED/] });
  await showTab(page, "Verify");
  await page.context().setOffline(true);
  return page;
}

browserTest("offline, the file and its bundle are verified in either order, and together", async (open) => {
  const page = await openOffline(open);
  for (const steps of [[[FILE, vouch(bundle)]], [FILE, vouch(bundle)], [vouch(bundle), FILE], [[vouch(bundle), FILE]]]) {
    const verdict = await verify(page, ...steps);
    assertValid(verdict);
    assert.equal(verdict.facts.cluster, identity);
    for (const { name } of cluster.replicas) assert.ok(verdict.text.includes(name), verdict.text);
    await clear(page);
  }
});

browserTest("offline, a certificate of epoch 0 is verified after the cluster reached epoch 12", async (open) => {
  const { bytes, bundle: old, identity: other } = certifiedLongAgo();
  const page = await openOffline(open, address(cluster.url, { cluster: other }));
  const { state, outcomes, text } = await judge(page, [fileNamed("old.pdf", bytes), vouch(old)]);
  assert.deepEqual([state, outcomes.chain, outcomes.closing, outcomes.seal], ["valid", "passed", "passed", "waived"], text);
  const line = page.locator("#verify .epochs");
  assert.deepEqual(await line.locator("[data-epoch]").evaluateAll((all) => all.map(({ dataset }) => dataset.epoch)), ["0", "1", "2", "11", "12"]);
  assert.match(await line.locator("[aria-current=step]").innerText(), /^Founding\s+1 replica[^]*closed[^]*this certificate/);
  assert.match(await line.locator("[data-epoch='1']").innerText(), /joined:\s+replica-\d, replica-\d, replica-\d/);
  // Another cluster's chain is not followed.
  const json = JSON.parse(old);
  json.epochs.splice(3, 1);
  assertInvalid(await judge(page, [fileNamed("old.pdf", bytes), vouch(JSON.stringify(json))]), "chain");
});

browserTest("verify.html, opened as a file without a network, accepts and refuses", async (open) => {
  const page = await openPage(open, address(HTML, { cluster: identity }), { offline: true });
  const requests = [];
  page.context().on("request", (request) => !/^(file|blob|data):/.test(request.url()) && requests.push(request.url()));
  await page.reload();
  await ready(page);
  assertValid(await verify(page, [FILE, vouch(bundle)]));
  const flipped = Buffer.from(BYTES);
  flipped[7] ^= 1;
  assertInvalid(await verify(page, [fileNamed("report.pdf", flipped), vouch(bundle)]), "digest");
  assert.deepEqual(requests, []);
});

browserTest("the saved verify.html is the same as the one on the host", async (open) => {
  const page = await openPage(open, trusted);
  const trust = page.locator("#trust");
  if (!(await trust.getByRole("link", { name: "Save verify.html" }).isVisible())) await trust.getByRole("button", { name: "Trust", exact: false }).first().click();
  const saved = await saveTo(folder, page, trust.getByRole("link", { name: "Save verify.html" }));
  assert.deepEqual(readFileSync(saved), readFileSync(join(PAGE, "verify.html")));
});

const sha256 = (name) => createHash("sha256").update(readFileSync(join(PAGE, name))).digest("hex");

/** The hashes of modules that a page shows, by name. */
async function shownModules(page) {
  await page.getByText("The verifier that this page runs").click();
  await page.locator(".modules[data-known]").waitFor();
  const rows = await page.locator(".modules [data-fact]").all();
  return Object.fromEntries(await Promise.all(rows.map(async (row) => [await row.getAttribute("data-fact"), (await row.locator("dd").innerText()).trim()])));
}

const MODULES = ["vouch_verifier_bg.wasm", "vouch_client_bg.wasm"];
const built = () => Object.fromEntries(MODULES.map((name) => [name, sha256(`vouch-verifier/wasm/${name}`)]));

browserTest("the page and verify.html show the hashes of the modules that they compiled, and whom to believe", async (open) => {
  const page = await openPage(open, trusted);
  assert.deepEqual(await shownModules(page), built());
  assert.match(await page.locator(".verifier").innerText(), /make verifier-hash[^]*A dishonest server could show anything/);
  const saved = await openPage(open, address(HTML), { offline: true });
  assert.deepEqual(await shownModules(saved), built());
  assert.match(await saved.locator(".verifier").innerText(), /sha256sum verify\.html/);
});

browserTest("the hash is of the bytes that a worker got, not of what a further request gets", async (open) => {
  const page = await open();
  const altered = Buffer.concat([readFileSync(join(PAGE, "vouch-verifier/wasm/vouch_verifier_bg.wasm")), Buffer.from([0, 2, 1, 0x61])]);
  // A custom section at the end: another module that does the same. It is served until the page is ready.
  let isAltered = true;
  await page.context().route("**/vouch_verifier_bg.wasm", (route) => (isAltered ? route.fulfill({ body: altered, contentType: "application/wasm" }) : route.continue()));
  await page.goto(trusted);
  await ready(page);
  isAltered = false;
  const shown = await shownModules(page);
  assert.equal(shown["vouch_verifier_bg.wasm"], createHash("sha256").update(altered).digest("hex"));
});

const flip = (bytes, at) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
const now = () => Math.floor(Date.now() / 1000);

// Name of the change, the check that must fail, the file's bytes, the bundle's text.
const TAMPERED = [
  ["a flipped bit of the file", "digest", () => [flip(BYTES, 0), bundle]],
  ["a file without its last byte", "digest", () => [BYTES.subarray(0, -1), bundle]],
  ["a file with a byte more", "digest", () => [Buffer.concat([BYTES, Buffer.from("\n")]), bundle]],
  ["an empty file", "digest", () => [Buffer.alloc(0), bundle]],
  ["the bundle of another file", "digest", () => [BYTES, another]],
  ["a flipped bit of the signature", "signature", () => [BYTES, altered(bundle, ({ signature }) => ({ signature: flip(Buffer.from(signature), 95) }))]],
  ["another certificate's signature", "signature", () => [BYTES, altered(bundle, () => ({ signature: certificateOf(another).signature }))]],
  ["another signer", "signature", () => [BYTES, altered(bundle, ({ signers }) => ({ signers: signers.length === 4 ? [0, 1, 2] : [0, 1, 2, 3] }))]],
  ["too few signers", "signers", () => [BYTES, altered(bundle, () => ({ signers: [0, 1] }))]],
  ["another digest", "signature", () => [BYTES, altered(bundle, () => ({ receipt: { digest: certificateOf(another).receipt.digest } }))]],
  ["the certificate bent to another file", "signature", () => [Buffer.from("Other bytes.\n"), altered(bundle, () => ({ receipt: { digest: certificateOf(another).receipt.digest, length: 13 } }))]],
  ["another length", "signature", () => [BYTES, altered(bundle, ({ receipt }) => ({ receipt: { length: receipt.length + 1 } }))]],
  ["a time in the future", "signature", () => [BYTES, altered(bundle, () => ({ issuedAt: now() + 3600 }))]],
  ["an earlier time", "signature", () => [BYTES, altered(bundle, ({ issuedAt }) => ({ issuedAt: issuedAt - 1 }))]],
  ["a duty that ended", "signature", () => [BYTES, altered(bundle, () => ({ receipt: { expiresAt: now() - 10 } }))]],
  ["a flipped bit of file and signature", "signature", () => [flip(BYTES, 0), altered(bundle, ({ signature }) => ({ signature: flip(Buffer.from(signature), 95) }))]],
  ["a bundle of another cluster", "identity", () => [BYTES, bundleFor(BYTES)]],
  ["another committee than the certificate's", "epoch", () => [BYTES, altered(bundle, () => ({ committee: honest.digest }))]],
  ["another member's proof of possession", "possession", () => {
    const json = JSON.parse(bundle);
    json.genesis.pops[0] = json.genesis.pops[1];
    return [BYTES, JSON.stringify(json)];
  }],
  ["a truncated certificate", "certificate", () => [BYTES, bundle.replace(/("certificate":\s*"[^"]*)[^"]{4}"/, '$1"')]],
  ["a repeated key", "bundle", () => [BYTES, bundle.replace("{", '{"version":1,')]],
  ["an unknown key", "bundle", () => [BYTES, bundle.replace("{", '{"<img src=x onerror=alert(1)>":1,')]],
  ["no JSON", "bundle", () => [BYTES, `${bundle}}`]],
  ["an empty bundle", "bundle", () => [BYTES, ""]],
];

browserTest("each tampered case is INVALID by its check, with expected and got", async (open, t) => {
  const page = await openOffline(open);
  for (const [name, check, make] of TAMPERED) {
    const [file, text] = make();
    try {
      assertInvalid(await judge(page, [fileNamed("report.pdf", file), vouch(text)]), check);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`, { cause: error });
    }
    assert.equal(await page.locator("#verify img").count(), 0, name);
  }
  // Control: the page does accept the unchanged file.
  assertValid(await judge(page, [FILE, vouch(bundle)]));
  t.diagnostic(`${TAMPERED.length} cases`);
});

const EXPIRED = () => bundleFor(BYTES, { issuedAt: now() - 3600, expiresAt: now() - 60 });

browserTest("an expired certificate can be verified as of an earlier time", async (open) => {
  const page = await openOffline(open, address(cluster.url, { cluster: IDENTITY }));
  const expired = await judge(page, [FILE, vouch(EXPIRED())]);
  assertInvalid(expired, "expiry");
  assert.match(expired.expected, /^later than \d+ [A-Z][a-z]+ \d{4} at [\d:]+ UTC$/);
  assert.match(expired.got, /^\d+ [A-Z][a-z]+ \d{4} at [\d:]+ UTC \(expired\)$/);
  await page.getByRole("button", { name: "Judge as if it had not expired" }).click();
  const verdict = await until("it is judged again", async () => {
    const now = await verdictOf(page.locator("#verify"));
    return now.state === "valid" && now;
  });
  assert.equal(verdict.outcomes.expiry, "waived");
  assert.equal(verdict.outcomes.signature, "passed");
  // Another file is a new question: the waiver does not apply to it.
  assertInvalid(await judge(page, [FILE, vouch(EXPIRED())]), "expiry");
});

browserTest("CANNOT CHECK: no identity, an unknown version, a later epoch", async (open) => {
  const assertCannot = ({ state, check, heading, text }, expected) => {
    assert.deepEqual({ state, check }, { state: "cannot-check", check: expected }, text);
    assert.match(heading, /^CANNOT CHECK\b/);
    assert.doesNotMatch(text, /\bVALID\b/);
  };
  const nobody = await openPage(open, HTML, { offline: true });
  assertCannot(await verify(nobody, [FILE, vouch(bundle)]), "identity");

  const page = await openOffline(open);
  assertCannot(await judge(page, [FILE, vouch(JSON.stringify({ ...JSON.parse(bundle), version: 2 }))]), "bundle");
  assertCannot(await judge(page, [FILE, vouch(altered(bundle, () => ({ epoch: 1 })))]), "epoch");
});

browserTest("a bundle alone shows its contents and claims nothing about a file", async (open) => {
  const page = await openOffline(open);
  const verdict = await judge(page, [vouch(bundle)]);
  assert.deepEqual({ state: verdict.state, check: verdict.check }, { state: "cannot-check", check: "digest" });
  assert.equal(verdict.facts.digest ?? verdict.facts["digest-base58"], await digestOf(bundle, verdict));
  assert.doesNotMatch(verdict.heading, /\bVALID\b/);
  // A forged bundle is detected without the file.
  assertInvalidAlone(await judge(page, [vouch(altered(bundle, () => ({ signature: certificateOf(another).signature })))]), "signature");
  assertInvalidAlone(await judge(page, [vouch(bundleFor(BYTES))]), "identity");
});

async function digestOf(text, { facts }) {
  const { digest } = certificateOf(text).receipt;
  return facts.digest?.length === 64 ? Buffer.from(digest).toString("hex") : toBase58(digest);
}

function assertInvalidAlone({ state, check, text }, expected) {
  assert.deepEqual({ state, check }, { state: "invalid", check: expected }, text);
}

browserTest("a file alone gets no verdict, and two bundles differ from none", async (open) => {
  const page = await openOffline(open);
  const state = () => page.locator("#verify").getAttribute("data-state");
  await page.getByLabel("Choose a file and its .vouch").setInputFiles(FILE);
  await until("a bundle is asked for", async () => (await state()) === "needs-bundle");
  assert.equal(await page.locator("#verify .verdict").count(), 0);
  await page.locator("#verify [data-slot=file]").getByRole("button", { name: "Remove report.pdf" }).click();

  for (const [files, notice] of [
    [[vouch(bundle, "a.vouch"), vouch(another, "b.vouch")], "both"],
    [[fileNamed("a.txt", "a"), fileNamed("b.txt", "b")], "neither"],
    [[FILE, vouch(bundle), fileNamed("c.txt", "c")], "too-many"],
  ]) {
    await page.getByLabel("Choose a file and its .vouch").setInputFiles(files);
    await page.locator(`#verify .notice[data-notice=${notice}]`).waitFor();
    assert.equal(await page.locator("#verify .verdict").count(), 0, notice);
  }
});

browserTest("a file that is itself a bundle can be the certified file", async (open) => {
  const page = await openOffline(open, address(cluster.url, { cluster: IDENTITY }));
  const inner = Buffer.from(bundle);
  assertValid(await judge(page, [fileNamed("report.pdf.vouch", inner), vouch(bundleFor(inner), "report.pdf.vouch.vouch")]));
});

browserTest("the identity of another cluster makes a good bundle INVALID", async (open) => {
  const page = await openOffline(open, address(cluster.url, { cluster: OTHER_IDENTITY }));
  const verdict = await judge(page, [FILE, vouch(bundle)]);
  assertInvalid(verdict, "identity");
  assert.ok(verdict.expected.includes(OTHER_IDENTITY), verdict.expected);
  assert.ok(verdict.got.includes(identity), verdict.got);
});
