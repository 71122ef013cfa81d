//! What a check found, and what to do about it.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::output;

/// Maximum length of a text in characters.
const MAX_TEXT: usize = 1000;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// It works, and something can be lost or will fail soon.
    Warning,
    /// It does not work so.
    Failed,
    /// There was nothing to check, or an earlier fault is in the way.
    Skipped,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    /// What was checked, in one word.
    pub(super) check: &'static str,
    /// What was found.
    pub(super) found: String,
    /// What to do, if it is not ok.
    pub(super) next: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Ok, check, found: found.to_string(), next: None }
    }

    pub(super) fn warning(check: &'static str, found: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Warning, next: Some(next.to_string()), ..Self::ok(check, found) }
    }

    pub(super) fn failed(check: &'static str, found: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Failed, next: Some(next.to_string()), ..Self::ok(check, found) }
    }

    pub(super) fn skipped(check: &'static str, found: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Skipped, next: Some(next.to_string()), ..Self::ok(check, found) }
    }

    /// A failure whose text may end with what to do: `…; run: COMMAND`. Otherwise `next` says it.
    pub(super) fn of_error(check: &'static str, error: impl fmt::Display, next: impl fmt::Display) -> Self {
        let text = error.to_string();
        match text.split_once("; run: ") {
            Some((found, command)) => Self::failed(check, found, format_args!("run: {command}")),
            None => Self::failed(check, text, next),
        }
    }
}

/// Prints each finding as soon as there is one, or all of them as JSON.
#[derive(Debug)]
pub(super) struct Report {
    is_json: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, findings: Vec::new() }
    }

    pub(super) fn add(&mut self, mut finding: Finding) {
        finding.found = cut(finding.found);
        finding.next = finding.next.map(cut);
        if !self.is_json {
            let Finding { outcome, check, found, next } = &finding;
            let next = next.as_ref().map(|next| format!("; {next}")).unwrap_or_default();
            output::line(format_args!("{:<8} {check:<11} {found}{next}", outcome.word()));
        }
        self.findings.push(finding);
    }

    #[cfg(test)]
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Prints the JSON. Returns the exit code: 1 if anything failed.
    pub(super) fn finish(self) -> u8 {
        let has_failed = self.findings.iter().any(|finding| finding.outcome == Outcome::Failed);
        if self.is_json {
            let checks: Vec<Value> = self.findings.iter().map(as_json).collect();
            output::json(&json!({ "ok": !has_failed, "version": env!("CARGO_PKG_VERSION"), "checks": checks }));
        }
        has_failed.into()
    }
}

/// A server may have written most of a text.
fn cut(text: String) -> String {
    if text.chars().nth(MAX_TEXT).is_none() { text } else { text.chars().take(MAX_TEXT).chain(['…']).collect() }
}

fn as_json(finding: &Finding) -> Value {
    let Finding { outcome, check, found, next } = finding;
    json!({ "check": check, "result": outcome.word(), "found": found, "next": next })
}
