//! Authentication of the two ends of a link: hellos, node keys, and the signatures over both hellos.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::bugs::{self, Bug};
use crate::chain::CommitteeChain;
use crate::codec::{DecodeError, Reader};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, ParseHashError, derive, parse_32};
use crate::remembered::remembered;

/// The version of the link protocol.
///
/// - 1: the first version.
/// - 2: founding. Acceptances and refusals are sent on links, and a committee counts only with all its members' acceptances.
/// - 3: later epochs. A hello names the newest epoch that its sender knows, and committees after the genesis are sent on links.
pub const LINK_VERSION: u16 = 3;
/// The tag byte of a hello, which is hashed with the body.
pub(crate) const HELLO: u8 = 0x01;
const NAMESPACE: &[u8; 14] = b"\x0Dvouch/link/v1";

/// An ed25519 public key that names a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl NodeKey {
    /// The node key of clients, which are anonymous.
    pub const ANONYMOUS: Self = Self([0; 32]);

    /// Whether the key's owner signed these bytes. Strict: no small-order key, and only the canonical form of a signature.
    pub(crate) fn has_signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(verifying) = VerifyingKey::from_bytes(&self.0) else { return false };
        remembered!(
            "ed25519 verify",
            [self.0, bytes, signature],
            verifying.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok()
        )
    }
}

impl FromStr for NodeKey {
    type Err = ParseHashError;

    /// Base58, or 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_32(text).map(Self)
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({self})")
    }
}

/// A node key's secret half. Wiped from memory when dropped.
pub struct NodeSecretKey(SigningKey);

impl NodeSecretKey {
    /// A key from 32 uniformly random bytes, which are also its stored form.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The public half.
    pub fn node_key(&self) -> NodeKey {
        NodeKey(self.0.verifying_key().to_bytes())
    }

    /// The signature that authenticates this end of a link.
    pub fn sign(&self, transcript: &Transcript, role: Role) -> LinkSignature {
        LinkSignature(self.sign_bytes(&transcript.signed_bytes(role)))
    }

    /// Signs bytes. They must begin with a namespace of their own, so that no signature is valid for another purpose.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        remembered!("ed25519 sign", [self.0.as_bytes(), bytes], self.0.sign(bytes).to_bytes())
    }
}

impl fmt::Debug for NodeSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSecretKey(of {})", self.node_key())
    }
}

/// A signature that authenticates one end of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSignature(pub [u8; 64]);

/// The role of one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Puts and gets blobs.
    Client = 1,
    /// Stores blobs and votes.
    Replica = 2,
    /// Distributes blobs to replicas and aggregates their votes.
    Server = 3,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Replica => "replica",
            Self::Server => "server",
        })
    }
}

/// The first message of each end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The sender's version of the link protocol.
    pub version: u16,
    /// The sender's role.
    pub role: Role,
    /// The cluster that the sender belongs to or trusts; `None` before first contact.
    pub cluster: Option<ClusterId>,
    /// The latest epoch that the sender knows.
    pub epoch: u64,
    /// The sender's node key; [`NodeKey::ANONYMOUS`] for clients.
    pub node_key: NodeKey,
    /// Fresh random bytes, so that no recorded signature verifies.
    pub nonce: [u8; 32],
}

impl Hello {
    /// A hello of this version, of a sender that knows no epoch after the genesis.
    pub fn new(role: Role, cluster: Option<ClusterId>, node_key: NodeKey, nonce: [u8; 32]) -> Self {
        Self { version: LINK_VERSION, role, cluster, epoch: 0, node_key, nonce }
    }

    /// The hello of a sender that knows these committees.
    #[must_use]
    pub fn knowing(self, chain: Option<&CommitteeChain>) -> Self {
        Self { epoch: chain.map_or(0, |chain| chain.current().record().epoch()), ..self }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.push(self.role as u8);
        out.extend_from_slice(&self.cluster.map_or([0; 32], |cluster| cluster.0));
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.node_key.0);
        out.extend_from_slice(&self.nonce);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, HelloError> {
        let version = reader.u16("version")?;
        // Another version may have any layout after this field.
        if version != LINK_VERSION {
            return Err(HelloError::Version { theirs: version });
        }
        Ok(Self::read_fields(version, reader)?)
    }

