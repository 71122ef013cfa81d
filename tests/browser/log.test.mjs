// The ordered log in the page: the newest head that a server shows, and bundles of the log on the Verify tab and in verify.html.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { pathToFileURL } from "node:url";
import { utf8 } from "../independent/bytes.mjs";
import { encodeEffect } from "../independent/log.mjs";
import { makeLog } from "../vectors/generator/log_world.mjs";
import { browserTest } from "./support/browser.mjs";
import { runProgram, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { blockBundle, headBundle, logWithNotes, opBundle } from "./support/log_bundles.mjs";
import { IDENTITY, honest, startLyingServer, stranger } from "./support/lying_server.mjs";
import { address, assertInvalidOfLog, assertValidOfLog, clear, fileNamed, give, judge, openPage, showTab, verdictOf } from "./support/page.mjs";
import { PAGE } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";

const HTML = pathToFileURL(join(PAGE, "verify.html")).href;
const folder = temporaryFolder();

let cluster;
let identity;
let server; // lies
before(async () => {
  [cluster, server] = await Promise.all([startCluster(), startLyingServer()]);
  identity = await cluster.identity();
});
after(async () => {
  server?.close();
  await cluster?.stop();
});

function vouch(...args) {
  const { status, stdout, stderr } = runProgram(folder, ...args);
  assert.equal(status, 0, stderr);
  return stdout;
}
const ofCluster = () => ["--server", cluster.address, "--cluster", identity];

/** Posts a note; returns the text of its bundle. */
function postNote(text) {
  vouch("log", "note", text, "-o", "note.vouch", "--force", ...ofCluster());
  return readFileSync(join(folder, "note.vouch"), "utf8");
}

/** What the server panel says about the log. */
async function logOf(page) {
  const fact = page.locator("#server [data-fact=log]");
  return { state: await fact.getAttribute("data-state"), height: await fact.getAttribute("data-height"), text: (await fact.locator("dd").textContent()).trim() };
}

const untilLog = (page, state) =>
  until(`the log is ${state}`, async () => {
    const log = await logOf(page);
    return log.state === state && log;
  });

const openServerPanel = (page) => page.locator("#server [aria-expanded]").click();

browserTest("a log without a head says so, and its first block is shown as soon as there is one; then each newer one", async (open) => {
  const page = await openPage(open, address(cluster.url, { cluster: identity }));
  await openServerPanel(page);
  assert.equal((await logOf(page)).state, "unknown");
  postNote("the first");
  const first = await untilLog(page, "verified");
  const told = JSON.parse(vouch("log", "head", "--json", ...ofCluster()));
  assert.equal(first.height, `${told.height}`);
  assert.match(first.text, new RegExp(`^Block ${told.height} of .+ UTC, .+ ago\\.Verified: [34] of 4 replicas signed it\\.$`));
  postNote("the second");
  await until("the newer block is shown", async () => Number((await logOf(page)).height) > told.height, 40_000);
  assert.equal((await logOf(page)).state, "verified");
});

browserTest("the proof of an op is verified offline by the command line, the page and verify.html alike", async (open) => {
  const text = 'two lines\n<img src=x onerror=alert(1)> \u202ereversed "quoted" \u{1f600}';
  const bundle = postNote(text);
  const proof = fileNamed("note.vouch", bundle);
  const { op } = JSON.parse(vouch("verify", "--op", "any", "note.vouch", "--cluster", identity, "--json"));
  const online = await openPage(open, address(cluster.url, { cluster: identity }), {
    allow: [/ERR_INTERNET_DISCONNECTED/],
    late: "**/vouch_client_bg.wasm",
  });
  await showTab(online, "Verify");
  await online.context().setOffline(true);
  const offline = await openPage(open, address(HTML, { cluster: identity }), { offline: true });
  for (const page of [online, offline]) {
    const verdict = await judge(page, [proof]);
    assertValidOfLog("op", verdict);
    const { facts } = verdict;
    assert.deepEqual([facts.op, facts.submitter, facts.cluster, facts.kind, facts.effect], [op.id, op.submitter, identity, "0, a note", op.effect_text]);
    assert.match(facts.height, new RegExp(`^block ${op.height} of .+ UTC, op ${op.index + 1} of ${op.count}$`));
    assert.match(verdict.text, new RegExp(`It is op ${op.index + 1} of the ${op.count} in block ${op.height} of the log\\.`));
    assert.match(verdict.text, /Does the log have the op\? Yes/);
    // The note is text, and cannot act: no markup, and nothing that reorders what stands around it.
    const note = page.locator("#verify .note");
    assert.equal(await note.textContent(), 'two lines\n<img src=x onerror=alert(1)> \\u{202e}reversed "quoted" \u{1f600}');
    assert.equal(await note.locator("*").count(), 0);
  }
});

const blocks = logWithNotes(honest, ["report.pdf is final", "and published"]);
const last = blocks.length;
const altered = (text, key, change) => {
  const json = JSON.parse(text);
  return JSON.stringify({ ...json, [key]: change(Buffer.from(json[key], "base64url")).toString("base64url") });
};
const flipLast = (bytes) => Buffer.from(bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)));
const op = opBundle(honest, blocks, last, 0);
const head = headBundle(honest, blocks);
const block = blockBundle(honest, blocks, last);

