//! What must hold in a run, and what everybody in it knows. The first rule that is broken ends the run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redb::ReadableDatabase;
use vouch::host::Host;
use vouch::host::disk::Disk;
use vouch::store::{self, Store};
use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::digest::{CommitteeDigest, Digest};
use vouch_core::limits::Limits;
use vouch_core::statement::{Body, Stored, StoredClaim};
use vouch_core::verify::{Subject, verify_certificate};

use crate::network::Node;
use crate::node;
use crate::plan::Shape;
use crate::simulated::SimulatedDisk;

pub const FOLDER: &str = "/data";

/// A rule. Its name is what people read in the table of bugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Every certificate verifies, and has n − f signers.
    Genuine,
    /// A signer has the bytes that it signed for, durably, when the certificate is made and later.
    SignerHolds,
    /// A signer's journal has what it signed.
    Journalled,
    /// Nobody votes for what it does not have, whatever a server proposes.
    VoteHolds,
    /// A server has saved a certificate before anybody hears of it.
    Saved,
    /// An earlier certificate is given again only while the committee holds the blob.
    Reused,
    /// A certified blob comes back byte for byte, with f replicas down.
    Readable,
    /// Every replica gets what was certified without it.
    Repaired,
    /// There is one committee, and no honest replica is shown to have accepted two.
    OneCommittee,
    /// A replica has saved the founding that it accepted before anybody hears of it, and never forgets it.
    AcceptanceSaved,
    /// A blob that a replica signed for stays until its expiry, by clocks that are right.
    KeptUntilExpiry,
    /// What has expired is deleted.
    Collected,
    /// What was said on one link opens no other.
    NotReplayed,
    /// A put ends with a certificate or a named error, and nobody honest breaks the protocol.
    NamedEnd,
    /// A cluster that is whole again has given back what was held: it certifies as many puts at once as its limits allow.
    NothingHeld,
}

/// What somebody was promised.
#[derive(Debug, Clone)]
pub struct Promise {
    pub bytes: Bytes,
    pub certificate: Certificate,
    /// When its put began.
    pub began: Duration,
}

impl Promise {
    pub fn digest(&self) -> Digest {
        self.certificate.claim.receipt.digest
    }

    /// Whether nobody has to keep the blob for this promise any more.
    pub fn is_expired(&self) -> bool {
        self.certificate.claim.receipt.is_expired(now())
    }
}

/// The time by a clock that is right.
fn now() -> u64 {
    node::BEGINNING + node::elapsed().as_secs()
}

/// What is known in a run.
#[derive(Debug)]
pub struct Known {
    pub shape: Shape,
    pub disks: Vec<SimulatedDisk>,
    pub committee: Option<Arc<Committee>>,
    /// Certificates that were verified, by their encoding: a pairing is what costs most in a run.
    verified: BTreeSet<Vec<u8>>,
    pub promises: Vec<Promise>,
    pub failures: u64,
    /// When a blob was last spoiled at a replica.
    pub spoiled: BTreeMap<(Node, Digest), Duration>,
    /// When a blob was spoiled everywhere.
    pub ruined: BTreeMap<Digest, Duration>,
    /// Certificates of those blobs.
    pub ruined_certificates: Vec<Certificate>,
    /// Ruined blobs, which their owners put again.
    pub put_again: VecDeque<Bytes>,
    /// Blobs that decayed at one replica: somebody wants a new certificate of them.
    pub renew: VecDeque<Bytes>,
    /// The latest expiry that anybody asked for, by blob.
    pub asked_expiry: BTreeMap<Digest, u64>,
    pub liar_key: Option<String>,
    violation: Option<String>,
}

/// Clones are the same.
#[derive(Debug, Clone)]
pub struct Checker(Arc<Mutex<Known>>);

