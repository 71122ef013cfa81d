// Generates the files of the page that are not plain copies:
// - index.html gets preload links for all modules, so that a browser fetches them at once and not layer by layer.
// - sw.js becomes one classic script that contains its module, because not every browser supports imports in service workers.
// - verify.html is assembled from one script and one style, whose hashes its security policy names.
//
//   node build.mjs FOLDER ESBUILD      FOLDER: the assembled page
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const STYLES = ["tokens", "base", "parts", "panels", "views", "committee"];

const [folder, esbuild] = process.argv.slice(2);
const source = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const bundle = (input, options) =>
  execFileSync(esbuild, [...options, "--minify", "--log-level=warning"], { input, cwd: folder, encoding: "utf8", maxBuffer: 1 << 26 });

const modules = [
  "engine/engine.js",
  ...["logic", "view"].flatMap((name) => readdirSync(join(folder, name)).map((file) => `${name}/${file}`)),
];
const preloads = modules.map((module) => `<link rel="modulepreload" href="${module}" />`).join("\n    ");
writeFileSync(join(folder, "index.html"), source("index.html").replace(/(?=<script type="module")/, `${preloads}\n    `));

// The script is not a module, because it must also run as a classic worker. The code with `import.meta` is never reached.
const classic = ["--bundle", "--format=iife", "--log-override:empty-import-meta=silent", "--target=es2022", "--loader:.wasm=binary", "--charset=utf8"];

writeFileSync(join(folder, "sw.js"), bundle(source("sw.js"), classic));
for (const within of ["player", "vouch-verifier/wasm/vouch_slices.js", "vouch-verifier/wasm/vouch_slices_bg.wasm"])
  rmSync(join(folder, within), { recursive: true });

const script = bundle(source("verifier.js"), classic).trim();
const style = bundle(STYLES.map((name) => source(`style/${name}.css`)).join("\n"), ["--loader=css", "--charset=utf8"]).trim();
for (const [text, end] of [
  [script, "</script"],
  [style, "</style"],
]) {
  if (text.toLowerCase().includes(end) || text.includes("<!--"))
    throw new Error(`the inlined text contains ${end}> or <!--, which would end its element early`);
}

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const parts = {
  POLICY: `default-src 'none'; script-src ${hash(script)} 'wasm-unsafe-eval'; style-src ${hash(style)}; worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'`,
  ICON: `data:image/svg+xml;base64,${Buffer.from(source("icon.svg")).toString("base64")}`,
  STYLE: style,
  SCRIPT: script,
};
const page = source("verify.template.html").replace(/%([A-Z]+)%/g, (_, name) => parts[name]);
writeFileSync(join(folder, "verify.html"), page);