// Name of the change, what the bundle is of, the check that must fail, its text.
const TAMPERED = [
  ["another effect", "op", "result", opBundle(honest, blocks, last, 0, { effect: encodeEffect(utf8("note 9")) })],
  ["another submitter", "op", "result", opBundle(honest, blocks, last, 0, { submitter: honest.members[3].node })],
  ["the path of another op", "op", "result", opBundle(honest, blocks, last, 0, { index: 1 })],
  ["a block that is not in the log", "op", "block", opBundle(honest, blocks, last, 0, { header: blocks[0].header })],
  ["a truncated proof", "op", "proof", altered(op, "proof", (bytes) => bytes.subarray(0, -1))],
  ["an op's bundle of another cluster", "op", "identity", opBundle(stranger, makeLog(stranger), 4, 2)],
  ["a flipped bit of the signature", "op", "signature", altered(op, "certificate", flipLast)],
  ["a head's bundle called an op's", "op", "bundle", head.replace("log-head", "op-proof")],
  ["too few signers of a head", "head", "signers", headBundle(honest, blocks, { signers: [0, 1] })],
  ["a head that nobody signed", "head", "signature", headBundle(honest, blocks, { signed: { height: 1, block: blocks[0].digest, logRoot: blocks[0].digest, time: 1 } })],
  ["a head from the future", "head", "time", headBundle(honest, blocks, { head: { time: Math.floor(Date.now() / 1000) + 3600 } })],
  ["another op in a block", "block", "ops", altered(block, "block", flipLast)],
  ["the path of another block", "block", "block", JSON.stringify({ ...JSON.parse(block), path: JSON.parse(blockBundle(honest, blocks, 1)).path })],
  ["a repeated key", "block", "bundle", block.replace("{", '{"version":1,')],
];