impl Checker {
    pub fn new(shape: Shape) -> Self {
        Self(Arc::new(Mutex::new(Known {
            shape,
            disks: Vec::new(),
            committee: None,
            verified: BTreeSet::new(),
            promises: Vec::new(),
            failures: 0,
            spoiled: BTreeMap::new(),
            ruined: BTreeMap::new(),
            ruined_certificates: Vec::new(),
            put_again: VecDeque::new(),
            renew: VecDeque::new(),
            asked_expiry: BTreeMap::new(),
            liar_key: None,
            violation: None,
        })))
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a rule is broken; the first one counts.
    pub fn broken(&self, rule: Rule, what: std::fmt::Arguments<'_>) {
        self.known().violation.get_or_insert_with(|| format!("{rule:?}: {what}"));
    }

    /// # Panics
    /// When a rule was broken.
    pub fn assert_holds(&self) {
        let violation = self.known().violation.clone();
        if let Some(violation) = violation {
            panic!("{violation}");
        }
    }

    pub fn promises(&self) -> Vec<Promise> {
        self.known().promises.clone()
    }

    /// Somebody has taken up a committee.
    pub fn founded(&self, committee: &Arc<Committee>) {
        let first = self.known().committee.get_or_insert_with(|| committee.clone()).cluster();
        if first != committee.cluster() {
            self.broken(Rule::OneCommittee, format_args!("{first} and {}", committee.cluster()));
        }
    }

    /// A node told its operator this about foundings.
    pub fn said_of_founding(&self, node: Node, text: &str) {
        let liar = self.known().liar_key.clone();
        if text.contains("is faulty") && liar.is_none_or(|liar| !text.contains(&liar)) {
            self.broken(Rule::OneCommittee, format_args!("{text}"));
        }
        // no run takes that file away
        if text.contains("before it lost its `founding` file") {
            self.broken(Rule::AcceptanceSaved, format_args!("{node} says: {text}"));
        }
        let accepted = text.strip_prefix("accepted the founding of a committee of ");
        if let Some(digest) = accepted.and_then(|rest| rest.split([' ', ';']).nth(1)) {
            self.check_acceptance(node, digest);
        }
    }

    /// A replica is about to answer that it accepted a founding.
    fn check_acceptance(&self, node: Node, digest: &str) {
        let path = Path::new(FOLDER).join("founding");
        let disk = self.known().disks[node].durable_part(|of| of == path);
        let saved = disk.read(&path, 1 << 20).map(|(bytes, _)| bytes).unwrap_or_default();
        if accepted_founding(&saved).is_none_or(|saved| saved.to_string() != digest) {
            self.broken(Rule::AcceptanceSaved, format_args!("{node} would forget that it accepted {digest}"));
        }
    }

    /// A replica deleted blobs that expired by its clock.
    pub fn collected(&self, node: Node) {
        let Some(committee) = self.known().committee.clone() else { return };
        let store = open(self.known().disks[node].after_kill());
        for promise in self.promises().iter().filter(|promise| !promise.is_expired()) {
            let mut signers = promise.certificate.signers.iter().map(|signer| node_of(&committee, signer));
            let digest = promise.digest();
            if signers.any(|signer| signer == node)
                && self.must_hold(node, digest, promise.certificate.claim.issued_at)
                && store.length_of(&digest).ok().flatten().is_none()
            {
                self.broken(Rule::KeptUntilExpiry, format_args!("{node} deleted {digest}, which it has to keep"));
            }
        }
    }

    /// A server made a certificate, and is about to tell people.
    pub fn certified(&self, server: Node, certificate: &Certificate) {
        let receipt = certificate.claim.receipt;
        let (shape, committee) = {
            let known = self.known();
            (known.shape, known.committee.clone())
        };
        let Some(committee) = committee else {
            return self.broken(Rule::OneCommittee, format_args!("a certificate by no committee"));
        };
        if !self.is_genuine(certificate, &committee) {
            return;
        }
        let (signers, expected) = (usize::from(certificate.signers.count()), shape.replicas - shape.tolerated());
        if signers < expected {
            self.broken(Rule::Genuine, format_args!("expected {expected} signers, got {signers}"));
        }
        if !self.has_saved(server, receipt.digest) {
            self.broken(Rule::Saved, format_args!("server {server} would lose the certificate for {}", receipt.digest));
        }
        // one of them, for each costs the opening of a store; another one for another certificate
        let signers: Vec<u16> = certificate.signers.iter().collect();
        let is_spoiled = |signer: &u16| {
            let node = node_of(&committee, *signer);
            self.known().spoiled.contains_key(&(node, receipt.digest))
        };
        let pick = signers[usize::from(receipt.salt[0]) % signers.len()];
        let pick = signers.iter().copied().find(is_spoiled).unwrap_or(pick);
        self.check_signer(&committee, certificate, pick);
    }

    /// Whether a certificate verifies; it is a broken rule if not.
    pub fn is_genuine(&self, certificate: &Certificate, committee: &Committee) -> bool {
        let encoding = certificate.encode();
        if self.known().verified.contains(&encoding) {
            return true;
        }
        let StoredClaim { issued_at, receipt, .. } = &certificate.claim;
        let subject = Subject { digest: receipt.digest, length: Some(receipt.length) };
        match verify_certificate(certificate, committee, &subject, *issued_at, true) {
            Ok(_) => self.known().verified.insert(encoding),
            Err(error) => {
                self.broken(Rule::Genuine, format_args!("{error}"));
                false
            }
        }
    }

    /// A signer of a new certificate has what it signed for, durably, and the statement in its journal.
    fn check_signer(&self, committee: &Committee, certificate: &Certificate, signer: u16) {
        let node = node_of(committee, signer);
        let receipt = certificate.claim.receipt;
        if !self.must_hold(node, receipt.digest, certificate.claim.issued_at) {
            return;
        }
        let store = self.store_of(node, receipt.digest);
        self.check_held(node, &store, receipt.digest, Rule::SignerHolds);
        if let Some(statement) = certificate.statement(committee.record()) {
            let signed = store.signed(Stored::KIND, certificate.claim.issued_at).unwrap_or_default();
            if !signed.contains(&statement.id()) {
                self.broken(Rule::Journalled, format_args!("{node} signed {:?}", statement.id()));
            }
        }
    }

    /// A replica voted for a blob just now; a server proposed it at a time.
    pub fn voted(&self, node: Node, digest: Digest, proposed: Duration) {
        if !self.must_hold(node, digest, node::BEGINNING + proposed.as_secs()) {
            return;
        }
        self.check_held(node, &self.store_of(node, digest), digest, Rule::VoteHolds);
    }

    /// A replica that signed for a blob has its bytes in its store.
    pub fn check_held(&self, node: Node, store: &Store, digest: Digest, rule: Rule) {
        if read(store, digest).is_none_or(|bytes| Digest::of(&bytes) != digest) {
            self.broken(rule, format_args!("{node} signed for {digest} and would not have it without power"));
        }
    }

    /// A put came to an end with a certificate of before it began.
    pub fn check_reused(&self, promise: &Promise) {
        let (shape, digest) = (self.known().shape, promise.digest());
        let holders = shape.honest().filter(|node| read(&self.store_of(*node, digest), digest).is_some()).count();
        // one may decay meanwhile, and a liar says anything
        let expected = (shape.replicas - shape.tolerated()).saturating_sub(1 + usize::from(shape.lie.is_some()));
        if holders < expected {
            self.broken(Rule::Reused, format_args!("{digest}: expected {expected} holders, got {holders}"));
        }
    }

    /// Whether a signature of this second obliges a replica: it is honest, and the blob was not spoiled there since.
    pub fn must_hold(&self, node: Node, digest: Digest, issued_at: u64) -> bool {
        let known = self.known();
        let issued = issued_at.saturating_sub(node::BEGINNING);
        let since = [known.spoiled.get(&(node, digest)), known.ruined.get(&digest)];
        known.shape.honest().contains(&node) && since.iter().flatten().all(|spoiled| spoiled.as_secs() + 1 < issued)
    }

    /// What a replica's store would be after a loss of power, as far as it has to do with one blob.
    fn store_of(&self, node: Node, digest: Digest) -> Store {
        let blobs = Path::new(FOLDER).join("blobs");
        let name = digest.to_hex();
        let disk = self.known().disks[node].durable_part(|path| {
            let is_its = path.file_stem().is_some_and(|stem| stem == name.as_str());
            is_its || !path.starts_with(&blobs) || path.file_name().is_some_and(|name| name == "store-id")
        });
        open(disk)
    }

    fn has_saved(&self, server: Node, digest: Digest) -> bool {
        const CERTIFICATES: redb::TableDefinition<'_, &[u8; 32], &[u8]> = redb::TableDefinition::new("certificates");
        let path = Path::new(FOLDER).join("certificates.redb");
        let disk = self.known().disks[server].durable_part(|of| of == path);
        let has = || {
            let backend = disk.open_database(&path).ok()?;
            let database = redb::Builder::new().set_cache_size(1 << 20).create_with_backend(Backend(backend)).ok()?;
            let transaction = database.begin_read().ok()?;
            let table = transaction.open_table(CERTIFICATES).ok()?;
            table.get(&digest.0).ok()?.map(drop)
        };
        has().is_some()
    }
}

/// The founding that a replica accepted, by the bytes of its `founding` file. They are not verified, which takes pairings.
fn accepted_founding(saved: &[u8]) -> Option<CommitteeDigest> {
    // magic, version, whether there is one, and the length of its genesis committee
    let rest = saved.strip_prefix(b"vouchfd\x01\x01")?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let genesis = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some(CommitteeRecord::decode(genesis, &Limits::default()).ok()?.digest())
}

#[derive(Debug)]
struct Backend(Box<dyn redb::StorageBackend>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// The node of a member, by its name.
pub fn node_of(committee: &Committee, member: u16) -> Node {
    let name = committee.record().name(member);
    name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("names are node-N")
}

/// The store on a disk.
///
/// # Panics
/// When it does not open, which it does whatever was lost.
pub fn open(disk: SimulatedDisk) -> Store {
    let store = Store::open(&Host::on_disk(Arc::new(disk)), Path::new(FOLDER), &store::Config::default());
    store.expect("a store opens after a loss of power")
}

/// All of a blob, if it is held and right.
pub fn read(store: &Store, digest: Digest) -> Option<Vec<u8>> {
    let length = store.length_of(&digest).ok()??;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let (from, most) = (bytes.len() as u64, 256 << 10);
        let wanted = u32::try_from((length - from).min(most)).ok()?;
        bytes.extend_from_slice(&store.read(&digest, from, wanted).ok()?.bytes);
    }
    Some(bytes)
}
