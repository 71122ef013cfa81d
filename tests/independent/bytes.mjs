// Bytes and little-endian integers.
import { blake3 } from "@noble/hashes/blake3.js";
import { cannotCheck, invalid } from "./failure.mjs";

export const NEVER = 2n ** 64n - 1n;
export const MAX_INTEGER = Number.MAX_SAFE_INTEGER;

const utf8Encoder = new TextEncoder();
// ignoreBOM: a byte order mark is an ordinary character and must not be dropped.
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const utf8 = (text) => utf8Encoder.encode(text);
export const fromUtf8 = (bytes) => utf8Decoder.decode(bytes);

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
export const isZero = (bytes) => bytes.every((byte) => byte === 0);

// Byte-wise, as memcmp does.
export function compare(a, b) {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

function integer(value, size) {
  const out = new Uint8Array(size);
  let rest = BigInt(value);
  for (let i = 0; i < size; i++, rest >>= 8n) out[i] = Number(rest & 0xffn);
  if (rest !== 0n) throw new RangeError(`${value} does not fit ${size} bytes`);
  return out;
}
export const u8 = (value) => integer(value, 1);
export const u16 = (value) => integer(value, 2);
export const u32 = (value) => integer(value, 4);
export const u64 = (value) => integer(value, 8);

export const digestOf = (bytes) => blake3(bytes);
export const derive = (context, bytes) => blake3(bytes, { context: utf8(context) });

// Reads from front to back; every fault is INVALID, so the order of faults is the order of offsets.
export class Reader {
  constructor(bytes, what) {
    this.bytes = bytes;
    this.what = what;
    this.at = 0;
  }

  take(size, field) {
    if (this.at + size > this.bytes.length) {
      throw invalid(`${this.what} ends inside its ${field}`, { expected: `${this.at + size} bytes`, got: `${this.bytes.length} bytes` });
    }
    this.at += size;
    return this.bytes.slice(this.at - size, this.at);
  }

  tag(text) {
    const got = this.take(text.length, "tag");
    if (!equal(got, utf8(text))) throw invalid(`${this.what} has the wrong tag`, { expected: text, got: `bytes ${[...got].join(" ")}` });
  }

  big(size, field) {
    return this.take(size, field).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  small(size, field) {
    return Number(this.big(size, field));
  }

  // A u64 that is at most 2^53 − 1.
  bounded(field) {
    const value = this.big(8, field);
    if (value > BigInt(MAX_INTEGER)) throw invalid(`${this.what}: ${field} is too large`, { expected: `at most ${MAX_INTEGER}`, got: `${value}` });
    return Number(value);
  }

  // The height of a block, from 1.
  height(field) {
    const value = this.bounded(field);
    if (value === 0) throw invalid(`${this.what}: there is no block of height 0`, { expected: "1 or more", got: "0" });
    return value;
  }

  // The single known value of a version or kind; any other stops decoding.
  known(size, field, value) {
    const got = this.small(size, field);
    if (got !== value) throw cannotCheck(`${this.what}: ${field} ${got} is unknown`, { expected: `${value}`, got: `${got}` });
    return got;
  }

  end() {
    if (this.at !== this.bytes.length) {
      throw invalid(`${this.what} has trailing bytes`, { expected: `${this.at} bytes`, got: `${this.bytes.length} bytes` });
    }
  }
}
