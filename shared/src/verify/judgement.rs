//! The separate answers to the three questions.

use super::stored::{check_in_force, check_subject};
use super::{CheckError, Genuine, Invalid, Missing, Standing, Subject, Verdict, VerifyOptions};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::statement::Stored;

/// The result of a verification.
///
/// The expensive question is answered once. The other two are comparisons, made when they are asked for, so one judgement can
/// be compared with several files.
#[derive(Debug, Clone)]
pub struct Judgement {
    options: VerifyOptions,
    genuine: Result<Box<Genuine<Stored>>, CheckError>,
}

impl Judgement {
    pub(super) fn new(options: &VerifyOptions, genuine: Result<Genuine<Stored>, CheckError>) -> Self {
        Self { options: *options, genuine: genuine.map(Box::new) }
    }

    /// Compares the certificate with this file from now on.
    pub fn compare_with(&mut self, subject: Subject) {
        self.options.subject = Some(subject);
    }

    /// The question that this judgement answers.
    pub fn options(&self) -> &VerifyOptions {
        &self.options
    }

    /// Is the certificate genuine?
    ///
    /// # Errors
    /// The first check that fails or cannot be made, among those that need no file.
    pub fn genuine(&self) -> Result<&Certificate, &CheckError> {
        self.genuine.as_ref().map(|genuine| &genuine.certificate)
    }

    /// Where the certificate stands among the epochs of its cluster. `None` if it is not genuine.
    pub fn standing(&self) -> Option<&Standing> {
        self.genuine.as_ref().ok().map(|genuine| &genuine.standing)
    }

    /// The committees of the bundle. `None` if the certificate is not genuine.
    pub fn chain(&self) -> Option<&CommitteeChain> {
        self.genuine.as_ref().ok().map(|genuine| &genuine.chain)
    }

    /// Is this the file? `None` if the certificate is not genuine: its content then counts for nothing.
    pub fn matches(&self) -> Option<Result<(), CheckError>> {
        let certificate = self.genuine().ok()?;
        Some(match &self.options.subject {
            Some(subject) => check_subject(&certificate.claim, subject).map_err(CheckError::from),
            None => Err(Missing::Subject.into()),
        })
    }

    /// Is the certificate in force? `None` if it is not genuine: its content then counts for nothing.
    pub fn in_force(&self) -> Option<Result<(), Invalid>> {
        let certificate = self.genuine().ok()?;
        Some(check_in_force(&certificate.claim, self.options.now, self.options.waive_expiry))
    }

    /// The verdict. The first question whose answer is not yes decides.
    pub fn verdict(&self) -> Verdict {
        let certificate = match self.genuine() {
            Ok(certificate) => certificate,
            Err(error) => return error.clone().into(),
        };
        if let Some(Err(error)) = self.matches() {
            return error.into();
        }
        match self.in_force() {
            Some(Err(invalid)) => Verdict::Invalid(invalid),
            _ => Verdict::Valid(Box::new(certificate.clone())),
        }
    }
}
