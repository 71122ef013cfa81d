// The crates that the programs are made of: their licences, where they come from, and how many versions of each there are.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const root = new URL("../..", import.meta.url).pathname;

/** Licences under which a crate may be linked into a program that is MIT or Apache-2.0. */
const LICENCES = new Set([
  "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-3-Clause", "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "Unicode-3.0", "Zlib",
]);
const REGISTRY = "registry+https://github.com/rust-lang/crates.io-index";
/** Crates that must not come in, and why. A name that ends in * stands for all that begin with it. */
const BANNED = {
  "openssl-sys": "TLS is rustls with ring",
  "native-tls": "TLS is rustls with ring",
  "aws-lc-sys": "its build needs cmake; TLS is rustls with ring",
  "libp2p*": "members reach each other without it; see node/core/unused/multiaddr",
  "age": "it brings 66 crates; node/src/age.rs does what is needed",
  "serde_yaml": "unmaintained",
  "atty": "unmaintained",
};
/** Crates of the program that are there in several versions, because crates that it needs have not all moved on. */
const SEVERAL = [
  "block-buffer", "const-oid", "cpufeatures", "crypto-common", "digest", "getrandom", "r-efi", "sha2", "syn", "synstructure", "windows-sys",
];

/** Whether a licence expression (SPDX, or with / for OR) allows one of the licences above. */
function allows(expression) {
  const tokens = expression.replaceAll("/", " OR ").match(/\(|\)|[^\s()]+/g) ?? [];
  const any = () => {
    let is = all();
    while (tokens[0] === "OR") { tokens.shift(); is = all() || is; }
    return is;
  };
  const all = () => {
    let is = one();
    while (tokens[0] === "AND") { tokens.shift(); is = one() && is; }
    return is;
  };
  const one = () => {
    if (tokens[0] === "(") {
      tokens.shift();
      const is = any();
      assert.equal(tokens.shift(), ")", expression);
      return is;
    }
    let name = tokens.shift();
    if (tokens[0] === "WITH") name += ` ${tokens.shift()} ${tokens.shift()}`;
    return LICENCES.has(name);
  };
  const is = any();
  assert.deepEqual(tokens, [], expression);
  return is;
}

const isBanned = (name) => Object.keys(BANNED).some((rule) => (rule.endsWith("*") ? name.startsWith(rule.slice(0, -1)) : name === rule));

/** What is wrong with these packages. */
function problems(packages) {
  return packages.flatMap(({ name, version, license, source }) => [
    ...(allows(license ?? "none") ? [] : [`${name} ${version}: its licence is ${license}`]),
    ...(source === null || source === REGISTRY ? [] : [`${name} ${version}: it comes from ${source}`]),
    ...(isBanned(name) ? [`${name} ${version} is banned`] : []),
  ]);
}

/** The packages of the workspace's lock file, and those that the program is built of. */
function metadata() {
  const text = execFileSync("cargo", ["metadata", "--locked", "--format-version", "1", "--all-features"], { cwd: root, maxBuffer: 1 << 28 });
  const { packages, resolve } = JSON.parse(text);
  const byId = new Map(packages.map((found) => [found.id, found]));
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]));
  const waiting = packages.filter(({ name, source }) => name === "vouch" && source === null).map(({ id }) => id);
  const seen = new Set();
  while (waiting.length > 0) {
    const id = waiting.pop();
    if (seen.has(id)) continue;
    seen.add(id);
    const isBuilt = ({ dep_kinds: kinds }) => kinds.some(({ kind }) => kind !== "dev");
    waiting.push(...nodes.get(id).deps.filter(isBuilt).map(({ pkg }) => pkg));
  }
  return { packages, program: [...seen].map((id) => byId.get(id)) };
}

test("the rules find what they are for", () => {
  for (const good of ["MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]) assert.ok(allows(good), good);
  for (const bad of ["GPL-3.0", "MIT AND GPL-3.0", "MPL-2.0", "none", "Apache-2.0 WITH Other", "MIT AND (GPL-3.0 OR AGPL-3.0)"]) assert.ok(!allows(bad), bad);
  const crate = { name: "good", version: "1.0.0", license: "MIT", source: REGISTRY };
  assert.deepEqual(problems([crate, { ...crate, source: null }]), []);
  assert.equal(problems([{ ...crate, license: null }]).length, 1);
  assert.equal(problems([{ ...crate, source: "git+https://a.example/good" }]).length, 1);
  assert.equal(problems([{ ...crate, name: "libp2p-core" }, { ...crate, name: "openssl-sys" }]).length, 2);
});

test("every crate has an allowed licence, comes from crates.io, and is not banned", () => {
  const { packages, program } = metadata();
  assert.ok(program.length > 200 && packages.length > program.length, "the packages are there");
  assert.deepEqual(problems(packages), []);
});

test("the program has one version of each crate, with known exceptions", () => {
  const names = metadata().program.map(({ name }) => name).sort();
  const several = new Set(names.filter((name, at) => name === names[at - 1]));
  assert.deepEqual([...several], SEVERAL, "remove an exception that is no longer needed; ask whether a new one is");
});
