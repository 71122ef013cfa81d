// Where the bytes of a get go.

// Bytes collected before they are moved into a Blob, which the browser can store outside the heap.
const BLOB_PART = 4 << 20;

export function blobSink() {
  const parts = [];
  let last = [];
  let size = 0;
  const flush = () => {
    if (size > 0) parts.push(new Blob(last));
    last = [];
    size = 0;
  };
  return {
    write: (bytes) => {
      last.push(bytes);
      size += bytes.length;
      if (size >= BLOB_PART) flush();
    },
    blob: () => {
      flush();
      return new Blob(parts, { type: "application/octet-stream" });
    },
  };
}

// Calls the sink one write at a time and in order, over all attempts of a get.
export function createWriter(sink) {
  let last; // the promise of the last write that the sink has not ended
  return {
    // Until the sink's promise settles, calls `pause`, then `resume` or `fail`.
    write(bytes, { pause, resume, fail }) {
      const call = () => sink.write(bytes);
      if (last === undefined) {
        const result = call();
        if (typeof result?.then !== "function") return;
        last = Promise.resolve(result);
      } else {
        last = last.then(call);
      }
      pause();
      const mine = last;
      mine.then(() => {
        if (last !== mine) return;
        last = undefined;
        resume();
      }, fail);
    },
    // Fulfils once the sink has ended every write; rejects with its error.
    ended: async () => void (await last),
  };
}