browserTest("bundles of the log are valid unchanged, and each tampered one is INVALID by its check", async (open, t) => {
  const page = await openPage(open, address(HTML, { cluster: IDENTITY }), { offline: true });
  for (const [of, text] of [["op", op], ["head", head], ["block", block]]) assertValidOfLog(of, await judge(page, [fileNamed(`${of}.vouch`, text)]));
  for (const [name, of, check, text] of TAMPERED) {
    try {
      assertInvalidOfLog(of, await judge(page, [fileNamed("x.vouch", text)]), check);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`, { cause: error });
    }
  }
  t.diagnostic(`${TAMPERED.length} cases`);
});

browserTest("a head and a block show what they prove", async (open) => {
  const page = await openPage(open, address(HTML, { cluster: IDENTITY }), { offline: true });
  const ofHead = await judge(page, [fileNamed("head.json", head)]);
  assert.match(ofHead.text, /The log had this head; it may have grown since\./);
  assert.match(ofHead.facts.height, new RegExp(`^block ${last} of .+ UTC$`));
  const ofBlock = await judge(page, [fileNamed("block.json", block)]);
  assert.match(ofBlock.text, new RegExp(`It is block ${last} of the log\\.`));
  assert.deepEqual(await page.locator("#verify .note").allTextContents(), ["report.pdf is final", "and published"]);
});

browserTest("without an identity, a bundle of the log cannot be checked; with one, it is judged at once", async (open) => {
  const page = await openPage(open, HTML, { offline: true });
  await give(page, [fileNamed("op.vouch", op)]);
  const { state, check, text } = await verdictOf(page.locator("#verify"));
  assert.deepEqual({ state, check }, { state: "cannot-check", check: "identity" });
  assert.match(text, /There is nothing to judge by/);
  assert.doesNotMatch(text, /report\.pdf is final/);
  await page.getByRole("button", { name: "Enter the cluster's identity" }).click();
  await page.getByRole("textbox", { name: "Cluster identity" }).fill(IDENTITY);
  await page.keyboard.press("Enter");
  await page.locator("#verify .verdict[data-state=valid]").waitFor();
});

browserTest("a bundle of the log needs no file, and one of evidence is not for this page", async (open) => {
  const page = await openPage(open, address(HTML, { cluster: IDENTITY }), { offline: true });
  const notice = (name) => page.locator(`#verify .notice[data-notice=${name}]`).waitFor();
  const choose = (...files) => page.getByLabel("Choose a file and its .vouch").setInputFiles(files);
  await choose(fileNamed("report.pdf", "bytes"), fileNamed("op.vouch", op));
  await notice("of-log");
  await choose(fileNamed("evidence.json", op.replace("op-proof", "evidence")));
  await notice("evidence");
  assert.equal(await page.locator("#verify .verdict").count(), 0);
  // A file that waits for its bundle gives way.
  await give(page, [fileNamed("report.pdf", "bytes")]);
  await give(page, [fileNamed("op.vouch", op)]);
  assertValidOfLog("op", await verdictOf(page.locator("#verify")));
  assert.equal(await page.locator("#verify [data-slot=file]").count(), 0);
  await clear(page);
});

// A page whose clock the test moves: it asks every 20 s.
async function openWithClock(open, logHead) {
  server.logHead = logHead;
  const page = await open(undefined, {});
  await page.clock.install();
  await page.goto(address(server.url, { cluster: IDENTITY }));
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
  await openServerPanel(page);
  return page;
}

const summary = (page) => page.locator("#server [aria-expanded]").innerText();

const endless = (response) => {
  response.writeHead(200, { "content-type": "application/vnd.vouch.log-head+json" });
  const piece = Buffer.alloc(1 << 20, " ");
  const more = () => {
    while (!response.destroyed && response.write(piece));
  };
  response.on("drain", more);
  more();
};

// Name of the lie, the head, what the page must say.
const HEAD_LIES = [
  ["a tampered head", headBundle(honest, blocks, { signed: { height: last + 1, block: blocks[0].digest, logRoot: blocks[0].digest, time: 1 } }), /^Not verified: the certificate is forged or altered /],
  ["too few signers", headBundle(honest, blocks, { signers: [0, 1] }), /^Not verified: too few members signed the certificate /],
  ["the head of another cluster", headBundle(stranger, makeLog(stranger)), /^Not verified: the certificate is by another cluster than the one you trust /],
  ["no bundle", "<!doctype html><b>Block 9999</b>", /^Not verified: the bundle is damaged, or is not a bundle /],
  ["an endless body", endless, /^Not verified: the bundle is damaged, or is not a bundle \(bundle: expected at most 8388608 bytes, got 8388609\)/],
];

for (const [lie, logHead, words] of HEAD_LIES) {
  browserTest(`lie about the log: ${lie}`, async (open) => {
    const page = await openWithClock(open, logHead);
    const { height, text } = await untilLog(page, "not-verified");
    assert.match(text, words);
    assert.equal(height, "");
    assert.match(await summary(page), /its log head is not verified/);
    // Control: the same server is believed once it shows its head.
    server.logHead = head;
    await page.clock.runFor(25_000);
    assert.equal((await untilLog(page, "verified")).height, `${last}`);
    assert.doesNotMatch(await summary(page), /log head/);
  });
}

browserTest("lie about the log: a server that goes back to an old head, and to none", async (open) => {
  const page = await openWithClock(open, head);
  assert.equal((await untilLog(page, "verified")).height, `${last}`);
  server.logHead = headBundle(honest, blocks.slice(0, 3));
  await page.clock.runFor(25_000);
  const { height, text } = await untilLog(page, "older");
  assert.equal(height, `${last}`);
  assert.match(text, new RegExp(`^The server shows an old log head, of block 3, although one of block ${last} was verified here\\.`));
  assert.match(text, new RegExp(`The newest that was verified: Block ${last} of `));
  assert.match(await summary(page), /it shows an old log head/);
  server.logHead = null;
  await page.clock.runFor(25_000);
  await until("the loss is told", async () => /^The server shows no log head any more/.test((await logOf(page)).text));
});

browserTest("a page that is not visible asks for no heads, and asks at once when it is seen again", async (open) => {
  let asked = 0;
  const page = await openWithClock(open, (response) => {
    asked += 1;
    response.end(head);
  });
  await untilLog(page, "verified");
  const show = (state) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
  await show("hidden");
  await page.clock.runFor(120_000);
  assert.equal(asked, 1);
  await show("visible");
  await until("it asks again", () => asked === 2);
});
