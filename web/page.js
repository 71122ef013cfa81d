// The page: what index.html is wired of.
import { Engine } from "./engine/engine.js";
import { formatFragment, parseFragment } from "./logic/address.js";
import { examineOfLog } from "./logic/examine.js";
import { createMemory } from "./logic/memory.js";
import { LogWatch } from "./logic/log_watch.js";
import { Player } from "./logic/player.js";
import { Server } from "./logic/server.js";
import { Trust } from "./logic/trust.js";
import { createAnnouncer } from "./view/announce.js";
import { createCertify } from "./view/certify.js";
import { h } from "./view/dom.js";
import { dropAnywhere } from "./view/drop.js";
import { createFetch } from "./view/fetch.js";
import { loadVerifier } from "./view/loading.js";
import { showModules } from "./view/modules.js";
import { ServerPanel } from "./view/server.js";
import { createTabs } from "./view/tabs.js";
import { TrustPanel } from "./view/trust.js";
import { Verify } from "./view/verify.js";

const WORKER = new URL("engine/worker.js", import.meta.url).href;
const SERVICE_WORKER = new URL("sw.js", import.meta.url).href;
// How often the server is asked how it is, in milliseconds.
const ASK_EVERY = 5000;

// The only scripts that are ever started from a text.
const scripts = globalThis.trustedTypes?.createPolicy("vouch", {
  createScriptURL(url) {
    if (url !== WORKER && url !== SERVICE_WORKER) throw new TypeError(`expected ${WORKER} or ${SERVICE_WORKER}, got ${url}`);
    return url;
  },
}) ?? { createScriptURL: (url) => url };

const { origin } = location;
const own = origin.startsWith("http") ? new URL(".", location.href).href.replace(/\/$/, "") : null;

const engine = new Engine(() => new Worker(scripts.createScriptURL(WORKER), { type: "module" }));
const panels = document.querySelector("#panels");
const { normalize, decide, limits } = loadVerifier(engine, panels);
const trust = new Trust({ memory: createMemory(() => localStorage), normalize, decide });
const server = new Server({ page: origin, own, fetch: (...args) => fetch(...args), limits });
const log = new LogWatch({
  fetch: (...args) => fetch(...args),
  limits,
  judge: async (question, { signal }) => (await examineOfLog({ engine, kind: "head", judgingOf: (...args) => trust.judgingOf(...args), ...question, signal })).report,
});
// Nothing is registered before somebody wants to play something.
const player = new Player({
  container: navigator.serviceWorker,
  isSecure: isSecureContext,
  register: () => navigator.serviceWorker.register(scripts.createScriptURL(SERVICE_WORKER), { updateViaCache: "none" }),
});
const announce = createAnnouncer(document.querySelector("#announcer"));

// ---- the address: what it says is taken up at any time, and kept true ----

const takeAddress = () => (looking = takeUp());

async function takeUp() {
  const address = parseFragment(location.hash);
  // First whom the user wants to trust: a server that is heard before would be a first use.
  try {
    await trust.useAddress(address);
  } catch (error) {
    console.warn(error); // the verifier is missing, which the page says
    // Without the identity that was named, the server's word would be a first use.
    if (address.cluster !== null) return;
  }
  await server.find(address.server);
}

function changeAddress(changes) {
  const { cluster, server: named } = parseFragment(location.hash);
  const fragment = formatFragment({ cluster, server: named, ...changes });
  history.replaceState(null, "", fragment === "" ? location.pathname + location.search : fragment);
}

// ---- the server: its identity is compared whenever it shows one ----

let lastShown = null;
let looking = Promise.resolve();
let comparing = Promise.resolve();

async function compare(base, shown) {
  await trust.useServer(base);
  // What is no identity stays as it is: different from every one that could be trusted.
  const identity = shown === null ? null : await normalize(shown).catch(() => shown);
  if (lastShown === shown) await trust.serverShows(identity);
}

