//! Drives the put and get sessions of `vouch-core` over a link.

mod get;
mod held_range;
pub mod http;
mod offer;
mod put_driver;
mod put_link;
mod retry;
pub mod seal;
mod servers;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;
use vouch_core::access::{Authorisation, TokenSecret};
use vouch_core::chain::{CommitteeChain, MemberId};
use vouch_core::digest::Digest;
use vouch_core::message::{Message, Stage};
use vouch_core::session::progress::CHECK_EVERY;
use vouch_core::session::{
    Attempts, GetEvent, GetRequest, GetSession, LinkOptions, Phase, Rejection, ResumableGet, SessionError, WaitLimit,
    WantedBytes,
};
use vouch_core::slice::Slice;
use vouch_core::verify::Trust;

use crate::host::Host;
use crate::host::source::Source;
use crate::host::tasks::JoinHandle;
use crate::link::{self, LinkError, LinkReader, LinkWriter, Outgoing};
pub use get::{Get, GetProgress, GetResult, get};
pub use held_range::{HeldPrefix, held_range};
pub use offer::{Offer, hash};
pub use put_link::{Item, Prepared, PutLink};
pub use retry::{PutResult, fault, milestone, offer, put, put_offer};
pub use servers::{NextAttempt, ServerTrials, Servers, open_known};

/// Messages waiting to be sent.
const QUEUE: usize = 4;

/// Why a put or a get failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The session ended with an error.
    #[error(transparent)]
    Session(SessionError),
    /// The file to put cannot be read.
    #[error("cannot read {source_name}: {error}")]
    Source {
        /// The file.
        source_name: String,
        /// The system's error.
        error: io::Error,
    },
    /// A decision of the server took longer than the user allows.
    #[error(
        "the server made no progress for {} s while {what}, and `--retry` allows no more; with a longer `--retry`, the server names \
         the replicas that do not answer", .after.as_secs()
    )]
    Stalled {
        /// How long the client waited.
        after: Duration,
        /// What the client was doing.
        what: &'static str,
    },
    /// The output of a get cannot be written.
    #[error("{0}")]
    Sink(String),
    /// The bytes that the output holds are not the beginning of the blob, so the get cannot resume after them.
    #[error("expected the first {expected} bytes of the file, got others after byte {matching}")]
    AnotherPrefix {
        /// The number of bytes held.
        expected: u64,
        /// The number of these, from the first, that are the blob's.
        matching: u64,
    },
    /// A link ended with all puts on it.
    #[error("the link broke: {0}")]
    Ended(Arc<ClientError>),
    /// A put was interrupted, and its bytes can be read only once.
    #[error("{0}; standard input and pipes can be read only once, so this put cannot be retried: put a file instead")]
    ReadOnce(Box<ClientError>),
    /// Every retry of a put or a get failed.
    #[error("{error}; gave up after {attempts} attempts. Run the same command again to resume")]
    GaveUp {
        /// The number of attempts.
        attempts: u32,
        /// Why the last attempt failed.
        error: Box<ClientError>,
    },
    /// The server showed no committee in time: its cluster is not founded yet.
    #[error("{server} has no committee yet: it showed none within {} s", .waited.as_secs())]
    NoCommittee {
        /// The server.
        server: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// Every server that the client was given failed.
    #[error("every server failed{}", .0.iter().map(|(server, error)| format!("; {server}: {error}")).collect::<String>())]
    EveryServer(Vec<(String, Arc<ClientError>)>),
}

impl From<SessionError> for ClientError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::WaitLimit { phase, waited } => Self::Stalled { after: waited, what: phase.what() },
            error => Self::Session(error),
        }
    }
}

