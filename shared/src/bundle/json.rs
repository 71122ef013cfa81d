//! Strict JSON for bundles.

mod parser;

use self::parser::Parser;
use super::BundleError;
use crate::comparison::Quoted;

/// A JSON value, reduced to what bundles use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Text(String),
    /// A number written as a plain non-negative integer.
    Integer(u64),
    Array(Vec<Json>),
    Object(Object),
    /// Any other number, a boolean or null.
    Other,
}

/// The members of an object. No key is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object(Vec<(String, Json)>);

impl Json {
    /// Parses a whole text.
    pub(super) fn parse(text: &str) -> Result<Self, BundleError> {
        Parser::new(text).document()
    }

    pub(super) fn object(self) -> Result<Object, BundleError> {
        match self {
            Self::Object(object) => Ok(object),
            other => Err(other.mismatch("an object")),
        }
    }

    pub(super) fn text(self) -> Result<String, BundleError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.mismatch("a string")),
        }
    }

    pub(super) fn array(self) -> Result<Vec<Self>, BundleError> {
        match self {
            Self::Array(values) => Ok(values),
            other => Err(other.mismatch("an array")),
        }
    }

    pub(super) fn integer(self) -> Result<u64, BundleError> {
        match self {
            Self::Integer(integer) => Ok(integer),
            other => Err(other.mismatch("a plain integer")),
        }
    }

    fn mismatch(&self, wanted: &str) -> BundleError {
        let got = match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
            Self::Other => "another value",
        };
        BundleError::Json { reason: [got, " in place of ", wanted].concat() }
    }
}

impl Object {
    /// Removes a required key and returns its value.
    pub(super) fn take(&mut self, key: &str) -> Result<Json, BundleError> {
        self.take_if_there(key).ok_or_else(|| BundleError::Json { reason: ["no key \"", key, "\""].concat() })
    }

    /// Removes a key and returns its value, if it is there.
    pub(super) fn take_if_there(&mut self, key: &str) -> Option<Json> {
        let position = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(position).1)
    }

    /// Checks that every key was taken.
    pub(super) fn finish(self) -> Result<(), BundleError> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(BundleError::Json { reason: format!("the unknown key {}", Quoted(&cut(key))) }),
        }
    }
}

