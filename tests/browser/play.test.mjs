// A certified video plays from the replicas. Each byte is verified before the player gets it, and a changed byte stops it.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { digestOf } from "../independent/bytes.mjs";
import { toBase58 } from "../independent/text.mjs";
import { liars, startFront } from "./support/between.mjs";
import { bundleFor } from "./support/bundles.mjs";
import { browserTest } from "./support/browser.mjs";
import { startCluster } from "./support/cluster.mjs";
import { makeFilm } from "./support/film.mjs";
import { address, ends, fileNamed, openPage, showTab } from "./support/page.mjs";
import { startStaticHost } from "./support/static_host.mjs";
import { until } from "./support/until.mjs";

const MIB = 1 << 20;
const SECONDS = 75;
const replicas = liars();
const HONEST = { flipAt: null, change: null, holds: () => false };

let cluster;
let front;
let friend; // a file host whose origin the server allows
let trusted;
let film;
let digest;
let bundle;
before(async () => {
  friend = await startStaticHost();
  cluster = await startCluster({ via: replicas.via, serverArguments: ["--allow-origin", new URL(friend.url).origin] });
  front = await startFront(cluster.url);
  trusted = address(front.url, { cluster: await cluster.identity() });
  film = await makeFilm({ seconds: SECONDS });
  ({ digest, bundle } = await put(film));
});
after(async () => {
  front?.close();
  friend?.close();
  await cluster?.stop();
  replicas.close();
});

async function put(bytes) {
  const answer = await fetch(new URL("/v1/blobs", cluster.url), { method: "PUT", body: bytes });
  const text = await answer.text();
  assert.equal(answer.status, 201, text);
  return { digest: toBase58(digestOf(bytes)), bundle: text };
}

/** Enters a digest in an open page; returns the card and its play button. */
async function named(page, wanted = digest) {
  await showTab(page, "Fetch");
  await page.getByRole("textbox", { name: "Digest" }).fill(wanted);
  return { play: () => page.locator("#fetch").getByRole("button", { name: "Play", exact: true }).click(), card: page.locator("#fetch .job").first() };
}

/** Opens the page and enters a digest. */
async function ask(open, wanted = digest, options = {}) {
  Object.assign(front, HONEST, { asked: [] });
  const page = await openPage(open, trusted, options);
  return { page, ...(await named(page, wanted)) };
}

async function playing(open, ...how) {
  const { page, play, card } = await ask(open, ...how);
  front.holds = how[2] ?? front.holds;
  await play();
  await card.locator("video").waitFor();
  return { page, card, video: card.locator("video") };
}

const state = (card) => card.getAttribute("data-state");
const reaches = (card, wanted) => until(`the card is ${wanted}`, async () => (await state(card)) === wanted);
const moves = async (video) => {
  const at = await video.evaluate((node) => node.currentTime);
  await until("the film goes on", () => video.evaluate((node, from) => node.currentTime > from, at));
};
const seek = async (video, to) => {
  await video.evaluate((node, time) => (node.currentTime = time), to);
  await until(`it is at ${to} s`, () => video.evaluate((node) => !node.seeking && node.readyState >= 2));
};

// The hue in a corner of the current frame, in degrees.
const hue = (video) =>
  video.evaluate((node) => {
    const canvas = new OffscreenCanvas(8, 8);
    const context = canvas.getContext("2d");
    context.drawImage(node, 0, 0, 8, 8);
    const [r, g, b] = context.getImageData(0, 0, 1, 1).data.map((value) => value);
    const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
    if (most === least) return null;
    const turn = most === r ? (g - b) / (most - least) : most === g ? 2 + (b - r) / (most - least) : 4 + (r - g) / (most - least);
    return (turn * 60 + 360) % 360;
  });
// The hue that the film has at this time.
const hueAt = (seconds) => (Math.floor(seconds * 2) * 360) / (SECONDS * 2);
const assertShows = async (video, seconds) => {
  const seen = await hue(video);
  const off = Math.abs(((seen - hueAt(seconds) + 540) % 360) - 180);
  assert.ok(off < 12, `at ${seconds} s: hue ${seen}, expected ${hueAt(seconds)}`);
};

