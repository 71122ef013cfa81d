//! What a put takes, and what it wants done.

use std::collections::BTreeSet;

use vouch_core::certificate::Certificate;
use vouch_core::message::{Code, Failed, Stage};
use vouch_core::receipt::Receipt;

/// What happened.
#[derive(Debug)]
pub enum PutInput {
    /// The put was passed on to the members.
    Begun,
    /// A member needs the bytes of what was offered from this offset on.
    Ready(u16, u64),
    /// The client sent bytes.
    Chunk {
        /// Where they belong.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The client declared the end.
    End(Receipt),
    /// The client sent a whole blob in one message, of so many bytes.
    Whole(Receipt, u64),
    /// A member holds the blob durably.
    Stored(u16),
    /// A member gave up.
    Failed(u16, Failed),
    /// A member is gone, or was too slow to receive.
    Lost(u16),
    /// The batcher's certificate, durable here.
    Certified(Box<Certificate>),
    /// The batcher could not certify.
    Uncertified(Failed),
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug)]
pub enum PutOutput {
    /// Tell the client to send the bytes from this offset on.
    Ready(u64),
    /// Pass the bytes on to the members that take part.
    Forward,
    /// Pass the end on.
    ForwardEnd(Receipt),
    /// Tell the client how far a member is.
    Progress(u16, Stage),
    /// Have it certified.
    Submit {
        /// What is certified.
        receipt: Receipt,
        /// Members that stored it.
        holders: BTreeSet<u16>,
        /// Members that may store it yet.
        candidates: BTreeSet<u16>,
    },
    /// One more holds it.
    AlsoHeld(u16),
    /// One that might have stored it will not.
    NeverHeld(u16),
    /// The put went on without this member: do not wait for it until it stored in time again.
    Late(u16),
    /// A member that was late stored in time.
    InTime(u16),
    /// Tell this member that the put goes on without it, and why.
    LeaveOut(u16, Code, String),
    /// What this member says it has of a blob is not to be counted on for a while.
    Doubt(u16),
    /// Tell the members that the put is off.
    Cancel,
    /// Done: hand the certificate out.
    Certified(Box<Certificate>),
    /// Over.
    Fail(Failed),
}
