// Certifying in the page, with a healthy cluster.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { startFront } from "./support/between.mjs";
import { browserTest } from "./support/browser.mjs";
import { runProgram, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertValid, certify, ends, fileNamed, jobOf, openPage, patternFile, reaches, saveTo, sparseFile, statesOf, verdictOf } from "./support/page.mjs";
import { until } from "./support/until.mjs";
import { watchPage } from "./support/watch.mjs";

const MIB = 1 << 20;
const folder = temporaryFolder();
// File names of at most 24 bytes; one would run a script if the page treated it as markup.
const NAMES = ["<img src=x onerror=a()>", "replica & <b>bold</b>", "replica-3", "replica-4"];

let cluster;
let trusted;
before(async () => {
  cluster = await startCluster({ names: NAMES });
  trusted = address(cluster.url, { cluster: await cluster.identity() });
});
after(() => cluster?.stop());

// No visible layout shift: browsers call a score up to 0.1 good.
function assertStill({ shifts }) {
  const moved = shifts.reduce((sum, { value }) => sum + value, 0);
  assert.ok(moved < 0.01, JSON.stringify(shifts));
}

const saveLink = (job) => job.getByRole("link", { name: /^Save / });

browserTest("a text file is certified: every step is shown, and the bundle verifies on the command line", async (open) => {
  const page = await openPage(open, trusted);
  const path = join(folder, "notes.txt");
  writeFileSync(path, "Some notes.\n");
  await certify(page, path);
  const job = jobOf(page, "notes.txt");
  await ends(job, "certified");

  const verdict = await verdictOf(job);
  assertValid(verdict);
  assert.equal(verdict.facts.length.replace(/\D.*/, ""), "12");
  assert.equal(verdict.facts.cluster, await cluster.identity());
  for (const name of NAMES) assert.ok(verdict.text.includes(name), `no ${name} in: ${verdict.text}`);
  assert.equal(await page.locator("#certify bdi *").count(), 0, "a name became markup");

  const bundle = await saveTo(folder, page, saveLink(job));
  assert.equal(bundle, `${path}.vouch`);
  const { status, stdout, stderr } = runProgram(folder, "verify", path, bundle, "--cluster", await cluster.identity());
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^VALID: .*notes\.txt .*by [34] of 4 members/m);
});

browserTest("a larger file passes through every state without layout shifts", async (open) => {
  const page = await openPage(open, trusted);
  await certify(page, patternFile(folder, "pattern.bin", 48 * MIB));
  const job = jobOf(page, "pattern.bin");
  await job.getByRole("progressbar", { name: /^Sending / }).waitFor();
  const watch = await watchPage(page);
  await until("all is sent", async () => (await job.getAttribute("data-state")) !== "sending");
  assertStill(await watch.seen());
  await ends(job, "certified");

  const states = await statesOf(page, "pattern.bin");
  assert.deepEqual(states.filter((state) => state !== "queued" && state !== "connecting"), ["hashing", "sending", "waiting", "certified"]);
  let signed = 0;
  for (const member of NAMES.keys()) {
    const steps = await statesOf(page, `pattern.bin/${member}`);
    // A replica slower than a quorum may be skipped.
    const order = ["idle", "receiving", "stored", "signed", "dropped"];
    assert.deepEqual(steps, steps.toSorted((a, b) => order.indexOf(a) - order.indexOf(b)), `member ${member}`);
    assert.ok(steps.includes("receiving"), `member ${member}: ${steps}`);
    if (steps.at(-1) === "signed") signed += 1;
  }
  assert.ok(signed >= 3, `${signed} signed`);
});

browserTest("files dropped anywhere are certified", async (open) => {
  const page = await openPage(open, trusted);
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    for (const name of ["dropped-1.txt", "dropped-2.txt"]) dataTransfer.items.add(new File([name], name));
    for (const type of ["dragenter", "dragover", "drop"]) document.querySelector("footer").dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  });
  for (const name of ["dropped-1.txt", "dropped-2.txt"]) await ends(jobOf(page, name), "certified");
});

browserTest("two files are certified at once", async (open) => {
  const page = await openPage(open, trusted);
  const [one, two] = [patternFile(folder, "one.bin", 5 * MIB), patternFile(folder, "two.bin", 7 * MIB + 1)];
  await certify(page, [one, two]);
  for (const path of [one, two]) {
    const job = jobOf(page, path.slice(folder.length + 1));
    await ends(job, "certified");
    assertValid(await verdictOf(job));
    const { status, stderr } = runProgram(folder, "verify", path, await saveTo(folder, page, saveLink(job)), "--cluster", await cluster.identity());
    assert.equal(status, 0, stderr);
  }
});

browserTest("an empty file is certified", async (open) => {
  const page = await openPage(open, trusted);
  await certify(page, fileNamed("empty", ""));
  await ends(jobOf(page, "empty"), "certified");
  assertValid(await verdictOf(jobOf(page, "empty")));
});

browserTest("a file name with markup is shown as text, and names the bundle", async (open) => {
  const name = '<b title="x">&amp;\u202egnp.<img src=x onerror=alert(1)>';
  const page = await openPage(open, trusted);
  await certify(page, fileNamed(name, "named strangely"));
  const job = page.locator("#certify .job");
  await ends(job, "certified");
  assert.equal(await job.getAttribute("data-name"), name);
  assert.ok((await job.innerText()).includes(name));
  assert.equal(await job.locator("b, img").count(), 0);
  assert.equal(await saveLink(job).getAttribute("download"), `${name}.vouch`);
});

browserTest("a cancel while hashing ends the job at once, nothing is sent, and the layout is stable", async (open) => {
  const page = await openPage(open, trusted);
  await certify(page, sparseFile(folder, "long.bin", 2048 * MIB));
  const job = jobOf(page, "long.bin");
  await job.getByRole("progressbar", { name: "Hashing long.bin" }).waitFor();
  const watch = await watchPage(page);
  await page.waitForTimeout(300);
  assertStill(await watch.seen());
  await job.getByRole("button", { name: "Cancel long.bin" }).click();
  await ends(job, "cancelled", 2000);
  assert.equal(await job.locator(".verdict").count(), 0);
  assert.deepEqual(await statesOf(page, "long.bin"), ["queued", "hashing", "cancelled"]);
});

browserTest("a cancel while sending ends the job, the cluster continues, and the file can be sent again", async (open) => {
  const front = await startFront(cluster.url);
  const page = await openPage(open, address(front.url, { cluster: await cluster.identity() }));
  const job = jobOf(page, "stuck.bin");
  try {
    // All replicas are suspended, so the put stays in this state.
    front.most = 8 * MIB;
    await certify(page, patternFile(folder, "stuck.bin", 64 * MIB));
    await reaches(job, "sending");
    await job.getByRole("button", { name: "Cancel stuck.bin" }).click();
    await ends(job, "cancelled", 2000);
    assert.equal(await job.locator(".verdict").count(), 0);
  } finally {
    front.most = Infinity;
  }
  const certified = () => [...cluster.server.log.matchAll(/ certified \w+, /g)].length;
  const before = certified();
  await certify(page, fileNamed("next.txt", "the next file"));
  await ends(jobOf(page, "next.txt"), "certified");
  await job.getByRole("button", { name: "Retry stuck.bin" }).click();
  await ends(job, "certified");
  assertValid(await verdictOf(job));
  assert.equal(certified(), before + 2, "what was cancelled was certified");
  await job.getByRole("button", { name: "Remove stuck.bin" }).click();
  await until("it is gone", async () => (await job.count()) === 0);
  front.close();
});