/// The progress of a put.
#[derive(Debug, Clone)]
pub enum PutProgress {
    /// Bytes hashed so far.
    Hashed(u64),
    /// Hashing is done. The blob's digest and length.
    Offered(Digest, u64),
    /// The server's committee is known and checked.
    Cluster(CommitteeChain),
    /// The resume offset: bytes are sent from here on.
    Ready(u64),
    /// The bytes before this offset are sent.
    Sent(u64),
    /// A member reached a stage.
    Member(MemberId, Stage),
    /// An attempt failed. The put is retried.
    Retrying(NextAttempt),
}

/// The parameters of a put.
#[derive(Debug, Clone)]
pub struct Put {
    /// The servers.
    pub servers: Servers,
    /// What to trust; without a cluster identity, the server's is accepted.
    pub trusted: Trust,
    /// Where the bytes are read from.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// Ask for a new certificate, even if an earlier one promises as much.
    pub renew: bool,
    /// Authorises the put.
    pub token: Option<TokenSecret>,
    /// How long the put is retried without progress after the link is lost. It also sets the [`WaitLimit`] for each decision of a
    /// server. Zero: every server is tried once, with only the session's own deadlines.
    pub retry: Duration,
}

/// Dials a server. Waits at most as long as the limit allows.
async fn dial(host: &Host, server: &str, limit: WaitLimit) -> Result<(LinkReader, LinkWriter), ClientError> {
    let dialled = link::dial(host, server);
    let Some(waited) = limit.longest() else { return Ok(dialled.await?) };
    let late = |_| SessionError::WaitLimit { phase: Phase::Opening, waited };
    Ok(host.timeout(waited, dialled).await.map_err(late)??)
}

/// The task that writes to a link. Its result says why it ended.
type Writing = JoinHandle<Result<(), LinkError>>;

/// Sends the hello over an open link. The writing task ends when the queue is closed.
async fn open(
    host: &Host,
    (reader, mut writer): (LinkReader, LinkWriter),
    hello: Message,
) -> (LinkReader, mpsc::Sender<Outgoing>, Writing) {
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let (_, no_data) = mpsc::channel::<Bytes>(1);
    let writing = host.spawn(async move { link::write_queues(&mut writer, queue, no_data).await });
    send(&outgoing, &hello).await;
    (reader, outgoing, writing)
}

/// Queues a message. If the writer has failed, the message is lost: the reader returns the error.
async fn send(outgoing: &mpsc::Sender<Outgoing>, message: &Message) {
    let _ = outgoing.send(message.encode().into()).await;
}

/// The next event of a [`Download`], as in [`GetEvent`].
#[derive(Debug)]
pub enum DownloadEvent {
    /// The get starts to read from a member.
    Start {
        /// The member's name.
        name: String,
        /// The blob's length as the member claims it.
        length: u64,
    },
    /// The length is verified.
    Length {
        /// The blob's length.
        length: u64,
        /// The bytes of the blob that follow.
        range: Range<u64>,
    },
    /// A verified slice.
    Slice(Slice),
    /// The next bytes of the range, verified.
    Bytes(Bytes),
    /// A member failed. The next holder continues, if there is one.
    Rejected(Rejection),
    /// All bytes were returned. This is the last event. With the committees that the server showed, verified.
    Verified(CommitteeChain),
}

/// A get driven by its caller: it requests and receives nothing ahead of the caller's calls of [`next`](Self::next), so a slow
/// caller bounds its memory.
pub struct Download {
    host: Host,
    /// Locked for one call, never across an await. A blocking thread may be the one that calls.
    session: Arc<Mutex<GetSession>>,
    /// Whether messages are verified on blocking threads.
    is_of_node: bool,
    link: LinkReader,
    outgoing: mpsc::Sender<Outgoing>,
    events: VecDeque<GetEvent>,
}

impl Download {
    /// Begins on a fresh link, for a node. `known`: committees that were verified before. `authorisation`: by the node,
    /// if reads need one.
    ///
    /// A node's thread also serves its links, and a chunk of 256 KiB or a committee of a thousand takes long to verify: so this is done on
    /// blocking threads. A client's command has nothing else to do meanwhile.
    pub async fn begin(
        host: &Host,
        link: (LinkReader, LinkWriter),
        request: GetRequest,
        known: Option<CommitteeChain>,
        authorisation: Option<Authorisation>,
    ) -> Self {
        let (session, hello) = GetSession::knowing(request, known);
        let session = session.authorised(authorisation);
        let download = Self::of_session(host, link, session, hello).await;
        Self { is_of_node: true, ..download }
    }

