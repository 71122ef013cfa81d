// verify.html: the verifier in one file. The same script is the page and, started from its own text, the page's worker.
import { Engine } from "./engine/engine.js";
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
import { dropAnywhere } from "./view/drop.js";
import { loadVerifier } from "./view/loading.js";
import { TrustPanel } from "./view/trust.js";
import { Verify } from "./view/verify.js";

let loading;
const ready = () => (loading ??= wasm.default({ module_or_path: module }));
let loadingClient;
const readyClient = () => (loadingClient ??= client.default({ module_or_path: clientModule }).then(() => client));
const tasks = () => verifyingTasks({ init: ready, initClient: readyClient, ...createApi(wasm, ready), ...createLogApi(readyClient), BundleError });

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
