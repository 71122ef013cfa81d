//! Drives the put and get sessions of `vouch-core` over a link.

mod get;
mod held_range;
mod offer;
mod put_driver;
mod put_link;
mod retry;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;
use vouch_core::chain::{CommitteeChain, MemberId};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::{Message, Stage};
use vouch_core::session::{GetEvent, GetRequest, GetSession, Phase, Rejection, SessionError, WaitLimit};
use vouch_core::slice::Slice;

use crate::host::Host;
use crate::host::source::Source;
use crate::link::{self, LinkError, LinkReader, LinkWriter, Outgoing};
pub use get::{Get, GetProgress, Got, get};
pub use held_range::{Held, held_range};
pub use offer::{Offer, hash};
pub use put_link::{Item, Prepared, PutLink};
pub use retry::{fault, milestone, offer, pause, put, put_offer};

/// Messages waiting to be sent.
const QUEUE: usize = 4;
/// How often a session is looked at for progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a put or a get failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What came over it.
    #[error(transparent)]
    Session(SessionError),
    /// The file that is put.
    #[error("cannot read {source_name}: {error}")]
    Source {
        /// The file.
        source_name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A decision of the server took longer than the user allows.
    #[error(
        "the server made no progress for {} s while {what}, and `--retry` allows no more; replicas that do not answer are named \
         when it is longer", .after.as_secs()
    )]
    Stalled {
        /// For so long.
        after: Duration,
        /// What it was asked for.
        what: &'static str,
    },
    /// Where a get's bytes go.
    #[error("{0}")]
    Sink(String),
    /// The bytes that a get was to go on after are not the beginning of the blob.
    #[error("expected the first {expected} bytes of the file, got others after byte {matching}")]
    AnotherBeginning {
        /// How many were there.
        expected: u64,
        /// How many of them are the blob's.
        matching: u64,
    },
    /// A link ended with all puts on it.
    #[error("the link broke: {0}")]
    Ended(Arc<ClientError>),
    /// A put was cut off, and its bytes cannot be had a second time.
    #[error("{0}; what is read once, as standard input is, cannot be sent again: put a file instead")]
    Once(Box<ClientError>),
    /// A put or a get was cut off again and again.
    #[error("{error}; given up after {attempts} attempts. Run the same command again to go on where it stopped")]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        error: Box<ClientError>,
    },
}

impl From<SessionError> for ClientError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::WaitLimit { phase, waited } => Self::Stalled { after: waited, what: phase.what() },
            error => Self::Session(error),
        }
    }
}

/// What a put is at.
#[derive(Debug, Clone)]
pub enum PutProgress {
    /// Bytes hashed so far.
    Hashed(u64),
    /// Hashing is done.
    Offered(Digest, u64),
    /// The cluster is known by its committee.
    Cluster(CommitteeChain),
    /// Bytes are sent from this offset on; the replicas hold those before it.
    Ready(u64),
    /// The bytes up to here are sent.
    Sent(u64),
    /// A member got further.
    Member(MemberId, Stage),
    /// The link was lost; the put is tried again after this pause.
    Retrying {
        /// How it was lost, for people.
        why: String,
        /// Until then.
        pause: Duration,
    },
}

/// What to put where.
#[derive(Debug, Clone)]
pub struct Put {
    /// The server, `host:port`.
    pub server: String,
    /// The identity to trust; `None` takes the server's.
    pub trusted: Option<ClusterId>,
    /// The bytes.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// Has it certified anew, though an earlier certificate may promise as much.
    pub renew: bool,
    /// For how long it is tried again without getting further, once the link was open and is lost, and for how long about a decision
    /// of the server is waited for; zero for not at all, and for the deadlines of a session.
    pub retry: Duration,
}

/// Dials a server, and waits no longer than the limit.
async fn dial(host: &Host, server: &str, limit: WaitLimit) -> Result<(LinkReader, LinkWriter), ClientError> {
    let dialled = link::dial(host, server);
    let Some(waited) = limit.longest() else { return Ok(dialled.await?) };
    let late = |_| SessionError::WaitLimit { phase: Phase::Opening, waited };
    Ok(host.timeout(waited, dialled).await.map_err(late)??)
}

