//! A get of one blob, or a range of it, from the replicas that hold it, one after the other. It names each replica that fails.
//!
//! Each chunk is verified on its own before any of its bytes are passed on, so no wrong byte is ever passed on. If a member
//! fails, the next one continues where it stopped. The blob's last group is verified first: it proves the length, which
//! members only claim.
//!
//! The server names the holders that answer promptly. If all of them fail, the session sends a second lookup, for which the
//! server waits for late members: otherwise a blob that an honest member on a busy machine holds would be unreadable.

mod holders;
mod transfer;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use self::holders::Holders;
use self::transfer::{CHUNK, PendingRead, Transfer};
use super::handshake::unexpected;
use super::progress::{Phase, ProgressMark};
use super::{ByteRange, SessionError};
use crate::access::Authorisation;
use crate::chain::CommitteeChain;
use crate::digest::Digest;
use crate::link::NodeKey;
use crate::message::{Failed, MAX_READS, Message, Read, Stream};
use crate::slice::Slice;
use crate::tree::{self};

const LOCATE: Stream = Stream(1);

/// The blob and the range to get.
#[derive(Debug, Clone, Copy)]
pub struct WantedBytes {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length, if it is known from a verified source.
    pub length: Option<u64>,
    /// The requested range; `None` for the whole blob.
    pub range: Option<ByteRange>,
}

/// What the caller must do or show.
#[derive(Debug)]
pub enum GetEvent {
    /// Send this.
    Send(Message),
    /// The get starts to read from a member. Bytes passed on before stay valid.
    Start {
        /// The member's name.
        name: String,
        /// The blob's length as the member claims it.
        length: u64,
    },
    /// The length is verified. Occurs once, before the first bytes.
    Length {
        /// The blob's verified length.
        length: u64,
        /// The bytes of the blob that follow as [`GetEvent::Bytes`].
        range: Range<u64>,
    },
    /// A whole verified slice with its proof, for a caller that forwards slices. The first one reaches the blob's end and so
    /// proves the length; the following ones cover the range.
    Slice(Slice),
    /// The next verified bytes of the range.
    Bytes(Bytes),
    /// A member failed. The next holder continues, if there is one.
    Rejected(Rejection),
    /// All bytes of the range were passed on.
    Verified,
}

/// A member that failed during a get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The member's name.
    pub name: String,
    /// Why it failed, with the expected value and the value received.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

#[derive(Debug)]
enum GetState {
    New,
    Locating,
    Reading(Box<Transfer>),
    Done,
}

/// What is verified about the blob. It holds for every member.
#[derive(Debug)]
struct VerifiedProgress {
    length: u64,
    /// The requested bytes.
    range: Range<u64>,
    /// All requested bytes before this offset are verified. The offset is the end of a whole group.
    position: u64,
}

/// A get in progress. It is used by a client over its link, which learns the committee from the server, and by a server for
/// an HTTP request, which knows the committee and needs no handshake.
#[derive(Debug)]
pub struct OneGet {
    chain: Option<CommitteeChain>,
    wanted: WantedBytes,
    authorisation: Option<Authorisation>,
    state: GetState,
    /// `None` until the length is verified.
    verified: Option<VerifiedProgress>,
    holders: Holders,
    /// The second lookup was sent. There is no third.
    sent_second_lookup: bool,
    rejections: Vec<Rejection>,
    next_stream: u32,
    /// Lower stream numbers belong to holders that failed.
    first_stream: u32,
    /// The unanswered reads of holders that failed. They count against [`MAX_READS`] until they are answered.
    abandoned: BTreeSet<Stream>,
}

impl OneGet {
    /// A get that has sent nothing yet. `chain`: the trusted committees, if they are known already.
    pub fn new(wanted: WantedBytes, chain: Option<CommitteeChain>) -> Self {
        Self {
            chain,
            wanted,
            authorisation: None,
            state: GetState::New,
            verified: None,
            holders: Holders::default(),
            sent_second_lookup: false,
            rejections: Vec::new(),
            next_stream: LOCATE.0 + 1,
            first_stream: 0,
            abandoned: BTreeSet::new(),
        }
    }

    /// Sets the committees, once they are known and checked.
    pub(super) fn set_chain(&mut self, chain: Option<&CommitteeChain>) {
        self.chain = chain.cloned();
    }

    /// Authorises the lookups of the blob.
    pub fn authorise(&mut self, authorise: impl FnOnce(&Digest) -> Option<Authorisation>) {
        self.authorisation = authorise(&self.wanted.digest);
    }

    /// The first message to send.
    pub fn begin(&mut self) -> Message {
        self.state = GetState::Locating;
        self.locate()
    }

