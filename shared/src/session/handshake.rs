//! The client's handshake: hello, the server's proof of its node key, and the committees: the genesis, and those of later epochs if the
//! server announced a later epoch than the client knows.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::SessionError;
use super::progress::{Phase, ProgressMark};
use crate::access::{Action, Authorisation, TokenSecret};
use crate::chain::{Checkpoint, CommitteeChain};
use crate::committee::{Committee, CommitteeRecord};
use crate::digest::ClusterId;
use crate::link::{Hello, NodeKey, Role, Transcript};
use crate::message::{ClusterMessage, EpochsMessage, Failed, Message};

#[derive(Debug)]
enum HandshakeState {
    AwaitingHello,
    AwaitingAuth(Hello),
    Open(Hello),
}

/// What a received message means to the session.
#[expect(clippy::large_enum_variant, reason = "it is handled at once, and never kept")]
#[derive(Debug)]
pub(super) enum HandshakeEvent {
    /// The server proved its node key: requests may be sent, unless the caller pins a committee.
    Opened,
    /// The committees are known and checked, up to the epoch that the server announced, and contain the pinned one.
    Committee,
    /// The message is for the session, not for the handshake.
    Message(Message),
    /// Nothing to do.
    Nothing,
}

#[derive(Debug)]
pub(super) struct ClientHandshake {
    trusted: Option<ClusterId>,
    /// The newest committee that the caller has verified. Every server must show it.
    pinned: Option<Checkpoint>,
    /// Signs the requests.
    token: Option<TokenSecret>,
    hello: Hello,
    state: HandshakeState,
    /// Verified by the session's caller before this link.
    verified_before: Option<CommitteeChain>,
    /// The server has shown these committees, and has announced later ones.
    incomplete: Option<CommitteeChain>,
    chain: Option<CommitteeChain>,
}

impl ClientHandshake {
    /// The handshake and the first message to send. `known`: committees that were verified before. The server is asked only for later
    /// ones, and the proofs of possession of the first are not checked again if the server shows the same.
    pub(super) fn new(trusted: Option<ClusterId>, known: Option<CommitteeChain>, nonce: [u8; 32]) -> (Self, Message) {
        // The epoch is one of the cluster that the hello names.
        let shown = known.as_ref().filter(|known| trusted == Some(known.cluster()));
        let hello = Hello::new(Role::Client, trusted, NodeKey::ANONYMOUS, nonce).knowing(shown);
        let state = HandshakeState::AwaitingHello;
        let (pinned, verified_before) = (None, known);
        (
            Self { trusted, pinned, token: None, hello, state, verified_before, incomplete: None, chain: None },
            Message::Hello(hello),
        )
    }

    /// Refuses a server whose committees do not contain this one.
    pub(super) fn pin(&mut self, checkpoint: Option<Checkpoint>) {
        self.pinned = checkpoint;
    }

    /// Authorises requests with this token.
    pub(super) fn set_token(&mut self, token: Option<TokenSecret>) {
        self.token = token;
    }

    /// Whether requests are authorised with a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The authorisation of an action, for a client with a token. It names the cluster, so the committees must be known. `now` in seconds
    /// since 1970.
    pub(super) fn authorise(&self, action: Action<'_>, now: u64) -> Option<Authorisation> {
        let (token, chain) = self.token.as_ref().zip(self.chain.as_ref())?;
        Some(token.authorise(&chain.cluster(), action, now))
    }

    pub(super) fn chain(&self) -> Option<&CommitteeChain> {
        self.chain.as_ref()
    }

    pub(super) fn server_key(&self) -> Option<NodeKey> {
        match &self.state {
            HandshakeState::Open(hello) => Some(hello.node_key),
            HandshakeState::AwaitingHello | HandshakeState::AwaitingAuth(_) => None,
        }
    }

    /// Whether requests may be sent: the server has proved its node key and, if requests [wait](Self::awaits_committee) for the committees,
    /// has shown them.
    pub(super) fn may_request(&self) -> bool {
        self.server_key().is_some() && (!self.awaits_committee() || self.chain.is_some())
    }

    /// Whether requests wait for the committees, and not only for the server's node key: if the caller pins a committee, because otherwise
    /// a small blob, which goes with its offer, would reach a server with forged committees; and if requests are authorised, because an
    /// authorisation is for one cluster.
    pub(super) fn awaits_committee(&self) -> bool {
        self.pinned.is_some() || self.token.is_some()
    }

    /// The session's progress until the server has proved its node key; `None` afterwards.
    pub(super) fn progress_mark(&self) -> Option<ProgressMark> {
        let steps = match &self.state {
            HandshakeState::AwaitingHello => 0,
            HandshakeState::AwaitingAuth(_) => 1,
            HandshakeState::Open(_) => return None,
        };
        Some(ProgressMark { phase: Some(Phase::Opening), steps })
    }

