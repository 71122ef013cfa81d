//! A client's puts over one link: the only driver of puts. One file is the same as many with one file.
//!
//! The shell brings the server's messages, the bytes and the time; it sends messages, and shows progress. Each put is a state
//! machine of its own: a failure of one does not affect the others. The shell needs a source for each put that maps an offset to
//! the bytes from there on: after [`PutEvent::Ready`] it calls [`PutLink::chunk`] with them, then [`PutLink::end`]. The bytes are
//! those that the replicas store, so a source may compute them, for example by encrypting a file.

use std::time::Duration;

use bytes::Bytes;

use super::SessionError;
use super::handshake::{ClientHandshake, HandshakeEvent, unexpected};
use super::one_put::{NewPut, OnePut, PutEvent};
use super::progress::{ProgressMark, ProgressWatch, WaitLimit};
use crate::access::TokenSecret;
use crate::chain::{Checkpoint, CommitteeChain};
use crate::digest::ClusterId;
use crate::message::{MAX_PUTS, Message, Stream};
use crate::tree::Outline;
use crate::verify::VerifiedAggregates;

/// What the caller must do or show.
#[derive(Debug)]
pub enum PutLinkEvent {
    /// The server proved its node key.
    Opened,
    /// The committee is known and checked. If a cluster identity is trusted, it is that cluster's.
    Cluster(CommitteeChain),
    /// An event of one put. An error or [`PutEvent::Certified`] ends the put.
    Put(Stream, Result<PutEvent, SessionError>),
}

/// Why a client cancels a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The user does not want the put any more.
    Unwanted,
    /// The source yields other bytes than the offer says.
    SourceChanged,
    /// The source cannot be read any further.
    SourceUnreadable,
    /// The server took longer than the user's [`WaitLimit`].
    WaitLimit,
}

impl CancelReason {
    /// Whether the replicas keep the bytes that they have for a later put: only bytes of a file that somebody still wants are worth
    /// the space.
    pub fn keeps_bytes(self) -> bool {
        match self {
            Self::Unwanted | Self::SourceChanged => false,
            Self::SourceUnreadable | Self::WaitLimit => true,
        }
    }
}

/// A link with up to [`MAX_PUTS`] puts in progress.
#[derive(Debug)]
pub struct PutLink {
    handshake: ClientHandshake,
    /// In the order of their stream numbers. A list instead of a map: it is short, and each map type adds to the size of the wasm
    /// module.
    puts: Vec<OnePut>,
    /// The stream number of the put that began last.
    last: u32,
    /// The certificates of one batch cost one pairing.
    verified: VerifiedAggregates,
    limit: WaitLimit,
    /// Watches the handshake; each put has a watch of its own.
    watch: ProgressWatch,
}

impl PutLink {
    /// The link and the first message to send. `trusted`: the cluster identity to trust; `None` accepts the server's, and the
    /// caller decides whether to trust it. `nonce`: 32 random bytes.
    pub fn new(trusted: Option<ClusterId>, nonce: [u8; 32]) -> (Self, Message) {
        Self::knowing(trusted, None, nonce)
    }

    /// As [`new`](Self::new), for a caller that has verified committees of the trusted cluster before: the server shows only later ones,
    /// and the members' proofs of possession are not checked again.
    pub fn knowing(trusted: Option<ClusterId>, known: Option<CommitteeChain>, nonce: [u8; 32]) -> (Self, Message) {
        let (handshake, hello) = ClientHandshake::new(trusted, known, nonce);
        let (puts, verified) = (Vec::new(), VerifiedAggregates::default());
        let (limit, watch) = (WaitLimit::default(), ProgressWatch::default());
        (Self { handshake, puts, last: 0, verified, limit, watch }, hello)
    }

    /// Waits no longer than this for each decision of the server.
    #[must_use]
    pub fn with_wait_limit(mut self, limit: WaitLimit) -> Self {
        (self.limit, self.watch) = (limit, ProgressWatch::new(limit));
        self
    }

    /// Refuses a server whose committees do not contain this one, which the caller has verified before. Requests wait until the server
    /// has shown it.
    #[must_use]
    pub fn pinning(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.handshake.pin(checkpoint);
        self
    }

    /// Authorises every put with this token.
    #[must_use]
    pub fn with_token(mut self, token: Option<TokenSecret>) -> Self {
        self.handshake.set_token(token);
        self
    }

    /// Whether another put may begin now.
    pub fn has_room(&self) -> bool {
        self.puts.len() < MAX_PUTS && self.last < u32::MAX
    }

    /// The first messages of the puts that began before the link could take any.
    fn begin_all(&mut self) -> impl Iterator<Item = PutLinkEvent> {
        let handshake = &self.handshake;
        self.puts.iter_mut().map(|put| PutLinkEvent::Put(put.stream(), Ok(PutEvent::Send(put.begin(handshake)))))
    }

