// What replicas sign.
import { concat, derive, u16, u32, u64, u8, utf8 } from "./bytes.mjs";

export const KIND_STORED = 1;
export const KIND_HANDOFF = 2;
export const KIND_ACCEPT = 3;
export const KIND_LOG_HEAD = 4;
export const KIND_SEAL = 9;
// Signed by one replica, never certified.
export const KIND_KEY_OFFER = 0x8003;
// Signed by the operator of a cluster, never certified.
export const KIND_OPERATOR = 0x8004;
// Signed by the operator about access, never certified.
export const KIND_ACCESS = 0x8005;

export const encodeStoredBody = ({ issuedAt, count, root }) => concat(u64(issuedAt), u32(count), root);

export const encodeHeadBody = ({ height, block, logRoot, time }) => concat(u64(height), block, logRoot, u64(time));

export const encodeHandoffBody = ({ closing, next, height, logRoot }) => concat(u64(closing), next, u64(height), logRoot);

export const encodeSealBody = ({ epoch, committee, count, root }) => concat(u64(epoch), committee, u64(count), root);

export function encodeStatement({ kind = KIND_STORED, epoch, cluster, committee, body }) {
  return concat(u8(0x0f), utf8("vouch/statement"), u16(1), u16(kind), u32(body.length), u64(epoch), cluster, committee, body);
}

export const statementIdentity = (statement) => derive("vouch statement v1", statement);
