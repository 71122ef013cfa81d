// The page's worker: hashes, verifies, puts and gets.
import * as vouch from "../vouch-verifier/browser.js";
import { HashedModule, fetched, loading, moduleTasks } from "./modules.js";
import { serve } from "./serve.js";
import { transferringTasks } from "./transferring.js";
import { verifyingTasks } from "./verifying.js";

const place = (name) => new URL(`../vouch-verifier/wasm/${name}`, import.meta.url);
const hashed = (name, compile) => new HashedModule(name, () => fetched(place(name)), compile);
const verifier = hashed("vouch_verifier_bg.wasm", vouch.init);
const client = hashed("vouch_client_bg.wasm", vouch.initClient);

const api = {
  BundleError: vouch.BundleError,
  init: () => verifier.load(),
  initClient: () => client.load(),
  ...loading(vouch, ["verify", "inspect", "createHasher", "normalizeDigest", "limits", "decideTrust"], verifier),
  ...loading(vouch, ["verifyOp", "verifyHead", "verifyBlock"], client),
  ...loading(vouch, ["put", "get"], verifier, client),
};
const tasks = { ...verifyingTasks(api), ...transferringTasks(api), ...moduleTasks(verifier, client) };
serve(self, tasks);
// Each worker has modules of its own. They are loaded before the network can be lost, and again when they are needed.
tasks.prepare().catch(() => {});
