// The link messages that the vectors contain.
import { concat, derive, u16, u32, u64, u8, utf8 } from "./bytes.mjs";

export const ROLES = { client: 1, replica: 2, server: 3 };

export const LINK_VERSION = 2;

export const encodeHello = ({ role, cluster, epoch, node, nonce }) => concat(u8(0x01), u16(LINK_VERSION), u8(role), cluster, u64(epoch), node, nonce);

export function authBytes({ dialerHello, listenerHello, signerRole, exporter = new Uint8Array(0) }) {
  const hash = (hello) => derive("vouch hello v1", hello);
  return concat(u8(0x0d), utf8("vouch/link/v1"), hash(dialerHello), hash(listenerHello), u8(signerRole), u8(exporter.length), exporter);
}

// Signed clock readings: what a member signs, and the question and answer messages.
export const timeBytes = ({ cluster, asker, nonce, time }) => concat(u8(0x0d), utf8("vouch/time/v1"), cluster, asker, nonce, u64(time));

export const encodeAskTime = ({ stream, asker, nonce }) => concat(u8(0x37), u32(stream), asker, nonce);

export const encodeSignedTime = ({ stream, member, time, signature }) => concat(u8(0x38), u32(stream), u16(member), u64(time), signature);

export const encodeAuth = (signature) => concat(u8(0x02), signature);
