//! Puts one blob over a link of its own.

use bytes::Bytes;

use super::SessionError;
use super::door::{Door, Passed};
use super::one_put::{NewPut, OnePut, PutEvent, Source};
use super::progress::Standing;
use crate::chain::CommitteeChain;
use crate::digest::ClusterId;
use crate::message::{Message, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// A session makes one request.
const STREAM: Stream = Stream(1);

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
