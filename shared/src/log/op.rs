//! An op: what a client wants the log to order. A member submits it with its signature.

use thiserror::Error;

use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, OpId, derive};
use crate::limits::{MAX_OP_BODY, MAX_SAFE_INTEGER};
use crate::link::{NodeKey, NodeSecretKey};

const VERSION: u8 = 1;
/// The name, length first. It separates submissions from everything else that a node key signs.
const NAMESPACE: &[u8; 16] = b"\x0Fvouch/log-op/v1";

/// An op. The body's meaning depends on the kind, and only the state machine knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op {
    kind: u16,
    nonce: [u8; 16],
    expires_at: u64,
    body: Vec<u8>,
}

/// Why bytes are not an op.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpFormatError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version: the rest cannot be decoded.
    UnknownVersion(u8),
}

impl OpFormatError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("op"),
            Self::UnknownVersion(got) => Comparison::new(&"op version", &VERSION, got),
        }
    }
}

display_comparison!(OpFormatError, OpSignatureError);

impl Op {
    /// Size of the encoding without the body, in bytes.
    pub const FIXED_SIZE: usize = 29;
    /// The kind of a note: the body is any bytes, a text if they are UTF-8. Its effect is a text, the note's number.
    pub const NOTE: u16 = 0;
    /// Maximum size of an op's encoding in bytes.
    pub const MAX_SIZE: usize = Self::FIXED_SIZE + MAX_OP_BODY;

    /// An op. `nonce`: random bytes, so that the same request can be made twice. `expires_at`: seconds since 1970, after which no
    /// block may contain the op.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if the body is longer than [`MAX_OP_BODY`], or the time greater than [`MAX_SAFE_INTEGER`].
    pub fn new(kind: u16, nonce: [u8; 16], expires_at: u64, body: Vec<u8>) -> Result<Self, OpFormatError> {
        in_range("expires_at", expires_at, 0, MAX_SAFE_INTEGER)?;
        in_range("body length", body.len() as u64, 0, MAX_OP_BODY as u64)?;
        Ok(Self { kind, nonce, expires_at, body })
    }

    /// The kind, which tells the state machine what the body means.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// The random bytes that distinguish this op from an equal one.
    pub fn nonce(&self) -> &[u8; 16] {
        &self.nonce
    }

    /// Seconds since 1970. No block with a later time may contain the op.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A note's own bytes, or those of its effect, as text. `None` if the op is no note, or if they are not UTF-8. Its author chose the text.
    pub fn text_of_note(&self, bytes: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(bytes).ok().filter(|_| self.kind == Self::NOTE);
        text.map(str::to_owned)
    }

    /// The op's identity in a cluster.
    pub fn id(&self, cluster: &ClusterId) -> OpId {
        OpId(derive("vouch log op v1", &[&cluster.0, &self.encode()]))
    }

    /// The number of bytes that [`encode`](Self::encode) returns.
    pub fn encoded_size(&self) -> usize {
        Self::FIXED_SIZE + self.body.len()
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_size());
        self.write(&mut out);
        out
    }

    /// Appends the canonical encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Cannot saturate: the constructor and the decoder bound the body.
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        out.push(VERSION);
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.expires_at.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.body);
    }

    /// Decodes exactly one op.
    ///
    /// # Errors
    /// See [`OpFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OpFormatError> {
        let mut reader = Reader::new(bytes);
        let op = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(op)
    }

    /// Reads one op, which ends where its body ends.
    ///
    /// # Errors
    /// See [`OpFormatError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, OpFormatError> {
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(OpFormatError::UnknownVersion(version));
        }
        let kind = reader.u16("kind")?;
        let nonce = reader.array("nonce")?;
        let expires_at = reader.safe_u64("expires_at")?;
        let length = reader.u16("body length")?;
        in_range("body length", length.into(), 0, MAX_OP_BODY as u64)?;
        let body = reader.take("body", length.into())?.to_vec();
        Ok(Self { kind, nonce, expires_at, body })
    }
}

/// The signature of the member that submits an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpSignature(pub [u8; 64]);

/// An op with the signature of the member that submits it. The signature is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedOp {
    /// The op.
    pub op: Op,
    /// The node key of the member that submits the op. It is not part of the op's identity: when two members submit one client's op,
    /// the log still applies it once.
    pub submitter: NodeKey,
    /// The submitter's signature.
    pub signature: OpSignature,
}

/// An op is not signed by the member that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct OpSignatureError {
    /// The member that it names.
    pub submitter: NodeKey,
}

impl OpSignatureError {
    /// The signature required; another one was found.
    pub fn comparison(&self) -> Comparison {
        Comparison::new(&"op", &format_args!("a signature by {}", self.submitter), &"another")
    }
}

impl SignedOp {
    /// Size of the encoding without the op's body, in bytes.
    pub const FIXED_SIZE: usize = Op::FIXED_SIZE + 32 + 64;

    /// Submits an op to a cluster.
    pub fn sign(op: Op, cluster: &ClusterId, key: &NodeSecretKey) -> Self {
        let signature = OpSignature(key.sign_bytes(&signed_bytes(cluster, &op)));
        Self { op, submitter: key.node_key(), signature }
    }

