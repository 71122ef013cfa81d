// The page detects every lie of a server.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before } from "node:test";
import { digestOf } from "../independent/bytes.mjs";
import { toBase58 } from "../independent/text.mjs";
import { browserTest } from "./support/browser.mjs";
import { CERTIFICATE_LIES, IDENTITY, LINK_LIES, READ_LIES, honest, startLyingServer } from "./support/lying_server.mjs";
import { address, assertValid, certify, ends, fileNamed, jobOf, openPage, save, showTab, verdictOf } from "./support/page.mjs";

const BYTES = Buffer.from("What the server is asked to keep.\n");
const DIGEST = toBase58(digestOf(BYTES));
// Too large for one message with its offer: the answer to such an offer may be an earlier certificate, which has another salt.
const SCAN = Buffer.alloc(100_000, BYTES);

let server;
let trusted;
before(async () => {
  server = await startLyingServer();
  trusted = address(server.url, { cluster: IDENTITY });
});
after(() => server?.close());

// What the page must show: the code, and words that name the lie.
const SAID = {
  "forged signature": ["invalid", /signature/],
  "signature of no point": ["invalid", /signature/],
  "another digest": ["invalid", /digest/],
  "another length": ["invalid", /length/],
  "another salt": ["invalid", /another put/],
  "shorter duty": ["invalid", /another put/],
  "too few signers": ["invalid", /signers: expected at least 3, got 2/],
  "a signer who did not sign": ["invalid", /signature/],
  "old certificate": ["invalid", /old certificate/],
  "certificate of the future": ["invalid", /issued_at/],
  "certificate of another cluster": ["invalid", /committee/],
  "truncated certificate": ["protocol", /malformed/],
  "another cluster": ["trust", /another identity/],
  "another cluster on the link": ["invalid", /another cluster/],
  "another committee": ["invalid", /another cluster/],
  "hello of another cluster": ["trust", /another identity/],
  "forged possession": ["invalid", /proofs of possession/],
  "bad Auth": ["invalid", /authenticate/],
  "no Auth": ["protocol", /expected Auth/],
  garbage: ["protocol", /malformed/],
  "garbage certificate": ["protocol", /malformed/],
};
// A server that hangs up may return: the page waits, and shows no success meanwhile.
const HANGING_UP = ["hangs up", "hangs up when signed"];

browserTest("the same server is accepted when honest", async (open) => {
  server.lie = null;
  const page = await openPage(open, trusted);
  await certify(page, fileNamed("honest.txt", BYTES));
  await ends(jobOf(page, "honest.txt"), "certified");
  assertValid(await verdictOf(jobOf(page, "honest.txt")));
});

for (const lie of [...CERTIFICATE_LIES, ...LINK_LIES]) {
  browserTest(`lie: ${lie}`, async (open) => {
    server.lie = lie;
    const page = await openPage(open, trusted, { allow: [/WebSocket connection/] });
    await certify(page, fileNamed("lied-to.txt", SCAN));
    const job = jobOf(page, "lied-to.txt");
    if (HANGING_UP.includes(lie)) await job.getByText(/^Connection lost\. Trying again in/).waitFor();
    else await assertSaid(page, job, SAID[lie]);
    assert.equal(await job.getByRole("link", { name: /^Save / }).count(), 0);
    assert.equal(await page.locator(".verdict[data-state=valid]").count(), 0);
    assert.doesNotMatch(await job.innerText(), /\bVALID\b/);
  });
}

async function assertSaid(page, job, [code, words]) {
  await ends(job, "failed");
  const problem = job.locator(".problem");
  const text = await problem.innerText();
  assert.equal(await problem.getAttribute("data-code"), code, text);
  assert.match(text, words);
  if (code === "invalid" || code === "trust") await assertNamesBoth(page, job);
}

// Expected and got: in the job, or in the refusal of the whole server.
async function assertNamesBoth(page, job) {
  for (const field of ["expected", "got"]) {
    const texts = [...(await job.locator(`[data-field=${field}]`).allInnerTexts()), ...(await page.locator(`[role=alert] [data-field=${field}]`).allInnerTexts())];
    assert.ok(texts.some((text) => text.trim() !== ""), `no ${field} in: ${await job.innerText()}`);
  }
}

async function fetchBlob(page) {
  await showTab(page, "Fetch");
  await page.getByRole("textbox", { name: "Digest" }).fill(DIGEST);
  await page.locator("#fetch").getByRole("button", { name: "Fetch", exact: true }).click();
  return page.locator("#fetch .job");
}

const saved = async (page, job) => readFileSync(await (await save(page, job.getByRole("link", { name: /^Save / }))).path());

browserTest("bytes of the honest server can be fetched", async (open) => {
  server.lie = null;
  server.blobs.set(DIGEST, BYTES);
  const page = await openPage(open, trusted);
  const job = await fetchBlob(page);
  await ends(job, "fetched");
  assert.deepEqual(await saved(page, job), BYTES);
});

for (const lie of READ_LIES) {
  browserTest(`lie: ${lie}`, async (open) => {
    server.lie = lie;
    server.blobs.set(DIGEST, BYTES);
    const page = await openPage(open, trusted);
    const job = await fetchBlob(page);
    const isAlone = lie.endsWith("by one");
    await ends(job, isAlone ? "fetched" : "failed");
    const rejected = await job.locator("[data-rejected]").allInnerTexts();
    const names = honest.members.map(({ name }) => name);
    const isNamed = (text) => names.filter((name) => text.includes(name));
    if (isAlone) {
      assert.deepEqual(isNamed(rejected.join()), [names[server.liar]]);
      assert.deepEqual(await saved(page, job), BYTES);
    } else {
      assert.deepEqual(isNamed(await job.locator(".problem").innerText()), names);
      assert.equal(await job.getByRole("link", { name: /^Save / }).count(), 0);
    }
  });
}

browserTest("a blob without holders is not found", async (open) => {
  server.lie = null;
  server.blobs.clear();
  const page = await openPage(open, trusted);
  const job = await fetchBlob(page);
  await ends(job, "failed");
  assert.equal(await job.locator(".problem").getAttribute("data-code"), "not-found");
});
