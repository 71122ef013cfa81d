//! The rules of a run, and what is known in it. The first broken rule ends the run.

mod committees;
mod durable;
mod ordered_log;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use vouch::host::disk::Disk;
use vouch::replica::{ReplicaGauge, ReplicaLoad};
use vouch::server::{ServerGauge, ServerLoad};
use vouch::store::Store;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Body, Statement, Stored, StoredClaim};
use vouch_core::verify::{Subject, VerifiedAggregates, verify_certificate_of_batch};

use crate::network::Node;
use crate::node;
use crate::plan::{Shape, tolerated};
use crate::simulated::SimulatedDisk;

pub use committees::{Committees, node_of};
pub use durable::open;
use durable::{accepted_founding, read};
pub use ordered_log::KnownLog;

pub const FOLDER: &str = "/data";
/// More than the tolerance of [`Checker::must_hold`].
const DECAY_COUNTS_AFTER: Duration = Duration::from_secs(3);

/// A rule. The table of bugs shows its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Every certificate verifies, and has n − f signers.
    Genuine,
    /// A replica has the bytes that it votes for, durably, at that moment, whatever a server proposed.
    VoteHolds,
    /// A replica's journal has what it signs, durably, before the vote leaves.
    Journalled,
    /// A signer of a certificate still has the bytes, durably, in the end.
    SignerHolds,
    /// A server has saved a certificate before anybody hears of it.
    Saved,
    /// A server returns an earlier certificate only while the committee holds the blob.
    Reused,
    /// A certified blob comes back byte for byte, with f replicas down.
    Readable,
    /// Every replica fetches the blobs that were certified without it.
    Repaired,
    /// There is one committee, and nobody can prove that an honest replica accepted two.
    OneCommittee,
    /// Each epoch has one committee.
    OneSuccessor,
    /// When a committee becomes active, n − f of its members hold each blob that was certified before it was approved.
    NextHolds,
    /// A healed cluster can change its committee.
    ChangesEnd,
    /// Members have the statements of every seal.
    SealsAreKept,
    /// A replica has saved the founding that it accepted before anybody hears of it, and never forgets it.
    AcceptanceSaved,
    /// A replica keeps a blob that it signed for until the blob expires, by a right clock.
    KeptUntilExpiry,
    /// Expired blobs are deleted.
    Collected,
    /// Messages of one link do not authenticate another.
    NotReplayed,
    /// A put ends with a certificate or a named error, and no honest party breaks the protocol.
    NamedEnd,
    /// A proof of an op, and a head of the log, verifies.
    OpProved,
    /// An op that was proved stays in its block, and no op is in two.
    OpKept,
    /// All replicas have the same blocks of the log, and sign no other heads.
    OneLog,
    /// A replica has the blocks of a head that it signs, durably.
    HeadHolds,
    /// A healed cluster's log decides, with f replicas down as well, and every replica gets all blocks.
    LogGoesOn,
    /// A healed cluster certifies as many puts at once as its limits allow, and holds nothing for requests once all have
    /// ended.
    NothingHeld,
}

/// A certificate that a client received.
#[derive(Debug, Clone)]
pub struct Promise {
    pub bytes: Bytes,
    pub certificate: Certificate,
    /// When the put began and ended, since the start of the run.
    pub began: Duration,
    pub ended: Duration,
}

impl Promise {
    pub fn digest(&self) -> Digest {
        self.certificate.claim.receipt.digest
    }

    /// Whether the promise has expired.
    pub fn is_expired(&self) -> bool {
        self.certificate.claim.receipt.is_expired(now())
    }
}

/// The time by a right clock, in seconds since 1970.
fn now() -> u64 {
    node::BEGINNING + node::elapsed().as_secs()
}

/// Reads what a process holds for requests in progress.
#[derive(Debug)]
pub enum Gauge {
    Server(ServerGauge),
    Replica(ReplicaGauge),
}

