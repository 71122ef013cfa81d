//! The state machine of a server: connected replicas, membership, health, admission of puts, and batches.
//!
//! The shell reads a frame, calls [`ServerCore::handle`], and performs the outputs. Verifying votes and saving certificates are requests
//! to the shell, whose results are inputs. Each put has a state machine of its own, [`ServerPut`](super::put::ServerPut).

mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message, Stream};

use super::admission::{self, Admission};
use super::batch::{BatchContext, BatchInput, BatchOutput, BatchPolicy, BatchRequest, Batches};
use super::health::{Fault, Health, HealthNotice, LinkId, Observed};
use super::put::PutContext;
use super::roster::{Membership, Roster};
use super::stream_numbers::StreamNumbers;
use super::succession::Succession;
pub use events::{Reply, ServerClock, ServerInput, ServerOutput};

/// The decisions of a server that concern all its clients and replicas.
pub struct ServerCore<H> {
    roster: Roster<H>,
    health: Health,
    succession: Succession,
    /// `None` until there is a committee.
    batches: Option<Batches>,
    /// Number of puts that are being stored and will be submitted soon.
    storing: usize,
    policy: BatchPolicy,
    voting: Duration,
    numbers: StreamNumbers,
}

impl<H: Clone> ServerCore<H> {
    /// A server without connections. `chain`: the committees in its data folder. `voting`: maximum time for a quorum to vote.
    pub fn new(chain: Option<CommitteeChain>, policy: BatchPolicy, voting: Duration, numbers: StreamNumbers) -> Self {
        let (roster, health, succession) = (Roster::default(), Health::default(), Succession::default());
        let mut core = Self { roster, health, succession, batches: None, storing: 0, policy, voting, numbers };
        if let Some(chain) = chain {
            core.adopt(chain);
        }
        core
    }

    /// The connected replicas.
    pub fn roster(&self) -> &Roster<H> {
        &self.roster
    }

    /// The health of the replicas.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When [`ServerInput::Settled`] is due if there is no other input; `None` if it is not needed.
    pub fn next_tick(&self, clock: ServerClock) -> Option<Duration> {
        let context = self.context(clock)?;
        self.batches.as_ref()?.next_tick(&context)
    }

    /// Whether a put may begin. `has_waited`: it has waited long enough for members to connect. `idle`: members with empty queues.
    pub fn admit(&mut self, idle: &BTreeSet<u16>, has_waited: bool, now: Duration) -> Admission {
        let Some(chain) = self.roster.chain() else { return Admission::Wait };
        let quorum = chain.current().record().quorum().into();
        for member in idle {
            if let Some(link) = self.roster.link(*member) {
                self.health.observe(&link, Observed::TookAllBytes, now);
            }
        }
        let members = self.roster.members().into_keys();
        let connected: BTreeMap<u16, LinkId> =
            members.filter_map(|member| Some((member, self.roster.link(member)?))).collect();
        let slow = connected.iter().filter(|(_, link)| self.health.is_left_out_of_puts(&link.node_key, now));
        let slow = slow.map(|(member, _)| *member).collect();
        admission::decide(connected, slow, quorum, has_waited)
    }

    /// The state outside a put that its decisions depend on.
    pub fn put_context(&self, clock: ServerClock) -> PutContext {
        let ServerClock { now, unix_seconds } = clock;
        let Some(chain) = self.roster.chain() else {
            return PutContext { now, unix_seconds, ..PutContext::default() };
        };
        let record = chain.current().record();
        let not_awaited = self.health.not_awaited_to_store(record, now);
        PutContext { now, unix_seconds, not_awaited, doubted: self.health.doubted(record, now) }
    }

    /// Members whose queues a put does not wait for, once a quorum has room for a message.
    pub fn not_awaited_with_bytes(&self, now: Duration) -> BTreeSet<u16> {
        let chain = self.roster.chain();
        chain.map(|chain| self.health.not_awaited_with_bytes(chain.current().record(), now)).unwrap_or_default()
    }