    /// Checks that the submitter signed the op for this cluster. The caller checks that the submitter is a member.
    ///
    /// # Errors
    /// [`OpSignatureError`].
    pub fn verify(&self, cluster: &ClusterId) -> Result<(), OpSignatureError> {
        match self.submitter.has_signed(&signed_bytes(cluster, &self.op), &self.signature.0) {
            true => Ok(()),
            false => Err(OpSignatureError { submitter: self.submitter }),
        }
    }

    /// The number of bytes that [`encode`](Self::encode) returns.
    pub fn encoded_size(&self) -> usize {
        Self::FIXED_SIZE + self.op.body.len()
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_size());
        self.write(&mut out);
        out
    }

    /// Appends the canonical encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.op.write(out);
        out.extend_from_slice(&self.submitter.0);
        out.extend_from_slice(&self.signature.0);
    }

    /// Decodes exactly one signed op.
    ///
    /// # Errors
    /// See [`OpFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OpFormatError> {
        let mut reader = Reader::new(bytes);
        let signed = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(signed)
    }

    /// Reads one signed op.
    ///
    /// # Errors
    /// See [`OpFormatError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, OpFormatError> {
        let op = Op::read(reader)?;
        let submitter = NodeKey(reader.array("submitter")?);
        let signature = OpSignature(reader.array("signature")?);
        Ok(Self { op, submitter, signature })
    }
}

fn signed_bytes(cluster: &ClusterId, op: &Op) -> Vec<u8> {
    let mut out = Vec::with_capacity(NAMESPACE.len() + 32 + op.encoded_size());
    out.extend_from_slice(NAMESPACE);
    out.extend_from_slice(&cluster.0);
    op.write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 32]);

    fn op() -> Op {
        Op::new(7, [9; 16], 1_790_000_000, b"deposit 100".to_vec()).unwrap()
    }

    #[test]
    fn an_op_has_one_encoding() {
        let bytes = op().encode();
        assert_eq!((bytes.len(), op().encoded_size()), (40, 40));
        assert_eq!(bytes[..3], [1, 7, 0]);
        assert_eq!(Op::decode(&bytes), Ok(op()));
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Op::decode(&longer), Err(DecodeError::Trailing { expected: 40, got: 41 }.into()));
        assert!(matches!(Op::decode(&bytes[..39]), Err(OpFormatError::Decode(DecodeError::Truncated { .. }))));
        let mut version = bytes.clone();
        version[0] = 2;
        assert_eq!(Op::decode(&version), Err(OpFormatError::UnknownVersion(2)));
        let mut never = bytes;
        never[19..27].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(Op::decode(&never), Err(OpFormatError::Decode(DecodeError::OutOfRange { .. }))));
    }

    #[test]
    fn the_body_is_bounded() {
        let of = |length| Op::new(0, [0; 16], 0, vec![0; length]);
        let largest = of(4096).unwrap();
        assert_eq!(Op::decode(&largest.encode()), Ok(largest.clone()));
        let refused = DecodeError::OutOfRange { field: "body length", min: 0, max: 4096, got: 4097 };
        assert_eq!(of(4097), Err(refused.clone().into()));
        let mut bytes = largest.encode();
        bytes[27..29].copy_from_slice(&4097u16.to_le_bytes());
        bytes.push(0);
        assert_eq!(Op::decode(&bytes), Err(refused.into()));
        assert!(Op::new(0, [0; 16], MAX_SAFE_INTEGER + 1, Vec::new()).is_err());
    }

    #[test]
    fn the_identity_depends_on_cluster_and_op_and_not_on_the_submitter() {
        let id = op().id(&CLUSTER);
        assert_ne!(id, op().id(&ClusterId([4; 32])));
        assert_ne!(id, Op::new(7, [8; 16], 1_790_000_000, b"deposit 100".to_vec()).unwrap().id(&CLUSTER));
        let by = |seed| SignedOp::sign(op(), &CLUSTER, &NodeSecretKey::from_bytes(&[seed; 32]));
        assert_ne!(by(1), by(2));
        assert_eq!(by(1).op.id(&CLUSTER), by(2).op.id(&CLUSTER));
    }

    #[test]
    fn a_submission_verifies_only_for_its_op_cluster_and_submitter() {
        let signed = SignedOp::sign(op(), &CLUSTER, &NodeSecretKey::from_bytes(&[1; 32]));
        assert_eq!(signed.verify(&CLUSTER), Ok(()));
        assert_eq!(SignedOp::decode(&signed.encode()), Ok(signed.clone()));
        assert_eq!(signed.encode().len(), signed.encoded_size());

        let submitter = signed.submitter;
        assert_eq!(signed.verify(&ClusterId([4; 32])), Err(OpSignatureError { submitter }));
        let other = SignedOp { submitter: NodeSecretKey::from_bytes(&[2; 32]).node_key(), ..signed.clone() };
        assert!(other.verify(&CLUSTER).is_err());
        let longer = Op::new(7, [9; 16], 1_790_000_000, b"deposit 1000".to_vec()).unwrap();
        assert!(SignedOp { op: longer, ..signed }.verify(&CLUSTER).is_err());
    }
}
