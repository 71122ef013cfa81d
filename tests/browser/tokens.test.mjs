// Certifying in a cluster that asks for tokens.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { browserTest } from "./support/browser.mjs";
import { runProgram, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertValid, certify, ends, jobOf, openPage, verdictOf } from "./support/page.mjs";

const folder = temporaryFolder();
let cluster;
let trusted;
let token;
before(async () => {
  cluster = await startCluster();
  trusted = address(cluster.url, { cluster: await cluster.identity() });
  const folders = cluster.replicas.flatMap((replica) => ["--data", replica.folder]);
  for (const args of [["rules", "--put", "tokens"], ["new", "alice"]]) {
    const { status, stderr } = runProgram(cluster.folder, "token", ...args, ...folders, "--server", cluster.address);
    assert.equal(status, 0, stderr);
  }
  token = readFileSync(join(cluster.folder, "alice.token"), "utf8").match(/^vouch-token-.*$/m)[0];
});
after(() => cluster?.stop());

browserTest("without a token, the page says what is needed; with one, it certifies, and keeps it to itself", async (open) => {
  const page = await openPage(open, trusted);
  const path = join(folder, "notes.txt");
  writeFileSync(path, "Some notes.\n");
  await certify(page, path);
  const job = jobOf(page, "notes.txt");
  await ends(job, "failed");
  assert.match(await job.innerText(), /needs a token that the cluster accepts/);

  await page.getByRole("button", { name: /^Server/ }).click();
  const field = page.getByLabel("Token");
  assert.equal(await field.getAttribute("type"), "password");
  await field.fill("something else");
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  await field.fill(` ${token} `);
  assert.equal(await field.getAttribute("aria-invalid"), "false");
  const second = join(folder, "more.txt");
  writeFileSync(second, "More notes.\n");
  await certify(page, second);
  await ends(jobOf(page, "more.txt"), "certified");
  assertValid(await verdictOf(jobOf(page, "more.txt")));
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href]));
  assert.ok(!kept.includes("vouch-token-"), kept);
});
