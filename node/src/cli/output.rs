//! What people see. A closed pipe is no failure of the work.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use vouch_core::receipt::NEVER;

/// Text that cannot steer a terminal: names and reasons come from others. Line feeds are left; what may hold foreign ones
/// is refused or quoted before.
fn harmless(text: fmt::Arguments<'_>) -> String {
    let mut out = String::new();
    for c in text.to_string().chars() {
        // controls but the line feed, and what changes the direction of the text around it
        match c {
            '\n' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// One line on standard output.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{}", harmless(text));
    let _ = io::stdout().flush();
}

/// One line on standard error.
pub(super) fn error_line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{}", harmless(text));
}

/// What people are told while a put waits to be tried again.
pub(super) fn trying_again(why: impl fmt::Display, pause: Duration) -> String {
    format!("connection lost ({why}); trying again in {:.1} s", pause.as_secs_f64())
}

/// Seconds since 1970 as a date and time, or `never`.
pub(super) fn time(seconds: u64) -> String {
    if seconds == NEVER {
        return "never".into();
    }
    match std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        // the formatter ends with the year 9999
        Some(time) if seconds < 253_402_300_800 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => format!("{seconds} s after 1970"),
    }
}

/// A number of bytes, exactly and readably.
pub(super) fn bytes(count: u64) -> String {
    if count < 1024 { format!("{count} bytes") } else { format!("{count} bytes ({})", HumanBytes(count)) }
}

/// A number of bytes, readably.
pub(super) fn short_bytes(count: u64) -> HumanBytes {
    HumanBytes(count)
}

/// A number of things: `1 blob`, `2 blobs`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A path as one word of a shell's command line.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A progress bar on standard error; invisible when that is no terminal.
pub(super) fn bar(what: &'static str, length: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match length {
        Some(_) => "{msg:>10} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg:>10} {spinner} {bytes} {bytes_per_sec}",
    };
    let bar = ProgressBar::new(length.unwrap_or(0)).with_message(what);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_steers_no_terminal() {
        assert_eq!(harmless(format_args!("a\u{1b}[2Jb\u{202e}c\nd")), "a\\u{1b}[2Jb\\u{202e}c\nd");
    }
}
