// Recognises bytes, and reads a file of any size in pieces.

// Maximum number of bytes copied into the module at once.
const PIECE = 1 << 20;
// Size in bytes of the slices in which a Blob is read.
const SLICE = 4 << 20;

// These getters read internal slots. They recognise bytes, including those of another realm (an iframe, a test runner), and reject objects that
// only look like bytes.
const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const getterOf = (prototype, name) => Object.getOwnPropertyDescriptor(prototype, name).get;
const arrayTag = getterOf(typedArray, Symbol.toStringTag);
const arrayBuffer = getterOf(typedArray, "buffer");
const arrayOffset = getterOf(typedArray, "byteOffset");
const arrayLength = getterOf(typedArray, "byteLength");
const bufferLength = getterOf(ArrayBuffer.prototype, "byteLength");

const isBytes = (value) => arrayTag.call(value) === "Uint8Array";

function isBuffer(value) {
  try {
    bufferLength.call(value);
    return true;
  } catch {
    return false;
  }
}

export const kindOf = (value) => {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value === "function" ? "a function" : `a ${typeof value}`;
  return value.constructor?.name || "an object";
};

// The bytes as a plain Uint8Array on the same memory, or undefined if the value has none. It is plain because a subclass may override
// methods: Buffer.prototype.slice does not copy.
export function asBytes(name, value) {
  if (!isBytes(value) && !isBuffer(value)) return undefined;
  try {
    if (!isBytes(value)) return new Uint8Array(value);
    // Throws if the memory is detached. A detached array has length 0, so it would be taken for an empty file.
    typedArray.keys.call(value);
    return new Uint8Array(arrayBuffer.call(value), arrayOffset.call(value), arrayLength.call(value));
  } catch {
    throw new TypeError(`${name}: expected bytes, got a detached ${kindOf(value)}: its memory was transferred elsewhere`);
  }
}

// Copies bytes in memory, so that the caller can no longer change them. Any other value is returned unchanged.
export function heldBytes(name, value) {
  const bytes = asBytes(name, value);
  return bytes === undefined ? value : new Uint8Array(bytes);
}

export function* pieces(bytes, size = PIECE) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

// Reads ahead: the next slice is read while the caller processes the last one.
async function* readSlices(blob, from) {
  const read = (at) => {
    if (at >= blob.size) return undefined;
    const slice = blob.slice(at, at + SLICE).arrayBuffer();
    slice.catch(() => {}); // no unhandled rejection; the error is thrown when the slice is awaited
    return slice;
  };
  let next = read(from);
  for (let at = from + SLICE; next !== undefined; at += SLICE) {
    const slice = await next;
    next = read(at);
    yield slice;
  }
}

// Uses a reader, because not every browser can iterate a stream.
async function* readStream(stream) {
  const reader = stream.getReader();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      ended = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!ended) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

const isBlob = (file) => typeof file === "object" && file !== null && typeof file.slice === "function" && typeof file.size === "number";

// The length of a file that can be read more than once; undefined for one that can be read only once.
export function lengthOf(file) {
  const bytes = asBytes("file", file);
  if (bytes !== undefined) return bytes.length;
  return isBlob(file) ? file.size : undefined;
}

// Sources that can be read only once, and that this package has begun to read.
const spent = new WeakSet();
// Node.js only: there, `new Response` would take over the stream.
const { isDisturbed } = globalThis.process?.getBuiltinModule?.("node:stream") ?? {};

// Whether a stream was read already: its remaining bytes are not the whole file, and a stream that ended has none.
function wasRead(file) {
  if (spent.has(file) || file.locked === true || file.readableDidRead === true || file.destroyed === true) return true;
  if (isDisturbed !== undefined) return isDisturbed(file);
  if (typeof file.getReader !== "function" || globalThis.Response === undefined) return false;
  try {
    // Throws for exactly such streams, and does not change others.
    new Response(file);
    return false;
  } catch {
    return true;
  }
}

// Whether the source can be read only once. If it can be read more than once, its iterator is another object.
const isReadOnce = (file) => typeof file.getReader === "function" || typeof file.read === "function" || typeof file.next === "function";

function expectUnread(file) {
  if (!isReadOnce(file)) return;
  // A failed Node.js stream is destroyed as well, but its own error says more.
  if (typeof file.read === "function" && file.errored instanceof Error) throw file.errored;
  if (wasRead(file)) throw new TypeError(`file: expected a source that nobody has read from, got ${kindOf(file)} that was read already`);
}

// Checks again when reading begins, because another call may have read the source meanwhile. The source is marked as spent only then: a call
// that fails before it reads anything leaves the source usable.
async function* readUnread(file) {
  expectUnread(file);
  if (isReadOnce(file)) spent.add(file);
  yield* typeof file.getReader === "function" ? readStream(file) : file;
}

function sourceOf(file, from) {
  const bytes = asBytes("file", file);
  if (bytes !== undefined) return [bytes.subarray(from)];
  if (isBlob(file)) return readSlices(file, from);
  if (typeof file === "object" && file !== null) {
    if (typeof file.getReader === "function" || typeof file[Symbol.asyncIterator] === "function") {
      expectUnread(file);
      return readUnread(file);
    }
  }
  const hint = typeof file === "string" ? "; open a path with createReadStream(path) of node:fs" : "";
  throw new TypeError(`file: expected a Uint8Array, ArrayBuffer, Blob, ReadableStream or async iterable, got ${kindOf(file)}${hint}`);
}

// Throws synchronously if the value is not a file, before anything is read. `from`: the offset to start at, for a file that can be read
// more than once.
export function chunksOf(file, from = 0) {
  const source = sourceOf(file, from);
  return (async function* () {
    for await (const chunk of source) {
      const bytes = asBytes("file", chunk);
      if (bytes === undefined) throw new TypeError(`file: expected chunks of Uint8Array, got ${kindOf(chunk)}; do not set an encoding on the stream`);
      yield bytes;
    }
  })();
}
