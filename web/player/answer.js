// The answer to a media element that asks for bytes of a blob.
import { rangeOf } from "./range.js";

// The bytes are data: opened as a page, they must not run.
const HEADERS = {
  "accept-ranges": "bytes",
  "cache-control": "no-store",
  "content-security-policy": "sandbox; default-src 'none'",
  "x-content-type-options": "nosniff",
};

const plain = ({ code, at, reason, check, subject, expected, got, members, message }) => ({
  code: code ?? "unexpected",
  at,
  reason,
  check,
  subject,
  expected,
  got,
  members,
  message,
});

/**
 * `{ answer, ended }`. `blob` is what the page allows: `{ digest, length, type, server }`, the length out of the verified
 * certificate. `read(blob, range, signal)` iterates over its verified bytes; `tell` informs the page of `{ verified }`, a number
 * of bytes, and of `{ failed }`. `ended` fulfils when nothing more is done.
 */
export function answerWith(blob, rangeHeader, { read, tell }) {
  const { length, type } = blob;
  const range = rangeOf(rangeHeader, length);
  if (range === false) {
    const headers = { ...HEADERS, "content-range": `bytes */${length}` };
    return { answer: new Response(null, { status: 416, headers }), ended: Promise.resolve() };
  }
  const { start, end } = range ?? { start: 0, end: length };
  const headers = { ...HEADERS, "content-type": type, "content-length": String(end - start) };
  if (range !== null) headers["content-range"] = `bytes ${start}-${end - 1}/${length}`;
  let over;
  const ended = new Promise((resolve) => (over = resolve));
  const body = streamOf((signal) => read(blob, { start, end }, signal), { tell, over });
  return { answer: new Response(body, { status: range === null ? 200 : 206, headers }), ended };
}

// Reads the next piece only once the last one was taken.
function streamOf(begin, { tell, over }) {
  const control = new AbortController();
  const pieces = begin(control.signal);
  return new ReadableStream({
    async pull(stream) {
      try {
        const { done, value } = await pieces.next();
        if (done) {
          stream.close();
          return over();
        }
        tell({ verified: value.length });
        stream.enqueue(value);
      } catch (error) {
        over();
        if (control.signal.aborted) return;
        tell({ failed: plain(error) });
        stream.error(error);
      }
    },
    cancel(reason) {
      control.abort(reason);
      void pieces.return().catch(() => {}); // between two pieces, the generator does not see the signal
      over();
    },
  });
}
