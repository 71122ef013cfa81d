// The link messages that the vectors contain.
import { concat, derive, u16, u32, u64, u8, utf8 } from "./bytes.mjs";

export const ROLES = { client: 1, replica: 2, server: 3 };

export const LINK_VERSION = 3;

export const encodeHello = ({ role, cluster, epoch, node, nonce }) => concat(u8(0x01), u16(LINK_VERSION), u8(role), cluster, u64(epoch), node, nonce);

export function authBytes({ dialerHello, listenerHello, signerRole, exporter = new Uint8Array(0) }) {
  const hash = (hello) => derive("vouch hello v1", hello);
  return concat(u8(0x0d), utf8("vouch/link/v1"), hash(dialerHello), hash(listenerHello), u8(signerRole), u8(exporter.length), exporter);
}

// Signed clock readings: what a member signs, and the question and answer messages.
export const timeBytes = ({ cluster, asker, nonce, time }) => concat(u8(0x0d), utf8("vouch/time/v1"), cluster, asker, nonce, u64(time));

export const encodeAskTime = ({ stream, asker, nonce }) => concat(u8(0x37), u32(stream), asker, nonce);

export const encodeSignedTime = ({ stream, member, time, signature }) => concat(u8(0x38), u32(stream), u16(member), u64(time), signature);

// Frames between members: everything before the signature, and what is signed.
const frameHeader = ({ kind, from, to, session, number }) => concat(u8(1), u8(kind), from, to, session, u64(number));

export const peerHello = ({ echo, asks, address = "", ...header }) =>
  concat(frameHeader({ ...header, kind: 1 }), u8(echo ? 1 : 0), echo ?? new Uint8Array(16), u8(asks ? 1 : 0), u8(address.length), utf8(address));

export const peerMessage = ({ message, ...header }) => concat(frameHeader({ ...header, kind: 2 }), message);

export const peerFrameBytes = ({ cluster, frame, receiver = new Uint8Array(0) }) => concat(u8(0x0d), utf8("vouch/peer/v1"), cluster, frame, receiver);

export const encodeAuth = (signature) => concat(u8(0x02), signature);
