// The npm package as users get it, packed and installed offline into an empty folder, with a file and its bundle beside it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder, writeFiles } from "./files.mjs";

export const SOURCE = fileURLToPath(new URL("../../verifier-wasm/npm/", import.meta.url));
export const folder = temporaryFolder();
export const installed = join(folder, "node_modules", "vouch-verifier");

export function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: folder, encoding: "utf8", timeout: 120_000, ...options });
  assert.ifError(error);
  return { status, stdout, stderr };
}

export function succeed(command, args, options) {
  const result = run(command, args, options);
  assert.equal(result.status, 0, result.stderr);
  return result;
}

/** What `npm pack` says, before the first test runs. */
export let packed;
before(() => {
  writeFiles(folder);
  writeFileSync(join(folder, "package.json"), '{ "type": "module", "private": true }\n');
  [packed] = JSON.parse(succeed("npm", ["pack", SOURCE, "--json", "--pack-destination", folder]).stdout);
  succeed("npm", ["install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", join(folder, packed.filename)]);
});
