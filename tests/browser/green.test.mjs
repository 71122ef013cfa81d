// Green means verified: no signature, tick, ring or list is green unless this verdict verified the signature.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { committeeNamed } from "../vectors/generator/world.mjs";
import { toBase58 } from "../independent/text.mjs";
import { browserTest } from "./support/browser.mjs";
import { altered, bundleFor } from "./support/bundles.mjs";
import { IDENTITY, OTHER_IDENTITY, startLyingServer } from "./support/lying_server.mjs";
import { address, certify, clear, ends, fileNamed, give, jobOf, judge, openPage, reaches, showTab } from "./support/page.mjs";
import { until } from "./support/until.mjs";

const BYTES = Buffer.from("What is shown as verified has to be.\n");
const FILE = fileNamed("report.pdf", BYTES);
const OTHER = fileNamed("report.pdf", "Something else.\n");
const now = () => Math.floor(Date.now() / 1000);
const vouch = (text) => fileNamed("report.pdf.vouch", text);
const forge = (text) => altered(text, ({ receipt }) => ({ receipt: { salt: receipt.salt.map((byte) => byte ^ 1) } }));
const good = bundleFor(BYTES);
const forged = forge(good);
const expired = bundleFor(BYTES, { issuedAt: now() - 7200, expiresAt: now() - 3600 });

let server;
before(async () => {
  server = await startLyingServer();
});
after(() => server?.close());

/** Names of the visible elements drawn in green. */
const greens = (page) =>
  page.evaluate(() => {
    const probe = document.body.appendChild(document.createElement("i"));
    const shades = ["--good", "--good-wash"].map((name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    });
    probe.remove();
    const isGreen = (value) => shades.some((shade) => value.includes(shade));
    const draws = (node, style) => {
      const isSvg = node instanceof SVGElement && !(node instanceof SVGSVGElement);
      if (isSvg) return [style.fill, style.stroke];
      const hasText = [...node.childNodes].some(({ nodeType, data }) => nodeType === Node.TEXT_NODE && data.trim() !== "");
      return [style.backgroundColor, style.backgroundImage, style.borderTopWidth === "0px" ? "" : style.borderTopColor, hasText ? style.color : ""];
    };
    return [...document.body.querySelectorAll("*")]
      .filter((node) => node.checkVisibility() && draws(node, getComputedStyle(node)).some(isGreen))
      .map((node) => `${node.tagName.toLowerCase()}.${node.getAttribute("class") ?? ""} in ${node.parentElement.getAttribute("class") ?? node.parentElement.tagName}`);
  });

const openAll = (page) => page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));

async function assertGreen(page, isExpected, what) {
  await openAll(page);
  const found = await greens(page);
  if (isExpected) assert.ok(found.some((name) => /node|cell|arc|bar-fill/.test(name)), `${what}: the committee is not green: ${found.join("; ")}`);
  else assert.deepEqual(found, [], what);
}

async function verifying(open, identity) {
  const page = await openPage(open, address(server.url, { cluster: identity }), { reducedMotion: "reduce" });
  await showTab(page, "Verify");
  return page;
}

browserTest("no element of a certificate that is not genuine is green, in any flow", async (open) => {
  const page = await verifying(open, IDENTITY);
  await give(page, [FILE]);
  await assertGreen(page, false, "a file alone");
  await clear(page);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await judge(page, [vouch(forged)]);
    await assertGreen(page, false, `a forged bundle alone, ${colorScheme}`);
    await judge(page, [FILE, vouch(forged)]);
    await assertGreen(page, false, `a forged bundle with the file, ${colorScheme}`);
  }
  await judge(page, [OTHER, vouch(forged)]);
  await assertGreen(page, false, "a forged bundle with another file");
  await judge(page, [FILE, vouch("{")]);
  await assertGreen(page, false, "a damaged bundle");
  const elsewhere = await verifying(open, OTHER_IDENTITY);
  await judge(elsewhere, [FILE, vouch(good)]);
  await assertGreen(elsewhere, false, "a bundle of another cluster");
});

browserTest("the committee of a genuine certificate is green, whatever the file and the time", async (open) => {
  const page = await verifying(open, IDENTITY);
  for (const [files, verdict, what] of [
    [[FILE, vouch(good)], "valid", "valid"],
    [[vouch(good)], "cannot-check", "a bundle alone"],
    [[OTHER, vouch(good)], "invalid", "another file"],
    [[FILE, vouch(expired)], "invalid", "expired"],
  ]) {
    const { state, text } = await judge(page, files);
    assert.equal(state, verdict, what);
    assert.match(text, /genuine\? Yes/, what);
    await assertGreen(page, true, what);
  }
});

browserTest("a large committee is green under the same rule", async (open) => {
  const committee = committeeNamed("n100");
  const large = bundleFor(BYTES, { committee });
  const page = await verifying(open, toBase58(committee.digest));
  await judge(page, [FILE, vouch(forge(large))]);
  await assertGreen(page, false, "forged");
  await judge(page, [FILE, vouch(large)]);
  await assertGreen(page, true, "valid");
});

browserTest("another file and a forged certificate have different texts", async (open) => {
  const page = await verifying(open, IDENTITY);
  const another = await judge(page, [OTHER, vouch(good)]);
  assert.match(another.text, /The certificate is genuine, but this is another file/);
  assert.match(another.text, /genuine\? Yes[^]*the file\? No[^]*in force\? Yes/);
  for (const file of [FILE, OTHER]) {
    const { text } = await judge(page, [file, vouch(forged)]);
    assert.match(text, /The certificate is forged or was altered/);
    assert.match(text, /genuine\? No[^]*the file\? Not answered[^]*in force\? Not answered/);
    assert.doesNotMatch(text, /another file/);
    assert.doesNotMatch(text, /\bsigned\n/, "a member of a forged certificate is no signer");
  }
  const late = await judge(page, [OTHER, vouch(expired)]);
  assert.match(late.text, /another file.+ The certificate has expired\./);
  const alone = await judge(page, [vouch(expired)]);
  assert.match(alone.text, /The certificate is genuine\. Add the file[^.]+\. The certificate has expired\./);
});

browserTest("got is the file's value, expected the certificate's", async (open) => {
  const page = await verifying(open, IDENTITY);
  const { expected, got, facts } = await judge(page, [OTHER, vouch(good)]);
  assert.equal(expected, facts["digest-base58"]);
  assert.notEqual(got, expected);
  const terms = await page.locator("#verify .comparison dt").allInnerTexts();
  assert.deepEqual(terms, ["in the certificate (expected)", "of your file (got)"]);
});

browserTest("the server's claims about replicas are not green during a put, and are once certified", async (open) => {
  server.lie = "never certifies";
  const page = await openPage(open, address(server.url, { cluster: IDENTITY }), { reducedMotion: "reduce" });
  await page.locator("#server [aria-expanded]").click();
  // Too large for one message with its offer: the server reports the members' progress.
  await certify(page, fileNamed("report.pdf", Buffer.alloc(100_000, BYTES)));
  const job = jobOf(page, "report.pdf");
  await reaches(job, "waiting");
  await until("the server says that somebody signed", async () => (await job.locator('.member[data-state="signed"]').count()) > 0);
  await assertGreen(page, false, "waiting");
  await page.getByRole("button", { name: "Cancel report.pdf" }).click();
  server.lie = null;
  await certify(page, fileNamed("another.pdf", BYTES));
  await ends(jobOf(page, "another.pdf"), "certified");
  await assertGreen(page, true, "certified");
});
