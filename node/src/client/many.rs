//! Many puts over one link: a task drives it, and each put waits for its own end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::ClusterId;
use vouch_core::message::{MAX_CHUNK, MAX_PUTS, Message, Stream};
use vouch_core::session::{self, Certified, NewPut, Phase, PutEvent, PutLinkEvent, SessionError};
use vouch_core::tree::{Outline, OutlineHasher};

use super::stall::Stalled;
use super::{ClientError, Content, LOOK_EVERY, Offer, Pieces, PutProgress, StallLimit, dial, open};
use crate::host::Host;
use crate::host::source::Source;
use crate::link::{LinkError, LinkReader, Outgoing};

/// What puts want of the link, waiting for it.
const COMMANDS: usize = MAX_PUTS;

/// What to put over a link that takes many.
#[derive(Debug, Clone)]
pub struct Item {
    /// The bytes.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// Has it certified anew, though an earlier certificate may promise as much.
    pub renew: bool,
}

/// A link to one server for up to [`MAX_PUTS`] puts at once; further ones wait. Clones share it.
#[derive(Debug, Clone)]
pub struct PutLink {
    host: Host,
    commands: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    about: Arc<About>,
    stall: StallLimit,
}

/// What became of a link.
#[derive(Debug, Default)]
struct About {
    chain: OnceLock<CommitteeChain>,
    /// Why it ended.
    ended: OnceLock<Arc<ClientError>>,
}

/// A put that may be tried over one link after the other: its bytes are hashed once, its receipt stays the same.
pub struct Prepared {
    name: String,
    offer: Offer,
    new: NewPut,
}

impl Prepared {
    /// Hashes what is put.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn new(host: &Host, item: Item) -> Result<Self, ClientError> {
        let name = item.source.to_string();
        let now = host.unix_seconds();
        let failed = |error| ClientError::Source { source_name: name.clone(), error };
        let offer = Offer::of(host, item.source, |_| {}).await.map_err(failed)?;
        let (source, salt) = (offer.source, host.random());
        let new = NewPut { source, expires_at: item.expires_at, salt, now, renew: item.renew };
        Ok(Self { name, offer, new })
    }

    /// Whether its bytes can be had only once.
    pub fn is_once(&self) -> bool {
        self.offer.is_once()
    }
}

/// How a put ended, or that its bytes may flow.
#[derive(Debug)]
enum Told {
    Ready(Stream, u64),
    Ended(Result<Box<Certified>, ClientError>),
}

type Teller = mpsc::Sender<Told>;

/// One attempt at a put.
struct Attempt<'a> {
    put: NewPut,
    outline: Option<Outline>,
    /// All of a small blob.
    whole: Option<Bytes>,
    /// The bytes of others.
    pieces: Option<Pieces>,
    place: OwnedSemaphorePermit,
    /// For errors.
    name: &'a str,
}

enum Command {
    Begin { put: NewPut, outline: Option<Outline>, whole: Option<Bytes>, teller: Teller, place: OwnedSemaphorePermit },
    Bytes(Stream, Bytes),
    End(Stream),
    Cancel(Stream),
}

impl PutLink {
    /// Dials a server. `trusted`: the identity to trust; `None` takes the server's.
    ///
    /// # Errors
    /// Nobody there, another service, another cluster, or a server that cannot prove its key.
    pub async fn open(host: &Host, server: &str, trusted: Option<ClusterId>) -> Result<Self, ClientError> {
        Self::open_with(host, server, trusted, StallLimit::new(Duration::ZERO)).await
    }

    /// The same with a limit for the waits for decisions of the server.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ClientError::Stalled`].
    pub async fn open_with(
        host: &Host,
        server: &str,
        trusted: Option<ClusterId>,
        stall: StallLimit,
    ) -> Result<Self, ClientError> {
        let (session, hello) = session::PutLink::new(trusted, host.random());
        let (reader, outgoing) = open(host, dial(host, server, stall).await?, hello).await;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (opened, is_open) = oneshot::channel();
        let about = Arc::new(About::default());
        let driver = Driver { host: host.clone(), session, outgoing, puts: HashMap::new(), about: about.clone() };
        host.spawn(driver.run(reader, queue, opened));
        let gone = || Err(ClientError::from(LinkError::Closed(String::new())));
        within(host, stall, Phase::Opening, is_open).await?.unwrap_or_else(|_| gone())?;
        Ok(Self { host: host.clone(), commands, places: Arc::new(Semaphore::new(MAX_PUTS)), about, stall })
    }

