// Writes the test vectors and the example in the specification; with --check only compares them.
import { readFileSync, writeFileSync } from "node:fs";
import { accessFile } from "./generator/access.mjs";
import { bundleFile } from "./generator/bundle.mjs";
import { buildingBlocks } from "./generator/building_blocks.mjs";
import { certificateFile } from "./generator/certificate.mjs";
import { chainsFile } from "./generator/chains.mjs";
import { checksFile } from "./generator/checks.mjs";
import { committeeFile } from "./generator/committee.mjs";
import { epochBundlesFile } from "./generator/epoch_bundles.mjs";
import { epochsFile } from "./generator/epochs.mjs";
import { withExample } from "./generator/example.mjs";
import { forksFile } from "./generator/forks.mjs";
import { foundingFile } from "./generator/founding.mjs";
import { logFile } from "./generator/log.mjs";
import { logBundlesFile } from "./generator/log_bundles.mjs";
import { membershipFile } from "./generator/membership.mjs";
import { merkleFile } from "./generator/merkle.mjs";
import { opsFile } from "./generator/ops.mjs";
import { signatureFile } from "./generator/signature.mjs";
import { treeFile } from "./generator/tree.mjs";
import { truncatedFile } from "./generator/truncated.mjs";
import { validFile } from "./generator/valid.mjs";

const here = (path) => new URL(path, import.meta.url);
const PAGE = "../../shared/PROTOCOL.md";

function read(path) {
  try {
    return readFileSync(here(path), "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

const files = {
  "valid.json": validFile,
  "bundle.json": bundleFile,
  "certificate.json": certificateFile,
  "committee.json": committeeFile,
  "checks.json": checksFile,
  "merkle.json": merkleFile,
  "signature.json": signatureFile,
  "tree.json": treeFile,
  "truncated.json": truncatedFile,
  "building_blocks.json": buildingBlocks,
  "founding.json": foundingFile,
  "epochs.json": epochsFile,
  "chains.json": chainsFile,
  "epoch_bundles.json": epochBundlesFile,
  "forks.json": forksFile,
  "membership.json": membershipFile,
  "access.json": accessFile,
  "log.json": logFile,
  "ops.json": opsFile,
  "log_bundles.json": logBundlesFile,
  [PAGE]: () => withExample(read(PAGE)),
};

const checkOnly = process.argv.includes("--check");
for (const [path, make] of Object.entries(files)) {
  const wanted = `${make()}`;
  if (read(path) === wanted) continue;
  if (checkOnly) {
    console.error(`${path} differs from what the generator makes`);
    process.exitCode = 1;
  } else {
    writeFileSync(here(path), wanted);
    console.log(`wrote ${path}`);
  }
}
