//! Frames from one member of a cluster to another. A frame is signed, so it may take any way: a relay can lose, delay or repeat it, and
//! cannot forge it. [`PeerFrame::addressed`] is all that a relay needs.
//!
//! A *session* is a random number that stands for one run of a process toward one peer. A hello announces its sender's session, and echoes
//! that of its receiver: so the receiver knows that it was signed after the receiver drew its session. The signature of a message covers
//! both sessions, and every frame of a session has a greater number than the one before: what was recorded earlier is of no use to anyone.

mod address;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, derive};
use crate::limits::{MAX_PEER_MESSAGE, MAX_SAFE_INTEGER};
use crate::link::{NodeKey, NodeSecretKey};
use crate::message::MAX_MESSAGE;

pub use address::MemberAddress;

/// The name, length first. It separates frames from everything else that a node key signs.
const NAMESPACE: &[u8; 14] = b"\x0Dvouch/peer/v1";
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const MESSAGE: u8 = 2;
const SIGNATURE: usize = 64;

/// Random bytes that stand for one run of a process toward one peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSession(pub [u8; 16]);

impl PeerSession {
    /// What a hello has in place of an echo that it lacks. Not a session.
    const NONE: Self = Self([0; 16]);

    /// The session of this number of a process, which draws `seed` at random when it starts. A number gives always the same session, so it
    /// must be used once.
    pub fn derived(seed: &[u8; 16], number: u64) -> Self {
        let hash = derive("vouch peer session v1", &[seed, &number.to_le_bytes()]);
        let mut session = [0; 16];
        session.copy_from_slice(&hash[..16]);
        Self(session)
    }
}

impl fmt::Debug for PeerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerSession({})", base16ct::HexDisplay(&self.0))
    }
}

/// What every frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The node key of the sender.
    pub from: NodeKey,
    /// The node key of the receiver.
    pub to: NodeKey,
    /// The sender's session toward the receiver.
    pub session: PeerSession,
    /// Greater than the number of every earlier frame of this session.
    pub number: u64,
}

/// What a member says of itself to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHello {
    /// The receiver's session, if the sender has seen one.
    pub echo: Option<PeerSession>,
    /// Whether the sender wants a hello in answer.
    pub asks: bool,
    /// Where the sender accepts connections from members. `None`: nowhere.
    pub address: Option<MemberAddress>,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content<'a> {
    Hello(PeerHello),
    Message(&'a [u8]),
}

/// What a frame with a valid signature carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenedFrame<'a> {
    /// The sender's session, and where it listens.
    Hello(PeerHello),
    /// A message.
    Message(&'a [u8]),
}

/// A frame that follows the layout. Nothing in it is verified yet, so it does not show what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFrame<'a> {
    header: FrameHeader,
    content: Content<'a>,
    /// Everything before the signature.
    signed: &'a [u8],
    signature: [u8; SIGNATURE],
}

/// Why a frame is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerFrameError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The sender did not sign this frame, in this cluster, for this session of the receiver.
    Signature {
        /// The sender that the frame names.
        from: NodeKey,
    },
}

impl PeerFrameError {
    /// What is required of the frame, and what it has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("frame of a member"),
            Self::Signature { from } => {
                let expected = format_args!("a signature by {from} in this cluster and session");
                Comparison::new(&"frame of a member", &expected, &"another")
            }
        }
    }
}

display_comparison!(PeerFrameError);

impl FrameHeader {
    /// Size of the version, the kind and this header, in bytes.
    const SIZE: usize = 1 + 1 + 32 + 32 + 16 + 8;

    /// The frame of a hello, signed.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if the number is greater than [`MAX_SAFE_INTEGER`].
    pub fn seal_hello(
        &self,
        hello: &PeerHello,
        cluster: &ClusterId,
        secret: &NodeSecretKey,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut out = self.begin(HELLO, PeerFrame::OVERHEAD + MemberAddress::MAX_SIZE)?;
        out.push(u8::from(hello.echo.is_some()));
        out.extend_from_slice(&hello.echo.unwrap_or(PeerSession::NONE).0);
        out.push(u8::from(hello.asks));
        MemberAddress::write(hello.address.as_ref(), &mut out);
        Ok(signed(out, cluster, None, secret))
    }

    /// The frame of a message, signed for a session of the receiver.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if the message is longer than [`MAX_PEER_MESSAGE`], or the number greater than [`MAX_SAFE_INTEGER`].
    pub fn seal_message(
        &self,
        message: &[u8],
        receiver: &PeerSession,
        cluster: &ClusterId,
        secret: &NodeSecretKey,
    ) -> Result<Vec<u8>, DecodeError> {
        in_range("message length", message.len() as u64, 0, MAX_PEER_MESSAGE as u64)?;
        let mut out = self.begin(MESSAGE, PeerFrame::OVERHEAD + message.len())?;
        out.extend_from_slice(message);
        Ok(signed(out, cluster, Some(receiver), secret))
    }

