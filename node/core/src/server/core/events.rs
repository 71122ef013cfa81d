//! What a server's core takes, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::statement::{self, Stored};
use vouch_core::tally::{Ballot, Tally};

use crate::server::batch::BatchInput;
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
    /// Ask these members for their votes. For one that cannot be asked, come back with [`BatchInput::Lost`].
    Propose {
        /// Whom to ask.
        members: Vec<u16>,
        /// The message, the same for all of them.
        proposal: Arc<Message>,
    },
    /// Verify votes, then come back with [`BatchInput::Verified`].
    Verify {
        /// The number of the batch.
        batch: Stream,
        /// What the votes are on.
        ballot: Ballot<Stored>,
        /// By member.
        votes: Vec<(u16, VoteSignature)>,
    },
    /// A quorum voted: make the certificates durable, hand them to the puts, and show these members.
    Certify {
        /// The number of the batch.
        batch: Stream,
        /// What was signed.
        receipts: Box<statement::Batch>,
        /// The votes.
        tally: Box<Tally<Stored>>,
        /// Whose receipts they are, in the receipts' order.
        puts: Vec<Stream>,
        /// Members that know the batch, for they were asked to vote.
        asked: Vec<u16>,
    },
    /// A put cannot be certified.
    FailPut(Stream, Failed),
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
