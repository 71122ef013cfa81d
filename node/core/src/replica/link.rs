//! A replica's link to one server, after the handshake.
//!
//! The link reaches the disk and the vote key through requests. Each has a number, and ends with one completion of the same number. The
//! bytes of a put go to a worker of its own. A vote takes three steps in order: *confirm* that the bytes are there, *promise* to keep
//! them and enter the statement in the journal, *sign*. The journal's proof of the entry is an argument of *sign*, so no vote is
//! possible without it.

mod interface;
#[cfg(test)]
mod tests;
mod votes;

use std::collections::{BTreeMap, VecDeque};

use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Holder, ListSource, Message, Read, Stream};

use super::Event;
use super::incoming::{IncomingChunk, IncomingId, IncomingPuts, IncomingTask};
use super::log_calls::LogCall;
use super::proposals::{Proposal, Proposals};
pub use interface::{Completion, End, Input, Moment, Output, Request};

/// Maximum number of requests in progress, not counting reads and puts. Beyond it, the link is not read.
pub const MAX_REQUESTS: usize = 64;
/// Maximum number of reads in progress: while one is sent, the next is read and verified. More would keep the disk from puts.
pub const READS_AT_ONCE: usize = 2;
/// Maximum number of reads that wait for the ones in progress.
const READ_QUEUE: usize = 256;

/// The purpose of a request in progress.
#[derive(Debug)]
enum Pending {
    Vote(Stream, Proposal),
    Read,
    Locate(Stream),
    List(Stream),
    FindCertificate(Stream),
    /// No message waits for the completion.
    Background,
}

/// A read in progress. Clients expect the answers of one holder in the order of their reads.
#[derive(Debug)]
struct CurrentRead {
    request: u64,
    stream: Stream,
    offset: u64,
    /// Set while an earlier read has no answer yet.
    answer: Option<Message>,
}

/// A link. `J` is the proof that a statement is in the journal.
#[derive(Debug)]
pub struct ReplicaLink<J> {
    own: NodeKey,
    next_request: u64,
    pending: BTreeMap<u64, Pending>,
    puts: IncomingPuts,
    proposals: Proposals,
    reads: VecDeque<Read>,
    /// The reads in progress, oldest first. The others wait, so that the bytes of few reads wait for the link.
    reading: VecDeque<CurrentRead>,
    /// The last state of storage and clock that the server was sent; `None`: both are fine.
    told: Option<Failed>,
    out: Vec<Output<J>>,
}

impl<J> ReplicaLink<J> {
    /// A link of the replica with this node key. `max_incoming`: maximum number of puts received at once.
    pub fn new(own: NodeKey, max_incoming: usize) -> Self {
        Self {
            own,
            next_request: 0,
            pending: BTreeMap::new(),
            puts: IncomingPuts::new(max_incoming),
            proposals: Proposals::default(),
            reads: VecDeque::new(),
            reading: VecDeque::new(),
            told: None,
            out: Vec::new(),
        }
    }

    /// Whether the link must not be read before a request or a put's task has ended.
    pub fn is_full(&self) -> bool {
        self.puts.is_full() || self.requests_in_progress() >= MAX_REQUESTS
    }

    /// Number of requests in progress, without reads.
    fn requests_in_progress(&self) -> usize {
        self.pending.len() - self.reading.iter().filter(|read| read.answer.is_none()).count()
    }

    /// Handles one input.
    pub fn handle(&mut self, input: Input<J>, moment: &Moment<'_>) -> Vec<Output<J>> {
        match input {
            Input::Message(message) => self.message(message, moment),
            Input::Done(number, completion) => self.done(number, completion, moment),
            Input::Incoming(id, result) => self.with_puts(|puts| {
                puts.done(id, result);
                Ok(())
            }),
            Input::Storage(failure) => self.report_own_state(failure, moment),
        }
        std::mem::take(&mut self.out)
    }

    /// The link has ended. Returns the last tasks of its puts' workers.
    pub fn close(&mut self) -> Vec<(IncomingId, IncomingTask)> {
        self.puts.close()
    }

    /// Changes the puts and takes their outputs. Reports and sends a refusal.
    fn with_puts(&mut self, change: impl FnOnce(&mut IncomingPuts) -> Result<(), Failed>) {
        let changed = change(&mut self.puts);
        self.out.extend(self.puts.take_outputs().into_iter().map(Output::from));
        if let Err(failed) = changed {
            self.refuse(failed);
        }
    }

