//! A bundle: a certificate with what is needed to check it, as one strict JSON text.

mod bundle_type;
mod epochs;
#[cfg(feature = "nodes")]
mod evidence;
#[cfg(feature = "nodes")]
mod fork;
mod json;
mod of_log;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use thiserror::Error;

use self::json::{Json, Object};
use crate::bls::Possession;
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::comparison::{Comparison, Quoted, display_comparison};
use crate::limits::{Limits, MAX_SAFE_INTEGER};
use crate::statement::Body;

pub use bundle_type::{BundleType, claimed_cluster};
pub(crate) use epochs::ChainText;
pub use epochs::{BundleChain, BundleEpoch, BundleStart};
#[cfg(feature = "nodes")]
pub use evidence::EvidenceBundle;
#[cfg(feature = "nodes")]
pub(crate) use evidence::EvidenceBundleText;
#[cfg(feature = "nodes")]
pub use fork::ForkBundle;
#[cfg(feature = "nodes")]
pub(crate) use fork::{ForkBundleText, parse_chain};
pub use of_log::{BlockBundle, HeadBundle, OpBundle};
pub(crate) use of_log::{BlockBundleText, OpBundleText, parse_head_bundle};

const VERSION: u64 = 1;

/// Why a text is not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// The text is longer than the limit.
    TooLarge {
        /// The limit.
        expected: usize,
        /// The text's length in bytes.
        got: usize,
    },
    /// The text is not strict JSON, or does not have the keys of a bundle.
    Json {
        /// What the parser found, and where.
        reason: String,
    },
    /// `type` has a wrong value.
    Type {
        /// The media type required.
        expected: &'static str,
        /// The value found.
        got: String,
    },
    /// An unknown format version.
    UnknownVersion(u64),
    /// A value is not encoded as required.
    Field {
        /// The key.
        field: &'static str,
        /// The required encoding.
        expected: &'static str,
        /// What is wrong with the value.
        got: String,
    },
}

impl BundleError {
    /// What the format requires, and what the text has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::TooLarge { expected, got } => {
                Comparison::new(&"bundle", &format_args!("at most {expected} bytes"), got)
            }
            Self::Json { reason } => Comparison::new(&"bundle", &"the JSON of a bundle", reason),
            Self::Type { expected, got } => Comparison::new(&"bundle type", &Quoted(expected), &Quoted(got)),
            Self::UnknownVersion(got) => Comparison::new(&"bundle version", &VERSION, got),
            Self::Field { field, expected, got } => {
                Comparison::new(&format_args!("bundle field {field}"), expected, got)
            }
        }
    }
}

display_comparison!(BundleError);

/// A parsed bundle. Its parts are bytes that are not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The encoded certificate.
    pub certificate: Vec<u8>,
    /// The committees.
    pub chain: BundleChain,
    /// The encoded [`SealPath`](crate::seal::SealPath) of the certified statement: it is in the seal of its epoch. The seal needs no signature:
    /// the history of the committee two epochs after the sealed one names it. Only the bundle of a file may have this.
    pub sealed: Option<Vec<u8>>,
}

impl Bundle {
    /// The bundle of a certificate that a committee of the chain signed, with the chain up to that committee.
    pub fn new(certificate: &Certificate, chain: &CommitteeChain) -> Self {
        Self::of(certificate, chain)
    }

    fn of<B: Body>(certificate: &Certificate<B>, chain: &CommitteeChain) -> Self {
        let chain = BundleChain::new(chain, certificate.epoch);
        Self { certificate: certificate.encode(), chain, sealed: None }
    }

    /// Parses a bundle strictly. It does not decode the certificate and the committees.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let BundleText { certificate, chain, sealed } = BundleText::parse(text, limits)?;
        Ok(Self { certificate, chain: chain.decode()?, sealed })
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.json(BundleType::File))
    }

    fn json(&self, bundle_type: BundleType) -> Value {
        let mut json = envelope(bundle_type, "certificate", &self.certificate, &self.chain);
        if let Some(path) = &self.sealed {
            json["sealed"] = Base64UrlUnpadded::encode_string(path).into();
        }
        json
    }
}

/// The keys that bundles of every type have, and one whose value is what the committee signed.
fn envelope(bundle_type: BundleType, key: &str, signed: &[u8], chain: &BundleChain) -> Value {
    let mut bundle = json!({
        "type": bundle_type.media_type(),
        "version": VERSION,
        key: Base64UrlUnpadded::encode_string(signed),
    });
    chain.write(&mut bundle);
    bundle
}

/// A bundle whose JSON is parsed, but whose committees are still text: a verifier that has cached this text need not decode it.
#[derive(Debug)]
pub(crate) struct BundleText {
    pub(crate) certificate: Vec<u8>,
    pub(crate) chain: ChainText,
    pub(crate) sealed: Option<Vec<u8>>,
}

/// Parses the JSON of any bundle.
fn parse_object(text: &[u8], limits: &Limits) -> Result<Object, BundleError> {
    if text.len() > limits.bundle {
        return Err(BundleError::TooLarge { expected: limits.bundle, got: text.len() });
    }
    let text = std::str::from_utf8(text).map_err(|error| BundleError::Json { reason: error.to_string() })?;
    Json::parse(text)?.object()
}

/// Parses the JSON of a bundle of this type, up to the rules that hold for all of them: size, version and type.
fn open(text: &[u8], expected: BundleType, limits: &Limits) -> Result<Object, BundleError> {
    let mut bundle = parse_object(text, limits)?;
    let media_type = bundle.take("type")?.text()?;
    let version = bundle.take("version")?.integer()?;
    if version > MAX_SAFE_INTEGER {
        return Err(BundleError::Json { reason: format!("version {version}, above 2^53 − 1") });
    }
    if version != VERSION {
        return Err(BundleError::UnknownVersion(version));
    }
    let expected = expected.media_type();
    if media_type != expected {
        return Err(BundleError::Type { expected, got: json::cut(&media_type) });
    }
    Ok(bundle)
}

impl BundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut bundle = open(text, BundleType::File, limits)?;
        let sealed = bundle.take_if_there("sealed");
        let sealed = sealed.map(|path| base64url("sealed", &path.text()?)).transpose()?;
        Ok(Self { sealed, ..Self::read(bundle)? })
    }

    /// The keys that bundles with a certificate have.
    fn read(mut bundle: Object) -> Result<Self, BundleError> {
        let certificate = bundle.bytes("certificate")?;
        Ok(Self { certificate, chain: ChainText::read(bundle)?, sealed: None })
    }
}

impl Object {
    /// Removes a required key and decodes its base64url.
    fn bytes(&mut self, key: &'static str) -> Result<Vec<u8>, BundleError> {
        base64url(key, &self.take(key)?.text()?)
    }
}

fn base64url(field: &'static str, text: &str) -> Result<Vec<u8>, BundleError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|error| BundleError::Field {
        field,
        expected: "base64url without padding",
        got: error.to_string(),
    })
}

fn possession(text: &str) -> Result<Possession, BundleError> {
    let wrong = |got: String| BundleError::Field { field: "pops", expected: "base58 of 96 bytes", got };
    // Decoding is quadratic, so refuse long texts first: 96 bytes are at most 132 characters.
    if text.len() > 132 {
        return Err(wrong(format!("{} characters", text.len())));
    }
    let bytes = bs58::decode(text).into_vec().map_err(|error| wrong(error.to_string()))?;
    let size = bytes.len();
    bytes.try_into().map(Possession).map_err(|_| wrong(format!("{size} bytes")))
}