    pub(super) fn receive(&mut self, bytes: &Bytes) -> Result<HandshakeEvent, SessionError> {
        let message = match Message::decode(bytes)? {
            Message::Failed(failed) if failed.stream == crate::message::Stream::LINK => {
                return Err(self.refused(failed));
            }
            message => message,
        };
        match (&self.state, message) {
            (HandshakeState::AwaitingHello, Message::Hello(hello)) if hello.role == Role::Server => {
                if let Some(expected) = self.trusted.filter(|trusted| hello.cluster != Some(*trusted)) {
                    return Err(SessionError::AnotherCluster { expected, got: hello.cluster });
                }
                // Before any request: otherwise the bytes of a put would go to those who hold the keys of an earlier committee.
                if let Some(pinned) = self.pinned.filter(|pinned| pinned.epoch > hello.epoch) {
                    return Err(SessionError::OldEpoch { expected: pinned.epoch, got: hello.epoch });
                }
                self.state = HandshakeState::AwaitingAuth(hello);
                Ok(HandshakeEvent::Nothing)
            }
            (HandshakeState::AwaitingHello, other) => Err(unexpected("Hello of a server", &other)),
            (HandshakeState::AwaitingAuth(server), Message::Auth(signature)) => {
                let server = *server;
                let transcript = Transcript::new(&self.hello, &server, None);
                transcript.verify(&server.node_key, Role::Server, &signature)?;
                self.state = HandshakeState::Open(server);
                Ok(HandshakeEvent::Opened)
            }
            (HandshakeState::AwaitingAuth(_), other) => Err(unexpected("Auth", &other)),
            (HandshakeState::Open(server), Message::Cluster(cluster))
                if self.chain.is_none() && self.incomplete.is_none() =>
            {
                let server = *server;
                self.take_genesis(&server, cluster)
            }
            (HandshakeState::Open(server), Message::Epochs(epochs)) if self.incomplete.is_some() => {
                let announced = server.epoch;
                self.take_epochs(announced, epochs)
            }
            (HandshakeState::Open(_), other) if self.incomplete.is_some() => Err(unexpected("Epochs", &other)),
            (HandshakeState::Open(_), message) => Ok(HandshakeEvent::Message(message)),
        }
    }

    fn take_genesis(&mut self, server: &Hello, cluster: ClusterMessage) -> Result<HandshakeEvent, SessionError> {
        let got = cluster.genesis.cluster();
        if let Some(expected) = self.trusted.or(server.cluster).filter(|expected| *expected != got) {
            return Err(SessionError::AnotherCluster { expected, got: Some(got) });
        }
        let is_same = |verified: &CommitteeChain| {
            let genesis = verified.first();
            *genesis.record() == cluster.genesis && genesis.possessions() == cluster.possessions
        };
        let chain = match self.verified_before.take().filter(is_same) {
            Some(verified) if self.hello.epoch > 0 => verified,
            // The server shows all later epochs.
            Some(verified) => CommitteeChain::new(verified.first().clone()),
            None => CommitteeChain::new(Arc::new(Committee::proven(cluster.genesis, cluster.possessions)?)),
        };
        let (known, announced) = (chain.current().record().epoch(), server.epoch);
        match known.cmp(&announced) {
            Ordering::Less => {
                self.incomplete = Some(chain);
                Ok(HandshakeEvent::Nothing)
            }
            Ordering::Equal => self.complete(chain),
            // Never go back: the members of an epoch that has ended may have sold their keys.
            Ordering::Greater => Err(SessionError::OldEpoch { expected: known, got: announced }),
        }
    }

    fn take_epochs(&mut self, announced: u64, epochs: EpochsMessage) -> Result<HandshakeEvent, SessionError> {
        let EpochsMessage { more, links } = epochs;
        let Some(known) = self.incomplete.take() else { return Ok(HandshakeEvent::Nothing) };
        let chain = known.extended(links).map_err(|error| SessionError::Chain(Box::new(error)))?;
        let got = chain.current().record().epoch();
        match (more, got.cmp(&announced)) {
            (true, Ordering::Less) => {
                self.incomplete = Some(chain);
                Ok(HandshakeEvent::Nothing)
            }
            (false, Ordering::Equal) => self.complete(chain),
            _ => Err(SessionError::AnotherEpoch { expected: announced, got }),
        }
    }

    /// The server has shown all epochs that it announced, and they are verified.
    fn complete(&mut self, chain: CommitteeChain) -> Result<HandshakeEvent, SessionError> {
        if let Some(pinned) = self.pinned {
            check_pinned(&chain, pinned)?;
        }
        self.chain = Some(chain);
        Ok(HandshakeEvent::Committee)
    }

    /// A `Failed` as an error that names the members concerned.
    pub(super) fn refused(&self, failed: Failed) -> SessionError {
        SessionError::refused(failed, self.chain.as_ref())
    }
}

/// Checks that a chain that a server showed contains a committee of the cluster that was verified before.
///
/// # Errors
/// [`SessionError::OldEpoch`] if the chain ends before it; [`SessionError::AnotherCommittee`] if the chain has another committee in that
/// epoch.
pub fn check_pinned(chain: &CommitteeChain, pinned: Checkpoint) -> Result<(), SessionError> {
    let Checkpoint { epoch, committee: expected } = pinned;
    match chain.record(epoch).map(CommitteeRecord::digest) {
        Some(got) if got == expected => Ok(()),
        Some(got) => Err(SessionError::AnotherCommittee { epoch, expected, got }),
        None => Err(SessionError::OldEpoch { expected: epoch, got: chain.current().record().epoch() }),
    }
}

pub(super) fn unexpected(expected: &'static str, got: &Message) -> SessionError {
    SessionError::Unexpected { expected, got: got.name() }
}
