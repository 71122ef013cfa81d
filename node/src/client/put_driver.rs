//! The task of a link for puts: performs what the core's `PutLink` asks for.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Message, Stream};
use vouch_core::session::progress::CHECK_EVERY;
use vouch_core::session::{self, CancelReason, Certified, NewPut, PutEvent, PutLinkEvent};
use vouch_core::tree::Outline;

use super::offer::{OfferedBytes, Pieces};
use super::{ClientError, PutProgress, Writing, send};
use crate::host::Host;
use crate::link::{LinkError, LinkReader, Outgoing};

/// Number of deadline checks for which a link is still read after its writer failed: the server may have said why. Then the link ends.
/// Otherwise, if a server sends pings and reads nothing, later puts on the link would neither begin nor fail.
const LAST_CHECKS: u32 = 2;

/// The number of a put on one link, given by its caller. It exists before the put has a stream number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PutNumber(pub(super) u64);

#[derive(Debug)]
pub(super) enum PutCommand {
    Begin(Box<QueuedPut>),
    Cancel(PutNumber),
}

/// A put to begin.
pub(super) struct QueuedPut {
    pub(super) number: PutNumber,
    /// The source, for errors.
    pub(super) name: String,
    pub(super) new: NewPut,
    pub(super) outline: Option<Outline>,
    pub(super) content: OfferedBytes,
    pub(super) progress: Box<dyn Fn(PutProgress) + Send>,
    pub(super) result: PutResult,
    pub(super) place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for QueuedPut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuedPut").field("number", &self.number).field("new", &self.new).finish_non_exhaustive()
    }
}

/// What the driver of a link has learned, for the link's handles.
#[derive(Debug, Default)]
pub(super) struct LinkInfo {
    pub(super) chain: OnceLock<CommitteeChain>,
    /// Why the link ended.
    pub(super) ended: OnceLock<Arc<ClientError>>,
    /// One of the two is there.
    pub(super) learned: Notify,
}

type PutResult = oneshot::Sender<Result<Box<Certified>, ClientError>>;

/// Sends once: the link is open, or why it failed to open.
type OpenedSender = oneshot::Sender<Result<(), ClientError>>;

/// A put in progress.
struct RunningPut {
    number: PutNumber,
    name: String,
    progress: Box<dyn Fn(PutProgress) + Send>,
    result: PutResult,
    flow: ByteFlow,
    _place: OwnedSemaphorePermit,
}

/// The bytes of a put.
enum ByteFlow {
    /// Not requested yet.
    Waiting(Pieces),
    Flowing(mpsc::Receiver<io::Result<Bytes>>),
    Done,
}

impl ByteFlow {
    fn start(&mut self, offset: u64) {
        if let Self::Waiting(pieces) = std::mem::replace(self, Self::Done) {
            *self = Self::Flowing(pieces(offset));
        }
    }
}

/// What to do once there is room to send.
enum Work {
    /// `None`: every handle of the link was dropped.
    Command(Option<PutCommand>),
    /// The next bytes of a put; `None` after the last.
    Piece(Stream, Option<io::Result<Bytes>>),
}

pub(super) struct PutDriver {
    host: Host,
    session: session::PutLink,
    outgoing: mpsc::Sender<Outgoing>,
    writing: Writing,
    puts: BTreeMap<Stream, RunningPut>,
    /// The put whose bytes were sent last: the next one comes first.
    last_served: Stream,
    info: Arc<LinkInfo>,
}

impl PutDriver {
    pub(super) fn new(
        host: Host,
        session: session::PutLink,
        (outgoing, writing): (mpsc::Sender<Outgoing>, Writing),
        info: Arc<LinkInfo>,
    ) -> Self {
        Self { host, session, outgoing, writing, puts: BTreeMap::new(), last_served: Stream(0), info }
    }

