// A certificate of epoch 0 after its cluster has reached epoch 12 and is gone: real handoffs, and a verdict without a network.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { pathToFileURL } from "node:url";
import { browserTest } from "./support/browser.mjs";
import { MovableClock } from "./support/clock.mjs";
import { runProgramIn, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertInvalid, assertValid, fileNamed, judge, openPage, showTab } from "./support/page.mjs";
import { PAGE } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";
import { fromBase64url, toBase64url } from "../independent/text.mjs";

const LAST = 12;
const BYTES = Buffer.from("Certified in epoch 0.\n");
// From a handoff until the ended epoch is sealed, by the replicas' clocks, in seconds: a minute until it closes, two until its seal, and a turn
// of 10 s for each of five members. The next handoff is not decided before.
const UNTIL_SEALED = 240;
// The clocks begin so far behind that epoch 12 is in the past, too, for the browser, whose clock is right.
const BEGINNING = -3600;

const folder = temporaryFolder();
const clock = new MovableClock(folder, BEGINNING);

/** Runs a command with the cluster's clock; returns what it prints. */
function run(...args) {
  const { status, stdout, stderr } = runProgramIn(folder, clock.environment, ...args);
  assert.equal(status, 0, `${args.join(" ")}: ${stderr}`);
  return stdout;
}

let cluster;
let server; // options that name it and the cluster's identity
let identity;
let checkpoint; // of epoch 12
let old; // the bundle as it was made in epoch 0
let upgraded; // the same with the committees up to epoch 12

/** Has the operator change the members; returns once the next epoch is active. */
function change(...what) {
  writeFileSync(join(folder, "next.change"), run("committee", ...what, "--out", "-", ...server));
  const signature = run("operator", "sign", "next.change", "--key", "operator.key", "--yes").trim();
  run("committee", "propose", "next.change", "--operator-signature", signature, ...server);
}

/** The replicas are off until the seal of the ended epoch is due. While they run, so large a step would put their clocks in doubt. */
async function untilSealIsDue() {
  await Promise.all(cluster.replicas.map((replica) => replica.kill()));
  clock.forward(UNTIL_SEALED);
  for (const replica of cluster.replicas) replica.start();
  await cluster.untilConnected();
}

/** Adds a fifth replica, rotates the keys ten times, and removes a founder. */
async function changeTwelveTimes() {
  const fifth = cluster.addReplica("replica-5");
  const key = await until("it has its key", () => /^replica replica-5 \((\w+)\)/m.exec(fifth.log)?.[1]);
  change("add", `${key}=replica-5`);
  for (let epoch = 2; epoch < LAST; epoch++) {
    await untilSealIsDue();
    change("rotate");
  }
  await untilSealIsDue();
  change("remove", "replica-1");
  await cluster.replicas.find(({ name }) => name === "replica-1").kill();
}

const read = (name) => readFileSync(join(folder, name), "utf8");

before(async () => {
  run("operator", "init", "--key", "operator.key");
  const operator = /^public key\s+(\S+)/m.exec(run("operator", "show", "--key", "operator.key"))[1];
  cluster = await startCluster({ operator, environment: clock.environment });
  identity = await cluster.identity();
  server = ["--server", cluster.address, "--cluster", identity];
  writeFileSync(join(folder, "old.pdf"), BYTES);
  run("put", "old.pdf", ...server);
  old = read("old.pdf.vouch");
  await changeTwelveTimes();
  const shown = JSON.parse(run("committee", "show", "--json", ...server));
  assert.equal(shown.epoch, LAST);
  checkpoint = shown.checkpoint;
  // The proof of the seal comes from a replica, and they have to connect again.
  const { to_epoch, renewed } = await until("the seal is proved", () => {
    const shown = JSON.parse(run("upgrade", "old.pdf.vouch", "--json", ...server));
    return shown.seal === "added" && shown;
  });
  assert.deepEqual({ to_epoch, renewed }, { to_epoch: LAST, renewed: false });
  upgraded = read("old.pdf.vouch");
});
after(() => cluster?.stop());

const filesOf = (bundle) => [fileNamed("old.pdf", BYTES), fileNamed("old.pdf.vouch", bundle)];

/** The upgraded bundle with its later epochs, from epoch 1 on, altered. */
function withEpochs(alter) {
  const json = JSON.parse(upgraded);
  alter(json.epochs);
  return JSON.stringify(json);
}

// Places in the certificate of a handoff by up to eight members; see "Later committees" in PROTOCOL.md.
const CLOSING = 48;
const SIGNATURE = 131;

