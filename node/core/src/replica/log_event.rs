//! Events for a replica's log.

use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::ReplicaStatus;

use super::proposals::Proposal;

/// An event for a replica's log.
#[derive(Debug, Clone)]
pub enum Event {
    /// A server accepted the link. The server's address.
    Connected(String),
    /// A link ended and is dialled again. The server's address, and the reason.
    Disconnected(String, String),
    /// A server refused the replica for a reason that an immediate retry cannot fix. The replica retries every minute. The server's
    /// address, and the reason.
    RefusedForGood(String, String),
    /// The replica's status at a server. The server's address, the status, and the reason.
    ReplicaStatus(String, ReplicaStatus, String),
    /// Progress of a founding.
    Founding(String),
    /// The replica is a member of this committee, with this index.
    Member(Arc<Committee>, u16),
    /// There is no committee yet.
    Waiting,
    /// The committee of this cluster does not include the replica.
    Standby(Arc<str>),
    /// A blob is stored durably. Its digest and its length in bytes.
    Stored(Digest, u64),
    /// The replica signed a statement about these blobs: their bytes and the statement are durable. The vote leaves now.
    Voted(Proposal),
    /// Progress of the ordered log.
    Log(String),
    /// Blobs were found on the disk that the index did not name. Their number, and their bytes.
    Adopted(u64, u64),
    /// Expired blobs were removed. Their number, and their bytes.
    Collected(u64, u64),
    /// A blob is damaged and no longer stored. Its digest, and the damage.
    Damaged(Digest, String),
    /// A put or a batch continued without this replica. The reason.
    LeftOut(String),
    /// The wall clock is in doubt, so the replica signs and deletes nothing. The reason.
    ClockInDoubt(String),
    /// The wall clock is trusted again. The reason.
    ClockTrusted(String),
    /// The replica refused a put or a vote. The reason.
    Refused(String),
    /// The disk failed. The error.
    Trouble(String),
}
