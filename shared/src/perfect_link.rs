//! The signed packets of an authenticated perfect link: a message with its number, or an acknowledgement.
//!
//! A relay can lose, delay, repeat or alter a packet. A packet that was altered, or that belongs to another direction, session or cluster,
//! does not verify.

use thiserror::Error;

use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::ClusterId;
use crate::limits::MAX_SAFE_INTEGER;
use crate::link::{NodeKey, NodeSecretKey};

const NAMESPACE: &[u8; 22] = b"\x15vouch/perfect-link/v1";
const MESSAGE: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

/// Maximum size of a message in bytes.
pub const MAX_LINK_MESSAGE: usize = 1 << 17;
/// The number of messages that may be unacknowledged: the bits of [`LinkPacket::Acknowledgement::later`].
pub const LINK_WINDOW: u64 = 64;

/// One direction of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkDirection {
    /// The cluster of both ends.
    pub cluster: ClusterId,
    /// What both ends know and no earlier link had, so that no recorded packet verifies: for example, a digest of both hellos.
    pub session: [u8; 32],
    /// The node key of the sender.
    pub from: NodeKey,
    /// The node key of the receiver. Otherwise one receiver could pass a packet on to another as if it had been sent there.
    pub to: NodeKey,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPacket {
    /// A message.
    Message {
        /// Its number, from 0.
        number: u64,
        /// Its bytes.
        message: Vec<u8>,
    },
    /// What the sender of this packet got.
    Acknowledgement {
        /// All messages with a smaller number were delivered.
        before: u64,
        /// Bit i: the message `before` + 1 + i was delivered. Message `before` was not.
        later: u64,
    },
}

/// Why bytes are not a packet of a direction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkPacketError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The sender did not sign the packet for this direction.
    Signature {
        /// The sender.
        from: NodeKey,
    },
}

impl LinkPacketError {
    /// What is required of the packet, and what it has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("packet"),
            Self::Signature { from } => {
                Comparison::new(&"packet", &format_args!("a signature by {from} for this link"), &"another")
            }
        }
    }
}

display_comparison!(LinkPacketError);

impl LinkDirection {
    /// The direction of the answers.
    pub fn reverse(&self) -> Self {
        Self { from: self.to, to: self.from, ..*self }
    }

    fn signed_bytes(&self, encoded: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(NAMESPACE.len() + 4 * 32 + encoded.len());
        out.extend_from_slice(NAMESPACE);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.from.0);
        out.extend_from_slice(&self.to.0);
        out.extend_from_slice(encoded);
        out
    }
}

impl LinkPacket {
    /// Size of a packet without a message's bytes, at most.
    pub const OVERHEAD: usize = 1 + 8 + 8 + 64;

    /// The encoding, signed by the sender of this direction.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if the message is too large, or a number is greater than [`MAX_SAFE_INTEGER`].
    pub fn seal(&self, direction: &LinkDirection, secret: &NodeSecretKey) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        match self {
            Self::Message { number, message } => {
                check_message(*number, message.len())?;
                out.reserve(message.len() + Self::OVERHEAD);
                out.push(MESSAGE);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(message);
            }
            Self::Acknowledgement { before, later } => {
                in_range("number", *before, 0, MAX_SAFE_INTEGER)?;
                out.push(ACKNOWLEDGEMENT);
                out.extend_from_slice(&before.to_le_bytes());
                out.extend_from_slice(&later.to_le_bytes());
            }
        }
        let signature = secret.sign_bytes(&direction.signed_bytes(&out));
        out.extend_from_slice(&signature);
        Ok(out)
    }

    /// Decodes exactly one packet, and verifies that the sender of this direction signed it.
    ///
    /// # Errors
    /// See [`LinkPacketError`].
    pub fn open(bytes: &[u8], direction: &LinkDirection) -> Result<Self, LinkPacketError> {
        let encoded_size = bytes.len().saturating_sub(64);
        let mut reader = Reader::new(&bytes[..encoded_size]);
        let packet = match reader.u8("packet type")? {
            MESSAGE => {
                let number = reader.u64("number")?;
                let message = reader.rest();
                check_message(number, message.len())?;
                Self::Message { number, message: message.to_vec() }
            }
            ACKNOWLEDGEMENT => {
                let before = reader.safe_u64("number")?;
                Self::Acknowledgement { before, later: reader.u64("later")? }
            }
            got => {
                let (field, min, max) = ("packet type", MESSAGE.into(), ACKNOWLEDGEMENT.into());
                return Err(DecodeError::OutOfRange { field, min, max, got: got.into() }.into());
            }
        };
        reader.finish()?;
        let (encoded, signature) = bytes.split_at(encoded_size);
        let signature = Reader::new(signature).array("signature")?;
        match direction.from.has_signed(&direction.signed_bytes(encoded), &signature) {
            true => Ok(packet),
            false => Err(LinkPacketError::Signature { from: direction.from }),
        }
    }
}

