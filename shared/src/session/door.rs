//! How a client comes in: hello, the server's proof of its key, and the committee.

use std::sync::Arc;

use bytes::Bytes;

use super::SessionError;
use super::progress::{Phase, Standing};
use crate::chain::CommitteeChain;
use crate::committee::Committee;
use crate::digest::ClusterId;
use crate::link::{Hello, NodeKey, Role, Transcript};
use crate::message::{ClusterMessage, Failed, Message};

#[derive(Debug)]
enum State {
    Hello,
    Auth(Hello),
    Open(Hello),
}

/// What came in, when it is for the session and not for the door.
#[derive(Debug)]
pub(super) enum Passed {
    /// The server proved its key: requests may be sent.
    Opened,
    /// The committee is known and checked.
    Committee,
    /// A message for the session.
    Message(Message),
    /// Nothing to do.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Door {
    trusted: Option<ClusterId>,
    hello: Hello,
    state: State,
    /// Checked before, by whoever made the session.
    known: Option<CommitteeChain>,
    chain: Option<CommitteeChain>,
}

impl Door {
    pub(super) fn new(trusted: Option<ClusterId>, nonce: [u8; 32]) -> (Self, Message) {
        let hello = Hello::new(Role::Client, trusted, NodeKey::ANONYMOUS, nonce);
        (Self { trusted, hello, state: State::Hello, known: None, chain: None }, Message::Hello(hello))
    }

    pub(super) fn know(&mut self, chain: Option<CommitteeChain>) {
        self.known = chain;
    }

    pub(super) fn chain(&self) -> Option<&CommitteeChain> {
        self.chain.as_ref()
    }

    pub(super) fn server_key(&self) -> Option<NodeKey> {
        match &self.state {
            State::Open(hello) => Some(hello.node_key),
            State::Hello | State::Auth(_) => None,
        }
    }

    /// Where the session stands until the server proved its key.
    pub(super) fn standing(&self) -> Option<Standing> {
        let steps = match &self.state {
            State::Hello => 0,
            State::Auth(_) => 1,
            State::Open(_) => return None,
        };
        Some(Standing { phase: Some(Phase::Opening), steps })
    }

    pub(super) fn receive(&mut self, bytes: &Bytes) -> Result<Passed, SessionError> {
        let message = match Message::decode(bytes)? {
            Message::Failed(failed) if failed.stream == crate::message::Stream::LINK => {
                return Err(self.refused(failed));
            }
            message => message,
        };
        match (&self.state, message) {
            (State::Hello, Message::Hello(hello)) if hello.role == Role::Server => {
                if let Some(expected) = self.trusted.filter(|trusted| hello.cluster != Some(*trusted)) {
                    return Err(SessionError::AnotherCluster { expected, got: hello.cluster });
                }
                self.state = State::Auth(hello);
                Ok(Passed::Nothing)
            }
            (State::Hello, other) => Err(unexpected("Hello of a server", &other)),
            (State::Auth(server), Message::Auth(signature)) => {
                let server = *server;
                let transcript = Transcript::new(&self.hello, &server, None);
                transcript.verify(&server.node_key, Role::Server, &signature)?;
                self.state = State::Open(server);
                Ok(Passed::Opened)
            }
            (State::Auth(_), other) => Err(unexpected("Auth", &other)),
            (State::Open(_), Message::Cluster(cluster)) if self.chain.is_none() => self.learn(cluster),
            (State::Open(_), message) => Ok(Passed::Message(message)),
        }
    }

    fn learn(&mut self, cluster: ClusterMessage) -> Result<Passed, SessionError> {
        let got = cluster.genesis.cluster();
        let announced = match &self.state {
            State::Open(hello) => hello.cluster,
            State::Hello | State::Auth(_) => None,
        };
        if let Some(expected) = self.trusted.or(announced).filter(|expected| *expected != got) {
            return Err(SessionError::AnotherCluster { expected, got: Some(got) });
        }
        let is_shown = |known: &CommitteeChain| {
            let known = known.current();
            *known.record() == cluster.genesis && known.possessions() == cluster.possessions
        };
        self.chain = Some(match self.known.take().filter(is_shown) {
            Some(known) => known,
            None => CommitteeChain::new(Arc::new(Committee::genesis(cluster.genesis, cluster.possessions)?)),
        });
        Ok(Passed::Committee)
    }

    /// A failure as an error, members by name.
    pub(super) fn refused(&self, failed: Failed) -> SessionError {
        SessionError::refused(failed, self.chain.as_ref())
    }
}

pub(super) fn unexpected(expected: &'static str, got: &Message) -> SessionError {
    SessionError::Unexpected { expected, got: got.name() }
}
