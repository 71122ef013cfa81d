//! A get of one blob over a link of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::handshake::{ClientHandshake, HandshakeEvent};
use super::one_get::{GetEvent, OneGet, WantedBytes};
use super::progress::{ProgressMark, ProgressWatch, WaitLimit};
use super::{ByteRange, SessionError};
use crate::access::{Action, Authorisation, TokenSecret};
use crate::chain::{Checkpoint, CommitteeChain};
use crate::digest::{ClusterId, Digest};
use crate::link::NodeKey;
use crate::message::Message;

/// The blob to get, and the cluster to trust.
#[derive(Debug, Clone, Copy)]
pub struct GetRequest {
    /// The cluster identity to trust, if any.
    pub trusted: Option<ClusterId>,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length, if a bundle states it.
    pub length: Option<u64>,
    /// The requested range; `None` for the whole blob.
    pub range: Option<ByteRange>,
    /// 32 random bytes.
    pub nonce: [u8; 32],
}

/// A get in progress.
#[derive(Debug)]
pub struct GetSession {
    handshake: ClientHandshake,
    get: OneGet,
    watch: ProgressWatch,
    /// When the get began, in seconds since 1970; 0 without a token.
    began: u64,
}

impl GetSession {
    /// The session and the first message to send.
    pub fn new(request: GetRequest) -> (Self, Message) {
        Self::knowing(request, None)
    }

    /// As [`new`](Self::new), for a caller that has verified committees of the trusted cluster before: the server shows only later ones,
    /// and the members' proofs of possession are not checked again.
    pub fn knowing(request: GetRequest, known: Option<CommitteeChain>) -> (Self, Message) {
        let GetRequest { trusted, digest, length, range, nonce } = request;
        let (handshake, hello) = ClientHandshake::new(trusted, known, nonce);
        let get = OneGet::new(WantedBytes { digest, length, range }, None);
        (Self { handshake, get, watch: ProgressWatch::default(), began: 0 }, hello)
    }

    /// Waits no longer than this for each decision of the server.
    #[must_use]
    pub fn with_wait_limit(mut self, limit: WaitLimit) -> Self {
        self.watch = ProgressWatch::new(limit);
        self
    }

    /// Refuses a server whose committees do not contain this one, which the caller has verified before. Requests wait until the server
    /// has shown it.
    #[must_use]
    pub fn pinning(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.handshake.pin(checkpoint);
        self
    }

    /// Authorises the get with this token. `now` in seconds since 1970.
    #[must_use]
    pub fn with_token(mut self, token: Option<TokenSecret>, now: u64) -> Self {
        self.handshake.set_token(token);
        self.began = now;
        self
    }

    /// The get is authorised already, for a caller that knows the cluster.
    #[must_use]
    pub fn authorised(mut self, authorisation: Option<Authorisation>) -> Self {
        self.get.authorise(|_| authorisation);
        self
    }

    /// Whether the server has proved its node key.
    pub fn is_open(&self) -> bool {
        self.handshake.server_key().is_some()
    }

    /// The committees, once they are known and checked.
    pub fn chain(&self) -> Option<&CommitteeChain> {
        self.handshake.chain()
    }

    /// As [`OneGet::try_last`].
    pub fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.get.try_last(members);
    }

    /// The cluster identity, once its committee is known and checked.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.chain().map(CommitteeChain::cluster)
    }

    /// Fails if the get made no progress for too long. Call it about once a second. `now` is monotonic.
    ///
    /// # Errors
    /// As [`ProgressWatch::check_deadline`]; the session has then ended.
    pub fn check_deadline(&mut self, now: Duration) -> Result<(), SessionError> {
        let mark = self.progress_mark();
        self.watch.check_deadline(mark, now)
    }

    /// Restarts the deadline: until now, the client itself was busy with what it had received.
    pub fn restart_deadline(&mut self) {
        self.watch.restart();
    }

    fn begin_if(&mut self, is_time: bool) -> Vec<GetEvent> {
        if !is_time {
            return Vec::new();
        }
        if self.handshake.has_token() {
            self.get.authorise(|digest| self.handshake.authorise(Action::Read(digest), self.began));
        }
        vec![GetEvent::Send(self.get.begin())]
    }

    /// The session's progress. A member's failure counts as a step, because the next member is read from.
    pub fn progress_mark(&self) -> ProgressMark {
        self.handshake.progress_mark().unwrap_or_else(|| self.get.progress_mark())
    }

    /// Takes one message of the server.
    ///
    /// # Errors
    /// See [`SessionError`]; the session has then ended.
    pub fn receive(&mut self, bytes: &Bytes) -> Result<Vec<GetEvent>, SessionError> {
        match self.handshake.receive(bytes)? {
            HandshakeEvent::Nothing => Ok(Vec::new()),
            HandshakeEvent::Committee => {
                self.get.set_chain(self.handshake.chain());
                Ok(self.begin_if(self.handshake.awaits_committee()))
            }
            HandshakeEvent::Opened => Ok(self.begin_if(self.handshake.may_request())),
            HandshakeEvent::Message(message) => self.get.receive(message),
        }
    }
}
