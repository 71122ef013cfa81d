//! The health of replicas, and its consequences: which members a put leaves out or does not wait for, which holders are read from
//! last, and what `/readyz` reports. A value without IO; `now` is monotonic and an argument.
//!
//! There is one record per replica, by its node key: an index names another member in another epoch, a node key never does.
//!
//! | a replica | consequence | until | a new link |
//! |---|---|---|---|
//! | takes bytes slowly | new puts leave it out, chunks do not wait for it | its queue is empty | ends it |
//! | stores late | puts and chunks do not wait for it | it stores in time | ends it |
//! | votes late | batches do not wait for it | it votes in time | ends it |
//! | has a failed storage | `/readyz` does not count it | it stores, votes, or reports that it is well | ends it |
//! | has a clock in doubt | `/readyz` does not count it | it votes, or reports that it is well | ends it |
//! | failed a get | other holders are read from first | ten minutes later | changes nothing |
//! | lacked bytes that it claimed | its claims leave no other member out of a put | ten minutes later | changes nothing |
//! | voted falsely | its votes are verified apart | the server stops | changes nothing |
//!
//! Slowness is forgotten with the link: the replica may have been restarted or repaired since. Faults are not: otherwise a liar would
//! only have to connect again.

mod trouble;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Message, Stream};

use super::ended_waits::EndedWaits;

pub use trouble::Trouble;

/// How long a fault counts. After that, the replica's disk may have been repaired.
const FAULT_COUNTS: Duration = Duration::from_secs(600);
/// Maximum number of puts remembered that ended before all members had stored, to tell whether a later answer was in time.
const ENDED_PUTS: usize = 4096;

/// The identity of one link of a replica, distinct from the replica's earlier links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId {
    /// The replica's node key.
    pub node_key: NodeKey,
    /// The link's number, unique at this server.
    pub number: u64,
}

/// An observation of how a replica keeps up on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// A put continued without the replica, because its queue was full.
    TookBytesTooSlowly,
    /// The replica's queue is empty.
    TookAllBytes,
    /// A put continued before the replica had stored.
    StoredTooLate,
    /// The replica stored a put's blob in time.
    StoredInTime,
    /// A batch ended without the replica's vote.
    VotedTooLate,
    /// The replica voted in time.
    VotedInTime,
}

impl Observed {
    /// The facts that this observation ends.
    fn ends(self) -> &'static [Fact] {
        match self {
            Self::TookAllBytes => &[Fact::TakesBytesSlowly],
            Self::StoredInTime => &[Fact::StoresLate],
            Self::VotedInTime => &[Fact::VotesLate],
            Self::TookBytesTooSlowly | Self::StoredTooLate | Self::VotedTooLate => &[],
        }
    }
}

/// A fault of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It did not deliver a blob that it claimed to hold, or sent wrong bytes.
    FailedGet,
    /// It claimed to have the first bytes of a put, was not sent them, and did not store.
    LackedWhatItOffered,
    /// Its vote is not its valid signature over the proposed statement.
    VotedFalsely,
}

/// A message to the operator and to the replica, whose own log may show nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthNotice {
    /// The kind of trouble.
    pub code: Code,
    /// What happened, for people.
    pub why: &'static str,
}

impl HealthNotice {
    fn late(why: &'static str) -> Self {
        Self { code: Code::TimedOut, why }
    }
}

/// A kind of fact about a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    TakesBytesSlowly,
    StoresLate,
    VotesLate,
    StorageFailed,
    ClockInDoubt,
    FailedGet,
    LackedWhatItOffered,
    VotedFalsely,
}

impl Fact {
    fn ends_with_link(self) -> bool {
        match self {
            Self::TakesBytesSlowly | Self::StoresLate | Self::VotesLate | Self::StorageFailed | Self::ClockInDoubt => {
                true
            }
            Self::FailedGet | Self::LackedWhatItOffered | Self::VotedFalsely => false,
        }
    }
}

/// A fact: since when it is known, until when it counts at most, and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownFact {
    since: Duration,
    until: Option<Duration>,
    why: Cow<'static, str>,
}