browserTest("a film plays, seeks to the end and back, and requests only what it needs", async (open) => {
  const middle = ({ start }) => start >= 8 * MIB && start < film.length - 5 * MIB;
  const { page, card, video } = await playing(open, digest, {}, middle);
  await reaches(card, "playing");
  assert.equal(await card.locator(".verdict").getAttribute("data-state"), "valid");
  await moves(video);
  assert.equal(await video.evaluate((node) => Math.round(node.duration)), SECONDS);
  await video.evaluate((node) => node.pause());

  await seek(video, SECONDS - 0.75);
  await assertShows(video, SECONDS - 0.75);
  // The bytes in between were withheld all the time.
  assert.ok(front.asked.some(({ start }) => start > film.length - 5 * MIB), JSON.stringify(front.asked));
  await seek(video, 7.25);
  await assertShows(video, 7.25);
  await seek(video, 0.25);
  await assertShows(video, 0.25);
  await video.evaluate((node) => node.play());
  await moves(video);

  // Requests are for windows within the file's bounds.
  for (const { start, end } of front.asked) assert.ok(start < end && end <= film.length && end - start <= 4 * MIB, `${start} ${end}`);
  assert.match(await card.innerText(), /verified so far/);
  assert.equal(await state(card), "playing");
  await card.getByRole("button", { name: /^Remove / }).click();
  assert.equal(await page.locator("#fetch video").count(), 0);
});

