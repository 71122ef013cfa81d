//! What a server's core takes, and what it wants done.

use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Code, Message, Stream};

use crate::server::batch::{BatchInput, BatchRequest};
use crate::server::health::{Fault, LinkId, Observed};

/// What the clocks say.
#[derive(Debug, Clone, Copy)]
pub struct ServerClock {
    /// On a clock that never goes back.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_seconds: u64,
}

/// What a replica said of a put, a get or a batch.
#[derive(Debug)]
pub struct Reply {
    /// The member.
    pub member: u16,
    /// The server's number of the put, the get or the batch.
    pub stream: Stream,
    /// Its message.
    pub message: Message,
}

/// What happened. `H` is whatever reaches a replica.
#[derive(Debug)]
pub enum ServerInput<H> {
    /// A replica proved its keys on a new link, which replaces the one before.
    Joined {
        /// The link.
        link: LinkId,
        /// How to reach the replica.
        handle: H,
    },
    /// A link ended. Nothing happens when the replica has a newer one.
    Left(LinkId),
    /// There is a committee now.
    Founded(CommitteeChain),
    /// A member said something on a link.
    Reply(LinkId, Reply),
    /// No put and no get waits for a reply that was passed on.
    Unclaimed(LinkId, Reply),
    /// How a member keeps up with a put was seen.
    Observed {
        /// The put.
        stream: Stream,
        /// The member.
        member: u16,
        /// The link that shows it.
        link: LinkId,
        /// What was seen.
        observed: Observed,
    },
    /// A member did something wrong in a put or a get.
    Blamed {
        /// The put or get.
        stream: Stream,
        /// The member.
        member: u16,
        /// What it did.
        fault: Fault,
    },
    /// A put begins to be stored, and is about to be submitted.
    StoringBegan,
    /// Such a put was submitted or ended.
    StoringEnded,
    /// A put ended without some members, whose answers are in time until then.
    PutEnded {
        /// The put.
        put: Stream,
        /// The moment.
        until: Duration,
    },
    /// Something about what is to be certified. Votes and refusals come as [`ServerInput::Reply`].
    Batch(BatchInput),
    /// No further input is at hand, or time passed.
    Settled,
}

/// What to do.
#[derive(Debug)]
pub enum ServerOutput {
    /// Pass a reply to the put or the get that waits for it, or come back with [`ServerInput::Unclaimed`].
    Deliver(LinkId, Reply),
    /// Do this for a batch.
    Batch(BatchRequest),
    /// Tell the operator, and the member itself, why a put or a batch goes on without it.
    LeftOut {
        /// The put, get or batch.
        stream: Stream,
        /// The member.
        member: u16,
        /// What kind of trouble it is.
        code: Code,
        /// What happened.
        why: &'static str,
    },
    /// Tell the operator what a member says of itself.
    Told {
        /// The member.
        member: u16,
        /// What follows its name.
        line: String,
    },
    /// Give [`ServerInput::Settled`] as soon as no further input is at hand: batches gather until then.
    Settle,
}
