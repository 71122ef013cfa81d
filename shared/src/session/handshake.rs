//! The client's handshake: hello, the server's proof of its node key, and the committee.

use std::sync::Arc;

use bytes::Bytes;

use super::SessionError;
use super::progress::{Phase, ProgressMark};
use crate::chain::CommitteeChain;
use crate::committee::Committee;
use crate::digest::ClusterId;
use crate::link::{Hello, NodeKey, Role, Transcript};
use crate::message::{ClusterMessage, Failed, Message};

#[derive(Debug)]
enum HandshakeState {
    AwaitingHello,
    AwaitingAuth(Hello),
    Open(Hello),
}

/// What a received message means to the session.
#[derive(Debug)]
pub(super) enum HandshakeEvent {
    /// The server proved its node key: requests may be sent.
    Opened,
    /// The committee is known and checked.
    Committee,
    /// The message is for the session, not for the handshake.
    Message(Message),
    /// Nothing to do.
    Nothing,
}

#[derive(Debug)]
pub(super) struct ClientHandshake {
    trusted: Option<ClusterId>,
    hello: Hello,
    state: HandshakeState,
    /// Verified by the session's caller before this link.
    verified_before: Option<CommitteeChain>,
    chain: Option<CommitteeChain>,
}

impl ClientHandshake {
    /// The handshake and the first message to send.
    pub(super) fn new(trusted: Option<ClusterId>, nonce: [u8; 32]) -> (Self, Message) {
        let hello = Hello::new(Role::Client, trusted, NodeKey::ANONYMOUS, nonce);
        let state = HandshakeState::AwaitingHello;
        (Self { trusted, hello, state, verified_before: None, chain: None }, Message::Hello(hello))
    }

    /// Skips the check of the proofs of possession if the server shows the committee of this chain with the same proofs.
    pub(super) fn reuse_verified(&mut self, chain: Option<CommitteeChain>) {
        self.verified_before = chain;
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
            (HandshakeState::Open(_), Message::Cluster(cluster)) if self.chain.is_none() => {
                self.take_committee(cluster)
            }
            (HandshakeState::Open(_), message) => Ok(HandshakeEvent::Message(message)),
        }
    }

    fn take_committee(&mut self, cluster: ClusterMessage) -> Result<HandshakeEvent, SessionError> {
        let got = cluster.genesis.cluster();
        let announced = match &self.state {
            HandshakeState::Open(hello) => hello.cluster,
            HandshakeState::AwaitingHello | HandshakeState::AwaitingAuth(_) => None,
        };
        if let Some(expected) = self.trusted.or(announced).filter(|expected| *expected != got) {
            return Err(SessionError::AnotherCluster { expected, got: Some(got) });
        }
        let is_same = |verified: &CommitteeChain| {
            let committee = verified.current();
            *committee.record() == cluster.genesis && committee.possessions() == cluster.possessions
        };
        self.chain = Some(match self.verified_before.take().filter(is_same) {
            Some(verified) => verified,
            None => CommitteeChain::new(Arc::new(Committee::proven(cluster.genesis, cluster.possessions)?)),
        });
        Ok(HandshakeEvent::Committee)
    }

    /// A `Failed` as an error that names the members concerned.
    pub(super) fn refused(&self, failed: Failed) -> SessionError {
        SessionError::refused(failed, self.chain.as_ref())
    }
}

pub(super) fn unexpected(expected: &'static str, got: &Message) -> SessionError {
    SessionError::Unexpected { expected, got: got.name() }
}