/// Shortens untrusted text for an error message.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        match Json::parse(text) {
            Err(BundleError::Json { reason }) => reason,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn repeated_keys_are_refused_at_every_level() {
        assert!(reason(r#"{"a":1,"b":2,"a":1}"#).contains("the repeated key \"a\""));
        assert!(reason(r#"[{"x":{"a":1,"\u0061":2}}]"#).contains("the repeated key \"a\""));
        assert!(Json::parse(r#"{"a":{"a":1}}"#).is_ok());
    }

    #[test]
    fn only_non_negative_integers_without_sign_or_exponent_are_integers() {
        for other in ["1.0", "1e0", "-0", "-1", "true", "null", "0.5"] {
            assert_eq!(Json::parse(other), Ok(Json::Other), "{other}");
        }
        assert_eq!(Json::parse("18446744073709551615"), Ok(Json::Integer(u64::MAX)));
        for wrong in ["01", "1 2", "\u{feff}1", "NaN", "", "{\"a\":1,}", "\"\\ud800\"", "1e400"] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_that_overflow_a_double_are_refused() {
        for fits in ["1e308", "1.7976931348623157e308", "-1.7976931348623158e308", "1e-400", "0e400", "17e307"] {
            assert_eq!(Json::parse(fits), Ok(Json::Other), "{fits}");
        }
        // Halfway between the largest double and the next value, which would round to infinity.
        let half = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";
        let below = half.replace("497792", "497791");
        assert_eq!(Json::parse(&below), Ok(Json::Other));
        assert_eq!(Json::parse(&format!("0.{below}99999e309")), Ok(Json::Other));
        assert!(Json::parse(&format!("0.00{half}e311")).is_err());
        assert!(Json::parse(&format!("{half}00000e-5")).is_err());
        for large in
            [half, "1e400", "-1e400", "1.7976931348623159e308", "1e309", "1e99999999999999999999", &"9".repeat(400)]
        {
            assert!(reason(large).contains("a number that no double holds"), "{large}");
            assert!(Json::parse(&format!(r#"{{"a":[{large}]}}"#)).is_err(), "{large}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let arrays = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let objects = |depth| r#"{"a":"#.repeat(depth) + "0" + &"}".repeat(depth);
        for nested in [arrays, objects] {
            assert!(Json::parse(&nested(64)).is_ok());
            for depth in [65, 127, 128, 200, 20_000] {
                let reason = reason(&nested(depth));
                assert!(reason.contains("nested deeper than 64"), "{depth}: {reason}");
            }
        }
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        // The outer array counts as a value.
        let many = |zeros: usize| format!("[{}0]", "0,".repeat(zeros - 1));
        assert!(Json::parse(&many(65_535)).is_ok());
        assert!(reason(&many(65_536)).contains("more than 65536 values"));
        let arrays = |inner: usize| format!("[{}[]]", "[],".repeat(inner - 1));
        assert!(Json::parse(&arrays(65_535)).is_ok());
        assert!(reason(&arrays(65_536)).contains("more than 65536 values"));
        // Keys do not count.
        let keys = |members: usize| {
            let members: Vec<_> = (0..members).map(|i| format!(r#""{i}":0"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Json::parse(&keys(65_535)).is_ok());
        assert!(reason(&keys(65_536)).contains("more than 65536 values"));
    }

    #[test]
    fn strings_are_unescaped() {
        let text = |json: &str| Json::parse(json).and_then(Json::text);
        assert_eq!(text(r#""\"\\\/\b\f\n\r\té""#), Ok("\"\\/\u{8}\u{c}\n\r\té".into()));
        assert_eq!(text(r#""\u0041\u00e9\uD83E\uDD16\uffff""#), Ok("Aé🤖\u{ffff}".into()));
        let lone = [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\udc00\ud800""#,
            r#""\ud800\ud800""#,
            r#""\ud800\u0041""#,
            r#""\ud800a""#,
        ];
        for wrong in lone {
            assert!(reason(wrong).contains("a lone surrogate"), "{wrong}: {}", reason(wrong));
        }
        for wrong in
            [r#""\x""#, r#""\u12""#, r#""\u12g4""#, r#""\u+123""#, r#""\uéé""#, "\"\n\"", "\"", "\"\\", "\"\\u"]
        {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }

    mod against_a_general_parser {
        use proptest::prelude::*;

        use super::*;

        /// The general parser's value, converted.
        fn general(value: serde_json::Value) -> Json {
            match value {
                serde_json::Value::String(text) => Json::Text(text),
                serde_json::Value::Number(number) => number.as_u64().map_or(Json::Other, Json::Integer),
                serde_json::Value::Array(values) => Json::Array(values.into_iter().map(general).collect()),
                serde_json::Value::Object(members) => {
                    Json::Object(Object(members.into_iter().map(|(key, value)| (key, general(value))).collect()))
                }
                _ => Json::Other,
            }
        }

        proptest! {
            #[test]
            fn both_parsers_agree_on_texts_that_look_like_json(
                text in r#"([\[\]{}:, "\\/0-9.eE+\-]|true|null|\\u[0-9a-f]{4}|\\n|"a"|"b":|é){0,12}"#,
            ) {
                match (Json::parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                    (Ok(own), Ok(value)) => prop_assert_eq!(own, general(value), "{}", text),
                    (Err(BundleError::Json { reason }), Ok(_)) => prop_assert!(reason.contains("repeated key"), "{text}: {reason}"),
                    (own, Err(error)) => prop_assert!(own.is_err(), "{}: {:?}, {}", text, own, error),
                    (own, other) => prop_assert!(false, "{}: {:?}, {:?}", text, own, other),
                }
            }

            #[test]
            fn truncated_or_changed_texts_do_not_panic(at in 0..100usize, byte in any::<u8>()) {
                let text = r#"{"a":[1,-2.5e3,"\ud83e\udd16é",{"b":null,"c":[true,false,""]}],"d":18446744073709551616}"#;
                let mut bytes = text.as_bytes().to_vec();
                let _ = text.get(..at).map(Json::parse);
                if let Some(there) = bytes.get_mut(at) {
                    *there = byte;
                }
                if let Ok(changed) = std::str::from_utf8(&bytes) {
                    let same = serde_json::from_str::<serde_json::Value>(changed).is_ok();
                    let is_repeated = reason(changed).contains("repeated key");
                    prop_assert_eq!(Json::parse(changed).is_ok(), same && !is_repeated, "{}", changed);
                }
            }
        }
    }
}
