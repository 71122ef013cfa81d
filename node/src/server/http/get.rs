//! A get over HTTP: the core's get over the server's own lookups and reads. It is driven by its caller: while one piece is sent, the next
//! one is verified, and nothing more is read ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Interval;
use vouch_core::access::{Action, TokenSecret};
use vouch_core::message::Message;
use vouch_core::session::{GetEvent, OneGet, ProgressWatch, SessionError, WantedBytes};
use vouch_node_core::server::health::Fault;

use super::blob_context::BlobContext;
use crate::host::Host;
use crate::host::blocking::{BlockingWork, BlockingWorkError};
use crate::host::tasks::MissedTickBehavior;
use crate::latest::Follower;
use crate::link::Held;
use crate::server::TICK;
use crate::server::core_performer::CorePerformer;
use crate::server::get_performer::{GetPerformer, GetReply};
use crate::server::guard::Connection;
use crate::server::member_links::Snapshot;
use crate::server::reply_routing::{self, Reply};

/// A piece of at least this many bytes is verified on a blocking thread: otherwise it would delay other requests.
const VERIFIED_ELSEWHERE: usize = 16 << 10;

/// A get in progress. Like every client, it trusts no replica: each byte is verified, and another member continues if one fails.
pub(super) struct HttpGet {
    host: Host,
    core: Arc<CorePerformer>,
    connection: Arc<Connection>,
    wanted: WantedBytes,
    get: Box<OneGet>,
    /// The core's get while it verifies a large piece on another thread.
    away: Option<BlockingWork<Away>>,
    performer: GetPerformer,
    replies: mpsc::Receiver<Box<Reply>>,
    snapshot: Follower<Arc<Snapshot>>,
    ticks: Interval,
    watch: ProgressWatch,
    events: VecDeque<GetEvent>,
    answers: VecDeque<GetReply>,
    /// The member that was read from last.
    reading: Option<u16>,
}

impl HttpGet {
    /// Begins with a lookup of the blob's holders.
    pub(super) fn begin(
        context: &BlobContext,
        connection: Arc<Connection>,
        wanted: WantedBytes,
        token: Option<&TokenSecret>,
    ) -> Self {
        let BlobContext { core, gets, .. } = context.clone();
        let (host, snapshot) = (gets.host.clone(), gets.members.follow());
        let (mailbox, replies) = reply_routing::mailbox(core.replicas());
        let chain = gets.members.chain();
        let mut get = Box::new(OneGet::new(wanted, chain.clone()));
        if let Some((token, chain)) = token.zip(chain) {
            let now = host.unix_seconds();
            get.authorise(|digest| Some(token.authorise(&chain.cluster(), Action::Read(digest), now)));
        }
        let read_last = core.state().health().read_last(host.monotonic());
        get.try_last(read_last);
        let first = get.begin();
        let mut ticks = host.interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = Self {
            performer: GetPerformer::new(gets, mailbox),
            snapshot,
            host,
            core,
            connection,
            wanted,
            get,
            away: None,
            replies,
            ticks,
            watch: ProgressWatch::default(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            reading: None,
        };
        begun.ask(first);
        begun
    }

    /// The next event, except [`GetEvent::Send`], which is performed here.
    ///
    /// # Errors
    /// See [`SessionError`]; the get has then ended.
    pub(super) async fn next(&mut self) -> Result<GetEvent, SessionError> {
        // Time that the caller spent on the last event does not count against the replicas.
        self.watch.restart();
        loop {
            if let Some(event) = self.events.pop_front() {
                self.look_ahead();
                return Ok(event);
            }
            match self.away.take() {
                Some(away) => self.come_back(away).await?,
                None => match self.answers.pop_front() {
                    Some(answer) => self.take(answer)?,
                    None => self.wait().await?,
                },
            }
            self.answers.extend(self.performer.take_replies());
        }
    }

    /// Begins to verify a piece that has arrived meanwhile.
    fn look_ahead(&mut self) {
        while let Ok(reply) = self.replies.try_recv() {
            self.performer.reply(*reply);
        }
        self.answers.extend(self.performer.take_replies());
        if self.away.is_none()
            && self.answers.front().is_some_and(is_long)
            && let Some(chunk) = self.answers.pop_front()
        {
            self.send_away(message_of(chunk));
        }
    }

    /// Takes the events of a message. Sends its requests at once.
    fn follow(&mut self, events: Vec<GetEvent>) {
        for event in events {
            match event {
                GetEvent::Send(message) => self.ask(message),
                event => self.events.push_back(event),
            }
        }
    }

    fn ask(&mut self, message: Message) {
        match message {
            Message::Locate { stream, digest, authorisation } => self.performer.locate(stream, digest, authorisation),
            Message::Read(read) => {
                // A read from another member means that the last one has failed.
                let given_up = self.reading.replace(read.member).filter(|last| *last != read.member);
                if let Some(member) = given_up {
                    self.core.blame(read.stream, member, Fault::FailedGet);
                }
                self.performer.read(read);
            }
            // A get sends no other message.
            _ => {}
        }
    }

    fn take(&mut self, answer: GetReply) -> Result<(), SessionError> {
        if is_long(&answer) {
            self.send_away(message_of(answer));
        } else {
            let events = self.get.receive(message_of(answer))?;
            self.follow(events);
        }
        Ok(())
    }

    /// Handles a message on a blocking thread.
    fn send_away(&mut self, message: Message) {
        let placeholder = Box::new(OneGet::new(self.wanted, None));
        let mut get = std::mem::replace(&mut self.get, placeholder);
        self.away = Some(self.host.spawn_blocking(move || {
            let events = get.receive(message);
            (get, events)
        }));
    }

    async fn come_back(&mut self, away: BlockingWork<Away>) -> Result<(), SessionError> {
        match away.await.map_err(BlockingWorkError::try_into_panic) {
            Ok((get, events)) => {
                self.get = get;
                self.follow(events?);
                Ok(())
            }
            // Resume the panic here.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    async fn wait(&mut self) -> Result<(), SessionError> {
        tokio::select! {
            // Answers before deadlines: an answer may have arrived while the caller was busy.
            biased;
            Some(reply) = self.replies.recv() => self.performer.reply(*reply),
            Ok(()) = self.snapshot.changed() => {
                let now = self.snapshot.see();
                self.performer.members_changed(&now);
            }
            room = self.performer.room(self.connection.party()) => self.performer.start(room),
            _ = self.ticks.tick() => {
                self.performer.tick();
                self.watch.check_deadline(self.get.progress_mark(), self.host.monotonic())?;
            }
        }
        Ok(())
    }
}

/// A get that returns from a blocking thread, with the events of the message that it handled.
type Away = (Box<OneGet>, Result<Vec<GetEvent>, SessionError>);

fn is_long(answer: &GetReply) -> bool {
    matches!(answer, GetReply::Chunk { bytes, .. } if bytes.len() >= VERIFIED_ELSEWHERE)
}

fn message_of(answer: GetReply) -> Message {
    match answer {
        GetReply::Located(stream, holders) => Message::Located { stream, holders },
        GetReply::Failed(failed) | GetReply::Violation(failed) => Message::Failed(failed),
        GetReply::Chunk { stream, offset, parents, bytes, room } => {
            // The bytes carry their room in the budget.
            let bytes = Held::from(room).by(bytes);
            Message::Chunk { stream, offset, parents, bytes }
        }
    }
}
