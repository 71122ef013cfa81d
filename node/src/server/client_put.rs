//! The puts of one client's link: which frame belongs to which put, and how fast the client sends them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::{Code, MAX_PUTS, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tree::Parent;

use super::Snapshot;
use super::admission::PutRequest;
use super::batcher::Outcome;
use super::client::{Client, Ended, unexpected};
use super::put_engine::{PutAnswer, PutEngine, PutMailboxes};
use super::routes::Reply;

/// Puts of the link that ended, whose frames may still be under way.
const REMEMBERED: usize = 4 * MAX_PUTS;

/// The puts in progress on one client's link.
pub(super) struct ClientPuts {
    /// By the server's number.
    active: BTreeMap<Stream, Active>,
    /// The client's numbers of them.
    numbers: HashMap<Stream, Stream>,
    /// The client's numbers of the last puts: frames of them that were under way when they ended are no error.
    ended: VecDeque<Stream>,
    /// What the batcher says comes here.
    outcomes: mpsc::Sender<Outcome>,
    /// How long the link was not read, because replicas had no room for what came before.
    blocked: Duration,
}

struct Active {
    /// The client's number for it.
    client: Stream,
    engine: PutEngine,
    window: Window,
}

/// What a put brought since a moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Duration,
    /// Of the link, at that moment.
    blocked: Duration,
    bytes: u64,
}

impl Window {
    fn begin(now: Duration, blocked: Duration) -> Self {
        Self { began: now, blocked, bytes: 0 }
    }
}

impl ClientPuts {
    pub(super) fn new(outcomes: mpsc::Sender<Outcome>) -> Self {
        let (active, numbers, ended) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { active, numbers, ended, outcomes, blocked: Duration::ZERO }
    }

    pub(super) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether the next frame may be read: not while a put waits for its quorum, for its bytes would have no place to go.
    pub(super) fn takes_frames(&self) -> bool {
        !self.active.values().any(|active| active.engine.is_waiting())
    }

    /// Whether the server's number is that of a put in progress here.
    pub(super) fn has(&self, stream: Stream) -> bool {
        self.active.contains_key(&stream)
    }

    /// Begins a put; with `whole` all its bytes are there.
    pub(super) async fn begin(&mut self, link: &mut Client, client: Stream, request: PutRequest) -> Result<(), Ended> {
        if self.numbers.contains_key(&client) {
            return Err(unexpected(format!("expected a new put, got stream {} a second time", client.0)));
        }
        // frames of a put that is refused may be under way already
        self.remember(client);
        if self.active.len() >= MAX_PUTS {
            let detail = format!("expected at most {MAX_PUTS} puts at once on a link");
            return Ok(link.tell(&Message::failed(client, Code::Busy, detail))?);
        }
        let mailboxes = PutMailboxes { replies: link.mailbox.clone(), outcomes: self.outcomes.clone() };
        let engine = PutEngine::begin(&link.shared.clone(), mailboxes, link.connection.source(), request).await;
        let (stream, window) = (engine.stream(), Window::begin(link.shared.host.monotonic(), self.blocked));
        self.active.insert(stream, Active { client, engine, window });
        self.numbers.insert(client, stream);
        self.settle(link, stream)
    }

    fn remember(&mut self, client: Stream) {
        self.ended.push_front(client);
        self.ended.truncate(REMEMBERED);
    }

    /// Tells the client what a put has to say, and forgets it when it is over.
    fn settle(&mut self, link: &mut Client, stream: Stream) -> Result<(), Ended> {
        let Some(active) = self.active.get_mut(&stream) else { return Ok(()) };
        // members are named in the answers: the client must know the committee first
        link.show_committee()?;
        for answer in active.engine.take_answers() {
            active.tell(link, answer)?;
        }
        if active.engine.is_over() {
            self.remove(stream);
        }
        Ok(())
    }

