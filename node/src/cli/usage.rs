//! Errors in the command line's arguments.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use serde_json::json;

use super::output;

/// Prints an error in the arguments, the help, or the version. Returns the exit code.
pub(super) fn report(mut error: clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::from(code),
            Err(why) => super::report(&super::Failure::new(output::cannot_write(&why)), super::Errors::Text),
        };
    }
    quote(&mut error);
    if std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == OsStr::new("--json")) {
        output::json(&json!({ "error": first_paragraph(&error.render().to_string()) }));
    }
    // If the error cannot be printed, there is no other way to report it.
    let _ = error.print();
    ExitCode::from(code)
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
