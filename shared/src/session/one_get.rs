//! Gets one blob, or a range of it, from whichever replica holds it, and names each that fails.
//!
//! Every chunk is verified by itself before a byte of it comes out, so no wrong byte ever does, and when a member fails the next one
//! goes on where it stopped. The blob's last group is verified first: it shows the length that members only claim.
//!
//! The server names the holders that answer at once. When all of these failed, the session asks a second time, and the server waits
//! for the members that were late: otherwise a busy machine would make a blob unreadable that an honest member holds.

mod holders;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use self::holders::Holders;
use super::door::unexpected;
use super::progress::{Phase, Standing};
use super::{ByteRange, SessionError};
use crate::chain::CommitteeChain;
use crate::digest::Digest;
use crate::link::NodeKey;
use crate::message::{Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};
use crate::slice::Slice;
use crate::tree::{self, GROUP};

const LOCATE: Stream = Stream(1);

/// What to get.
#[derive(Debug, Clone, Copy)]
pub struct WantedBytes {
    /// The blob.
    pub digest: Digest,
    /// Its length, where it is known for certain.
    pub length: Option<u64>,
    /// The bytes wanted; `None` for all.
    pub range: Option<ByteRange>,
}

/// What a caller does or shows.
#[derive(Debug)]
pub enum GetEvent {
    /// Send this.
    Send(Message),
    /// A member is read from; what came out before stays.
    Start {
        /// The member's name.
        name: String,
        /// The blob's length, by the member's word.
        length: u64,
    },
    /// Once, before the first bytes.
    Length {
        /// The blob's length, verified.
        length: u64,
        /// The bytes of it that come out.
        range: Range<u64>,
    },
    /// A verified slice, whole, for who passes it on with its proof: first the one that shows the length, which reaches the blob's
    /// end, then those that cover the range.
    Slice(Slice),
    /// The next bytes of the range, verified.
    Bytes(Bytes),
    /// The member failed; another goes on, or none is left.
    Rejected(Rejection),
    /// All bytes of the range came out.
    Verified,
}

/// A member that did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub name: String,
    /// Why, with expected and got.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// A read that is not answered yet.
#[derive(Debug)]
struct Waiting {
    stream: Stream,
    range: Range<u64>,
    /// Its bytes come again, or are not wanted: it is there to show the length.
    shows_length: bool,
}

#[derive(Debug)]
struct Transfer {
    holder: Holder,
    name: String,
    /// What is read for its bytes, in whole groups: those from here on are not asked for yet.
    todo: Range<u64>,
    /// Another read comes before these, of the last group.
    asks_length: bool,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
}

impl Transfer {
    /// The next bytes to ask for.
    fn next(&mut self) -> Option<(Range<u64>, bool)> {
        let length = self.holder.length;
        if std::mem::take(&mut self.asks_length) {
            return Some((last_group(length)..length, true));
        }
        let Range { start, end } = self.todo;
        if start >= end {
            return None;
        }
        // cut where a proof is shortest: chunks that are whole subtrees
        let cut = if end - start <= CHUNK { end } else { (start / CHUNK + 1) * CHUNK };
        self.todo.start = cut;
        Some((start..cut, false))
    }

    /// Takes an answered read off the list, when it was the oldest.
    fn answered(&mut self, stream: Stream) -> Option<Waiting> {
        let position = self.waiting.iter().position(|waiting| waiting.stream == stream)?;
        let waiting = self.waiting.remove(position)?;
        (position == 0).then_some(waiting)
    }
}

#[derive(Debug)]
enum State {
    New,
    Locating,
    Reading(Box<Transfer>),
    Done,
}

/// What is certain about the blob, whoever is read from.
#[derive(Debug)]
struct Known {
    length: u64,
    /// The bytes wanted.
    range: Range<u64>,
    /// Verified up to here, in whole groups.
    position: u64,
}

/// A get in progress, of whoever knows the committee or comes to know it: a client over its link, or a server for a request over
/// HTTP, which checks no other server's key.
#[derive(Debug)]
pub struct OneGet {
    chain: Option<CommitteeChain>,
    wanted: WantedBytes,
    state: State,
    known: Option<Known>,
    holders: Holders,
    /// The second lookup was sent, which is the last.
    has_asked_again: bool,
    rejections: Vec<Rejection>,
    next_stream: u32,
    /// Streams below belong to a holder that was given up.
    first_stream: u32,
    /// Those among them that are not answered yet: they count against [`MAX_READS`] until they are.
    abandoned: BTreeSet<Stream>,
}

impl OneGet {
    /// One that nothing was asked for yet. `chain`: the committees that are trusted, where they are known.
    pub fn new(wanted: WantedBytes, chain: Option<CommitteeChain>) -> Self {
        Self {
            chain,
            wanted,
            state: State::New,
            known: None,
            holders: Holders::default(),
            has_asked_again: false,
            rejections: Vec::new(),
            next_stream: LOCATE.0 + 1,
            first_stream: 0,
            abandoned: BTreeSet::new(),
        }
    }

