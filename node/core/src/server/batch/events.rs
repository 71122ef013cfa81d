//! What the batches take, and what they want done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::message::{Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{self, Stored};
use vouch_core::tally::{Ballot, Tally, VerifiedVote, VoteError};

use crate::server::health::Observed;

/// What happened.
#[derive(Debug)]
pub enum BatchInput {
    /// A quorum stored a put's blob; the candidates may store it yet.
    Submit {
        /// The put.
        put: Stream,
        /// What is to be certified.
        receipt: Receipt,
        /// Members that stored it.
        holders: BTreeSet<u16>,
        /// Members that may store it yet.
        candidates: BTreeSet<u16>,
    },
    /// One more member stored it.
    AlsoHeld {
        /// The put.
        put: Stream,
        /// The member.
        member: u16,
    },
    /// A candidate will not store it.
    NeverHeld {
        /// The put.
        put: Stream,
        /// The member.
        member: u16,
    },
    /// Nobody waits for the put any more.
    Withdraw(Stream),
    /// A member's vote on a batch, not verified.
    Vote {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// What it sent as its vote.
        signature: VoteSignature,
    },
    /// What became of a [`BatchRequest::Verify`].
    Verified {
        /// The number of the batch.
        batch: Stream,
        /// By member.
        votes: Vec<(u16, Result<VerifiedVote<Stored>, VoteError>)>,
    },
    /// A member refused a batch.
    Refused {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// Why.
        failed: Failed,
    },
    /// A member is gone, or does not read.
    Lost(u16),
    /// Time passed, or something else changed.
    Tick,
}

/// What the shell is asked to do for a batch.
#[derive(Debug)]
pub enum BatchRequest {
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
    /// A quorum voted: make the certificates durable, hand them to the puts, in the receipts' order, and show these members.
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
    Fail(Stream, Failed),
}

/// What a batch leads to.
#[derive(Debug)]
pub enum BatchOutput {
    /// The shell is asked for something.
    Request(BatchRequest),
    /// A member voted on a batch in time, or had not voted when it ended.
    Observed {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// What was seen of it.
        observed: Observed,
    },
    /// A member's vote on a batch is not its own, or not of what was proposed.
    VotedFalsely {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
    },
}

/// What an input depends on beside itself.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_now: u64,
    /// Puts that are being stored: about to come.
    pub storing: usize,
    /// Members whose vote was late before: once a quorum voted, a batch ends without them.
    pub not_awaited: BTreeSet<u16>,
    /// Members whose votes are verified apart, for they voted falsely before.
    pub verified_apart: BTreeSet<u16>,
}
