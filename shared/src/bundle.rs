//! A certificate with what is needed to check it, as one strict JSON text: a file that proves itself.

mod json;

use base64ct::{Base64UrlUnpadded, Encoding};
use thiserror::Error;

use self::json::Json;
use crate::bls::Possession;
use crate::certificate::Certificate;
use crate::committee::Committee;
use crate::limits::{Limits, MAX_SAFE_INTEGER};

/// The media type, and the value of `type`.
pub const MEDIA_TYPE: &str = "application/vnd.vouch.bundle+json";
const VERSION: u64 = 1;

/// Why a text is not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Longer than the limit.
    #[error("bundle: expected at most {expected} bytes, got {got}")]
    TooLarge {
        /// The limit.
        expected: usize,
        /// The text's length in bytes.
        got: usize,
    },
    /// Not JSON, or not the members that a bundle has.
    #[error("bundle: expected the JSON of a bundle, got {reason}")]
    Json {
        /// What the parser met, and where.
        reason: String,
    },
    /// `type` is another.
    #[error("bundle type: expected {MEDIA_TYPE:?}, got {got:?}")]
    Type {
        /// The value found.
        got: String,
    },
    /// A format version that is not known.
    #[error("bundle version: expected {VERSION}, got {0}")]
    UnknownVersion(u64),
    /// A value is not in its encoding.
    #[error("bundle field {field}: expected {expected}, got {got}")]
    Field {
        /// The key.
        field: &'static str,
        /// The encoding it must have.
        expected: &'static str,
        /// What is wrong with it.
        got: String,
    },
}

/// A parsed bundle: its parts are bytes still to be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The encoded certificate.
    pub certificate: Vec<u8>,
    /// The encoded genesis committee.
    pub genesis: Vec<u8>,
    /// Proofs of possession, one for each genesis member.
    pub possessions: Vec<Possession>,
    /// The number of later epochs. Their handoffs are not specified yet.
    pub epochs: usize,
}

impl Bundle {
    /// The bundle of a certificate by a genesis committee.
    pub fn new(certificate: &Certificate, committee: &Committee) -> Self {
        Self {
            certificate: certificate.encode(),
            genesis: committee.record().encode(),
            possessions: committee.possessions().to_vec(),
            epochs: 0,
        }
    }

    /// Parses strictly; what the parts hold is not looked at.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let BundleText { certificate, genesis, epochs } = BundleText::parse(text, limits)?;
        let (genesis, possessions) = genesis.decode()?;
        Ok(Self { certificate, genesis, possessions, epochs })
    }

    /// The JSON text, ending with a line feed. Only for bundles without later epochs, which are all there are.
    pub fn to_json(&self) -> String {
        let json = serde_json::json!({
            "type": MEDIA_TYPE,
            "version": VERSION,
            "certificate": Base64UrlUnpadded::encode_string(&self.certificate),
            "genesis": {
                "committee": Base64UrlUnpadded::encode_string(&self.genesis),
                "pops": self.possessions.iter().map(Possession::to_string).collect::<Vec<_>>(),
            },
            "epochs": [],
        });
        format!("{json:#}\n")
    }
}

/// A bundle whose JSON was read, while its committee is still text: a verifier that knows the text need not decode it.
#[derive(Debug)]
pub(crate) struct BundleText {
    pub(crate) certificate: Vec<u8>,
    pub(crate) genesis: GenesisText,
    pub(crate) epochs: usize,
}

/// The genesis committee and its proofs as a bundle spells them; each value has one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GenesisText {
    committee: String,
    pops: Vec<String>,
}

impl BundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        if text.len() > limits.bundle {
            return Err(BundleError::TooLarge { expected: limits.bundle, got: text.len() });
        }
        let text = std::str::from_utf8(text).map_err(|error| BundleError::Json { reason: error.to_string() })?;
        let mut bundle = Json::parse(text)?.object()?;
        let media_type = bundle.take("type")?.text()?;
        let version = bundle.take("version")?.integer()?;
        if version > MAX_SAFE_INTEGER {
            return Err(BundleError::Json { reason: format!("version {version}, above 2^53 − 1") });
        }
        if version != VERSION {
            return Err(BundleError::UnknownVersion(version));
        }
        if media_type != MEDIA_TYPE {
            return Err(BundleError::Type { got: json::cut(&media_type) });
        }
        let certificate = base64url("certificate", &bundle.take("certificate")?.text()?)?;
        let mut genesis = bundle.take("genesis")?.object()?;
        let committee = genesis.take("committee")?.text()?;
        let pops = genesis.take("pops")?.array()?.into_iter().map(Json::text).collect::<Result<_, _>>()?;
        genesis.finish()?;
        let epochs = bundle.take("epochs")?.array()?;
        let count = epochs.len();
        for epoch in epochs {
            let mut epoch = epoch.object()?;
            base64url("handoff", &epoch.take("handoff")?.text()?)?;
            base64url("committee", &epoch.take("committee")?.text()?)?;
            epoch.finish()?;
        }
        bundle.finish()?;
        Ok(Self { certificate, genesis: GenesisText { committee, pops }, epochs: count })
    }
}

impl GenesisText {
    /// The encoded committee, and its proofs.
    pub(crate) fn decode(&self) -> Result<(Vec<u8>, Vec<Possession>), BundleError> {
        let committee = base64url("committee", &self.committee)?;
        let possessions = self.pops.iter().map(|text| possession(text)).collect::<Result<_, _>>()?;
        Ok((committee, possessions))
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
    // 96 bytes are at most 132 characters; decoding is quadratic, so longer texts are not tried
    if text.len() > 132 {
        return Err(wrong(format!("{} characters", text.len())));
    }
    let bytes = bs58::decode(text).into_vec().map_err(|error| wrong(error.to_string()))?;
    let size = bytes.len();
    bytes.try_into().map(Possession).map_err(|_| wrong(format!("{size} bytes")))
}
