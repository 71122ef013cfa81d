//! The checks of a verdict in order, and the three questions that they answer.

use serde::{Serialize, Serializer};

use crate::bundle::BundleType;

/// The questions that a verdict answers separately, in this order: a forged certificate must not make a genuine file look wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictQuestion {
    /// Is the certificate genuine? Needs no file.
    Genuine,
    /// Is this the file? For an op, a block or a height: does the log have it?
    Matches,
    /// Is the certificate in force?
    InForce,
}

impl VerdictQuestion {
    /// Every question, in order.
    pub const ALL: [Self; 3] = [Self::Genuine, Self::Matches, Self::InForce];

    /// The question in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Genuine => "Is the certificate genuine?",
            Self::Matches => "Is this the file?",
            Self::InForce => "Is it in force?",
        }
    }

    /// The question in words, about a bundle of this type.
    pub fn text_for(self, bundle_type: BundleType) -> &'static str {
        match (self, bundle_type) {
            (Self::Matches, BundleType::Op) => "Does the log have the op?",
            (Self::Matches, BundleType::LogHead) => "Does the log reach this height?",
            (Self::Matches, BundleType::LogBlock) => "Does the log have the block?",
            (Self::Genuine, BundleType::Evidence | BundleType::Fork) => "Is the evidence genuine?",
            _ => self.text(),
        }
    }
}

/// One line of the verification table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The bundle is well formed.
    Bundle,
    /// The evidence is well formed.
    #[cfg(feature = "nodes")]
    Evidence,
    /// The certificate is well formed.
    Certificate,
    /// The committees, and the certificates of the handoffs between them, are well formed.
    Committee,
    /// The committees are the trusted cluster's.
    Identity,
    /// The certificate was made by the committee of its epoch.
    Epoch,
    /// Enough members signed.
    Signers,
    /// Every member of the first committee proved that it holds its vote key.
    Possession,
    /// Each later committee follows from the one before, and the pinned one is among them.
    Chain,
    /// The aggregate signature is by the signers, over the statement.
    Signature,
    /// The certificate was made before its epoch ended.
    Closing,
    /// The statement is in the seal of its epoch, if the bundle says so or the user demands it.
    Seal,
    /// The accused is a member of the committee.
    #[cfg(feature = "nodes")]
    Accused,
    /// The accused signed both messages of the evidence.
    #[cfg(feature = "nodes")]
    Conflict,
    /// The proof of an op is well formed.
    Proof,
    /// A block is well formed, and its ops are those that its header commits to.
    Ops,
    /// The block, or the op's block, is in the log that the certificate is for.
    Block,
    /// The op and its effect are in that block.
    Result,
    /// The op is the one that was asked for.
    Op,
    /// The block is of the height that was asked for; the log head is of that height or a greater one.
    Height,
    /// The file's digest is the certified one.
    Digest,
    /// The file's length is the certified one.
    Length,
    /// The certificate was not issued in the future.
    Time,
    /// The certificate has not expired: replicas must still keep the file.
    Expiry,
}

impl Check {
    /// The checks that a certificate is genuine, in order. Every verdict on a certificate begins with them.
    pub const OF_CERTIFICATE: [Self; 10] = [
        Self::Bundle,
        Self::Certificate,
        Self::Committee,
        Self::Identity,
        Self::Epoch,
        Self::Signers,
        Self::Possession,
        Self::Chain,
        Self::Signature,
        Self::Closing,
    ];

    /// The further checks of a file's bundle, in order.
    pub const OF_FILE: [Self; 5] = [Self::Seal, Self::Digest, Self::Length, Self::Time, Self::Expiry];

    /// The further checks of an op's bundle, in order.
    pub const OF_OP: [Self; 5] = [Self::Proof, Self::Block, Self::Result, Self::Op, Self::Time];

    /// The further checks of a log head's bundle, in order.
    pub const OF_LOG_HEAD: [Self; 2] = [Self::Height, Self::Time];

    /// The further checks of a block's bundle, in order.
    pub const OF_LOG_BLOCK: [Self; 4] = [Self::Ops, Self::Block, Self::Height, Self::Time];

