// For browsers: each module is fetched from the folder of this file, at its first use or when its init function is called.
import { createApi, whenLoaded } from "./api.js";
// Imported statically, unlike its wasm module: with a dynamic import, Parcel leaves the shared code out of a Worker.
import { createClient } from "./client.js";
import { PROTOCOL } from "./link.js";
import { createLogApi } from "./log.js";
import { once } from "./once.js";
import * as wasm from "./wasm/vouch_verifier.js";

const loadVerifier = once((source = new URL("./wasm/vouch_verifier_bg.wasm", import.meta.url)) => wasm.default({ module_or_path: source }));

const loadClientModule = once(async (source = new URL("./wasm/vouch_client_bg.wasm", import.meta.url)) => {
  const module = await import("./wasm/vouch_client.js");
  await module.default({ module_or_path: source });
  return module;
});

const loadClient = once(async () => createClient(await loadClientModule(), async (address) => new WebSocket(address, PROTOCOL), verify));

// `source`: another location of the module, or the module itself: a URL, a Response, its bytes, or a WebAssembly.Module.
export const init = async (source) => void (await loadVerifier(source));
export const initClient = async (source) => void (await loadClientModule(source));

export const { put, get } = whenLoaded(() => loadClient());

export const { verifyOp, verifyHead, verifyBlock } = createLogApi(loadClientModule);
export const { verify, inspect, hash, normalizeDigest, limits, decideTrust, createHasher, createVerifier } = createApi(wasm, () => init());
export { BundleError } from "./api.js";
export { ServerError } from "./link.js";
