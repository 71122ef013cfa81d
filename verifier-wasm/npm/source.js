// Hashes a file, and sends it through the socket.
import { chunksOf, pieces } from "./bytes.js";
import { ServerError } from "./link.js";

// Maximum number of bytes in the socket's buffer: above it, reading the file pauses.
const MOST_BUFFERED = 4 << 20;
const BUFFER_POLL = 4; // ms

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const unreadable = (error) => new ServerError({ code: "source", fault: "local", message: `the file cannot be read: ${error.message}; choose it again` });

// Computes the file's digest and outline. The result is in the module's memory; the caller must free it.
export async function hashed(wasm, file, total, tell, signal) {
  let hasher = new wasm.Outliner();
  try {
    tell({ stage: "hashing", done: 0, total });
    for await (const chunk of chunksOf(file)) {
      signal?.throwIfAborted();
      for (const piece of pieces(chunk)) hasher.update(piece);
      tell({ stage: "hashing", done: hasher.length(), total });
    }
    const subject = hasher.finish();
    hasher = undefined; // `finish` has consumed it
    const digest = subject.digest();
    tell({ stage: "hashed", digest: wasm.digestHex(digest), digest_base58: wasm.digestBase58(digest), length: subject.length() });
    return subject;
  } catch (error) {
    if (signal?.aborted || error instanceof TypeError) throw error;
    throw unreadable(error);
  } finally {
    hasher?.free();
  }
}

// Sends every chunk, with at most MOST_BUFFERED bytes in the socket's buffer before each piece. Calls `progress` as bytes leave the buffer. Returns
// early if the put has ended.
export async function upload(wasm, put, chunks, progress, hasEnded) {
  const reader = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await reader.next().catch((error) => {
        throw error instanceof TypeError ? error : unreadable(error);
      });
      if (done) break;
      for (const piece of pieces(value, wasm.maxChunk())) {
        while (!hasEnded() && put.buffered() > MOST_BUFFERED) {
          progress();
          await pause(BUFFER_POLL);
        }
        if (hasEnded() || !put.chunk(piece)) return;
        progress();
      }
    }
  } finally {
    await reader.return?.();
  }
  if (hasEnded() || !put.end(Math.floor(Date.now() / 1000))) return;
  while (!hasEnded() && put.buffered() > 0) {
    progress();
    await pause(BUFFER_POLL);
  }
  if (!hasEnded()) progress();
}
