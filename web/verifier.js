// verify.html: the verifier in one file. The same script is the page and, started from its own text, the page's worker.
import { Engine } from "./engine/engine.js";
import { HashedModule, moduleTasks } from "./engine/modules.js";
import { serve } from "./engine/serve.js";
import { verifyingTasks } from "./engine/verifying.js";
import { parseFragment } from "./logic/address.js";
import { createMemory } from "./logic/memory.js";
import { Trust } from "./logic/trust.js";
import { BundleError, createApi } from "./vouch-verifier/api.js";
import { createLogApi } from "./vouch-verifier/log.js";
import * as client from "./vouch-verifier/wasm/vouch_client.js";
import clientModule from "./vouch-verifier/wasm/vouch_client_bg.wasm"; // its bytes: see build.mjs
import * as wasm from "./vouch-verifier/wasm/vouch_verifier.js";
import module from "./vouch-verifier/wasm/vouch_verifier_bg.wasm";
import { createAnnouncer } from "./view/announce.js";
import { h } from "./view/dom.js";
import { dropAnywhere } from "./view/drop.js";
import { loadVerifier } from "./view/loading.js";
import { showModules } from "./view/modules.js";
import { TrustPanel } from "./view/trust.js";
import { Verify } from "./view/verify.js";

const hashed = (name, bytes, compile) => new HashedModule(name, async () => bytes, compile);
const compiling = hashed("vouch_verifier_bg.wasm", module, (bytes) => wasm.default({ module_or_path: bytes }));
const compilingClient = hashed("vouch_client_bg.wasm", clientModule, (bytes) => client.default({ module_or_path: bytes }).then(() => client));
const ready = () => compiling.load();
const readyClient = () => compilingClient.load();
const tasks = () => ({
  ...verifyingTasks({ init: ready, initClient: readyClient, ...createApi(wasm, ready), ...createLogApi(readyClient), BundleError }),
  ...moduleTasks(compiling, compilingClient),
});

// Where no worker may be started, the page does its work itself, in slices small enough not to be felt.
function startHere() {
  const { port1, port2 } = new MessageChannel();
  serve(port2, tasks());
  port1.terminate = () => port1.close();
  return port1;
}

function startPage() {
  const text = document.querySelector("script[type=module]").textContent;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  // A classic worker: Chromium starts no other for a page that was opened from a file.
  const engine = new Engine(() => new Worker(url), { instead: startHere });
  const panels = document.querySelector("#panels");
  const trust = new Trust({ memory: createMemory(() => null), ...loadVerifier(engine, panels) });

  const announce = createAnnouncer(document.querySelector("#announcer"));
  const onIgnore = () => history.replaceState(null, "", location.pathname + location.search);
  const onTyped = (identity) => {
    onIgnore();
    announce(`${identity} is trusted now.`);
  };
  const panel = new TrustPanel(trust, { onTyped, onIgnore });
  const verify = new Verify({ engine, trust, announce, askIdentity: () => panel.ask() });
  panels.prepend(panel.element, panel.alerts);
  const main = document.querySelector("#main");
  verify.element.id = "verify";
  main.replaceChildren(verify.element);
  showModules(engine, document.querySelector("#modules"), [
    "Whoever gave you this file could have altered it to show other hashes: compare also ",
    h("code", { class: "command" }, "sha256sum verify.html"),
    ", or build it yourself.",
  ]);
  dropAnywhere(() => verify.zone);

  const takeAddress = () => {
    const { cluster, problems } = parseFragment(location.hash);
    const ofCluster = problems.filter(({ key }) => key === "cluster"); // a server means nothing here
    return trust.useAddress({ cluster, problems: ofCluster }).catch(console.warn); // without a verifier; the page says so
  };
  addEventListener("hashchange", () => void takeAddress());
  return takeAddress();
}

if (typeof document === "undefined") serve(self, tasks());
else void startPage().then(() => (document.documentElement.dataset.ready = ""));
