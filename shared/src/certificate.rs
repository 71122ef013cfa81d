//! A claim, the members that signed the statement it follows from, and their aggregate signature: about 230 bytes.

use thiserror::Error;

use crate::bls::AggregateSignature;
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeRecord;
use crate::digest::CommitteeDigest;
use crate::limits::Limits;
use crate::receipt::ReceiptError;
use crate::statement::{Body, Statement, Stored};

const MAGIC: &[u8; 5] = b"vouch";
const VERSION: u8 = 1;
/// Bytes to begin with when encoding: those of a large batch in a committee of a hundred.
const TYPICAL_SIZE: usize = 640;

/// Which members signed: one bit each, at least one set, none beyond the last member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signers {
    n: u16,
    bitmap: Vec<u8>,
}

impl Signers {
    /// The signers among `n`, in any order; `None` when there is none or one is beyond the last member.
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

    /// As in a certificate: n, then the bitmap.
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
        // at most n bits are set
        self.bitmap.iter().map(|byte| u16::try_from(byte.count_ones()).unwrap_or(8)).sum()
    }

    /// Whether a member signed.
    pub fn contains(&self, member: u16) -> bool {
        self.bitmap.get(usize::from(member / 8)).is_some_and(|byte| byte >> (member % 8) & 1 == 1)
    }

    /// The positions of the signers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..self.n).filter(|member| self.contains(*member))
    }

    /// The positions of those who did not sign, ascending.
    pub fn absent(&self) -> impl Iterator<Item = u16> {
        (0..self.n).filter(|member| !self.contains(*member))
    }
}

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not the layout.
    #[error("certificate: {0}")]
    Decode(#[from] DecodeError),
    /// A format version that is not known.
    #[error("certificate version: expected {VERSION}, got {0}")]
    UnknownVersion(u8),
    /// A statement kind that is not known, or not the one wanted.
    #[error("statement kind: expected {expected} ({name}), got {got}")]
    AnotherKind {
        /// The kind wanted.
        expected: u16,
        /// Its name.
        name: &'static str,
        /// The certificate's.
        got: u16,
    },
    /// Not a receipt, or one of an unknown kind.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A bit is set that belongs to no member.
    #[error("bitmap: expected zero bits beyond member {n}, got last byte {got:#010b}")]
    SpareBits {
        /// The committee's size.
        n: u16,
        /// The last byte of the bitmap.
        got: u8,
    },
    /// No bit is set.
    #[error("bitmap: expected at least one signer, got none")]
    NoSigners,
}

/// A certificate of one kind of statement, a certificate of availability where nothing else is said. Well-formed, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<B: Body = Stored> {
    /// The epoch of the committee that signed.
    pub epoch: u64,
    /// The committee that signed.
    pub committee: CommitteeDigest,
    /// What is certified.
    pub claim: B::Claim,
    /// Who signed.
    pub signers: Signers,
    /// The sum of their signatures.
    pub signature: AggregateSignature,
}

impl<B: Body> Certificate<B> {
    /// A claim that members of `committee` signed, which is not checked here.
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

    /// The body that was signed. `None` for a claim that decoding rules out.
    pub fn body(&self) -> Option<B> {
        B::of_claim(&self.claim)
    }

    /// The statement that `committee` must have signed for this certificate to hold. `None` as for [`body`](Self::body).
    pub fn statement(&self, committee: &CommitteeRecord) -> Option<Statement<B>> {
        Some(Statement::new(committee, self.body()?))
    }
}
