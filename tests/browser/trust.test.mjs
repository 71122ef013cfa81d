// Which cluster the page trusts, why, and what it says when that changes.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { browserTest } from "./support/browser.mjs";
import { bundleFor } from "./support/bundles.mjs";
import { IDENTITY, OTHER_IDENTITY, honest, startLyingServer } from "./support/lying_server.mjs";
import { address, assertInvalid, assertValid, certify, ends, fileNamed, jobOf, judge, openPage, ready, showTab } from "./support/page.mjs";
import { until } from "./support/until.mjs";
import { fromBase58, toHex } from "../independent/text.mjs";

const BYTES = Buffer.from("Whose word is it?\n");
const FILES = [fileNamed("word.txt", BYTES), fileNamed("word.txt.vouch", bundleFor(BYTES))];

let server;
before(async () => {
  server = await startLyingServer();
});
after(() => server?.close());

const trustOf = (page) => page.locator("#trust").evaluate(({ dataset: { state, source, identity } }) => ({ state, source, identity }));
const untilTrust = (page, expected) => until(`trust is ${JSON.stringify(expected)}`, async () => {
  const got = await trustOf(page);
  return Object.entries(expected).every(([key, value]) => got[key] === value);
});

async function openLongForm(page) {
  const button = page.locator("#trust [aria-expanded]");
  if ((await button.getAttribute("aria-expanded")) === "false") await button.click();
}

async function typeIdentity(page, identity) {
  await openLongForm(page);
  await page.getByRole("textbox", { name: "Cluster identity" }).fill(identity);
  await page.getByRole("button", { name: "Trust this identity" }).click();
}

async function assertRefuses(page, kind, { expected, got }) {
  const alert = page.locator(`[role=alert][data-alert=${kind}]`);
  await alert.waitFor();
  assert.ok((await alert.locator("[data-field=expected]").innerText()).includes(expected));
  assert.ok((await alert.locator("[data-field=got]").innerText()).includes(got));
  await certify(page, fileNamed("refused.txt", "not to this server"));
  const job = jobOf(page, "refused.txt");
  await ends(job, "failed");
  assert.equal(await job.locator(".verdict").count(), 0);
}

browserTest("an identity in the address is trusted, in base58 and in hex", async (open) => {
  server.lie = null;
  for (const cluster of [IDENTITY, toHex(honest.digest), toHex(honest.digest).toUpperCase()]) {
    const page = await openPage(open, address(server.url, { cluster }));
    await untilTrust(page, { state: "trusted", source: "address", identity: IDENTITY });
    await showTab(page, "Verify");
    assertValid(await judge(page, FILES));
  }
});

browserTest("without an identity the page trusts the server's claim, says so, and remembers it", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use", source: "first-use", identity: IDENTITY });
  assert.match(await page.locator("#trust").innerText(), /taken from the server on first use/);
  // visible without opening anything
  assert.match(await page.locator("[data-note=first-use]").innerText(), /You have not told this page whom to trust.*warns you if that ever changes/s);
  assert.match(await page.getByRole("contentinfo").innerText(), /This page was served by the server that it checks/);
  await page.getByRole("button", { name: "What that means" }).click();
  assert.match(await page.locator("#trust").innerText(), /takes the server's word for it.*will warn you if it ever changes/s);
  assert.equal(await page.locator("#trust [data-note=served-by-server]").count(), 1);

  await page.goto("about:blank");
  await page.goto(server.url);
  await ready(page);
  await untilTrust(page, { state: "trusted", source: "remembered", identity: IDENTITY });
  assert.match(await page.locator("#trust").innerText(), /remembered, never compared/);
  assert.equal(await page.locator("[data-note=first-use]").count(), 0);
});

browserTest("a server whose identity differs from the remembered one is refused prominently", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use" });
  server.lie = "another cluster";
  await page.reload();
  await ready(page);
  await untilTrust(page, { state: "refused", identity: IDENTITY });
  await assertRefuses(page, "server-changed", { expected: IDENTITY, got: OTHER_IDENTITY });
  // Valid bundles of the trusted cluster stay valid.
  await showTab(page, "Verify");
  assertValid(await judge(page, FILES));
  server.lie = null;
});

browserTest("a server of another cluster than the address names is refused prominently", async (open) => {
  server.lie = null;
  const page = await openPage(open, address(server.url, { cluster: OTHER_IDENTITY }));
  await untilTrust(page, { state: "refused", identity: OTHER_IDENTITY });
  await assertRefuses(page, "server-differs", { expected: OTHER_IDENTITY, got: IDENTITY });
  await showTab(page, "Verify");
  assertInvalid(await judge(page, FILES), "identity");
});

browserTest("a typed identity is trusted and remembered; an invalid one is refused and changes nothing", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use" });
  await typeIdentity(page, `${IDENTITY.slice(0, -1)}0`);
  await until("the field is refused", async () => (await page.getByRole("textbox", { name: "Cluster identity" }).getAttribute("aria-invalid")) === "true");
  assert.deepEqual(await trustOf(page), { state: "first-use", source: "first-use", identity: IDENTITY });
  await typeIdentity(page, ` ${toHex(honest.digest)} `);
  await untilTrust(page, { state: "trusted", source: "typed", identity: IDENTITY });
  await page.reload();
  await ready(page);
  await untilTrust(page, { state: "trusted", source: "remembered", identity: IDENTITY });
});

