// The WebAssembly modules for browsers: small, reproducible, and with only the imports they need.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const VALUES = "(new|String)";
// A socket that JavaScript opens, and its events.
const SOCKET = "(send|bufferedAmount|data|set_(binaryType|onmessage)|byteLength|length|prototypesetcall|now|call|instanceof_ArrayBuffer|_wbg_cb_unref)";
const MODULES = [
  { name: "verifier", kilobytes: 100, imports: VALUES },
  { name: "client", kilobytes: 190, imports: `(${VALUES}|${SOCKET})` },
  { name: "slices", kilobytes: 40, imports: VALUES },
];

for (const { name, kilobytes, imports } of MODULES) {
  const wasm = readFileSync(new URL(`../../verifier-wasm/npm/wasm/vouch_${name}_bg.wasm`, import.meta.url));

  test(`the ${name} is at most ${kilobytes} KB, gzipped`, () => {
    const size = gzipSync(wasm, { level: 9 }).length;
    assert.ok(size <= kilobytes * 1024, `${size} bytes`);
  });

  test(`the ${name} names no path of the machine that built it`, () => {
    const text = wasm.toString("latin1");
    const here = new URL("../../", import.meta.url).pathname;
    for (const path of ["/root/", "/home/", "/Users/", ".cargo", "registry/", `${homedir()}/`, here]) {
      assert.ok(!text.includes(path), path);
    }
  });

  test(`the ${name} imports only what it needs`, () => {
    const found = WebAssembly.Module.imports(new WebAssembly.Module(wasm)).map((entry) => entry.name.replace(/_[0-9a-f]{16}$/, ""));
    const allowed = new RegExp(`^(__wbg_${imports}(_.+)?|(__wbg_)?__wbindgen_(throw|generic|cast|object_drop_ref|init_externref_table))$`);
    assert.deepEqual(found.filter((entry) => !allowed.test(entry)), []);
  });
}
