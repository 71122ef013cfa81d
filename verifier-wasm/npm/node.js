// For Node.js, Deno and Bun: each module is read from disk and compiled at its first use, or passed to its init function.
import { readFile } from "node:fs/promises";
import { createApi, whenLoaded } from "./api.js";
import { PROTOCOL } from "./link.js";
import { createLogApi } from "./log.js";
import { moduleOf } from "./module_source.js";
import { once } from "./once.js";
import * as wasm from "./wasm/vouch_verifier.js";

// Each URL is a literal expression: bundlers copy a file only if such an expression names it. It is inside a function, because a bundle in
// another format than ES modules has no import.meta.url, and needs none if it calls an init function.
const verifierPlace = () => new URL("./wasm/vouch_verifier_bg.wasm", import.meta.url);
const clientPlace = () => new URL("./wasm/vouch_client_bg.wasm", import.meta.url);

const BUNDLED = "a bundler moved this file away from its module: call it with the bytes of the module first";

async function load(module, source, place, hint) {
  if (source !== undefined) return module.default({ module_or_path: await moduleOf(source) });
  let bytes;
  try {
    bytes = await readFile(place());
  } catch (error) {
    throw new Error(`cannot read the WebAssembly module (${error.message}); ${hint}`, { cause: error });
  }
  return module.default({ module_or_path: bytes });
}

const loadVerifier = once((source) => load(wasm, source, verifierPlace, `if ${BUNDLED}: init(bytes)`));

// Node.js has a built-in WebSocket since version 22; older versions need the package ws.
async function openSocket(address) {
  if (globalThis.WebSocket !== undefined) return new WebSocket(address, PROTOCOL);
  // Not a literal, so that no bundler looks for this optional package.
  const name = ["ws"].join("");
  const { WebSocket: Socket } = await import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ name).catch((error) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Error(`Node.js ${process.versions.node} has no WebSocket: run \`npm install ws\`, or use Node.js 22 or newer`, { cause: error });
  });
  return new Socket(address, PROTOCOL, { perMessageDeflate: false });
}

const loadClientModule = once(async (source) => {
  const module = await import("./wasm/vouch_client.js");
  await load(module, source, clientPlace, `if ${BUNDLED}: initClient(bytes)`);
  return module;
});

const loadClient = once(async () => {
  const [module, { createClient }] = await Promise.all([loadClientModule(), import("./client.js")]);
  return createClient(module, openSocket, verify);
});

export const init = async (source) => void (await loadVerifier(source));
export const initClient = async (source) => void (await loadClientModule(source));

export const { put, get } = whenLoaded(() => loadClient());

export const { verifyOp, verifyHead, verifyBlock } = createLogApi(loadClientModule);
export const { verify, inspect, hash, normalizeDigest, limits, decideTrust, createHasher, createVerifier } = createApi(wasm, () => init());
export { BundleError } from "./api.js";
export { ServerError } from "./link.js";