    /// Puts one blob and returns its certificate, checked. Dropping the future gives the put up.
    ///
    /// # Errors
    /// See [`ClientError`]. The link's end ends every put on it.
    pub async fn put(&self, item: Item) -> Result<Certified, ClientError> {
        self.put_again(&mut Prepared::new(&self.host, item).await?, |_| {}).await
    }

    /// Puts a blob, as far as that was not done over another link.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`ClientError::Once`] for a second attempt at what can be read once.
    pub async fn put_again(
        &self,
        prepared: &mut Prepared,
        progress: impl Fn(PutProgress),
    ) -> Result<Certified, ClientError> {
        let place = self.place().await?;
        let Some(content) = prepared.offer.content(&self.host) else {
            return Err(ClientError::Once(Box::new(self.gone())));
        };
        let (whole, pieces) = match content {
            Content::Whole(bytes) => (Some(bytes), None),
            Content::Pieces(pieces) => (None, Some(pieces)),
        };
        let outline = prepared.offer.outline.clone();
        let name = &prepared.name;
        self.drive(Attempt { put: prepared.new, outline, whole, pieces, place, name }, progress).await
    }

    /// Whether the link is lost.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// The cluster that the server showed.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.about.chain.get().map(CommitteeChain::cluster)
    }

    /// Why nothing can be put over it any more.
    fn gone(&self) -> ClientError {
        match self.about.ended.get() {
            Some(error) => ClientError::Ended(error.clone()),
            None => ended().into(),
        }
    }

    /// Puts bytes that are in memory; `renew` as in [`Item`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_bytes(&self, bytes: Bytes, expires_at: u64, renew: bool) -> Result<Certified, ClientError> {
        let place = self.place().await?;
        let mut hasher = OutlineHasher::new();
        hasher.update(&bytes);
        let ((digest, outline), length) = (hasher.finish(), bytes.len() as u64);
        let source = session::Source::Known { digest, length };
        let rest = bytes.clone();
        let host = self.host.clone();
        let pieces: Pieces = Box::new(move |offset| {
            let rest = rest.slice(usize::try_from(offset).map_or(rest.len(), |offset| offset.min(rest.len()))..);
            crate::host::source::pieces(&host, move || Ok(io::Cursor::new(rest)), MAX_CHUNK)
        });
        let now = self.host.unix_seconds();
        let new = NewPut { source, expires_at, salt: self.host.random(), now, renew };
        let (outline, whole, pieces) = (Some(outline), Some(bytes), Some(pieces));
        self.drive(Attempt { put: new, outline, whole, pieces, place, name: "the bytes" }, |_| {}).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, ClientError> {
        self.places.clone().acquire_owned().await.map_err(|_| self.gone())
    }

    async fn drive(&self, attempt: Attempt<'_>, progress: impl Fn(PutProgress)) -> Result<Certified, ClientError> {
        let Attempt { put, outline, whole, pieces, place, name } = attempt;
        let (teller, mut told) = mpsc::channel(2);
        self.say(Command::Begin { put, outline, whole, teller, place }).await?;
        match within(&self.host, self.stall, Phase::Offered, told.recv()).await? {
            Some(Told::Ended(result)) => result.map(|certified| *certified),
            Some(Told::Ready(stream, offset)) => {
                progress(PutProgress::Ready(offset));
                let give_up = GiveUp { host: &self.host, commands: &self.commands, stream: Some(stream) };
                if let Some(pieces) = pieces {
                    let error = |error| ClientError::Source { source_name: name.into(), error };
                    tokio::select! {
                        biased;
                        // it failed before all bytes were sent
                        ended = told.recv() => return give_up.over(ended),
                        sent = self.send(stream, pieces(offset), offset, &progress) => sent?.map_err(error)?,
                    }
                }
                let ended = within(&self.host, self.stall, Phase::Certifying, told.recv()).await?;
                give_up.over(ended)
            }
            None => Err(self.gone()),
        }
    }

    async fn send(
        &self,
        stream: Stream,
        mut pieces: mpsc::Receiver<io::Result<Bytes>>,
        mut offset: u64,
        progress: &impl Fn(PutProgress),
    ) -> Result<io::Result<()>, ClientError> {
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(bytes) => {
                    offset += bytes.len() as u64;
                    self.say(Command::Bytes(stream, bytes)).await?;
                    progress(PutProgress::Sent(offset));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        self.say(Command::End(stream)).await?;
        Ok(Ok(()))
    }

    async fn say(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).await.map_err(|_| self.gone())
    }
}