impl Gauge {
    /// What the process holds, if anything.
    fn read(&self) -> Option<String> {
        match self {
            Self::Server(gauge) => {
                gauge.read().filter(|load| *load != ServerLoad::default()).map(|load| format!("{load:?}"))
            }
            Self::Replica(gauge) => {
                gauge.read().filter(|load| *load != ReplicaLoad::default()).map(|load| format!("{load:?}"))
            }
        }
    }
}

/// The knowledge of a run.
#[derive(Debug)]
pub struct Known {
    pub shape: Shape,
    pub is_repeat: bool,
    pub disks: Vec<SimulatedDisk>,
    pub committees: Committees,
    /// When a change that leads to an epoch was first approved, by that epoch.
    approved: BTreeMap<u64, Duration>,
    /// Verified certificates, by their encoding, and the aggregate signatures of the latest ones: pairings cost most of a run's time.
    verified: BTreeSet<Vec<u8>>,
    aggregates: VerifiedAggregates,
    pub promises: Vec<Promise>,
    pub failures: u64,
    /// When a blob was last spoiled at a replica.
    pub spoiled: BTreeMap<(Node, Digest), Duration>,
    /// When a blob was spoiled everywhere.
    pub ruined: BTreeMap<Digest, Duration>,
    /// Certificates of blobs that were spoiled everywhere.
    pub ruined_certificates: Vec<Certificate>,
    /// Blobs that a client puts next: those that were spoiled everywhere, and those whose upload is to be cut.
    pub to_put: VecDeque<Bytes>,
    /// Blobs that decayed at one replica, and when: their owners renew them.
    decayed: VecDeque<(Duration, Bytes)>,
    /// The latest requested expiry, by blob.
    pub asked_expiry: BTreeMap<Digest, u64>,
    pub liar_key: Option<String>,
    /// Replicas that started with a wrong clock and have not learned it yet. [`SETTLING`](crate::servers::SETTLING) gives them time to
    /// learn it from the others: in a real cluster a day, and here less than an outage.
    pub unaware: BTreeSet<Node>,
    /// Servers that know the committee.
    pub serving: BTreeSet<Node>,
    /// When the lying server last proposed a statement of this time about a blob to a replica, in seconds since 1970.
    pub proposed_by_liar: BTreeMap<(Node, u64, Digest), u64>,
    /// Gauges of the processes that run, or ran last.
    pub gauges: BTreeMap<Node, Gauge>,
    pub log: KnownLog,
    violation: Option<String>,
}

/// Checks the rules. Clones share their knowledge.
#[derive(Debug, Clone)]
pub struct Checker(Arc<Mutex<Known>>);

