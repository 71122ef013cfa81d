// For browsers: the module is fetched from beside this file, at the first use or when init() is called.
import { createApi } from "./api.js";
import * as wasm from "./wasm/vouch_verifier.js";

let loading;

// `source`: where the module is instead, or what it is: a URL, a Response, its bytes, or a WebAssembly.Module.
export function init(source = new URL("./wasm/vouch_verifier_bg.wasm", import.meta.url)) {
  loading ??= wasm.default({ module_or_path: source }).then(
    () => undefined,
    (error) => {
      loading = undefined; // a later call tries again
      throw error;
    },
  );
  return loading;
}

export const { verify, inspect, hash, createHasher, createVerifier } = createApi(wasm, () => init());
export { BundleError } from "./api.js";
