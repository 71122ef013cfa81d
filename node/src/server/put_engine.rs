//! Performs what one [`ServerPut`] decides: waits for its quorum, passes bytes on to the members, and has what they stored certified. It
//! knows no link: whoever owns it, a client's link or a request over HTTP, says what comes, and tells its client the answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stage, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tree::Parent;
use vouch_node_core::budgets::PeerAddress;
use vouch_node_core::server::ServerInput;
use vouch_node_core::server::batch::BatchInput;
use vouch_node_core::server::health::{Fault, Observed};
use vouch_node_core::server::put::{PutInput, PutOutput, ServerPut};

use super::admission::{self, Admitted, Asked, Place, PutRequest, Verdict};
use super::batcher::{Outcome, Storing};
use super::fanout::Fanout;
use super::routes::{Reply, Route};
use super::{ReplicaHandle, Shared, Snapshot};

/// Where what others say of a put goes: its owner takes it there, and gives it to [`PutEngine::reply`] and
/// [`PutEngine::outcome`].
#[derive(Clone)]
pub(super) struct PutMailboxes {
    /// For the replicas.
    pub(super) replies: mpsc::Sender<Box<Reply>>,
    /// For the batcher.
    pub(super) outcomes: mpsc::Sender<Outcome>,
}

/// What the client is told.
#[derive(Debug)]
pub(super) enum PutAnswer {
    /// Send the bytes from this offset on.
    Ready(u64),
    /// A member got further.
    Progress(u16, Stage),
    /// Done.
    Certified(Box<Certificate>),
    /// Over. Its stream is no number of the client's.
    Failed(Failed),
}

/// One put. It is over with [`PutAnswer::Certified`] or [`PutAnswer::Failed`], or when it is given up.
pub(super) struct PutEngine {
    shared: Arc<Shared>,
    mailboxes: PutMailboxes,
    /// The server's number for it.
    stream: Stream,
    state: State,
    answers: Vec<PutAnswer>,
}

enum State {
    /// For a quorum.
    Waiting(Asked),
    Running(Box<Running>),
    Over,
}

struct Running {
    put: ServerPut,
    fanout: Fanout,
    /// Once a quorum stored them, an earlier certificate by this committee will do.
    reuse: Option<Arc<Committee>>,
    /// When the client last sent bytes, or was told that it may.
    heard: Duration,
    storing: Option<Storing>,
    _route: Route,
    place: Place,
}