impl Checker {
    /// `is_repeat`: the run was made before. Checks that do not change the run are skipped.
    pub fn new(shape: Shape, is_repeat: bool) -> Self {
        Self(Arc::new(Mutex::new(Known {
            shape,
            is_repeat,
            disks: Vec::new(),
            committees: Committees::default(),
            approved: BTreeMap::new(),
            verified: BTreeSet::new(),
            aggregates: VerifiedAggregates::default(),
            promises: Vec::new(),
            failures: 0,
            spoiled: BTreeMap::new(),
            ruined: BTreeMap::new(),
            ruined_certificates: Vec::new(),
            to_put: VecDeque::new(),
            decayed: VecDeque::new(),
            asked_expiry: BTreeMap::new(),
            liar_key: None,
            unaware: BTreeSet::new(),
            serving: BTreeSet::new(),
            proposed_by_liar: BTreeMap::new(),
            gauges: BTreeMap::new(),
            log: KnownLog::default(),
            violation: None,
        })))
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a blob has just decayed at a replica.
    pub fn decayed(&self, node: Node, promise: Promise) {
        let mut known = self.known();
        known.spoiled.insert((node, promise.digest()), node::elapsed());
        known.decayed.push_back((node::elapsed(), promise.bytes));
    }

    /// A blob that decayed so long ago that its replica must notice. A replica need not read again what it read shortly before.
    pub fn take_decayed(&self) -> Option<Bytes> {
        let mut known = self.known();
        let is_due = known.decayed.front().is_some_and(|(at, _)| *at + DECAY_COUNTS_AFTER < node::elapsed());
        if is_due { known.decayed.pop_front().map(|(_, bytes)| bytes) } else { None }
    }

    /// Notes that a rule is broken. The first one counts.
    pub fn broken(&self, rule: Rule, what: std::fmt::Arguments<'_>) {
        self.known().violation.get_or_insert_with(|| format!("{rule:?}: {what}"));
    }

    /// # Panics
    /// A rule was broken.
    pub fn assert_holds(&self) {
        let violation = self.known().violation.clone();
        if let Some(violation) = violation {
            panic!("{violation}");
        }
    }

    /// What the processes hold for requests in progress, by node.
    pub fn held(&self) -> Vec<(Node, String)> {
        let known = self.known();
        known.gauges.iter().filter_map(|(node, gauge)| Some((*node, gauge.read()?))).collect()
    }

    pub fn promises(&self) -> Vec<Promise> {
        self.known().promises.clone()
    }

    /// Every certificate that a client received.
    pub fn certificates(&self) -> Vec<Certificate> {
        let known = self.known();
        let promises = known.promises.iter().map(|promise| &promise.certificate);
        promises.chain(&known.ruined_certificates).cloned().collect()
    }

    /// Checks what a node reports about foundings.
    pub fn founding_reported(&self, node: Node, text: &str) {
        let liar = self.known().liar_key.clone();
        if text.contains("is faulty") && liar.is_none_or(|liar| !text.contains(&liar)) {
            self.broken(Rule::OneCommittee, format_args!("{text}"));
        }
        // no run removes that file
        if text.contains("before it lost its `founding` file") {
            self.broken(Rule::AcceptanceSaved, format_args!("{node} says: {text}"));
        }
        let accepted = text.strip_prefix("accepted the founding of a committee of ");
        if let Some(digest) = accepted.and_then(|rest| rest.split([' ', ';']).nth(1)) {
            self.check_acceptance(node, digest);
        }
    }

    /// Checks a replica that is about to answer that it accepted a founding.
    fn check_acceptance(&self, node: Node, digest: &str) {
        let path = Path::new(FOLDER).join("founding");
        let disk = self.known().disks[node].durable_part(|of| of == path);
        let saved = disk.read(&path, 1 << 20).map(|(bytes, _)| bytes).unwrap_or_default();
        if accepted_founding(&saved).is_none_or(|saved| saved.to_string() != digest) {
            self.broken(Rule::AcceptanceSaved, format_args!("{node} would forget that it accepted {digest}"));
        }
    }

    /// Checks a replica that has deleted expired blobs.
    pub fn collected(&self, node: Node) {
        if self.known().unaware.contains(&node) {
            return;
        }
        // A replica that left has nobody to ask for the time: the others keep what it signed for.
        if !self.committees().members().contains(&node) {
            return;
        }
        let (committees, store) = (self.committees(), open(self.known().disks[node].after_kill()));
        for promise in self.promises().iter().filter(|promise| !promise.is_expired()) {
            let digest = promise.digest();
            if committees.signers(&promise.certificate).contains(&node)
                && self.must_hold(node, digest, promise.certificate.claim.issued_at)
                && store.length_of(&digest).ok().flatten().is_none()
            {
                self.broken(Rule::KeptUntilExpiry, format_args!("{node} deleted {digest}, which it has to keep"));
            }
        }
    }

    /// Checks a certificate that a server is about to send.
    pub fn certified(&self, server: Node, certificate: &Certificate) {
        if self.known().is_repeat {
            return;
        }
        let receipt = certificate.claim.receipt;
        let Some(committee) = self.committees().signing(certificate) else {
            return self.broken(Rule::OneCommittee, format_args!("a certificate by no committee"));
        };
        if !self.is_genuine(certificate, &committee) {
            return;
        }
        let (signers, n) = (usize::from(certificate.signers.count()), usize::from(committee.record().n()));
        let expected = n - tolerated(n);
        if signers < expected {
            self.broken(Rule::Genuine, format_args!("expected {expected} signers, got {signers}"));
        }
        if !self.has_saved(server, receipt.digest) {
            self.broken(Rule::Saved, format_args!("server {server} would lose the certificate for {}", receipt.digest));
        }
    }

    /// Whether a certificate verifies. If not, a rule is broken.
    pub fn is_genuine(&self, certificate: &Certificate, committee: &Committee) -> bool {
        let encoding = certificate.encode();
        let StoredClaim { issued_at, receipt, .. } = &certificate.claim;
        let subject = Subject { digest: receipt.digest, length: Some(receipt.length) };
        let result = {
            let known = &mut *self.known();
            if known.is_repeat || known.verified.contains(&encoding) {
                return true;
            }
            verify_certificate_of_batch(certificate, committee, &subject, *issued_at, &mut known.aggregates)
        };
        match result {
            Ok(()) => self.known().verified.insert(encoding),
            Err(error) => {
                self.broken(Rule::Genuine, format_args!("{error}"));
                false
            }
        }
    }

    /// Checks a vote that is about to leave a replica: the statement and each of its blobs are durable there.
    pub fn voted(&self, node: Node, issued_at: u64, receipts: &[Receipt]) {
        if self.known().is_repeat {
            return;
        }
        let digests: BTreeSet<Digest> = receipts.iter().map(|receipt| receipt.digest).collect();
        let obliges = |digest: &&Digest| {
            let asked = self.known().proposed_by_liar.get(&(node, issued_at, **digest)).copied().unwrap_or(issued_at);
            self.must_hold(node, **digest, asked)
        };
        let digests: BTreeSet<Digest> = digests.iter().filter(obliges).copied().collect();
        let Some(batch) = Batch::new(issued_at, receipts.to_vec()).filter(|_| !digests.is_empty()) else { return };
        let store = self.store_of(node, &digests);
        for digest in digests {
            self.check_held(node, &store, digest, Rule::VoteHolds);
        }
        let signed = store.signed(Stored::KIND, issued_at).unwrap_or_default();
        let committees = self.committees();
        let is_signed =
            |committee: &Arc<Committee>| signed.contains(&Statement::new(committee.record(), batch.body()).id());
        if !committees.all().any(is_signed) {
            self.broken(Rule::Journalled, format_args!("{node} signed a statement of {issued_at}"));
        }
    }

    /// Checks that a replica that signed for a blob has its bytes in its store.
    pub fn check_held(&self, node: Node, store: &Store, digest: Digest, rule: Rule) {
        if read(store, digest).is_none_or(|bytes| Digest::of(&bytes) != digest) {
            self.broken(rule, format_args!("{node} signed for {digest} and would not have it without power"));
        }
    }

    /// Checks a put that ended with an earlier certificate.
    pub fn check_reused(&self, promise: &Promise) {
        let (shape, digest) = (self.known().shape, promise.digest());
        let members = self.committees().members();
        let honest = members.iter().filter(|node| shape.honest().contains(node));
        let holders = honest.filter(|node| read(&self.store_of(**node, &[digest].into()), digest).is_some()).count();
        // one blob may decay meanwhile, and one replica may lie
        let expected = (members.len() - tolerated(members.len())).saturating_sub(1 + usize::from(shape.lie.is_some()));
        if holders < expected {
            self.broken(Rule::Reused, format_args!("{digest}: expected {expected} holders, got {holders}"));
        }
    }

    /// Whether a signature of this second obliges a replica: the replica is honest, and the blob was not spoiled there since.
    pub fn must_hold(&self, node: Node, digest: Digest, issued_at: u64) -> bool {
        let known = self.known();
        let issued = issued_at.saturating_sub(node::BEGINNING);
        let since = [known.spoiled.get(&(node, digest)), known.ruined.get(&digest)];
        known.shape.honest().contains(&node) && since.iter().flatten().all(|spoiled| spoiled.as_secs() + 1 < issued)
    }
}
