//! The verdict on a bundle: one piece of code for every kind of statement, natively and in wasm.
//!
//! It answers three questions in this order: is the certificate genuine, is this the file, is it in force. Whatever a certificate
//! says counts only after the first one: so a forged certificate blames no genuine file.
//! No clock, no file, no network: the trusted identity, the file's digest and `now` are arguments. The checks and their order
//! are the table under "Verification" of the specification.

mod aggregates;
mod check;
mod judgement;
mod verdict;

use std::sync::Arc;

use crate::bls::{BlsError, Possession};
use crate::bundle::{BundleText, GenesisText};
use crate::certificate::Certificate;
use crate::committee::{Committee, CommitteeError, CommitteeRecord};
use crate::digest::{ClusterId, Digest};
use crate::limits::Limits;

pub use aggregates::VerifiedAggregates;
pub use check::{Aspect, Check};
pub use judgement::Judgement;
pub(crate) use verdict::expected_and_got;
pub use verdict::{Invalid, Missing, Stop, Verdict};

/// How far a clock may be ahead of or behind another, in seconds.
pub const CLOCK_TOLERANCE: u64 = 60;

/// The file that a certificate is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes, where it is known.
    pub length: Option<u64>,
}

/// What a verdict depends on, beside the bundle.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The identity that the user trusts.
    pub cluster: Option<ClusterId>,
    /// The file.
    pub subject: Option<Subject>,
    /// Seconds since 1970, at most 2^53 − 1: whoever takes it from a user refuses a larger one.
    pub now: u64,
    /// Accept an expired certificate.
    pub waive_expiry: bool,
}

/// Verifies bundles, and keeps the last committee that it opened: opening costs a pairing for each member, a certificate
/// after that costs one, and hardly more for a large committee than for a small one.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    limits: Limits,
    opened: Option<Opened>,
}

/// A committee whose possessions were checked, and the text that it came in, proofs included: the same committee with other proofs
/// is another text, and is checked anew.
#[derive(Debug, Clone)]
struct Opened {
    text: GenesisText,
    committee: Arc<Committee>,
}

/// The genesis of a bundle: opened before, or still to be.
enum Genesis {
    Known(Arc<Committee>),
    New(CommitteeRecord, Vec<Possession>),
}

impl Genesis {
    fn record(&self) -> &CommitteeRecord {
        match self {
            Self::Known(committee) => committee.record(),
            Self::New(record, _) => record,
        }
    }
}

impl Verifier {
    /// Knows no committee yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses what is larger; never looser than the specification allows.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, opened: None }
    }

    /// Judges a bundle.
    pub fn verify(&mut self, bundle: &[u8], question: &Question) -> Verdict {
        self.judge(bundle, question).verdict()
    }

    /// Judges a bundle, and answers each of the three questions.
    pub fn judge(&mut self, bundle: &[u8], question: &Question) -> Judgement {
        Judgement::new(question, self.genuine(bundle, question.cluster))
    }

    /// The checks `bundle` to `signature`: everything that needs no file.
    fn genuine(&mut self, bundle: &[u8], trusted: Option<ClusterId>) -> Result<Certificate, Stop> {
        let bundle = BundleText::parse(bundle, &self.limits)?;
        let decode_certificate = || Certificate::decode(&bundle.certificate, &self.limits);
        let (certificate, genesis) = match &self.opened {
            Some(opened) if opened.text == bundle.genesis => {
                (decode_certificate()?, Genesis::Known(opened.committee.clone()))
            }
            _ => {
                // in the order of the checks: all that belongs to the bundle, then the certificate, then the committee
                let decoded = bundle.genesis.decode()?;
                (decode_certificate()?, self.read_genesis(decoded)?)
            }
        };
        let record = genesis.record();
        let expected = trusted.ok_or(Missing::Identity)?;
        let got = record.cluster();
        if got != expected {
            return Err(Invalid::AnotherCluster { expected, got }.into());
        }
        if certificate.epoch > 0 || bundle.epochs > 0 {
            return Err(Missing::LaterEpoch.into());
        }
        check_signers(&certificate, record)?;
        let committee = match genesis {
            Genesis::Known(committee) => committee,
            Genesis::New(record, possessions) => {
                let committee = Arc::new(Committee::genesis(record, possessions)?);
                self.opened = Some(Opened { text: bundle.genesis, committee: committee.clone() });
                committee
            }
        };
        check_signature(&certificate, &committee)?;
        Ok(certificate)
    }

    fn read_genesis(&self, (encoded, possessions): (Vec<u8>, Vec<Possession>)) -> Result<Genesis, CommitteeError> {
        let record = CommitteeRecord::decode(&encoded, &self.limits)?;
        let (expected, got) = (record.members().len(), possessions.len());
        if expected != got {
            return Err(CommitteeError::PossessionCount { expected, got });
        }
        Ok(Genesis::New(record, possessions))
    }
}

