//! A replica's link to one server, after the handshake: what each message leads to.
//!
//! The disk and the vote key are reached by requests. Each has a number, and ends with one completion of the same number. A batch is
//! voted for in three steps, each only after the one before it: *confirm* that the bytes are there, *promise* to keep them
//! and enter the statement in the journal, *sign*. What the journal gave is an argument of *sign*: there is no other way to a vote.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use vouch_core::bls::{AggregateSignature, VoteSignature};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{
    Code, Failed, Holder, ListFilter, ListPage, ListPosition, ListSource, Message, Read, Stream,
};
use vouch_core::receipt::Receipt;
use vouch_core::signed_time::TimeSignature;
use vouch_core::tree::Parent;

use super::Event;
use super::proposals::{Proposal, Proposals};
use super::voting;

#[cfg(test)]
mod tests;

/// Requests at once, reads aside; the link takes no further message before one of them ends.
pub const MAX_REQUESTS: usize = 64;
/// Reads that wait for the one that is being answered.
const READ_QUEUE: usize = 256;

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
    /// Tell the operator.
    Report(Event),
    /// A blob was found damaged, with what differs.
    Lost(Digest, String),
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

/// What waits for a completion.
#[derive(Debug)]
enum Pending {
    Vote(Stream, Proposal),
    Read(Stream, u64),
    Locate(Stream),
    List(Stream),
    FindCertificate(Stream),
    /// For nobody.
    Background,
}

/// One link. `J` is the proof that a statement is in the journal.
#[derive(Debug)]
pub struct ReplicaLink<J> {
    own: NodeKey,
    next_request: u64,
    pending: BTreeMap<u64, Pending>,
    proposals: Proposals,
    reads: VecDeque<Read>,
    /// A read is being answered: the others wait for it, so that bytes of one read at most wait for the link.
    is_reading: bool,
    /// What the server was told last about this replica's storage and clock; none: that both are right.
    told: Option<Failed>,
    out: Vec<Output<J>>,
}

impl<J> ReplicaLink<J> {
    /// Of the replica with this node key.
    pub fn new(own: NodeKey) -> Self {
        Self {
            own,
            next_request: 0,
            pending: BTreeMap::new(),
            proposals: Proposals::default(),
            reads: VecDeque::new(),
            is_reading: false,
            told: None,
            out: Vec::new(),
        }
    }

    /// Whether no message is to be given before a request ends.
    pub fn is_full(&self) -> bool {
        self.pending.len() - usize::from(self.is_reading) >= MAX_REQUESTS
    }

    /// Decides what an input leads to.
    pub fn handle(&mut self, input: Input<J>, moment: &Moment<'_>) -> Vec<Output<J>> {
        match input {
            Input::Message(message) => self.message(message, moment),
            Input::Done(number, completion) => self.done(number, completion, moment),
            Input::Storage(failure) => self.look_at_itself(failure, moment),
        }
        std::mem::take(&mut self.out)
    }

