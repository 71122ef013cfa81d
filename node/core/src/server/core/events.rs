//! Inputs and outputs of a server's core.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Message, Stream};

use crate::server::batch::{BatchInput, BatchRequest};
use crate::server::health::{Fault, LinkId, Observed};

/// The times at which an input is handled.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_seconds: u64,
}

/// A replica's message about a put, a get or a batch.
#[derive(Debug)]
pub struct Reply {
    /// The member.
    pub member: u16,
    /// The server's number of the put, the get or the batch.
    pub stream: Stream,
    /// The member's message.
    pub message: Message,
}

/// An input of a server's core. `H` is the shell's handle of a replica's link.
#[derive(Debug)]
pub enum ServerInput<H> {
    /// A replica has proved its keys on a new link, which replaces its earlier one.
    Joined {
        /// The link.
        link: LinkId,
        /// The handle of the link.
        handle: H,
    },
    /// A link has ended. Ignored if the replica has a newer one.
    Left(LinkId),
    /// The committee is founded, or a later one has taken over. All requests to members end, and the replicas join again.
    Adopted(CommitteeChain),
    /// A member has sent a message on a link.
    Reply(LinkId, Reply),
    /// No put and no get waits for a delivered reply.
    Unclaimed(LinkId, Reply),
    /// A member has told the nodes of the next committee; none while no change is approved.
    NextMembers(LinkId, BTreeSet<NodeKey>),
    /// An observation of how a member keeps up with a put.
    Observed {
        /// The put.
        stream: Stream,
        /// The member.
        member: u16,
        /// The member's link.
        link: LinkId,
        /// The observation.
        observed: Observed,
    },
    /// A member's fault in a put or a get.
    Blamed {
        /// The put or get.
        stream: Stream,
        /// The member.
        member: u16,
        /// The fault.
        fault: Fault,
    },
    /// A put is being stored and will be submitted soon.
    StoringBegan,
    /// Such a put was submitted or has ended.
    StoringEnded,
    /// A put has ended before some members had stored.
    PutEnded {
        /// The put.
        put: Stream,
        /// The time until which their answers are in time.
        until: Duration,
    },
    /// An input of the batches. Votes and refusals are given as [`ServerInput::Reply`].
    Batch(BatchInput),
    /// No further input is pending, or time has passed.
    Settled,
}

/// An output of a server's core.
#[derive(Debug)]
pub enum ServerOutput {
    /// Deliver a reply to the put or the get that waits for it. If there is none, give [`ServerInput::Unclaimed`].
    Deliver(LinkId, Reply),
    /// Perform a request of a batch.
    Batch(BatchRequest),
    /// Report to the operator and to the member why a put or a batch continues without it.
    LeftOut {
        /// The put, get or batch.
        stream: Stream,
        /// The member.
        member: u16,
        /// The kind of trouble.
        code: Code,
        /// The reason, for people.
        why: &'static str,
    },
    /// Report to the operator what a member says about itself.
    MemberReport {
        /// The member.
        member: u16,
        /// The text that follows the member's name.
        line: String,
    },
    /// Give [`ServerInput::Settled`] as soon as no further input is pending: receipts are gathered until then.
    Settle,
}