browserTest("a typed identity of another cluster refuses this server", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use" });
  await typeIdentity(page, OTHER_IDENTITY);
  await untilTrust(page, { state: "refused", source: "typed", identity: OTHER_IDENTITY });
  await assertRefuses(page, "server-differs", { expected: OTHER_IDENTITY, got: IDENTITY });
});

browserTest("an address that names another identity than the remembered one says so", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use" });
  await page.goto("about:blank");
  await page.goto(address(server.url, { cluster: OTHER_IDENTITY }));
  await ready(page);
  await untilTrust(page, { source: "address", identity: OTHER_IDENTITY });
  const alert = page.locator("[role=alert][data-alert=differs-from-remembered]");
  await alert.waitFor();
  assert.ok((await alert.innerText()).includes(IDENTITY));
  assert.ok((await alert.innerText()).includes(OTHER_IDENTITY));
});

browserTest("a malformed or repeated identity in the address is reported, and nothing is trusted instead", async (open) => {
  server.lie = null;
  for (const [fragment, kind] of [
    ["cluster=nonsense", "malformed-cluster"],
    [`cluster=${IDENTITY}x`, "malformed-cluster"],
    ["cluster=<img src=x onerror=alert(1)>", "malformed-cluster"],
    [`cluster=${IDENTITY}&cluster=${OTHER_IDENTITY}`, "repeated"],
  ]) {
    const page = await openPage(open, `${server.url}#${fragment}`);
    await page.locator(`[role=alert][data-alert=${kind}]`).waitFor();
    const { state, identity } = await trustOf(page);
    assert.deepEqual([state, identity], ["malformed", ""], fragment);
    await showTab(page, "Verify");
    const { state: verdict, check } = await judge(page, FILES);
    assert.deepEqual([verdict, check], ["cannot-check", "identity"], fragment);
  }
});

browserTest("a change of the fragment alone changes the trusted cluster", async (open) => {
  server.lie = null;
  const page = await openPage(open, address(server.url, { cluster: IDENTITY }));
  await showTab(page, "Verify");
  assertValid(await judge(page, FILES));
  await page.evaluate((identity) => void (location.hash = `cluster=${identity}`), OTHER_IDENTITY);
  await untilTrust(page, { state: "refused", identity: OTHER_IDENTITY });
  await until("the verdict does not outlive the trust", async () => (await page.locator("#verify .verdict[data-state=valid]").count()) === 0);
});

browserTest("forgetting asks for confirmation, and makes the next visit a first contact", async (open) => {
  server.lie = null;
  const page = await openPage(open, server.url);
  await untilTrust(page, { state: "first-use" });
  await page.reload();
  await ready(page);
  await untilTrust(page, { source: "remembered" });
  await openLongForm(page);
  await page.getByRole("button", { name: "Forget it", exact: true }).click();
  await page.getByRole("button", { name: "Yes, forget it" }).click();
  await untilTrust(page, { state: "first-use" });
});

browserTest("a checkpoint is pinned, judged by, and dropped", async (open) => {
  const page = await openPage(open, address(server.url, { cluster: IDENTITY }));
  await showTab(page, "Verify");
  await openLongForm(page);
  const field = page.getByRole("textbox", { name: /^Checkpoint/ });
  const pin = async (text) => {
    await field.fill(text);
    await page.getByRole("button", { name: "Trust this committee" }).click();
  };
  const pinned = () => page.locator("#trust [data-checkpoint]").evaluateAll((all) => all.map((one) => one.dataset.checkpoint));
  for (const text of ["", IDENTITY, `-1:${IDENTITY}`, `9007199254740992:${IDENTITY}`, `0:${IDENTITY}:0`, "0:0", `0x1:${IDENTITY}`]) {
    await pin(text);
    await page.locator("#checkpoint-complaint:visible").waitFor();
    assert.deepEqual(await pinned(), [], text);
  }
  assertValid(await judge(page, FILES));
  // The genesis itself, in hex: the verdict stays.
  await pin(`0:${toHex(fromBase58(IDENTITY, 32))}`);
  await until("it is pinned", async () => (await pinned())[0] === `0:${IDENTITY}`);
  assertValid(await judge(page, FILES));
  assert.ok(await page.locator("#checkpoint-complaint").isHidden());
  // A committee that the bundle does not have: what lies on the page is judged again.
  await pin(`1:${OTHER_IDENTITY}`);
  await until("it is judged again", async () => (await page.locator("#verify .verdict[data-state]").getAttribute("data-state").catch(() => null)) === "cannot-check");
  assert.equal((await judge(page, FILES)).check, "chain");
  await page.getByRole("button", { name: "Trust the identity alone" }).click();
  await until("nothing is pinned", async () => (await pinned()).length === 0);
  assertValid(await judge(page, FILES));
  // A checkpoint is of one cluster.
  await pin(`0:${IDENTITY}`);
  await until("it is pinned again", async () => (await pinned()).length === 1);
  await typeIdentity(page, OTHER_IDENTITY);
  await until("it is dropped", async () => (await pinned()).length === 0);
});