    /// A message is taken at once, or answered with why not.
    fn message(&mut self, message: Message, moment: &Moment<'_>) {
        match message {
            Message::Failed(failed) if failed.stream == Stream::LINK => {
                self.out.push(Output::End(End::Refused(failed)))
            }
            // a list of its own is not what a replica asks a server for, so this is no answer to a list
            Message::Failed(failed) if self.position(moment).is_some_and(|own| failed.subjects == [own]) => {
                self.out.push(Output::LeftOut(failed.detail));
            }
            // to a list, which is all that is asked of a server: its number is the replica's own, and no put's
            Message::Failed(failed) => self.out.push(Output::Listed(failed.stream, Err(failed))),
            Message::Listed { stream, page } => self.out.push(Output::Listed(stream, Ok(page))),
            Message::Founding(_) | Message::Acceptances { .. } | Message::Refusals(_) => {
                self.out.push(Output::Founding(message));
            }
            Message::Propose { stream, issued_at, receipts } => {
                self.propose(stream, Proposal { issued_at, receipts: receipts.into() }, moment);
            }
            Message::Archive { stream, signers, signature } => {
                // the certificates of a proposal that is not remembered can be had from another member
                if let Some(proposal) = self.proposals.take(stream)
                    && let Some(committee) = moment.committee
                {
                    let request = Request::Archive(committee.clone(), proposal, signers, signature);
                    self.request(Pending::Background, request);
                }
            }
            Message::Missed { certificates } if certificates.is_empty() => self.out.push(Output::ListsDoubtful),
            Message::Missed { certificates } => {
                if let Some(committee) = moment.committee {
                    self.request(Pending::Background, Request::Missed(committee.clone(), certificates));
                }
            }
            Message::Read(read) if self.reads.len() >= READ_QUEUE => {
                self.refuse(Failed::new(read.stream, Code::Busy, "too many reads at once"));
            }
            Message::Read(read) => {
                self.reads.push_back(read);
                self.read_next();
            }
            Message::Locate { stream, digest } => self.request(Pending::Locate(stream), Request::Length(digest)),
            Message::List { stream, source: ListSource::Own, from, filter } => {
                self.request(Pending::List(stream), Request::List(from, filter));
            }
            Message::List { stream, source: ListSource::Member(_), .. } => {
                self.refuse(Failed::new(stream, Code::Unexpected, "a replica lists its own certificates only"));
            }
            Message::FindCertificate { stream, digest } => {
                self.request(Pending::FindCertificate(stream), Request::Certificate(digest));
            }
            Message::AskTime { stream, asker, nonce } => self.out.push(Output::AnswerTime(stream, asker, nonce)),
            Message::SignedTime { stream, member, time, signature } => {
                self.out.push(Output::HearTime(stream, member, time, signature));
            }
            other => {
                let detail = format!("expected a request, got {}", other.name());
                let failed = Failed::new(Stream::LINK, Code::Unexpected, detail);
                self.out.push(Output::End(End::Violation(failed)));
            }
        }
    }

    fn position(&self, moment: &Moment<'_>) -> Option<u16> {
        moment.committee.and_then(|committee| committee.record().position(&self.own))
    }

    fn request(&mut self, pending: Pending, request: Request<J>) {
        self.next_request += 1;
        self.pending.insert(self.next_request, pending);
        self.out.push(Output::Request(self.next_request, request));
    }

    fn refuse(&mut self, failed: Failed) {
        self.out.push(Output::Report(Event::Refused(failed.to_string())));
        self.out.push(Output::Send(Message::Failed(failed)));
    }

    fn read_next(&mut self) {
        if !self.is_reading
            && let Some(read) = self.reads.pop_front()
        {
            self.is_reading = true;
            self.request(Pending::Read(read.stream, read.offset), Request::Read(read));
        }
    }

    fn done(&mut self, number: u64, completion: Completion<J>, moment: &Moment<'_>) {
        // a request has one completion
        let Some(pending) = self.pending.remove(&number) else { return };
        match (pending, completion) {
            (Pending::Vote(stream, proposal), completion) => self.go_on_voting(stream, proposal, completion, moment),
            (Pending::Read(stream, offset), completion) => {
                self.is_reading = false;
                self.out.push(Output::SendData(match completion {
                    Completion::Slice(bytes, parents) => Message::Chunk { stream, offset, parents, bytes },
                    other => Message::Failed(unanswered(stream, other)),
                }));
                self.read_next();
            }
            (Pending::Locate(stream), completion) => {
                let holder = match completion {
                    Completion::Length(length) => length,
                    other => {
                        self.trouble(unanswered(stream, other).detail);
                        None
                    }
                };
                let holder = self.position(moment).zip(holder).map(|(member, length)| Holder { member, length });
                self.out.push(Output::Send(Message::Located { stream, holders: holder.into_iter().collect() }));
            }
            (Pending::List(stream), Completion::Listed(page)) => {
                self.out.push(Output::Send(Message::Listed { stream, page }));
            }
            (Pending::List(stream), other) => {
                self.out.push(Output::Send(Message::Failed(unanswered(stream, other))));
            }
            (Pending::FindCertificate(stream), completion) => {
                let certificate = match completion {
                    Completion::Certificate(certificate) => certificate,
                    other => {
                        self.trouble(unanswered(stream, other).detail);
                        None
                    }
                };
                self.out.push(Output::Send(Message::FoundCertificate { stream, certificate }));
            }
            (Pending::Background, Completion::Failed(_, detail)) => self.trouble(detail),
            (Pending::Background, _) => {}
        }
    }