server.addEventListener("change", () => {
  lastShown = server.status?.cluster ?? null;
  comparing = compare(server.base, lastShown).catch(console.warn); // the verifier is missing, which the page says
});

/** The address is taken up, and the identity that the server shows now is compared. */
async function settled() {
  await looking;
  await server.refresh();
  await comparing;
}

// ---- the log: followed at a server whose cluster is the trusted one ----

const isVisible = () => document.visibilityState === "visible";

function followLog() {
  const { state, identity } = trust.decision;
  const isTrusted = ["trusted", "first-use"].includes(state) && trust.server === server.base;
  const isThere = ["ready", "waiting"].includes(server.state) && server.status.cluster !== null;
  log.follow(isThere ? server.base : null, isTrusted ? identity : null);
  void log.tick(isVisible());
}

server.addEventListener("change", followLog);
trust.addEventListener("change", followLog);
document.addEventListener("visibilitychange", () => void log.tick(isVisible()));

setInterval(() => {
  if (!isVisible()) return;
  void server.refresh();
  void log.tick(true);
  serverPanel.showLog();
}, ASK_EVERY);

// ---- the parts ----

const servedBy = h(
  "div",
  { class: "served-by", "data-note": "served-by-server", hidden: true },
  h(
    "p",
    {},
    "This page was served by the server that it checks. A dishonest server could have changed the page itself. For full certainty use verify.html saved beforehand, or the ",
    h("code", { class: "command" }, "vouch"),
    " command.",
  ),
  h("p", {}, h("a", { class: "button", href: "verify.html", download: "verify.html" }, "Save verify.html")),
);
const served = document.querySelector("#served");
server.addEventListener("change", () => (served.hidden = servedBy.hidden = !server.servesPage));

const dropCluster = () => changeAddress({ cluster: null });
const onTyped = (identity) => {
  dropCluster();
  announce(`${identity} is trusted now.`);
};
const trustPanel = new TrustPanel(trust, { note: servedBy, onTyped, onIgnore: dropCluster });
const serverPanel = new ServerPanel(server, { log, trust, origin, onTyped: (base) => changeAddress({ server: base }) });

const context = {
  engine,
  trust,
  server,
  settled,
  limits,
  announce,
  origin,
  player,
  askIdentity: () => trustPanel.ask(),
  verifyInstead(files) {
    tabs.show("verify");
    document.querySelector("#tab-verify").focus();
    void verify.take(files);
  },
};
const certify = createCertify(context);
const verify = new Verify(context);
const fetching = createFetch(context);

let zone = certify.zone;
const views = [
  { id: "certify", label: "Certify", element: certify.element, zone: certify.zone },
  { id: "verify", label: "Verify", element: verify.element, zone: verify.zone },
  { id: "fetch", label: "Fetch", element: fetching.element, zone: fetching.zone },
];
const tabs = createTabs("What to do", views, (id) => (zone = views.find((view) => view.id === id).zone));

panels.prepend(h("div", { class: "strip" }, trustPanel.element, serverPanel.element), trustPanel.alerts);
const main = document.querySelector("#main");
main.replaceChildren(tabs.list, ...views.map(({ element }) => element));
tabs.show("certify");
dropAnywhere(() => zone);

showModules(engine, document.querySelector("#modules"), [
  "A dishonest server could show anything here, as it could serve another page. For full certainty use verify.html saved beforehand, the npm package, or the ",
  h("code", { class: "command" }, "vouch"),
  " command.",
]);

// The address belongs to the identity, not to a place on the page.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("beforeunload", (event) => {
  if (certify.isBusy()) event.preventDefault();
});
addEventListener("hashchange", () => void takeAddress());

await takeAddress();
await comparing;
// Verifying needs no network any more once this has happened.
await engine.run("prepare", {}).catch(() => {}); // tried again when it is needed
document.documentElement.dataset.ready = "";
