//! One put on a link that may carry many: offers the blob, sends its bytes, and accepts nothing but a valid certificate of its
//! own receipt.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::SessionError;
use super::door::{Door, unexpected};
use super::progress::{Phase, ProgressWatch, Standing};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::{CommitteeChain, MemberId};
use crate::committee::Committee;
use crate::digest::{Digest, Hasher};
use crate::link::NodeKey;
use crate::message::{MAX_BLOB, Message, Stage, Stream};
use crate::receipt::Receipt;
use crate::tree::{BLOCK, Outline};
use crate::verify::{CLOCK_TOLERANCE, Subject, VerifiedAggregates, signing_committee, verify_certificate_of_batch};

/// What is known of the bytes before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Hashed before: offered at once, so that nothing is sent in vain.
    Known {
        /// The blob's digest.
        digest: Digest,
        /// Its length.
        length: u64,
    },
    /// A stream: digest and length are declared at its end.
    Streamed,
}

/// What one put is about.
#[derive(Debug, Clone, Copy)]
pub struct NewPut {
    /// The bytes.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// When the put begins, seconds since 1970.
    pub now: u64,
    /// Takes no certificate of an earlier put, though one may promise as much.
    pub renew: bool,
}

/// What a caller does or shows.
#[derive(Debug)]
pub enum PutEvent {
    /// Send this.
    Send(Message),
    /// The cluster is known by its committee, and is the trusted one where one is trusted.
    Cluster(CommitteeChain),
    /// Bytes may flow from this offset on, for the replicas hold those before it: [`PutSession::chunk`](super::PutSession::chunk), then [`PutSession::end`](super::PutSession::end).
    /// At the blob's end there is nothing but that end to send.
    Ready {
        /// 0, the end of a block, or the blob's end.
        offset: u64,
    },
    /// A member got further.
    Progress {
        /// The member.
        member: MemberId,
        /// How far.
        stage: Stage,
    },
    /// Done: the certificate passed every check.
    Certified(Box<Certified>),
}

/// The result of a put.
#[derive(Debug)]
pub struct Certified {
    /// The certificate, verified.
    pub certificate: Certificate,
    /// The bundle to keep beside the file.
    pub bundle: Bundle,
    /// The committee that signed.
    pub committee: Arc<Committee>,
    /// The server's link key.
    pub server: NodeKey,
    /// The first byte that was sent for it, and was not held before; of one that is reused, or came before a byte
    /// was sent, the length.
    pub sent_from: u64,
    /// It was made for an earlier put of the same bytes, maybe somebody else's, and promises at least as much as was asked for.
    pub reused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Opening,
    Offered,
    Sending,
    Ended(Receipt),
    Done,
}

#[derive(Debug)]
pub(super) struct OnePut {
    stream: Stream,
    about: NewPut,
    /// All bytes of a small blob, which goes in one message.
    whole: Option<Bytes>,
    outline: Option<Outline>,
    state: State,
    /// Where the bytes that are sent begin, and how far they got.
    from: u64,
    sent: u64,
    hasher: Hasher,
    /// What members were said to have done: once more is no progress.
    told: BTreeSet<(MemberId, u8)>,
    pub(super) watch: ProgressWatch,
}

impl OnePut {
    pub(super) fn new(stream: Stream, about: NewPut) -> Self {
        Self {
            stream,
            about,
            whole: None,
            outline: None,
            state: State::Opening,
            from: 0,
            sent: 0,
            hasher: Hasher::new(),
            told: BTreeSet::new(),
            watch: ProgressWatch::default(),
        }
    }

    /// Takes the bytes in advance; of a blob that is not small they are asked for later all the same.
    pub(super) fn carry(&mut self, bytes: Bytes) -> Result<(), SessionError> {
        let Source::Known { length, .. } = self.about.source else { return Ok(()) };
        let got = bytes.len() as u64;
        if got != length {
            return Err(SessionError::SourceChanged { expected: length, got });
        }
        self.whole = (bytes.len() <= MAX_BLOB).then_some(bytes);
        Ok(())
    }