/// Judges a certificate by a committee that is already open and trusted.
///
/// # Errors
/// The first check from `epoch` on that fails.
pub fn verify_certificate(
    certificate: &Certificate,
    committee: &Committee,
    subject: &Subject,
    now: u64,
    waive_expiry: bool,
) -> Result<(), Invalid> {
    check_signers(certificate, committee.record())?;
    check_signature(certificate, committee)?;
    check_subject(certificate, subject)?;
    check_in_force(certificate, now, waive_expiry)
}

/// The same, for a client of many puts: the pairing is spared where `verified` has this statement, with these signers and this
/// signature. Every other check is made each time; the path among them, for it is what leads from the receipt to the statement.
///
/// # Errors
/// As [`verify_certificate`].
pub fn verify_certificate_of_batch(
    certificate: &Certificate,
    committee: &Committee,
    subject: &Subject,
    now: u64,
    verified: &mut VerifiedAggregates,
) -> Result<(), Invalid> {
    check_signers(certificate, committee.record())?;
    let statement = statement_of(certificate, committee)?;
    if !verified.contains(&statement, &certificate.signers, &certificate.signature) {
        check_aggregate(certificate, committee, &statement)?;
        verified.add(statement, certificate.signers.clone(), certificate.signature);
    }
    check_subject(certificate, subject)?;
    check_in_force(certificate, now, false)
}

/// The checks `epoch` and `signers`.
fn check_signers(certificate: &Certificate, record: &CommitteeRecord) -> Result<(), Invalid> {
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
    let (signers, quorum) = (certificate.signers.count(), certificate.kind().threshold(record.n()));
    if signers < quorum {
        return Err(Invalid::BelowQuorum { signers, quorum });
    }
    Ok(())
}

/// The checks `digest` and `length`: the certificate's value is what is expected, the file's is what was got.
fn check_subject(certificate: &Certificate, subject: &Subject) -> Result<(), Invalid> {
    let receipt = &certificate.receipt;
    if subject.digest != receipt.digest {
        return Err(Invalid::DigestDiffers { expected: receipt.digest, got: subject.digest });
    }
    if let Some(got) = subject.length.filter(|length| *length != receipt.length) {
        return Err(Invalid::LengthDiffers { expected: receipt.length, got });
    }
    Ok(())
}

/// The checks `time` and `expiry`.
fn check_in_force(certificate: &Certificate, now: u64, waive_expiry: bool) -> Result<(), Invalid> {
    if certificate.issued_at > now.saturating_add(CLOCK_TOLERANCE) {
        return Err(Invalid::FromTheFuture { issued_at: certificate.issued_at, now });
    }
    let receipt = &certificate.receipt;
    if receipt.is_expired(now) && !waive_expiry {
        return Err(Invalid::Expired { expires_at: receipt.expires_at, now });
    }
    Ok(())
}

fn check_signature(certificate: &Certificate, committee: &Committee) -> Result<(), Invalid> {
    check_aggregate(certificate, committee, &statement_of(certificate, committee)?)
}

/// The bytes that the members must have signed.
fn statement_of(certificate: &Certificate, committee: &Committee) -> Result<Vec<u8>, Invalid> {
    let statement = certificate.statement(committee.record()).ok_or(Invalid::Signature(BlsError::Mismatch))?;
    Ok(statement.encode())
}

fn check_aggregate(certificate: &Certificate, committee: &Committee, statement: &[u8]) -> Result<(), Invalid> {
    committee
        .verify_aggregate(certificate.signers.absent().map(usize::from), statement, &certificate.signature)
        .map_err(Invalid::Signature)
}
