// Permissions by origin: the server's own page, pages on other hosts, and stored files.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { browserTest } from "./support/browser.mjs";
import { startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertValid, certify, ends, fileNamed, jobOf, openPage, save, verdictOf } from "./support/page.mjs";
import { startStaticHost } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";
import { certificateOf } from "./support/bundles.mjs";
import { toBase58, toHex } from "../independent/text.mjs";

// A page first asks whether its own host is a server.
const NO_SERVER_HERE = /status of 404 .*\/v1\/cluster/;
// Console errors that a page of a foreign origin provokes: the browser reports each refusal.
const REFUSED = [/blocked by CORS policy/, /Failed to load resource/, /WebSocket connection/];

let cluster;
let identity;
let friend; // a host whose origin is allowed
let stranger;
let plain; // a foreign page without a content security policy
before(async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>Another page</title>");
  [friend, stranger, plain] = await Promise.all([startStaticHost(), startStaticHost(), startStaticHost(folder)]);
  cluster = await startCluster({ serverArguments: ["--allow-origin", new URL(friend.url).origin] });
  identity = await cluster.identity();
});
after(async () => {
  friend?.close();
  stranger?.close();
  plain?.close();
  await cluster?.stop();
});

const EVIL = `<!doctype html><title>evil</title><script>
document.title = "ran"; localStorage.setItem("evil", "ran"); alert("ran"); fetch("/v1/cluster?evil=ran");
</script><h1 onclick="alert(1)">Evil</h1>`;

browserTest("a stored HTML file is downloaded when opened, and its scripts do not run", async (open) => {
  const answer = await fetch(new URL("/v1/blobs", cluster.url), { method: "PUT", body: EVIL });
  assert.equal(answer.status, 201, await answer.clone().text());
  const digest = certificateOf(await answer.text()).receipt.digest;

  for (const name of [toBase58(digest), toHex(digest)]) {
    const url = new URL(`/v1/blobs/${name}`, cluster.url).href;
    const page = await openPage(open, address(cluster.url, { cluster: identity }));
    const requests = [];
    page.context().on("request", (request) => requests.push(request.url()));
    const [download] = await Promise.all([page.waitForEvent("download"), page.goto(url).catch(() => {})]);
    assert.equal(download.url(), url);
    const popup = page.waitForEvent("popup");
    await page.evaluate((target) => void open(target), url);
    await (await popup).waitForEvent("download").catch(() => {});
    await page.waitForTimeout(300);
    assert.equal(await page.evaluate(() => localStorage.getItem("evil")), null);
    assert.deepEqual(requests.filter((one) => one.includes("evil")), []);
    assert.notEqual(await page.title(), "ran");
  }

  const { headers } = await fetch(new URL(`/v1/blobs/${toHex(digest)}`, cluster.url));
  assert.equal(headers.get("content-type"), "application/octet-stream");
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  assert.match(headers.get("content-disposition"), /^attachment\b/);
  assert.match(headers.get("content-security-policy"), /\bsandbox\b/);
});

browserTest("a page on an allowed host certifies, with #server=", async (open) => {
  const page = await openPage(open, address(friend.url, { cluster: identity, server: cluster.address }), { allow: [NO_SERVER_HERE] });
  await until("the server is ready", async () => (await page.locator("#server").getAttribute("data-state")) === "ready");
  assert.equal(await page.locator("#server").getAttribute("data-from"), "address");
  await certify(page, fileNamed("from-elsewhere.txt", "from a page of another host"));
  const job = jobOf(page, "from-elsewhere.txt");
  await ends(job, "certified");
  assertValid(await verdictOf(job));
  await save(page, job.getByRole("link", { name: "Save from-elsewhere.txt.vouch" }));
});

browserTest("a page on another host is refused, and says so", async (open) => {
  const page = await openPage(open, address(stranger.url, { cluster: identity, server: cluster.url }), { allow: REFUSED });
  await until("the server refuses", async () => (await page.locator("#server").getAttribute("data-state")) === "not-allowed");
  await certify(page, fileNamed("refused.txt", "from a page that may not"));
  const job = jobOf(page, "refused.txt");
  await ends(job, "failed");
  assert.equal(await job.locator(".problem").getAttribute("data-code"), "origin");
  assert.ok((await job.innerText()).includes(`--allow-origin ${new URL(stranger.url).origin}`), await job.innerText());
  assert.equal(await job.locator(".verdict").count(), 0);
});

browserTest("a page on another host cannot put by any method", async (open) => {
  const page = await open(plain.url, { allow: REFUSED });
  const tried = await page.evaluate(async (server) => {
    const put = (body, headers) => fetch(new URL("/v1/blobs", server), { method: "PUT", body, headers }).then(({ status }) => status, String);
    const link = await new Promise((resolve) => {
      const socket = new WebSocket(new URL("/v1/link", server.replace("http", "ws")), "vouch.v1");
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    });
    return { put: await put("x"), typed: await put("x", { "content-type": "text/plain" }), status: await fetch(new URL("/v1/cluster", server)).then(() => "read", () => "refused"), link };
  }, cluster.url);
  assert.equal(tried.link, "refused");
  assert.equal(tried.status, "refused");
  assert.match(String(tried.put), /Failed to fetch/);
  assert.match(String(tried.typed), /Failed to fetch/);
});

browserTest("the page cannot be framed", async (open) => {
  const page = await open(plain.url, { allow: [/frame-ancestors/, /favicon/] });
  const framed = await page.evaluate(async (url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    const loaded = new Promise((resolve) => (frame.onload = resolve));
    document.body.append(frame);
    await loaded;
    return frame.contentDocument === null; // the browser's error page has an opaque origin
  }, cluster.url);
  assert.ok(framed);
  const inner = page.frames().find((frame) => frame !== page.mainFrame());
  assert.equal(await inner.locator("#certify").count(), 0);
});
