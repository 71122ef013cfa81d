//! A get over HTTP: the core's get, over the server's own get engine. Whoever sends its bytes on pulls it along: nothing is asked for
//! or taken ahead of what was sent.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::Interval;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::message::Message;
use vouch_core::session::{GetEvent, OneGet, ProgressWatch, SessionError, WantedBytes};

use crate::host::tasks::MissedTickBehavior;
use crate::latest::Follower;
use crate::link::Held;
use crate::server::get_engine::{GetAnswer, GetEngine};
use crate::server::guard::Connection;
use crate::server::health::Fault;
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
    engine: GetEngine,
    replies: mpsc::Receiver<Box<Reply>>,
    snapshot: Follower<Arc<Snapshot>>,
    ticks: Interval,
    watch: ProgressWatch,
    events: VecDeque<GetEvent>,
    answers: VecDeque<GetAnswer>,
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
        get.try_last(shared.health.lock().read_last(shared.host.monotonic()));
        let events = [GetEvent::Send(get.begin())].into();
        let mut ticks = shared.host.interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            engine: GetEngine::new(shared.clone(), mailbox),
            snapshot: shared.snapshot.follow(),
            shared,
            connection,
            wanted,
            get,
            replies,
            ticks,
            watch: ProgressWatch::default(),
            events,
            answers: VecDeque::new(),
            reading: None,
        }
    }

    /// What comes next, other than [`GetEvent::Send`].
    ///
    /// # Errors
    /// See [`SessionError`]; the get is then over.
    pub(super) async fn next(&mut self) -> Result<GetEvent, SessionError> {
        // until now the caller was busy with what came before
        self.watch.restart();
        loop {
            match self.events.pop_front() {
                Some(GetEvent::Send(message)) => self.ask(message),
                Some(event) => return Ok(event),
                None => match self.answers.pop_front() {
                    Some(answer) => self.events = self.take(answer).await?.into(),
                    None => self.wait().await?,
                },
            }
            self.answers.extend(self.engine.take_answers());
        }
    }

    fn ask(&mut self, message: Message) {
        match message {
            Message::Locate { stream, digest } => self.engine.locate(stream, digest),
            Message::Read(read) => {
                // it goes over to the next member when the last one failed
                let given_up = self.reading.replace(read.member).filter(|last| *last != read.member);
                if let Some(member) = given_up {
                    self.shared.blame(read.stream, member, Fault::FailedGet);
                }
                self.engine.read(read);
            }
            // a get asks for nothing else
            _ => {}
        }
    }

    async fn take(&mut self, answer: GetAnswer) -> Result<Vec<GetEvent>, SessionError> {
        let message = match answer {
            GetAnswer::Located(stream, holders) => Message::Located { stream, holders },
            GetAnswer::Failed(failed) => Message::Failed(failed),
            GetAnswer::Chunk { stream, offset, parents, bytes, room } => {
                // the room goes where the bytes go
                let bytes = Held::from(room).by(bytes);
                Message::Chunk { stream, offset, parents, bytes }
            }
        };
        let is_long = matches!(&message, Message::Chunk { bytes, .. } if bytes.len() >= VERIFIED_ELSEWHERE);
        if !is_long {
            return self.get.receive(message);
        }
        self.receive_elsewhere(message).await
    }

    /// Takes a message on a thread that may be busy for a while.
    async fn receive_elsewhere(&mut self, message: Message) -> Result<Vec<GetEvent>, SessionError> {
        let away = Box::new(OneGet::new(self.wanted, None));
        let mut get = std::mem::replace(&mut self.get, away);
        let receiving = self.shared.host.spawn_blocking(move || {
            let events = get.receive(message);
            (get, events)
        });
        match receiving.await.map_err(JoinError::try_into_panic) {
            Ok((get, events)) => {
                self.get = get;
                events
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
            Some(reply) = self.replies.recv() => self.engine.reply(*reply),
            Ok(()) = self.snapshot.changed() => {
                let now = self.snapshot.see();
                self.engine.members_changed(&now);
            }
            room = self.engine.room(self.connection.party()) => self.engine.start(room),
            _ = self.ticks.tick() => {
                self.engine.tick();
                self.watch.look(self.get.standing(), self.shared.host.monotonic())?;
            }
        }
        Ok(())
    }
}