browserTest("the service worker serves only the player", async (open) => {
  const { page, video } = await playing(open, digest, { allow: [/404.*\/play\//, /ERR_FAILED/] });
  const url = await video.evaluate((node) => node.src);
  assert.equal(new URL(url).pathname, `/play/${digest}`);
  // The request reaches the server, which has no such path.
  assert.equal(await page.evaluate(async (address) => (await fetch(address)).status, url), 404);
  // A number that the page never assigned.
  const failed = await page.evaluate(
    (address) =>
      new Promise((resolve) => {
        const video = document.createElement("video");
        video.onerror = () => resolve(video.error.code);
        video.onloadedmetadata = () => resolve("played");
        video.src = address;
      }),
    url.replace(/\?.*/, "?77"),
  );
  assert.equal(failed, 4); // MEDIA_ERR_SRC_NOT_SUPPORTED
});

browserTest("a film is played from its digest by keyboard alone", async (open) => {
  const { page, card } = await ask(open);
  await page.getByRole("textbox", { name: "Digest" }).focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const video = card.getByLabel(`Player of ${digest}`);
  await video.waitFor();
  await until("the player has the focus", () => video.evaluate((node) => node === document.activeElement));
  await moves(video);
  await page.keyboard.press("Space");
  await until("it pauses", () => video.evaluate((node) => node.paused));
});

browserTest("a .vouch offers Play beside the download once its certificate is valid", async (open) => {
  Object.assign(front, HONEST, { asked: [] });
  const page = await openPage(open, trusted);
  await showTab(page, "Fetch");
  await page.getByLabel("Choose a .vouch").setInputFiles(fileNamed("film.webm.vouch", bundle));
  const job = page.locator("#fetch .job").first();
  await job.getByRole("button", { name: "Play film.webm.vouch" }).click();
  const video = page.locator("#fetch video");
  await video.waitFor();
  await moves(video);
});

browserTest("a .vouch of another cluster is not played", async (open) => {
  // By a test committee over the same bytes: a valid certificate of a cluster that is not trusted.
  const page = await openPage(open, trusted, { allow: [/404/] });
  const answer = (route) => route.fulfill({ contentType: "application/vnd.vouch.bundle+json", body: bundleFor(film) });
  await page.route("**/v1/certificates/*", answer);
  front.asked = [];
  const { play, card } = await named(page);
  await play();
  await ends(card, "failed");
  const verdict = card.locator(".verdict");
  assert.deepEqual([await verdict.getAttribute("data-state"), await verdict.getAttribute("data-check")], ["invalid", "identity"]);
  assert.match(await card.innerText(), /Nothing is played without a valid certificate/);
  assert.equal(await page.locator("#fetch video").count(), 0);
  assert.deepEqual(front.asked, []);
});

browserTest("a certificate of another file does not play this one", async (open) => {
  const other = await put(Buffer.from("Another file, certified by the same cluster.\n"));
  const page = await openPage(open, trusted);
  await page.route("**/v1/certificates/*", (route) => route.fulfill({ body: other.bundle }));
  const { play, card } = await named(page);
  await play();
  await ends(card, "failed");
  assert.equal(await card.locator(".verdict").getAttribute("data-check"), "digest");
  assert.equal(await page.locator("#fetch video").count(), 0);
});

for (const [what, isAtOnce] of [
  ["the first second", true],
  ["what is seeked to", false],
]) {
  browserTest(`a server that flips a byte of ${what} stops the film, and the page says why`, async (open) => {
    const { page, play, card } = await ask(open, digest, { allow: [/ERR_FAILED/] });
    const at = isAtOnce ? 5000 : film.length - MIB + 5000;
    front.flipAt = at;
    await play();
    // The player reads ahead as far as it can.
    front.holds = ({ start }) => !isAtOnce && start >= 8 * MIB && start < at - 4 * MIB;
    if (!isAtOnce) {
      const video = card.locator("video");
      await video.waitFor();
      await moves(video);
      await video.evaluate((node, time) => (node.currentTime = time), SECONDS - 0.75);
    }
    await reaches(card, "stopped");
    const problem = card.locator(".problem");
    const text = await problem.innerText();
    assert.equal(await problem.getAttribute("data-code"), "invalid", text);
    assert.match(text, /Stopped\. What the server sent is not the certified file: its bytes differ\./);
    assert.equal(await problem.locator("[data-field=check]").innerText(), "bytes");
    const [expected, got] = await Promise.all(["expected", "got"].map((name) => problem.locator(`[data-field=${name}]`).innerText()));
    for (const hash of [expected, got]) assert.match(hash, /^[0-9a-f]{64}$/);
    assert.notEqual(expected, got);
    const [, start, end] = /the bytes (\d+) to (\d+) differ/.exec(text).map(Number);
    assert.ok(start <= at && at < end, text);
    assert.equal(await page.locator("#fetch video").count(), 0);
    await until("it is announced", async () => /stopped/.test(await page.locator("#announcer").innerText()));

    front.flipAt = null;
    await card.getByRole("button", { name: /^Retry / }).click();
    await reaches(card, "playing");
    await moves(card.locator("video"));
  });
}

const LIES = {
  "another length": ["length", (body) => body.writeBigUInt64LE(BigInt(film.length - 1), 0)],
  "another range": ["range", (body) => body.writeBigUInt64LE(BigInt(1), 8)],
  "another proof": ["proof", (body) => (body[24 + 13] ^= 1)],
  "no slices at all": ["protocol", (body) => body.fill(0xff, 24)],
};
for (const [lie, [check, change]] of Object.entries(LIES)) {
  browserTest(`a server that sends ${lie} plays nothing`, async (open) => {
    const { play, card } = await ask(open, digest, { allow: [/ERR_FAILED/] });
    front.change = change;
    await play();
    await reaches(card, "stopped");
    assert.equal(await card.locator(".problem [data-field=check]").innerText(), check, await card.innerText());
  });
}

browserTest("a replica that flips a byte is skipped and named, and the film plays", async (open) => {
  const { play, card } = await ask(open);
  Object.assign(replicas, { isLying: true, liar: null, flipped: 0 });
  try {
    await play();
    const video = card.locator("video");
    await video.waitFor();
    await moves(video);
    assert.ok(replicas.flipped > 0, "nobody lied");
    const rejected = await card.locator("[data-rejected]").allInnerTexts();
    assert.equal(rejected.length, 1, rejected.join());
    assert.ok(rejected[0].includes(replicas.liar), `${rejected} ${replicas.liar}`);
    await seek(video, SECONDS - 1);
    await assertShows(video, SECONDS - 1);
    assert.equal(await state(card), "playing");
  } finally {
    replicas.isLying = false;
    await cluster.untilConnected();
  }
});

browserTest("when every replica flips bytes the film stops, and all of them are named", async (open) => {
  const middle = ({ start }) => start >= 8 * MIB && start < film.length - 5 * MIB;
  const { card, video } = await playing(open, digest, { allow: [/ERR_FAILED/, /status of 50/, /ERR_(INCOMPLETE|CONTENT_LENGTH)/] }, middle);
  await moves(video);
  Object.assign(replicas, { isLying: true, everyone: true });
  try {
    await video.evaluate((node, time) => (node.currentTime = time), SECONDS - 0.75);
    await reaches(card, "stopped");
    const problem = card.locator(".problem");
    const text = await problem.innerText();
    assert.equal(await problem.getAttribute("data-code"), "exhausted", text);
    for (const { name } of cluster.replicas) assert.ok(text.includes(name), text);
  } finally {
    Object.assign(replicas, { isLying: false, everyone: false });
    await cluster.untilConnected();
  }
});

browserTest("a page on another host plays from the server that it names", async (open) => {
  Object.assign(front, HONEST);
  const page = await openPage(open, address(friend.url, { cluster: await cluster.identity(), server: cluster.address }), { allow: [/404 .*\/v1\/cluster/] });
  await showTab(page, "Fetch");
  await page.getByRole("textbox", { name: "Digest" }).fill(digest);
  await page.locator("#fetch").getByRole("button", { name: "Play", exact: true }).click();
  const video = page.locator("#fetch video");
  await video.waitFor();
  await moves(video);
  await seek(video, SECONDS - 1);
  await assertShows(video, SECONDS - 1);
});

browserTest("playback continues after the browser ends the service worker", async (open) => {
  const { page, card, video } = await playing(open);
  await moves(video);
  await video.evaluate((node) => node.pause());
  const session = await page.context().newCDPSession(page);
  await session.send("ServiceWorker.enable");
  await session.send("ServiceWorker.stopAllWorkers");
  await seek(video, SECONDS - 2);
  await assertShows(video, SECONDS - 2);
  await seek(video, 3);
  await assertShows(video, 3);
  assert.equal(await state(card), "playing");
});

browserTest("a file that is no video is not played, and can be fetched", async (open) => {
  const other = await put(Buffer.from("No film at all, but a text that says so.\n"));
  const { play, card, page } = await ask(open, other.digest);
  await play();
  await ends(card, "failed");
  assert.equal(await card.locator(".problem").getAttribute("data-code"), "not-playable");
  await card.locator(".problem").getByRole("button", { name: /^Fetch / }).click();
  await ends(page.locator("#fetch .job").first(), "fetched");
});

browserTest("a blob without a certificate is not played", async (open) => {
  const unknown = toBase58(digestOf(Buffer.from("never stored")));
  const { play, card } = await ask(open, unknown, { allow: [/404/] });
  await play();
  await ends(card, "failed");
  assert.equal(await card.locator(".problem").getAttribute("data-code"), "no-certificate");
});

browserTest("a page without service worker offers the download and says why", async (open) => {
  const page = await open(undefined);
  // As on a host without https, where the browser has no service worker.
  await page.addInitScript(() => {
    Object.defineProperty(globalThis, "isSecureContext", { value: false });
    Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined });
  });
  await page.goto(trusted);
  await page.locator("html[data-ready]").waitFor({ state: "attached" });
  const { play, card } = await named(page);
  await play();
  await ends(card, "failed");
  assert.equal(await card.locator(".problem").getAttribute("data-code"), "insecure");
  await card.locator(".problem").getByRole("button", { name: /^Fetch / }).click();
  await ends(page.locator("#fetch .job").first(), "fetched");
});
