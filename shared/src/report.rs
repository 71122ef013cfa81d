//! The form in which the command line, Node.js and the page show a verdict with its checks, and the content of a bundle.

mod epochs;
#[cfg(feature = "nodes")]
mod evidence;
#[cfg(feature = "nodes")]
mod fork;
mod log;
#[cfg(feature = "nodes")]
mod log_inspection;
mod op;
mod standing;

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::bundle::{BundleText, BundleType};
use crate::certificate::{Certificate, Signers};
use crate::chain::CommitteeChain;
use crate::committee::{CommitteeRecord, Member};
use crate::comparison::Comparison;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::limits::Limits;
use crate::quorum;
use crate::receipt::NEVER;
use crate::statement::{Body, Stored};
use crate::verify::{
    BundleCommittees, Check, CheckError, ComparedTimes, Judgement, Standing, Verdict, VerdictQuestion,
};

pub use epochs::EpochView;
#[cfg(feature = "nodes")]
pub use evidence::{EvidenceReport, EvidenceView};
#[cfg(feature = "nodes")]
pub use fork::{ForkInspection, ForkMember, ForkReport, ForkView, HandoffView};
pub use log::{BlockOpView, BlockReport, BlockView, HeadReport, HeadView};
#[cfg(feature = "nodes")]
pub use log_inspection::{BlockHeaderView, BlockInspection, EvidenceInspection, HeadInspection, OpInspection};
pub use op::{OpReport, OpView};

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// The check passed.
    Passed,
    /// The check failed.
    Failed,
    /// The check could not be made, because something is missing.
    CannotCheck,
    /// The check was not made: an earlier check decided the same question, or the certificate is not known to be genuine.
    NotReached,
    /// The user waived the check, or gave nothing to compare with.
    Waived,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// The check.
    pub name: Check,
    /// The question that the check belongs to.
    pub question: VerdictQuestion,
    /// The check's result.
    pub outcome: CheckOutcome,
    /// What it means that the check passes; or why there was nothing to check.
    pub meaning: Cow<'static, str>,
}

/// The answer to one of the three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Every check of the question passed.
    Yes,
    /// A check of the question failed.
    No,
    /// Something is missing for an answer, or the question was not asked.
    NotAnswered,
}

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonedAnswer {
    /// The answer.
    pub answer: Answer,
    /// The reason, for people. Times are seconds since 1970.
    pub reason: String,
}

impl ReasonedAnswer {
    fn yes(reason: String) -> Self {
        Self { answer: Answer::Yes, reason }
    }

    fn not(reason: impl ToString) -> Self {
        Self { answer: Answer::NotAnswered, reason: reason.to_string() }
    }
}

impl From<&CheckError> for ReasonedAnswer {
    fn from(error: &CheckError) -> Self {
        match error {
            CheckError::Invalid(invalid) => {
                Self { answer: Answer::No, reason: format!("{} ({invalid})", invalid.meaning()) }
            }
            CheckError::Missing(missing) => Self::not(missing),
        }
    }
}

/// The three questions in words. They depend on what the bundle is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QuestionTexts {
    /// The first question.
    pub genuine: &'static str,
    /// The second question.
    pub matches: &'static str,
    /// The third question.
    pub in_force: &'static str,
}

impl QuestionTexts {
    fn about(bundle_type: BundleType) -> Self {
        let [genuine, matches, in_force] = VerdictQuestion::ALL.map(|question| question.text_for(bundle_type));
        Self { genuine, matches, in_force }
    }

    /// The words of a question.
    pub fn text(&self, question: VerdictQuestion) -> &'static str {
        match question {
            VerdictQuestion::Genuine => self.genuine,
            VerdictQuestion::Matches => self.matches,
            VerdictQuestion::InForce => self.in_force,
        }
    }
}

