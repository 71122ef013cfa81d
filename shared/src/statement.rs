//! The exact bytes that replicas sign.

use std::fmt;

use crate::bls::{VoteSecretKey, VoteSignature};
use crate::committee::CommitteeRecord;
use crate::digest::{ClusterId, CommitteeDigest, derive};
use crate::merkle::TreeHash;
use crate::quorum;

/// Keeps statements apart from everything else ever signed under the same DST: the length of the name, then the name.
const NAMESPACE: &[u8; 16] = b"\x0Fvouch/statement";
const VERSION: u16 = 1;
const HEADER_SIZE: usize = 96;

/// What a statement says. The kind fixes the body's layout and the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum StatementKind {
    /// A quorum holds every blob of a batch durably.
    Stored = 1,
    /// Every member of a committee agrees to belong to it.
    Accept = 3,
}

impl StatementKind {
    /// The kind with a number; `None` for one that this version does not know.
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Stored, Self::Accept].into_iter().find(|kind| *kind as u16 == number)
    }

    /// The signers that a statement of this kind needs in a committee of `n`.
    pub fn threshold(self, n: u16) -> u16 {
        match self {
            Self::Stored => quorum::quorum(n),
            // a genesis has no committee before it that could speak for a member
            Self::Accept => n,
        }
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("stored"),
            Self::Accept => f.write_str("accept"),
        }
    }
}

/// A statement's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Kind 1.
    Stored {
        /// Seconds since 1970, by the server's clock; voters accept it within 60 s of theirs.
        issued_at: u64,
        /// The number of receipts.
        count: u32,
        /// The root over the receipts.
        root: TreeHash,
    },
    /// Kind 3: the signer belongs to the committee in the header, and to no other founding.
    Accept {
        /// Identity of the proposal that is accepted; [`GENESIS`](Self::GENESIS) where there is none.
        proposal: [u8; 32],
    },
}

impl Body {
    /// What the accept of a genesis says: no committee proposed it.
    pub const GENESIS: Self = Self::Accept { proposal: [0; 32] };

    /// The kind that the body belongs to.
    pub fn kind(&self) -> StatementKind {
        match self {
            Self::Stored { .. } => StatementKind::Stored,
            Self::Accept { .. } => StatementKind::Accept,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stored { issued_at, count, root } => {
                let mut out = Vec::with_capacity(44);
                out.extend_from_slice(&issued_at.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(&root.0);
                out
            }
            Self::Accept { proposal } => proposal.to_vec(),
        }
    }
}

/// One statement of one committee. Never decoded: every verifier builds it from the certificate and its own committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    epoch: u64,
    cluster: ClusterId,
    committee: CommitteeDigest,
    body: Body,
}

/// A statement's identity: the same whoever signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatementId(pub [u8; 32]);

impl Statement {
    /// What `committee` would sign.
    pub fn new(committee: &CommitteeRecord, body: Body) -> Self {
        Self { epoch: committee.epoch(), cluster: committee.cluster(), committee: committee.digest(), body }
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The signed bytes: 96 of header, then the body.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.body.encode();
        let body_length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(HEADER_SIZE + body.len());
        out.extend_from_slice(NAMESPACE);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.body.kind() as u16).to_le_bytes());
        out.extend_from_slice(&body_length.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.committee.0);
        out.extend_from_slice(&body);
        out
    }

    /// The statement's identity.
    pub fn id(&self) -> StatementId {
        StatementId(derive("vouch statement v1", &[&self.encode()]))
    }

    /// Signs. The caller has made everything durable that the statement promises.
    pub fn sign(&self, key: &VoteSecretKey) -> VoteSignature {
        key.sign(&self.encode())
    }
}
