// The page's worker: hashes, verifies, puts and gets.
import * as vouch from "../vouch-verifier/browser.js";
import { serve } from "./serve.js";
import { transferringTasks } from "./transferring.js";
import { verifyingTasks } from "./verifying.js";

const tasks = { ...verifyingTasks(vouch), ...transferringTasks(vouch) };
serve(self, tasks);
// Each worker has modules of its own. They are loaded before the network can be lost, and again when they are needed.
tasks.prepare().catch(() => {});
