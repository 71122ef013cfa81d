//! Performs what each [`Put`] of one client's link decides: passes bytes on, and has what is stored certified.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, MAX_PUTS, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tree::Parent;

use super::Snapshot;
use super::admission::{self, Admitted, Asked, Place, Verdict};
use super::batch;
use super::batcher::{Outcome, Storing, Word};
use super::client::{Client, Ended, unexpected};
use super::fanout::Fanout;
use super::health::{Fault, Observed};
use super::put::{Input, Output, Put};
use super::routes::{Reply, Route};

/// Puts of the link that ended, whose frames may still be under way.
const REMEMBERED: usize = 4 * MAX_PUTS;

/// The puts in progress on one client's link.
pub(super) struct ClientPuts {
    /// By the server's number.
    active: BTreeMap<Stream, Active>,
    /// The client's numbers of them.
    numbers: HashMap<Stream, Stream>,
    /// The one that waits for a quorum; the link is not read meanwhile.
    asked: Option<Asked>,
    /// The client's numbers of the last puts: frames of them that were under way when they ended are no error.
    ended: VecDeque<Stream>,
    /// What the batcher says comes here.
    outcomes: mpsc::Sender<Outcome>,
    /// The client is in this process, where the body of a request is held to its pace already.
    is_own: bool,
    /// How long the link was not read, because replicas had no room for what came before.
    blocked: Duration,
}

struct Active {
    /// The client's number for it.
    client: Stream,
    put: Put,
    fanout: Fanout,
    /// Once a quorum stored them, an earlier certificate by this committee will do.
    reuse: Option<Arc<Committee>>,
    /// When the client last sent bytes, or was told that it may.
    heard: Duration,
    window: Window,
    storing: Option<Storing>,
    _route: Route,
    place: Place,
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
    pub(super) fn new(outcomes: mpsc::Sender<Outcome>, is_own: bool) -> Self {
        let (active, numbers, ended) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { active, numbers, asked: None, ended, outcomes, is_own, blocked: Duration::ZERO }
    }

    pub(super) fn is_active(&self) -> bool {
        !self.active.is_empty() || self.asked.is_some()
    }

    /// Whether the next frame may be read: not while a put waits for its quorum, for its bytes would have no place to go.
    pub(super) fn takes_frames(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether the server's number is that of a put in progress here.
    pub(super) fn has(&self, stream: Stream) -> bool {
        self.active.contains_key(&stream)
    }

    /// Begins a put; with `whole` all its bytes are there.
    pub(super) async fn begin(
        &mut self,
        link: &mut Client,
        client: Stream,
        offer: Option<Receipt>,
        renew: bool,
        whole: Option<Bytes>,
    ) -> Result<(), Ended> {
        if self.numbers.contains_key(&client) {
            return Err(unexpected(format!("expected a new put, got stream {} a second time", client.0)));
        }
        // frames of a put that is refused may be under way already
        self.remember(client);
        if self.active.len() >= MAX_PUTS {
            let detail = format!("expected at most {MAX_PUTS} puts at once on a link");
            return Ok(link.tell(&Message::failed(client, Code::Busy, detail))?);
        }
        match Asked::admit(&link.shared.clone(), link.connection.source(), client, offer, renew, whole).await {
            Ok(asked) => {
                self.asked = Some(asked);
                self.go_on(link).await
            }
            Err(failed) => {
                // members are named in it: the client must know the committee first
                link.show_committee()?;
                Ok(link.tell(&Message::Failed(failed))?)
            }
        }
    }

    fn remember(&mut self, client: Stream) {
        self.ended.push_front(client);
        self.ended.truncate(REMEMBERED);
    }

    /// Starts the put that waits, if its quorum is there.
    async fn go_on(&mut self, link: &mut Client) -> Result<(), Ended> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let members = link.snapshot.get().members.clone();
        let verdict = asked.decide(&members, &mut link.shared.health.lock(), link.shared.host.monotonic());
        match verdict {
            Verdict::Wait(asked) => {
                self.asked = Some(asked);
                Ok(())
            }
            Verdict::Refuse(failed) => {
                link.show_committee()?;
                Ok(link.tell(&Message::Failed(failed))?)
            }
            Verdict::Admit(admitted) => self.start(link, admitted).await,
        }
    }

