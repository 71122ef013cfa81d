// schemathesis makes up requests from docs/openapi.yaml, right ones and wrong ones, and checks each response against the document.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startCluster, temporaryFolder } from "../browser/support/cluster.mjs";
import { until } from "../browser/support/until.mjs";
import { encodeOp } from "../independent/log.mjs";

const file = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
/** Length of the run in seconds. */
const SECONDS = process.env.VOUCH_SECONDS ?? "150";
const CHECKS = [
  "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
  "response_schema_conformance", "unsupported_method", "allow_header_conformance",
];

let cluster;
before(async () => {
  cluster = await startCluster();
});
after(() => cluster?.stop());

test("the server answers what the document says", { timeout: (Number(SECONDS) + 600) * 1000 }, async () => {
  const put = await fetch(new URL("/v1/blobs", cluster.url), { method: "PUT", body: "Vouch test file n4\n" });
  assert.equal(put.status, 201);
  const submitted = await until("the log runs", async () => {
    const op = encodeOp({ kind: 0, nonce: randomBytes(16), expiresAt: Math.floor(Date.now() / 1000) + 60, body: Buffer.from("a note") });
    const answer = await fetch(new URL("/v1/log/ops", cluster.url), { method: "POST", body: op });
    return answer.status === 201 && answer;
  });
  const folder = temporaryFolder();
  const programs = execFileSync(file("deploy/tools.sh"), ["openapi"], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
  const environment = {
    SCHEMATHESIS_HOOKS: file("tests/openapi/hooks.py"),
    VOUCH_DIGEST: put.headers.get("location").split("/").at(-1),
    VOUCH_OP: submitted.headers.get("location").split("/").at(-1),
    NO_COLOR: "1",
  };
  const args = [
    "--config-file", file("tests/openapi/schemathesis.toml"), "run", file("docs/openapi.yaml"), "--url", cluster.url, "--checks", CHECKS.join(","),
    "--phases", "examples,coverage,fuzzing", "--max-time", SECONDS,
    "--request-timeout", "20", "--continue-on-failure", "--generation-database", "none",
  ];
  const run = spawn(`${programs}/schemathesis`, args, { cwd: folder, env: { ...process.env, ...environment }, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(run, "exit");
  assert.equal(code, 0, "schemathesis found faults");
  // What was sent has done no harm.
  const { members, ready } = await cluster.status();
  assert.ok(ready && members.every(({ state }) => state === "well"), JSON.stringify(members));
  for (const node of [cluster.server, ...cluster.replicas]) assert.doesNotMatch(node.log, /panicked/);
  assert.equal((await fetch(new URL("/v1/blobs", cluster.url), { method: "PUT", body: "afterwards" })).status, 201);
});