impl KnownFact {
    fn counts(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The facts about one replica; never empty.
type HealthRecord = BTreeMap<Fact, KnownFact>;

/// The health of all replicas.
#[derive(Debug)]
pub struct Health {
    /// The link of each connected replica.
    links: BTreeMap<NodeKey, u64>,
    /// Only members are observed, so the map has at most one entry for each past and present member.
    records: BTreeMap<NodeKey, HealthRecord>,
    /// Puts that ended before all members had stored.
    puts: EndedWaits,
}

impl Default for Health {
    fn default() -> Self {
        Self { links: BTreeMap::new(), records: BTreeMap::new(), puts: EndedWaits::new(ENDED_PUTS) }
    }
}

impl Health {
    /// A replica has a new link, which replaces its earlier one.
    pub fn connected(&mut self, link: LinkId) {
        self.links.insert(link.node_key, link.number);
        self.end_link_facts(&link.node_key);
    }

    /// A link has ended. Ignored if the replica has a newer one.
    pub fn disconnected(&mut self, link: LinkId) {
        if self.is_present(&link) {
            self.links.remove(&link.node_key);
            self.end_link_facts(&link.node_key);
        }
    }

    fn is_present(&self, link: &LinkId) -> bool {
        self.links.get(&link.node_key) == Some(&link.number)
    }

    fn end_link_facts(&mut self, node_key: &NodeKey) {
        if let Some(record) = self.records.get_mut(node_key) {
            record.retain(|fact, _| !fact.ends_with_link());
        }
        self.tidy(node_key);
    }

    fn tidy(&mut self, node_key: &NodeKey) {
        if self.records.get(node_key).is_some_and(HealthRecord::is_empty) {
            self.records.remove(node_key);
        }
    }

    fn learn(&mut self, node_key: &NodeKey, fact: Fact, known: KnownFact) -> bool {
        let record = self.records.entry(*node_key).or_default();
        let before = record.get(&fact).filter(|before| before.counts(known.since));
        let is_new = before.is_none_or(|before| before.why != known.why);
        let since = before.map_or(known.since, |before| before.since);
        record.insert(fact, KnownFact { since, ..known });
        is_new
    }

    fn forget(&mut self, node_key: &NodeKey, facts: &[Fact]) {
        if let Some(record) = self.records.get_mut(node_key) {
            record.retain(|fact, _| !facts.contains(fact));
        }
        self.tidy(node_key);
    }

    /// Records an observation on a link. One on an earlier link is ignored. Returns a notice: for slow bytes each time, because each time
    /// a put continued without the replica; for the rest only once.
    pub fn observe(&mut self, link: &LinkId, observed: Observed, now: Duration) -> Option<HealthNotice> {
        if !self.is_present(link) {
            return None;
        }
        let (fact, why) = match observed {
            Observed::TookBytesTooSlowly => (
                Fact::TakesBytesSlowly,
                "took a put's bytes more slowly than a quorum; the put continued without it, and repair fetches the blob",
            ),
            Observed::StoredTooLate => (
                Fact::StoresLate,
                "had not stored a blob when a quorum had; it is not waited for until it stores in time again",
            ),
            Observed::VotedTooLate => (
                Fact::VotesLate,
                "had not voted when a batch ended; its vote is not waited for until it votes in time again",
            ),
            Observed::TookAllBytes | Observed::StoredInTime | Observed::VotedInTime => {
                self.forget(&link.node_key, observed.ends());
                return None;
            }
        };
        let is_new = self.learn(&link.node_key, fact, KnownFact { since: now, until: None, why: why.into() });
        (is_new || fact == Fact::TakesBytesSlowly).then(|| HealthNotice::late(why))
    }

    /// Records a fault. Returns a notice if the fault is new.
    pub fn blame(&mut self, node_key: &NodeKey, fault: Fault, now: Duration) -> Option<HealthNotice> {
        let (fact, until, why) = match fault {
            Fault::FailedGet => (Fact::FailedGet, Some(now + FAULT_COUNTS), "failed a get"),
            Fault::LackedWhatItOffered => (
                Fact::LackedWhatItOffered,
                Some(now + FAULT_COUNTS),
                "did not store a blob of which it said it had bytes",
            ),
            Fault::VotedFalsely => {
                (Fact::VotedFalsely, None, "voted with a signature that is not its own, or not of what was proposed")
            }
        };
        let is_new = self.learn(node_key, fact, KnownFact { since: now, until, why: why.into() });
        (is_new && fault == Fault::VotedFalsely).then_some(HealthNotice { code: Code::NotAuthenticated, why })
    }

    /// Records what a reply says about the replica's storage and clock. Returns a line for the operator. A full disk is not recorded:
    /// otherwise a client could make a replica look dead by offering more than fits.
    pub fn record_reply(&mut self, link: &LinkId, reply: &Message, now: Duration) -> Option<String> {
        if !self.is_present(link) {
            return None;
        }
        let node_key = &link.node_key;
        match reply {
            Message::Failed(failed) if failed.code == Code::Storage => {
                self.forget(node_key, &[Fact::ClockInDoubt]);
                let known = KnownFact { since: now, until: None, why: failed.detail.clone().into() };
                let is_new = self.learn(node_key, Fact::StorageFailed, known);
                // The put reports it to its client.
                (is_new && failed.stream == Stream::REPLICA)
                    .then(|| format!("says that its storage failed: {}", failed.detail))
            }
            Message::Failed(failed) if failed.code == Code::ClockInDoubt => {
                self.forget(node_key, &[Fact::StorageFailed]);
                // Each answer updates the difference in the text.
                let is_known = self.known(node_key, Fact::ClockInDoubt, now).is_some();
                let known = KnownFact { since: now, until: None, why: failed.detail.clone().into() };
                self.learn(node_key, Fact::ClockInDoubt, known);
                (!is_known).then(|| format!("says that it signs nothing: {}", failed.detail))
            }
            Message::Vote { .. } | Message::Stored { stream: Stream::REPLICA } => {
                self.forget(node_key, &[Fact::StorageFailed, Fact::ClockInDoubt]);
                None
            }
            Message::Stored { .. } => {
                // A replica still stores while its clock is in doubt.
                self.forget(node_key, &[Fact::StorageFailed]);
                None
            }
            _ => None,
        }
    }

    /// A put has ended before all members had stored. Their answers are in time before `until`.
    pub fn put_ended(&mut self, put: Stream, until: Duration) {
        self.puts.add(put, until);
    }

    /// A replica has stored a put's blob after the put ended. It is late if the put is no longer remembered.
    pub fn stored_after_end(&mut self, link: &LinkId, put: Stream, now: Duration) {
        if self.puts.is_in_time(put, now) {
            self.observe(link, Observed::StoredInTime, now);
        }
    }

    fn known(&self, node_key: &NodeKey, fact: Fact, now: Duration) -> Option<&KnownFact> {
        self.records.get(node_key)?.get(&fact).filter(|known| known.counts(now))
    }

    /// The members of a committee about which one of these facts is known.
    fn members(&self, committee: &CommitteeRecord, facts: &[Fact], now: Duration) -> BTreeSet<u16> {
        let has =
            |record: &HealthRecord| facts.iter().filter_map(|fact| record.get(fact)).any(|known| known.counts(now));
        let found = self.records.iter().filter(|(_, record)| has(record));
        found.filter_map(|(node_key, _)| committee.position(node_key)).collect()
    }

    /// Whether a new put leaves the replica out if the others are a quorum.
    pub fn is_left_out_of_puts(&self, node_key: &NodeKey, now: Duration) -> bool {
        self.known(node_key, Fact::TakesBytesSlowly, now).is_some()
    }

    /// Members whose queues a put does not wait for, once a quorum has room for a message.
    pub fn not_awaited_with_bytes(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::TakesBytesSlowly, Fact::StoresLate], now)
    }

