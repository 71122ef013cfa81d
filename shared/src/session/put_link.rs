//! Many puts over one link, each a state machine of its own: what fails for one harms no other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::SessionError;
use super::door::{Door, Passed, unexpected};
use super::one_put::{NewPut, OnePut, PutEvent};
use super::progress::ProgressWatch;
use crate::chain::CommitteeChain;
use crate::digest::ClusterId;
use crate::message::{MAX_PUTS, Message, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// What a caller does or shows.
#[derive(Debug)]
pub enum PutLinkEvent {
    /// The server proved its key: puts may begin.
    Opened,
    /// The cluster is known by its committee, and is the trusted one where one is trusted.
    Cluster(CommitteeChain),
    /// One put got further. With an error or [`PutEvent::Certified`] it is over.
    Put(Stream, Result<PutEvent, SessionError>),
}

/// A link with up to [`MAX_PUTS`] puts in progress.
#[derive(Debug)]
pub struct PutLink {
    door: Door,
    is_open: bool,
    puts: BTreeMap<Stream, OnePut>,
    /// The number of the put that began last.
    last: u32,
    /// The certificates of one batch cost one pairing.
    verified: VerifiedAggregates,
    /// Until it is open.
    watch: ProgressWatch,
}

impl PutLink {
    /// The link and the first message to send. `trusted`: the identity to trust; `None` takes the server's, which the caller
    /// then decides about. `nonce`: 32 random bytes.
    pub fn new(trusted: Option<ClusterId>, nonce: [u8; 32]) -> (Self, Message) {
        let (door, hello) = Door::new(trusted, nonce);
        let (puts, verified) = (BTreeMap::new(), VerifiedAggregates::default());
        (Self { door, is_open: false, puts, last: 0, verified, watch: ProgressWatch::default() }, hello)
    }

    /// Whether another put may begin now.
    pub fn has_room(&self) -> bool {
        self.is_open && self.puts.len() < MAX_PUTS && self.last < u32::MAX
    }

    /// Begins a put: its number on this link, and the message to send. `bytes` are all of a blob that is known: at most
    /// [`MAX_BLOB`](crate::message::MAX_BLOB) of them go in that message, more are asked for with [`PutEvent::Ready`]. `outline`:
    /// as for [`PutSession::proving`](super::PutSession::proving).
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] when the bytes are not as many as offered; [`SessionError::NoRoom`] unless
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
        put.prove(outline);
        if let Some(bytes) = bytes {
            put.carry(bytes)?;
        }
        let message = put.begin();
        self.last = stream.0;
        self.puts.insert(stream, put);
        Ok((stream, message))
    }

    /// Takes one message of the server. `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SessionError`]; the link is then over, and every put with it.
    pub fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<PutLinkEvent>, SessionError> {
        let message = match self.door.receive(bytes)? {
            Passed::Nothing => return Ok(Vec::new()),
            Passed::Opened => {
                self.is_open = true;
                return Ok(vec![PutLinkEvent::Opened]);
            }
            Passed::Committee => {
                return Ok(self.door.chain().cloned().map(PutLinkEvent::Cluster).into_iter().collect());
            }
            Passed::Message(message) => message,
        };
        let stream = match &message {
            Message::Failed(failed) => failed.stream,
            Message::Ready { stream, .. } | Message::Progress { stream, .. } | Message::Certified { stream, .. } => {
                *stream
            }
            other => return Err(unexpected("an answer to a put", other)),
        };
        let Some(put) = self.puts.get_mut(&stream) else {
            // of a put that was given up, some answers are still under way
            return if stream.0 <= self.last {
                Ok(Vec::new())
            } else {
                Err(unexpected("an answer to a put", &message))
            };
        };
        let events = put.receive(message, &self.door, &mut self.verified, now);
        let is_over = match &events {
            Ok(events) => matches!(events.last(), Some(PutEvent::Certified(_))),
            Err(_) => true,
        };
        if is_over {
            self.puts.remove(&stream);
        }
        Ok(match events {
            Ok(events) => events.into_iter().map(|event| PutLinkEvent::Put(stream, Ok(event))).collect(),
            Err(error) => vec![PutLinkEvent::Put(stream, Err(error))],
        })
    }

    /// Looks for puts that made no progress for too long; to be called about once a second. `now` is monotonic. They are over.
    ///
    /// # Errors
    /// The server did not even prove its key; the link is then over.
    pub fn look(&mut self, now: Duration) -> Result<Vec<PutLinkEvent>, SessionError> {
        if let Some(standing) = self.door.standing() {
            self.watch.look(standing, now)?;
        }
        let late = |(stream, put): (&Stream, &mut OnePut)| {
            let standing = put.standing();
            put.watch.look(standing, now).err().map(|error| (*stream, error))
        };
        let late: Vec<_> = self.puts.iter_mut().filter_map(late).collect();
        late.iter().for_each(|(stream, _)| drop(self.puts.remove(stream)));
        Ok(late.into_iter().map(|(stream, error)| PutLinkEvent::Put(stream, Err(error))).collect())
    }

    /// The message that carries the next 1 to [`MAX_CHUNK`](crate::message::MAX_CHUNK) bytes of a put, as those of
    /// [`PutSession::chunk`](super::PutSession::chunk); `None` for one that is over.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] beyond the offered length, [`SessionError::Unproved`]; the caller then gives the put up.
    pub fn chunk(&mut self, stream: Stream, bytes: Bytes) -> Result<Option<Message>, SessionError> {
        self.puts.get_mut(&stream).map(|put| put.chunk(bytes)).transpose()
    }

    /// The message that ends the bytes of a put; `None` for one that is over.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] before the offered length; the caller then gives the put up.
    pub fn end(&mut self, stream: Stream) -> Result<Option<Message>, SessionError> {
        self.puts.get_mut(&stream).map(OnePut::end).transpose()
    }

    /// The message that gives a put up, which is over then; `None` for one that is over already.
    pub fn cancel(&mut self, stream: Stream) -> Option<Message> {
        self.puts.remove(&stream).map(|put| put.cancel())
    }
}