/// Waits for something that the server has to decide.
async fn within<T>(
    host: &Host,
    stall: StallLimit,
    phase: Phase,
    wait: impl Future<Output = T>,
) -> Result<T, ClientError> {
    let Some(limit) = stall.limit() else { return Ok(wait.await) };
    let waited = host.timeout(limit, wait).await;
    Ok(waited.map_err(|_| Stalled::new(phase, limit))?)
}

fn ended() -> LinkError {
    LinkError::Closed(String::new())
}

/// Tells the server when nobody waits for a put any more.
struct GiveUp<'a> {
    host: &'a Host,
    commands: &'a mpsc::Sender<Command>,
    stream: Option<Stream>,
}

impl GiveUp<'_> {
    fn over(mut self, told: Option<Told>) -> Result<Certified, ClientError> {
        self.stream = None;
        match told {
            Some(Told::Ended(result)) => result.map(|certified| *certified),
            Some(Told::Ready(..)) | None => Err(ended().into()),
        }
    }
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            let commands = self.commands.clone();
            self.host.spawn(async move {
                let _ = commands.send(Command::Cancel(stream)).await;
            });
        }
    }
}

/// A put in progress, with the place that it takes.
struct InProgress {
    teller: Teller,
    _place: OwnedSemaphorePermit,
}

/// Told once that the link is open, or why it will not be.
type Opened = oneshot::Sender<Result<(), ClientError>>;

struct Driver {
    host: Host,
    session: session::PutLink,
    outgoing: mpsc::Sender<Outgoing>,
    puts: HashMap<Stream, InProgress>,
    about: Arc<About>,
}

impl Driver {
    async fn run(mut self, mut reader: LinkReader, mut queue: mpsc::Receiver<Command>, opened: Opened) {
        let mut opened = Some(opened);
        let mut looks = self.host.interval(LOOK_EVERY);
        let error = 'link: loop {
            let outgoing = self.outgoing.clone();
            // begun once: the link counts its own silence from there
            let next = reader.next();
            tokio::pin!(next);
            let frame = loop {
                let step = tokio::select! {
                    biased;
                    _ = looks.tick() => self.look(&mut opened),
                    frame = &mut next => break frame,
                    // reading goes on while the link takes nothing: whoever only sends, deadlocks
                    (room, command) = next_with_room(&outgoing, &mut queue), if opened.is_none() => match (room, command) {
                        (Ok(room), Some(command)) => {
                            if let Some(message) = self.obey(command) {
                                room.send(message.encode().into());
                            }
                            Ok(())
                        }
                        // nobody puts any more
                        (_, None) => return,
                        (Err(_), _) => Err(ended().into()),
                    },
                };
                if let Err(error) = step {
                    break 'link error;
                }
            };
            let heard = match frame {
                Ok(frame) => self.hear(&frame, &mut opened),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = heard {
                break error;
            }
        };
        if let Some(opened) = opened {
            let _ = opened.send(Err(error));
            return;
        }
        let error = Arc::new(error);
        let _ = self.about.ended.set(error.clone());
        for (_, put) in self.puts.drain() {
            let _ = put.teller.try_send(Told::Ended(Err(ClientError::Ended(error.clone()))));
        }
    }

