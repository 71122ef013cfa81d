// Reads the vector files and expands their abbreviations.
import { readFileSync, readdirSync } from "node:fs";

const DIRECTORY = new URL("./", import.meta.url);
const WITHOUT_CASES = ["access.json", "building_blocks.json", "chains.json", "epochs.json", "forks.json", "founding.json", "log.json", "log_bundles.json", "membership.json", "ops.json", "tree.json"];

export const readVectors = (name) => JSON.parse(readFileSync(new URL(name, DIRECTORY), "utf8"));

export const caseFiles = () =>
  readdirSync(DIRECTORY)
    .filter((name) => name.endsWith(".json") && !WITHOUT_CASES.includes(name))
    .sort();

export function bundleBytes(file, one) {
  if (one.bundle_base64 !== undefined) return new Uint8Array(Buffer.from(one.bundle_base64, "base64"));
  let text = one.bundle;
  if (one.base !== undefined) {
    const bundle = JSON.parse(file.bases[one.base]);
    bundle.certificate = one.certificate ?? bundle.certificate;
    bundle.genesis.committee = one.committee ?? bundle.genesis.committee;
    bundle.genesis.pops = one.pops ?? bundle.genesis.pops;
    text = JSON.stringify(bundle);
  }
  if (one.fill !== undefined) text = text.replace("FILL", one.fill.text.repeat(one.fill.times));
  return new TextEncoder().encode(text.padEnd(one.pad_to ?? 0));
}

// The bundle of a case in ops.json.
export function opBundleBytes(file, one) {
  if (one.bundle !== undefined) return new TextEncoder().encode(one.bundle);
  const bundle = JSON.parse(file.base);
  bundle.proof = one.proof ?? bundle.proof;
  bundle.certificate = one.certificate ?? bundle.certificate;
  bundle.genesis.committee = one.committee ?? bundle.genesis.committee;
  bundle.genesis.pops = one.pops ?? bundle.genesis.pops;
  return new TextEncoder().encode(JSON.stringify(bundle));
}

// The bundle of a case in log_bundles.json.
export function logBundleBytes(file, one) {
  if (one.bundle !== undefined) return new TextEncoder().encode(one.bundle);
  const bundle = JSON.parse(file.bases[one.of]);
  for (const key of ["certificate", "block", "path", "evidence"]) if (one[key] !== undefined) bundle[key] = one[key];
  bundle.genesis.committee = one.committee ?? bundle.genesis.committee;
  bundle.genesis.pops = one.pops ?? bundle.genesis.pops;
  return new TextEncoder().encode(JSON.stringify(bundle));
}
