// Certifying under faults.
import assert from "node:assert/strict";
import { after, before, beforeEach } from "node:test";
import { startFront } from "./support/between.mjs";
import { browserTest } from "./support/browser.mjs";
import { startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertValid, certify, ends, fileNamed, jobOf, openPage, patternFile, reaches, verdictOf } from "./support/page.mjs";
import { until } from "./support/until.mjs";

const MIB = 1 << 20;
const NO_SERVER = [/ERR_CONNECTION_(REFUSED|RESET)/, /ERR_EMPTY_RESPONSE/, /ERR_SOCKET_NOT_CONNECTED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/];
const LEFT_OUT = /left out|did not sign/;
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
// Bytes of an upload that pass before the fault.
const GATE = 16 * MIB;
beforeEach(() => Object.assign(front, { most: Infinity, links: [] }));

const memberNamed = (job, name) => job.locator("[data-member]").filter({ hasText: name });

async function revive(...replicas) {
  for (const replica of replicas) if (!replica.running) replica.start();
  await cluster.untilConnected();
}

// Asserts that nothing looks like a success.
async function assertNothingClaimed(job) {
  assert.equal(await job.locator(".verdict").count(), 0);
  assert.equal(await job.getByRole("link", { name: /^Save / }).count(), 0);
  assert.doesNotMatch(await job.innerText(), /\bVALID\b/);
}

browserTest("an unreachable server is named, and the same file succeeds after a retry", async (open) => {
  const page = await openPage(open, trusted, { allow: NO_SERVER });
  await cluster.server.kill();
  await certify(page, fileNamed("early.txt", "too early"));
  const job = jobOf(page, "early.txt");
  await ends(job, "failed");
  assert.equal(await job.locator(".problem").getAttribute("data-code"), "connection");
  await assertNothingClaimed(job);

  await cluster.startServer();
  await cluster.untilConnected();
  await job.getByRole("button", { name: "Retry early.txt" }).click();
  await ends(job, "certified");
  assertValid(await verdictOf(job));
});

browserTest("a replica that is dead from the start is named as skipped", async (open) => {
  const dead = cluster.replicas[2];
  await dead.kill();
  await cluster.untilConnected(3);
  try {
    const page = await openPage(open, trusted);
    await certify(page, fileNamed("three.txt", "three of four"));
    const job = jobOf(page, "three.txt");
    await ends(job, "certified");
    assertValid(await verdictOf(job));
    assert.match(await memberNamed(job, dead.name).innerText(), LEFT_OUT);
    for (const { name } of cluster.replicas.filter((one) => one !== dead)) assert.equal(await memberNamed(job, name).getAttribute("data-state"), "signed");
  } finally {
    await revive(dead);
  }
});

browserTest("a replica that dies during an upload is named as skipped", async (open) => {
  const dead = cluster.replicas[1];
  const page = await openPage(open, trusted);
  front.most = GATE;
  try {
    await certify(page, patternFile(folder, "dying.bin", 64 * MIB));
    const job = jobOf(page, "dying.bin");
    await reaches(job, "sending");
    await dead.kill();
    front.most = Infinity;
    await ends(job, "certified");
    assertValid(await verdictOf(job));
    assert.match(await memberNamed(job, dead.name).innerText(), LEFT_OUT);
  } finally {
    await revive(dead);
  }
});

browserTest("with two of four dead no success is shown, and the put resumes once they are back", async (open) => {
  const dead = cluster.replicas.slice(1, 3);
  const page = await openPage(open, trusted);
  front.most = GATE;
  try {
    await certify(page, patternFile(folder, "refused.bin", 64 * MIB));
    const job = jobOf(page, "refused.bin");
    await reaches(job, "sending");
    for (const replica of dead) await replica.kill();
    front.most = Infinity;
    await job.getByText(/^Not enough replicas took part\. Trying again/).waitFor();
    await assertNothingClaimed(job);
    await revive(...dead);
    await ends(job, "certified");
    assertValid(await verdictOf(job));
  } finally {
    await revive(...dead);
  }
});

browserTest("with two of four dead from the start the page says so and shows no success", async (open) => {
  const dead = cluster.replicas.slice(0, 2);
  for (const replica of dead) await replica.kill();
  await cluster.untilConnected(2);
  try {
    const page = await openPage(open, trusted);
    await until("the server waits", async () => (await page.locator("#server").getAttribute("data-state")) === "waiting");
    await certify(page, fileNamed("two.txt", "two of four"));
    const job = jobOf(page, "two.txt");
    await ends(job, "failed");
    for (const { name } of dead) assert.ok((await job.innerText()).includes(name), await job.innerText());
    await assertNothingClaimed(job);
  } finally {
    await revive(...dead);
  }
});
