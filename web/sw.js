// The page's service worker. A media element of the page requests play/<digest>?<number>, and gets the server's bytes, verified here. Other
// requests are not touched. The browser may end the worker at any time, so it keeps no state: for each request, it asks the page what the
// number stands for.
import { answerWith } from "./player/answer.js";
import { verifiedBytes } from "./player/slices.js";
import * as wasm from "./vouch-verifier/wasm/vouch_slices.js";
import module from "./vouch-verifier/wasm/vouch_slices_bg.wasm"; // its bytes: see build.mjs

const FOLDER = new URL("play/", self.registration.scope).href;
// How long to wait for the page, in milliseconds. It answers at once, or not at all.
const PAGE_TIMEOUT = 10_000;

// This version belongs to the page, so it replaces an earlier one at once.
addEventListener("install", () => void self.skipWaiting());
addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
// A page that was loaded by a forced reload is not controlled by a service worker until it asks.
addEventListener("message", (event) => event.waitUntil(self.clients.claim()));

addEventListener("fetch", (event) => {
  const { url, method, destination } = event.request;
  if (!url.startsWith(FOLDER) || method !== "GET" || !["video", "audio"].includes(destination)) return;
  const number = Number(new URL(url).search.slice(1));
  const playing = play(event, number);
  event.respondWith(playing.then(({ answer }) => answer));
  // Without this, the browser might end the worker before the last byte.
  event.waitUntil(playing.then(({ ended }) => ended));
});

async function play({ request, clientId }, number) {
  const page = await self.clients.get(clientId);
  const asked = page === undefined ? null : await ask(page, number);
  if (asked === null) return { answer: Response.error(), ended: Promise.resolve() };
  const { blob, tell } = asked;
  return answerWith(blob, request.headers.get("range"), { read, tell });
}

/** `{ blob, tell }`, or null if the page does not know the number any more. */
function ask(page, number) {
  const { port1, port2 } = new MessageChannel();
  const tell = (event) => port1.postMessage(event);
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(null), PAGE_TIMEOUT);
    port1.onmessage = ({ data: blob }) => {
      clearTimeout(late);
      resolve(blob === null ? null : { blob, tell });
    };
    page.postMessage({ play: number }, [port2]);
  });
}

function read(blob, range, signal) {
  wasm.initSync({ module });
  const createReader = (...about) => new wasm.Slices(...about);
  return verifiedBytes(blob, range, { createReader, createRetry: () => new wasm.SliceRetry(), fetch: (...args) => fetch(...args), signal });
}