    /// Every check of a fork, in order.
    #[cfg(feature = "nodes")]
    pub const OF_FORK: [Self; 10] = [
        Self::Bundle,
        Self::Evidence,
        Self::Committee,
        Self::Identity,
        Self::Epoch,
        Self::Signers,
        Self::Possession,
        Self::Chain,
        Self::Signature,
        Self::Conflict,
    ];

    /// Every check of evidence, in order. It has no certificate.
    #[cfg(feature = "nodes")]
    pub const OF_EVIDENCE: [Self; 8] = [
        Self::Bundle,
        Self::Evidence,
        Self::Committee,
        Self::Identity,
        Self::Possession,
        Self::Chain,
        Self::Accused,
        Self::Conflict,
    ];

    /// The question that the check belongs to.
    pub fn question(self) -> VerdictQuestion {
        match self {
            #[cfg(feature = "nodes")]
            Self::Evidence | Self::Accused | Self::Conflict => VerdictQuestion::Genuine,
            Self::Bundle
            | Self::Certificate
            | Self::Committee
            | Self::Identity
            | Self::Epoch
            | Self::Signers
            | Self::Possession
            | Self::Chain
            | Self::Signature
            | Self::Closing
            | Self::Seal => VerdictQuestion::Genuine,
            Self::Digest
            | Self::Length
            | Self::Proof
            | Self::Ops
            | Self::Block
            | Self::Result
            | Self::Op
            | Self::Height => VerdictQuestion::Matches,
            Self::Time | Self::Expiry => VerdictQuestion::InForce,
        }
    }

    /// The check's name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            #[cfg(feature = "nodes")]
            Self::Evidence => "evidence",
            Self::Certificate => "certificate",
            Self::Committee => "committee",
            Self::Identity => "identity",
            Self::Epoch => "epoch",
            Self::Signers => "signers",
            Self::Possession => "possession",
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Closing => "closing",
            Self::Seal => "seal",
            #[cfg(feature = "nodes")]
            Self::Accused => "accused",
            #[cfg(feature = "nodes")]
            Self::Conflict => "conflict",
            Self::Proof => "proof",
            Self::Ops => "ops",
            Self::Block => "block",
            Self::Result => "result",
            Self::Op => "op",
            Self::Height => "height",
            Self::Digest => "digest",
            Self::Length => "length",
            Self::Time => "time",
            Self::Expiry => "expiry",
        }
    }

    /// What it means that the check passed, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Bundle => "the bundle is complete and well formed",
            #[cfg(feature = "nodes")]
            Self::Evidence => "the evidence is well formed: two messages that conflict",
            Self::Certificate => "the certificate is well formed",
            Self::Committee => "the committees are well formed",
            Self::Identity => "the committees are those of the cluster you trust",
            Self::Epoch => "the certificate names the committee of its epoch",
            Self::Signers => "enough members signed to outweigh every tolerated fault",
            Self::Possession => "every member of the first committee proved that it holds its own key",
            Self::Chain => "each later committee was signed in by the one before",
            Self::Closing => "it was made before its committee handed over",
            Self::Seal => "it is in the seal of its epoch",
            Self::Signature => "the signature is by exactly these members over exactly this statement",
            #[cfg(feature = "nodes")]
            Self::Accused => "the accused is a member of this committee",
            #[cfg(feature = "nodes")]
            Self::Conflict => "the accused signed both messages",
            Self::Proof => "the proof of the op is well formed",
            Self::Ops => "the block is well formed, and has the ops that its header names",
            Self::Block => "the block is in the certified log",
            Self::Result => "the op and its effect are in this block",
            Self::Op => "the op is the one that you asked for",
            Self::Height => "the height is what you asked for",
            Self::Digest => "the file is the certified one, byte for byte",
            Self::Length => "the file has the certified length",
            Self::Time => "it was issued in the past",
            Self::Expiry => "not expired: replicas must still keep the file",
        }
    }
}

/// As [`name`](Check::name).
impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