    /// Whether a replica may ask the members for their times: a member, or a node that an approved change adds.
    pub fn may_ask_time(&self, node_key: &NodeKey) -> bool {
        matches!(self.roster.membership(node_key), Membership::Member(_)) || self.succession.includes(node_key)
    }

    /// Handles one input.
    pub fn handle(&mut self, input: ServerInput<H>, clock: ServerClock) -> Vec<ServerOutput> {
        let mut out = Vec::new();
        match input {
            ServerInput::Joined { link, handle } => {
                self.health.connected(link);
                if self.roster.join(link, handle) {
                    // The new link does not know the requests sent on the earlier one.
                    self.lose(&link, clock, &mut out);
                }
            }
            ServerInput::Left(link) => {
                self.health.disconnected(link);
                if self.roster.leave(&link) {
                    self.lose(&link, clock, &mut out);
                }
            }
            ServerInput::Adopted(chain) => self.begin_epoch(chain, &mut out),
            ServerInput::Reply(link, reply) => self.reply(link, reply, clock, &mut out),
            ServerInput::Unclaimed(link, reply) => self.unclaimed(link, reply, clock, &mut out),
            ServerInput::NextMembers(link, next) => {
                if let Membership::Member(member) = self.roster.membership(&link.node_key)
                    && self.roster.link(member) == Some(link)
                {
                    self.told(member, next);
                    out.push(ServerOutput::Settle);
                }
            }
            ServerInput::Observed { stream, member, link, observed } => {
                self.observe(stream, member, &link, observed, clock.now, &mut out);
            }
            ServerInput::Blamed { stream, member, fault } => self.blame(stream, member, fault, clock.now, &mut out),
            ServerInput::StoringBegan => self.storing += 1,
            ServerInput::StoringEnded => self.storing = self.storing.saturating_sub(1),
            ServerInput::PutEnded { put, until } => self.health.put_ended(put, until),
            ServerInput::Batch(input) => self.batch(input, clock, &mut out),
            ServerInput::Settled => self.settle(clock, &mut out),
        }
        out
    }

    /// Puts of the epoch before fail: their votes count for its committee only. Everything that is known by a member's index is of another
    /// member from now on.
    fn begin_epoch(&mut self, chain: CommitteeChain, out: &mut Vec<ServerOutput>) {
        if let Some(before) = self.batches.take() {
            let failed = |put| Failed::new(put, Code::NewEpoch, "a new committee has taken over; try again");
            out.extend(before.into_puts().map(|put| ServerOutput::Batch(BatchRequest::Fail(put, failed(put)))));
            self.health = Health::default();
            self.succession = Succession::default();
            self.roster.clear();
        }
        self.adopt(chain);
    }

    fn adopt(&mut self, chain: CommitteeChain) {
        let committee = chain.current().clone();
        self.batches = Some(Batches::new(committee, self.policy, self.voting, self.numbers.clone()));
        self.roster.adopt(chain);
    }

    fn told(&mut self, member: u16, next: BTreeSet<NodeKey>) {
        if let Some(chain) = self.roster.chain() {
            self.succession.told(chain.current().record(), member, next);
        }
    }

    /// A member's link has ended: requests sent on it get no answer.
    fn lose(&mut self, link: &LinkId, clock: ServerClock, out: &mut Vec<ServerOutput>) {
        if let Membership::Member(member) = self.roster.membership(&link.node_key) {
            // What it says on its next link counts.
            self.told(member, BTreeSet::new());
            self.batch(BatchInput::Lost(member), clock, out);
        }
    }

