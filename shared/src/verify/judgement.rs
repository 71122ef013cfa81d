//! The answers to the three questions, each by itself.

use super::stored::{check_in_force, check_subject};
use super::{Invalid, Missing, Question, Stop, Subject, Verdict};
use crate::certificate::Certificate;

/// What a verification found.
///
/// The expensive question is answered once; the two others are comparisons, made when they are asked for. So one judgement can
/// be held against several files.
#[derive(Debug, Clone)]
pub struct Judgement {
    question: Question,
    genuine: Result<Box<Certificate>, Stop>,
}

impl Judgement {
    pub(super) fn new(question: &Question, genuine: Result<Certificate, Stop>) -> Self {
        Self { question: *question, genuine: genuine.map(Box::new) }
    }

    /// Holds the certificate against this file from now on.
    pub fn hold_against(&mut self, subject: Subject) {
        self.question.subject = Some(subject);
    }

    /// What was asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Is the certificate genuine?
    ///
    /// # Errors
    /// The first check that fails or cannot be made, of those that need no file.
    pub fn genuine(&self) -> Result<&Certificate, &Stop> {
        self.genuine.as_deref()
    }

    /// Is this the file? `None`: nothing that a certificate says counts unless it is genuine.
    pub fn matches(&self) -> Option<Result<(), Stop>> {
        let certificate = self.genuine().ok()?;
        Some(match &self.question.subject {
            Some(subject) => check_subject(&certificate.claim, subject).map_err(Stop::from),
            None => Err(Missing::Subject.into()),
        })
    }

    /// Is it in force? `None`: nothing that a certificate says counts unless it is genuine.
    pub fn in_force(&self) -> Option<Result<(), Invalid>> {
        let certificate = self.genuine().ok()?;
        Some(check_in_force(&certificate.claim, self.question.now, self.question.waive_expiry))
    }

    /// The verdict: the first question that is not answered with yes decides.
    pub fn verdict(&self) -> Verdict {
        let certificate = match self.genuine() {
            Ok(certificate) => certificate,
            Err(stop) => return stop.clone().into(),
        };
        if let Some(Err(stop)) = self.matches() {
            return stop.into();
        }
        match self.in_force() {
            Some(Err(invalid)) => Verdict::Invalid(invalid),
            _ => Verdict::Valid(Box::new(certificate.clone())),
        }
    }
}