    fn begin(&self, kind: u8, capacity: usize) -> Result<Vec<u8>, DecodeError> {
        in_range("number", self.number, 1, MAX_SAFE_INTEGER)?;
        let mut out = Vec::with_capacity(capacity);
        out.extend([VERSION, kind]);
        out.extend_from_slice(&self.from.0);
        out.extend_from_slice(&self.to.0);
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        Ok(out)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = Self {
            from: NodeKey(reader.array("from")?),
            to: NodeKey(reader.array("to")?),
            session: PeerSession(reader.array("session")?),
            number: reader.safe_u64("number")?,
        };
        in_range("number", header.number, 1, MAX_SAFE_INTEGER)?;
        Ok(header)
    }
}

fn signed(mut frame: Vec<u8>, cluster: &ClusterId, receiver: Option<&PeerSession>, secret: &NodeSecretKey) -> Vec<u8> {
    let signature = secret.sign_bytes(&signed_bytes(&frame, cluster, receiver));
    frame.extend_from_slice(&signature);
    frame
}

/// What the sender signs. The receiver's session is last: a hello, which is signed without one, then differs from a message in its kind.
fn signed_bytes(frame: &[u8], cluster: &ClusterId, receiver: Option<&PeerSession>) -> Vec<u8> {
    let mut out = Vec::with_capacity(NAMESPACE.len() + 32 + frame.len() + 16);
    out.extend_from_slice(NAMESPACE);
    out.extend_from_slice(&cluster.0);
    out.extend_from_slice(frame);
    out.extend_from_slice(receiver.map_or(&[], |receiver| &receiver.0));
    out
}

fn read_hello(reader: &mut Reader<'_>) -> Result<PeerHello, DecodeError> {
    let has_echo = reader.flag("has an echo")?;
    let echo = PeerSession(reader.array("echo")?);
    if !has_echo {
        // Otherwise a hello without an echo would have many encodings.
        crate::codec::same("echo", &PeerSession::NONE.0, &echo.0)?;
    }
    let asks = reader.flag("asks")?;
    let address = MemberAddress::read(reader)?;
    Ok(PeerHello { echo: has_echo.then_some(echo), asks, address })
}

impl<'a> PeerFrame<'a> {
    /// Size of a message's frame without the message, in bytes.
    pub const OVERHEAD: usize = FrameHeader::SIZE + SIGNATURE;
    /// Maximum size of a frame in bytes.
    pub const MAX_SIZE: usize = Self::OVERHEAD + MAX_PEER_MESSAGE;

    /// Decodes exactly one frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (signed, signature) = bytes.split_at(bytes.len().saturating_sub(SIGNATURE));
        let mut reader = Reader::new(signed);
        reader.tag("version", &[VERSION])?;
        let kind = reader.u8("kind")?;
        in_range("kind", kind.into(), HELLO.into(), MESSAGE.into())?;
        let header = FrameHeader::read(&mut reader)?;
        let content = if kind == HELLO {
            Content::Hello(read_hello(&mut reader)?)
        } else {
            in_range("message length", reader.remaining() as u64, 0, MAX_PEER_MESSAGE as u64)?;
            Content::Message(reader.rest())
        };
        reader.finish()?;
        Ok(Self { header, content, signed, signature: Reader::new(signature).array("signature")? })
    }

    /// The sender and the receiver that a frame names, for a relay. The layout is checked, the signature is not.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn addressed(bytes: &[u8]) -> Result<(NodeKey, NodeKey), DecodeError> {
        PeerFrame::decode(bytes).map(|frame| (frame.header.from, frame.header.to))
    }

    /// The header. Anyone may have written it, until the frame is opened.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Whether the frame says that it is a hello.
    pub fn is_hello(&self) -> bool {
        matches!(self.content, Content::Hello(_))
    }

    /// Verifies the sender's signature. `receiver`: this end's session toward the sender, which the signature of a message covers.
    ///
    /// # Errors
    /// [`PeerFrameError::Signature`].
    pub fn open(self, cluster: &ClusterId, receiver: &PeerSession) -> Result<OpenedFrame<'a>, PeerFrameError> {
        let Self { header: FrameHeader { from, .. }, content, signed, signature } = self;
        let receiver = if matches!(content, Content::Hello(_)) { None } else { Some(receiver) };
        if !from.has_signed(&signed_bytes(signed, cluster, receiver), &signature) {
            return Err(PeerFrameError::Signature { from });
        }
        Ok(match content {
            Content::Hello(hello) => OpenedFrame::Hello(hello),
            Content::Message(message) => OpenedFrame::Message(message),
        })
    }
}

// A frame is the body of one message of a link.
const _: () = assert!(PeerFrame::MAX_SIZE < MAX_MESSAGE);