impl PutEngine {
    /// Begins a put, once it is looked whether there is room for it, and a committee. `source`: the client's address.
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        mailboxes: PutMailboxes,
        source: PeerAddress,
        request: PutRequest,
    ) -> Self {
        let stream = shared.stream();
        let shared = shared.clone();
        let mut engine = Self { shared, mailboxes, stream, state: State::Over, answers: Vec::new() };
        match Asked::admit(&engine.shared, source, stream, request).await {
            Ok(asked) => {
                engine.state = State::Waiting(asked);
                engine.go_on().await;
            }
            Err(failed) => engine.answers.push(PutAnswer::Failed(failed)),
        }
        engine
    }

    /// The server's number for it.
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// What the client is to be told since this was asked last.
    pub(super) fn take_answers(&mut self) -> Vec<PutAnswer> {
        std::mem::take(&mut self.answers)
    }

    /// It waits for a quorum: its bytes would have no place to go.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the client still owes bytes.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.put.is_receiving())
    }

    /// Whether it was said before what the bytes are, so that each chunk is proved.
    pub(super) fn is_offered(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.put.is_offered())
    }

    fn fail(&mut self, failed: Failed) {
        self.state = State::Over;
        self.answers.push(PutAnswer::Failed(failed));
    }

    /// Starts the put that waits, if its quorum is there.
    async fn go_on(&mut self) {
        let asked = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(asked) => asked,
            state => return self.state = state,
        };
        let verdict = asked.decide(&mut self.shared.core(), self.shared.host.monotonic());
        match verdict {
            Verdict::Wait(asked) => self.state = State::Waiting(asked),
            Verdict::Refuse(failed) => self.fail(failed),
            Verdict::Admit(admitted) => self.start(admitted).await,
        }
    }

    async fn start(&mut self, admitted: Admitted) {
        let Admitted { request: PutRequest { offer, renew, whole }, committee, members, left_out, place } = admitted;
        let (shared, stream) = (&self.shared, self.stream);
        let route = shared.routes.open(stream, self.mailboxes.replies.clone());
        let quorum = committee.record().quorum().into();
        let (taking_part, deadlines) = (members.keys().copied(), shared.config.deadlines);
        // bytes that come with the offer are stored first, and then looked for
        let earlier = match offer.filter(|_| !renew && whole.is_none()) {
            Some(offer) => shared.earlier(&committee, &offer).await,
            None => None,
        };
        let doubted = shared.core().health().doubted(committee.record(), self.shared.host.monotonic());
        let put = ServerPut::new(committee.clone(), stream, taking_part, left_out, offer, deadlines)
            .doubting(doubted)
            .or_earlier(earlier);
        let fanout = Fanout::new(shared.host.clone(), stream, members, quorum, shared.core.clone());
        // once bytes of an offer were asked for, the client takes none but a new one
        let reuse = (!renew && (offer.is_none() || whole.is_some())).then_some(committee);
        let heard = self.shared.host.monotonic();
        let mut running = Box::new(Running { put, fanout, reuse, heard, storing: None, _route: route, place });
        if let (Some(receipt), Some(bytes)) = (offer, whole) {
            self.state = State::Running(running);
            let length = bytes.len() as u64;
            let relayed = Message::Blob { stream, receipt, renew, bytes };
            return self.handle([PutInput::Whole(receipt, length)], Some(&relayed)).await;
        }
        let opening = Message::Put { stream, offer, renew }.encode();
        let lost = running.send(&self.shared, &opening).await;
        self.state = State::Running(running);
        self.handle([PutInput::Begun].into_iter().chain(lost), None).await;
    }

    /// The client sent bytes.
    pub(super) async fn chunk(&mut self, offset: u64, parents: Vec<Parent>, bytes: Bytes) {
        let State::Running(running) = &mut self.state else { return };
        running.heard = self.shared.host.monotonic();
        let length = bytes.len() as u64;
        let relayed = Message::Chunk { stream: self.stream, offset, parents, bytes };
        self.handle([PutInput::Chunk { offset, length }], Some(&relayed)).await;
        if let State::Running(running) = &self.state {
            self.shared.guard.puts.progress(&running.place.party);
        }
    }

    /// The client declared the end of the bytes.
    pub(super) async fn end(&mut self, receipt: Receipt) {
        // every replica would refuse it, and with it the batch that it is in
        if receipt.is_expired(self.shared.host.unix_seconds()) {
            self.give_up(true).await;
            return self.answers.push(PutAnswer::Failed(admission::expired(self.stream, &receipt)));
        }
        self.handle([PutInput::End(receipt)], None).await;
    }

    /// A member said something of it.
    pub(super) async fn reply(&mut self, Reply { member, message, .. }: Reply) {
        let input = match message {
            Message::Ready { offset, .. } => PutInput::Ready(member, offset),
            Message::Stored { .. } => PutInput::Stored(member),
            Message::Failed(failed) => {
                if let State::Running(running) = &mut self.state {
                    // it takes no more bytes of this put
                    running.fanout.remove(member);
                }
                PutInput::Failed(member, failed)
            }
            _ => return,
        };
        self.handle([input], None).await;
    }

    /// The batcher said what became of it.
    pub(super) async fn outcome(&mut self, outcome: Outcome) {
        let input = match outcome.result {
            Ok(certificate) => PutInput::Certified(certificate),
            Err(failed) => PutInput::Uncertified(failed),
        };
        self.handle([input], None).await;
    }

    /// Other members are connected.
    pub(super) async fn members_changed(&mut self, snapshot: &Snapshot) {
        let State::Running(running) = &mut self.state else { return self.go_on().await };
        let is_gone = |(member, handle): &(&u16, &ReplicaHandle)| {
            snapshot.members.get(*member).is_none_or(|now| now.link != handle.link)
        };
        let gone: Vec<u16> = running.fanout.members().iter().filter(is_gone).map(|(member, _)| *member).collect();
        gone.iter().for_each(|member| running.fanout.remove(*member));
        self.handle(gone.into_iter().map(PutInput::Lost), None).await;
    }

    /// Time passed. `too_slow`: what the client sent too little of.
    pub(super) async fn tick(&mut self, too_slow: Option<String>) {
        let State::Running(running) = &self.state else { return self.go_on().await };
        match running.overdue(self.stream, &self.shared, self.shared.host.monotonic(), too_slow) {
            Some(failed) => {
                self.give_up(true).await;
                self.answers.push(PutAnswer::Failed(failed));
            }
            None => self.handle([PutInput::Tick], None).await,
        }
    }

    /// Gives the put up: tells the replicas that nothing more comes, and whether to keep what came for another put; and the batcher
    /// that nobody waits.
    pub(super) async fn give_up(&mut self, keep: bool) {
        let State::Running(running) = std::mem::replace(&mut self.state, State::Over) else { return };
        if running.put.is_before_certifying() {
            running.fanout.cancel_all(keep);
        } else {
            self.shared.withdraw(self.stream);
        }
    }

    /// Feeds inputs and performs all that follows from them.
    async fn handle(&mut self, inputs: impl IntoIterator<Item = PutInput>, relayed: Option<&Message>) {
        let mut inputs: VecDeque<PutInput> = inputs.into_iter().collect();
        while let Some(input) = inputs.pop_front() {
            let State::Running(running) = &mut self.state else { return };
            let now = self.shared.host.monotonic();
            let overtaken = running.put.overtaken_until();
            // as it is now: another put may have found out meanwhile
            let not_awaited = self.shared.core().health().not_awaited_to_store(running.put.committee(), now);
            let outputs = running.put.handle(input, now, &not_awaited);
            // before it is submitted: the batcher waits for those that are being stored
            match (running.put.is_storing(), &running.storing) {
                (true, None) => {
                    self.shared.guard.puts.waits_for_us(&running.place.party);
                    running.storing = Some(self.shared.storing());
                }
                (false, Some(_)) => running.storing = None,
                _ => {}
            }
            for output in outputs {
                inputs.extend(self.perform(output, relayed).await);
            }
            let State::Running(running) = &self.state else { return };
            if running.put.is_over() {
                if let Some(until) = overtaken {
                    self.shared.handle(ServerInput::PutEnded { put: self.stream, until });
                }
                self.state = State::Over;
            }
        }
    }

    /// Performs one output; returns what happened meanwhile.
    async fn perform(&mut self, output: PutOutput, relayed: Option<&Message>) -> Vec<PutInput> {
        let State::Running(running) = &mut self.state else { return Vec::new() };
        let (shared, stream) = (&self.shared, self.stream);
        match output {
            PutOutput::Ready(offset) => {
                running.heard = self.shared.host.monotonic();
                self.answers.push(PutAnswer::Ready(offset));
            }
            PutOutput::Forward => {
                let Some(relayed) = relayed else { return Vec::new() };
                return running.send(shared, &relayed.encode()).await;
            }
            PutOutput::ForwardEnd(receipt) => {
                let end = Message::PutEnd { stream, receipt };
                return running.send(shared, &end.encode()).await;
            }
            PutOutput::Progress(member, stage) => self.answers.push(PutAnswer::Progress(member, stage)),
            PutOutput::Submit { receipt, holders, candidates } => {
                if let Some(committee) = &running.reuse
                    && let Some(certificate) = shared.earlier(committee, &receipt).await
                {
                    return vec![PutInput::Certified(certificate)];
                }
                let outcomes = self.mailboxes.outcomes.clone();
                shared.submit(stream, receipt, (holders, candidates), outcomes);
            }
            PutOutput::NeverHeld(member) => {
                shared.handle(ServerInput::Batch(BatchInput::NeverHeld { put: stream, member }));
            }
            PutOutput::AlsoHeld(member) => {
                shared.handle(ServerInput::Batch(BatchInput::AlsoHeld { put: stream, member }));
            }
            PutOutput::Late(member) => running.observe(shared, member, Observed::StoredTooLate),
            PutOutput::InTime(member) => running.observe(shared, member, Observed::StoredInTime),
            PutOutput::Doubt(member) => {
                shared.blame(stream, member, Fault::LackedWhatItOffered);
            }
            PutOutput::LeaveOut(member, code, why) => {
                shared.left_out(stream, member, code, &why);
                running.fanout.leave_out(member);
            }
            PutOutput::Cancel => running.fanout.cancel_all(true),
            PutOutput::Certified(certificate) => self.answers.push(PutAnswer::Certified(certificate)),
            PutOutput::Fail(failed) => self.answers.push(PutAnswer::Failed(failed)),
        }
        Vec::new()
    }
}

