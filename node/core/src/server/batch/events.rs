//! Inputs and outputs of the batches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::message::{Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{self, Stored};
use vouch_core::tally::{Ballot, Tally, VerifiedVote, VoteError};

use crate::server::health::Observed;
use crate::server::succession::StayingMembers;

/// An input of the batches.
#[derive(Debug)]
pub enum BatchInput {
    /// A quorum has stored a put's blob.
    Submit {
        /// The put.
        put: Stream,
        /// The receipt to certify.
        receipt: Receipt,
        /// Members that have stored the blob.
        holders: BTreeSet<u16>,
        /// Members that may still store it.
        candidates: BTreeSet<u16>,
    },
    /// A candidate has stored the blob.
    AlsoHeld {
        /// The put.
        put: Stream,
        /// The member.
        member: u16,
    },
    /// A candidate will not store the blob.
    NeverHeld {
        /// The put.
        put: Stream,
        /// The member.
        member: u16,
    },
    /// Nobody waits for the put any more.
    Withdraw(Stream),
    /// Completes [`BatchRequest::Build`].
    Built {
        /// The number of the batch.
        batch: Stream,
        /// The receipts with their tree; `None` if the shell could not make it.
        receipts: Option<Box<statement::Batch>>,
    },
    /// A member's vote on a batch, not verified.
    Vote {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// The signature in its message.
        signature: VoteSignature,
    },
    /// The results of a [`BatchRequest::Verify`].
    Verified {
        /// The number of the batch.
        batch: Stream,
        /// The results, each with its member.
        votes: Vec<(u16, Result<VerifiedVote<Stored>, VoteError>)>,
    },
    /// A member refused a batch.
    Refused {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// The reason.
        failed: Failed,
    },
    /// A member has disconnected, or its queue is full.
    Lost(u16),
    /// Time has passed, or the context has changed.
    Tick,
}

/// A request of a batch to the shell.
#[derive(Debug)]
pub enum BatchRequest {
    /// Make the tree over the receipts of a large batch, on a thread that may block. Completed by [`BatchInput::Built`].
    Build {
        /// The number of the batch.
        batch: Stream,
        /// The statement's `issued_at`, in seconds since 1970.
        issued_at: u64,
        /// The receipts, in the batch's order.
        receipts: Vec<Receipt>,
    },
    /// Send the proposal to these members. Report each one that cannot be reached with [`BatchInput::Lost`].
    Propose {
        /// The members to ask for their votes.
        members: Vec<u16>,
        /// The message, the same for all members.
        proposal: Arc<Message>,
    },
    /// Verify votes and report them with [`BatchInput::Verified`].
    Verify {
        /// The number of the batch.
        batch: Stream,
        /// The ballot to verify them against.
        ballot: Ballot<Stored>,
        /// The votes, each with its member.
        votes: Vec<(u16, VoteSignature)>,
    },
    /// A quorum has voted: make the certificates durable, then send each to its put and to the members in `asked`.
    Certify {
        /// The number of the batch.
        batch: Stream,
        /// The receipts that were signed.
        receipts: Box<statement::Batch>,
        /// The votes.
        tally: Box<Tally<Stored>>,
        /// The puts, in the order of their receipts.
        puts: Vec<Stream>,
        /// Members that were asked to vote.
        asked: Vec<u16>,
    },
    /// A put cannot be certified.
    Fail(Stream, Failed),
}

/// An output of the batches.
#[derive(Debug)]
pub enum BatchOutput {
    /// A request to the shell.
    Request(BatchRequest),
    /// A member voted on a batch in time, or had not voted when it ended.
    Observed {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
        /// The observation.
        observed: Observed,
    },
    /// A member's vote is not its valid signature over the proposed batch.
    VotedFalsely {
        /// The number of the batch.
        batch: Stream,
        /// The member.
        member: u16,
    },
}

/// The state outside the batches that an input depends on.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_now: u64,
    /// Number of puts that are being stored and will be submitted soon.
    pub storing: usize,
    /// Members whose earlier votes were late: a batch does not wait for them once a quorum has voted.
    pub not_awaited: BTreeSet<u16>,
    /// Members that voted falsely before: their votes are verified apart.
    pub verified_apart: BTreeSet<u16>,
    /// The members that stay when the committee changes.
    pub staying: StayingMembers,
}