    async fn start(&mut self, link: &mut Client, admitted: Admitted) -> Result<(), Ended> {
        let Admitted { client, offer, renew, whole, committee, members, left_out, place } = admitted;
        link.show_committee()?;
        let stream = link.shared.stream();
        let route = link.shared.routes.open(stream, link.mailbox.clone());
        let quorum = committee.record().quorum().into();
        let (taking_part, deadlines) = (members.keys().copied(), link.shared.config.deadlines);
        // bytes that come with the offer are stored first, and then looked for
        let earlier = match offer.filter(|_| !renew && whole.is_none()) {
            Some(offer) => link.shared.earlier(&committee, &offer).await,
            None => None,
        };
        let doubted = link.shared.health.lock().doubted(committee.record(), link.shared.host.monotonic());
        let put = Put::new(committee.clone(), stream, taking_part, left_out, offer, deadlines)
            .doubting(doubted)
            .or_earlier(earlier);
        let fanout = Fanout::new(link.shared.host.clone(), stream, members, quorum, link.shared.health.clone());
        let heard = link.shared.host.monotonic();
        // once bytes of an offer were asked for, the client takes none but a new one
        let reuse = (!renew && (offer.is_none() || whole.is_some())).then_some(committee);
        let window = Window::begin(heard, self.blocked);
        let active = Active { client, put, fanout, reuse, heard, window, storing: None, _route: route, place };
        self.active.insert(stream, active);
        self.numbers.insert(client, stream);
        if let (Some(receipt), Some(bytes)) = (offer, whole) {
            let length = bytes.len() as u64;
            let relayed = Message::Blob { stream, receipt, renew, bytes };
            return self.run(link, stream, Input::Whole(receipt, length), Some(&relayed)).await;
        }
        let opening = Message::Put { stream, offer, renew }.encode();
        let lost = match self.active.get_mut(&stream) {
            Some(active) => active.send(link, &opening).await,
            None => Vec::new(),
        };
        self.run(link, stream, Input::Begun, None).await?;
        for input in lost {
            self.run(link, stream, input, None).await?;
        }
        Ok(())
    }