impl Running {
    /// Why the put ends now, if it does: its place is needed, or its client sends too little or nothing.
    fn overdue(&self, stream: Stream, shared: &Shared, now: Duration, too_slow: Option<String>) -> Option<Failed> {
        if self.place.is_taken() {
            return Some(admission::overtaken(stream));
        }
        let silence = shared.config.client_silence;
        let is_silent = self.put.is_receiving() && now > self.heard + silence;
        let silent = || format!("expected bytes of the file within {} s, got none", silence.as_secs());
        let detail = too_slow.or_else(|| is_silent.then(silent))?;
        Some(Failed::new(stream, Code::TimedOut, detail))
    }

    /// Sends the same bytes to every member; gives those that are out of the put now.
    async fn send(&mut self, shared: &Arc<Shared>, bytes: &Bytes) -> Vec<PutInput> {
        let lost = self.fanout.send(bytes).await;
        for (member, of) in self.fanout.take_slow() {
            shared.observe(self.fanout.stream(), member, &of, Observed::TookBytesTooSlowly);
        }
        lost.into_iter().map(PutInput::Lost).collect()
    }

    fn observe(&self, shared: &Arc<Shared>, member: u16, observed: Observed) {
        if let Some(handle) = self.fanout.members().get(&member) {
            shared.observe(self.fanout.stream(), member, &handle.link, observed);
        }
    }
}
