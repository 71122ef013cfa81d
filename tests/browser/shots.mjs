// Screenshots of every state, light and dark, in three widths: VOUCH_SHOTS=FOLDER node tests/browser/shots.mjs [PART OF A NAME]
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { close, launch } from "./support/chromium.mjs";
import { temporaryFolder } from "./support/cluster.mjs";
import { startLyingServer } from "./support/lying_server.mjs";
import { allStates } from "./support/states.mjs";
import { startStaticHost } from "./support/static_host.mjs";

const WIDTHS = [320, 768, 1280];

const target = process.env.VOUCH_SHOTS;
if (!target) {
  console.error("VOUCH_SHOTS must name the folder for the pictures");
  process.exit(2);
}
mkdirSync(target, { recursive: true });

const [server, host, browser] = await Promise.all([startLyingServer(), startStaticHost(), launch()]);
async function open(url, { allow, ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  if (url) await page.goto(url);
  return page;
}
const wanted = process.argv[2] ?? "";
for (const [name, make] of allStates({ open, server, elsewhere: host.url, folder: temporaryFolder() })) {
  if (!name.includes(wanted)) continue;
  try {
    const page = await make();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 800 });
        await page.screenshot({ path: join(target, `${name.replaceAll(/\W+/g, "-")}.${colorScheme}.${width}.png`), fullPage: true });
      }
    }
    await page.context().close();
    console.log(name);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
}
await close();
server.close();
host.close();
