// ed25519 signatures, verified strictly, as on links: canonical S, no small-order key and no small-order R, and the equation without the cofactor.
// The library's own `verify` multiplies by the cofactor: it accepts signatures for a key with a part of small order, which this page refuses.
import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { concat } from "./bytes.mjs";

const { Point } = ed25519;
const ORDER = Point.Fn.ORDER;

const number = (bytes) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

/** The hash of a signature's R, the key and the message, as a scalar; RFC 8032, section 5.1.7. */
export const challenge = (r, key, message) => number(sha512(concat(r, key, message))) % ORDER;

function decodePoint(bytes) {
  try {
    const point = Point.fromBytes(bytes);
    return point.isSmallOrder() ? null : point;
  } catch {
    return null;
  }
}

export function hasSigned(key, message, signature) {
  if (key.length !== 32 || signature.length !== 64) return false;
  const r = signature.slice(0, 32);
  const s = number(signature.slice(32));
  const [point, commitment] = [decodePoint(key), decodePoint(r)];
  if (s >= ORDER || point === null || commitment === null) return false;
  return Point.BASE.multiplyUnsafe(s).equals(commitment.add(point.multiplyUnsafe(challenge(r, key, message))));
}