/** The upgraded bundle with one bit of the handoff to this epoch flipped. */
const flippedIn = (epoch, place) =>
  withEpochs((epochs) => {
    const handoff = fromBase64url(epochs[epoch - 1].handoff);
    assert.equal(handoff.length, SIGNATURE + 96);
    handoff[place] ^= 1;
    epochs[epoch - 1].handoff = toBase64url(handoff);
  });

const forgedSignature = (epoch) => flippedIn(epoch, SIGNATURE + 95);

async function assertChainsAreInvalid(page, bundles) {
  for (const [name, bundle] of Object.entries(bundles)) {
    try {
      assertInvalid(await judge(page, filesOf(bundle)), "chain");
    } catch (error) {
      throw new Error(`${name}: ${error.message}`, { cause: error });
    }
  }
}

const forgeries = () => ({
  "another signature of the last handoff": forgedSignature(LAST),
  "a chain without the sixth handoff": withEpochs((epochs) => epochs.splice(5, 1)),
});

// Who pins a committee need not look at the signatures of the handoffs before it, which it fixes.
const forgeriesWithoutPin = () => ({
  ...forgeries(),
  "another signature of the first handoff": forgedSignature(1),
  "another signature of the seventh handoff": forgedSignature(7),
});

const chainOf = (page) => page.locator("#verify [data-check=chain] .check-meaning").innerText();

/** Asserts that the verdict is VALID, and that the page shows epochs 0 to 12 with the certificate at epoch 0. */
async function assertValidAfterTwelve(page, { state, outcomes, text }, seal) {
  assert.equal(state, "valid", text);
  assert.deepEqual([outcomes.chain, outcomes.closing, outcomes.seal], ["passed", "passed", seal], text);
  assert.equal(await page.locator("#verify details:has(.epochs) summary").innerText(), `The committees of this cluster: ${LAST + 1} epochs`);
  const line = page.locator("#verify .epochs");
  assert.deepEqual(await line.locator("[data-epoch]").evaluateAll((all) => all.map(({ dataset }) => dataset.epoch)), ["0", "1", "2", "11", "12"]);
  const own = line.locator("[aria-current=step]");
  assert.equal(await own.getAttribute("data-epoch"), "0");
  assert.match(await own.innerText(), /^Founding\s+4 replicas\s+closed[^]*this certificate$/);
  assert.match(await line.locator("[data-epoch='1']").innerText(), /^Epoch 1\s+5 replicas\s+joined:\s+replica-5\s+closed/);
  assert.match(await line.locator("[data-epoch='12']").innerText(), /^Epoch 12\s+4 replicas\s+left:\s+replica-1$/);
}

browserTest("offline, a certificate of epoch 0 is verified after twelve handoffs of a cluster that is gone", async (open) => {
  const { url } = cluster;
  const page = await openPage(open, address(url, { cluster: identity }), { allow: [/ERR_INTERNET_DISCONNECTED/, /ERR_CONNECTION_REFUSED/] });
  const remembered = () => page.locator("#trust [data-verified-committee]").getAttribute("data-verified-committee");
  await showTab(page, "Verify");
  await page.context().setOffline(true);
  await cluster.stop();
  await assert.rejects(fetch(url));
  await assert.rejects(page.evaluate(() => fetch("/healthz")), /Failed to fetch/);

  // The bundle from before knows of no handoff.
  assertValid(await judge(page, filesOf(old)));
  assert.equal(await page.locator("#verify .epochs").count(), 0);
  await assertChainsAreInvalid(page, forgeriesWithoutPin());
  assert.equal(await remembered(), "");

  // By the identity alone, which no seal counts for.
  await assertValidAfterTwelve(page, await judge(page, filesOf(upgraded)), "waived");
  assert.equal(await chainOf(page), "its committee is the founding one");

  // By the committee of epoch 12, which the page remembers.
  await until("the committee of epoch 12 is remembered", async () => (await remembered()) === checkpoint);
  const again = await judge(page, filesOf(upgraded));
  await assertValidAfterTwelve(page, again, "passed");
  assert.ok(again.text.includes("by its committee of epoch 12, which this device verified on "), again.text);
  assert.equal(await chainOf(page), "its committee is 12 handoffs before the one of epoch 12, which this device verified");
  await assertChainsAreInvalid(page, { ...forgeries(), "another closing of epoch 6": flippedIn(7, CLOSING) });
  assertValid(await judge(page, filesOf(old)));
  assert.equal(await remembered(), checkpoint);
});

browserTest("verify.html, opened as a file, verifies that certificate, too", async (open) => {
  const html = pathToFileURL(join(PAGE, "verify.html")).href;
  const page = await openPage(open, address(html, { cluster: identity }), { offline: true });
  await assertChainsAreInvalid(page, forgeriesWithoutPin());
  await assertValidAfterTwelve(page, await judge(page, filesOf(upgraded)), "waived");
});