    /// Records what a reply says about the member's health. A vote goes to its batch, any other reply to the put or get that waits for it.
    fn reply(&mut self, link: LinkId, reply: Reply, clock: ServerClock, out: &mut Vec<ServerOutput>) {
        let Reply { member, stream, message } = reply;
        if let Some(line) = self.health.record_reply(&link, &message, clock.now) {
            out.push(ServerOutput::MemberReport { member, line });
        }
        match message {
            // About the replica as a whole: no request waits for it.
            _ if stream == Stream::REPLICA => {}
            Message::Vote { signature, .. } => {
                self.batch(BatchInput::Vote { batch: stream, member, signature }, clock, out);
            }
            message => out.push(ServerOutput::Deliver(link, Reply { member, stream, message })),
        }
    }

    /// Handles a reply that no put and no get waits for: a refusal of a batch, or an answer to a put that has ended.
    fn unclaimed(&mut self, link: LinkId, reply: Reply, clock: ServerClock, out: &mut Vec<ServerOutput>) {
        let Reply { member, stream, message } = reply;
        match message {
            Message::Failed(failed) => self.batch(BatchInput::Refused { batch: stream, member, failed }, clock, out),
            Message::Stored { .. } => self.health.stored_after_end(&link, stream, clock.now),
            _ => {}
        }
    }

    fn observe(
        &mut self,
        stream: Stream,
        member: u16,
        link: &LinkId,
        observed: Observed,
        now: Duration,
        out: &mut Vec<ServerOutput>,
    ) {
        if let Some(HealthNotice { code, why }) = self.health.observe(link, observed, now) {
            out.push(ServerOutput::LeftOut { stream, member, code, why });
        }
    }

    fn blame(&mut self, stream: Stream, member: u16, fault: Fault, now: Duration, out: &mut Vec<ServerOutput>) {
        let Some(chain) = self.roster.chain() else { return };
        let Some(of) = chain.current().record().members().get(usize::from(member)) else { return };
        if let Some(HealthNotice { code, why }) = self.health.blame(&of.node_key, fault, now) {
            out.push(ServerOutput::LeftOut { stream, member, code, why });
        }
    }

    fn context(&self, clock: ServerClock) -> Option<BatchContext> {
        let record = self.roster.chain()?.current().record();
        let ServerClock { now, unix_seconds } = clock;
        Some(BatchContext {
            now,
            unix_now: unix_seconds,
            storing: self.storing,
            not_awaited: self.health.not_awaited_to_vote(record, now),
            verified_apart: self.health.verified_apart(record, now),
            staying: self.succession.staying().clone(),
        })
    }

    fn batch(&mut self, input: BatchInput, clock: ServerClock, out: &mut Vec<ServerOutput>) {
        self.with_batches(clock, out, |batches, context| batches.handle(input, context));
        // Nothing is submitted before there is a committee.
        if self.batches.is_some() {
            out.push(ServerOutput::Settle);
        }
    }

    /// Verifies votes and proposes batches. Both wait for the pending inputs: several votes or receipts together cost little more than one.
    fn settle(&mut self, clock: ServerClock, out: &mut Vec<ServerOutput>) {
        self.with_batches(clock, out, |batches, context| batches.handle(BatchInput::Tick, context));
        self.with_batches(clock, out, Batches::verify);
        self.with_batches(clock, out, Batches::propose);
    }

    fn with_batches(
        &mut self,
        clock: ServerClock,
        out: &mut Vec<ServerOutput>,
        act: impl FnOnce(&mut Batches, &BatchContext) -> Vec<BatchOutput>,
    ) {
        let Some(context) = self.context(clock) else { return };
        let Some(batches) = &mut self.batches else { return };
        for output in act(batches, &context) {
            match output {
                BatchOutput::Request(request) => out.push(ServerOutput::Batch(request)),
                BatchOutput::Observed { batch, member, observed } => {
                    if let Some(link) = self.roster.link(member) {
                        self.observe(batch, member, &link, observed, clock.now, out);
                    }
                }
                BatchOutput::VotedFalsely { batch, member } => {
                    self.blame(batch, member, Fault::VotedFalsely, clock.now, out);
                }
            }
        }
    }
}