    fn locate(&self) -> Message {
        Message::Locate { stream: LOCATE, digest: self.wanted.digest, authorisation: self.authorisation }
    }

    /// Tries these members after all others. They are still tried: one of them may be the only member with the right bytes, and
    /// a failed get must name every member that failed.
    pub fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.holders.try_last(members);
    }

    /// The get's progress, for a [`ProgressWatch`](super::ProgressWatch). A member's failure counts as a step, because the next
    /// member is read from.
    pub fn progress_mark(&self) -> ProgressMark {
        let in_phase = |phase| ProgressMark { phase: Some(phase), steps: self.rejections.len() as u64 };
        match (&self.state, &self.verified) {
            (GetState::New | GetState::Locating, _) => in_phase(Phase::Locating),
            (GetState::Reading(_), None) => in_phase(Phase::Reading),
            (GetState::Reading(_), Some(verified)) => {
                let steps = verified.position.saturating_add(1).saturating_add(self.rejections.len() as u64);
                ProgressMark { phase: Some(Phase::Reading), steps }
            }
            (GetState::Done, _) => ProgressMark { phase: None, steps: 0 },
        }
    }

    /// Takes one message of the server.
    ///
    /// # Errors
    /// See [`SessionError`]; the get has then ended.
    pub fn receive(&mut self, message: Message) -> Result<Vec<GetEvent>, SessionError> {
        match (&mut self.state, message) {
            (GetState::Locating, Message::Located { stream: LOCATE, holders }) => {
                let Some(chain) = self.chain.as_ref() else {
                    return Err(SessionError::Unexpected { expected: "Cluster, then Located", got: "Located" });
                };
                if holders.is_empty() && self.holders.none_tried() {
                    return Err(SessionError::NotFound(self.wanted.digest));
                }
                self.holders.add_located(holders, chain);
                self.start_next()
            }
            // Late answers of holders that failed after the first lookup.
            (GetState::Locating, Message::Chunk { stream, .. } | Message::Failed(Failed { stream, .. }))
                if self.abandoned.contains(&stream) =>
            {
                self.abandoned.remove(&stream);
                Ok(Vec::new())
            }
            // The second lookup failed: report the members that failed after the first one.
            (GetState::Locating, Message::Failed(_)) if !self.holders.none_tried() => Err(self.exhausted()),
            (GetState::Locating, Message::Failed(failed)) => Err(SessionError::refused(failed, self.chain.as_ref())),
            (GetState::Locating, other) => Err(unexpected("Cluster, then Located", &other)),
            (GetState::Reading(_), Message::Chunk { stream, .. } | Message::Failed(Failed { stream, .. }))
                if stream.0 < self.first_stream =>
            {
                self.abandoned.remove(&stream);
                self.advance()
            }
            (GetState::Reading(_), Message::Chunk { stream, offset, parents, bytes }) => {
                self.chunk(stream, Slice { offset, proof: parents, bytes })
            }
            (GetState::Reading(transfer), Message::Failed(failed)) => {
                transfer.answered(failed.stream);
                self.reject(failed.to_string())
            }
            (GetState::Reading(_), other) => Err(unexpected("Chunk", &other)),
            (GetState::New | GetState::Done, other) => Err(unexpected("nothing more", &other)),
        }
    }

    fn start_next(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let Some(chain) = self.chain.as_ref() else { return Err(self.exhausted()) };
        let Some(holder) = self.holders.next(chain) else { return self.look_up_again() };
        let name = chain.name(chain.member(holder.member));
        self.first_stream = self.next_stream;
        // If the range lies outside the claimed length, read only the proof of the length: the claim may be false.
        let range = self.wanted.within(holder.length).unwrap_or(holder.length..holder.length);
        let mut unrequested = tree::widen_to_groups(&range, holder.length);
        if range.is_empty() {
            unrequested.end = unrequested.start;
        }
        let needs_length_read = match &self.verified {
            Some(verified) => {
                unrequested.start = verified.position;
                false
            }
            // A first read that reaches the blob's end proves the length itself.
            None => {
                let Range { start, end } = unrequested;
                unrequested.is_empty() || end < holder.length || end - start > CHUNK
            }
        };
        let (pending, length) = (VecDeque::new(), holder.length);
        let transfer = Transfer { holder, name: name.clone(), unrequested, needs_length_read, pending };
        self.state = GetState::Reading(Box::new(transfer));
        let expected = self.verified.as_ref().map(|verified| verified.length).or(self.wanted.length);
        if let Some(expected) = expected.filter(|expected| *expected != length) {
            return self.reject(format!("expected {expected} bytes, got a claim of {length}"));
        }
        let mut events = vec![GetEvent::Start { name, length }];
        if length == 0 {
            // An empty blob has nothing to read: compare its digest.
            if let Err(error) = tree::verify(&self.wanted.digest, 0, 0, &[], &[]) {
                events.extend(self.reject(error.to_string())?);
                return Ok(events);
            }
            events.push(self.length_verified(length)?);
        }
        events.extend(self.advance()?);
        Ok(events)
    }

    /// Sends the second lookup, for late members, once all holders of the first one have failed. Fails if it was sent before or
    /// if every member was tried.
    fn look_up_again(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let all_tried = self.chain.as_ref().is_none_or(|chain| self.holders.all_tried(chain));
        if self.sent_second_lookup || all_tried {
            return Err(self.exhausted());
        }
        self.sent_second_lookup = true;
        self.state = GetState::Locating;
        // Every read so far belongs to a holder that failed.
        self.first_stream = self.next_stream;
        Ok(vec![GetEvent::Send(self.locate())])
    }

    fn exhausted(&mut self) -> SessionError {
        self.state = GetState::Done;
        SessionError::Exhausted(std::mem::take(&mut self.rejections))
    }

    fn chunk(&mut self, stream: Stream, slice: Slice) -> Result<Vec<GetEvent>, SessionError> {
        let GetState::Reading(transfer) = &mut self.state else { return Ok(Vec::new()) };
        let size = slice.bytes.len();
        let Some(PendingRead { range, for_length_only, .. }) = transfer.answered(stream) else {
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
        if self.verified.is_none() {
            // The first read reaches the blob's end, so it proves the length.
            events.push(self.length_verified(length)?);
        }
        let mut wanted = None;
        if let Some(verified) = self.verified.as_mut().filter(|_| !for_length_only) {
            verified.position = range.end;
            let within = |at: u64| usize::try_from(at.clamp(range.start, range.end) - range.start).unwrap_or(size);
            wanted = Some(slice.bytes.slice(within(verified.range.start)..within(verified.range.end)));
        }
        events.push(GetEvent::Slice(slice));
        events.extend(wanted.map(GetEvent::Bytes));
        events.extend(self.advance()?);
        Ok(events)
    }

    /// Records the verified length.
    fn length_verified(&mut self, length: u64) -> Result<GetEvent, SessionError> {
        let Some(range) = self.wanted.within(length) else {
            self.state = GetState::Done;
            let range = self.wanted.range.unwrap_or(ByteRange::From(0));
            return Err(SessionError::Unsatisfiable { range, length });
        };
        let position = tree::widen_to_groups(&range, length).start;
        self.verified = Some(VerifiedProgress { length, range: range.clone(), position });
        Ok(GetEvent::Length { length, range })
    }

    /// Keeps up to [`MAX_READS`] reads in flight. Ends the get once every byte is verified.
    fn advance(&mut self) -> Result<Vec<GetEvent>, SessionError> {
        let GetState::Reading(transfer) = &mut self.state else { return Ok(Vec::new()) };
        if self.verified.as_ref().is_some_and(|verified| verified.position >= verified.range.end) {
            self.state = GetState::Done;
            return Ok(vec![GetEvent::Verified]);
        }
        let mut events = Vec::new();
        while transfer.pending.len() + self.abandoned.len() < MAX_READS {
            let Some((range, for_length_only)) = transfer.next() else { break };
            let read = Read {
                stream: Stream(self.next_stream),
                member: transfer.holder.member,
                digest: self.wanted.digest,
                offset: range.start,
                length: u32::try_from(range.end - range.start).unwrap_or(u32::MAX),
            };
            // 2^32 reads of 256 KiB are 2^50 bytes. A get of a longer blob ends here with an error from the server.
            self.next_stream = self.next_stream.saturating_add(1);
            transfer.pending.push_back(PendingRead { stream: read.stream, range, for_length_only });
            events.push(GetEvent::Send(Message::Read(read)));
        }
        Ok(events)
    }

    fn reject(&mut self, reason: String) -> Result<Vec<GetEvent>, SessionError> {
        let GetState::Reading(transfer) = &self.state else { return Ok(Vec::new()) };
        let rejection = Rejection { name: transfer.name.clone(), reason };
        self.abandoned.extend(transfer.pending.iter().map(|read| read.stream));
        self.rejections.push(rejection.clone());
        let mut events = vec![GetEvent::Rejected(rejection)];
        events.extend(self.start_next()?);
        Ok(events)
    }
}

impl WantedBytes {
    /// The requested bytes of a blob of this length; `None` if the range lies outside it.
    fn within(&self, length: u64) -> Option<Range<u64>> {
        match self.range {
            Some(range) => range.within(length),
            None => Some(0..length),
        }
    }
}