fn check_message(number: u64, size: usize) -> Result<(), DecodeError> {
    in_range("number", number, 0, MAX_SAFE_INTEGER)?;
    in_range("message size", size as u64, 0, MAX_LINK_MESSAGE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(i: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[i; 32])
    }

    fn direction() -> LinkDirection {
        LinkDirection {
            cluster: ClusterId([3; 32]),
            session: [4; 32],
            from: secret(1).node_key(),
            to: secret(2).node_key(),
        }
    }

    fn packets() -> [LinkPacket; 3] {
        [
            LinkPacket::Message { number: 5, message: b"hello".to_vec() },
            LinkPacket::Message { number: 0, message: Vec::new() },
            LinkPacket::Acknowledgement { before: 5, later: u64::MAX },
        ]
    }

    #[test]
    fn a_packet_verifies_only_in_its_direction_session_and_cluster() {
        for packet in packets() {
            let bytes = packet.seal(&direction(), &secret(1)).unwrap();
            assert_eq!(LinkPacket::open(&bytes, &direction()), Ok(packet.clone()));
            let others = [
                LinkDirection { cluster: ClusterId([5; 32]), ..direction() },
                LinkDirection { session: [5; 32], ..direction() },
                LinkDirection { to: secret(3).node_key(), ..direction() },
                LinkDirection { from: secret(3).node_key(), ..direction() },
                direction().reverse(),
            ];
            for other in others {
                let refused = LinkPacketError::Signature { from: other.from };
                assert_eq!(LinkPacket::open(&bytes, &other), Err(refused), "{other:?}");
            }
            let by_another = packet.seal(&direction(), &secret(3)).unwrap();
            assert!(LinkPacket::open(&by_another, &direction()).is_err());
        }
    }

    #[test]
    fn an_altered_packet_is_refused() {
        for packet in packets() {
            let bytes = packet.seal(&direction(), &secret(1)).unwrap();
            assert!(bytes.len() <= LinkPacket::OVERHEAD + 5);
            for position in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[position] ^= 1;
                assert!(LinkPacket::open(&altered, &direction()).is_err(), "{position}");
                assert!(LinkPacket::open(&bytes[..position], &direction()).is_err(), "{position}");
            }
            assert!(LinkPacket::open(&[&bytes[..], &[0]].concat(), &direction()).is_err());
        }
    }

    #[test]
    fn sizes_and_numbers_are_bounded() {
        let seal = |number, size| LinkPacket::Message { number, message: vec![7; size] }.seal(&direction(), &secret(1));
        let largest = seal(MAX_SAFE_INTEGER, MAX_LINK_MESSAGE).unwrap();
        assert!(LinkPacket::open(&largest, &direction()).is_ok());
        assert!(seal(MAX_SAFE_INTEGER + 1, 0).is_err());
        assert!(seal(0, MAX_LINK_MESSAGE + 1).is_err());
        assert!(LinkPacket::Acknowledgement { before: 1 << 53, later: 0 }.seal(&direction(), &secret(1)).is_err());
        // Refused for its size, before a signature is checked.
        let refused = DecodeError::OutOfRange { field: "message size", min: 0, max: 131_072, got: 131_073 };
        let longer = [&largest[..], &[0]].concat();
        assert_eq!(LinkPacket::open(&longer, &direction()), Err(refused.into()));
    }
}
