//! Forwards a message with a blob's bytes without encoding it again.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::layout::{BLOB, BLOB_HEADER, CHUNK, CHUNK_HEADER};
use super::{MAX_MESSAGE, Stream};

/// The position of the stream number, behind the tag.
const STREAM: std::ops::Range<usize> = 1..5;

/// Why bytes are not the encoding of a message with a blob's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadFrameError {
    /// Another message.
    #[error("message tag: expected that of a Chunk or a Blob, got {0:#04x}")]
    Tag(u8),
    /// The bytes end before the payload, or are longer than any message.
    #[error("message with a blob's bytes: expected {min} to {MAX_MESSAGE} bytes, got {got}")]
    Size {
        /// The size of the header.
        min: usize,
        /// The number of bytes.
        got: usize,
    },
}

/// An encoded [`Chunk`](super::Message::Chunk) or [`Blob`](super::Message::Blob). A server forwards it under the number that the
/// request has on the next link; the rest of the message is the same there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFrame(Bytes);

impl PayloadFrame {
    /// Takes the bytes of a message that [`Message::decode`](super::Message::decode) accepted. Only the tag and the size are checked
    /// again.
    ///
    /// # Errors
    /// Another message, or fewer bytes than its header has.
    pub fn new(frame: Bytes) -> Result<Self, PayloadFrameError> {
        let min = match frame.first() {
            Some(&CHUNK) => CHUNK_HEADER,
            Some(&BLOB) => BLOB_HEADER,
            Some(&tag) => return Err(PayloadFrameError::Tag(tag)),
            None => CHUNK_HEADER,
        };
        let got = frame.len();
        if !(min..=MAX_MESSAGE).contains(&got) {
            return Err(PayloadFrameError::Size { min, got });
        }
        Ok(Self(frame))
    }

    /// The encoded message with another stream number. The payload is copied only if the bytes have another owner, who must not see them
    /// change.
    #[must_use]
    pub fn with_stream(self, stream: Stream) -> Bytes {
        let mut frame = self.0.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        frame[STREAM].copy_from_slice(&stream.0.to_le_bytes());
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_CHUNK, Message};
    use super::*;
    use crate::digest::Digest;
    use crate::receipt::{NEVER, Receipt};
    use crate::tree::Parent;

    fn chunk(stream: u32, parents: usize, size: usize) -> Message {
        let parents = vec![Parent([7; Parent::SIZE]); parents];
        Message::Chunk { stream: Stream(stream), offset: 1 << 20, parents, bytes: vec![5; size].into() }
    }

    fn blob(stream: u32, size: usize) -> Message {
        let receipt = Receipt { salt: [3; 16], digest: Digest::of(b"blob"), length: size as u64, expires_at: NEVER };
        Message::Blob { stream: Stream(stream), receipt, renew: true, bytes: vec![5; size].into(), authorisation: None }
    }

    #[test]
    fn the_patched_bytes_are_those_of_the_message_encoded_again() {
        for (received, forwarded) in [
            (chunk(9, 0, 1), chunk(0x0102_0304, 0, 1)),
            (chunk(9, 3, MAX_CHUNK), chunk(1, 3, MAX_CHUNK)),
            (chunk(u32::MAX, 1, 5), chunk(1, 1, 5)),
            (blob(9, 0), blob(0x0102_0304, 0)),
            (blob(1, 1000), blob(u32::MAX, 1000)),
        ] {
            let (Message::Chunk { stream, .. } | Message::Blob { stream, .. }) = forwarded else { unreachable!() };
            let patched = PayloadFrame::new(received.encode()).unwrap().with_stream(stream);
            assert_eq!(patched, forwarded.encode());
            assert_eq!(Message::decode(&patched).unwrap(), forwarded);
        }
    }

    #[test]
    fn bytes_without_another_owner_are_patched_in_place() {
        let frame = chunk(9, 2, MAX_CHUNK).encode();
        let at = frame.as_ptr();
        let patched = PayloadFrame::new(frame).unwrap().with_stream(Stream(1));
        assert_eq!(patched.as_ptr(), at);
        // the same after a decoded message is gone, which had a part of them
        let decoded = Message::decode(&patched).unwrap();
        drop(decoded);
        assert_eq!(PayloadFrame::new(patched).unwrap().with_stream(Stream(2)).as_ptr(), at);
    }

    #[test]
    fn bytes_with_another_owner_are_copied() {
        let frame = chunk(9, 0, 1000).encode();
        let before = frame.to_vec();
        let patched = PayloadFrame::new(frame.clone()).unwrap().with_stream(Stream(1));
        assert_eq!(frame, before);
        assert_eq!(patched, chunk(1, 0, 1000).encode());
        assert_ne!(patched.as_ptr(), frame.as_ptr());
    }

    #[test]
    fn other_messages_and_headers_without_an_end_are_refused() {
        let refused = |frame: &[u8]| PayloadFrame::new(Bytes::copy_from_slice(frame)).unwrap_err();
        let stored = Message::Stored { stream: Stream(1) }.encode();
        assert_eq!(refused(&stored), PayloadFrameError::Tag(stored[0]));
        for (message, header) in [(chunk(1, 0, 1), CHUNK_HEADER), (blob(1, 0), BLOB_HEADER)] {
            let frame = message.encode();
            let got = header - 1;
            assert_eq!(refused(&frame[..got]), PayloadFrameError::Size { min: header, got });
        }
        assert_eq!(refused(&[]), PayloadFrameError::Size { min: CHUNK_HEADER, got: 0 });
        let long = [&chunk(1, 0, 1).encode()[..], &vec![0; MAX_MESSAGE]].concat();
        assert_eq!(refused(&long), PayloadFrameError::Size { min: CHUNK_HEADER, got: long.len() });
    }
}