/// A verdict for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `valid`, `invalid` or `cannot-check`.
    pub verdict: &'static str,
    /// The check that decided; `None` if valid.
    pub check: Option<Check>,
    /// The value that the failed check expected. For a check of the file, the certificate's value.
    pub expected: Option<String>,
    /// The value that the failed check found.
    pub got: Option<String>,
    /// The same two values as numbers, if the failed check compares times.
    pub times: Option<ComparedTimes>,
    /// One sentence.
    pub message: String,
    /// The three questions in words.
    pub questions: QuestionTexts,
    /// Is the certificate genuine?
    pub genuine: ReasonedAnswer,
    /// Is this the file?
    pub matches: ReasonedAnswer,
    /// Is the certificate in force?
    pub in_force: ReasonedAnswer,
    /// Where the certificate stands among the epochs of its cluster. `None` if it is not genuine.
    pub standing: Option<Standing>,
    /// Every check, in order.
    pub checks: Vec<CheckLine>,
}

impl Report {
    /// The report of a judgement.
    pub fn new(judgement: &Judgement) -> Self {
        let options = judgement.options();
        let mismatch = judgement.matches().and_then(Result::err);
        let not_in_force = judgement.in_force().and_then(Result::err).map(CheckError::from);
        let errors = [judgement.genuine().err(), mismatch.as_ref(), not_in_force.as_ref()];
        let is_length_known = options.subject.is_some_and(|subject| subject.length.is_some());
        let is_waived =
            |name| name == Check::Expiry && options.waive_expiry || name == Check::Length && !is_length_known;
        let checks = [&Check::OF_CERTIFICATE[..], &Check::OF_FILE];
        Self::of(BundleType::File, errors, answers(judgement), &checks, judgement.standing(), is_waived)
    }

    /// The report of a verdict. `errors`: for each question, the check that stopped it, if any; the first one decides. `checks`: every
    /// check in order, in parts.
    fn of(
        bundle_type: BundleType,
        errors: [Option<&CheckError>; 3],
        answers: [ReasonedAnswer; 3],
        checks: &[&[Check]],
        standing: Option<&Standing>,
        is_waived: impl Fn(Check) -> bool,
    ) -> Self {
        let standing = standing.copied();
        let checks = lines(checks, errors, standing.as_ref(), is_waived);
        let [genuine, matches, in_force] = answers;
        let deciding = errors.into_iter().flatten().next();
        let (verdict, expected, got, times) = match deciding {
            None => ("valid", None, None, None),
            Some(CheckError::Invalid(invalid)) => {
                let Comparison { expected, got, .. } = invalid.comparison();
                ("invalid", Some(expected), Some(got), invalid.times())
            }
            Some(CheckError::Missing(_)) => ("cannot-check", None, None, None),
        };
        let message = deciding.map_or_else(|| "VALID".to_owned(), CheckError::to_string);
        let check = deciding.map(CheckError::check);
        let questions = QuestionTexts::about(bundle_type);
        Self { verdict, check, expected, got, times, message, questions, genuine, matches, in_force, standing, checks }
    }

    /// The report if there is nothing to judge, for example because a file cannot be read.
    pub fn cannot_check(reason: &str) -> Self {
        let not = || ReasonedAnswer::not(reason);
        let message = format!("CANNOT CHECK: {reason}");
        let (genuine, matches, in_force) = (not(), not(), not());
        let (verdict, checks, check, standing) = ("cannot-check", Vec::new(), None, None);
        let (expected, got, times) = (None, None, None);
        let questions = QuestionTexts::about(BundleType::File);
        Self { verdict, check, expected, got, times, message, questions, genuine, matches, in_force, standing, checks }
    }

    /// The answer to a question.
    pub fn answer(&self, question: VerdictQuestion) -> &ReasonedAnswer {
        match question {
            VerdictQuestion::Genuine => &self.genuine,
            VerdictQuestion::Matches => &self.matches,
            VerdictQuestion::InForce => &self.in_force,
        }
    }
}

