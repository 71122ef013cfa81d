// Accessibility: axe-core in every state, and use by keyboard alone.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before } from "node:test";
import { checkAccessibility } from "./support/axe.mjs";
import { browserTest } from "./support/browser.mjs";
import { temporaryFolder } from "./support/cluster.mjs";
import { IDENTITY, startLyingServer } from "./support/lying_server.mjs";
import { address, assertInvalid, assertValid, ends, fileNamed, jobOf, openPage, statesOf, verdictOf } from "./support/page.mjs";
import { allStates } from "./support/states.mjs";
import { startStaticHost } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";

const folder = temporaryFolder();

let server;
let host;
before(async () => {
  [server, host] = await Promise.all([startLyingServer(), startStaticHost()]);
});
after(() => {
  server?.close();
  host?.close();
});

// Dark differs from light only in colours.
const SCHEMES = [["light"], ["dark", ["color-contrast", "link-in-text-block"]]];

browserTest(
  "axe-core finds nothing serious in any state, light or dark",
  async (open, t) => {
    const states = allStates({ open, server, elsewhere: host.url, folder });
    const findings = [];
    for (const [name, make] of states) {
      const page = await make();
      for (const [colorScheme, rules] of SCHEMES) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await checkAccessibility(page, `${name}, ${colorScheme}`, rules).catch((error) => findings.push(error.message));
      }
      await page.context().close();
    }
    assert.deepEqual(findings, []);
    t.diagnostic(`${states.length} states`);
  },
  { timeout: 180_000 },
);

const MOST_TABS = 60;

// Presses Tab until the element has the focus, and asserts that it is visible.
async function tabTo(page, locator) {
  for (let i = 0; i < MOST_TABS; i++) {
    if (await locator.evaluate((node) => node === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${MOST_TABS} times Tab did not reach ${locator}`);
}

async function chooseByKeyboard(page, label, files) {
  const input = page.getByLabel(label);
  await tabTo(page, input);
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Enter")]);
  await chooser.setFiles(files);
}

async function saveByKeyboard(page, link) {
  await tabTo(page, link);
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  return download.path();
}

browserTest("a file is certified, saved and verified by keyboard alone", async (open) => {
  server.lie = null;
  const page = await openPage(open, address(server.url, { cluster: IDENTITY }));
  page.on("filechooser", () => {}); // a listener keeps dialogs from opening; waiting for the first would be too late
  const file = fileNamed("typed.txt", "typed, never clicked\n");
  await chooseByKeyboard(page, "Choose files to certify", [file]);
  const job = jobOf(page, "typed.txt");
  await ends(job, "certified");
  const bundle = readFileSync(await saveByKeyboard(page, job.getByRole("link", { name: /^Save / })));

  await page.reload();
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
  await tabTo(page, page.getByRole("tab", { name: "Certify" }));
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.getByRole("tab", { name: "Verify" }).getAttribute("aria-selected"), "true");
  await chooseByKeyboard(page, "Choose a file and its .vouch", [file, fileNamed("typed.txt.vouch", bundle)]);
  assertValid(await verdictOf(page.locator("#verify")));
  await until("it is announced", async () => /\bvalid\b/i.test(await page.locator("#announcer").innerText()));

  const remove = page.locator("#verify [data-slot=file]").getByRole("button", { name: "Remove typed.txt" });
  await page.keyboard.press("Shift+Tab");
  await tabTo(page, remove);
  await page.keyboard.press("Enter");
  await chooseByKeyboard(page, "Choose a file and its .vouch", [fileNamed("typed.txt", "typed otherwise\n")]);
  await until("it is judged again", async () => (await statesOf(page, "verify")).at(-1) === "judged" && (await verdictOf(page.locator("#verify"))).state === "invalid");
  assertInvalid(await verdictOf(page.locator("#verify")), "digest");
});

browserTest("the focused element shows its focus and is on screen", async (open) => {
  server.lie = null;
  const page = await openPage(open, address(server.url, { cluster: IDENTITY }), { viewport: { width: 320, height: 600 } });
  const seen = new Set();
  for (let i = 0; i < MOST_TABS; i++) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === null || node === document.body) return null;
      // A hidden input may show its focus on the label.
      const shown = node.type === "file" ? (node.closest("label") ?? document.querySelector(`label[for="${node.id}"]`) ?? node) : node;
      const { x, y, width, height } = shown.getBoundingClientRect();
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(shown);
      const outlined = (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
      return { name: `${node.tagName} ${node.id} ${node.textContent.trim().slice(0, 30)}`, outlined, onScreen: width > 0 && height > 0 && x >= 0 && x + width <= innerWidth && y + height > 0 && y < innerHeight };
    });
    if (focus === null) break;
    seen.add(focus.name);
    assert.ok(focus.outlined, `${focus.name} has the focus and does not show it`);
    assert.ok(focus.onScreen, `${focus.name} has the focus and is not on the screen`);
  }
  assert.ok(seen.size >= 4, [...seen].join(", "));
});

browserTest("no element is wider than a narrow window", async (open) => {
  const states = allStates({ open, server, elsewhere: host.url, folder }).filter(([name]) => ["log head, not verified", "op of the log", "block of the log", "first visit", "trust, long form", "certified", "several files", "valid", "forged", "fetched past a liar", "playing", "stopped", "not played, insecure"].includes(name));
  for (const [name, make] of states) {
    const page = await make();
    await page.setViewportSize({ width: 320, height: 800 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${name}: ${over} px too wide`);
    await page.context().close();
  }
});
