// The newest verified committee of a cluster: the page remembers it, judges by it, and refuses servers that do not show it.
import assert from "node:assert/strict";
import { after, before as beforeAll, beforeEach } from "node:test";
import { browserTest } from "./support/browser.mjs";
import { startLyingServer } from "./support/lying_server.mjs";
import { address, assertInvalid, certify, ends, fileNamed, jobOf, judge, openPage, ready, showTab, verdictOf } from "./support/page.mjs";
import { until } from "./support/until.mjs";
import { before, certifiedIn, changed, checkpointOf, fork, identityOf } from "./support/worlds.mjs";

const CLUSTER = identityOf(changed());
const NEWEST = checkpointOf(changed());
const FILE = fileNamed("report.pdf", "A report.\n");

let server;
beforeAll(async () => {
  server = await startLyingServer();
});
after(() => server?.close());
beforeEach(() => Object.assign(server, { lie: null, world: changed(), received: [] }));

const filesOf = ({ bytes, bundle }) => [fileNamed("old.pdf", bytes), fileNamed("old.pdf.vouch", bundle)];
const remembered = (page) => page.locator("#trust [data-verified-committee]").getAttribute("data-verified-committee");
const untilRemembered = (page, expected) => until(`${expected} is remembered`, async () => (await remembered(page)) === expected);
const today = () => new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeZone: "UTC" }).format(new Date());
const chainOf = (scope) => scope.locator("[data-check=chain] .check-meaning").innerText();
const openTrust = (page) => page.locator("#trust [aria-expanded=false]").click();

async function reload(page) {
  await page.reload();
  await ready(page);
}

browserTest("a put remembers the committee, and later visits refuse servers that are behind or show another", async (open) => {
  const page = await openPage(open, address(server.url, { cluster: CLUSTER }));
  assert.equal(await remembered(page), "");
  await certify(page, FILE);
  await ends(jobOf(page, "report.pdf"), "certified");
  await untilRemembered(page, NEWEST);

  await reload(page);
  assert.equal(await remembered(page), NEWEST);
  await openTrust(page);
  assert.ok((await page.locator("#trust").innerText()).includes(`This device verified it on ${today()}.`));
  await certify(page, FILE);
  await ends(jobOf(page, "report.pdf"), "certified");
  const { text } = await verdictOf(jobOf(page, "report.pdf"));
  assert.ok(text.includes(`by its committee of epoch 2, which this device verified on ${today()}.`), text);
  assert.equal(await chainOf(jobOf(page, "report.pdf")), "its committee is the one that this device verified");

  for (const [world, code, expected, got] of [
    [before(changed(), 1), "old-epoch", "epoch 2", "1"],
    [fork(), "another-committee", NEWEST.split(":")[1], checkpointOf(fork()).split(":")[1]],
  ]) {
    server.world = world;
    await reload(page);
    server.received = [];
    await certify(page, FILE);
    const job = jobOf(page, "report.pdf");
    await ends(job, "failed");
    assert.equal(await job.locator(".problem").getAttribute("data-code"), code);
    assert.deepEqual([await job.locator("[data-field=expected]").innerText(), await job.locator("[data-field=got]").innerText()], [expected, got]);
    assert.match(await job.innerText(), code === "old-epoch" ? /This server is behind.*keys of members that have left/s : /somebody forged one of them.*vouch compare/s);
    // A get is refused as well.
    await showTab(page, "Fetch");
    await page.getByRole("textbox", { name: "Digest" }).fill(CLUSTER);
    await page.locator("#fetch").getByRole("button", { name: "Fetch", exact: true }).click();
    await ends(page.locator("#fetch .job"), "failed");
    assert.equal(await page.locator("#fetch .problem").getAttribute("data-code"), code);
    assert.deepEqual(server.received, []);
    assert.equal(await remembered(page), NEWEST);
  }

  await openTrust(page);
  await page.getByRole("button", { name: "Forget this committee" }).click();
  await page.getByRole("button", { name: "No, keep this committee" }).click();
  assert.equal(await remembered(page), NEWEST);
  await page.getByRole("button", { name: "Forget this committee" }).click();
  await page.getByRole("button", { name: "Yes, forget this committee" }).click();
  await untilRemembered(page, "");
});

