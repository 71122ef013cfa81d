// A file, its bundle and matching options from the vectors, and a temporary folder.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { bundleBytes, readVectors } from "../vectors/load.mjs";

const vectors = readVectors("valid.json");
const n4 = vectors.cases.find(({ name }) => name === "n4");

export const FILE = new TextEncoder().encode("Vouch test file n4\n");
export const BUNDLE = bundleBytes(vectors, n4);
export const { cluster: CLUSTER, digest: DIGEST, length: LENGTH, now: NOW } = n4;

export const OP_BUNDLE = readVectors("ops.json").base;
export const OP = readVectors("ops.json").cases.find(({ name }) => name === "example").op;

export const LOG_BUNDLES = readVectors("log_bundles.json").bases;

export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "vouch-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function writeFiles(folder) {
  writeFileSync(join(folder, "report.pdf"), FILE);
  writeFileSync(join(folder, "report.pdf.vouch"), BUNDLE);
  writeFileSync(join(folder, "op.vouch"), OP_BUNDLE);
  for (const [of, text] of Object.entries(LOG_BUNDLES)) writeFileSync(join(folder, `${of}.vouch`), text);
}
