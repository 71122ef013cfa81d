//! Strict JSON for bundles. A general parser would keep the last of repeated keys, and a derived one takes arrays for objects.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::BundleError;

/// The most values in one text, so that a small text cannot become a large tree.
const MAX_VALUES: u32 = 1 << 16;

/// A JSON value, as far as bundles need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Text(String),
    /// A number written as a plain non-negative integer.
    Integer(u64),
    Array(Vec<Json>),
    Object(Object),
    /// Any other number, a truth value or null.
    Other,
}

/// The members of an object, each key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object(Vec<(String, Json)>);

impl Json {
    /// Parses a whole text.
    pub(super) fn parse(text: &str) -> Result<Self, BundleError> {
        let left = Cell::new(MAX_VALUES);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = Value(&left).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        parsed.map_err(|error| BundleError::Json { reason: format!("no strict JSON ({error})") })
    }

    pub(super) fn object(self) -> Result<Object, BundleError> {
        match self {
            Self::Object(object) => Ok(object),
            other => Err(other.is_no("an object")),
        }
    }

    pub(super) fn text(self) -> Result<String, BundleError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.is_no("a string")),
        }
    }

    pub(super) fn array(self) -> Result<Vec<Self>, BundleError> {
        match self {
            Self::Array(values) => Ok(values),
            other => Err(other.is_no("an array")),
        }
    }

    pub(super) fn integer(self) -> Result<u64, BundleError> {
        match self {
            Self::Integer(integer) => Ok(integer),
            other => Err(other.is_no("a plain integer")),
        }
    }

    fn is_no(&self, wanted: &str) -> BundleError {
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
    /// Takes a key that must be there.
    pub(super) fn take(&mut self, key: &str) -> Result<Json, BundleError> {
        match self.0.iter().position(|(name, _)| name == key) {
            Some(position) => Ok(self.0.swap_remove(position).1),
            None => Err(BundleError::Json { reason: ["no key \"", key, "\""].concat() }),
        }
    }

    /// Every key has been taken.
    pub(super) fn finish(self) -> Result<(), BundleError> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(BundleError::Json { reason: format!("the unknown key {:?}", cut(key)) }),
        }
    }
}

/// Foreign text in a message is short.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads one value and what is in it; counts them.
struct Value<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Json, E> {
        Ok(Json::Integer(integer))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(Value(self.0))? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Value(self.0))?;
            members.push((key, value));
        }
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(A::Error::custom(format_args!("the repeated key {:?}", cut(&pair[0].0))));
        }
        Ok(Json::Object(Object(members)))
    }
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
    fn keys_occur_once_at_every_level() {
        assert!(reason(r#"{"a":1,"b":2,"a":1}"#).contains("the repeated key \"a\""));
        assert!(reason(r#"[{"x":{"a":1,"\u0061":2}}]"#).contains("the repeated key \"a\""));
        assert!(Json::parse(r#"{"a":{"a":1}}"#).is_ok());
    }

    #[test]
    fn only_plain_integers_are_integers() {
        for other in ["1.0", "1e0", "-0", "-1", "true", "null", "0.5"] {
            assert_eq!(Json::parse(other), Ok(Json::Other), "{other}");
        }
        assert_eq!(Json::parse("18446744073709551615"), Ok(Json::Integer(u64::MAX)));
        for wrong in ["01", "1 2", "\u{feff}1", "NaN", "", "{\"a\":1,}", "\"\\ud800\"", "1e400"] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        assert!(Json::parse(&("[".repeat(60) + &"]".repeat(60))).is_ok());
        assert!(Json::parse(&("[".repeat(200) + &"]".repeat(200))).is_err());
        let many = format!("[{}0]", "0,".repeat(1 << 16));
        assert!(reason(&many).contains("too many values"), "{}", reason(&many));
    }
}
