//! A put of one blob over a link of its own.

use bytes::Bytes;

use super::SessionError;
use super::handshake::{ClientHandshake, HandshakeEvent};
use super::one_put::{NewPut, OnePut, PutEvent, Source};
use super::progress::ProgressMark;
use crate::chain::CommitteeChain;
use crate::digest::ClusterId;
use crate::message::{Message, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// A session makes one request, so its stream number is fixed.
const STREAM: Stream = Stream(1);

/// The blob to put, and the cluster to trust.
#[derive(Debug, Clone, Copy)]
pub struct PutRequest {
    /// The cluster identity to trust; `None` accepts the server's, and the caller decides whether to trust it.
    pub trusted: Option<ClusterId>,
    /// What is known of the bytes.
    pub source: Source,
    /// Seconds since 1970, or [`NEVER`](crate::receipt::NEVER).
    pub expires_at: u64,
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// 32 random bytes.
    pub nonce: [u8; 32],
    /// The time when the put begins, seconds since 1970.
    pub now: u64,
    /// As in [`NewPut::renew`].
    pub renew: bool,
}

/// A put in progress.
#[derive(Debug)]
pub struct PutSession {
    handshake: ClientHandshake,
    put: OnePut,
}

impl PutSession {
    /// The session and the first message to send.
    pub fn new(request: PutRequest) -> (Self, Message) {
        let PutRequest { trusted, source, expires_at, salt, nonce, now, renew } = request;
        let (handshake, hello) = ClientHandshake::new(trusted, nonce);
        (Self { handshake, put: OnePut::new(STREAM, NewPut { source, expires_at, salt, now, renew }) }, hello)
    }

    /// Skips the check of the members' proofs of possession if the server shows this committee with the same proofs, which the
    /// caller has verified before.
    #[must_use]
    pub fn knowing(mut self, chain: Option<CommitteeChain>) -> Self {
        self.handshake.reuse_verified(chain);
        self
    }

    /// Passes all bytes of an offered blob in advance. A blob of at most [`MAX_BLOB`](crate::message::MAX_BLOB) bytes is sent in
    /// one message with the offer: there is no [`PutEvent::Ready`], and the members' progress is reported at the end. A larger
    /// blob is requested with [`PutEvent::Ready`] as usual.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if their number is not the offered length.
    pub fn carrying(mut self, bytes: Bytes) -> Result<Self, SessionError> {
        self.put.set_bytes(bytes)?;
        Ok(self)
    }

    /// Passes the outline of an offered blob, from which each block's proof is made. A blob of a single block needs none.
    #[must_use]
    pub fn proving(mut self, outline: Option<Outline>) -> Self {
        self.put.set_outline(outline);
        self
    }

    /// Takes one message of the server. `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SessionError`]; the session has then ended.
    pub fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<PutEvent>, SessionError> {
        match self.handshake.receive(bytes)? {
            HandshakeEvent::Nothing => Ok(Vec::new()),
            HandshakeEvent::Opened => Ok(vec![PutEvent::Send(self.put.begin())]),
            HandshakeEvent::Committee => {
                Ok(self.handshake.chain().cloned().map(PutEvent::Cluster).into_iter().collect())
            }
            HandshakeEvent::Message(message) => {
                self.put.receive(message, &self.handshake, &mut VerifiedAggregates::default(), now)
            }
        }
    }

    /// The session's progress, for a [`ProgressWatch`](super::ProgressWatch).
    pub fn progress_mark(&self) -> ProgressMark {
        self.handshake.progress_mark().unwrap_or_else(|| self.put.progress_mark())
    }

    /// The message with the next 1 to [`MAX_CHUNK`](crate::message::MAX_CHUNK) bytes. For an offered blob, `bytes` must be the next
    /// whole block; the last block may be shorter.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if the bytes exceed the offered length, or are not a whole block before its end;
    /// [`SessionError::Unproved`] if a blob of several blocks has no outline.
    pub fn chunk(&mut self, bytes: Bytes) -> Result<Message, SessionError> {
        self.put.chunk(bytes)
    }

    /// The message that ends the bytes.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if fewer bytes than offered were passed.
    pub fn end(&mut self) -> Result<Message, SessionError> {
        self.put.end()
    }

    /// The message that cancels the put.
    pub fn cancel(&self) -> Message {
        self.put.cancel()
    }
}