    pub(super) async fn run(mut self, reader: LinkReader, mut queue: mpsc::Receiver<PutCommand>, opened: OpenedSender) {
        let mut opened = Some(opened);
        let Err(error) = self.drive(reader, &mut queue, &mut opened).await else { return };
        if let Some(opened) = opened {
            let _ = opened.send(Err(error));
            return;
        }
        let Self { puts, info, .. } = self;
        let error = Arc::new(error);
        let results: Vec<_> = puts.into_values().map(|put| (put.result, error.clone())).collect();
        let _ = info.ended.set(error);
        info.learned.notify_waiters();
        // Keep no reference: the caller of a single put takes the error out of its `Arc`.
        drop(info);
        for (result, error) in results {
            let _ = result.send(Err(ClientError::Ended(error)));
        }
        // Close the queue last: the callers of puts that have not begun then read why the link ended.
        drop(queue);
    }

    /// Returns `Ok` once nobody uses the link any more.
    async fn drive(
        &mut self,
        mut reader: LinkReader,
        queue: &mut mpsc::Receiver<PutCommand>,
        opened: &mut Option<OpenedSender>,
    ) -> Result<(), ClientError> {
        let mut looks = self.host.interval(CHECK_EVERY);
        let (mut can_send, mut checks_without_writer) = (true, 0);
        loop {
            let outgoing = self.outgoing.clone();
            // One future for the whole frame: the link counts its own silence from its beginning.
            let next = reader.next();
            tokio::pin!(next);
            let frame = loop {
                tokio::select! {
                    biased;
                    _ = looks.tick() => {
                        let late = self.session.check_deadlines(self.host.monotonic())?;
                        self.perform(late, opened).await;
                        checks_without_writer += u32::from(!can_send);
                        if checks_without_writer > LAST_CHECKS {
                            return Err(self.writer_error().await);
                        }
                    }
                    frame = &mut next => break frame?,
                    // Keep reading while nothing can be sent: if both ends only sent, neither would make progress.
                    work = next_work(&outgoing, queue, &mut self.puts, self.last_served), if can_send => {
                        match work {
                            // The writer failed. If the link broke, the reader knows why, or will soon.
                            None => can_send = false,
                            Some((_, Work::Command(None))) => return Ok(()),
                            Some((room, Work::Command(Some(command)))) => {
                                if let Some(message) = self.handle_command(command) {
                                    room.send(message.encode().into());
                                }
                            }
                            Some((room, Work::Piece(stream, piece))) => self.piece(stream, piece, room),
                        }
                    }
                }
            };
            let events = self.session.receive(&frame, self.host.unix_seconds())?;
            self.perform(events, opened).await;
        }
    }