    fn look(&mut self, opened: &mut Option<Opened>) -> Result<(), ClientError> {
        let late = self.session.look(self.host.monotonic())?;
        self.perform(late, opened);
        Ok(())
    }

    fn hear(&mut self, frame: &Bytes, opened: &mut Option<Opened>) -> Result<(), ClientError> {
        let events = self.session.receive(frame, self.host.unix_seconds())?;
        self.perform(events, opened);
        Ok(())
    }

    fn perform(&mut self, events: Vec<PutLinkEvent>, opened: &mut Option<Opened>) {
        for event in events {
            match event {
                PutLinkEvent::Opened => {
                    if let Some(opened) = opened.take() {
                        let _ = opened.send(Ok(()));
                    }
                }
                PutLinkEvent::Cluster(chain) => drop(self.about.chain.set(chain)),
                PutLinkEvent::Put(stream, Ok(PutEvent::Ready { offset })) => self.ready(stream, offset),
                PutLinkEvent::Put(stream, Ok(PutEvent::Certified(certified))) => self.end(stream, Ok(certified)),
                PutLinkEvent::Put(stream, Err(error)) => self.end(stream, Err(error.into())),
                PutLinkEvent::Put(_, Ok(PutEvent::Progress { .. } | PutEvent::Send(_) | PutEvent::Cluster(_))) => {}
            }
        }
    }

    fn obey(&mut self, command: Command) -> Option<Message> {
        match command {
            Command::Begin { put, outline, whole, teller, place } => match self.session.begin(put, whole, outline) {
                Ok((stream, message)) => {
                    self.puts.insert(stream, InProgress { teller, _place: place });
                    Some(message)
                }
                Err(error) => {
                    let _ = teller.try_send(Told::Ended(Err(error.into())));
                    None
                }
            },
            Command::Bytes(stream, bytes) => {
                let chunk = self.session.chunk(stream, bytes);
                self.or_give_up(stream, chunk)
            }
            Command::End(stream) => {
                let end = self.session.end(stream);
                self.or_give_up(stream, end)
            }
            Command::Cancel(stream) => {
                self.puts.remove(&stream);
                self.session.cancel(stream)
            }
        }
    }

    fn or_give_up(&mut self, stream: Stream, message: Result<Option<Message>, SessionError>) -> Option<Message> {
        match message {
            Ok(message) => message,
            Err(error) => {
                self.end(stream, Err(error.into()));
                self.session.cancel(stream)
            }
        }
    }

    /// Bytes may flow; unless nobody waits for the put any more.
    fn ready(&mut self, stream: Stream, offset: u64) {
        if self.puts.get(&stream).is_some_and(|put| !put.teller.is_closed()) {
            return self.tell(stream, Told::Ready(stream, offset));
        }
        self.puts.remove(&stream);
        if let Some(cancel) = self.session.cancel(stream) {
            // where there is no room, the server finds out by the silence
            let _ = self.outgoing.try_send(cancel.encode().into());
        }
    }

    /// There is room for both messages that a put is ever told.
    fn tell(&self, stream: Stream, told: Told) {
        if let Some(put) = self.puts.get(&stream) {
            let _ = put.teller.try_send(told);
        }
    }

    fn end(&mut self, stream: Stream, result: Result<Box<Certified>, ClientError>) {
        self.tell(stream, Told::Ended(result));
        self.puts.remove(&stream);
    }
}

type Room<'a> = Result<mpsc::Permit<'a, Outgoing>, mpsc::error::SendError<()>>;

/// The next command, once there is room to send what follows from it.
async fn next_with_room<'a>(
    outgoing: &'a mpsc::Sender<Outgoing>,
    queue: &mut mpsc::Receiver<Command>,
) -> (Room<'a>, Option<Command>) {
    let room = outgoing.reserve().await;
    (room, queue.recv().await)
}
