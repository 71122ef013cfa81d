// BLS12-381 with 48-byte keys in G1 and 96-byte signatures in G2.
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { equal } from "./bytes.mjs";
import { toHex } from "./text.mjs";

export const STATEMENT_DST = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
export const POP_DST = "BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

const bls = bls12_381.longSignatures;
export const G1 = bls12_381.G1.Point;
export const G2 = bls12_381.G2.Point;

// Caches: hashing to the curve and decoding points are slow and repeat often.
function memoise(compute) {
  const known = new Map();
  return (bytes, extra = "") => {
    const key = extra + toHex(bytes);
    if (!known.has(key)) known.set(key, compute(bytes, extra));
    return known.get(key);
  };
}

export const hashToG2 = memoise((message, dst) => bls.hash(message, dst));

// Decodes a point of the prime-order subgroup other than infinity from its canonical encoding; else null.
function decodePoint(Point, size, bytes) {
  if (bytes.length !== size) return null;
  try {
    const point = Point.fromBytes(bytes);
    point.assertValidity();
    if (point.is0() || !point.isTorsionFree() || !equal(point.toBytes(), bytes)) return null;
    return point;
  } catch {
    return null;
  }
}
export const decodeKey = memoise((bytes) => decodePoint(G1, 48, bytes));
export const decodeSignature = memoise((bytes) => decodePoint(G2, 96, bytes));

export const sum = (Point, points) => points.reduce((total, point) => total.add(point), Point.ZERO);

// Takes points, not bytes: the caller has decoded them.
export const verifySignature = (signature, message, key, dst) => bls.verify(signature, hashToG2(message, dst), key);

export const publicKey = (secret) => bls.getPublicKey(secret).toBytes();
export const sign = (message, secret, dst) => bls.sign(hashToG2(message, dst), secret).toBytes();
export const provePossession = (secret) => sign(publicKey(secret), secret, POP_DST);
export const aggregate = (signatures) => sum(G2, signatures.map(decodeSignature)).toBytes();
