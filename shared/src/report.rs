//! What the command line, Node.js and the page show: a verdict with its checks, and all that a bundle says. One shape for all.

use serde::{Serialize, Serializer};

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::committee::CommitteeRecord;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::limits::Limits;
use crate::quorum;
use crate::receipt::NEVER;
use crate::verify::{Check, Question, Stop, Verdict};

/// What became of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// Something is missing to make it.
    CannotCheck,
    /// An earlier one decided.
    NotReached,
    /// The user waived it, or gave nothing to compare with.
    Waived,
}

/// One line of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// The check.
    pub name: Check,
    /// What became of it.
    pub outcome: Outcome,
    /// What it means when it passes.
    pub meaning: &'static str,
}

/// A verdict for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `valid`, `invalid` or `cannot-check`.
    pub verdict: &'static str,
    /// The check that decided, unless valid.
    pub check: Option<Check>,
    /// What the failed check wanted.
    pub expected: Option<String>,
    /// What it found.
    pub got: Option<String>,
    /// One sentence.
    pub message: String,
    /// Every check in order.
    pub checks: Vec<CheckLine>,
}

impl Report {
    /// Of a verdict on a question.
    pub fn new(verdict: &Verdict, question: &Question) -> Self {
        let decided = verdict.check();
        let line = |name: Check| {
            let outcome = match decided {
                Some(check) if name > check => Outcome::NotReached,
                Some(check) if name == check && matches!(verdict, Verdict::Invalid(_)) => Outcome::Failed,
                Some(check) if name == check => Outcome::CannotCheck,
                _ if name == Check::Expiry && question.waive_expiry => Outcome::Waived,
                _ if name == Check::Length && question.subject.is_none_or(|subject| subject.length.is_none()) => {
                    Outcome::Waived
                }
                _ => Outcome::Passed,
            };
            CheckLine { name, outcome, meaning: name.meaning() }
        };
        let (word, expected, got) = match verdict {
            Verdict::Valid(_) => ("valid", None, None),
            Verdict::Invalid(invalid) => {
                let (expected, got) = invalid.expected_and_got();
                ("invalid", Some(expected), Some(got))
            }
            Verdict::CannotCheck(_) => ("cannot-check", None, None),
        };
        Self {
            verdict: word,
            check: decided,
            expected,
            got,
            message: verdict.to_string(),
            checks: Check::ALL.into_iter().map(line).collect(),
        }
    }
}

/// A member as a bundle shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Position in the committee, from 0.
    pub member: u16,
    /// Its name.
    pub name: String,
    /// Its node key, base58.
    pub node_key: String,
    /// Its vote key, base58.
    pub vote_key: String,
    /// Whether it signed.
    pub signed: bool,
}

/// Everything that a bundle says. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The identity of the cluster that it claims to be from.
    pub cluster: ClusterId,
    /// The digest in hex, as `b3sum` prints it.
    pub digest: String,
    /// The digest in base58.
    pub digest_base58: String,
    /// Bytes.
    pub length: u64,
    /// The committee's epoch.
    pub epoch: u64,
    /// The committee's digest.
    pub committee: CommitteeDigest,
    /// The kind of statement.
    pub kind: String,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970, or `never`.
    #[serde(serialize_with = "time_or_never")]
    pub expires_at: u64,
    /// Positions of the members that signed.
    pub signers: Vec<u16>,
    /// Signers needed.
    pub quorum: u16,
    /// Faulty members tolerated.
    pub tolerated_faults: u16,
    /// Every member.
    pub members: Vec<MemberView>,
    /// The receipts certified together.
    pub batch_count: u32,
    /// This receipt's place among them.
    pub batch_index: u32,
    /// The inclusion proof, hex, nearest sibling first.
    pub path: Vec<String>,
    /// The client's salt, hex.
    pub salt: String,
    /// The statement's identity, hex.
    pub statement: String,
    /// The aggregate signature, hex.
    pub signature: String,
    /// The certificate's bytes, hex.
    pub certificate: String,
}

fn time_or_never<S: Serializer>(time: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *time == NEVER { serializer.serialize_str("never") } else { serializer.serialize_u64(*time) }
}

impl Inspection {
    /// Reads a bundle without judging it.
    ///
    /// # Errors
    /// The verdict that its form alone deserves: INVALID or CANNOT CHECK.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        Self::read(text).map_err(Verdict::from)
    }

    fn read(text: &[u8]) -> Result<Self, Stop> {
        let limits = Limits::default();
        let bundle = Bundle::parse(text, &limits)?;
        let certificate = Certificate::decode(&bundle.certificate, &limits)?;
        let record = CommitteeRecord::decode(&bundle.genesis, &limits)?;
        Ok(Self::of(&certificate, &record))
    }

    /// A certificate and the committee it came with.
    pub fn of(certificate: &Certificate, record: &CommitteeRecord) -> Self {
        let hex = |bytes: &[u8]| base16ct::lower::encode_string(bytes);
        let receipt = &certificate.receipt;
        let statement = certificate.statement(record).map(|statement| hex(&statement.id().0));
        let members = (0..).zip(record.members()).map(|(position, member)| MemberView {
            member: position,
            name: member.name.to_string(),
            node_key: member.node_key.to_string(),
            vote_key: member.vote_key.to_string(),
            signed: certificate.signers.contains(position),
        });
        Self {
            cluster: record.cluster(),
            digest: receipt.digest.to_hex(),
            digest_base58: receipt.digest.to_string(),
            length: receipt.length,
            epoch: certificate.epoch,
            committee: certificate.committee,
            kind: certificate.kind().to_string(),
            issued_at: certificate.issued_at,
            expires_at: receipt.expires_at,
            signers: certificate.signers.iter().collect(),
            quorum: certificate.kind().threshold(record.n()),
            tolerated_faults: quorum::tolerated_faults(record.n()),
            members: members.collect(),
            batch_count: certificate.count,
            batch_index: certificate.index,
            path: certificate.path.iter().map(|hash| hex(&hash.0)).collect(),
            salt: hex(&receipt.salt),
            statement: statement.unwrap_or_default(),
            signature: hex(&certificate.signature.0),
            certificate: hex(&certificate.encode()),
        }
    }
}
