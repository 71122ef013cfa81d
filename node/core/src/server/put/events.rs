//! What a put takes, and what it wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stage};
use vouch_core::receipt::Receipt;

use crate::server::admission::Admission;
use crate::server::health::{LinkId, Observed};

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct PutRequest {
    /// Digest, length and expiry, if the client knows them before it sends the bytes.
    pub offer: Option<Receipt>,
    /// The client wants a new certificate, even if an earlier put's is valid.
    pub renew: bool,
    /// The number of bytes that came in the same message, which are then all of them.
    pub whole: Option<u64>,
}

/// What an input depends on beside itself.
#[derive(Debug, Clone, Default)]
pub struct PutContext {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_seconds: u64,
    /// Members that stored late before: once a quorum answered or stored, a put goes on without them.
    pub not_awaited: BTreeSet<u16>,
    /// Members that said they had bytes and then did not store: what they say leaves nobody out.
    pub doubted: BTreeSet<u16>,
}

/// What happened.
#[derive(Debug)]
pub enum PutInput {
    /// The client asked for the put.
    Begin,
    /// Completes [`PutAction::ClaimPlace`]: whether there was one.
    Claimed(bool),
    /// Completes [`PutAction::FindCommittee`].
    Committee(Result<Arc<Committee>, Failed>),
    /// Completes [`PutAction::AskAdmission`].
    Admission(Admission),
    /// Completes [`PutAction::FindEarlier`].
    Earlier(Option<Box<Certificate>>),
    /// Completes [`PutAction::ForwardPut`], [`PutAction::ForwardBytes`] and [`PutAction::ForwardEnd`].
    Forwarded(Forwarded),
    /// The client sent bytes.
    Chunk {
        /// The position of the first of them in the blob.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// The client declared the end.
    End(Receipt),
    /// A member needs the bytes of what was offered from this offset on.
    Ready(u16, u64),
    /// A member holds the blob durably.
    Stored(u16),
    /// A member refused.
    Failed(u16, Failed),
    /// Members connected or disconnected; these are connected now.
    Connected(BTreeMap<u16, LinkId>),
    /// The batcher's certificate, durable here.
    Certified(Box<Certificate>),
    /// The batcher could not certify.
    Uncertified(Failed),
    /// The client sent its bytes more slowly than it must, with the reason to tell it.
    TooSlow(String),
    /// The put's place in the server's budget is needed for another put.
    PlaceTaken,
    /// The client cancelled the put, or is gone.
    GiveUp {
        /// The members keep what they received for another put of the same blob.
        keep: bool,
    },
    /// Time passed.
    Tick,
}

impl PutInput {
    /// The input that a member's message is; `None` if it is no answer to a put.
    pub fn of_reply(member: u16, message: Message) -> Option<Self> {
        match message {
            Message::Ready { offset, .. } => Some(Self::Ready(member, offset)),
            Message::Stored { .. } => Some(Self::Stored(member)),
            Message::Failed(failed) => Some(Self::Failed(member, failed)),
            _ => None,
        }
    }
}

/// What happened while a message was queued for all members of a put. They do not take part any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Members whose links ended.
    pub gone: Vec<u16>,
    /// Members that had no room for it in time.
    pub too_slow: Vec<u16>,
}

/// What a put leads to.
#[derive(Debug)]
pub enum PutOutput {
    /// Tell the client.
    Answer(PutAnswer),
    /// Do this.
    Action(PutAction),
}

impl From<PutAnswer> for PutOutput {
    fn from(answer: PutAnswer) -> Self {
        Self::Answer(answer)
    }
}

impl From<PutAction> for PutOutput {
    fn from(action: PutAction) -> Self {
        Self::Action(action)
    }
}

/// What the client is told.
#[derive(Debug)]
pub enum PutAnswer {
    /// Send the bytes from this offset on.
    Ready(u64),
    /// How far a member is.
    Progress(u16, Stage),
    /// Done.
    Certified(Box<Certificate>),
    /// The put failed. The stream in it is the server's number, not the client's.
    Failed(Failed),
}

/// What the shell is asked to do for a put. Those that name an input are requests: the shell comes back with it.
#[derive(Debug)]
pub enum PutAction {
    /// Take a place for the put in the server's budget, then [`PutInput::Claimed`].
    ClaimPlace,
    /// Find the committee, or found one, then [`PutInput::Committee`].
    FindCommittee,
    /// Ask [`ServerCore::admit`](crate::server::ServerCore::admit), then [`PutInput::Admission`].
    AskAdmission {
        /// The put has waited for a quorum as long as it may.
        has_waited: bool,
    },
    /// Expect replies to the put, and forward what follows to these members.
    Open {
        /// The members that take part.
        members: BTreeSet<u16>,
        /// So many of them must take each message.
        quorum: usize,
    },
    /// Look for an earlier certificate that covers this receipt, then [`PutInput::Earlier`].
    FindEarlier(Receipt),
    /// Send the beginning of the put to the members, then [`PutInput::Forwarded`].
    ForwardPut {
        /// Digest, length and expiry, if they are known.
        offer: Option<Receipt>,
        /// A new certificate is wanted.
        renew: bool,
    },
    /// Send the client's message with its bytes to the members, then [`PutInput::Forwarded`].
    ForwardBytes,
    /// Send the end to the members, then [`PutInput::Forwarded`].
    ForwardEnd(Receipt),
    /// Send nothing more to this member.
    Drop(u16),
    /// Tell this member that the put goes on without it, and why.
    LeaveOut(u16, Code, String),
    /// Tell the members that the put is cancelled.
    Cancel {
        /// They keep what they received for another put of the same blob.
        keep: bool,
    },
    /// The client made progress: the put keeps its place in the server's budget.
    NoteProgress,
    /// Members begin to store it: batches wait for it, and it waits for the server, not for its client.
    StoringBegan,
    /// It is not being stored any more: it is submitted or over.
    StoringEnded,
    /// Have it certified, then [`PutInput::Certified`] or [`PutInput::Uncertified`].
    Submit {
        /// What is certified.
        receipt: Receipt,
        /// Members that stored it.
        holders: BTreeSet<u16>,
        /// Members that may store it yet.
        candidates: BTreeSet<u16>,
    },
    /// Tell the batcher that one more member holds it.
    AlsoHeld(u16),
    /// Tell the batcher that a candidate will not store it.
    NeverHeld(u16),
    /// Tell the batcher that nobody waits for the certificate.
    Withdraw,
    /// Take note of how a member keeps up.
    Observe {
        /// The member.
        member: u16,
        /// The link that shows it.
        link: LinkId,
        /// What was seen.
        observed: Observed,
    },
    /// Take note that a member lacked bytes that it said it had.
    Doubt(u16),
    /// The put ended before some members stored; until then their answers are in time.
    EndedBefore {
        /// The moment.
        until: Duration,
    },
}
