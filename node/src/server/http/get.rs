//! A get over HTTP: the core's get, over the server's own lookups and reads. Its caller pulls: while one piece is sent the next one is verified,
//! and nothing more is taken ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Interval;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::message::Message;
use vouch_core::session::{GetEvent, OneGet, ProgressWatch, SessionError, WantedBytes};
use vouch_node_core::server::health::Fault;

use crate::host::blocking::{BlockingWork, BlockingWorkError};
use crate::host::tasks::MissedTickBehavior;
use crate::latest::Follower;
use crate::link::Held;
use crate::server::get_performer::{GetPerformer, GetReply};
use crate::server::guard::Connection;
use crate::server::routes::{self, Reply};
use crate::server::{Shared, Snapshot, TICK};

/// From so many bytes on, verifying is worth another thread, and too long for one that serves others.
const VERIFIED_ELSEWHERE: usize = 16 << 10;

/// A get under way. It trusts no replica, like every client: each byte is verified, and it goes on with another member where one
/// fails.
pub(super) struct Get {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    wanted: WantedBytes,
    get: Box<OneGet>,
    /// The get itself, where it verifies a long piece on another thread.
    away: Option<BlockingWork<Away>>,
    performer: GetPerformer,
    replies: mpsc::Receiver<Box<Reply>>,
    snapshot: Follower<Arc<Snapshot>>,
    ticks: Interval,
    watch: ProgressWatch,
    events: VecDeque<GetEvent>,
    answers: VecDeque<GetReply>,
    /// Who was read from last.
    reading: Option<u16>,
}

impl Get {
    /// Asks who holds a blob.
    pub(super) fn begin(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        wanted: WantedBytes,
        committee: Option<Arc<Committee>>,
    ) -> Self {
        let (mailbox, replies) = routes::mailbox(shared.replicas());
        let mut get = Box::new(OneGet::new(wanted, committee.map(CommitteeChain::new)));
        let read_last = shared.core().health().read_last(shared.host.monotonic());
        get.try_last(read_last);
        let first = get.begin();
        let mut ticks = shared.host.interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = Self {
            performer: GetPerformer::new(shared.clone(), mailbox),
            snapshot: shared.snapshot.follow(),
            shared,
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

    /// What comes next, other than [`GetEvent::Send`].
    ///
    /// # Errors
    /// See [`SessionError`]; the get is then over.
    pub(super) async fn next(&mut self) -> Result<GetEvent, SessionError> {
        // until now the caller was busy with what came before
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

    /// Begins to verify what came meanwhile.
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

    /// Takes what follows from a message: what is to be asked is asked at once.
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
            Message::Locate { stream, digest } => self.performer.locate(stream, digest),
            Message::Read(read) => {
                // it goes over to the next member when the last one failed
                let given_up = self.reading.replace(read.member).filter(|last| *last != read.member);
                if let Some(member) = given_up {
                    self.shared.blame(read.stream, member, Fault::FailedGet);
                }
                self.performer.read(read);
            }
            // a get asks for nothing else
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

    /// Has a message taken on a thread that may be busy for a while.
    fn send_away(&mut self, message: Message) {
        let placeholder = Box::new(OneGet::new(self.wanted, None));
        let mut get = std::mem::replace(&mut self.get, placeholder);
        self.away = Some(self.shared.host.spawn_blocking(move || {
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
            // as if it had happened here
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // the runtime ends
            Err(Err(_)) => std::future::pending().await,
        }
    }

    async fn wait(&mut self) -> Result<(), SessionError> {
        tokio::select! {
            // answers come before the clock: they may have waited for whoever pulls
            biased;
            Some(reply) = self.replies.recv() => self.performer.reply(*reply),
            Ok(()) = self.snapshot.changed() => {
                let now = self.snapshot.see();
                self.performer.members_changed(&now);
            }
            room = self.performer.room(self.connection.party()) => self.performer.start(room),
            _ = self.ticks.tick() => {
                self.performer.tick();
                self.watch.check_deadline(self.get.progress_mark(), self.shared.host.monotonic())?;
            }
        }
        Ok(())
    }
}

/// A get that comes back from another thread, with what follows from the message that it took.
type Away = (Box<OneGet>, Result<Vec<GetEvent>, SessionError>);

fn is_long(answer: &GetReply) -> bool {
    matches!(answer, GetReply::Chunk { bytes, .. } if bytes.len() >= VERIFIED_ELSEWHERE)
}

fn message_of(answer: GetReply) -> Message {
    match answer {
        GetReply::Located(stream, holders) => Message::Located { stream, holders },
        GetReply::Failed(failed) | GetReply::Violation(failed) => Message::Failed(failed),
        GetReply::Chunk { stream, offset, parents, bytes, room } => {
            // the room goes where the bytes go
            let bytes = Held::from(room).by(bytes);
            Message::Chunk { stream, offset, parents, bytes }
        }
    }
}
