//! Watches a replica's wall clock: asks the other members for their times over every link, answers their questions, and stops votes
//! and deletion while the clock is in doubt. [`clock_doubt`](vouch_node_core::replica::clock_doubt) decides; this performs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;
use vouch_core::message::{Message, Stream};
use vouch_core::signed_time::{TimeQuestion, TimeSignature};
use vouch_node_core::budgets::TokenBucket;

use super::Event;
use super::context::{OwnIdentity, Reports};
use crate::host::Host;
use crate::link::Outgoing;

#[cfg(test)]
mod tests;

use vouch_node_core::replica::clock_doubt::{ClockDoubt, ClockReading, DoubtChange};

/// Interval between readings of both clocks. Every vote reads them as well.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Rate limit of answers to one asker: a burst of this size, and then one per interval.
const ANSWERS: u32 = 4;
const ANSWER_EVERY: Duration = Duration::from_secs(2);
/// First number of questions, far from the numbers of lists on the same link.
const FIRST_NUMBER: u32 = 1 << 31;
/// Number of questions whose nonces are remembered.
const NONCES: usize = 8;

/// The state of a replica's wall clock, for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// Whether it is in doubt. No vote for a blob or a new block is signed then, and nothing is deleted.
    pub in_doubt: bool,
    /// Why it is in doubt.
    pub reason: Option<String>,
    /// Number of other members that agreed with it when last asked.
    pub agreeing: usize,
}

/// The watch over one replica's wall clock.
pub(super) struct ClockWatch {
    host: Host,
    identity: Arc<OwnIdentity>,
    reports: Arc<Reports>,
    state: Mutex<WatchState>,
    /// Notified when members should be asked.
    ask_soon: Notify,
}

#[derive(Debug)]
struct WatchState {
    host: Host,
    doubt: ClockDoubt,
    committees: Option<CommitteeChain>,
    /// The nodes that the approved change adds.
    joining: BTreeSet<NodeKey>,
    asks_as: Option<AsksAs>,
    /// The nonces of the last questions, by number.
    nonces: BTreeMap<u32, [u8; 32]>,
    next_number: u32,
    /// The links on which questions are sent.
    links: BTreeMap<u64, mpsc::Sender<Outgoing>>,
    next_link: u64,
    /// Rate limits of the nodes that asked. Forgotten when others may ask.
    askers: BTreeMap<NodeKey, TokenBucket>,
}

/// As what the replica asks the members, if it may ask them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AsksAs {
    Member,
    Joining,
}

fn reading(host: &Host) -> ClockReading {
    ClockReading { wall: host.since_1970(), running: host.since_boot() }
}

impl ClockWatch {
    pub(super) fn new(host: Host, identity: Arc<OwnIdentity>, reports: Arc<Reports>) -> Self {
        let state = WatchState {
            doubt: ClockDoubt::new(reading(&host)),
            host: host.clone(),
            committees: None,
            joining: BTreeSet::new(),
            asks_as: None,
            nonces: BTreeMap::new(),
            next_number: FIRST_NUMBER,
            links: BTreeMap::new(),
            next_link: 0,
            askers: BTreeMap::new(),
        };
        Self { host, identity, reports, state: Mutex::new(state), ask_soon: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WatchState> {
        // Recover from poisoning: every change is one call, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends questions on a link for as long as the guard lives.
    pub(super) fn link<'a>(&'a self, requests: mpsc::Sender<Outgoing>) -> LinkGuard<'a> {
        let number = {
            let mut state = self.state();
            state.next_link += 1;
            let number = state.next_link;
            state.links.insert(number, requests);
            state.doubt.call();
            number
        };
        self.ask_soon.notify_one();
        LinkGuard { watch: self, number }
    }

    /// Simulates that the wall clock was set forward by this many seconds since the last check.
    #[cfg(test)]
    pub(super) fn simulate_jump(&self, seconds: u64) {
        let mut state = self.state();
        let now = reading(&state.host);
        let before = ClockReading { wall: now.wall - Duration::from_secs(seconds), ..now };
        state.doubt = ClockDoubt::new(before);
        if let Some(chain) = &state.committees {
            let n = chain.current().record().n();
            state.doubt.may_ask(n, true);
        }
    }

    /// Forgets every doubt, as at the start.
    #[cfg(test)]
    pub(super) fn trust(&self) {
        self.simulate_jump(0);
    }

    /// See [`ClockDoubt::ahead`].
    pub(super) fn ahead(&self) -> Option<i64> {
        self.state().doubt.ahead()
    }

    pub(super) fn status(&self) -> ClockStatus {
        let state = self.state();
        let reason = state.doubt.doubt().map(|doubt| doubt.describe(|member| state.name(member)));
        ClockStatus { in_doubt: reason.is_some(), reason, agreeing: state.doubt.agreed().0 }
    }
}

/// A link on which questions are sent. Dropping this removes it.
pub(super) struct LinkGuard<'a> {
    watch: &'a ClockWatch,
    number: u64,
}

