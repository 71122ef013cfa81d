//! Many puts over one link. Each is a state machine of its own: a failure of one does not affect the others.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::SessionError;
use super::handshake::{ClientHandshake, HandshakeEvent, unexpected};
use super::one_put::{NewPut, OnePut, PutEvent};
use super::progress::ProgressWatch;
use crate::chain::CommitteeChain;
use crate::digest::ClusterId;
use crate::message::{MAX_PUTS, Message, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// What the caller must do or show.
#[derive(Debug)]
pub enum PutLinkEvent {
    /// The server proved its node key: puts may begin.
    Opened,
    /// The committee is known and checked. If a cluster identity is trusted, it is that cluster's.
    Cluster(CommitteeChain),
    /// An event of one put. An error or [`PutEvent::Certified`] ends the put.
    Put(Stream, Result<PutEvent, SessionError>),
}

/// A link with up to [`MAX_PUTS`] puts in progress.
#[derive(Debug)]
pub struct PutLink {
    handshake: ClientHandshake,
    is_open: bool,
    puts: BTreeMap<Stream, OnePut>,
    /// The stream number of the put that began last.
    last: u32,
    /// The certificates of one batch cost one pairing.
    verified: VerifiedAggregates,
    /// Watches the handshake; each put has a watch of its own.
    watch: ProgressWatch,
}

impl PutLink {
    /// The link and the first message to send. `trusted`: the cluster identity to trust; `None` accepts the server's, and the
    /// caller decides whether to trust it. `nonce`: 32 random bytes.
    pub fn new(trusted: Option<ClusterId>, nonce: [u8; 32]) -> (Self, Message) {
        let (handshake, hello) = ClientHandshake::new(trusted, nonce);
        let (puts, verified) = (BTreeMap::new(), VerifiedAggregates::default());
        (Self { handshake, is_open: false, puts, last: 0, verified, watch: ProgressWatch::default() }, hello)
    }

    /// Whether another put may begin now.
    pub fn has_room(&self) -> bool {
        self.is_open && self.puts.len() < MAX_PUTS && self.last < u32::MAX
    }

    /// Begins a put. Returns its stream number on this link and the message to send. `bytes`: all bytes of an offered blob. At
    /// most [`MAX_BLOB`](crate::message::MAX_BLOB) bytes are sent in that message; a larger blob is requested with
    /// [`PutEvent::Ready`]. `outline`: as for [`PutSession::proving`](super::PutSession::proving).
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if the number of bytes is not the offered length; [`SessionError::NoRoom`] unless
    /// [`has_room`](Self::has_room).
    pub fn begin(
        &mut self,
        put: NewPut,
        bytes: Option<Bytes>,
        outline: Option<Outline>,
    ) -> Result<(Stream, Message), SessionError> {
        if !self.has_room() {
            return Err(SessionError::NoRoom);
        }
        let stream = Stream(self.last + 1);
        let mut put = OnePut::new(stream, put);
        put.set_outline(outline);
        if let Some(bytes) = bytes {
            put.set_bytes(bytes)?;
        }
        let message = put.begin();
        self.last = stream.0;
        self.puts.insert(stream, put);
        Ok((stream, message))
    }

    /// Takes one message of the server. `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SessionError`]; the link and every put on it have then ended.
    pub fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<PutLinkEvent>, SessionError> {
        let message = match self.handshake.receive(bytes)? {
            HandshakeEvent::Nothing => return Ok(Vec::new()),
            HandshakeEvent::Opened => {
                self.is_open = true;
                return Ok(vec![PutLinkEvent::Opened]);
            }
            HandshakeEvent::Committee => {
                return Ok(self.handshake.chain().cloned().map(PutLinkEvent::Cluster).into_iter().collect());
            }
            HandshakeEvent::Message(message) => message,
        };
        let stream = match &message {
            Message::Failed(failed) => failed.stream,
            Message::Ready { stream, .. } | Message::Progress { stream, .. } | Message::Certified { stream, .. } => {
                *stream
            }
            other => return Err(unexpected("an answer to a put", other)),
        };
        let Some(put) = self.puts.get_mut(&stream) else {
            // Answers to a put that has ended may still arrive.
            return if stream.0 <= self.last {
                Ok(Vec::new())
            } else {
                Err(unexpected("an answer to a put", &message))
            };
        };
        let events = put.receive(message, &self.handshake, &mut self.verified, now);
        let has_ended = match &events {
            Ok(events) => matches!(events.last(), Some(PutEvent::Certified(_))),
            Err(_) => true,
        };
        if has_ended {
            self.puts.remove(&stream);
        }
        Ok(match events {
            Ok(events) => events.into_iter().map(|event| PutLinkEvent::Put(stream, Ok(event))).collect(),
            Err(error) => vec![PutLinkEvent::Put(stream, Err(error))],
        })
    }

    /// Ends the puts that made no progress for too long. Call it about once a second. `now` is monotonic.
    ///
    /// # Errors
    /// [`SessionError::NoProgress`] if the server did not prove its node key in time; the link has then ended.
    pub fn look(&mut self, now: Duration) -> Result<Vec<PutLinkEvent>, SessionError> {
        if let Some(mark) = self.handshake.progress_mark() {
            self.watch.look(mark, now)?;
        }
        let late = |(stream, put): (&Stream, &mut OnePut)| {
            let mark = put.progress_mark();
            put.watch.look(mark, now).err().map(|error| (*stream, error))
        };
        let late: Vec<_> = self.puts.iter_mut().filter_map(late).collect();
        late.iter().for_each(|(stream, _)| drop(self.puts.remove(stream)));
        Ok(late.into_iter().map(|(stream, error)| PutLinkEvent::Put(stream, Err(error))).collect())
    }

    /// The message with the next 1 to [`MAX_CHUNK`](crate::message::MAX_CHUNK) bytes of a put, as in
    /// [`PutSession::chunk`](super::PutSession::chunk); `None` if the put has ended.
    ///
    /// # Errors
    /// As [`PutSession::chunk`](super::PutSession::chunk); the caller then cancels the put.
    pub fn chunk(&mut self, stream: Stream, bytes: Bytes) -> Result<Option<Message>, SessionError> {
        self.puts.get_mut(&stream).map(|put| put.chunk(bytes)).transpose()
    }

    /// The message that ends the bytes of a put; `None` if the put has ended.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if fewer bytes than offered were passed; the caller then cancels the put.
    pub fn end(&mut self, stream: Stream) -> Result<Option<Message>, SessionError> {
        self.puts.get_mut(&stream).map(OnePut::end).transpose()
    }

    /// Ends a put, and returns the message that cancels it; `None` if the put has ended already.
    pub fn cancel(&mut self, stream: Stream) -> Option<Message> {
        self.puts.remove(&stream).map(|put| put.cancel())
    }
}