    pub(super) fn prove(&mut self, outline: Option<Outline>) {
        self.outline = outline;
    }

    fn receipt(&self, digest: Digest, length: u64) -> Receipt {
        Receipt { salt: self.about.salt, digest, length, expires_at: self.about.expires_at }
    }

    /// Where it stands, once the door is open.
    pub(super) fn standing(&self) -> Standing {
        let phase = match self.state {
            State::Opening | State::Offered => Some(Phase::Offered),
            State::Ended(_) => Some(Phase::Certifying),
            State::Sending | State::Done => None,
        };
        Standing { phase, steps: self.told.len() as u64 }
    }

    /// The first message, once the door is open.
    pub(super) fn begin(&mut self) -> Message {
        let (stream, renew) = (self.stream, self.about.renew);
        let offer = match self.about.source {
            Source::Known { digest, length } => Some(self.receipt(digest, length)),
            Source::Streamed => None,
        };
        match (offer, &self.whole) {
            (Some(receipt), Some(bytes)) => {
                self.state = State::Ended(receipt);
                Message::Blob { stream, receipt, renew, bytes: bytes.clone() }
            }
            (offer, _) => {
                self.state = State::Offered;
                Message::Put { stream, offer, renew }
            }
        }
    }

    /// Takes a message of the server that passed the door.
    pub(super) fn receive(
        &mut self,
        message: Message,
        door: &Door,
        verified: &mut VerifiedAggregates,
        now: u64,
    ) -> Result<Vec<PutEvent>, SessionError> {
        let own = self.stream;
        match (&self.state, message) {
            (_, Message::Failed(failed)) => Err(door.refused(failed)),
            (State::Offered, Message::Ready { stream, offset }) if stream == own && door.chain().is_some() => {
                self.go_on_at(offset)?;
                Ok(vec![PutEvent::Ready { offset }])
            }
            (State::Offered, Message::Certified { stream, certificate }) if stream == own => {
                let Source::Known { digest, length } = self.about.source else {
                    return Err(SessionError::Unexpected { expected: "Ready", got: "Certified" });
                };
                let receipt = self.receipt(digest, length);
                self.certified(&receipt, *certificate, door, verified, now)
            }
            (State::Offered, other) => Err(unexpected("Cluster, then Ready or Certified", &other)),
            (State::Sending | State::Ended(_), Message::Progress { stream, member, stage }) if stream == own => {
                let Some(chain) = door.chain() else {
                    return Err(SessionError::Unexpected { expected: "Cluster", got: "Progress" });
                };
                let (index, member) = (member, chain.member(member));
                // bounded by the committee
                if index < chain.current().record().n() {
                    self.told.insert((member, stage as u8));
                }
                Ok(vec![PutEvent::Progress { member, stage }])
            }
            (State::Ended(receipt), Message::Certified { stream, certificate }) if stream == own => {
                let receipt = *receipt;
                self.certified(&receipt, *certificate, door, verified, now)
            }
            (State::Sending, other) => Err(unexpected("Progress", &other)),
            (State::Ended(_), other) => Err(unexpected("Progress or Certified", &other)),
            (State::Opening | State::Done, other) => Err(unexpected("nothing more", &other)),
        }
    }

    /// Sends the bytes from this offset on.
    fn go_on_at(&mut self, offset: u64) -> Result<(), SessionError> {
        let length = match self.about.source {
            Source::Known { length, .. } => length,
            Source::Streamed => 0,
        };
        let is_block = offset < length && offset.is_multiple_of(BLOCK as u64);
        if !is_block && offset != length && offset != 0 {
            return Err(SessionError::BadOffset { length, got: offset });
        }
        (self.from, self.sent) = (offset, offset);
        self.state = State::Sending;
        Ok(())
    }