/// The answers, in the order of [`VerdictQuestion::ALL`].
fn answers(judgement: &Judgement) -> [ReasonedAnswer; 3] {
    let certificate = match judgement.genuine() {
        Ok(certificate) => certificate,
        Err(error) => {
            return not_genuine(error);
        }
    };
    let matches = match judgement.matches() {
        Some(Err(error)) => (&error).into(),
        _ => ReasonedAnswer::yes("it is the certified file, byte for byte".into()),
    };
    let expires_at = certificate.claim.receipt.expires_at;
    let in_force = match judgement.in_force() {
        Some(Err(invalid)) => (&CheckError::from(invalid)).into(),
        _ if judgement.options().waive_expiry => ReasonedAnswer::not("expiry was waived"),
        _ if expires_at == NEVER => ReasonedAnswer::yes("replicas must keep the file for ever".into()),
        _ => ReasonedAnswer::yes(format!("replicas must keep the file until {expires_at}")),
    };
    [signed_by(certificate), matches, in_force]
}

/// The answers if the certificate is not genuine.
fn not_genuine(error: &CheckError) -> [ReasonedAnswer; 3] {
    let unknown = || ReasonedAnswer::not("what a certificate says counts only once it is known to be genuine");
    [error.into(), unknown(), unknown()]
}

/// The answer that a certificate is genuine.
fn signed_by<B: Body>(certificate: &Certificate<B>) -> ReasonedAnswer {
    let (signers, n) = (certificate.signers.count(), certificate.signers.n());
    let quorum = quorum_of(certificate, n);
    ReasonedAnswer::yes(format!("{signers} of {n} members of the cluster you trust signed it, {quorum} are needed"))
}

/// The signers that a certificate needs in a committee of `n`.
fn quorum_of<B: Body>(certificate: &Certificate<B>, n: u16) -> u16 {
    certificate.body().map_or(n, |body| body.threshold(n))
}

/// The lines of these checks.
fn lines(
    checks: &[&[Check]],
    errors: [Option<&CheckError>; 3],
    standing: Option<&Standing>,
    is_waived: impl Fn(Check) -> bool,
) -> Vec<CheckLine> {
    let [genuine, matches, in_force] = errors;
    let line = |name: &Check| {
        let name = *name;
        let (is_asked, error) = match name.question() {
            VerdictQuestion::Genuine => (true, genuine),
            VerdictQuestion::Matches => (genuine.is_none(), matches),
            VerdictQuestion::InForce => (genuine.is_none(), in_force),
        };
        let outcome = match error {
            _ if !is_asked => CheckOutcome::NotReached,
            Some(error) if name > error.check() => CheckOutcome::NotReached,
            Some(CheckError::Invalid(invalid)) if name == invalid.check() => CheckOutcome::Failed,
            Some(CheckError::Missing(missing)) if name == missing.check() => CheckOutcome::CannotCheck,
            _ if is_waived(name) || standing.is_some_and(|standing| standing.says_nothing_of(name)) => {
                CheckOutcome::Waived
            }
            _ => CheckOutcome::Passed,
        };
        let meaning = standing.and_then(|standing| standing.meaning(name)).unwrap_or(name.meaning().into());
        CheckLine { name, question: name.question(), outcome, meaning }
    };
    checks.iter().copied().flatten().map(line).collect()
}

/// A member, as a bundle states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// The member's index in the committee, from 0.
    pub member: u16,
    /// The member's name.
    pub name: String,
    /// The member's node key, base58.
    pub node_key: String,
    /// The member's vote key, base58.
    pub vote_key: String,
    /// Whether the member signed.
    pub signed: bool,
}

