//! A certificate: a claim, the members that signed the statement that follows from it, and their aggregate signature. About
//! 230 bytes.

use thiserror::Error;

use crate::bls::AggregateSignature;
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeRecord;
use crate::comparison::{Comparison, display_comparison};
use crate::digest::CommitteeDigest;
use crate::limits::Limits;
use crate::receipt::ReceiptError;
use crate::statement::{Body, ClaimError, Statement, Stored};

const MAGIC: &[u8; 5] = b"vouch";
const VERSION: u8 = 1;
/// Initial capacity in bytes for encoding: enough for a large batch in a committee of a hundred.
const TYPICAL_SIZE: usize = 640;

/// The members that signed, as a bitmap of one bit per member. At least one bit is set, and none beyond the last member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signers {
    n: u16,
    bitmap: Vec<u8>,
}

impl Signers {
    /// The signers among `n` members, in any order. `None` if there are none, or if an index is not below `n`.
    pub fn new(n: u16, signers: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut bitmap = vec![0u8; usize::from(n).div_ceil(8)];
        for member in signers {
            if member >= n {
                return None;
            }
            bitmap[usize::from(member / 8)] |= 1 << (member % 8);
        }
        bitmap.iter().any(|byte| *byte != 0).then_some(Self { n, bitmap })
    }

    pub(crate) fn read(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, CertificateError> {
        let n = reader.u16("n")?;
        in_range("n", n.into(), 1, limits.members.into())?;
        let bitmap = reader.take("bitmap", usize::from(n).div_ceil(8))?.to_vec();
        let used = n % 8;
        let last = bitmap.last().copied().unwrap_or_default();
        if used != 0 && last >> used != 0 {
            return Err(CertificateError::SpareBits { n, got: last });
        }
        if bitmap.iter().all(|byte| *byte == 0) {
            return Err(CertificateError::NoSigners);
        }
        Ok(Self { n, bitmap })
    }

    /// Appends n, then the bitmap, as in a certificate.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.n.to_le_bytes());
        out.extend_from_slice(&self.bitmap);
    }

    /// The size of the committee that the bitmap is for.
    pub fn n(&self) -> u16 {
        self.n
    }

    /// The number of signers.
    pub fn count(&self) -> u16 {
        // Cannot overflow: at most n bits are set.
        self.bitmap.iter().map(|byte| u16::try_from(byte.count_ones()).unwrap_or(8)).sum()
    }

    /// Whether a member signed.
    pub fn contains(&self, member: u16) -> bool {
        self.bitmap.get(usize::from(member / 8)).is_some_and(|byte| byte >> (member % 8) & 1 == 1)
    }

    /// The indices of the signers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..self.n).filter(|member| self.contains(*member))
    }

    /// The indices of the members that did not sign, ascending.
    pub fn absent(&self) -> impl Iterator<Item = u16> {
        (0..self.n).filter(|member| !self.contains(*member))
    }
}

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version.
    UnknownVersion(u8),
    /// A statement kind that is unknown, or not the expected one.
    AnotherKind {
        /// The number of the expected kind.
        expected: u16,
        /// The name of the expected kind.
        name: &'static str,
        /// The number of the certificate's kind.
        got: u16,
    },
    /// The receipt is not well formed, or of an unknown kind.
    Receipt(#[from] ReceiptError),
    /// A bit beyond the last member is set.
    SpareBits {
        /// The committee's size.
        n: u16,
        /// The last byte of the bitmap.
        got: u8,
    },
    /// No bit of the bitmap is set.
    NoSigners,
}

impl CertificateError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("certificate"),
            Self::UnknownVersion(got) => Comparison::new(&"certificate version", &VERSION, got),
            Self::AnotherKind { expected, name, got } => {
                Comparison::new(&"statement kind", &format_args!("{expected} ({name})"), got)
            }
            Self::Receipt(error) => error.comparison(),
            Self::SpareBits { n, got } => {
                let expected = format_args!("zero bits beyond member {n}");
                Comparison::new(&"bitmap", &expected, &format_args!("last byte {got:#010b}"))
            }
            Self::NoSigners => Comparison::new(&"bitmap", &"at least one signer", &"none"),
        }
    }
}

display_comparison!(CertificateError);

impl From<ClaimError> for CertificateError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Decode(error) => error.into(),
            ClaimError::Receipt(error) => error.into(),
        }
    }
}

/// A certificate of one kind of statement; by default, a certificate of availability. It is well formed, but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<B: Body = Stored> {
    /// The epoch of the committee that signed.
    pub epoch: u64,
    /// The digest of the committee that signed.
    pub committee: CommitteeDigest,
    /// The certified claim.
    pub claim: B::Claim,
    /// The members that signed.
    pub signers: Signers,
    /// The sum of the signers' signatures.
    pub signature: AggregateSignature,
}

impl<B: Body> Certificate<B> {
    /// The certificate of a claim that members of `committee` signed. The signature is not checked.
    pub fn new(committee: &CommitteeRecord, claim: B::Claim, signers: Signers, signature: AggregateSignature) -> Self {
        Self { epoch: committee.epoch(), committee: committee.digest(), claim, signers, signature }
    }

    /// Decodes exactly one certificate of this kind.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, CertificateError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CertificateError::UnknownVersion(version));
        }
        let kind = reader.u16("statement kind")?;
        if kind != B::KIND {
            return Err(CertificateError::AnotherKind { expected: B::KIND, name: B::NAME, got: kind });
        }
        let epoch = reader.safe_u64("epoch")?;
        let committee = CommitteeDigest(reader.array("committee digest")?);
        let claim = B::read_claim(&mut reader, limits)?;
        B::check_epoch(&claim, epoch)?;
        let signers = Signers::read(&mut reader, limits)?;
        let signature = AggregateSignature(reader.array("signature")?);
        reader.finish()?;
        Ok(Self { epoch, committee, claim, signers, signature })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TYPICAL_SIZE);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&B::KIND.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.committee.0);
        B::write_claim(&self.claim, &mut out);
        self.signers.write(&mut out);
        out.extend_from_slice(&self.signature.0);
        out
    }

    /// The body that the signers must have signed. `None` for a claim that decoding never yields.
    pub fn body(&self) -> Option<B> {
        B::of_claim(&self.claim)
    }

    /// The statement that `committee` must have signed if this certificate is valid. `None` as for [`body`](Self::body).
    pub fn statement(&self, committee: &CommitteeRecord) -> Option<Statement<B>> {
        Some(Statement::new(committee, self.body()?))
    }
}

impl Certificate<Stored> {
    /// Whether this certificate replaces another one of the same blob: it expires later, or at the same time and is newer. A newer
    /// certificate that expires earlier replaces none: it would hide the longer promise from replicas that have yet to fetch the blob.
    pub fn supersedes(&self, other: &Self) -> bool {
        let rank = |of: &Self| (of.claim.receipt.expires_at, of.claim.issued_at);
        rank(self) > rank(other)
    }
}
