//! 32-byte hashes, one type per meaning, and their text forms.

use std::fmt;
use std::str::FromStr;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::comparison::Quoted;

/// Why a text is not a 32-byte value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseHashError {
    /// The text has 64 characters, but not all are hexadecimal digits.
    #[error("expected 64 hexadecimal digits, got another character at position {position}")]
    NotHex {
        /// Position of the first character that is not a digit, from 0.
        position: usize,
    },
    /// The text is not base58.
    #[error("expected base58 or 64 hexadecimal digits, got {}", Quoted(.text))]
    NotBase58 {
        /// The text, cut after 80 characters.
        text: String,
    },
    /// The text is base58, but not of 32 bytes.
    #[error("expected 32 bytes, got {got}")]
    Size {
        /// The number of bytes decoded.
        got: usize,
    },
}

/// Parses 32 bytes. A text of exactly 64 ASCII bytes is hex, any other text is base58.
pub(crate) fn parse_32(text: &str) -> Result<[u8; 32], ParseHashError> {
    let mut value = [0; 32];
    if text.len() == 64 && text.is_ascii() {
        if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
            return Err(ParseHashError::NotHex { position });
        }
        // Cannot fail: there are 64 characters, all digits.
        base16ct::mixed::decode(text, &mut value).map_err(|_| ParseHashError::NotHex { position: 0 })?;
        return Ok(value);
    }
    let not_base58 = || ParseHashError::NotBase58 { text: text.chars().take(80).collect() };
    // Decoding is quadratic, so refuse long texts first: 32 bytes are at most 44 characters.
    if text.len() > 64 {
        return Err(not_base58());
    }
    let bytes = bs58::decode(text).into_vec().map_err(|_| not_base58())?;
    if bytes.len() != value.len() {
        return Err(ParseHashError::Size { got: bytes.len() });
    }
    value.copy_from_slice(&bytes);
    Ok(value)
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 64 lower-case hexadecimal digits.
            pub fn to_hex(&self) -> String {
                base16ct::lower::encode_string(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&bs58::encode(self.0).into_string())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                parse_32(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

hash_type! {
    /// The plain BLAKE3 hash of a blob, as `b3sum` prints it in hex. Shown in base58.
    Digest
}

hash_type! {
    /// The cluster identity: the digest of the cluster's genesis committee. Users must not obtain it from the server that they
    /// check with it.
    ClusterId
}

hash_type! {
    /// The digest of one committee's encoding.
    CommitteeDigest
}

hash_type! {
    /// What a committee commits to of the epochs before it: the handoffs and seals up to then.
    History
}

hash_type! {
    /// The identity of an op. It depends on the cluster and the op, and not on the members that submitted it.
    OpId
}

hash_type! {
    /// The identity of a change of members.
    ChangeId
}

hash_type! {
    /// The identity of a change of the rules of access.
    AccessChangeId
}

hash_type! {
    /// The digest of a block's header, and thereby of the block. The genesis has none: block 1 has [`BlockDigest::GENESIS`] as its
    /// parent.
    BlockDigest
}

hash_type! {
    /// The digest of the log's state after a block: what has been applied, and the state machine.
    StateDigest
}

impl BlockDigest {
    /// The parent of block 1: 32 zero bytes.
    pub const GENESIS: Self = Self([0; 32]);
}

impl StateDigest {
    /// The digest of a state's canonical encoding.
    pub fn of(encoding: &[u8]) -> Self {
        Self(derive("vouch log state v1", &[encoding]))
    }
}

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Computes a digest piece by piece, in constant memory.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    inner: blake3::Hasher,
    length: u64,
}

impl Hasher {
    /// A hasher that has taken no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// The digest of everything so far.
    pub fn digest(&self) -> Digest {
        Digest(*self.inner.finalize().as_bytes())
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// BLAKE3 in key-derivation mode. Each use has its own context string, which separates its hashes from other uses'.
pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    DerivedHash::new(context).of(parts)
}

/// BLAKE3 in key-derivation mode with one context, for many short inputs: the context is hashed once, and not with each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DerivedHash(ContextKey);

impl DerivedHash {
    pub(crate) fn new(context: &str) -> Self {
        Self(hash_derive_key_context(context))
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_from_context_key(&self.0);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_round_trip() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_hex().parse(), Ok(digest));
        assert_eq!(digest.to_hex().to_uppercase().parse(), Ok(digest));
    }

    #[test]
    fn malformed_texts_are_rejected() {
        let parse = |text: &str| text.parse::<Digest>();
        assert_eq!(parse(&"g".repeat(64)), Err(ParseHashError::NotHex { position: 0 }));
        assert_eq!(parse(""), Err(ParseHashError::Size { got: 0 }));
        assert_eq!(parse("11"), Err(ParseHashError::Size { got: 2 }));
        // In base58, each leading 1 is a zero byte.
        assert_eq!(parse(&"1".repeat(32)), Ok(Digest([0; 32])));
        assert_eq!(parse(&"1".repeat(33)), Err(ParseHashError::Size { got: 33 }));
        // Hex is 64 ASCII bytes: neither 64 bytes of other characters nor 64 other characters.
        for text in ["é".repeat(32), "é".repeat(64), "\u{ff10}".repeat(64)] {
            assert!(matches!(parse(&text), Err(ParseHashError::NotBase58 { .. })), "{text}");
        }
        assert!(matches!(parse("0OIl"), Err(ParseHashError::NotBase58 { .. })));
        assert!(matches!(parse(&"1".repeat(1 << 20)), Err(ParseHashError::NotBase58 { .. })));
    }

    /// BLAKE3's published vectors. They are not part of the repository: the test is skipped if there is no copy beside it.
    #[test]
    fn published_blake3_vectors() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/blake3/test_vectors.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: no published vectors of BLAKE3");
            return;
        };
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let context = vectors["context_string"].as_str().unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let length = case["input_len"].as_u64().unwrap();
            let input: Vec<u8> = (0..=250).cycle().take(length.try_into().unwrap()).collect();
            // The first 32 bytes of an extended output.
            let expected = |mode: &str| &case[mode].as_str().unwrap()[..64];
            assert_eq!(Digest::of(&input).to_hex(), expected("hash"), "{length}");
            assert_eq!(base16ct::lower::encode_string(&derive(context, &[&input])), expected("derive_key"), "{length}");
            let (start, end) = input.split_at(input.len() / 3);
            assert_eq!(derive(context, &[start, end]), derive(context, &[&input]), "{length}");
            let mut hasher = Hasher::new();
            hasher.update(start);
            hasher.update(end);
            assert_eq!((hasher.digest(), hasher.length()), (Digest::of(&input), length));
        }
    }
}
