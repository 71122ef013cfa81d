// For Node.js: the module is read from the disk and compiled at the first use.
import { readFileSync } from "node:fs";
import { createApi } from "./api.js";
import * as wasm from "./wasm/vouch_verifier.js";

let loaded = false;

// The argument that browsers need is accepted, so that the same program runs in both.
export async function init() {
  if (loaded) return;
  wasm.initSync({ module: readFileSync(new URL("./wasm/vouch_verifier_bg.wasm", import.meta.url)) });
  loaded = true;
}

export const { verify, inspect, hash, createHasher, createVerifier } = createApi(wasm, init);
export { BundleError } from "./api.js";
