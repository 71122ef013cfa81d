// Puts and gets with a token, in a cluster that asks for one.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { get, put } from "../../verifier-wasm/npm/node.js";
import { runProgram, startCluster } from "../browser/support/cluster.mjs";

const SMALL = new TextEncoder().encode("a small file");
const LARGE = new Uint8Array(300_000).map((_, index) => index * 7);

async function* streamed(bytes) {
  yield bytes.subarray(0, 1000);
  yield bytes.subarray(1000);
}

describe("where only holders of tokens put and read", () => {
  let cluster, server, identity, token;

  before(async () => {
    cluster = await startCluster();
    server = `http://${cluster.address}`;
    identity = (await put(new TextEncoder().encode("first"), { server, cluster: null })).cluster;
    const folders = cluster.replicas.flatMap(({ folder }) => ["--data", folder]);
    const vouch = (...args) => {
      const { status, stderr } = runProgram(cluster.folder, ...args, ...folders, "--server", cluster.address);
      assert.equal(status, 0, stderr);
    };
    vouch("token", "rules", "--put", "tokens", "--read", "tokens");
    vouch("token", "new", "alice", "--max-size", "1MB");
    token = (await readFile(join(cluster.folder, "alice.token"), "utf8")).match(/^vouch-token-.*$/m)[0];
  });
  after(() => cluster?.stop());

  const at = (more) => ({ server, cluster: identity, retry: 0, ...more });

  test("a holder puts a small and a large file and a stream, and gets them", async () => {
    for (const file of [SMALL, LARGE, streamed(LARGE.subarray(1))]) {
      const { report } = await put(file, at({ token }));
      const { digest, length } = report.certificate;
      const { blob } = await get(digest, at({ token }));
      assert.equal(blob.size, length);
      await assert.rejects(get(digest, at()), { code: "refused", reason: "not-admitted" });
    }
  });

  test("without a token, with another one, or beyond its limits, a put is refused", async () => {
    const other = "vouch-token-";
    await assert.rejects(put(new TextEncoder().encode("other"), at()), { code: "refused", reason: "not-admitted" });
    await assert.rejects(put(new Uint8Array(1_000_001), at({ token })), { code: "refused", reason: "too-large" });
    for (const text of [other, `${token}x`, token.slice(0, -1)]) {
      await assert.rejects(put(SMALL, at({ token: text })), (error) => error instanceof TypeError && !error.message.includes(token.slice(12)));
    }
    await assert.rejects(put(SMALL, at({ token: 7 })), TypeError);
  });
});