    /// Members that a put does not wait for once a quorum has stored.
    pub fn not_awaited_to_store(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::StoresLate], now)
    }

    /// Members that a batch does not wait for once a quorum has voted.
    pub fn not_awaited_to_vote(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::VotesLate], now)
    }

    /// Members whose votes are verified apart: otherwise each false vote would force the verification of all votes one by one.
    pub fn verified_apart(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::VotedFalsely], now)
    }

    /// Replicas that are read from last. Bytes of an HTTP download that were sent cannot be taken back: otherwise a liar that comes first in
    /// every list would interrupt every download.
    pub fn read_last(&self, now: Duration) -> BTreeSet<NodeKey> {
        let counts = |record: &HealthRecord| record.get(&Fact::FailedGet).is_some_and(|known| known.counts(now));
        self.records.iter().filter(|(_, record)| counts(record)).map(|(node_key, _)| *node_key).collect()
    }

    /// Members whose claimed offsets leave no other member out of a put. Otherwise a liar could claim bytes again and again, have an honest
    /// member that lags behind left out, and then fail itself.
    pub fn doubted(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::LackedWhatItOffered], now)
    }

    /// The most serious trouble that keeps a replica from taking part in puts, if any.
    pub fn trouble(&self, node_key: &NodeKey, now: Duration) -> Option<Trouble> {
        if !self.links.contains_key(node_key) {
            return Some(Trouble::Missing);
        }
        let known = |fact| self.known(node_key, fact, now);
        let why = |known: &KnownFact| known.why.to_string();
        let said = known(Fact::StorageFailed).map(|known| Trouble::StorageFailed(why(known)));
        said.or_else(|| known(Fact::ClockInDoubt).map(|known| Trouble::ClockInDoubt(why(known))))
            .or_else(|| known(Fact::TakesBytesSlowly).map(|_| Trouble::Lagging))
            .or_else(|| known(Fact::StoresLate).map(|_| Trouble::Late))
    }
}

#[cfg(test)]
mod tests;