    pub(super) async fn chunk(
        &mut self,
        link: &Client,
        client: Stream,
        offset: u64,
        parents: Vec<Parent>,
        bytes: Bytes,
    ) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        let began = link.shared.host.monotonic();
        if let Some(active) = self.active.get_mut(&stream) {
            active.heard = began;
            active.window.bytes += bytes.len() as u64;
            if !parents.is_empty() && !active.put.is_offered() {
                let detail = format!("expected a put's bytes without a proof, got {} parents", parents.len());
                return Err(unexpected(detail));
            }
        }
        let length = bytes.len() as u64;
        let relayed = Message::Chunk { stream, offset, parents, bytes };
        let done = self.run(link, stream, Input::Chunk { offset, length }, Some(&relayed)).await;
        // as long as replicas have no room, the client may send nothing: that is not held against it
        self.blocked += link.shared.host.monotonic().saturating_sub(began);
        if let Some(active) = self.active.get(&stream) {
            link.shared.guard.puts.progress(&active.place.party);
        }
        done
    }

    pub(super) async fn end(&mut self, link: &Client, client: Stream, receipt: Receipt) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        // every replica would refuse it, and with it the batch that it is in
        if receipt.is_expired(link.shared.host.unix_seconds()) {
            self.abandon(link, stream, true).await;
            return Ok(link.tell(&Message::Failed(super::admission::expired(client, &receipt)))?);
        }
        self.run(link, stream, Input::End(receipt), None).await
    }

    /// Gives a put up as its client asks; `keep` what came of it for another one.
    pub(super) async fn cancel(&mut self, link: &Client, client: Stream, keep: bool) -> Result<(), Ended> {
        let Some(stream) = self.of_client(client)? else { return Ok(()) };
        self.abandon(link, stream, keep).await;
        Ok(link.tell(&Message::failed(client, Code::Cancelled, "as the client asked"))?)
    }

    pub(super) async fn reply(&mut self, link: &Client, reply: Reply) -> Result<(), Ended> {
        let input = match reply.message {
            Message::Ready { offset, .. } => Input::Ready(reply.member, offset),
            Message::Stored { .. } => Input::Stored(reply.member),
            Message::Failed(failed) => {
                if let Some(active) = self.active.get_mut(&reply.stream) {
                    // it takes no more bytes of this put
                    active.fanout.remove(reply.member);
                }
                Input::Failed(reply.member, failed)
            }
            _ => return Ok(()),
        };
        self.run(link, reply.stream, input, None).await
    }

    /// Takes what the batcher says of a put.
    pub(super) async fn outcome(&mut self, link: &Client, outcome: Outcome) -> Result<(), Ended> {
        let input = match outcome.result {
            Ok(certificate) => Input::Certified(certificate),
            Err(failed) => Input::Uncertified(failed),
        };
        self.run(link, outcome.put, input, None).await
    }

    pub(super) async fn members_changed(&mut self, link: &mut Client, snapshot: &Snapshot) -> Result<(), Ended> {
        let mut lost = Vec::new();
        for (stream, active) in &mut self.active {
            let is_gone = |(member, handle): &(&u16, &super::ReplicaHandle)| {
                snapshot.members.get(*member).is_none_or(|now| now.link != handle.link)
            };
            let gone: Vec<u16> = active.fanout.members().iter().filter(is_gone).map(|(member, _)| *member).collect();
            for member in gone {
                active.fanout.remove(member);
                lost.push((*stream, member));
            }
        }
        for (stream, member) in lost {
            self.run(link, stream, Input::Lost(member), None).await?;
        }
        self.go_on(link).await
    }

    pub(super) async fn tick(&mut self, link: &mut Client) -> Result<(), Ended> {
        self.go_on(link).await?;
        let now = link.shared.host.monotonic();
        let streams: Vec<Stream> = self.active.keys().copied().collect();
        let receiving = self.active.values().filter(|active| active.put.is_receiving()).count();
        let receiving = if self.is_own { 0 } else { receiving as u64 };
        let blocked = self.blocked;
        for stream in streams {
            let Some(active) = self.active.get_mut(&stream) else { continue };
            if let Some(failed) = active.overdue(link, now, blocked, receiving) {
                self.abandon(link, stream, true).await;
                link.tell(&Message::Failed(failed))?;
                continue;
            }
            self.run(link, stream, Input::Tick, None).await?;
        }
        Ok(())
    }

    /// Gives a put up: tells the replicas that nothing more comes, and the batcher that nobody waits.
    async fn abandon(&mut self, link: &Client, stream: Stream, keep: bool) {
        let Some(active) = self.remove(stream) else { return };
        if active.put.is_before_certifying() {
            active.fanout.cancel_all(keep);
        } else {
            link.shared.batcher.say(Word::Batch(batch::Input::Withdraw(stream))).await;
        }
    }

    /// Gives all puts up.
    pub(super) async fn abandon_all(&mut self, link: &Client) {
        self.asked = None;
        while let Some(stream) = self.active.keys().next().copied() {
            self.abandon(link, stream, true).await;
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

    /// Feeds one input and performs all that follows from it.
    async fn run(
        &mut self,
        link: &Client,
        stream: Stream,
        input: Input,
        relayed: Option<&Message>,
    ) -> Result<(), Ended> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(active) = self.active.get_mut(&stream) else { return Ok(()) };
            let overtaken = active.put.overtaken_until();
            let now = link.shared.host.monotonic();
            // as it is now: another put may have found out meanwhile
            let not_awaited = link.shared.health.lock().not_awaited_to_store(active.put.committee(), now);
            let outputs = active.put.handle(input, now, &not_awaited);
            // before it is submitted: the batcher waits for those that are being stored
            match (active.put.is_storing(), &active.storing) {
                (true, None) => {
                    link.shared.guard.puts.waits_for_us(&active.place.party);
                    active.storing = Some(link.shared.batcher.storing());
                }
                (false, Some(_)) => active.storing = None,
                _ => {}
            }
            for output in outputs {
                inputs.extend(active.perform(link, &self.outcomes, stream, output, relayed).await?);
            }
            if active.put.is_over() {
                if let Some(until) = overtaken {
                    link.shared.health.lock().put_ended(stream, until);
                }
                self.remove(stream);
            }
        }
        Ok(())
    }
}

impl Active {
    /// Why the put ends now, if it does: its place is needed, or its client sends too little or nothing.
    fn overdue(&mut self, link: &Client, now: Duration, blocked: Duration, receiving: u64) -> Option<Failed> {
        let silence = link.shared.config.client_silence;
        if self.place.is_taken() {
            return Some(admission::overtaken(self.client));
        }
        let is_silent = self.put.is_receiving() && now > self.heard + silence;
        let silent = || format!("expected bytes of the file within {} s, got none", silence.as_secs());
        let detail = self.is_slow(link, now, blocked, receiving).or_else(|| is_silent.then(silent))?;
        Some(Failed::new(self.client, Code::TimedOut, detail))
    }