    /// Begins a put. Returns its stream number on this link and the message to send; before the link may take requests, the message comes
    /// later as a [`PutEvent::Send`]. `bytes`: all bytes of an offered blob. At most [`MAX_BLOB`](crate::message::MAX_BLOB) bytes
    /// are sent in one message with the offer: there is no [`PutEvent::Ready`], and the members' progress is reported at the end.
    /// A larger blob is requested with [`PutEvent::Ready`] as usual. `outline`: of an offered blob; each block's proof is made from
    /// it. A blob of a single block needs none.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if the number of bytes is not the offered length; [`SessionError::NoRoom`] unless
    /// [`has_room`](Self::has_room).
    pub fn begin(
        &mut self,
        put: NewPut,
        bytes: Option<Bytes>,
        outline: Option<Outline>,
    ) -> Result<(Stream, Option<Message>), SessionError> {
        if !self.has_room() {
            return Err(SessionError::NoRoom);
        }
        let stream = Stream(self.last + 1);
        let mut put = OnePut::new(stream, put, outline, self.limit);
        if let Some(bytes) = bytes {
            put.set_bytes(bytes)?;
        }
        let message = self.handshake.may_request().then(|| put.begin(&self.handshake));
        self.last = stream.0;
        self.puts.push(put);
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
                let mut events = vec![PutLinkEvent::Opened];
                if self.handshake.may_request() {
                    events.extend(self.begin_all());
                }
                return Ok(events);
            }
            HandshakeEvent::Committee => {
                let mut events: Vec<_> =
                    self.handshake.chain().cloned().map(PutLinkEvent::Cluster).into_iter().collect();
                if self.handshake.awaits_committee() {
                    events.extend(self.begin_all());
                }
                return Ok(events);
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
        let Some(put) = self.puts.iter_mut().find(|put| put.stream() == stream) else {
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
            self.forget(stream);
        }
        Ok(match events {
            Ok(events) => events.into_iter().map(|event| PutLinkEvent::Put(stream, Ok(event))).collect(),
            Err(error) => vec![PutLinkEvent::Put(stream, Err(error))],
        })
    }

    /// Ends the puts that made no progress for too long. Call it every [`CHECK_EVERY`](super::progress::CHECK_EVERY). `now` is
    /// monotonic.
    ///
    /// # Errors
    /// As [`ProgressWatch::check_deadline`], if the server did not prove its node key in time; the link has then ended.
    pub fn check_deadlines(&mut self, now: Duration) -> Result<Vec<PutLinkEvent>, SessionError> {
        if let Some(mark) = self.handshake.progress_mark() {
            self.watch.check_deadline(mark, now)?;
            return Ok(Vec::new());
        }
        let late: Vec<_> =
            self.puts.iter_mut().filter_map(|put| Some((put.stream(), put.check_deadline(now).err()?))).collect();
        let mut events = Vec::new();
        for (stream, error) in late {
            // The put would go on at the server, which waits for replicas that the user does not wait for.
            if let SessionError::WaitLimit { .. } = error {
                let cancel = self.cancel(stream, CancelReason::WaitLimit);
                events.extend(cancel.map(|cancel| PutLinkEvent::Put(stream, Ok(PutEvent::Send(cancel)))));
            }
            self.forget(stream);
            events.push(PutLinkEvent::Put(stream, Err(error)));
        }
        Ok(events)
    }

    /// The progress of a put; of the handshake until the link is open. `None` if the put has ended.
    pub fn progress_mark(&self, stream: Stream) -> Option<ProgressMark> {
        let put = self.puts.iter().find(|put| put.stream() == stream)?;
        Some(self.handshake.progress_mark().unwrap_or_else(|| put.progress_mark()))
    }

    /// The message with the next 1 to [`MAX_CHUNK`](crate::message::MAX_CHUNK) bytes of a put; `None` if the put has ended. For an
    /// offered blob, `bytes` must be the next whole block; the last block may be shorter.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if the bytes exceed the offered length, or are not a whole block before its end;
    /// [`SessionError::Unproved`] if a blob of several blocks has no outline. The caller then cancels the put.
    pub fn chunk(&mut self, stream: Stream, bytes: Bytes) -> Result<Option<Message>, SessionError> {
        self.put(stream).map(|put| put.chunk(bytes)).transpose()
    }

    /// The message that ends the bytes of a put; `None` if the put has ended. `now` in seconds since 1970.
    ///
    /// # Errors
    /// [`SessionError::SourceChanged`] if fewer bytes than offered were passed; the caller then cancels the put.
    pub fn end(&mut self, stream: Stream, now: u64) -> Result<Option<Message>, SessionError> {
        let put = self.puts.iter_mut().find(|put| put.stream() == stream);
        put.map(|put| put.end(&self.handshake, now)).transpose()
    }

    /// Ends a put, and returns the message that cancels it; `None` if the put has ended already.
    pub fn cancel(&mut self, stream: Stream, reason: CancelReason) -> Option<Message> {
        self.put(stream)?;
        self.forget(stream);
        // Before requests may be sent, the server knows of no put.
        self.handshake.may_request().then_some(Message::Cancel { stream, keep: reason.keeps_bytes() })
    }

    fn forget(&mut self, stream: Stream) {
        self.puts.retain(|put| put.stream() != stream);
    }

    fn put(&mut self, stream: Stream) -> Option<&mut OnePut> {
        self.puts.iter_mut().find(|put| put.stream() == stream)
    }
}