impl Drop for LinkGuard<'_> {
    fn drop(&mut self) {
        self.watch.state().links.remove(&self.number);
    }
}

impl WatchState {
    fn name(&self, member: u16) -> String {
        self.committees
            .as_ref()
            .map_or_else(|| format!("member {}", member + 1), |chain| chain.current().record().name(member))
    }

    fn question(&self, asker: NodeKey, nonce: [u8; 32]) -> Option<TimeQuestion> {
        let cluster = self.committees.as_ref()?.cluster();
        Some(TimeQuestion { cluster, asker, nonce })
    }

    /// Takes over the newest committee, and the replica's part in it.
    fn follow(&mut self, chain: CommitteeChain, own: &NodeKey) {
        let current = chain.current().record();
        let asks_as = match current.position(own) {
            Some(_) => Some(AsksAs::Member),
            None => self.joining.contains(own).then_some(AsksAs::Joining),
        };
        let is_new = self.committees.as_ref().is_none_or(|known| known.current().record().epoch() != current.epoch());
        if !is_new && asks_as == self.asks_as {
            return;
        }
        // Answers to earlier questions name members of the committee before.
        self.nonces.clear();
        self.askers.clear();
        match asks_as {
            Some(role) => self.doubt.may_ask(current.n(), role == AsksAs::Member),
            None => self.doubt.may_ask_nobody(),
        }
        self.asks_as = asks_as;
        self.committees = Some(chain);
    }

    /// Sends a question on every link. Returns whether a doubt began or ended.
    fn ask(&mut self, own: NodeKey) -> Option<DoubtChange> {
        let (number, nonce) = (self.next_number, self.host.random());
        // The greatest number is reserved for the replica as a whole.
        self.next_number = if number + 1 < Stream::REPLICA.0 { number + 1 } else { FIRST_NUMBER };
        self.nonces.insert(number, nonce);
        while self.nonces.len() > NONCES {
            self.nonces.pop_first();
        }
        let change = self.doubt.ask(reading(&self.host), number);
        let question = Message::AskTime { stream: Stream(number), asker: own, nonce }.encode();
        // Skip a link whose queue is full: it gets the next question.
        self.links.values().for_each(|link| drop(link.try_send(question.clone().into())));
        change
    }

    fn event(&self, change: &DoubtChange) -> Event {
        let name = |member| self.name(member);
        match change {
            DoubtChange::Began(doubt) => Event::ClockInDoubt(doubt.describe(name)),
            DoubtChange::Ended(doubt, agreeing) => {
                let agreeing = match agreeing.is_empty() {
                    true => "keeps step with the monotonic clock".to_owned(),
                    false => {
                        let names: Vec<_> = agreeing.iter().map(|member| self.name(*member)).collect();
                        format!("agrees with {}", names.join(", "))
                    }
                };
                Event::ClockTrusted(format!("it {agreeing}; before, {}", doubt.describe(name)))
            }
        }
    }
}

/// Compares the clocks and asks the other members for their times, for as long as the replica runs.
pub(super) async fn run(watch: &ClockWatch) {
    let mut committees = watch.identity.committees.follow();
    loop {
        committees.see();
        let next = watch.check();
        tokio::select! {
            biased;
            () = watch.host.sleep(next) => {}
            () = watch.ask_soon.notified() => {}
            changed = committees.changed() => if changed.is_err() { return },
        }
    }
}

