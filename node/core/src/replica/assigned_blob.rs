//! A certified blob, and the part of it that this replica is responsible for.

use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

/// A certified blob, with what this replica must hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedBlob {
    /// The blob's certificate.
    pub certificate: Certificate,
    /// The bytes that this replica must hold.
    pub assignment: Assignment,
}

impl AssignedBlob {
    /// The blob of a certificate. `own`: this replica's index in the committee that signed it.
    pub fn new(certificate: Certificate, own: Option<u16>) -> Self {
        let assignment = certificate.claim.receipt.assignment(own);
        Self { certificate, assignment }
    }

    /// The digest of the whole blob.
    pub fn digest(&self) -> Digest {
        self.certificate.claim.receipt.digest
    }
}
