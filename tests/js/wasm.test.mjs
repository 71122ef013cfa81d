// What is delivered to browsers: small, the same on every machine, and without a way to the outside.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const wasm = readFileSync(new URL("../../verifier-wasm/npm/wasm/vouch_verifier_bg.wasm", import.meta.url));
const MOST_KILOBYTES = 100;

test(`the module is at most ${MOST_KILOBYTES} KB, gzipped`, () => {
  const size = gzipSync(wasm, { level: 9 }).length;
  assert.ok(size <= MOST_KILOBYTES * 1024, `${size} bytes`);
});

test("the module names no path of the machine that built it", () => {
  const text = wasm.toString("latin1");
  const here = new URL("../../", import.meta.url).pathname;
  for (const path of ["/root/", "/home/", "/Users/", ".cargo", "registry/", `${homedir()}/`, here]) {
    assert.ok(!text.includes(path), path);
  }
});

test("the module imports nothing but constructors of values and errors", () => {
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm));
  const names = imports.map(({ name }) => name.replace(/_[0-9a-f]{16}$/, ""));
  const allowed = /^(__wbg_(new|String)|(__wbg_)?__wbindgen_(throw|generic|cast|init_externref_table))$/;
  assert.deepEqual(names.filter((name) => !allowed.test(name)), []);
});
