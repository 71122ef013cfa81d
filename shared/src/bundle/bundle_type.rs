//! The types of bundles, and their media types.

use super::json::Json;
use super::parse_object;
use crate::committee::CommitteeRecord;
use crate::digest::ClusterId;
use crate::limits::Limits;

/// What a bundle proves something about. The value of its key `type` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BundleType {
    /// A file: its certificate of availability.
    File,
    /// An op of the log.
    Op,
    /// The head of the log.
    LogHead,
    /// A block of the log.
    LogBlock,
    /// A member that signed two conflicting messages.
    Evidence,
    /// A committee that handed over twice.
    Fork,
}

impl BundleType {
    /// Every type.
    pub const ALL: [Self; 6] = [Self::File, Self::Op, Self::LogHead, Self::LogBlock, Self::Evidence, Self::Fork];

    /// The media type, which is the value of the key `type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::File => "application/vnd.vouch.bundle+json",
            Self::Op => "application/vnd.vouch.op-proof+json",
            Self::LogHead => "application/vnd.vouch.log-head+json",
            Self::LogBlock => "application/vnd.vouch.log-block+json",
            Self::Evidence => "application/vnd.vouch.evidence+json",
            Self::Fork => "application/vnd.vouch.fork+json",
        }
    }

    /// The type that a text claims. It is not checked to be a bundle. `None` if the text is not strict JSON, or claims an unknown type.
    pub fn of(text: &[u8], limits: &Limits) -> Option<Self> {
        let claimed = parse_object(text, limits).ok()?.take("type").ok()?.text().ok()?;
        Self::ALL.into_iter().find(|bundle_type| bundle_type.media_type() == claimed)
    }
}

/// The cluster identity that a bundle of any type claims, for the first contact with a cluster. Nothing is verified: it may be any. `None` if
/// the text is not strict JSON with a well-formed first committee.
pub fn claimed_cluster(text: &[u8], limits: &Limits) -> Option<ClusterId> {
    let mut bundle = parse_object(text, limits).ok()?;
    let committee = |start: Json| start.object().ok()?.bytes("committee").ok();
    let record = match bundle.take_if_there("checkpoint") {
        Some(checkpoint) => CommitteeRecord::decode_later(&committee(checkpoint)?, limits),
        None => CommitteeRecord::decode(&committee(bundle.take("genesis").ok()?)?, limits),
    };
    Some(record.ok()?.cluster())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_that_of_the_outermost_object() {
        let of = |text: &str| BundleType::of(text.as_bytes(), &Limits::default());
        for bundle_type in BundleType::ALL {
            let media_type = bundle_type.media_type();
            assert_eq!(of(&format!(r#"{{"version":2,"type":"{media_type}"}}"#)), Some(bundle_type));
            assert_eq!(of(&format!(r#"{{"genesis":{{"type":"{media_type}"}}}}"#)), None);
            assert_eq!(of(&format!(r#"{{"type":"{media_type}","type":"{media_type}"}}"#)), None);
        }
        for other in ["", "[]", "{}", r#"{"type":1}"#, r#"{"type":"text/plain"}"#] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
