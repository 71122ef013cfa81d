//! The checks for certificates of every kind: `epoch`, `signers` and `signature`.

use std::sync::Arc;

use super::Invalid;
use crate::bls::BlsError;
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::committee::{Committee, CommitteeRecord};
use crate::statement::{Body, Statement};

/// The check `epoch`: the chain's committee that the certificate names.
///
/// # Errors
/// [`Invalid::AnotherCommittee`] if the chain has no such committee; [`Invalid::AnotherEpoch`] if the chain has it in another
/// epoch.
pub fn signing_committee<'a, B: Body>(
    certificate: &Certificate<B>,
    chain: &'a CommitteeChain,
) -> Result<&'a Arc<Committee>, Invalid> {
    let got = certificate.committee;
    let Some(committee) = chain.with_digest(&got) else {
        return Err(Invalid::AnotherCommittee { expected: chain.current().record().digest(), got });
    };
    let (expected, got) = (committee.record().epoch(), certificate.epoch);
    if got != expected {
        return Err(Invalid::AnotherEpoch { expected, got });
    }
    Ok(committee)
}

/// Checks that enough members of the committee signed the certificate's claim. It does not check what the claim states.
///
/// # Errors
/// The first of the checks `epoch`, `signers` and `signature` that fails.
pub fn verify_signed<B: Body>(certificate: &Certificate<B>, committee: &Committee) -> Result<(), Invalid> {
    let statement = check_signers(certificate, committee.record())?;
    check_aggregate(certificate, committee, &statement.encode())
}

/// The checks `epoch` and `signers`. Returns the statement that the members must have signed.
pub(crate) fn check_signers<B: Body>(
    certificate: &Certificate<B>,
    record: &CommitteeRecord,
) -> Result<Statement<B>, Invalid> {
    let (expected, got) = (record.digest(), certificate.committee);
    if got != expected {
        return Err(Invalid::AnotherCommittee { expected, got });
    }
    let (expected, got) = (record.epoch(), certificate.epoch);
    if got != expected {
        return Err(Invalid::AnotherEpoch { expected, got });
    }
    let (expected, got) = (record.n(), certificate.signers.n());
    if got != expected {
        return Err(Invalid::BitmapSize { expected, got });
    }
    // Every decoded certificate has a statement.
    let statement = certificate.statement(record).ok_or(Invalid::Signature(BlsError::Mismatch))?;
    let (signers, quorum) = (certificate.signers.count(), statement.body().threshold(record.n()));
    if signers < quorum {
        return Err(Invalid::BelowQuorum { signers, quorum });
    }
    Ok(statement)
}

/// The check `signature`, over the statement's bytes.
pub(super) fn check_aggregate<B: Body>(
    certificate: &Certificate<B>,
    committee: &Committee,
    statement: &[u8],
) -> Result<(), Invalid> {
    committee
        .verify_aggregate(certificate.signers.absent().map(usize::from), statement, &certificate.signature)
        .map_err(Invalid::Signature)
}
