// The page of a server with TLS, under an IP address and under a name.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { browserTest } from "./support/browser.mjs";
import { runProgram, startCluster, temporaryFolder } from "./support/cluster.mjs";
import { address, assertValid, certify, ends, fileNamed, jobOf, openPage, saveTo, verdictOf } from "./support/page.mjs";

// The browser does not know the authority. It loads the page because the test tells it to, but no service worker, which only playing needs.
const UNTRUSTED = { ignoreHTTPSErrors: true, allow: [/SSL certificate error/, /ERR_CERT_AUTHORITY_INVALID/] };

let cluster;
let identity;
before(async () => {
  cluster = await startCluster({ tls: ["127.0.0.1"] });
  identity = await cluster.identity();
});
after(() => cluster?.stop());

browserTest("a file is certified over TLS, and verified on the command line", async (open) => {
  const folder = temporaryFolder();
  for (const host of ["localhost", "127.0.0.1"]) {
    const url = cluster.url.replace("localhost", host);
    const page = await openPage(open, address(url, { cluster: identity }), UNTRUSTED);
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await certify(page, fileNamed("notes.txt", `Notes of ${host}.\n`));
    const job = jobOf(page, "notes.txt");
    await ends(job, "certified");
    assertValid(await verdictOf(job));
    assert.deepEqual(new Set(sockets), new Set([`${url.replace("https:", "wss:")}v1/link`]));
    const bundle = await saveTo(folder, page, job.getByRole("link", { name: /^Save / }));
    const [server, ...more] = cluster.reachedBy;
    const got = runProgram(folder, "get", bundle, "--output", host, "--cluster", identity, "--server", server, ...more);
    assert.equal(got.status, 0, got.stderr);
    const verified = runProgram(folder, "verify", host, bundle, "--cluster", identity);
    assert.equal(verified.status, 0, verified.stderr);
  }
});
