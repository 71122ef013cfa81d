// Every state of the page, by name, with a way to reach it: for accessibility checks and screenshots.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { digestOf } from "../../independent/bytes.mjs";
import { toBase58 } from "../../independent/text.mjs";
import { altered, bundleFor, certifiedLongAgo } from "./bundles.mjs";
import { makeFilm } from "./film.mjs";
import { blockBundle, headBundle, logWithNotes, opBundle } from "./log_bundles.mjs";
import { IDENTITY, OTHER_IDENTITY, honest } from "./lying_server.mjs";
import { address, certify, ends, fileNamed, give, jobOf, openPage, patternFile, reaches, showTab, sparseFile } from "./page.mjs";
import { PAGE } from "./static_host.mjs";
import { until } from "./until.mjs";
import { before, certifiedIn, changed, checkpointOf, fork, identityOf } from "./worlds.mjs";

const BYTES = Buffer.from("A report that somebody will want to rely on.\n");
const FILE = fileNamed("report.pdf", BYTES);
// Too large for one message with its offer: the server reports the members' progress.
const SCAN = fileNamed("report.pdf", Buffer.alloc(100_000, BYTES));
const DIGEST = toBase58(digestOf(BYTES));
const HTML = pathToFileURL(join(PAGE, "verify.html")).href;
const MIB = 1 << 20;

const now = () => Math.floor(Date.now() / 1000);
const vouch = (text) => fileNamed("report.pdf.vouch", text);
const good = bundleFor(BYTES);
const ago = certifiedLongAgo();
const expired = bundleFor(BYTES, { issuedAt: now() - 7200, expiresAt: now() - 3600 });
const forged = altered(good, () => ({ signature: new Uint8Array(96).fill(1) }));

const blocks = logWithNotes(honest, ["report.pdf is final", "a longer note,\nof two lines, which somebody else wrote and which is shown as it is: <b>text</b>, not markup"]);
const head = headBundle(honest, blocks);
const unsigned = headBundle(honest, blocks, { signers: [0, 1] });

const untilServer = (page, state) => until(`the server is ${state}`, async () => (await page.locator("#server").getAttribute("data-state")) === state);

