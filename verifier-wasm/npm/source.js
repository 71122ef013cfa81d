// A file on its way: through the hasher, then through the socket.
import { chunksOf, pieces } from "./bytes.js";
import { ServerError } from "./link.js";

// Bytes on their way out of the socket: beyond the most, reading stops until fewer are left.
const MOST_BUFFERED = 4 << 20;
const BUFFER_POLL = 4; // ms

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const unreadable = (error) => new ServerError({ code: "source", message: `the file cannot be read: ${error.message}; choose it again` });

// The file's digest and outline, in the module's memory: to be freed.
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
    hasher = undefined; // its memory is the subject's now
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

// Sends every chunk, never with more than MOST_BUFFERED on its way; `from` is where the first one stands. `sent` hears how much of
// the file has left. Ends early when the put is over.
export async function upload(wasm, put, chunks, from, sent, isOver) {
  let given = from;
  const progress = () => sent(Math.max(from, given - put.buffered()));
  const reader = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await reader.next().catch((error) => {
        throw error instanceof TypeError ? error : unreadable(error);
      });
      if (done) break;
      for (const piece of pieces(value, wasm.maxChunk())) {
        while (!isOver() && put.buffered() > MOST_BUFFERED) {
          progress();
          await pause(BUFFER_POLL);
        }
        if (isOver() || !put.chunk(piece)) return;
        given += piece.length;
        progress();
      }
    }
  } finally {
    await reader.return?.();
  }
  if (isOver() || !put.end()) return;
  while (!isOver() && put.buffered() > 0) {
    progress();
    await pause(BUFFER_POLL);
  }
  if (!isOver()) progress();
}
