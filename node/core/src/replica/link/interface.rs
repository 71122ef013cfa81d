//! Inputs and outputs of a link.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::bls::{AggregateSignature, VoteSignature};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::chain::{CommitteeChain, EpochLink};
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, ListFilter, ListPage, ListPosition, Message, Read, ReplicaStatus, Stream};
use vouch_core::placement::Assignment;
use vouch_core::signed_time::TimeSignature;
use vouch_core::tree::Parent;

use crate::replica::Event;
use crate::replica::incoming::{IncomingId, IncomingOutput, IncomingResult, IncomingTask};
use crate::replica::log_calls::LogCall;
use crate::replica::proposals::Proposal;

/// The state outside the link at the time of an input.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The wall clock, in seconds since 1970.
    pub wall: u64,
    /// Why the wall clock is in doubt, if it is.
    pub clock_doubt: Option<&'a str>,
    /// The cluster's committees, once there are any.
    pub chain: Option<&'a CommitteeChain>,
    /// The latest `issued_at` of a statement of the current committee that this replica signs, once it has promised to stop.
    pub stops_at: Option<u64>,
}

impl<'a> Moment<'a> {
    /// The committee that signs new statements, once there is one.
    pub(super) fn committee(&self) -> Option<&'a Arc<Committee>> {
        self.chain.map(CommitteeChain::current)
    }
}

/// An input of a link.
#[derive(Debug)]
pub enum Input<J> {
    /// The server sent a message.
    Message(Message),
    /// A request has completed.
    Done(u64, Completion<J>),
    /// The worker of a put has ended a task.
    Incoming(IncomingId, IncomingResult),
    /// The state of the replica's storage: why it has failed, if it has.
    Storage(Option<String>),
}

/// A request for the disk or the vote key.
#[derive(Debug)]
pub enum Request<J> {
    /// Confirm that these bytes are there now and intact.
    Confirm(Vec<Assignment>),
    /// Record durably the duties of a proposal, each until its expiry, and enter the statement in the journal.
    Promise(Arc<Committee>, Proposal, Vec<Assignment>),
    /// Sign the statement that was entered in the journal.
    Sign(J),
    /// Read bytes, once the link has room for them.
    Read(Read),
    /// The length of a blob, if it is stored.
    Length(Digest),
    /// List certificates after a position.
    List(ListPosition, ListFilter),
    /// The certificate of a blob.
    Certificate(Digest),
    /// Make the certificates of a batch and keep those of stored blobs.
    Archive(Arc<Committee>, Proposal, Signers, AggregateSignature),
    /// Learn certificates that the server says this replica missed.
    Missed(CommitteeChain, Vec<Certificate>),
}

/// The completion of a request.
#[derive(Debug)]
pub enum Completion<J> {
    /// To [`Request::Confirm`].
    Confirmed {
        /// Indices of the receipts whose bytes are missing or damaged.
        lacking: Vec<u16>,
        /// Stored blobs that were found damaged, each with the damage. They are no longer stored.
        damaged: Vec<(Digest, String)>,
    },
    /// To [`Request::Promise`]: the statement is in the journal.
    Promised(J),
    /// To [`Request::Promise`]: indices of the receipts whose blobs are not stored. Nothing was recorded.
    Lacking(Vec<u16>),
    /// To [`Request::Sign`].
    Signed(VoteSignature),
    /// To [`Request::Read`].
    Slice(Bytes, Vec<Parent>),
    /// To [`Request::Length`].
    Length(Option<u64>),
    /// To [`Request::List`].
    Listed(ListPage),
    /// To [`Request::Certificate`].
    Certificate(Option<Box<Certificate>>),
    /// To [`Request::Archive`] and [`Request::Missed`], which have no answer on the link.
    Finished,
    /// To any request: it failed.
    Failed(Code, String),
}

/// An output of a link, to be performed in order.
#[derive(Debug)]
pub enum Output<J> {
    /// Send a reply.
    Send(Message),
    /// Send the answer to a read. It waits behind replies.
    SendData(Message),
    /// Start a request.
    Request(u64, Request<J>),
    /// Give a task to the worker of a put.
    Incoming(IncomingId, IncomingTask),
    /// Report to the operator.
    Report(Event),
    /// A stored blob was found damaged. Its digest, and the damage.
    Damaged(Digest, String),
    /// The replica's status at the server, with the reason.
    ReplicaStatus(ReplicaStatus, String),
    /// A put or a batch continued without this replica. The server's reason.
    LeftOut(String),
    /// The server showed later epochs.
    Epochs(Vec<EpochLink>),
    /// A vote on this proposal was sent.
    Voted(Proposal),
    /// The replica refused to vote. The reason.
    RefusedVote(String),
    /// The answer to a list request of the repair.
    Listed(Stream, Result<ListPage, Failed>),
    /// The server has certificates that it did not send: read the lists again.
    ListsDoubtful,
    /// Sign this replica's time for another member.
    AnswerTime(Stream, NodeKey, [u8; 32]),
    /// Another member's answer: its signed time.
    TimeAnswer(Stream, u16, u64, TimeSignature),
    /// A message about foundings.
    Founding(Message),
    /// A frame that another member sent through the server.
    PeerFrame(Bytes),
    /// What the server asks of the log. The log answers, or refuses.
    LogCall(Stream, LogCall),
    /// Close the link.
    End(End),
}

/// Why a link ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server closed the link.
    Refused(Failed),
    /// The server broke the protocol. The message to send before closing.
    Violation(Failed),
}

impl<J> From<IncomingOutput> for Output<J> {
    fn from(output: IncomingOutput) -> Self {
        match output {
            IncomingOutput::Task(id, task) => Self::Incoming(id, task),
            IncomingOutput::Send(message) => Self::Send(message),
            IncomingOutput::Report(event) => Self::Report(event),
            IncomingOutput::Damaged(digest, what) => Self::Damaged(digest, what),
        }
    }
}
