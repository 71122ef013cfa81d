// Every test has its own contexts, and fails on any error that its pages report.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, launch } from "./chromium.mjs";

after(close);

// Runs in every document before its own scripts.
function reportViolations() {
  const report = (what) => globalThis.vouchTestReport(what);
  addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sourceFile, sample }) => report(`${effectiveDirective} forbids ${blockedURI} in ${sourceFile ?? "?"} ${sample}`));
  new ReportingObserver((reports) => reports.forEach(({ type, body }) => report(`${type}: ${JSON.stringify(body)}`)), { buffered: true }).observe();
}

/** Errors reported by the pages of one context. */
class Complaints {
  #allowed;
  #all = [];

  constructor(allowed) {
    this.#allowed = allowed;
  }

  add(kind, text) {
    if (!this.#allowed.some((pattern) => pattern.test(text))) this.#all.push(`${kind}: ${text}`);
  }

  async watch(context) {
    await context.exposeFunction("vouchTestReport", (text) => this.add("policy", text));
    await context.addInitScript(reportViolations);
    context.on("weberror", (error) => this.add("error", error.error().stack ?? String(error.error())));
    context.on("dialog", (dialog) => {
      this.add("dialog", dialog.message());
      dialog.dismiss().catch(() => {});
    });
    context.on("console", (message) => {
      if (message.type() === "error" || /Content Security Policy|Trusted/.test(message.text())) this.add("console", `${message.text()} (${message.location().url})`);
    });
    context.on("page", (page) => page.on("crash", () => this.add("crash", page.url())));
  }

  // Violations in workers appear in the log only.
  async watchWorkers(page) {
    const session = await page.context().newCDPSession(page);
    session.on("Log.entryAdded", ({ entry: { source, level, text } }) => source === "worker" && level === "error" && this.add("worker", text));
    await session.send("Log.enable");
  }

  get all() {
    return this.#all;
  }
}

/** The contexts of one test. */
class Session {
  #contexts = [];

  /** A page in its own context. `allow`: patterns of console errors that the test provokes; the rest are context options. */
  open = async (url, { allow = [], ...options } = {}) => {
    const context = await (await launch()).newContext({ viewport: { width: 1024, height: 800 }, ...options });
    const complaints = new Complaints(allow);
    this.#contexts.push({ context, complaints });
    await complaints.watch(context);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    await complaints.watchWorkers(page);
    if (url) await page.goto(url);
    return page;
  };

  get complaints() {
    return this.#contexts.flatMap(({ complaints }) => complaints.all);
  }

  async shoot(name) {
    const folder = process.env.VOUCH_FAILURES;
    const pages = folder ? this.#contexts.flatMap(({ context }) => context.pages()) : [];
    for (const [i, page] of pages.entries()) await page.screenshot({ path: `${folder}/${name.replaceAll(/\W+/g, "-")}-${i}.png`, fullPage: true }).catch(() => {});
  }

  async close() {
    await Promise.all(this.#contexts.map(({ context }) => context.close()));
  }
}

// The test runner's own timeout would lose the details of the failure.
async function within(milliseconds, work) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not over after ${milliseconds} ms`)), milliseconds)));
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** A test that opens pages: `body(open)`. VOUCH_FAILURES names a folder for screenshots of failures. */
export function browserTest(name, body, { timeout = 60_000 } = {}) {
  test(name, async (t) => {
    const session = new Session();
    try {
      await within(timeout, body(session.open, t));
      assert.deepEqual(session.complaints, [], "the page complained");
    } catch (error) {
      // They may be the cause of the failure.
      for (const complaint of session.complaints) t.diagnostic(complaint);
      await session.shoot(name);
      throw error;
    } finally {
      await session.close();
    }
  });
}