    fn certified(
        &mut self,
        receipt: &Receipt,
        certificate: Certificate,
        door: &Door,
        verified: &mut VerifiedAggregates,
        now: u64,
    ) -> Result<Vec<PutEvent>, SessionError> {
        let (Some(chain), Some(server)) = (door.chain(), door.server_key()) else {
            return Err(SessionError::Unexpected { expected: "Cluster", got: "Certified" });
        };
        let committee = signing_committee(&certificate, chain)?.clone();
        let subject = Subject { digest: receipt.digest, length: Some(receipt.length) };
        verify_certificate_of_batch(&certificate, &committee, &subject, now, verified)?;
        let reused = certificate.claim.receipt != *receipt;
        if reused && !self.may_reuse(receipt, &certificate.claim.receipt) {
            let (expected, got) = (Box::new(*receipt), Box::new(certificate.claim.receipt));
            return Err(SessionError::AnotherReceipt { expected, got });
        }
        let expected = self.about.now.saturating_sub(CLOCK_TOLERANCE);
        if !reused && certificate.claim.issued_at < expected {
            return Err(SessionError::OldCertificate { expected, got: certificate.claim.issued_at });
        }
        // to an offer, before a byte was asked for
        let is_unsent = self.state == State::Offered;
        self.state = State::Done;
        let mut events = if self.whole.take().is_some() { outcome(&certificate) } else { Vec::new() };
        let bundle = Bundle::new(&certificate, &committee);
        let sent_from = if reused || is_unsent { receipt.length } else { self.from };
        let certified = Certified { certificate, bundle, committee, server, sent_from, reused };
        events.push(PutEvent::Certified(Box::new(certified)));
        Ok(events)
    }

    /// Whether the certificate of an earlier put will do. Once the bytes of an offer were sent, it comes too late for that. Digest
    /// and length were compared before.
    fn may_reuse(&self, asked: &Receipt, got: &Receipt) -> bool {
        let is_in_time = match self.about.source {
            Source::Known { .. } => self.state == State::Offered || self.whole.is_some(),
            // nobody knew before what it would be
            Source::Streamed => true,
        };
        is_in_time && !self.about.renew && got.salt != asked.salt && got.expires_at >= asked.expires_at
    }

    pub(super) fn chunk(&mut self, bytes: Bytes) -> Result<Message, SessionError> {
        let (offset, size) = (self.sent, bytes.len() as u64);
        self.sent += size;
        let parents = match self.about.source {
            Source::Known { length, .. } if self.sent > length => {
                return Err(SessionError::SourceChanged { expected: length, got: self.sent });
            }
            Source::Known { length, .. } => {
                let changed = SessionError::SourceChanged { expected: length, got: self.sent };
                match &self.outline {
                    Some(outline) => outline.proof(offset..self.sent).ok_or(changed)?,
                    None if length > BLOCK as u64 => return Err(SessionError::Unproved { offset, size }),
                    // alone, it is its own proof
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

    pub(super) fn end(&mut self) -> Result<Message, SessionError> {
        let receipt = match self.about.source {
            Source::Known { length, .. } if self.sent != length => {
                return Err(SessionError::SourceChanged { expected: length, got: self.sent });
            }
            Source::Known { digest, length } => self.receipt(digest, length),
            Source::Streamed => self.receipt(self.hasher.digest(), self.hasher.length()),
        };
        self.state = State::Ended(receipt);
        Ok(Message::PutEnd { stream: self.stream, receipt })
    }

    /// The put's own wish: nothing of it is to be kept.
    pub(super) fn cancel(&self) -> Message {
        Message::Cancel { stream: self.stream, keep: false }
    }
}

/// What became of each member, where the server told nothing on the way: whoever signed has stored before.
fn outcome(certificate: &Certificate) -> Vec<PutEvent> {
    let event = |index, stage| PutEvent::Progress { member: MemberId { epoch: certificate.epoch, index }, stage };
    let signed = |stage| certificate.signers.iter().map(move |index| event(index, stage));
    let dropped = certificate.signers.absent().map(|index| event(index, Stage::Dropped));
    signed(Stage::Stored).chain(signed(Stage::Voted)).chain(dropped).collect()
}