/// The members of a committee, and which of them signed.
fn members(record: &CommitteeRecord, signers: &Signers) -> Vec<MemberView> {
    let view = |(position, member): (u16, &Member)| MemberView {
        member: position,
        name: member.name.to_string(),
        node_key: member.node_key.to_string(),
        vote_key: member.vote_key.to_string(),
        signed: signers.contains(position),
    };
    (0..).zip(record.members()).map(view).collect()
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Everything that the bundle of a file states. None of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The cluster identity that the bundle claims.
    pub cluster: ClusterId,
    /// The digest in hex, as `b3sum` prints it.
    pub digest: String,
    /// The digest in base58.
    pub digest_base58: String,
    /// The file's length in bytes.
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
    /// Indices of the members that signed.
    pub signers: Vec<u16>,
    /// Number of signers needed.
    pub quorum: u16,
    /// Number of faulty members tolerated.
    pub tolerated_faults: u16,
    /// Every member.
    pub members: Vec<MemberView>,
    /// Number of receipts in the batch.
    pub batch_count: u32,
    /// This receipt's index in the batch, from 0.
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
    /// Every epoch in the bundle, in order.
    pub epochs: Vec<EpochView>,
}

fn time_or_never<S: Serializer>(time: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *time == NEVER { serializer.serialize_str("never") } else { serializer.serialize_u64(*time) }
}

impl Inspection {
    /// Reads a bundle without judging it.
    ///
    /// # Errors
    /// The verdict, INVALID or CANNOT CHECK, if the bundle is not well formed or has an unknown format.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        Self::read(text).map_err(Verdict::from)
    }

    fn read(text: &[u8]) -> Result<Self, CheckError> {
        let limits = Limits::default();
        let bundle = BundleText::parse(text, &limits)?;
        let certificate = Certificate::decode(&bundle.certificate, &limits)?;
        let committees = BundleCommittees::stated(bundle.chain, &limits)?;
        let record = stated_committee(&committees, certificate.epoch);
        Ok(Self { epochs: EpochView::all(committees.epochs()), ..Self::of(&certificate, record) })
    }

    /// What the bundle of a certificate, by a committee of this chain, states.
    pub fn of_certified(certificate: &Certificate, chain: &CommitteeChain) -> Self {
        let epoch = certificate.epoch;
        let record = chain.record(epoch).unwrap_or_else(|| chain.current().record());
        let before = |of: u64| Some((chain.record(of)?, chain.closing(of).filter(|_| of < epoch)));
        let epochs = (chain.first().record().epoch()..=epoch).filter_map(before);
        Self { epochs: EpochView::all(epochs), ..Self::of(certificate, record) }
    }

    /// What a certificate and the committee beside it state, without the epochs.
    fn of(certificate: &Certificate, record: &CommitteeRecord) -> Self {
        let receipt = &certificate.claim.receipt;
        let statement = certificate.statement(record).map(|statement| hex(&statement.id().0));
        Self {
            cluster: record.cluster(),
            digest: receipt.digest.to_hex(),
            digest_base58: receipt.digest.to_string(),
            length: receipt.length,
            epoch: certificate.epoch,
            committee: certificate.committee,
            kind: Stored::NAME.to_owned(),
            issued_at: certificate.claim.issued_at,
            expires_at: receipt.expires_at,
            signers: certificate.signers.iter().collect(),
            quorum: quorum_of(certificate, record.n()),
            tolerated_faults: quorum::tolerated_faults(record.n()),
            members: members(record, &certificate.signers),
            batch_count: certificate.claim.count,
            batch_index: certificate.claim.index,
            path: certificate.claim.path.iter().map(|hash| hex(&hash.0)).collect(),
            salt: hex(&receipt.salt),
            statement: statement.unwrap_or_default(),
            signature: hex(&certificate.signature.0),
            certificate: hex(&certificate.encode()),
            epochs: Vec::new(),
        }
    }
}

/// The committee in a bundle that a certificate of this epoch is shown with: the first one if there is none of this epoch.
fn stated_committee(committees: &BundleCommittees, epoch: u64) -> &CommitteeRecord {
    committees.record(epoch).unwrap_or_else(|| committees.first())
}
