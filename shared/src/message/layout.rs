//! The tags of messages, and constants that encoding and decoding share.
#![cfg_attr(not(feature = "nodes"), allow(dead_code, reason = "for messages that only nodes send"))]

use crate::receipt::Receipt;

pub(super) const AUTH: u8 = 0x02;
pub(super) const CLUSTER: u8 = 0x03;
pub(super) const FAILED: u8 = 0x04;
pub(super) const PUT: u8 = 0x10;
pub(super) const CHUNK: u8 = 0x11;
pub(super) const PUT_END: u8 = 0x12;
pub(super) const CANCEL: u8 = 0x13;
pub(super) const READY: u8 = 0x14;
pub(super) const PROGRESS: u8 = 0x15;
pub(super) const CERTIFIED: u8 = 0x16;
pub(super) const STORED: u8 = 0x17;
pub(super) const BLOB: u8 = 0x18;
pub(super) const LOCATE: u8 = 0x20;
pub(super) const LOCATED: u8 = 0x21;
pub(super) const READ: u8 = 0x22;
pub(super) const JOIN: u8 = 0x30;
pub(super) const PROPOSE: u8 = 0x31;
pub(super) const VOTE: u8 = 0x32;
pub(super) const ARCHIVE: u8 = 0x33;
pub(super) const LIST: u8 = 0x34;
pub(super) const LISTED: u8 = 0x35;
pub(super) const ENDORSE: u8 = 0x36;
pub(super) const ASK_TIME: u8 = 0x37;
pub(super) const SIGNED_TIME: u8 = 0x38;
pub(super) const FIND_CERTIFICATE: u8 = 0x3A;
pub(super) const FOUND_CERTIFICATE: u8 = 0x3B;
pub(super) const MISSED: u8 = 0x3C;
pub(super) const FOUNDING: u8 = 0x40;
pub(super) const ACCEPTANCES: u8 = 0x41;
pub(super) const REFUSALS: u8 = 0x42;
pub(super) const REPLICA_STATUS: u8 = 0x43;
pub(super) const EPOCHS: u8 = 0x44;
pub(super) const PEER: u8 = 0x50;
pub(super) const SUBMIT_OP: u8 = 0x51;
pub(super) const OP_DECIDED: u8 = 0x52;
pub(super) const LOG_TIP: u8 = 0x53;
pub(super) const ASK_LOG_HEAD: u8 = 0x54;
pub(super) const LOG_HEAD: u8 = 0x55;
pub(super) const ASK_OP_PROOF: u8 = 0x56;
pub(super) const OP_PROOF: u8 = 0x57;
pub(super) const ASK_BLOCK: u8 = 0x58;
pub(super) const LOG_BLOCK: u8 = 0x59;
pub(super) const ASK_SEAL: u8 = 0x5A;
pub(super) const SEAL_PART: u8 = 0x5B;
pub(super) const NEXT_MEMBERS: u8 = 0x5C;
pub(super) const ACCESS: u8 = 0x5D;

/// In place of a member's index: the end that is asked itself.
pub(super) const OWN: u16 = u16::MAX;
/// In place of a member's index: the filters of a list that name no member.
pub(super) const ALL: u16 = u16::MAX;
pub(super) const NOT_FROM_ASKER: u16 = u16::MAX - 1;

/// Number of bytes before a chunk's parents: tag, stream, offset, number of parents.
pub(super) const CHUNK_HEADER: usize = 1 + 4 + 8 + 1;

/// Number of bytes before a whole blob or its authorisation: tag, stream, flags, receipt.
pub(super) const BLOB_HEADER: usize = 1 + 4 + 1 + Receipt::SIZE;

/// Flags of a put.
pub(super) const OFFERED: u8 = 1;
pub(super) const RENEW: u8 = 2;
pub(super) const AUTHORISED: u8 = 4;

/// Flags of a whole blob.
pub(super) const BLOB_RENEW: u8 = 1;
pub(super) const BLOB_AUTHORISED: u8 = 2;
