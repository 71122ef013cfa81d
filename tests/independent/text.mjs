// Strict text forms: hex, base58 (Bitcoin alphabet) and base64url without padding.
// The decoders return null for a text that is not a canonical encoding.
const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE64_VALUES = new Map([...BASE64].map((character, value) => [character, value]));

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function fromHex(text) {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return null;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

export function toBase58(bytes) {
  let zeros = 0;
  while (zeros < bytes.length && bytes[zeros] === 0) zeros++;
  let number = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  let text = "";
  for (; number > 0n; number /= 58n) text = BASE58[Number(number % 58n)] + text;
  return "1".repeat(zeros) + text;
}

export function fromBase58(text, size) {
  // The work is quadratic in the length, so the length is bounded first: 58^1.366 < 256 < 58^1.37.
  if (text.length > Math.ceil(size * 1.37)) return null;
  let number = 0n;
  for (const character of text) {
    const value = BASE58.indexOf(character);
    if (value < 0) return null;
    number = number * 58n + BigInt(value);
  }
  const bytes = [];
  for (; number > 0n; number >>= 8n) bytes.unshift(Number(number & 0xffn));
  // Each leading 1 is a zero byte.
  const zeros = text.match(/^1*/)[0].length;
  const out = Uint8Array.from([...new Array(zeros).fill(0), ...bytes]);
  return out.length === size ? out : null;
}

export const toBase64url = (bytes) => Buffer.from(bytes).toString("base64url");

export function fromBase64url(text) {
  if (text.length % 4 === 1) return null;
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const character of text) {
    const value = BASE64_VALUES.get(character);
    if (value === undefined) return null;
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  return held === 0 ? out : null;
}

// A 32-byte value as users write it: 64 ASCII bytes are hex, any other text is base58.
export function parse32(text) {
  return /^[\x00-\x7f]{64}$/.test(text) ? fromHex(text) : fromBase58(text, 32);
}
