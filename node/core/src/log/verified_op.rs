//! An op whose submitter's signature is verified.

use vouch_core::digest::ClusterId;
use vouch_core::log::{OpId, OpSignatureError, SignedOp};

/// An op with its identity, whose signature was verified for the cluster. Whether the submitter is a member may change with the
/// height, and is checked where it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOp {
    id: OpId,
    signed: SignedOp,
}

impl VerifiedOp {
    /// Verifies the submitter's signature.
    ///
    /// # Errors
    /// [`OpSignatureError`].
    pub fn verify(signed: SignedOp, cluster: &ClusterId) -> Result<Self, OpSignatureError> {
        signed.verify(cluster)?;
        Ok(Self { id: signed.op.id(cluster), signed })
    }

    /// The op's identity.
    pub fn id(&self) -> OpId {
        self.id
    }

    /// The op with submitter and signature.
    pub fn signed(&self) -> &SignedOp {
        &self.signed
    }
}
