// The package in Node.js against a server with TLS.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startCluster } from "../browser/support/cluster.mjs";

const PACKAGE = new URL("../../verifier-wasm/npm/node.js", import.meta.url).href;

let cluster;
let identity;
before(async () => {
  cluster = await startCluster({ tls: [] });
  identity = await cluster.identity();
});
after(() => cluster?.stop());

// Authorities are read when a process starts.
function run(environment) {
  const script = `
    import { get, put, verify } from ${JSON.stringify(PACKAGE)};
    const file = new TextEncoder().encode("over TLS");
    const options = { server: ${JSON.stringify(cluster.url)}, cluster: ${JSON.stringify(identity)}, retry: 0 };
    const { bundle, report } = await put(file, options);
    const { verdict } = await verify({ bundle, file, cluster: options.cluster });
    const { blob } = await get(report.certificate.digest, options);
    console.log(verdict, await blob.text());
    process.exit(0);`;
  const env = { ...process.env, ...environment };
  return spawnSync(process.execPath, ["--input-type=module", "--eval", script], { env, encoding: "utf8", timeout: 60_000, cwd: fileURLToPath(new URL(".", import.meta.url)) });
}

test("put and get over TLS, with the authority of the server", () => {
  const { stdout, stderr } = run({ NODE_EXTRA_CA_CERTS: cluster.authority });
  assert.equal(stdout.trim(), "valid over TLS", stderr);
});

test("a server whose authority is not trusted is not reached", () => {
  const { status, stdout, stderr } = run({});
  assert.notEqual(status, 0);
  assert.equal(stdout, "", stderr);
});