/// Sends the hello over an open link. The writer lives as long as the queue.
async fn open(
    host: &Host,
    (reader, mut writer): (LinkReader, LinkWriter),
    hello: Message,
) -> (LinkReader, mpsc::Sender<Outgoing>) {
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let (_, no_data) = mpsc::channel::<Bytes>(1);
    host.spawn(async move { link::write_queues(&mut writer, queue, no_data).await });
    send(&outgoing, &hello).await;
    (reader, outgoing)
}

/// Queues a message. When the writer failed, reading says why.
async fn send(outgoing: &mpsc::Sender<Outgoing>, message: &Message) {
    let _ = outgoing.send(message.encode().into()).await;
}

/// What a get came to next; as the events of [`GetEvent`].
#[derive(Debug)]
pub enum Step {
    /// A member is read from.
    Start {
        /// The member's name.
        name: String,
        /// The blob's length, by its word.
        length: u64,
    },
    /// The blob's length, verified; and the bytes of it that come.
    Length {
        /// The blob's.
        length: u64,
        /// Of the blob.
        range: Range<u64>,
    },
    /// A verified slice.
    Slice(Slice),
    /// The next bytes of the range, verified.
    Bytes(Bytes),
    /// A member failed; another goes on.
    Rejected(Rejection),
    /// All bytes came. Nothing follows.
    Verified(ClusterId),
}

/// A get that its caller pulls along: nothing is asked for or received ahead of what it takes.
pub struct Download {
    host: Host,
    session: GetSession,
    link: LinkReader,
    outgoing: mpsc::Sender<Outgoing>,
    events: VecDeque<GetEvent>,
}

impl Download {
    /// Begins over a link that nothing was sent on. `known`: committees whose proofs of possession were verified before.
    pub async fn begin(
        host: &Host,
        link: (LinkReader, LinkWriter),
        request: GetRequest,
        known: Option<CommitteeChain>,
    ) -> Self {
        Self::begin_within(host, link, request, known, WaitLimit::default()).await
    }

    async fn begin_within(
        host: &Host,
        link: (LinkReader, LinkWriter),
        request: GetRequest,
        known: Option<CommitteeChain>,
        limit: WaitLimit,
    ) -> Self {
        let (session, hello) = GetSession::new(request);
        let session = session.with_verified_committee(known).with_wait_limit(limit);
        let (link, outgoing) = open(host, link, hello).await;
        Self { host: host.clone(), session, link, outgoing, events: VecDeque::new() }
    }

    /// Dials a server and begins.
    async fn dial(host: &Host, server: &str, request: GetRequest, limit: WaitLimit) -> Result<Self, ClientError> {
        let link = dial(host, server, limit).await?;
        Ok(Self::begin_within(host, link, request, None, limit).await)
    }

    /// The next message, waited for no longer than the session may stand still.
    async fn next_frame(&mut self) -> Result<Bytes, ClientError> {
        // begun once: the link counts its own silence from there
        let next = self.link.next();
        tokio::pin!(next);
        loop {
            match self.host.timeout(LOOK_EVERY, &mut next).await {
                Ok(frame) => return Ok(frame?),
                Err(_) => self.session.check_deadline(self.host.monotonic())?,
            }
        }
    }

    /// The identity of the cluster, once its committee is known and checked.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.session.cluster()
    }

    /// What comes next.
    ///
    /// # Errors
    /// See [`ClientError`]; the get is then over.
    pub async fn next(&mut self) -> Result<Step, ClientError> {
        // until now the caller was busy with what came before
        self.session.restart_deadline();
        loop {
            match self.events.pop_front() {
                None => {
                    let frame = self.next_frame().await?;
                    self.events = self.session.receive(&frame)?.into();
                }
                Some(GetEvent::Send(message)) => send(&self.outgoing, &message).await,
                Some(GetEvent::Start { name, length }) => return Ok(Step::Start { name, length }),
                Some(GetEvent::Length { length, range }) => return Ok(Step::Length { length, range }),
                Some(GetEvent::Slice(slice)) => return Ok(Step::Slice(slice)),
                Some(GetEvent::Bytes(bytes)) => return Ok(Step::Bytes(bytes)),
                Some(GetEvent::Rejected(rejection)) => return Ok(Step::Rejected(rejection)),
                Some(GetEvent::Verified) => {
                    // a session knows its committee before it asks for anything
                    let cluster = self.session.cluster().ok_or_else(|| LinkError::Broken("no committee".into()))?;
                    return Ok(Step::Verified(cluster));
                }
            }
        }
    }
}