    fn trouble(&mut self, detail: String) {
        self.out.push(Output::Report(Event::Trouble(detail)));
    }

    /// A batch: first the clock, then the bytes, then the duty to keep, then the signature.
    fn propose(&mut self, stream: Stream, proposal: Proposal, moment: &Moment<'_>) {
        self.proposals.add(stream, proposal.clone());
        let checked = match moment.committee {
            None => Err(Failed::new(stream, Code::NoCommittee, "this replica is in no committee")),
            Some(_) => check_clock(stream, moment)
                .and_then(|()| voting::check(stream, proposal.issued_at, &proposal.receipts, moment.wall)),
        };
        match checked {
            Ok(()) => {
                let receipts = proposal.receipts.clone();
                self.request(Pending::Vote(stream, proposal), Request::Confirm(receipts));
            }
            Err(failed) => self.refuse_vote(failed),
        }
    }

    fn go_on_voting(&mut self, stream: Stream, proposal: Proposal, completion: Completion<J>, moment: &Moment<'_>) {
        let Proposal { issued_at, receipts } = proposal.clone();
        // to read large blobs takes minutes
        let still_open = || {
            check_clock(stream, moment)?;
            voting::check_again(stream, issued_at, &receipts, moment.wall)
        };
        let next = match (completion, moment.committee) {
            (Completion::Confirmed { lacking, damaged }, Some(committee)) => {
                self.out.extend(damaged.into_iter().map(|(digest, what)| Output::Lost(digest, what)));
                match lacking.is_empty() {
                    true => still_open().map(|()| Request::Promise(committee.clone(), proposal.clone())),
                    false => Err(not_held(stream, lacking, receipts.len())),
                }
            }
            (Completion::Promised(journalled), _) => still_open().map(|()| Request::Sign(journalled)),
            (Completion::Lacking(lacking), _) => Err(not_held(stream, lacking, receipts.len())),
            (Completion::Signed(signature), _) => {
                self.out.push(Output::Voted);
                return self.out.push(Output::Send(Message::Vote { stream, signature }));
            }
            (other, _) => Err(unanswered(stream, other)),
        };
        match next {
            Ok(request) => self.request(Pending::Vote(stream, proposal), request),
            Err(failed) => self.refuse_vote(failed),
        }
    }

    fn refuse_vote(&mut self, failed: Failed) {
        self.out.push(Output::RefusedVote(failed.to_string()));
        // the log says once that a doubt began
        if failed.code != Code::ClockInDoubt {
            self.out.push(Output::Report(Event::Refused(failed.to_string())));
        }
        self.out.push(Output::Send(Message::Failed(failed)));
    }

    /// Tells the server when the storage failed or the clock is in doubt, and when both are right again. Otherwise the server would
    /// learn of it with the next put, and until then a load balancer would send it puts.
    fn look_at_itself(&mut self, failure: Option<String>, moment: &Moment<'_>) {
        let failed = failure.map(|why| Failed::new(Stream::REPLICA, Code::Storage, why));
        let failed = failed.or_else(|| check_clock(Stream::REPLICA, moment).err());
        if failed != self.told {
            self.out.push(Output::Send(match &failed {
                Some(failed) => Message::Failed(failed.clone()),
                None => Message::Stored { stream: Stream::REPLICA },
            }));
            self.told = failed;
        }
    }
}

fn check_clock(stream: Stream, moment: &Moment<'_>) -> Result<(), Failed> {
    match moment.clock_doubt {
        None => Ok(()),
        Some(doubt) => {
            Err(Failed::new(stream, Code::ClockInDoubt, format!("the clock of this replica is in doubt: {doubt}")))
        }
    }
}

fn not_held(stream: Stream, lacking: Vec<u16>, count: usize) -> Failed {
    let detail = format!("{} of {count} blobs are not held", lacking.len());
    Failed::new(stream, Code::NotHeld, detail).with_subjects(lacking)
}

/// Why a request gave nothing. Any other completion than a failure answers another request, and is as good as none.
fn unanswered<J>(stream: Stream, completion: Completion<J>) -> Failed {
    match completion {
        Completion::Failed(code, detail) => Failed::new(stream, code, detail),
        _ => Failed::new(stream, Code::Storage, "the request was answered with what another one asked for"),
    }
}