    /// Whether the client sent too little of this put: of what its link has to bring, the part of one of `receiving` puts.
    fn is_slow(&mut self, link: &Client, now: Duration, blocked: Duration, receiving: u64) -> Option<String> {
        let (rate, least) = (link.shared.config.upload_rate, link.shared.config.upload_window);
        let waited = now.saturating_sub(self.window.began).saturating_sub(blocked.saturating_sub(self.window.blocked));
        if receiving == 0 || !self.put.is_receiving() || waited < least {
            return None;
        }
        let got = std::mem::replace(&mut self.window, Window::begin(now, blocked)).bytes;
        let rate = rate / receiving;
        let is_slow = u128::from(got) < u128::from(rate) * waited.as_millis() / 1000;
        let seconds = waited.as_secs_f64();
        is_slow.then(|| format!("expected at least {rate} bytes a second, got {got} in {seconds:.1} s"))
    }

    /// Performs one output; returns what happened meanwhile.
    async fn perform(
        &mut self,
        link: &Client,
        outcomes: &mpsc::Sender<Outcome>,
        stream: Stream,
        output: Output,
        relayed: Option<&Message>,
    ) -> Result<Vec<Input>, Ended> {
        match output {
            Output::Ready(offset) => {
                self.heard = link.shared.host.monotonic();
                self.window = Window { began: self.heard, ..self.window };
                link.tell(&Message::Ready { stream: self.client, offset })?;
            }
            Output::Forward => {
                let Some(relayed) = relayed else { return Ok(Vec::new()) };
                return Ok(self.send(link, &relayed.encode()).await);
            }
            Output::ForwardEnd(receipt) => {
                let end = Message::PutEnd { stream, receipt };
                return Ok(self.send(link, &end.encode()).await);
            }
            Output::Progress(member, stage) => {
                link.hint(&Message::Progress { stream: self.client, member, stage });
            }
            Output::Submit { receipt, holders, candidates } => {
                if let Some(committee) = &self.reuse
                    && let Some(certificate) = link.shared.earlier(committee, &receipt).await
                {
                    return Ok(vec![Input::Certified(certificate)]);
                }
                let outcomes = outcomes.clone();
                link.shared.batcher.say(Word::Submit { put: stream, receipt, holders, candidates, outcomes }).await;
            }
            Output::NeverHeld(member) => {
                link.shared.batcher.say(Word::Batch(batch::Input::NeverHeld { put: stream, member })).await;
            }
            Output::AlsoHeld(member) => {
                link.shared.batcher.say(Word::Batch(batch::Input::AlsoHeld { put: stream, member })).await;
            }
            Output::Late(member) => self.observe(link, member, Observed::StoredTooLate),
            Output::InTime(member) => self.observe(link, member, Observed::StoredInTime),
            Output::Doubt(member) => link.shared.blame(stream, member, Fault::LackedWhatItOffered),
            Output::LeaveOut(member, code, why) => {
                link.shared.left_out(stream, member, code, &why);
                self.fanout.leave_out(member);
            }
            Output::Cancel => self.fanout.cancel_all(true),
            Output::Certified(certificate) => {
                link.tell(&Message::Certified { stream: self.client, certificate })?;
            }
            Output::Fail(mut failed) => {
                failed.stream = self.client;
                link.tell(&Message::Failed(failed))?;
            }
        }
        Ok(Vec::new())
    }

    /// Sends the same bytes to every member; gives those that are out of the put now.
    async fn send(&mut self, link: &Client, bytes: &Bytes) -> Vec<Input> {
        let lost = self.fanout.send(bytes).await;
        for (member, of) in self.fanout.take_slow() {
            link.shared.observe(self.fanout.stream(), member, &of, Observed::TookBytesTooSlowly);
        }
        lost.into_iter().map(Input::Lost).collect()
    }

    fn observe(&self, link: &Client, member: u16, observed: Observed) {
        if let Some(handle) = self.fanout.members().get(&member) {
            link.shared.observe(self.fanout.stream(), member, &handle.link, observed);
        }
    }
}