    fn read_fields(version: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = match reader.u8("role")? {
            1 => Role::Client,
            2 => Role::Replica,
            3 => Role::Server,
            got => return Err(DecodeError::OutOfRange { field: "role", min: 1, max: 3, got: got.into() }),
        };
        let cluster = Some(reader.array("cluster")?).filter(|bytes| *bytes != [0; 32]).map(ClusterId);
        let epoch = reader.safe_u64("epoch")?;
        let node_key = NodeKey(reader.array("node key")?);
        let nonce = reader.array("nonce")?;
        Ok(Self { version, role, cluster, epoch, node_key, nonce })
    }

    fn digest(&self) -> [u8; 32] {
        let mut out = vec![HELLO];
        self.write(&mut out);
        derive("vouch hello v1", &[&out])
    }
}

/// Why bytes are not a hello of this version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The other end has another version of the link protocol.
    #[error("link protocol version: expected {LINK_VERSION}, got {theirs}; run the same release of Vouch at both ends")]
    Version {
        /// The other end's version.
        theirs: u16,
    },
    /// The bytes do not follow the layout.
    #[error("message: {0}")]
    Decode(#[from] DecodeError),
}

/// Everything that an `Auth` signs, except the signer's role.
#[derive(Debug, Clone, Copy)]
pub struct Transcript {
    dialer: [u8; 32],
    listener: [u8; 32],
    exporter: Option<[u8; 32]>,
}

impl Transcript {
    /// The transcript of one link. `exporter`: the TLS exporter, if the link uses TLS.
    pub fn new(dialer: &Hello, listener: &Hello, exporter: Option<[u8; 32]>) -> Self {
        Self { dialer: dialer.digest(), listener: listener.digest(), exporter }
    }

    fn signed_bytes(&self, role: Role) -> Vec<u8> {
        let mut out = NAMESPACE.to_vec();
        out.extend_from_slice(&self.dialer);
        out.extend_from_slice(&self.listener);
        out.push(role as u8);
        match &self.exporter {
            None => out.push(0),
            Some(exporter) => {
                out.push(32);
                out.extend_from_slice(exporter);
            }
        }
        out
    }

    /// Checks that the end with this role holds this node key.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(&self, key: &NodeKey, role: Role, signature: &LinkSignature) -> Result<(), AuthError> {
        match key.has_signed(&self.signed_bytes(role), &signature.0) || bugs::has(Bug::UncheckedLink) {
            true => Ok(()),
            false => Err(AuthError { role, key: *key }),
        }
    }
}

/// The other end did not prove that it holds the node key that it named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct AuthError {
    /// The role that it named.
    pub role: Role,
    /// The node key that it named.
    pub key: NodeKey,
}

impl AuthError {
    /// The signature required; another one was found.
    pub fn comparison(&self) -> Comparison {
        let Self { role, key } = self;
        Comparison::new(&"link", &format_args!("a signature by the {role} {key}"), &"another")
    }
}

display_comparison!(AuthError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_only_for_its_link_key_and_role() {
        let (server, replica) = (NodeSecretKey::from_bytes(&[1; 32]), NodeSecretKey::from_bytes(&[2; 32]));
        let dialer = Hello::new(Role::Replica, None, replica.node_key(), [3; 32]);
        let listener = Hello::new(Role::Server, None, server.node_key(), [4; 32]);
        let transcript = Transcript::new(&dialer, &listener, None);
        let signature = server.sign(&transcript, Role::Server);
        assert_eq!(transcript.verify(&server.node_key(), Role::Server, &signature), Ok(()));

        assert!(transcript.verify(&server.node_key(), Role::Replica, &signature).is_err());
        assert!(transcript.verify(&replica.node_key(), Role::Server, &signature).is_err());
        let mut altered = dialer;
        altered.nonce[0] ^= 1;
        let other = Transcript::new(&altered, &listener, None);
        assert!(other.verify(&server.node_key(), Role::Server, &signature).is_err());
        let with_tls = Transcript::new(&dialer, &listener, Some([0; 32]));
        assert!(with_tls.verify(&server.node_key(), Role::Server, &signature).is_err());
        assert_eq!(transcript.signed_bytes(Role::Server).len(), 80);
        assert_eq!(with_tls.signed_bytes(Role::Server).len(), 112);
    }
}
