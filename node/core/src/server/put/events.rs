//! Inputs and outputs of a put.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::access::Authorisation;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stage};
use vouch_core::placement::Placement;
use vouch_core::receipt::Receipt;

use crate::server::admission::Admission;
use crate::server::health::{LinkId, Observed};

/// A client's request for a put.
#[derive(Debug, Clone, Copy)]
pub struct PutRequest {
    /// Digest, length and expiry, if the client knows them before it sends the bytes.
    pub offer: Option<Receipt>,
    /// The client asks for a new certificate, even if an earlier one promises as much.
    pub renew: bool,
    /// By the holder of a token. The replicas check it.
    pub authorisation: Option<Authorisation>,
    /// The number of bytes in the same message, if it has all bytes of the blob.
    pub whole: Option<u64>,
}

impl PutRequest {
    /// How the bytes of the put are spread over the members. A receipt that comes after the bytes is one for copies.
    pub fn placement(&self) -> Placement {
        self.offer.map_or(Placement::Copies, |offer| offer.placement())
    }
}

/// The state outside the put that an input depends on.
#[derive(Debug, Clone, Default)]
pub struct PutContext {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_seconds: u64,
    /// Members that stored late before: the put does not wait for them once a quorum has answered or stored.
    pub not_awaited: BTreeSet<u16>,
    /// Members that claimed bytes before and did not store: their claims leave no other member out.
    pub doubted: BTreeSet<u16>,
}

/// An input of a put.
#[derive(Debug)]
pub enum PutInput {
    /// The client has requested the put.
    Begin,
    /// Completes [`PutAction::ClaimPlace`]: whether there was a place.
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
        /// The offset of the bytes in the blob.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// The client has declared the end of the bytes.
    End(Receipt, Option<Authorisation>),
    /// A member's resume offset for the offered blob.
    Ready(u16, u64),
    /// A member has stored the blob.
    Stored(u16),
    /// A member has refused.
    Failed(u16, Failed),
    /// Members have connected or disconnected. The connected ones.
    Connected(BTreeMap<u16, LinkId>),
    /// The batcher's certificate, which is durable here.
    Certified(Box<Certificate>),
    /// The batcher could not certify.
    Uncertified(Failed),
    /// The client's upload is too slow. The reason, for the client.
    TooSlow(String),
    /// The put was evicted from the server's budget.
    PlaceTaken,
    /// The client has cancelled the put, or disconnected.
    GiveUp {
        /// Whether the members keep the received bytes for another put of the same blob.
        keep: bool,
    },
    /// Time has passed.
    Tick,
}

impl PutInput {
    /// A member's message as an input; `None` if it is not an answer to a put.
    pub fn of_reply(member: u16, message: Message) -> Option<Self> {
        match message {
            Message::Ready { offset, .. } => Some(Self::Ready(member, offset)),
            Message::Stored { .. } => Some(Self::Stored(member)),
            Message::Failed(failed) => Some(Self::Failed(member, failed)),
            _ => None,
        }
    }
}

/// The members that left the put while a message was queued for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Members whose links have ended.
    pub gone: Vec<u16>,
    /// Members whose queues had no room in time.
    pub too_slow: Vec<u16>,
}

/// An output of a put.
#[derive(Debug)]
pub enum PutOutput {
    /// Answer the client.
    Answer(PutAnswer),
    /// Perform an action.
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

/// An answer to the client.
#[derive(Debug)]
pub enum PutAnswer {
    /// Send the bytes from this offset on.
    Ready(u64),
    /// A member's stage.
    Progress(u16, Stage),
    /// The put has succeeded.
    Certified(Box<Certificate>),
    /// The put failed. The stream in it is the server's number, not the client's.
    Failed(Failed),
}

/// An action of the shell. One that names an input is a request, which the shell completes with that input.
#[derive(Debug)]
pub enum PutAction {
    /// Take a place for the put in the server's budget. Completed by [`PutInput::Claimed`].
    ClaimPlace,
    /// Find or found the committee. Completed by [`PutInput::Committee`].
    FindCommittee,
    /// Ask [`ServerCore::admit`](crate::server::ServerCore::admit). Completed by [`PutInput::Admission`].
    AskAdmission {
        /// Whether the put has waited for a quorum as long as it may.
        has_waited: bool,
    },
    /// Expect replies to the put, and forward the following messages to these members.
    Open {
        /// The members that take part.
        members: BTreeSet<u16>,
        /// The number of members that must take each message.
        quorum: usize,
    },
    /// Look for an earlier certificate that promises as much as this receipt. Completed by [`PutInput::Earlier`].
    FindEarlier(Receipt),
    /// Send the beginning of the put to the members. Completed by [`PutInput::Forwarded`].
    ForwardPut {
        /// Digest, length and expiry, if they are known.
        offer: Option<Receipt>,
        /// The client asks for a new certificate.
        renew: bool,
        /// By the holder of a token.
        authorisation: Option<Authorisation>,
    },
    /// Forward the client's message with bytes: its placement says to which members. Completed by [`PutInput::Forwarded`].
    ForwardBytes(Placement),
    /// Send the end of the bytes to the members. Completed by [`PutInput::Forwarded`].
    ForwardEnd(Receipt, Option<Authorisation>),
    /// Send nothing more to this member.
    Drop(u16),
    /// Tell this member that the put continues without it, with the reason.
    LeaveOut(u16, Code, String),
    /// Cancel the put at the members.
    Cancel {
        /// Whether they keep the received bytes for another put of the same blob.
        keep: bool,
    },
    /// Record the client's progress, so that the put keeps its place in the server's budget.
    NoteProgress,
    /// Members have begun to store the blob: batches wait for the put, and it can no longer be evicted for its client's silence.
    StoringBegan,
    /// The blob is no longer being stored: the put is submitted or has ended.
    StoringEnded,
    /// Submit the put for a certificate. Completed by [`PutInput::Certified`] or [`PutInput::Uncertified`].
    Submit {
        /// The receipt to certify.
        receipt: Receipt,
        /// Members that have stored the blob.
        holders: BTreeSet<u16>,
        /// Members that may still store it.
        candidates: BTreeSet<u16>,
    },
    /// Tell the batcher that a candidate has stored the blob.
    AlsoHeld(u16),
    /// Tell the batcher that a candidate will not store the blob.
    NeverHeld(u16),
    /// Tell the batcher that nobody waits for the certificate.
    Withdraw,
    /// Record how a member keeps up.
    Observe {
        /// The member.
        member: u16,
        /// The member's link.
        link: LinkId,
        /// The observation.
        observed: Observed,
    },
    /// Record that a member lacked bytes that it claimed to have.
    Doubt(u16),
    /// The put has ended before some members had stored.
    EndedBefore {
        /// The time until which their answers are in time.
        until: Duration,
    },
}
