//! Gets one blob over a link of its own.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::door::{Door, Passed};
use super::one_get::{GetEvent, OneGet, WantedBytes};
use super::progress::Standing;
use super::{ByteRange, SessionError};
use crate::chain::CommitteeChain;
use crate::digest::{ClusterId, Digest};
use crate::link::NodeKey;
use crate::message::Message;

/// What to get.
#[derive(Debug, Clone, Copy)]
pub struct GetRequest {
    /// The identity to trust, where one is.
    pub trusted: Option<ClusterId>,
    /// The blob.
    pub digest: Digest,
    /// Its length, where a bundle tells it.
    pub length: Option<u64>,
    /// The bytes wanted; `None` for all.
    pub range: Option<ByteRange>,
    /// 32 random bytes.
    pub nonce: [u8; 32],
}

/// A get in progress.
#[derive(Debug)]
pub struct GetSession {
    door: Door,
    get: OneGet,
}

impl GetSession {
    /// The session and the first message to send.
    pub fn new(request: GetRequest) -> (Self, Message) {
        let GetRequest { trusted, digest, length, range, nonce } = request;
        let (door, hello) = Door::new(trusted, nonce);
        (Self { door, get: OneGet::new(WantedBytes { digest, length, range }, None) }, hello)
    }

    /// Spares the check of every member's proof when the server shows this very committee, whose proofs were checked before.
    #[must_use]
    pub fn knowing(mut self, chain: Option<CommitteeChain>) -> Self {
        self.door.know(chain);
        self
    }

    /// As [`OneGet::try_last`].
    pub fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.get.try_last(members);
    }

    /// The identity of the cluster, once its committee is known and checked.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.door.chain().map(CommitteeChain::cluster)
    }

    /// Where it stands, for a [`ProgressWatch`](super::ProgressWatch). A member that failed is a step, for another one follows.
    pub fn standing(&self) -> Standing {
        self.door.standing().unwrap_or_else(|| self.get.standing())
    }

    /// Takes one message of the server.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is then over.
    pub fn receive(&mut self, bytes: &Bytes) -> Result<Vec<GetEvent>, SessionError> {
        match self.door.receive(bytes)? {
            Passed::Nothing => Ok(Vec::new()),
            Passed::Committee => {
                self.get.learn_chain(self.door.chain());
                Ok(Vec::new())
            }
            Passed::Opened => Ok(vec![GetEvent::Send(self.get.begin())]),
            Passed::Message(message) => self.get.receive(message),
        }
    }
}
