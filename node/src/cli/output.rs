//! Everything that a command prints, with one rule for each kind of text.
//!
//! - A line stays one line. Names and reasons come from others, so every control character, line feeds included, and every mark
//!   that changes the direction of text is escaped. Otherwise a file name could forge a verdict or control the terminal.
//! - JSON is escaped by JSON's rules.
//! - The first failed write to standard output is kept; [`finish`] reports it, and the command fails. A `put` whose output
//!   was lost must not exit with 0.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use vouch_core::receipt::NEVER;

use super::streams;
use crate::client::NextAttempt;

/// The first failed write to standard output.
static BROKEN: OnceLock<String> = OnceLock::new();
/// What was printed since [`hold`].
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Whether a character could control a terminal, end a line, or change the direction of the text around it.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Escapes text to one line that does not control a terminal.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// A file name for display: [`harmless`], with bytes that are not UTF-8 shown as `\xff`.
pub(super) fn name(name: impl AsRef<OsStr>) -> String {
    let mut out = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        out.push_str(&harmless(chunk.valid()));
        for byte in chunk.invalid() {
            // writing to a string never fails
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Puts a file name into a JSON object, as a string. If the name is not UTF-8, the string is not exact, so its bytes are added in
/// hex, under `<key>_hex`.
pub(super) fn put_name(json: &mut Value, key: &str, name: impl AsRef<OsStr>) {
    let name = name.as_ref();
    json[key] = name.to_string_lossy().into();
    if name.to_str().is_none() {
        json[format!("{key}_hex")] = base16ct::lower::encode_string(name.as_bytes()).into();
    }
}

/// Keeps what is printed on standard output from now on, until [`release`].
pub(super) fn hold() {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Returns what was kept, and prints again.
pub(super) fn release() -> String {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    String::from_utf8_lossy(&held.unwrap_or_default()).into_owned()
}

fn write_out(bytes: &[u8]) {
    if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        return held.extend_from_slice(bytes);
    }
    if streams::stdout(bytes) {
        return;
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    if let Err(error) = written {
        // keep the first failure; later ones follow from it
        let _ = BROKEN.set(cannot_write(&error));
    }
}

fn write_error(bytes: &[u8]) {
    if !streams::stderr(bytes) {
        let _ = io::stderr().write_all(bytes);
    }
}

/// The message for a failed write to standard output.
pub(super) fn cannot_write(error: &io::Error) -> String {
    format!("cannot write to standard output: {error}")
}

/// Checks that everything printed to standard output was written.
///
/// # Errors
/// The first failed write.
pub(super) fn finish() -> Result<(), &'static str> {
    match BROKEN.get() {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

/// Prints one line on standard output.
pub(super) fn line(text: fmt::Arguments<'_>) {
    write_out(format!("{}\n", harmless(&text.to_string())).as_bytes());
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints text that this program made, as it is: no part of it comes from others.
pub(super) fn text(text: &[u8]) {
    write_out(text);
}

/// Prints one line on standard error.
pub(super) fn error_line(text: fmt::Arguments<'_>) {
    write_error(format!("{}\n", harmless(&text.to_string())).as_bytes());
}

/// Prints one JSON value on a line of standard output.
pub(super) fn json(value: &impl Serialize) {
    write_out(format!("{}\n", json_text(value)).as_bytes());
}

/// Prints one JSON value on a line of standard error.
pub(super) fn error_json(value: &impl Serialize) {
    write_error(format!("{}\n", json_text(value)).as_bytes());
}

fn json_text(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    // Cannot fail: it would only for a map with keys that are not strings, or for a failed write.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, HarmlessJson));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Formats JSON so that it cannot control a terminal: unsafe characters that JSON allows unescaped are written as `\u202e`.
struct HarmlessJson;

impl Formatter for HarmlessJson {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // All unsafe characters are in the basic plane, so four digits suffice.
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// The message before another attempt.
pub(super) fn retrying(NextAttempt { why, pause, server }: &NextAttempt) -> String {
    match (server, pause.as_secs_f64()) {
        (Some(server), 0.0) => format!("{why}; trying {server}"),
        (Some(server), seconds) => format!("{why}; trying {server} in {seconds:.1} s"),
        (None, seconds) => format!("connection lost ({why}); trying again in {seconds:.1} s"),
    }
}

/// How long a blob is kept: until a date and time, or without expiry.
pub(super) fn kept(expires_at: u64) -> String {
    if expires_at == NEVER { "no expiry".into() } else { format!("until {}", time(expires_at)) }
}

/// Seconds since 1970 as a date and time.
pub(super) fn time(seconds: u64) -> String {
    match std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        // the formatter fails after the year 9999
        Some(time) if seconds < 253_402_300_800 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => format!("{seconds} s after 1970"),
    }
}

/// A number of seconds in its two largest units, such as `2d 3h`.
pub(super) fn age(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let largest = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[largest];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((next, unit)) = units.get(largest + 1)
        && seconds % size >= *next
    {
        // writing to a string never fails
        let _ = write!(text, " {}{unit}", seconds % size / next);
    }
    text
}

/// A number of bytes, exact and rounded.
pub(super) fn bytes(count: u64) -> String {
    if count < 1024 { format!("{count} bytes") } else { format!("{count} bytes ({})", HumanBytes(count)) }
}

/// A number of bytes, rounded.
pub(super) fn short_bytes(count: u64) -> HumanBytes {
    HumanBytes(count)
}

/// A number of things: `1 blob`, `2 blobs`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The effect of an op about members or access, which is text for people, from its digits.
pub(super) fn effect_text(hex: &str) -> String {
    let bytes = base16ct::lower::decode_vec(hex).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A file name as one word of a shell's command line: a command that a message suggests must name exactly this file.
pub(super) fn shell_word(name: impl AsRef<OsStr>) -> String {
    let bytes = name.as_ref().as_bytes();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if !text.chars().any(is_unsafe) => format!("'{}'", text.replace('\'', r"'\''")),
        // `$'…'` of bash and POSIX.1-2024 can express every byte
        _ => {
            let mut word = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b' '..=b'~' if !b"'\\".contains(byte) => word.push(char::from(*byte)),
                    // always three digits, so that the next character is not read as one of them
                    _ => drop(write!(word, "\\{byte:03o}")),
                }
            }
            word + "'"
        }
    }
}

/// A progress bar on standard error; hidden if that is not a terminal.
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

    /// Each of them controls a terminal, ends a line, or changes the direction of the text around it.
    const UNSAFE: [char; 15] = [
        '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}',
        '\u{202e}', '\u{2066}', '\u{feff}',
    ];

    #[test]
    fn text_from_others_stays_on_its_line_and_does_not_control_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\nd é 日"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}d é 日");
        for c in UNSAFE {
            assert_eq!(harmless(&c.to_string()), format!("\\u{{{:x}}}", u32::from(c)));
        }
    }

    #[test]
    fn an_age_has_two_units() {
        let ages = [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3600, "1h"), (3661, "1h 1m"), (86_459, "1d")];
        for (seconds, text) in ages.into_iter().chain([(97_200, "1d 3h"), (u64::MAX, "213503982334601d 7h")]) {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn names_show_every_byte() {
        assert_eq!(name("a\nVALID: b"), "a\\u{a}VALID: b");
        assert_eq!(name(OsStr::from_bytes(b"bad\xff\xc3.bin")), "bad\\xff\\xc3.bin");
        let mut json = serde_json::json!({});
        put_name(&mut json, "file", "plain\n");
        put_name(&mut json, "bundle", OsStr::from_bytes(b"\xff"));
        assert_eq!(json, serde_json::json!({ "file": "plain\n", "bundle": "\u{fffd}", "bundle_hex": "ff" }));
    }

    #[test]
    fn json_keeps_its_value_and_does_not_control_the_terminal() {
        let text: String = UNSAFE.iter().flat_map(|c| [*c, 'é', '"', '\\']).collect();
        let value = serde_json::json!({ &text: [&text, 1, null_and_true()] });
        let printed = json_text(&value);
        assert!(!printed.chars().any(is_unsafe), "{printed:?}");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
        assert!(printed.contains("\\u202e") && printed.contains('é'), "{printed}");
    }

    fn null_and_true() -> Value {
        serde_json::json!([null, true])
    }

    #[test]
    fn shell_words_name_the_same_file() {
        for (name, word) in [
            (&b"a/b-1.txt"[..], "a/b-1.txt"),
            (b"", "''"),
            (b"two words", "'two words'"),
            (b"it's", r"'it'\''s'"),
            (b"a\nb'\xff\\1", r"$'a\012b\047\377\1341'"),
        ] {
            assert_eq!(shell_word(OsStr::from_bytes(name)), word);
        }
    }
}
