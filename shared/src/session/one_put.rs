//! One put on a link that may carry several: offers the blob, sends its bytes, and accepts only a valid certificate for its
//! own receipt, or an earlier one that promises at least as much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::SessionError;
use super::handshake::{ClientHandshake, unexpected};
use super::progress::{Phase, ProgressMark, ProgressWatch, WaitLimit};
use crate::access::Action;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::chain::MemberId;
use crate::committee::Committee;
use crate::digest::{Digest, Hasher};
use crate::link::NodeKey;
use crate::message::{MAX_BLOB, Message, Stage, Stream};
use crate::receipt::Receipt;
use crate::tree::{BLOCK, Outline};
use crate::verify::{CLOCK_TOLERANCE, Subject, VerifiedAggregates, verify_certificate_of_batch};

/// What is known of the bytes before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The blob is hashed already. It is offered first, so that no byte is sent needlessly.
    Known {
        /// The blob's digest.
        digest: Digest,
        /// The blob's length.
        length: u64,
    },
    /// A stream: its digest and length are declared at its end.
    Streamed,
}

/// The parameters of one put.
#[derive(Debug, Clone, Copy)]
pub struct NewPut {
    /// What is known of the bytes.
    pub source: Source,
    /// Seconds since 1970, or [`NEVER`](crate::receipt::NEVER).
    pub expires_at: u64,
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// The time when the put begins, seconds since 1970.
    pub now: u64,
    /// Ask for a new certificate, even if an earlier one promises as much.
    pub renew: bool,
}

/// What the caller must do or show.
#[derive(Debug)]
pub enum PutEvent {
    /// Send this.
    Send(Message),
    /// The resume offset: send the bytes from here on, because the replicas hold those before it. Call
    /// [`PutLink::chunk`](super::PutLink::chunk), then [`PutLink::end`](super::PutLink::end); if the offset is the blob's length,
    /// only the latter.
    Ready {
        /// 0, the end of a block, or the blob's length.
        offset: u64,
    },
    /// A member reached a stage.
    Progress {
        /// The member.
        member: MemberId,
        /// The stage that it reached.
        stage: Stage,
    },
    /// The put succeeded: the certificate passed every check.
    Certified(Box<Certified>),
}

/// The result of a put.
#[derive(Debug)]
pub struct Certified {
    /// The verified certificate.
    pub certificate: Certificate,
    /// The bundle to keep beside the file.
    pub bundle: Bundle,
    /// The committees of the cluster. One of them signed.
    pub chain: CommitteeChain,
    /// The server's node key.
    pub server: NodeKey,
    /// The offset of the first byte sent: the replicas held the bytes before it. The blob's length if the certificate is
    /// reused or came before any byte was sent.
    pub sent_from: u64,
    /// The certificate was made for an earlier put of the same bytes, perhaps by someone else, and promises at least as much
    /// as this put asked for.
    pub reused: bool,
}

impl Certified {
    /// The committee that signed.
    pub fn committee(&self) -> &Arc<Committee> {
        self.chain.of_epoch(self.certificate.epoch).unwrap_or_else(|| self.chain.current())
    }