    /// Handles a message of the server.
    fn message(&mut self, message: Message, moment: &Moment<'_>) {
        match message {
            Message::Failed(failed) if failed.stream == Stream::LINK => {
                self.out.push(Output::End(End::Refused(failed)))
            }
            // Not an answer to a list request: a replica never requests its own list.
            Message::Failed(failed) if self.position(moment).is_some_and(|own| failed.subjects == [own]) => {
                self.out.push(Output::LeftOut(failed.detail));
            }
            // An answer to a list request, the only kind of request to a server. The number is the replica's own, not a put's.
            Message::Failed(failed) => self.out.push(Output::Listed(failed.stream, Err(failed))),
            Message::Listed { stream, page } => self.out.push(Output::Listed(stream, Ok(page))),
            Message::Founding(_) | Message::Acceptances { .. } | Message::Refusals(_) => {
                self.out.push(Output::Founding(message));
            }
            Message::Epochs(epochs) => self.out.push(Output::Epochs(epochs.links)),
            Message::ReplicaStatus { status, detail } => self.out.push(Output::ReplicaStatus(status, detail)),
            Message::Put { stream, offer, .. } => {
                let own = self.position(moment);
                self.with_puts(|puts| puts.begin(stream, offer.map(|offer| offer.assignment(own))));
            }
            Message::Blob { stream, receipt, bytes, .. } => {
                let assignment = receipt.assignment(self.position(moment));
                self.with_puts(|puts| puts.whole(stream, assignment, bytes));
            }
            Message::Chunk { stream, offset, parents, bytes } => {
                self.with_puts(|puts| puts.chunk(stream, IncomingChunk { offset, parents, bytes }));
            }
            Message::PutEnd { stream, receipt, .. } => {
                let assignment = receipt.assignment(self.position(moment));
                self.with_puts(|puts| {
                    puts.end(stream, assignment);
                    Ok(())
                });
            }
            Message::Cancel { stream, keep } => self.with_puts(|puts| {
                puts.cancel(stream, keep);
                Ok(())
            }),
            Message::Propose { stream, issued_at, receipts } => {
                self.propose(stream, Proposal { issued_at, receipts: receipts.into() }, moment);
            }
            Message::Archive { stream, signers, signature } => {
                // If the proposal is no longer remembered, repair learns its certificates from another member.
                if let Some(proposal) = self.proposals.take(stream)
                    && let Some(committee) = moment.committee()
                {
                    let request = Request::Archive(committee.clone(), proposal, signers, signature);
                    self.request(Pending::Background, request);
                }
            }
            Message::Missed { certificates } if certificates.is_empty() => self.out.push(Output::ListsDoubtful),
            Message::Missed { certificates } => {
                if let Some(chain) = moment.chain {
                    self.request(Pending::Background, Request::Missed(chain.clone(), certificates));
                }
            }
            Message::Read(read) if self.reads.len() >= READ_QUEUE => {
                self.refuse(Failed::new(read.stream, Code::Busy, "too many reads at once"));
            }
            Message::Read(read) => {
                self.reads.push_back(read);
                self.read_next();
            }
            Message::Locate { stream, digest, .. } => self.request(Pending::Locate(stream), Request::Length(digest)),
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
            Message::Peer(frame) => self.out.push(Output::PeerFrame(frame)),
            Message::SubmitOp { stream, op } => self.out.push(Output::LogCall(stream, LogCall::Submit(op))),
            Message::AskLogHead { stream, height } => self.out.push(Output::LogCall(stream, LogCall::Head(height))),
            Message::AskOpProof { stream, op, head } => {
                self.out.push(Output::LogCall(stream, LogCall::Proof { op, head }));
            }
            Message::AskBlock { stream, height, head } => {
                self.out.push(Output::LogCall(stream, LogCall::Block { height, head }));
            }
            Message::AskSeal { stream, epoch, from } => {
                self.out.push(Output::LogCall(stream, LogCall::Seal { epoch, from }));
            }
            Message::SignedTime { stream, member, time, signature } => {
                self.out.push(Output::TimeAnswer(stream, member, time, signature));
            }
            other => {
                let detail = format!("expected a request, got {}", other.name());
                let failed = Failed::new(Stream::LINK, Code::Unexpected, detail);
                self.out.push(Output::End(End::Violation(failed)));
            }
        }
    }

    fn position(&self, moment: &Moment<'_>) -> Option<u16> {
        moment.committee().and_then(|committee| committee.record().position(&self.own))
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

    /// Starts the reads for which there is room.
    fn read_next(&mut self) {
        while self.reading.len() < READS_AT_ONCE
            && let Some(read) = self.reads.pop_front()
        {
            let Read { stream, offset, .. } = read;
            self.request(Pending::Read, Request::Read(read));
            self.reading.push_back(CurrentRead { request: self.next_request, stream, offset, answer: None });
        }
    }

    /// Notes the answer of a read, and sends those whose turn it is.
    fn answer_read(&mut self, request: u64, completion: Completion<J>) {
        if let Some(read) = self.reading.iter_mut().find(|read| read.request == request) {
            let CurrentRead { stream, offset, .. } = *read;
            read.answer = Some(match completion {
                Completion::Slice(bytes, parents) => Message::Chunk { stream, offset, parents, bytes },
                other => Message::Failed(unanswered(stream, other)),
            });
        }
        while let Some(answer) = self.reading.front_mut().and_then(|read| read.answer.take()) {
            self.reading.pop_front();
            self.out.push(Output::SendData(answer));
        }
        self.read_next();
    }

    fn done(&mut self, number: u64, completion: Completion<J>, moment: &Moment<'_>) {
        // Each request has one completion.
        let Some(pending) = self.pending.remove(&number) else { return };
        match (pending, completion) {
            (Pending::Vote(stream, proposal), completion) => self.continue_vote(stream, proposal, completion, moment),
            (Pending::Read, completion) => self.answer_read(number, completion),
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

    /// Tells the server when the storage has failed or the clock is in doubt, and when both are fine again. Otherwise the server would
    /// learn it only at the next put, and a load balancer would keep sending puts to the server.
    fn report_own_state(&mut self, failure: Option<String>, moment: &Moment<'_>) {
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

/// The failure of a request. A completion of another kind of request counts as a failure as well.
fn unanswered<J>(stream: Stream, completion: Completion<J>) -> Failed {
    match completion {
        Completion::Failed(code, detail) => Failed::new(stream, code, detail),
        _ => Failed::new(stream, Code::Storage, "the request was answered with what another one asked for"),
    }
}