    async fn of_session(host: &Host, link: (LinkReader, LinkWriter), session: GetSession, hello: Message) -> Self {
        let session = Arc::new(Mutex::new(session));
        let (link, outgoing, _) = open(host, link, hello).await;
        Self { host: host.clone(), session, is_of_node: false, link, outgoing, events: VecDeque::new() }
    }

    /// Dials a server and begins.
    async fn dial(host: &Host, server: &str, options: LinkOptions, wanted: WantedBytes) -> Result<Self, ClientError> {
        let link = dial(host, server, options.limit).await?;
        let (session, hello) = options.get_session(wanted, host.random(), host.unix_seconds());
        Ok(Self::of_session(host, link, session, hello).await)
    }

    /// Receives the next message. Fails at the session's deadline.
    async fn next_frame(&mut self) -> Result<Bytes, ClientError> {
        // One future for the whole frame: the link measures its idle time from the future's creation.
        let next = self.link.next();
        tokio::pin!(next);
        loop {
            match self.host.timeout(CHECK_EVERY, &mut next).await {
                Ok(frame) => return Ok(frame?),
                Err(_) => lock(&self.session).check_deadline(self.host.monotonic())?,
            }
        }
    }

    /// Gives the session a message.
    async fn receive(&mut self, frame: Bytes) -> Result<Vec<GetEvent>, ClientError> {
        if !self.is_of_node {
            return Ok(lock(&self.session).receive(&frame)?);
        }
        let session = self.session.clone();
        let receiving = self.host.spawn_blocking(move || lock(&session).receive(&frame)).await;
        Ok(receiving.map_err(|error| LinkError::Broken(error.to_string()))??)
    }

    /// Records for the next attempt what the link has shown until now.
    fn report_to(&self, attempts: &mut Attempts) {
        attempts.heard(&lock(&self.session));
    }

    /// Records that the link reads from a holder.
    fn started(&self, get: &ResumableGet, attempts: &mut Attempts) {
        get.started(&lock(&self.session), attempts);
    }

    /// The next event.
    ///
    /// # Errors
    /// See [`ClientError`]; the get has then ended.
    pub async fn next(&mut self) -> Result<DownloadEvent, ClientError> {
        // Time that the caller spent on the last event does not count against the server.
        lock(&self.session).restart_deadline();
        loop {
            match self.events.pop_front() {
                None => {
                    let frame = self.next_frame().await?;
                    self.events = self.receive(frame).await?.into();
                }
                Some(GetEvent::Send(message)) => send(&self.outgoing, &message).await,
                Some(GetEvent::Start { name, length }) => return Ok(DownloadEvent::Start { name, length }),
                Some(GetEvent::Length { length, range }) => return Ok(DownloadEvent::Length { length, range }),
                Some(GetEvent::Slice(slice)) => return Ok(DownloadEvent::Slice(slice)),
                Some(GetEvent::Bytes(bytes)) => return Ok(DownloadEvent::Bytes(bytes)),
                Some(GetEvent::Rejected(rejection)) => return Ok(DownloadEvent::Rejected(rejection)),
                Some(GetEvent::Verified) => {
                    // Cannot fail: a session knows the committee before it sends a request.
                    let chain = lock(&self.session).chain().cloned();
                    return Ok(DownloadEvent::Verified(chain.ok_or_else(|| LinkError::Broken("no committee".into()))?));
                }
            }
        }
    }
}

fn lock(session: &Mutex<GetSession>) -> MutexGuard<'_, GetSession> {
    // A call that panicked gave no events, so the download has failed.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
