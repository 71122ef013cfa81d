//! Puts one blob over a link of its own.

use std::sync::Arc;

use bytes::Bytes;

use super::SessionError;
use super::door::{Door, Passed};
use super::one_put::{NewPut, OnePut};
use super::progress::Standing;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::{CommitteeChain, MemberId};
use crate::committee::Committee;
use crate::digest::{ClusterId, Digest};
use crate::link::NodeKey;
use crate::message::{Message, Stage, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// A session makes one request.
const STREAM: Stream = Stream(1);

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

/// What to put.
#[derive(Debug, Clone, Copy)]
pub struct PutRequest {
    /// The identity to trust; `None` takes the server's, which the caller then decides about.
    pub trusted: Option<ClusterId>,
    /// The bytes.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// 32 random bytes.
    pub nonce: [u8; 32],
    /// When the put begins, seconds since 1970.
    pub now: u64,
    /// As [`NewPut::renew`].
    pub renew: bool,
}

/// What a caller does or shows.
#[derive(Debug)]
pub enum PutEvent {
    /// Send this.
    Send(Message),
    /// The cluster is known by its committee, and is the trusted one where one is trusted.
    Cluster(CommitteeChain),
    /// Bytes may flow from this offset on, for the replicas hold those before it: [`PutSession::chunk`], then [`PutSession::end`].
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

/// A put in progress.
#[derive(Debug)]
pub struct PutSession {
    door: Door,
    put: OnePut,
}

impl PutSession {
    /// The session and the first message to send.
    pub fn new(request: PutRequest) -> (Self, Message) {
        let PutRequest { trusted, source, expires_at, salt, nonce, now, renew } = request;
        let (door, hello) = Door::new(trusted, nonce);
        (Self { door, put: OnePut::new(STREAM, NewPut { source, expires_at, salt, now, renew }) }, hello)
    }

    /// Spares the check of every member's proof when the server shows this very committee, whose proofs were checked before.
    #[must_use]
    pub fn knowing(mut self, chain: Option<CommitteeChain>) -> Self {
        self.door.know(chain);
        self
    }

    /// Has all bytes of a blob that is offered. At most [`MAX_BLOB`](crate::message::MAX_BLOB) of them go in one message with
    /// the offer: there is no [`PutEvent::Ready`], and members' progress is told at the end. More are asked for as ever.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] when they are not as many as offered.
    pub fn carrying(mut self, bytes: Bytes) -> Result<Self, SessionError> {
        self.put.carry(bytes)?;
        Ok(self)
    }

    /// Has the outline of a blob that is offered, which every block of it is proved with. One of a single block needs none.
    #[must_use]
    pub fn proving(mut self, outline: Option<Outline>) -> Self {
        self.put.prove(outline);
        self
    }

    /// Takes one message of the server. `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is then over.
    pub fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<PutEvent>, SessionError> {
        match self.door.receive(bytes)? {
            Passed::Nothing => Ok(Vec::new()),
            Passed::Opened => Ok(vec![PutEvent::Send(self.put.begin())]),
            Passed::Committee => Ok(self.door.chain().cloned().map(PutEvent::Cluster).into_iter().collect()),
            Passed::Message(message) => self.put.receive(message, &self.door, &mut VerifiedAggregates::default(), now),
        }
    }

    /// Where it stands, for a [`ProgressWatch`](super::ProgressWatch).
    pub fn standing(&self) -> Standing {
        self.door.standing().unwrap_or_else(|| self.put.standing())
    }

    /// The message that carries the next 1 to [`MAX_CHUNK`](crate::message::MAX_CHUNK) bytes; of a blob that is offered, the next
    /// whole block, the last one shorter.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] beyond the offered length, or before it where this is no whole block;
    /// [`SessionError::Unproved`].
    pub fn chunk(&mut self, bytes: Bytes) -> Result<Message, SessionError> {
        self.put.chunk(bytes)
    }

    /// The message that ends the bytes.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] before the offered length.
    pub fn end(&mut self) -> Result<Message, SessionError> {
        self.put.end()
    }

    /// The message that gives the put up.
    pub fn cancel(&self) -> Message {
        self.put.cancel()
    }
}