browserTest("a get remembers the committee", async (open) => {
  const page = await openPage(open, address(server.url, { cluster: CLUSTER }));
  await certify(page, FILE);
  await ends(jobOf(page, "report.pdf"), "certified");
  const stored = await jobOf(page, "report.pdf").locator("[data-fact=digest-base58] dd").innerText();
  await page.evaluate(() => localStorage.clear());
  await reload(page);
  assert.equal(await remembered(page), "");
  await showTab(page, "Fetch");
  await page.getByRole("textbox", { name: "Digest" }).fill(stored);
  await page.locator("#fetch").getByRole("button", { name: "Fetch", exact: true }).click();
  await ends(page.locator("#fetch .job"), "fetched");
  await untilRemembered(page, NEWEST);
});

browserTest("a bundle is judged from the first committee once, and then from the one that was verified", async (open) => {
  const page = await openPage(open, address(server.url, { cluster: CLUSTER }));
  await showTab(page, "Verify");
  const chain = () => chainOf(page.locator("#verify"));
  const first = await judge(page, filesOf(certifiedIn(changed(), 1)));
  assert.equal(first.state, "valid", first.text);
  assert.equal(await chain(), "its committee follows from the founding one by 1 handoff");
  await untilRemembered(page, NEWEST);
  const again = await judge(page, filesOf(certifiedIn(changed(), 1)));
  assert.equal(again.state, "valid", again.text);
  assert.equal(await chain(), "its committee is 1 handoff before the one of epoch 2, which this device verified");
  assert.ok(again.text.includes(`by its committee of epoch 2, which this device verified on ${today()}.`), again.text);
  // A bundle from before stays valid, without it.
  const old = await judge(page, filesOf(certifiedIn(changed(), 1, { to: 1 })));
  assert.equal(old.state, "valid", old.text);
  assert.doesNotMatch(old.text, /this device verified/);

  // Another successor of the same committee, with all the signatures that it needs.
  const forged = filesOf(certifiedIn(fork(), 2));
  const verdict = await judge(page, forged);
  assertInvalid(verdict, "chain");
  assert.deepEqual([`2:${verdict.expected}`, `2:${verdict.got}`], [NEWEST, checkpointOf(fork())]);
  assert.match(await page.locator("#verify [data-notice=fork]").innerText(), /This device verified another committee of epoch 2, on .*somebody forged one of them/s);
  assert.equal(await remembered(page), NEWEST);

  // The verdict does not outlive what it was judged by.
  await openTrust(page);
  await page.getByRole("button", { name: "Forget this committee" }).click();
  await page.getByRole("button", { name: "Yes, forget this committee" }).click();
  await until("it is judged again", async () => (await page.locator("#verify .verdict[data-state]").getAttribute("data-state").catch(() => null)) === "valid");
  await untilRemembered(page, checkpointOf(fork()));
});

browserTest("what another tab verified counts, and a corrupt record does not", async (open) => {
  const page = await openPage(open, address(server.url, { cluster: CLUSTER }));
  const other = await page.context().newPage();
  await other.goto(address(server.url, { cluster: CLUSTER }));
  await ready(other);
  await certify(other, FILE);
  await ends(jobOf(other, "report.pdf"), "certified");
  await untilRemembered(other, NEWEST);
  server.world = before(changed(), 1);
  await certify(page, FILE);
  await ends(jobOf(page, "report.pdf"), "failed");
  assert.equal(await jobOf(page, "report.pdf").locator(".problem").getAttribute("data-code"), "old-epoch");
  await page.evaluate((key) => localStorage.setItem(key, "9:nonsense"), `vouch:committee:${CLUSTER}`);
  await jobOf(page, "report.pdf").getByRole("button", { name: "Retry report.pdf" }).click();
  await ends(jobOf(page, "report.pdf"), "certified");
  await untilRemembered(page, checkpointOf(changed(), 1));
});