impl ClockWatch {
    /// Compares the clocks, and asks the members if a question is due. Returns the wait until the next check.
    fn check(&self) -> Duration {
        let (change, next) = {
            let mut state = self.state();
            if let Some(chain) = self.identity.chain() {
                state.follow(chain, &self.identity.node_key());
            }
            let seen = state.doubt.observe(reading(&self.host));
            let is_due = state.doubt.next_question().is_some_and(|due| due <= self.host.since_boot());
            let asked = match is_due && !state.links.is_empty() {
                true => state.ask(self.identity.node_key()),
                false => None,
            };
            let change = seen.or(asked).map(|change| state.event(&change));
            let due = state.doubt.next_question().filter(|_| !state.links.is_empty());
            (change, due.map_or(CHECK_EVERY, |due| due.saturating_sub(self.host.since_boot()).min(CHECK_EVERY)))
        };
        if let Some(event) = change {
            self.reports.report(event);
        }
        next
    }

    /// Compares the clocks now. Returns why no time may be signed, if the clock is in doubt.
    pub(super) fn doubt(&self) -> Option<String> {
        let (change, reason) = {
            let mut state = self.state();
            let change = state.doubt.observe(reading(&self.host));
            let change = change.map(|change| state.event(&change));
            (change, state.doubt.doubt().map(|doubt| doubt.describe(|member| state.name(member))))
        };
        if let Some(event) = change {
            self.ask_soon.notify_one();
            self.reports.report(event);
        }
        reason
    }

    /// Compares the clocks now. Returns whether blobs may be deleted because they have expired.
    pub(super) fn may_delete(&self) -> bool {
        self.doubt();
        self.state().doubt.may_delete()
    }

    /// The nodes that the approved change adds may ask, as the members may: none of them joins while its clock is in doubt. Empty when no change
    /// is approved.
    pub(super) fn set_joining(&self, joining: BTreeSet<NodeKey>) {
        let mut state = self.state();
        if state.joining == joining {
            return;
        }
        state.joining = joining;
        state.askers.clear();
        drop(state);
        self.ask_soon.notify_one();
    }

    /// The answer to a question: this replica's time, signed. `None` if the asker is neither another member nor joins, or asks too often.
    pub(super) fn answer(&self, stream: Stream, asker: NodeKey, nonce: [u8; 32]) -> Option<Message> {
        let chain = self.identity.chain()?;
        let committee = chain.current();
        let member = self.identity.position(committee)?;
        let may_ask = {
            let mut state = self.state();
            let is_known = committee.record().position(&asker).is_some() || state.joining.contains(&asker);
            if !is_known || asker == self.identity.node_key() {
                return None;
            }
            // At most one bucket for each node that may ask.
            let bucket = state.askers.entry(asker).or_insert(TokenBucket::new(ANSWERS, ANSWER_EVERY));
            bucket.take(self.host.since_boot())
        };
        if !may_ask {
            return None;
        }
        let question = TimeQuestion { cluster: committee.cluster(), asker, nonce };
        let time = self.host.unix_seconds();
        let signature = question.answer(&self.identity.keys.node, time);
        Some(Message::SignedTime { stream, member, time, signature })
    }

    /// Handles another member's answer. Ignores it unless that member signed it for a question of this replica.
    pub(super) fn handle_answer(&self, stream: Stream, member: u16, time: u64, signature: &TimeSignature) {
        let Some(chain) = self.identity.chain() else { return };
        let own = self.identity.node_key();
        let Some(key) = chain.current().record().members().get(usize::from(member)).map(|member| member.node_key)
        else {
            return;
        };
        let question = {
            let state = self.state();
            if key == own || !state.doubt.is_awaited(stream.0, member) {
                return;
            }
            state.nonces.get(&stream.0).and_then(|nonce| state.question(own, *nonce))
        };
        if question.is_none_or(|question| question.verify(&key, time, signature).is_err()) {
            return;
        }
        let change = {
            let mut state = self.state();
            let change = state.doubt.answer(reading(&self.host), stream.0, member, time);
            change.map(|change| state.event(&change))
        };
        if let Some(event) = change {
            self.ask_soon.notify_one();
            self.reports.report(event);
        }
    }
}
