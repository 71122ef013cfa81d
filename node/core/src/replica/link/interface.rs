//! What goes into a link's decisions, and what comes out of them.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::bls::{AggregateSignature, VoteSignature};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, ListFilter, ListPage, ListPosition, Message, Read, ReplicaStatus, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::signed_time::TimeSignature;
use vouch_core::tree::Parent;

use crate::replica::Event;
use crate::replica::incoming::{IncomingId, IncomingOutput, IncomingResult, IncomingTask};
use crate::replica::proposals::Proposal;

/// What holds while an input is handled.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The wall clock, in seconds since 1970.
    pub wall: u64,
    /// What speaks against the wall clock, if anything does.
    pub clock_doubt: Option<&'a str>,
    /// The committee, once there is one.
    pub committee: Option<&'a Arc<Committee>>,
}

/// What happened.
#[derive(Debug)]
pub enum Input<J> {
    /// The server sent a message.
    Message(Message),
    /// A request ended.
    Done(u64, Completion<J>),
    /// The worker of a put ended a task.
    Incoming(IncomingId, IncomingResult),
    /// The replica's own storage was looked at: why it fails, if it does.
    Storage(Option<String>),
}

/// What is asked of the disk, or of the vote key.
#[derive(Debug)]
pub enum Request<J> {
    /// Are the bytes of these receipts there now, and right?
    Confirm(Arc<[Receipt]>),
    /// Record durably that each blob is kept until its expiry, and that the statement over them is signed.
    Promise(Arc<Committee>, Proposal),
    /// Sign what was entered in the journal.
    Sign(J),
    /// Read bytes, once the link has room for them.
    Read(Read),
    /// How long is this blob, if it is held?
    Length(Digest),
    /// List certificates after a position.
    List(ListPosition, ListFilter),
    /// The certificate of a blob.
    Certificate(Digest),
    /// Make the certificates of a batch and keep those of blobs that are held.
    Archive(Arc<Committee>, Proposal, Signers, AggregateSignature),
    /// Take note of certificates that the server says were missed.
    Missed(Arc<Committee>, Vec<Certificate>),
}

/// What became of a request.
#[derive(Debug)]
pub enum Completion<J> {
    /// To [`Request::Confirm`].
    Confirmed {
        /// Indices of the receipts whose bytes are not there, or not right.
        lacking: Vec<u16>,
        /// Blobs that were held and are not what they should be, each with what differs: they are held no more.
        damaged: Vec<(Digest, String)>,
    },
    /// To [`Request::Promise`]: the statement is in the journal.
    Promised(J),
    /// To [`Request::Promise`]: indices of the receipts whose blobs are not held; nothing was recorded.
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
    /// To [`Request::Archive`] and [`Request::Missed`], which are answered to nobody.
    Finished,
    /// To any: it failed.
    Failed(Code, String),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output<J> {
    /// Send a reply.
    Send(Message),
    /// Send bytes that were read, or why they were not: these wait behind replies.
    SendData(Message),
    /// Start a request.
    Request(u64, Request<J>),
    /// Give the worker of a put a task.
    Incoming(IncomingId, IncomingTask),
    /// Tell the operator.
    Report(Event),
    /// A blob was found damaged, with what differs.
    Lost(Digest, String),
    /// What the server says that this replica is to it.
    ReplicaStatus(ReplicaStatus, String),
    /// The server says that a put or a batch went on without this replica, and why.
    LeftOut(String),
    /// A vote left.
    Voted,
    /// A vote was refused, and why.
    RefusedVote(String),
    /// The answer to a list that the repair asked for.
    Listed(Stream, Result<ListPage, Failed>),
    /// The server knows of missed certificates that it did not show.
    ListsDoubtful,
    /// Another member asks for this replica's time.
    AnswerTime(Stream, NodeKey, [u8; 32]),
    /// Another member's time.
    HearTime(Stream, u16, u64, TimeSignature),
    /// A message about foundings.
    Founding(Message),
    /// Close the link.
    End(End),
}

/// Why a link ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server ended it.
    Refused(Failed),
    /// The server is told that it broke the protocol.
    Violation(Failed),
}

impl<J> From<IncomingOutput> for Output<J> {
    fn from(output: IncomingOutput) -> Self {
        match output {
            IncomingOutput::Task(id, task) => Self::Incoming(id, task),
            IncomingOutput::Send(message) => Self::Send(message),
            IncomingOutput::Report(event) => Self::Report(event),
            IncomingOutput::Lost(digest, what) => Self::Lost(digest, what),
        }
    }
}