    /// The offset at which the upload was resumed; 0 if an earlier certificate was reused, because nothing was resumed then.
    pub fn resumed_from(&self) -> u64 {
        if self.reused { 0 } else { self.sent_from }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum PutState {
    Opening,
    Offered,
    Sending,
    /// All bytes are sent; the receipt is what the certificate must be for.
    Ended(Receipt),
    Done,
}

#[derive(Debug)]
pub(super) struct OnePut {
    stream: Stream,
    request: NewPut,
    /// All bytes of a blob that is small enough for one message.
    whole_blob: Option<Bytes>,
    outline: Option<Outline>,
    state: PutState,
    /// The resume offset.
    sent_from: u64,
    /// The offset after the last byte sent.
    sent_until: u64,
    hasher: Hasher,
    /// The stages reported so far, by member: a repeated report is not progress.
    reported: BTreeSet<(MemberId, u8)>,
    watch: ProgressWatch,
}

impl OnePut {
    pub(super) fn new(stream: Stream, request: NewPut, outline: Option<Outline>, limit: WaitLimit) -> Self {
        Self {
            stream,
            request,
            whole_blob: None,
            outline,
            state: PutState::Opening,
            sent_from: 0,
            sent_until: 0,
            hasher: Hasher::new(),
            reported: BTreeSet::new(),
            watch: ProgressWatch::new(limit),
        }
    }

    /// Keeps the bytes of a small blob for the first message. Those of a larger blob are only counted, and requested later.
    pub(super) fn set_bytes(&mut self, bytes: Bytes) -> Result<(), SessionError> {
        let Source::Known { length, .. } = self.request.source else { return Ok(()) };
        let got = bytes.len() as u64;
        if got != length {
            return Err(SessionError::SourceChanged { expected: length, got });
        }
        self.whole_blob = (bytes.len() <= MAX_BLOB).then_some(bytes);
        Ok(())
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// Fails if the put made no progress for too long.
    pub(super) fn check_deadline(&mut self, now: Duration) -> Result<(), SessionError> {
        let mark = self.progress_mark();
        self.watch.check_deadline(mark, now)
    }

    fn receipt(&self, digest: Digest, length: u64) -> Receipt {
        Receipt { salt: self.request.salt, digest, length, expires_at: self.request.expires_at }
    }

    /// The put's progress, once the handshake has ended.
    pub(super) fn progress_mark(&self) -> ProgressMark {
        let phase = match self.state {
            PutState::Opening | PutState::Offered => Some(Phase::Offered),
            PutState::Ended(_) => Some(Phase::Certifying),
            PutState::Sending | PutState::Done => None,
        };
        ProgressMark { phase, steps: self.reported.len() as u64 }
    }

    /// The first message, once the handshake has ended.
    pub(super) fn begin(&mut self, handshake: &ClientHandshake) -> Message {
        let (stream, renew) = (self.stream, self.request.renew);
        let offer = match self.request.source {
            Source::Known { digest, length } => Some(self.receipt(digest, length)),
            Source::Streamed => None,
        };
        let action = offer.as_ref().map_or(Action::Send, Action::Store);
        let authorisation = handshake.authorise(action, self.request.now);
        match (offer, &self.whole_blob) {
            (Some(receipt), Some(bytes)) => {
                self.state = PutState::Ended(receipt);
                Message::Blob { stream, receipt, renew, authorisation, bytes: bytes.clone() }
            }
            (offer, _) => {
                self.state = PutState::Offered;
                Message::Put { stream, offer, renew, authorisation }
            }
        }
    }

    /// Takes a message of the server that is not part of the handshake.
    pub(super) fn receive(
        &mut self,
        message: Message,
        handshake: &ClientHandshake,
        verified: &mut VerifiedAggregates,
        now: u64,
    ) -> Result<Vec<PutEvent>, SessionError> {
        let own = self.stream;
        match (&self.state, message) {
            (_, Message::Failed(failed)) => Err(handshake.refused(failed)),
            (PutState::Offered, Message::Ready { stream, offset }) if stream == own && handshake.chain().is_some() => {
                self.resume_at(offset)?;
                Ok(vec![PutEvent::Ready { offset }])
            }
            (PutState::Offered, Message::Certified { stream, certificate }) if stream == own => {
                let Source::Known { digest, length } = self.request.source else {
                    return Err(SessionError::Unexpected { expected: "Ready", got: "Certified" });
                };
                let receipt = self.receipt(digest, length);
                self.certified(&receipt, *certificate, handshake, verified, now)
            }
            (PutState::Offered, other) => Err(unexpected("Cluster, then Ready or Certified", &other)),
            (PutState::Sending | PutState::Ended(_), Message::Progress { stream, member, stage }) if stream == own => {
                let Some(chain) = handshake.chain() else {
                    return Err(SessionError::Unexpected { expected: "Cluster", got: "Progress" });
                };
                let (index, member) = (member, chain.member(member));
                // Ignore unknown members: otherwise a server could add steps, and entries here, without end.
                if index < chain.current().record().n() {
                    self.reported.insert((member, stage as u8));
                }
                Ok(vec![PutEvent::Progress { member, stage }])
            }
            (PutState::Ended(receipt), Message::Certified { stream, certificate }) if stream == own => {
                let receipt = *receipt;
                self.certified(&receipt, *certificate, handshake, verified, now)
            }
            (PutState::Sending, other) => Err(unexpected("Progress", &other)),
            (PutState::Ended(_), other) => Err(unexpected("Progress or Certified", &other)),
            (PutState::Opening | PutState::Done, other) => Err(unexpected("nothing more", &other)),
        }
    }

    /// Begins to send the bytes at this resume offset.
    fn resume_at(&mut self, offset: u64) -> Result<(), SessionError> {
        let length = match self.request.source {
            Source::Known { length, .. } => length,
            Source::Streamed => 0,
        };
        let is_block = offset < length && offset.is_multiple_of(BLOCK as u64);
        if !is_block && offset != length && offset != 0 {
            return Err(SessionError::BadOffset { length, got: offset });
        }
        (self.sent_from, self.sent_until) = (offset, offset);
        self.state = PutState::Sending;
        Ok(())
    }

    fn certified(
        &mut self,
        receipt: &Receipt,
        certificate: Certificate,
        handshake: &ClientHandshake,
        verified: &mut VerifiedAggregates,
        now: u64,
    ) -> Result<Vec<PutEvent>, SessionError> {
        let (Some(chain), Some(server)) = (handshake.chain(), handshake.server_key()) else {
            return Err(SessionError::Unexpected { expected: "Cluster", got: "Certified" });
        };
        // A new certificate is of the current committee. An earlier one is reused only if it is, too.
        let committee = chain.current().clone();
        let subject = Subject { digest: receipt.digest, length: Some(receipt.length) };
        verify_certificate_of_batch(&certificate, &committee, &subject, now, verified)?;
        let reused = certificate.claim.receipt != *receipt;
        if reused && !self.may_reuse(receipt, &certificate.claim.receipt) {
            let (expected, got) = (Box::new(*receipt), Box::new(certificate.claim.receipt));
            return Err(SessionError::AnotherReceipt { expected, got });
        }
        let expected = self.request.now.saturating_sub(CLOCK_TOLERANCE);
        if !reused && certificate.claim.issued_at < expected {
            return Err(SessionError::OldCertificate { expected, got: certificate.claim.issued_at });
        }
        // The server answered the offer without asking for a byte.
        let is_unsent = self.state == PutState::Offered;
        self.state = PutState::Done;
        let mut events = if self.whole_blob.take().is_some() { final_progress(&certificate) } else { Vec::new() };
        let (bundle, chain) = (Bundle::new(&certificate, chain), chain.clone());
        let sent_from = if reused || is_unsent { receipt.upload_length() } else { self.sent_from };
        let certified = Certified { certificate, bundle, chain, server, sent_from, reused };
        events.push(PutEvent::Certified(Box::new(certified)));
        Ok(events)
    }

    /// Whether the client accepts the certificate of an earlier put. For an offered blob, it must come before the server asks
    /// for bytes. The caller has compared digest and length.
    fn may_reuse(&self, asked: &Receipt, got: &Receipt) -> bool {
        let is_in_time = match self.request.source {
            Source::Known { .. } => self.state == PutState::Offered || self.whole_blob.is_some(),
            // The digest of a stream is known only after all its bytes are sent.
            Source::Streamed => true,
        };
        is_in_time && !self.request.renew && got.salt != asked.salt && got.expires_at >= asked.expires_at
    }

    pub(super) fn chunk(&mut self, bytes: Bytes) -> Result<Message, SessionError> {
        let (offset, size) = (self.sent_until, bytes.len() as u64);
        self.sent_until += size;
        let parents = match self.request.source {
            Source::Known { length, .. } if self.sent_until > length => {
                return Err(SessionError::SourceChanged { expected: length, got: self.sent_until });
            }
            Source::Known { length, .. } => {
                let changed = SessionError::SourceChanged { expected: length, got: self.sent_until };
                match &self.outline {
                    Some(outline) => outline.proof(offset..self.sent_until).ok_or(changed)?,
                    None if length > BLOCK as u64 => return Err(SessionError::Unproved { offset, size }),
                    // A whole blob has an empty proof.
                    None if size != length => return Err(changed),
                    None => Vec::new(),
                }
            }
            Source::Streamed => {
                self.hasher.update(&bytes);
                Vec::new()
            }
        };
        Ok(Message::Chunk { stream: self.stream, offset, parents, bytes })
    }

    pub(super) fn end(&mut self, handshake: &ClientHandshake, now: u64) -> Result<Message, SessionError> {
        let receipt = match self.request.source {
            Source::Known { length, .. } if self.sent_until != length => {
                return Err(SessionError::SourceChanged { expected: length, got: self.sent_until });
            }
            Source::Known { digest, length } => self.receipt(digest, length),
            Source::Streamed => self.receipt(self.hasher.digest(), self.hasher.length()),
        };
        self.state = PutState::Ended(receipt);
        // the offer of a known blob was authorised at the beginning
        let is_new = self.request.source == Source::Streamed;
        let authorisation = if is_new { handshake.authorise(Action::Store(&receipt), now) } else { None };
        Ok(Message::PutEnd { stream: self.stream, receipt, authorisation })
    }
}

/// Each member's progress, read from the certificate: a small blob has no `Progress` messages. A signer has stored the blob.
fn final_progress(certificate: &Certificate) -> Vec<PutEvent> {
    let event = |index, stage| PutEvent::Progress { member: MemberId { epoch: certificate.epoch, index }, stage };
    let signed = |stage| certificate.signers.iter().map(move |index| event(index, stage));
    let dropped = certificate.signers.absent().map(|index| event(index, Stage::Dropped));
    signed(Stage::Stored).chain(signed(Stage::Voted)).chain(dropped).collect()
}