/** Pairs `[name, make]`; `make()` returns a page in that state. `server` is a lying server, `elsewhere` the URL of another host, `folder` for files. */
export function allStates({ open, server, elsewhere, folder }) {
  const long = sparseFile(folder, "a long recording.mkv", 3 * 1024 * MIB);
  const large = patternFile(folder, "archive.tar", 64 * MIB);

  const visit = async (url = address(server.url, { cluster: IDENTITY }), lie = null, options = {}) => {
    server.lie = lie;
    server.logHead = null;
    server.world = server.unchanged;
    server.kept.clear();
    return openPage(open, url, { allow: [/WebSocket connection/, /Failed to load resource/, /CORS/], ...options });
  };
  const certifying = async (lie, files, state) => {
    const page = await visit(undefined, lie);
    await certify(page, files);
    await reaches(jobOf(page, files.name ?? files.split("/").at(-1)), state);
    return page;
  };
  // Hangs up during a put, with this lie for the rest of it.
  const cutting = async (lie) => {
    const page = await visit();
    server.cuts = [{ at: 40 * MIB, lie }];
    await certify(page, large);
    await until("it is cut", () => server.cuts.length === 0);
    return page;
  };
  const verifying = async (...files) => {
    const page = await visit();
    await showTab(page, "Verify");
    await give(page, files);
    return page;
  };
  const fetching = async (lie, state) => {
    server.blobs.set(DIGEST, BYTES);
    const page = await visit(undefined, lie);
    await showTab(page, "Fetch");
    await page.getByRole("textbox", { name: "Digest" }).fill(DIGEST);
    await page.locator("#fetch").getByRole("button", { name: "Fetch", exact: true }).click();
    await ends(page.locator("#fetch .job"), state);
    return page;
  };

  // Asks to play these bytes: by default a film of one group, as the server makes no proofs.
  const asking = async (lie, { bytes, bundle, prepare = () => {} } = {}) => {
    const film = bytes ?? (await makeFilm({ seconds: 3, padding: 4 }));
    const digest = toBase58(digestOf(film));
    server.blobs.set(digest, film);
    server.bundles.set(digest, bundle ?? bundleFor(film));
    server.lie = lie;
    const page = await open(undefined, { allow: [/ERR_FAILED/] });
    await page.addInitScript(prepare);
    await page.goto(address(server.url, { cluster: IDENTITY }));
    await page.locator("html[data-ready]").waitFor({ state: "attached" });
    await showTab(page, "Fetch");
    await page.getByRole("textbox", { name: "Digest" }).fill(digest);
    await page.locator("#fetch").getByRole("button", { name: "Play", exact: true }).click();
    return page;
  };
  const ending = async (state, ...how) => {
    const page = await asking(...how);
    await reaches(page.locator("#fetch .job").first(), state);
    return page;
  };
  const withoutServiceWorkers = () => {
    Object.defineProperty(globalThis, "isSecureContext", { value: false });
    Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined });
  };

  // The server panel, unfolded, of a server that shows these log heads, one after the other.
  const following = async (...heads) => {
    server.lie = null;
    server.logHead = heads[0].text;
    const page = await open(undefined);
    await page.clock.install();
    await page.goto(address(server.url, { cluster: IDENTITY }));
    await page.locator("html[data-ready]").waitFor({ state: "attached" });
    await page.locator("#server [aria-expanded]").click();
    for (const { text, state } of heads) {
      server.logHead = text;
      await page.clock.runFor(25_000);
      await page.locator(`#server [data-fact=log][data-state=${state}]`).waitFor();
    }
    return page;
  };
  // The page has verified the newest committee of a cluster that changed, and then `world` is shown.
  const knowingCommittee = async (world = changed()) => {
    const page = await visit(address(server.url, { cluster: identityOf(changed()) }));
    server.world = changed();
    await certify(page, fileNamed("first.txt", "The first one.\n"));
    await ends(jobOf(page, "first.txt"), "certified");
    server.world = world;
    await until("it is remembered", async () => (await page.locator("#trust [data-verified-committee]").getAttribute("data-verified-committee")) === checkpointOf(changed()));
    await page.getByRole("button", { name: "Remove first.txt" }).click();
    return page;
  };
  const certifyingAt = async (world, state) => {
    const page = await knowingCommittee(world);
    await certify(page, FILE);
    await ends(jobOf(page, "report.pdf"), state);
    return page;
  };
  const verifyingFrom = async ({ bytes, bundle }) => {
    const page = await knowingCommittee();
    await showTab(page, "Verify");
    await give(page, [fileNamed("old.pdf", bytes), fileNamed("old.pdf.vouch", bundle)]);
    await page.locator("#verify .verdict").waitFor();
    return page;
  };
  const ofLog = (name, text) => verifying(fileNamed(name, text));

  return [
    ["log head", () => following({ text: head, state: "verified" })],
    ["log head, not verified", () => following({ text: unsigned, state: "not-verified" })],
    ["log head, old", () => following({ text: head, state: "verified" }, { text: headBundle(honest, blocks.slice(0, 3)), state: "older" })],
    ["op of the log", () => ofLog("note.vouch", opBundle(honest, blocks, blocks.length, 1))],
    ["op of the log, forged", () => ofLog("note.vouch", opBundle(honest, blocks, blocks.length, 1, { submitter: honest.members[3].node }))],
    ["log head, as a file", () => ofLog("log-head-8.json", head)],
    ["block of the log", () => ofLog("block-8.json", blockBundle(honest, blocks, blocks.length))],
    ["first visit", () => visit(server.url)],
    ["identity in the address", () => visit()],
    ["trust, long form", async () => {
      const page = await visit(server.url);
      await page.locator("#trust [aria-expanded]").click();
      return page;
    }],
    ["committee, in the long form of trust", async () => {
      const page = await knowingCommittee();
      await page.locator("#trust [aria-expanded]").click();
      return page;
    }],
    ["committee, about to be forgotten", async () => {
      const page = await knowingCommittee();
      await page.locator("#trust [aria-expanded]").click();
      await page.getByRole("button", { name: "Forget this committee" }).click();
      return page;
    }],
    ["committee, certified from it", () => certifyingAt(changed(), "certified")],
    ["committee, server behind", () => certifyingAt(before(changed(), 1), "failed")],
    ["committee, server with another", () => certifyingAt(fork(), "failed")],
    ["committee, valid from it", () => verifyingFrom(certifiedIn(changed(), 0))],
    ["committee, bundle with another", () => verifyingFrom(certifiedIn(fork(), 1))],
    ["hashing", () => certifying(null, long, "hashing")],
    ["connecting", () => certifying("never ready", SCAN, "connecting")],
    ["sending", () => certifying("stops reading", large, "sending")],
    ["waiting", () => certifying("never certifies", SCAN, "waiting")],
    ["waiting to go on", async () => {
      const page = await cutting("hangs up");
      await page.locator("#certify .status-text").filter({ hasText: "Trying again in" }).waitFor();
      return page;
    }],
    ["continued", async () => {
      const page = await cutting("stops reading");
      await jobOf(page, "archive.tar").getByText("continued at 62 %").waitFor();
      return page;
    }],
    ["continued and certified", async () => {
      const page = await cutting(null);
      await ends(jobOf(page, "archive.tar"), "certified");
      return page;
    }],
    ["certified", () => certifying(null, FILE, "certified")],
    ["refused certificate", () => certifying("forged signature", FILE, "failed")],
    ["cancelled", async () => {
      const page = await certifying("never certifies", FILE, "waiting");
      await page.getByRole("button", { name: "Cancel report.pdf" }).click();
      await ends(jobOf(page, "report.pdf"), "cancelled");
      return page;
    }],
    ["several files", async () => {
      const page = await visit(undefined, "never certifies");
      await certify(page, ["one.txt", "two.txt", "three.txt", "four.txt", "a name so long that it has to be cut or wrapped somewhere, whatever the width of the window may be.tar.gz"].map((name) => fileNamed(name, name)));
      await reaches(jobOf(page, "one.txt"), "waiting");
      return page;
    }],
    ["verify", async () => {
      const page = await visit();
      await showTab(page, "Verify");
      return page;
    }],
    ["verify, file alone", () => verifying(FILE)],
    ["verify, bundle alone", () => verifying(vouch(good))],
    ["valid", () => verifying(FILE, vouch(good))],
    ["valid, of an earlier epoch", async () => {
      const page = await visit(address(server.url, { cluster: ago.identity }));
      await showTab(page, "Verify");
      await give(page, [fileNamed("old.pdf", ago.bytes), vouch(ago.bundle)]);
      await page.locator("#verify .epochs").waitFor();
      return page;
    }],
    ["invalid", () => verifying(fileNamed("report.pdf", "Something else.\n"), vouch(good))],
    ["forged", () => verifying(FILE, vouch(forged))],
    ["expired", () => verifying(FILE, vouch(expired))],
    ["expiry waived", async () => {
      const page = await verifying(FILE, vouch(expired));
      await page.getByRole("button", { name: "Judge as if it had not expired" }).click();
      await page.locator("[data-outcome=waived]").first().waitFor();
      return page;
    }],
    ["damaged bundle", () => verifying(FILE, vouch("{"))],
    ["two bundles", async () => {
      const page = await visit();
      await showTab(page, "Verify");
      await page.getByLabel("Choose a file and its .vouch").setInputFiles([fileNamed("a.vouch", good), fileNamed("b.vouch", expired)]);
      await page.locator(".notice[data-notice=both]").waitFor();
      return page;
    }],
    ["fetch", async () => {
      const page = await visit();
      await showTab(page, "Fetch");
      return page;
    }],
    ["fetched", () => fetching(null, "fetched")],
    ["fetched past a liar", () => fetching("flipped byte by one", "fetched")],
    ["fetch failed", () => fetching("flipped byte by all", "failed")],
    ["playing", async () => {
      const page = await ending("playing", null);
      await page.locator("#fetch video").evaluate((video) => video.pause());
      await until("a picture is there", () => page.locator("#fetch video").evaluate((video) => video.readyState >= 2));
      return page;
    }],
    ["stopped", () => ending("stopped", "flipped slices")],
    ["played past a liar", () => ending("playing", "flipped byte by one")],
    ["no film", () => ending("failed", null, { bytes: BYTES })],
    ["not played, expired", () => ending("failed", null, { bytes: BYTES, bundle: expired })],
    ["not played, insecure", () => ending("failed", null, { prepare: withoutServiceWorkers })],
    ["server of another cluster", async () => {
      const page = await visit(address(server.url, { cluster: OTHER_IDENTITY }));
      await page.locator("[role=alert][data-alert=server-differs]").waitFor();
      return page;
    }],
    ["malformed address", () => visit(`${server.url}#cluster=nonsense`)],
    ["repeated address", () => visit(`${server.url}#cluster=${IDENTITY}&cluster=${OTHER_IDENTITY}`)],
    ["no server", async () => {
      const page = await visit(elsewhere);
      await untilServer(page, "none");
      return page;
    }],
    ["server unreachable", async () => {
      const page = await visit(address(elsewhere, { cluster: IDENTITY, server: "127.0.0.1:1" }));
      await untilServer(page, "unreachable");
      return page;
    }],
    ["server refuses this page", async () => {
      const page = await visit(address(elsewhere, { cluster: IDENTITY, server: server.url }));
      await untilServer(page, "not-allowed");
      return page;
    }],
    ["verify.html", () => openPage(open, HTML, { offline: true })],
    ["verify.html, op of the log", async () => {
      const page = await openPage(open, address(HTML, { cluster: IDENTITY }), { offline: true });
      await give(page, [fileNamed("note.vouch", opBundle(honest, blocks, blocks.length, 0))]);
      return page;
    }],
    ["verify.html, valid", async () => {
      const page = await openPage(open, address(HTML, { cluster: IDENTITY }), { offline: true });
      await give(page, [FILE, vouch(good)]);
      return page;
    }],
  ];
}
