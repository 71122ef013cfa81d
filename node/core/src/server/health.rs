//! What the server knows of its replicas' health, and what follows from it: who is left out of a put, who is not waited for, who is
//! tried last, what `/readyz` says. A value without IO; `now` is monotonic and an argument.
//!
//! There is one record per replica, by its node key: an index names another member in another epoch, a node key never does.
//!
//! | a replica | while that is known | until | a new link |
//! |---|---|---|---|
//! | takes bytes slowly | new puts leave it out, chunks do not wait for it | its queue is empty | ends it |
//! | stores late | puts and chunks do not wait for it | it stores in time | ends it |
//! | votes late | batches do not wait for it | it votes in time | ends it |
//! | has a failed storage | `/readyz` counts it out | it stores or votes, or says that it is well | ends it |
//! | has a clock in doubt | `/readyz` counts it out | it votes, or says that it is well | ends it |
//! | failed a get | others are read from first | ten minutes later | changes nothing |
//! | lacked what it offered | what it says it holds leaves nobody out | ten minutes later | changes nothing |
//! | voted falsely | its votes are verified apart | the server stops | changes nothing |
//!
//! How a replica keeps up ends with its link: it may have been restarted or repaired since. What it did wrong does not: else it would
//! connect again to be trusted again.

mod trouble;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Message, Stream};

use super::ended_waits::EndedWaits;

pub use trouble::Trouble;

/// How long a fault counts: a disk may have been repaired since.
const FAULT_COUNTS: Duration = Duration::from_secs(600);
/// Puts that went on without somebody, remembered for judging who answers them later.
const ENDED_PUTS: usize = 4096;

/// One link of a replica, told apart from its earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId {
    /// Of the replica.
    pub node_key: NodeKey,
    /// No other link has it.
    pub number: u64,
}

/// How a replica keeps up on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// A put went on without it, for it took no more bytes.
    TookBytesTooSlowly,
    /// Nothing is queued for it any more.
    TookAllBytes,
    /// A put went on without it, for it had not stored.
    StoredTooLate,
    /// It stored a put's blob in time.
    StoredInTime,
    /// A batch ended without its vote.
    VotedTooLate,
    /// It voted in time.
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

/// What a replica did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It did not deliver a blob that it said it holds, or not its bytes.
    FailedGet,
    /// It said that it had the first bytes of a put, was not sent them, and did not store.
    LackedWhatItOffered,
    /// Its vote is not its signature of what was proposed.
    VotedFalsely,
}

/// What the operator and the replica are told: it may be the last to know, for its own log says nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthNotice {
    /// What kind of trouble it is.
    pub code: Code,
    /// What happened, for people.
    pub why: &'static str,
}

impl HealthNotice {
    fn late(why: &'static str) -> Self {
        Self { code: Code::TimedOut, why }
    }
}

/// One thing that is known of a replica.
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

/// Since when it is known, until when it counts if nothing ends it before, and why.
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

/// What is known of one replica; never empty.
type HealthRecord = BTreeMap<Fact, KnownFact>;

/// The health of all replicas.
#[derive(Debug)]
pub struct Health {
    /// The link of each replica that is connected.
    links: BTreeMap<NodeKey, u64>,
    /// Only of replicas of which something is known, and only members are observed: there are no more than ever were members.
    records: BTreeMap<NodeKey, HealthRecord>,
    /// Puts that ended without somebody.
    puts: EndedWaits,
}

impl Default for Health {
    fn default() -> Self {
        Self { links: BTreeMap::new(), records: BTreeMap::new(), puts: EndedWaits::new(ENDED_PUTS) }
    }
}

impl Health {
    /// A replica has a new link, which replaces the one before.
    pub fn connected(&mut self, link: LinkId) {
        self.links.insert(link.node_key, link.number);
        self.end_link_facts(&link.node_key);
    }

    /// A link ended. Nothing happens when the replica has a newer one.
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

