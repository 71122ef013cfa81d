// Measures a working page: the longest task of its UI thread, its layout shifts, its memory.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { launch } from "./chromium.mjs";

const HEARTBEAT = 10;
const MODULES = ["/vouch-verifier/wasm/vouch_verifier.js", "/vouch-verifier/wasm/vouch_client.js"];

function watchDocument(interval) {
  const seen = { late: 0, shifts: [] };
  let last = performance.now();
  setInterval(() => {
    const time = performance.now();
    seen.late = Math.max(seen.late, time - last - interval);
    last = time;
  }, interval);
  new PerformanceObserver((list) => {
    for (const { value, sources } of list.getEntries()) seen.shifts.push({ value, nodes: sources.map(({ node }) => node?.outerHTML?.slice(0, 120)) });
  }).observe({ type: "layout-shift" });
  globalThis.vouchTestSeen = seen;
}

/** Watches a document from now on. `seen()` returns `shifts`, and `late`: the largest delay of a timer, in milliseconds. */
export async function watchPage(page) {
  await page.evaluate(watchDocument, HEARTBEAT);
  return { seen: () => page.evaluate(() => globalThis.vouchTestSeen) };
}

/**
 * Watches the tasks on the UI thread. `stop()` returns the milliseconds of the longest, by
 * the thread's CPU clock, which does not advance while another process runs. One watch at a time.
 */
export async function watchTasks(page) {
  const browser = await launch();
  await browser.startTracing(page, { categories: ["disabled-by-default-devtools.timeline"] });
  return {
    async stop() {
      const { traceEvents } = JSON.parse(await browser.stopTracing());
      const threads = new Set(traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(({ pid, tid }) => `${pid}/${tid}`));
      const tasks = traceEvents.filter(({ name, pid, tid, tdur }) => name === "RunTask" && tdur !== undefined && threads.has(`${pid}/${tid}`));
      if (tasks.length === 0) throw new Error("the trace shows no task of a page");
      return Math.round(Math.max(...tasks.map(({ tdur }) => tdur)) / 1000);
    },
  };
}

// A page's session reaches its workers only through messages inside messages.
class Threads {
  #session;
  #waiting = new Map();
  #next = 1;
  #workers = new Set();

  static async of(page) {
    const threads = new Threads();
    threads.#session = await page.context().newCDPSession(page);
    threads.#session.on("Target.attachedToTarget", ({ sessionId, targetInfo }) => targetInfo.type === "worker" && threads.#workers.add(sessionId));
    threads.#session.on("Target.detachedFromTarget", ({ sessionId }) => threads.#workers.delete(sessionId));
    threads.#session.on("Target.receivedMessageFromTarget", ({ message }) => {
      const { id, result } = JSON.parse(message);
      threads.#waiting.get(id)?.(result);
      threads.#waiting.delete(id);
    });
    await threads.#session.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
    return threads;
  }

  #toWorker(sessionId, method, params) {
    const id = this.#next++;
    const answered = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.#session.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params }) }).catch(() => this.#waiting.get(id)?.());
    return Promise.race([answered, sleep(2000)]); // a worker may be gone
  }

  /** Functions to query the page (first) and each of its workers. A missing answer is undefined. */
  all() {
    const workers = [...this.#workers].map((id) => (method, params) => this.#toWorker(id, method, params));
    return [(method, params) => this.#session.send(method, params).catch(() => undefined), ...workers];
  }

  detach() {
    return this.#session.detach();
  }
}

// JavaScript heap and its array buffers, in bytes.
async function heapSize(ask) {
  const usage = await ask("Runtime.getHeapUsage");
  return usage ? usage.usedSize + (usage.backingStorageSize ?? 0) + (usage.embedderHeapUsedSize ?? 0) : 0;
}

// WebAssembly memories of the package's modules in a worker, in bytes: outside the heap, and they never shrink.
async function moduleMemory(ask) {
  const expression = `Promise.all(${JSON.stringify(MODULES)}.map(async (name) => (await (await import(location.origin + name)).default()).memory.buffer.byteLength)).then(([a, b]) => a + b)`;
  const size = await ask("Runtime.evaluate", { expression, awaitPromise: true });
  if (typeof size?.result.value !== "number") throw new Error(`a worker does not tell the size of its modules: ${JSON.stringify(size)}`);
  return size.result.value;
}

const sumOf = async (sizes) => (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);

/** Resident memory of all renderers, in bytes, including shared memory and other pages; for information. */
async function rendererMemory() {
  const session = await (await launch()).newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  return processInfo.filter(({ type }) => type === "renderer").reduce((sum, { id }) => sum + residentSize(id), 0);
}

function residentSize(id) {
  try {
    return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))[1]) * 1024;
  } catch {
    return 0; // it ended, or the system has no /proc
  }
}

const COLLECTED_EVERY = 4;

/**
 * Samples memory until stopped. `stop()` returns `samples`, in bytes: `heap` of page and workers, with garbage except in every fourth,
 * `isCollected`; `resident` of all renderers, for information. Also `modules`: the growth of the workers' WebAssembly memories.
 */
export async function watchMemory(page, interval = 150) {
  const threads = await Threads.of(page);
  const modules = () => sumOf(threads.all().slice(1).map(moduleMemory));
  const before = await modules();
  const samples = [];
  let stopped = false;
  const sampling = (async () => {
    while (!stopped && !page.isClosed()) {
      const [ui, ...workers] = threads.all();
      const isCollected = samples.length % COLLECTED_EVERY === 0;
      if (isCollected) await Promise.all(workers.map((ask) => ask("HeapProfiler.collectGarbage")));
      samples.push({ heap: await sumOf([ui, ...workers].map(heapSize)), isCollected, resident: await rendererMemory() });
      await sleep(interval);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await sampling;
      const grown = (await modules()) - before;
      await threads.detach();
      return { samples, modules: grown };
    },
  };
}
