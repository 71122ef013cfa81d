//! An error's two values as data, and the sentence made from them.

use std::fmt::{self, Display, Write};

/// What an error compared. Programs read the two values; people read the sentence, which is made from the same values. Never
/// parse the values out of a sentence: names in it may be chosen by an attacker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What was compared, for example `digest`. Empty if the two values need no introduction.
    pub subject: String,
    /// The value required.
    pub expected: String,
    /// The value found.
    pub got: String,
}

impl Comparison {
    /// A comparison of these texts. It takes trait objects, because each generic instance would add to the size of the wasm modules.
    pub fn new(subject: &dyn Display, expected: &dyn Display, got: &dyn Display) -> Self {
        Self { subject: subject.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// The same values, introduced by what they are part of.
    pub fn within(self, whole: &str) -> Self {
        let subject = if self.subject.is_empty() { whole.to_owned() } else { format!("{whole}: {}", self.subject) };
        Self { subject, ..self }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, expected, got } = self;
        let colon = if subject.is_empty() { "" } else { ": " };
        write!(f, "{subject}{colon}expected {expected}, got {got}")
    }
}

/// Untrusted text in quotation marks. All that is not printable ASCII is escaped, so that it can neither act on a terminal nor reorder
/// what stands around it. `{:?}` would do the same, with tables of Unicode that take two kilobytes of each wasm module.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                ' '..='~' => f.write_char(character)?,
                _ => write!(f, "\\u{{{:x}}}", u32::from(character))?,
            }
        }
        f.write_char('"')
    }
}

/// Implements `Display` for an error whose every variant is a comparison: its sentence is its comparison's.
macro_rules! display_comparison {
    ($($error:ty),+) => {$(
        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.comparison().fmt(f)
            }
        }
    )+};
}
pub(crate) use display_comparison;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_has_only_printable_ascii() {
        assert_eq!(Quoted("plain text").to_string(), "\"plain text\"");
        assert_eq!(Quoted("a \"b\" \\").to_string(), r#""a \"b\" \\""#);
        assert_eq!(
            Quoted("\u{1b}[2J\n\u{202e}\u{e9}\u{1f600}").to_string(),
            r#""\u{1b}[2J\u{a}\u{202e}\u{e9}\u{1f600}""#
        );
    }
}
