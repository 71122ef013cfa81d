//! What a replica tells its operator.

use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::Standing;

/// What a replica tells its operator.
#[derive(Debug, Clone)]
pub enum Event {
    /// A server welcomed it.
    Connected(String),
    /// A link ended; it is dialled again.
    Disconnected(String, String),
    /// A server refused it for a reason that dialling again soon cannot mend; it is dialled again now and then.
    RefusedForGood(String, String),
    /// What a server says that this replica is to it.
    Standing(String, Standing, String),
    /// How far a founding is.
    Founding(String),
    /// It is a member, at this position.
    Member(Arc<Committee>, u16),
    /// No committee yet.
    Waiting,
    /// There is a committee without it.
    Standby(Arc<str>),
    /// It holds a blob durably.
    Stored(Digest, u64),
    /// It found so many blobs, of so many bytes, on its disk, which its index did not name.
    Adopted(u64, u64),
    /// It removed so many expired blobs, of so many bytes.
    Collected(u64, u64),
    /// A blob is not what it should be, with what differs: it is held no more.
    Damaged(Digest, String),
    /// A put or a batch went on without it, and why.
    LeftOut(String),
    /// Its wall clock is in doubt, and why: it signs and deletes nothing.
    ClockInDoubt(String),
    /// Its wall clock can be relied on again, and by what.
    ClockTrusted(String),
    /// It refused a put or a vote.
    Refused(String),
    /// Its disk failed it.
    Trouble(String),
}
