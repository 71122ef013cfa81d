//! Parses JSON (RFC 8259) by exactly the specification's rules. A general parser deviates from some: it rounds numbers in its
//! own way, has its own depth limit, or keeps the last of repeated keys. It would also make up a tenth of the wasm module.

use super::{Json, Object, cut};
use crate::bundle::BundleError;
use crate::codec::first_repeated;
use crate::comparison::Quoted;

/// Maximum number of values in a text, including arrays and objects, excluding keys. It prevents a small text from becoming a
/// large tree.
const MAX_VALUES: u32 = 1 << 16;

/// Maximum nesting of arrays and objects; the outermost counts as 1. It prevents a text from exhausting the stack.
const MAX_DEPTH: u32 = 64;

/// 2^1024 − 2^970 in decimal digits: halfway between the largest double and the next value. Numbers from here on round to
/// infinity.
const TOO_LARGE: &str = "\
    1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070\
    9633028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447\
    5730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904\
    174497792";

pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    values_left: u32,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, values_left: MAX_VALUES }
    }

    /// Parses the text, which must be a single value.
    pub(super) fn document(mut self) -> Result<Json, BundleError> {
        self.space();
        let value = self.value(1)?;
        self.space();
        if self.peek().is_some() { Err(self.fail("expected the end")) } else { Ok(value) }
    }

    fn fail(&self, what: &str) -> BundleError {
        BundleError::Json { reason: format!("text that is not strict JSON ({what} at byte {})", self.at) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip(&mut self, is_skipped: fn(u8) -> bool) {
        while self.peek().is_some_and(is_skipped) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// `depth`: the nesting depth of the value, if it is an array or an object.
    fn value(&mut self, depth: u32) -> Result<Json, BundleError> {
        self.values_left = self.values_left.checked_sub(1).ok_or_else(|| self.fail("more than 65536 values"))?;
        match self.peek() {
            Some(b'[' | b'{') if depth > MAX_DEPTH => Err(self.fail("nested deeper than 64")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json, BundleError> {
        let word = ["true", "false", "null"]
            .into_iter()
            .find(|word| self.text.as_bytes()[self.at..].starts_with(word.as_bytes()));
        let word = word.ok_or_else(|| self.fail("expected a value"))?;
        self.at += word.len();
        Ok(Json::Other)
    }

    fn array(&mut self, depth: u32) -> Result<Json, BundleError> {
        let mut values = Vec::new();
        self.at += 1;
        self.space();
        if self.accept(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            self.space();
            values.push(self.value(depth + 1)?);
            self.space();
            if self.accept(b']') {
                return Ok(Json::Array(values));
            }
            if !self.accept(b',') {
                return Err(self.fail("expected a comma or the end of the array"));
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, BundleError> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        let mut is_over = self.accept(b'}');
        while !is_over {
            self.space();
            let key = self.string()?;
            self.space();
            if !self.accept(b':') {
                return Err(self.fail("expected a colon"));
            }
            self.space();
            members.push((key, self.value(depth + 1)?));
            self.space();
            is_over = self.accept(b'}');
            if !is_over && !self.accept(b',') {
                return Err(self.fail("expected a comma or the end of the object"));
            }
        }
        if let Some((first, _)) = first_repeated(members.iter().map(|(key, _): &(String, Json)| key.as_bytes())) {
            let key = cut(&members[first].0);
            return Err(self.fail(&format!("the repeated key {} in an object that ends", Quoted(&key))));
        }
        Ok(Json::Object(Object(members)))
    }

    fn string(&mut self) -> Result<String, BundleError> {
        if !self.accept(b'"') {
            return Err(self.fail("expected a string"));
        }
        let mut string = String::new();
        loop {
            let start = self.at;
            self.skip(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1F));
            // Both ends are next to an ASCII byte, so they are character boundaries.
            string.push_str(self.text.get(start..self.at).unwrap_or_default());
            if self.accept(b'"') {
                return Ok(string);
            }
            if !self.accept(b'\\') {
                return Err(self.fail("a control character, or the end, within a string"));
            }
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, BundleError> {
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(plain @ (b'"' | b'\\' | b'/')) => plain.into(),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.four_digits()?;
                let is_pair = (0xD800..0xDC00).contains(&high) && self.text.as_bytes()[self.at..].starts_with(b"\\u");
                let code = if is_pair {
                    self.at += 2;
                    // A second unit that is not a low surrogate gives 0xD800, which is not a character.
                    let low = self.four_digits()?.checked_sub(0xDC00).filter(|low| *low < 0x400);
                    low.map_or(0xD800, |low| 0x10000 + ((high - 0xD800) << 10) + low)
                } else {
                    high
                };
                char::from_u32(code).ok_or_else(|| self.fail("a lone surrogate"))?
            }
            _ => return Err(self.fail("an unknown escape")),
        })
    }

    fn four_digits(&mut self) -> Result<u32, BundleError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.fail("expected four hexadecimal digits"));
        }
        self.at += 4;
        Ok(digits.iter().fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0)))
    }

    /// The digits at the current position, at least one.
    fn digits(&mut self) -> Result<&'a str, BundleError> {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_digit());
        match self.text.get(start..self.at) {
            Some(digits) if !digits.is_empty() => Ok(digits),
            _ => Err(self.fail("expected a digit")),
        }
    }

    fn number(&mut self) -> Result<Json, BundleError> {
        let is_negative = self.accept(b'-');
        let start = self.at;
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            self.at = start;
            return Err(self.fail("a leading zero"));
        }
        let fraction = if self.accept(b'.') { Some(self.digits()?) } else { None };
        let exponent = if self.accept(b'e') || self.accept(b'E') {
            let is_small = self.accept(b'-');
            let _ = !is_small && self.accept(b'+');
            // 2^40 exceeds the number of digits in any text, and cannot overflow below.
            let size = self.digits()?.parse().unwrap_or(i64::MAX).min(1 << 40);
            Some(if is_small { -size } else { size })
        } else {
            None
        };
        if is_too_large(whole, fraction.unwrap_or_default(), exponent.unwrap_or(0)) {
            self.at = start;
            return Err(self.fail("a number that no double holds"));
        }
        let is_plain = !is_negative && fraction.is_none() && exponent.is_none();
        Ok(whole.parse().ok().filter(|_| is_plain).map_or(Json::Other, Json::Integer))
    }
}

/// Whether a number rounds to infinity as a double. The comparison is exact: it uses decimal digits only.
fn is_too_large(whole: &str, fraction: &str, exponent: i64) -> bool {
    let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let digits = || whole.bytes().chain(fraction.bytes());
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    let significant = whole.len() + fraction.len() - zeros;
    if significant == 0 {
        return false;
    }
    // The number is 0.d₁d₂d₃… · 10^magnitude with d₁ ≠ 0. The bound has the same form.
    let magnitude = signed(whole.len()) - signed(zeros) + exponent;
    let bound = signed(TOO_LARGE.len());
    if magnitude != bound {
        return magnitude > bound;
    }
    let missing = std::iter::repeat_n(b'0', TOO_LARGE.len().saturating_sub(significant));
    digits().skip(zeros).chain(missing).ge(TOO_LARGE.bytes())
}
