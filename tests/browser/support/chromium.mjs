// One Chromium per process.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const FINDER = fileURLToPath(new URL("../chromium.sh", import.meta.url));
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let launching;

/** The browser, started on first use. */
export function launch() {
  launching ??= chromium.launch({ executablePath: execFileSync(FINDER, { encoding: "utf8" }).trim(), args: QUIET });
  return launching;
}

export const close = async () => (await launching)?.close();
