//! The verdict on a bundle, natively and in wasm.
//!
//! Whether a signature is a committee's is checked alike for every kind of statement, in `signed`; what a certificate of
//! availability says of a file and of time is checked in `stored`.
//!
//! It answers three questions in this order: is the certificate genuine, is this the file, is it in force. Whatever a certificate
//! says counts only after the first one: so a forged certificate blames no genuine file.
//! No clock, no file, no network: the trusted identity, the file's digest and `now` are arguments. The checks and their order
//! are the table under "Verification" of the specification.

mod aggregates;
mod check;
mod judgement;
mod signed;
mod stored;
mod verdict;

use std::sync::Arc;

use crate::bls::Possession;
use crate::bundle::{BundleText, GenesisText};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::committee::{Committee, CommitteeError, CommitteeRecord};
use crate::digest::{ClusterId, Digest};
use crate::limits::Limits;

pub use aggregates::VerifiedAggregates;
pub use check::{Aspect, Check};
pub use judgement::Judgement;
pub use signed::{signing_committee, verify_signed};
pub use stored::{verify_certificate, verify_certificate_of_batch};
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

/// Verifies bundles, and keeps the committees of the last one: opening costs a pairing for each member, a certificate
/// after that costs one, and hardly more for a large committee than for a small one.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    limits: Limits,
    opened: Option<Opened>,
}

/// Committees that were verified, and the text that they came in, proofs included: the same committee with other proofs is another
/// text, and is checked anew.
#[derive(Debug, Clone)]
struct Opened {
    text: GenesisText,
    chain: CommitteeChain,
}

/// The genesis of a bundle: opened before, or still to be.
enum Genesis {
    Known(CommitteeChain),
    New(CommitteeRecord, Vec<Possession>),
}

impl Genesis {
    fn record(&self) -> &CommitteeRecord {
        match self {
            Self::Known(chain) => chain.current().record(),
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
                (decode_certificate()?, Genesis::Known(opened.chain.clone()))
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
        let statement = signed::check_signers(&certificate, record)?;
        let chain = match genesis {
            Genesis::Known(chain) => chain,
            Genesis::New(record, possessions) => {
                let chain = CommitteeChain::new(Arc::new(Committee::genesis(record, possessions)?));
                self.opened = Some(Opened { text: bundle.genesis, chain: chain.clone() });
                chain
            }
        };
        signed::check_aggregate(&certificate, chain.current(), &statement.encode())?;
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
