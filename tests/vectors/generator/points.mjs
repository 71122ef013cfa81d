// Points and encodings that a verifier must refuse. The library's own encoder refuses them too, so they are encoded here.
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { G1, G2, decodeKey, decodeSignature } from "../../independent/bls.mjs";
import { concat, derive, utf8 } from "../../independent/bytes.mjs";

const { Fp, Fp2 } = bls12_381.fields;
const P = Fp.ORDER;
const G1_B = 4n;
const G2_B = Fp2.create({ c0: 4n, c1: 4n });
const G2_COFACTOR = bls12_381.G2.Point.CURVE().h;

const field = (value) => Uint8Array.from({ length: 48 }, (_, i) => Number((value >> BigInt(8 * (47 - i))) & 0xffn));
const number = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const larger = (value) => value > (P - 1n) / 2n;

function flag(bytes, sort) {
  bytes[0] |= sort ? 0xa0 : 0x80;
  return bytes;
}

export function encodeG1(point) {
  const { x, y } = point.toAffine();
  return flag(field(x), larger(y));
}

export function encodeG2(point) {
  const { x, y } = point.toAffine();
  return flag(concat(field(x.c1), field(x.c0)), y.c1 === 0n ? larger(y.c0) : larger(y.c1));
}

// The library's multiplication takes scalars below the group order only.
function multiply(Point, point, scalar) {
  let result = Point.ZERO;
  for (const bit of scalar.toString(2)) {
    result = result.double();
    if (bit === "1") result = result.add(point);
  }
  return result;
}

const start = (label, i) => number(derive("vouch test field element v1", utf8(`${label} ${i}`)));

function square(F, value) {
  try {
    return F.sqrt(value);
  } catch {
    return undefined;
  }
}

function g1At(x) {
  const y = square(Fp, Fp.create(x ** 3n + G1_B));
  return y === undefined ? undefined : G1.fromAffine({ x, y });
}

function g2At(x) {
  const y = square(Fp2, Fp2.add(Fp2.mul(Fp2.mul(x, x), x), G2_B));
  return y === undefined ? undefined : G2.fromAffine({ x, y });
}

function search(label, attempt) {
  for (let i = 0; ; i++) {
    const found = attempt(start(label, i));
    if (found !== undefined) return found;
  }
}

const fp2 = (value) => Fp2.create({ c0: value, c1: 1n });

export const keyNotOnCurve = () => search("key off the curve", (x) => (g1At(x) === undefined ? flag(field(x), false) : undefined));
export const keyNotInSubgroup = () => encodeG1(search("key outside the subgroup", g1At));
export const signatureNotOnCurve = () =>
  search("signature off the curve", (x) => (g2At(fp2(x)) === undefined ? flag(concat(field(1n), field(x)), false) : undefined));
export const signatureNotInSubgroup = () => encodeG2(search("signature outside the subgroup", (x) => g2At(fp2(x))));

// (0, 2) has order 3. The pairing check does not see it: only the subgroup check does.
export const keyPlusSmallOrder = (key) => encodeG1(decodeKey(key).add(G1.fromAffine({ x: 0n, y: 2n })));

// A point of order 13, from the cofactor 13² · … of G2.
function order13() {
  const outside = search("point of order 13", (x) => {
    const point = g2At(fp2(x));
    if (point === undefined) return undefined;
    const of169 = multiply(G2, point, (G2.Fn.ORDER * G2_COFACTOR) / 169n);
    return of169.is0() ? undefined : of169;
  });
  const multiple = multiply(G2, outside, 13n);
  return multiple.is0() ? outside : multiple;
}
export const signaturePlusSmallOrder = (signature) => encodeG2(decodeSignature(signature).add(order13()));

export const negatedSignature = (signature) => decodeSignature(signature).negate().toBytes();
export const negatedKey = (key) => decodeKey(key).negate().toBytes();

export function infinity(size, first = 0xc0, last = 0) {
  const bytes = new Uint8Array(size);
  bytes[0] = first;
  bytes[size - 1] |= last;
  return bytes;
}

// The same point with p added to the coordinate at `offset`; undefined if the sum does not fit beside the flags.
export function notReduced(bytes, offset) {
  const flags = offset === 0 ? bytes[0] & 0xe0 : 0;
  const part = bytes.slice(offset, offset + 48);
  part[0] ^= flags;
  const value = number(part) + P;
  if (offset === 0 && value >= 1n << 381n) return undefined;
  const out = bytes.slice();
  out.set(field(value), offset);
  out[offset] |= flags;
  return out;
}