    /// The committees are known, and checked.
    pub(super) fn learn_chain(&mut self, chain: Option<&CommitteeChain>) {
        self.chain = chain.cloned();
    }

    /// The first message to send.
    pub fn begin(&mut self) -> Message {
        self.state = State::Locating;
        Message::Locate { stream: LOCATE, digest: self.wanted.digest }
    }

    /// Tries these members after all others. None is left out: it may be the only one whose bytes are right, and a get that fails names
    /// everyone who failed it.
    pub fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.holders.try_last(members);
    }

    /// Where it stands, for a [`ProgressWatch`](super::ProgressWatch). A member that failed is a step, for another one follows.
    pub fn standing(&self) -> Standing {
        let in_phase = |phase| Standing { phase: Some(phase), steps: self.rejections.len() as u64 };
        match (&self.state, &self.known) {
            (State::New | State::Locating, _) => in_phase(Phase::Locating),
            (State::Reading(_), None) => in_phase(Phase::Reading),
            (State::Reading(_), Some(known)) => {
                let steps = known.position.saturating_add(1).saturating_add(self.rejections.len() as u64);
                Standing { phase: Some(Phase::Reading), steps }
            }
            (State::Done, _) => Standing { phase: None, steps: 0 },
        }
    }

    /// Takes one message of the server.
    ///
    /// # Errors
    /// See [`SessionError`]; the get is then over.
    pub fn receive(&mut self, message: Message) -> Result<Vec<GetEvent>, SessionError> {
        match (&mut self.state, message) {
            (State::Locating, Message::Located { stream: LOCATE, holders }) => {
                let Some(chain) = self.chain.as_ref() else {
                    return Err(SessionError::Unexpected { expected: "Cluster, then Located", got: "Located" });
                };
                if holders.is_empty() && self.holders.is_untouched() {
                    return Err(SessionError::NotFound(self.wanted.digest));
                }
                self.holders.learn(holders, chain);
                self.start_next()
            }
            // reads that a member of the first lookup did not answer
            (State::Locating, Message::Chunk { stream, .. } | Message::Failed(Failed { stream, .. }))
                if self.abandoned.contains(&stream) =>
            {
                self.abandoned.remove(&stream);
                Ok(Vec::new())
            }
            // it is known already who failed
            (State::Locating, Message::Failed(_)) if !self.holders.is_untouched() => Err(self.exhausted()),
            (State::Locating, Message::Failed(failed)) => Err(SessionError::refused(failed, self.chain.as_ref())),
            (State::Locating, other) => Err(unexpected("Cluster, then Located", &other)),
            (State::Reading(_), Message::Chunk { stream, .. } | Message::Failed(Failed { stream, .. }))
                if stream.0 < self.first_stream =>
            {
                self.abandoned.remove(&stream);
                self.advance()
            }
            (State::Reading(_), Message::Chunk { stream, offset, parents, bytes }) => {
                self.chunk(stream, Slice { offset, proof: parents, bytes })
            }
            (State::Reading(transfer), Message::Failed(failed)) => {
                transfer.answered(failed.stream);
                self.reject(failed.to_string())
            }
            (State::Reading(_), other) => Err(unexpected("Chunk", &other)),
            (State::New | State::Done, other) => Err(unexpected("nothing more", &other)),
        }
    }

    fn start_next(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let Some(chain) = self.chain.as_ref() else { return Err(self.exhausted()) };
        let Some(holder) = self.holders.next(chain) else { return self.ask_again() };
        let name = chain.name(chain.member(holder.member));
        self.first_stream = self.next_stream;
        // of a range beyond what the member claims, only the length is asked for: the claim may be false
        let range = self.wanted.within(holder.length).unwrap_or(holder.length..holder.length);
        let mut todo = tree::around(&range, holder.length);
        if range.is_empty() {
            todo.end = todo.start;
        }
        let asks_length = match &self.known {
            Some(known) => {
                todo.start = known.position;
                false
            }
            // the first read may show it as well
            None => todo.is_empty() || todo.end < holder.length || todo.end - todo.start > CHUNK,
        };
        let (waiting, length) = (VecDeque::new(), holder.length);
        let transfer = Transfer { holder, name: name.clone(), todo, asks_length, waiting };
        self.state = State::Reading(Box::new(transfer));
        let expected = self.known.as_ref().map(|known| known.length).or(self.wanted.length);
        if let Some(expected) = expected.filter(|expected| *expected != length) {
            return self.reject(format!("expected {expected} bytes, got a claim of {length}"));
        }
        let mut events = vec![GetEvent::Start { name, length }];
        if length == 0 {
            // there is nothing to read: the digest alone decides
            if let Err(error) = tree::verify(&self.wanted.digest, 0, 0, &[], &[]) {
                events.extend(self.reject(error.to_string())?);
                return Ok(events);
            }
            events.push(self.learn(length)?);
        }
        events.extend(self.advance()?);
        Ok(events)
    }

    /// Everyone who answered the lookup failed: asks for those who were late, once, unless there are none.
    fn ask_again(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let are_all_tried = self.chain.as_ref().is_none_or(|chain| self.holders.are_all_tried(chain));
        if self.has_asked_again || are_all_tried {
            return Err(self.exhausted());
        }
        self.has_asked_again = true;
        self.state = State::Locating;
        // every read so far belongs to a holder that was given up
        self.first_stream = self.next_stream;
        Ok(vec![GetEvent::Send(Message::Locate { stream: LOCATE, digest: self.wanted.digest })])
    }

    fn exhausted(&mut self) -> SessionError {
        self.state = State::Done;
        SessionError::Exhausted(std::mem::take(&mut self.rejections))
    }

    fn chunk(&mut self, stream: Stream, slice: Slice) -> Result<Vec<GetEvent>, SessionError> {
        let State::Reading(transfer) = &mut self.state else { return Ok(Vec::new()) };
        let size = slice.bytes.len();
        let Some(Waiting { range, shows_length, .. }) = transfer.answered(stream) else {
            return self.reject("expected an answer to the oldest read, got another".into());
        };
        let length = transfer.holder.length;
        if slice.offset != range.start || size as u64 != range.end - range.start {
            let (wanted, offset) = (range.end - range.start, slice.offset);
            return self.reject(format!("expected {wanted} bytes at {}, got {size} at {offset}", range.start));
        }
        if let Err(error) = tree::verify(&self.wanted.digest, length, slice.offset, &slice.bytes, &slice.proof) {
            return self.reject(error.to_string());
        }
        let mut events = Vec::new();
        if self.known.is_none() {
            // the first read of all reaches the end
            events.push(self.learn(length)?);
        }
        let mut wanted = None;
        if let Some(known) = self.known.as_mut().filter(|_| !shows_length) {
            known.position = range.end;
            let within = |at: u64| usize::try_from(at.clamp(range.start, range.end) - range.start).unwrap_or(size);
            wanted = Some(slice.bytes.slice(within(known.range.start)..within(known.range.end)));
        }
        events.push(GetEvent::Slice(slice));
        events.extend(wanted.map(GetEvent::Bytes));
        events.extend(self.advance()?);
        Ok(events)
    }

    /// The blob's length is certain from now on.
    fn learn(&mut self, length: u64) -> Result<GetEvent, SessionError> {
        let Some(range) = self.wanted.within(length) else {
            self.state = State::Done;
            let range = self.wanted.range.unwrap_or(ByteRange::From(0));
            return Err(SessionError::Unsatisfiable { range, length });
        };
        let position = tree::around(&range, length).start;
        self.known = Some(Known { length, range: range.clone(), position });
        Ok(GetEvent::Length { length, range })
    }

    /// Keeps reads in flight; ends once every byte is there.
    fn advance(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let State::Reading(transfer) = &mut self.state else { return Ok(Vec::new()) };
        if self.known.as_ref().is_some_and(|known| known.position >= known.range.end) {
            self.state = State::Done;
            return Ok(vec![GetEvent::Verified]);
        }
        let mut events = Vec::new();
        while transfer.waiting.len() + self.abandoned.len() < MAX_READS {
            let Some((range, shows_length)) = transfer.next() else { break };
            let read = Read {
                stream: Stream(self.next_stream),
                member: transfer.holder.member,
                digest: self.wanted.digest,
                offset: range.start,
                length: u32::try_from(range.end - range.start).unwrap_or(u32::MAX),
            };
            // 2^32 reads of 256 KiB are 2^50 bytes; a longer blob ends here with an error of the server
            self.next_stream = self.next_stream.saturating_add(1);
            transfer.waiting.push_back(Waiting { stream: read.stream, range, shows_length });
            events.push(GetEvent::Send(Message::Read(read)));
        }
        Ok(events)
    }

    fn reject(&mut self, reason: String) -> Result<Vec<GetEvent>, SessionError> {
        let State::Reading(transfer) = &self.state else { return Ok(Vec::new()) };
        let rejection = Rejection { name: transfer.name.clone(), reason };
        self.abandoned.extend(transfer.waiting.iter().map(|waiting| waiting.stream));
        self.rejections.push(rejection.clone());
        let mut events = vec![GetEvent::Rejected(rejection)];
        events.extend(self.start_next()?);
        Ok(events)
    }
}

impl WantedBytes {
    /// The bytes wanted of a blob of this length.
    fn within(&self, length: u64) -> Option<Range<u64>> {
        match self.range {
            Some(range) => range.within(length),
            None => Some(0..length),
        }
    }
}

/// Where the last group of a blob begins that has any bytes.
fn last_group(length: u64) -> u64 {
    length.saturating_sub(1) / GROUP as u64 * GROUP as u64
}

const CHUNK: u64 = MAX_CHUNK as u64;