    pub(super) async fn chunk(
        &mut self,
        link: &mut Client,
        client: Stream,
        offset: u64,
        parents: Vec<Parent>,
        bytes: Bytes,
    ) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        let Some(active) = self.active.get_mut(&stream) else { return Ok(()) };
        let began = link.shared.host.monotonic();
        active.window.bytes += bytes.len() as u64;
        if !parents.is_empty() && !active.engine.is_offered() {
            let detail = format!("expected a put's bytes without a proof, got {} parents", parents.len());
            return Err(unexpected(detail));
        }
        active.engine.chunk(offset, parents, bytes).await;
        // as long as replicas have no room, the client may send nothing: that is not held against it
        self.blocked += link.shared.host.monotonic().saturating_sub(began);
        self.settle(link, stream)
    }

    pub(super) async fn end(&mut self, link: &mut Client, client: Stream, receipt: Receipt) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        if let Some(active) = self.active.get_mut(&stream) {
            active.engine.end(receipt).await;
        }
        self.settle(link, stream)
    }

    /// Gives a put up as its client asks; `keep` what came of it for another one.
    pub(super) async fn cancel(&mut self, link: &Client, client: Stream, keep: bool) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        if let Some(mut active) = self.remove(stream) {
            active.engine.give_up(keep).await;
        }
        Ok(link.tell(&Message::failed(client, Code::Cancelled, "as the client asked"))?)
    }

    pub(super) async fn reply(&mut self, link: &mut Client, reply: Reply) -> Result<(), Ended> {
        let stream = reply.stream;
        if let Some(active) = self.active.get_mut(&stream) {
            active.engine.reply(reply).await;
        }
        self.settle(link, stream)
    }

    /// Takes what the batcher says of a put.
    pub(super) async fn outcome(&mut self, link: &mut Client, outcome: Outcome) -> Result<(), Ended> {
        let stream = outcome.put;
        if let Some(active) = self.active.get_mut(&stream) {
            active.engine.outcome(outcome).await;
        }
        self.settle(link, stream)
    }

    pub(super) async fn members_changed(&mut self, link: &mut Client, snapshot: &Snapshot) -> Result<(), Ended> {
        for stream in self.active.keys().copied().collect::<Vec<_>>() {
            if let Some(active) = self.active.get_mut(&stream) {
                active.engine.members_changed(snapshot).await;
            }
            self.settle(link, stream)?;
        }
        Ok(())
    }

    pub(super) async fn tick(&mut self, link: &mut Client) -> Result<(), Ended> {
        let now = link.shared.host.monotonic();
        let receiving = self.active.values().filter(|active| active.engine.is_receiving()).count() as u64;
        let blocked = self.blocked;
        for stream in self.active.keys().copied().collect::<Vec<_>>() {
            if let Some(active) = self.active.get_mut(&stream) {
                let too_slow = active.is_slow(link, now, blocked, receiving);
                active.engine.tick(too_slow).await;
            }
            self.settle(link, stream)?;
        }
        Ok(())
    }

    /// Gives all puts up.
    pub(super) async fn abandon_all(&mut self) {
        while let Some((_, mut active)) = self.active.pop_first() {
            active.engine.give_up(true).await;
        }
    }

    fn remove(&mut self, stream: Stream) -> Option<Active> {
        let active = self.active.remove(&stream)?;
        self.numbers.remove(&active.client);
        self.remember(active.client);
        Some(active)
    }

    /// The put that a frame of the client belongs to; `None` for one that just ended.
    fn of_client(&self, client: Stream) -> Result<Option<Stream>, Ended> {
        match self.numbers.get(&client) {
            Some(stream) => Ok(Some(*stream)),
            None if self.ended.contains(&client) => Ok(None),
            None => Err(unexpected(format!("expected a frame of a put in progress, got one of stream {}", client.0))),
        }
    }
}

impl Active {
    fn tell(&mut self, link: &Client, answer: PutAnswer) -> Result<(), Ended> {
        let stream = self.client;
        match answer {
            PutAnswer::Ready(offset) => {
                self.window.began = link.shared.host.monotonic();
                link.tell(&Message::Ready { stream, offset })?;
            }
            PutAnswer::Progress(member, stage) => link.hint(&Message::Progress { stream, member, stage }),
            PutAnswer::Certified(certificate) => link.tell(&Message::Certified { stream, certificate })?,
            PutAnswer::Failed(mut failed) => {
                failed.stream = stream;
                link.tell(&Message::Failed(failed))?;
            }
        }
        Ok(())
    }

    /// Whether the client sent too little of this put: of what its link has to bring, the part of one of `receiving` puts.
    fn is_slow(&mut self, link: &Client, now: Duration, blocked: Duration, receiving: u64) -> Option<String> {
        let (rate, least) = (link.shared.config.upload_rate, link.shared.config.upload_window);
        let waited = now.saturating_sub(self.window.began).saturating_sub(blocked.saturating_sub(self.window.blocked));
        if receiving == 0 || !self.engine.is_receiving() || waited < least {
            return None;
        }
        let got = std::mem::replace(&mut self.window, Window::begin(now, blocked)).bytes;
        let rate = rate / receiving;
        let is_slow = u128::from(got) < u128::from(rate) * waited.as_millis() / 1000;
        let seconds = waited.as_secs_f64();
        is_slow.then(|| format!("expected at least {rate} bytes a second, got {got} in {seconds:.1} s"))
    }
}
