// The page as its users see it: by roles, names and visible states.
import assert from "node:assert/strict";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./until.mjs";

/** A file for an input, from text or bytes. */
export const fileNamed = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });

/** The address of a page that trusts `cluster` and talks to `server`. */
export function address(url, { cluster, server } = {}) {
  const fragment = new URLSearchParams();
  if (cluster) fragment.set("cluster", cluster);
  if (server) fragment.set("server", server);
  return `${url}#${fragment}`;
}

// Records every state in order, also those between two looks.
function recordStates() {
  const seen = (globalThis.vouchTestStates = []);
  const nameOf = (node) => (node.dataset.member === undefined ? node.dataset.name : `${node.closest(".job")?.dataset.name}/${node.dataset.member}`) ?? node.id;
  const note = (name, state) => state !== null && state !== undefined && seen.findLast((one) => one.name === name)?.state !== state && seen.push({ name, state });
  new MutationObserver((records) => {
    for (const { type, target, oldValue, addedNodes } of records) {
      if (type === "attributes") note(nameOf(target), oldValue);
      for (const added of addedNodes) {
        for (const node of added.querySelectorAll?.("[data-state]") ?? []) note(nameOf(node), node.dataset.state);
        if (added.dataset?.state) note(nameOf(added), added.dataset.state);
      }
    }
    for (const { type, target } of records) if (type === "attributes") note(nameOf(target), target.dataset.state);
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"], attributeOldValue: true });
}

/**
 * Opens the page and waits until it has decided which cluster to trust. `offline`: without a network from the start. `late`: a pattern of
 * addresses that answer only after a second.
 */
export async function openPage(open, url, { offline = false, late = null, ...options } = {}) {
  const page = await open(undefined, options);
  await page.addInitScript(recordStates);
  if (offline) await page.context().setOffline(true);
  if (late !== null) await page.context().route(late, (route) => setTimeout(() => route.continue(), 1000));
  await page.goto(url);
  await ready(page);
  return page;
}

export const ready = (page) => page.locator("html[data-ready]").waitFor({ state: "attached" });

/** The states that a job, a job's member ("NAME/0") or a region ("verify") went through. */
export async function statesOf(page, name) {
  const all = await page.evaluate(() => globalThis.vouchTestStates);
  return all.filter((one) => one.name === name).map(({ state }) => state);
}

export const showTab = (page, name) => page.getByRole("tab", { name, exact: true }).click();

/** A job of Certify or Fetch, by its file's name. */
export const jobOf = (page, name) => page.locator(`.job[data-name=${JSON.stringify(name)}]`);

export async function certify(page, files) {
  await showTab(page, "Certify");
  await page.getByLabel("Choose files to certify").setInputFiles(files);
}

const LAST = ["certified", "failed", "cancelled", "fetched"];

/** Waits until the job ended, and asserts its outcome. */
export async function ends(job, state, milliseconds = 30_000) {
  let last;
  await until("the job ends", async () => LAST.includes((last = await job.getAttribute("data-state"))), milliseconds);
  assert.equal(last, state, await job.innerText());
}

export const reaches = (job, state, milliseconds) => until(`the job is ${state}`, async () => (await job.getAttribute("data-state")) === state, milliseconds);

export const save = async (page, link) => {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return download;
};

/** Saves a link's download into `folder` under its suggested name; returns the path. */
export async function saveTo(folder, page, link) {
  const download = await save(page, link);
  const path = join(folder, download.suggestedFilename());
  await download.saveAs(path);
  return path;
}

const verifyStates = (page) => statesOf(page, "verify");

/** Clears the Verify form. */
export async function clear(page) {
  const remove = page.locator("#verify [data-slot]").getByRole("button", { name: /^Remove / });
  while ((await remove.count()) > 0) await remove.first().click();
  await until("Verify is empty", async () => (await page.locator("#verify").getAttribute("data-state")) === "empty");
}

/** Gives Verify some files, and waits until it has processed them. */
export async function give(page, files) {
  const before = await verifyStates(page);
  await page.getByLabel("Choose a file and its .vouch").setInputFiles(files);
  const taken = async () => {
    const states = await verifyStates(page);
    return states.length > before.length && ["judged", "needs-bundle", "failed"].includes(states.at(-1));
  };
  await until("Verify takes the files", taken, 60_000);
}

/** Gives Verify its files step by step, and returns the verdict on all of them. */
export async function verify(page, ...steps) {
  for (const files of steps) await give(page, files);
  return verdictOf(page.locator("#verify"));
}

/** The verdict on these files alone. */
export async function judge(page, files) {
  await clear(page);
  return verify(page, files);
}

/** The verdict inside `scope`: state, check, expected, got, heading, outcomes by check, text. */
export async function verdictOf(scope) {
  const verdict = scope.locator(".verdict[data-state]");
  await verdict.waitFor();
  return verdict.evaluate((node) => {
    const within = node.parentElement.closest("#verify, .job") ?? node.parentElement;
    const field = (name) => within.querySelector(`[data-field=${name}]`)?.textContent ?? null;
    return {
      state: node.dataset.state,
      check: node.dataset.check || null,
      heading: node.querySelector("h1, h2, h3, h4, h5, h6, [role=heading]")?.textContent.trim(),
      expected: field("expected"),
      got: field("got"),
      outcomes: Object.fromEntries([...within.querySelectorAll("[data-check][data-outcome]")].map(({ dataset }) => [dataset.check, dataset.outcome])),
      facts: Object.fromEntries([...within.querySelectorAll("[data-fact]")].map((fact) => [fact.dataset.fact, (fact.querySelector("dd") ?? fact).textContent.trim()])),
      text: within.innerText,
    };
  });
}

const GENUINE = ["bundle", "certificate", "committee", "identity", "epoch", "signers", "possession", "chain", "signature", "closing"];
// What cannot be checked while the epoch of the certificate is open.
const OF_ENDED_EPOCHS = ["closing", "seal"];
const passedOrWaived = (check) => (OF_ENDED_EPOCHS.includes(check) ? "waived" : "passed");
const OF_LOG = {
  op: [GENUINE, ["proof", "block", "result", "op"], ["time"]],
  head: [GENUINE, ["height"], ["time"]],
  block: [GENUINE, ["ops", "block", "height"], ["time"]],
};

/** Asserts VALID for a bundle of the log (`of`: "op", "head" or "block"). Nothing in particular was asked for, so that one check is waived. */
export function assertValidOfLog(of, { state, heading, outcomes, text }) {
  assert.equal(state, "valid", text);
  assert.match(heading, /^VALID\b/);
  const outcome = (check) => (["op", "height"].includes(check) ? "waived" : passedOrWaived(check));
  assert.deepEqual(outcomes, Object.fromEntries(OF_LOG[of].flat().map((check) => [check, outcome(check)])));
}

/** Asserts INVALID for a bundle of the log, by this check, with expected and got, and without anything proved. */
export function assertInvalidOfLog(of, { state, check, heading, expected, got, outcomes, facts, text }, failed) {
  assert.deepEqual({ state, check }, { state: "invalid", check: failed }, text);
  assert.match(heading, /^INVALID\b/);
  assert.notEqual(expected, got);
  assert.ok(expected && got, text);
  assert.equal(outcomes[failed], "failed");
  assert.deepEqual(Object.keys(outcomes), OF_LOG[of].flat());
  assert.deepEqual(facts, {});
}

const QUESTIONS = [
  [...GENUINE, "seal"],
  ["digest", "length"],
  ["time", "expiry"],
];
export const CHECKS = QUESTIONS.flat();

/** Asserts VALID, with every check passed by name, of a certificate whose epoch is open. */
export function assertValid({ state, heading, outcomes, text }) {
  assert.equal(state, "valid", text);
  assert.match(heading, /^VALID\b/);
  assert.deepEqual(outcomes, Object.fromEntries(CHECKS.map((check) => [check, passedOrWaived(check)])));
}

/**
 * Asserts INVALID, with the check, expected and got. Earlier checks passed, and no later check of the same question was made.
 * If the certificate is genuine, the later questions are answered too, here with yes; otherwise they are not.
 */
export function assertInvalid({ state, check, heading, expected, got, outcomes, text }, failed) {
  assert.deepEqual({ state, check }, { state: "invalid", check: failed }, text);
  assert.match(heading, /^INVALID\b/);
  assert.ok(expected, `no expected: ${text}`);
  assert.ok(got, `no got: ${text}`);
  assert.notEqual(expected, got);
  const at = CHECKS.indexOf(failed);
  const of = QUESTIONS.find((checks) => checks.includes(failed));
  const isGenuine = of !== QUESTIONS[0];
  const outcome = (name, i) => (i < at || (isGenuine && !of.includes(name)) ? passedOrWaived(name) : name === failed ? "failed" : "not-reached");
  assert.deepEqual(outcomes, Object.fromEntries(CHECKS.map((name, i) => [name, outcome(name, i)])));
}

/** A sparse file of zeros. */
export function sparseFile(folder, name, size) {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, size);
  return path;
}

let patterns = 0;

/** A file on disk without repetition. */
export function patternFile(folder, name, size) {
  const path = join(folder, name);
  const block = new Uint32Array(1 << 18);
  writeFileSync(path, "");
  // Each file differs: an equal one would be certified already.
  for (let at = 0, state = ++patterns; at < size; at += block.byteLength) {
    for (let i = 0; i < block.length; i++) block[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    writeFileSync(path, new Uint8Array(block.buffer, 0, Math.min(block.byteLength, size - at)), { flag: "a" });
  }
  return path;
}