    /// Takes note of how a replica keeps up, by the link that shows it; what an earlier link shows says nothing of this one. Gives what is to be
    /// told: of slow bytes each time, for another put went on without it; of the rest once.
    pub fn observe(&mut self, link: &LinkId, observed: Observed, now: Duration) -> Option<HealthNotice> {
        if !self.is_present(link) {
            return None;
        }
        let (fact, why) = match observed {
            Observed::TookBytesTooSlowly => (
                Fact::TakesBytesSlowly,
                "took a put's bytes more slowly than a quorum; the put went on without it, and repair fetches the blob",
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

    /// Takes note of what a replica did wrong, and gives what is to be told.
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

    /// Takes note of what a reply says about the replica's storage and clock, and gives what the operator is told of it. A full disk
    /// says nothing: whoever offers more than fits would make a replica look dead.
    pub fn hear(&mut self, link: &LinkId, reply: &Message, now: Duration) -> Option<String> {
        if !self.is_present(link) {
            return None;
        }
        let node_key = &link.node_key;
        match reply {
            Message::Failed(failed) if failed.code == Code::Storage => {
                self.forget(node_key, &[Fact::ClockInDoubt]);
                let known = KnownFact { since: now, until: None, why: failed.detail.clone().into() };
                let is_new = self.learn(node_key, Fact::StorageFailed, known);
                // the client of a put hears of it by the put
                (is_new && failed.stream == Stream::REPLICA)
                    .then(|| format!("says that its storage failed: {}", failed.detail))
            }
            Message::Failed(failed) if failed.code == Code::ClockInDoubt => {
                self.forget(node_key, &[Fact::StorageFailed]);
                // by how much it is off is told anew with each answer that it gets
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
                // it stores all the same while its clock is in doubt
                self.forget(node_key, &[Fact::StorageFailed]);
                None
            }
            _ => None,
        }
    }

    /// A put ended without somebody, whose answer would have been in time until then.
    pub fn put_ended(&mut self, put: Stream, until: Duration) {
        self.puts.add(put, until);
    }

    /// A replica stored a put's blob after the put had ended. One that is not remembered is long over.
    pub fn stored_after_end(&mut self, link: &LinkId, put: Stream, now: Duration) {
        if self.puts.is_in_time(put, now) {
            self.observe(link, Observed::StoredInTime, now);
        }
    }

    fn known(&self, node_key: &NodeKey, fact: Fact, now: Duration) -> Option<&KnownFact> {
        self.records.get(node_key)?.get(&fact).filter(|known| known.counts(now))
    }

    /// The members of a committee of which one of these facts is known.
    fn members(&self, committee: &CommitteeRecord, facts: &[Fact], now: Duration) -> BTreeSet<u16> {
        let has =
            |record: &HealthRecord| facts.iter().filter_map(|fact| record.get(fact)).any(|known| known.counts(now));
        let found = self.records.iter().filter(|(_, record)| has(record));
        found.filter_map(|(node_key, _)| committee.position(node_key)).collect()
    }

    /// Whether a new put leaves a replica out, as long as the others are a quorum.
    pub fn is_left_out_of_puts(&self, node_key: &NodeKey, now: Duration) -> bool {
        self.known(node_key, Fact::TakesBytesSlowly, now).is_some()
    }

    /// Members for which a put does not wait with a message, once a quorum has taken it.
    pub fn not_awaited_with_bytes(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::TakesBytesSlowly, Fact::StoresLate], now)
    }

    /// Members for which a put does not wait once a quorum stored.
    pub fn not_awaited_to_store(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::StoresLate], now)
    }

    /// Members for which a batch does not wait once a quorum voted.
    pub fn not_awaited_to_vote(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::VotesLate], now)
    }

    /// Members whose votes are verified apart from the others': every lie would else cost as much as all of them one by one.
    pub fn verified_apart(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::VotedFalsely], now)
    }

    /// Replicas that are read from after all others. What the server has sent of a get cannot be taken back: one member that lies,
    /// first in every list, would else cut every download short.
    pub fn read_last(&self, now: Duration) -> BTreeSet<NodeKey> {
        let counts = |record: &HealthRecord| record.get(&Fact::FailedGet).is_some_and(|known| known.counts(now));
        self.records.iter().filter(|(_, record)| counts(record)).map(|(node_key, _)| *node_key).collect()
    }

    /// Members whose word on what they hold leaves nobody out of a put. One that lies could else, time and again, have one left out
    /// that is behind, and then fail.
    pub fn doubted(&self, committee: &CommitteeRecord, now: Duration) -> BTreeSet<u16> {
        self.members(committee, &[Fact::LackedWhatItOffered], now)
    }

    /// What keeps a replica from taking part in puts as the others do; the gravest alone.
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
