//! Errors in the command line's arguments.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use serde_json::json;

use super::{Errors, Failure, output};

/// Prints an error in the arguments, the help, or the version. Returns the exit code.
/// `notes` say where the values come from that the error is about, if nobody typed them.
pub(super) fn report(mut error: clap::Error, notes: &[String]) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::from(code),
            Err(why) => super::report(&super::Failure::new(output::cannot_write(&why)), super::Errors::Text),
        };
    }
    quote(&mut error);
    if errors() == Errors::Json {
        let lines = [first_paragraph(&error.render().to_string())].into_iter().chain(notes.iter().cloned());
        output::json(&json!({ "error": lines.collect::<Vec<_>>().join("\n") }));
    }
    // If the error cannot be printed, there is no other way to report it.
    let _ = error.print();
    if !notes.is_empty() {
        output::error_line(format_args!(""));
        notes.iter().for_each(|note| output::error_line(format_args!("{note}")));
    }
    ExitCode::from(code)
}

/// The same as a failure of the command, for arguments in place of which it got others.
pub(super) fn failure(mut error: clap::Error, notes: Vec<String>) -> Failure {
    quote(&mut error);
    let failure = Failure::cannot_check(first_paragraph(&error.render().to_string()));
    notes.into_iter().fold(failure, Failure::with_note)
}

/// How to report what keeps a command from being known.
pub(super) fn errors() -> Errors {
    let is_json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == OsStr::new("--json"));
    if is_json { Errors::Json } else { Errors::Text }
}

/// Escapes the arguments that an error repeats: they may be file names, which come from others.
fn quote(error: &mut clap::Error) {
    let harmless = |text: &str| output::harmless(text);
    let quoted: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(harmless(text)))),
            ContextValue::Strings(texts) => {
                Some((kind, ContextValue::Strings(texts.iter().map(|text| harmless(text)).collect())))
            }
            // tips repeat arguments, too; usage does not
            ContextValue::StyledStrs(texts) => {
                let texts = texts.iter().map(|text| harmless(&text.to_string()).into()).collect();
                Some((kind, ContextValue::StyledStrs(texts)))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in quoted {
        error.insert(kind, value);
    }
}

/// The error without usage and tips, on one line.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