    /// Why the writer ended.
    async fn writer_error(&mut self) -> ClientError {
        match (&mut self.writing).await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => LinkError::Closed(String::new()).into(),
        }
    }

    async fn perform(&mut self, events: Vec<PutLinkEvent>, opened: &mut Option<OpenedSender>) {
        for event in events {
            match event {
                PutLinkEvent::Opened => {
                    if let Some(opened) = opened.take() {
                        let _ = opened.send(Ok(()));
                    }
                }
                PutLinkEvent::Cluster(chain) => {
                    self.puts.values().for_each(|put| (put.progress)(PutProgress::Cluster(chain.clone())));
                    let _ = self.info.chain.set(chain);
                    self.info.learned.notify_waiters();
                }
                PutLinkEvent::Put(stream, Ok(event)) => self.event(stream, event).await,
                PutLinkEvent::Put(stream, Err(error)) => self.end(stream, Err(error.into())),
            }
        }
    }

    async fn event(&mut self, stream: Stream, event: PutEvent) {
        let Some(put) = self.puts.get_mut(&stream) else { return };
        match event {
            PutEvent::Send(message) => send(&self.outgoing, &message).await,
            PutEvent::Ready { offset } => {
                (put.progress)(PutProgress::Ready(offset));
                put.flow.start(offset);
            }
            PutEvent::Progress { member, stage } => (put.progress)(PutProgress::Member(member, stage)),
            PutEvent::Certified(certified) => self.end(stream, Ok(certified)),
        }
    }

    /// Returns the message to send, if there is one.
    fn handle_command(&mut self, command: PutCommand) -> Option<Message> {
        match command {
            PutCommand::Begin(begin) => self.begin(*begin),
            PutCommand::Cancel(number) => {
                let stream = self.puts.iter().find(|(_, put)| put.number == number).map(|(stream, _)| *stream)?;
                self.puts.remove(&stream);
                self.session.cancel(stream, CancelReason::Unwanted)
            }
        }
    }

    fn begin(&mut self, begin: QueuedPut) -> Option<Message> {
        let QueuedPut { number, name, new, outline, content, progress, result, place } = begin;
        let (bytes, flow) = match content {
            OfferedBytes::Whole(bytes) => (Some(bytes), ByteFlow::Done),
            OfferedBytes::Pieces(pieces) => (None, ByteFlow::Waiting(pieces)),
        };
        match self.session.begin(new, bytes, outline) {
            Ok((stream, message)) => {
                if let Some(chain) = self.info.chain.get() {
                    progress(PutProgress::Cluster(chain.clone()));
                }
                self.puts.insert(stream, RunningPut { number, name, progress, result, flow, _place: place });
                message
            }
            Err(error) => {
                let _ = result.send(Err(error.into()));
                None
            }
        }
    }

    /// Sends the next bytes of a put, or its end. A put that cannot continue is cancelled.
    fn piece(&mut self, stream: Stream, piece: Option<io::Result<Bytes>>, room: mpsc::Permit<'_, Outgoing>) {
        self.last_served = stream;
        let Some(put) = self.puts.get_mut(&stream) else { return };
        let message = match piece {
            Some(Ok(bytes)) => {
                self.session.chunk(stream, bytes).map_err(|error| (error.into(), CancelReason::SourceChanged))
            }
            None => {
                put.flow = ByteFlow::Done;
                self.session
                    .end(stream, self.host.unix_seconds())
                    .map_err(|error| (error.into(), CancelReason::SourceChanged))
            }
            Some(Err(error)) => {
                let error = ClientError::Source { source_name: put.name.clone(), error };
                Err((error, CancelReason::SourceUnreadable))
            }
        };
        match message {
            Ok(Some(message)) => {
                let encoded = message.encode();
                if let Message::Chunk { offset, bytes, .. } = message {
                    (put.progress)(PutProgress::Sent(offset + bytes.len() as u64));
                }
                room.send(encoded.into());
            }
            Ok(None) => {}
            Err((error, reason)) => {
                if let Some(cancel) = self.session.cancel(stream, reason) {
                    room.send(cancel.encode().into());
                }
                self.end(stream, Err(error));
            }
        }
    }

    fn end(&mut self, stream: Stream, result: Result<Box<Certified>, ClientError>) {
        if let Some(put) = self.puts.remove(&stream) {
            let _ = put.result.send(result);
        }
    }
}

/// The next command or piece, once there is room to send it; `None` if nothing can be sent any more.
async fn next_work<'a>(
    outgoing: &'a mpsc::Sender<Outgoing>,
    queue: &mut mpsc::Receiver<PutCommand>,
    puts: &mut BTreeMap<Stream, RunningPut>,
    last_served: Stream,
) -> Option<(mpsc::Permit<'a, Outgoing>, Work)> {
    let room = outgoing.reserve().await.ok()?;
    let work = poll_fn(|context| match queue.poll_recv(context) {
        Poll::Ready(command) => Poll::Ready(Work::Command(command)),
        Poll::Pending => poll_pieces(puts, last_served, context),
    });
    Some((room, work.await))
}

/// Puts take turns: otherwise the first large one would hold up all others.
fn poll_pieces(puts: &mut BTreeMap<Stream, RunningPut>, last_served: Stream, context: &mut Context<'_>) -> Poll<Work> {
    let mut poll = |(stream, put): (&Stream, &mut RunningPut)| match &mut put.flow {
        ByteFlow::Flowing(pieces) => match pieces.poll_recv(context) {
            Poll::Ready(piece) => Some(Work::Piece(*stream, piece)),
            Poll::Pending => None,
        },
        ByteFlow::Waiting(_) | ByteFlow::Done => None,
    };
    let after = (Bound::Excluded(last_served), Bound::Unbounded);
    match puts.range_mut(after).find_map(&mut poll) {
        Some(work) => Poll::Ready(work),
        None => puts.range_mut(..=last_served).find_map(&mut poll).map_or(Poll::Pending, Poll::Ready),
    }
}
