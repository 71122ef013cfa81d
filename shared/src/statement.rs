//! The exact bytes that replicas sign: a header that all kinds share, then a body whose layout and length depend on the kind.
//!
//! Each kind is one file in this folder: a type that implements [`Body`]. Statements, votes, certificates and the signature
//! checks are generic over it, so a kind defines only its layout.

mod accept;
#[cfg(feature = "nodes")]
mod access;
mod handoff;
#[cfg(feature = "nodes")]
mod key_offer;
mod log_head;
#[cfg(feature = "nodes")]
mod operator;
mod seal;
mod stored;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug};

use crate::bls::{VoteSecretKey, VoteSignature};
use crate::codec::{DecodeError, Reader};
use crate::committee::CommitteeRecord;
use crate::digest::{ClusterId, CommitteeDigest, derive};
use crate::limits::Limits;
use crate::quorum;
use crate::receipt::ReceiptError;

pub use accept::Accept;
#[cfg(feature = "nodes")]
pub(crate) use access::access_statement;
pub use handoff::Handoff;
#[cfg(feature = "nodes")]
pub(crate) use key_offer::key_offer_statement;
pub use log_head::LogHead;
#[cfg(feature = "nodes")]
pub(crate) use operator::operator_statement;
pub use seal::Seal;
pub use stored::{Batch, Stored, StoredClaim};

/// Separates statements from everything else that is signed under the same DST: the length of the name, then the name.
const NAMESPACE: &[u8; 16] = b"\x0Fvouch/statement";
const VERSION: u16 = 1;
const HEADER_SIZE: usize = 96;

/// Key offers. Kinds from 0x8000 on are signed by one key, and no certificate is of such a kind.
const KEY_OFFER: u16 = 0x8003;
/// The operator's signature on a change of members.
const OPERATOR: u16 = 0x8004;
/// The operator's signature on a change of the rules of access.
const ACCESS: u16 = 0x8005;

/// Every kind's number. If two kinds had the same number, a signature on one body could be presented as one on the other.
const NUMBERS: [u16; 8] =
    [Stored::KIND, Handoff::KIND, Accept::KIND, LogHead::KIND, Seal::KIND, KEY_OFFER, OPERATOR, ACCESS];

const _: () = {
    let mut last = 0;
    while last < NUMBERS.len() {
        let mut earlier = 0;
        while earlier < last {
            assert!(NUMBERS[earlier] != NUMBERS[last], "two kinds of statement have one number");
            earlier += 1;
        }
        last += 1;
    }
};

/// A kind of statement: what members sign, and how a certificate carries it.
pub trait Body: Copy + Eq + Debug + Send + Sync + 'static {
    /// The kind's number.
    const KIND: u16;
    /// The kind's name, for people.
    const NAME: &'static str;
    /// Size of the body in bytes.
    const SIZE: u32;

    /// What a certificate carries before n and the bitmap: the body itself, or a leaf and a path from which the body follows.
    type Claim: Clone + Eq + Debug + Send + Sync + 'static;

    /// Appends the body, exactly [`SIZE`](Self::SIZE) bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// The time at which the statement was issued, or its height, if the kind has one. A member looks up this value to find out
    /// whether it has signed another statement.
    fn ordinal(&self) -> Option<u64> {
        None
    }

    /// The number of signers that the statement needs in a committee of `n`.
    fn threshold(&self, n: u16) -> u16 {
        quorum::quorum(n)
    }

    /// The body that follows from a claim: what the members must have signed. `None` for a claim that decoding never yields.
    fn of_claim(claim: &Self::Claim) -> Option<Self>;

    /// Appends a claim.
    fn write_claim(claim: &Self::Claim, out: &mut Vec<u8>);

    /// Decodes a claim strictly: each value has one encoding, and nothing is allocated beyond `limits`.
    ///
    /// # Errors
    /// See [`ClaimError`].
    fn read_claim(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self::Claim, ClaimError>;

    /// Checks a claim against the epoch in its header, for a kind whose body depends on it.
    ///
    /// # Errors
    /// See [`ClaimError`].
    fn check_epoch(_claim: &Self::Claim, _epoch: u64) -> Result<(), ClaimError> {
        Ok(())
    }
}

/// Why bytes are not a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The receipt is not well formed, or of an unknown kind.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

/// One statement of one committee. It is never decoded: every verifier builds it from the certificate and its own committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<B> {
    epoch: u64,
    cluster: ClusterId,
    committee: CommitteeDigest,
    body: B,
}

/// A statement's identity. It does not depend on the signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(pub [u8; 32]);

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

/// A statement up to its body of this size.
fn header(kind: u16, size: u32, epoch: u64, cluster: &ClusterId, committee: &CommitteeDigest) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE + size as usize);
    out.extend_from_slice(NAMESPACE);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&cluster.0);
    out.extend_from_slice(&committee.0);
    out
}

impl<B: Body> Statement<B> {
    /// The statement of this committee with this body.
    pub fn new(committee: &CommitteeRecord, body: B) -> Self {
        Self { epoch: committee.epoch(), cluster: committee.cluster(), committee: committee.digest(), body }
    }

    /// The epoch of the committee that signs.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The digest of the committee that signs.
    pub fn committee(&self) -> CommitteeDigest {
        self.committee
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The signed bytes: a header of 96 bytes, then the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(B::KIND, B::SIZE, self.epoch, &self.cluster, &self.committee);
        self.body.write(&mut out);
        out
    }

    /// The statement's identity.
    pub fn id(&self) -> StatementId {
        StatementId(derive("vouch statement v1", &[&self.encode()]))
    }

    /// Signs the statement. The caller must have made durable everything that the statement promises.
    pub fn sign(&self, key: &VoteSecretKey) -> VoteSignature {
        key.sign(&self.encode())
    }
}
