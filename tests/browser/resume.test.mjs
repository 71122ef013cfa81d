// Interrupted uploads and downloads resume. A proxy lets a limited number of bytes pass, so that each one is interrupted midway.
import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import { after, before, beforeEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { hash, put } from "../../verifier-wasm/npm/node.js";
import { startFront } from "./support/between.mjs";
import { browserTest } from "./support/browser.mjs";
import { startCluster, temporaryFolder } from "./support/cluster.mjs";
import { IDENTITY, startLyingServer } from "./support/lying_server.mjs";
import { address, assertValid, certify, ends, jobOf, openPage, patternFile, reaches, ready, saveTo, showTab, statesOf, verdictOf } from "./support/page.mjs";
import { until } from "./support/until.mjs";

const MIB = 1 << 20;
const SIZE = 64 * MIB;
const GATE = 40 * MIB;
const GONE = [/ERR_CONNECTION_(REFUSED|RESET)/, /ERR_EMPTY_RESPONSE/, /ERR_SOCKET_NOT_CONNECTED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/, /WebSocket connection/];
const CONTINUED = /Continued at (\d+) %; ([\d.]+) MiB were left to send\./;
const folder = temporaryFolder();

let cluster;
let front;
let trusted;
before(async () => {
  cluster = await startCluster();
  front = await startFront(cluster.url);
  trusted = address(front.url, { cluster: await cluster.identity() });
});
after(async () => {
  front?.close();
  await cluster?.stop();
});
beforeEach(async () => {
  Object.assign(front, { most: Infinity, isUp: true, cuts: [], onCut: () => (front.isUp = front.cuts.length > 0), links: [] });
  if (!cluster.server.running) await cluster.startServer();
  await cluster.untilConnected();
});

const passed = () => front.links.reduce((sum, link) => sum + link.passed, 0);
const status = (job) => job.locator(".status-text").innerText();
/** The text with ordinary spaces. */
const plain = async (job) => (await job.innerText()).replaceAll("\u00a0", " ");

/** A page with an upload that is stalled midway. */
async function stuck(open, name) {
  front.most = GATE;
  const page = await openPage(open, trusted, { allow: GONE });
  const path = patternFile(folder, name, SIZE);
  await certify(page, path);
  const job = jobOf(page, name);
  await reaches(job, "sending");
  await until("the gate is reached", () => passed() > GATE - MIB);
  // The bytes that passed have arrived, but may not be on disk yet.
  await sleep(500);
  return { page, path, job };
}

/** Asserts that the page reports its resume offset and sent only the rest. */
async function assertContinued(job) {
  assertValid(await verdictOf(job));
  const [, percent, left] = CONTINUED.exec(await plain(job)) ?? assert.fail(await plain(job));
  // Bytes in flight at the interruption may have arrived too.
  assert.ok(Number(percent) > 30 && Number(percent) < 100, `${percent} %`);
  assert.ok((await plain(job)).includes(`64.0 MiB · continued at ${percent} %`));
  const sent = front.links.at(-1).passed / MIB;
  assert.ok(Math.abs(sent - Number(left)) < 0.5, `${sent} MiB sent of ${left}`);
  assert.ok(sent < SIZE / MIB - 1, `${sent} MiB: that is all of it`);
}

browserTest("an upload resumes by itself after a server restart, and sends nothing twice", async (open) => {
  const { page, job } = await stuck(open, "killed.bin");
  await cluster.server.kill();
  await reaches(job, "lost");
  assert.match(await status(job), /^Connection lost\. Trying again/);
  await job.getByRole("button", { name: "Try now killed.bin" }).waitFor();
  assert.equal(await job.locator(".verdict").count(), 0);
  await until("it is announced", async () => /killed\.bin: Connection lost/.test(await page.locator("#announcer").innerText()));
  front.most = Infinity;
  await cluster.startServer();
  await ends(job, "certified");
  await assertContinued(job);
  const states = await statesOf(page, "killed.bin");
  assert.deepEqual(states.filter((state) => !["queued", "connecting", "waiting"].includes(state)), ["hashing", "sending", "lost", "sending", "certified"]);
});

browserTest("an upload resumes after a reload when the same file is dropped again", async (open) => {
  // Leaving during an upload asks for confirmation: confirm.
  const leaving = async (...how) => {
    const page = await open(...how);
    await page.addInitScript(() => addEventListener("beforeunload", (event) => event.stopImmediatePropagation()));
    return page;
  };
  const { page, path } = await stuck(leaving, "reloaded.bin");
  await page.reload();
  await ready(page);
  // The browser may end the old page's worker later, and the proxy holds its bytes: they must not pass once the gate opens.
  front.links.forEach((link) => link.close());
  front.most = Infinity;
  await certify(page, path);
  const job = jobOf(page, "reloaded.bin");
  await ends(job, "certified");
  await assertContinued(job);
  assert.ok(!(await statesOf(page, "reloaded.bin")).includes("lost"));
});

browserTest("a cancel during a wait ends the upload at once, without further retries", async (open) => {
  const { job, path } = await stuck(open, "given-up.bin");
  await cluster.server.kill();
  await reaches(job, "lost");
  await job.getByRole("button", { name: "Cancel given-up.bin" }).click();
  await ends(job, "cancelled", 2000);
  assert.equal(await job.getByRole("button", { name: /^Try now/ }).count(), 0);
  const before = front.links.length;
  front.most = Infinity;
  await cluster.startServer();
  await cluster.untilConnected();
  await sleep(6000); // longer than the longest backoff
  assert.equal(front.links.length, before);
  const { digest } = await hash(createReadStream(path));
  assert.equal((await fetch(new URL(`/v1/certificates/${digest}`, cluster.url))).status, 404);
});

/** A page that downloads a file of SIZE bytes, which the cluster holds. */
async function download(open, name) {
  const bytes = readFileSync(patternFile(folder, name, SIZE));
  const { report } = await put(bytes, { server: cluster.address, cluster: await cluster.identity() });
  const { digest_base58: digest } = report.certificate;
  const page = await openPage(open, trusted, { allow: GONE });
  await showTab(page, "Fetch");
  await page.getByRole("textbox", { name: "Digest" }).fill(digest);
  await page.locator("#fetch").getByRole("button", { name: "Fetch", exact: true }).click();
  return { page, job: jobOf(page, digest), digest, bytes };
}

browserTest("a download survives lost connections, says that it waits, and receives nothing twice", async (open) => {
  front.cuts = [20 * MIB, 20 * MIB];
  const { page, job, digest, bytes } = await download(open, "cut.bin");
  await until("the second link is cut", () => !front.isUp);
  await reaches(job, "lost");
  assert.match(await status(job), /^Connection lost\. Trying again/);
  assert.equal(await job.getByRole("link", { name: /^Save / }).count(), 0);
  await until("it is announced", async () => (await page.locator("#announcer").innerText()).includes(`${digest}: Connection lost`));
  await until("it waits for long", async () => /in [45]\u00a0s$/.test(await status(job)));
  front.isUp = true;
  const before = front.links.length;
  await job.getByRole("button", { name: `Try now ${digest}` }).click();
  await until("it is tried", () => front.links.length > before, 1500);
  await ends(job, "fetched");
  const path = await saveTo(folder, page, job.getByRole("link", { name: /^Save / }));
  assert.ok(readFileSync(path).equals(bytes), "other bytes");
  const states = (await statesOf(page, digest)).filter((state) => state !== "connecting" && state !== "checking");
  assert.deepEqual(states, ["receiving", "lost", "receiving", "lost", "receiving", "fetched"]);
  // Each of the three links also returned the committee, proofs, the last group, and what was in flight when it was cut.
  const returned = front.links.reduce((sum, link) => sum + link.returned, 0);
  assert.ok(returned < SIZE + 9 * MIB, `${returned} bytes returned`);
});

browserTest("a cancel during a wait ends the download at once, without further retries", async (open) => {
  front.cuts = [20 * MIB];
  const { job, digest } = await download(open, "unwanted.bin");
  await until("the link is cut", () => !front.isUp);
  await reaches(job, "lost");
  await job.getByRole("button", { name: `Cancel ${digest}` }).click();
  await ends(job, "cancelled", 2000);
  assert.equal(await job.getByRole("button", { name: /^Try now/ }).count(), 0);
  front.isUp = true;
  const before = front.links.length;
  await sleep(6000); // longer than the longest backoff
  assert.equal(front.links.length, before);
});

browserTest("Try now ends the wait and keeps the keyboard focus", async (open) => {
  const server = await startLyingServer();
  try {
    const page = await openPage(open, address(server.url, { cluster: IDENTITY }), { allow: GONE });
    Object.assign(server, { lie: "stops reading" });
    await certify(page, patternFile(folder, "keyboard.bin", SIZE));
    const job = jobOf(page, "keyboard.bin");
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    await reaches(job, "sending");
    await job.getByRole("button", { name: "Cancel keyboard.bin" }).focus();
    server.lie = "hangs up";
    server.hangUp();
    await reaches(job, "lost");
    assert.equal(await focused(), "Cancel keyboard.bin");

    await until("it waits for long", async () => /in [45]\u00a0s$/.test(await status(job)));
    const before = server.links;
    await job.getByRole("button", { name: "Try now keyboard.bin" }).focus();
    await page.keyboard.press("Enter");
    await until("it is tried", () => server.links > before, 1500);
    assert.equal(await focused(), "Try now keyboard.bin");
    server.lie = null;
    await page.keyboard.press("Enter");
    await ends(job, "certified");
    assert.equal(await focused(), "Remove keyboard.bin");
  } finally {
    server.close();
  }
});
