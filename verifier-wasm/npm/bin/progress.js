// Shows on standard error how much of the file is read: only on a terminal, and only if it takes more than a second.
const DELAY = 1000;
const INTERVAL = 200;

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

export async function* withProgress(chunks, total) {
  if (!process.stderr.isTTY) return yield* chunks;
  let bytes = 0;
  let shown = false;
  let next = performance.now() + DELAY;
  try {
    for await (const chunk of chunks) {
      yield chunk;
      bytes += chunk.length;
      if (performance.now() < next) continue;
      next = performance.now() + INTERVAL;
      shown = true;
      const share = total > 0 ? ` of ${megabytes(total)}, ${Math.floor((100 * bytes) / total)} %` : "";
      process.stderr.write(`\r\x1b[Khashing: ${megabytes(bytes)}${share}`);
    }
  } finally {
    if (shown) process.stderr.write("\r\x1b[K");
  }
}
