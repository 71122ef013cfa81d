//! One run: a cluster, clients, and everything that goes wrong meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use vouch::client::{self, ClientError, PutLink, StallLimit};
use vouch::host::Host;
use vouch::replica::{self, Data, Replica};
use vouch::server::{self, Server};
use vouch::store::{self, Store};
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::receipt::NEVER;
use vouch_core::tree::Suspended;
use vouch_core::verify::{Subject, verify_certificate};

use crate::network::{Node, Wires};
use crate::node::{self, Machine};
use crate::random::Random;
use crate::simulated::{Names, SimulatedDisk, Writes};
use crate::trace::Trace;

const ADDRESS: &str = "127.0.0.1:9090";
const FOLDER: &str = "/data";
/// The server is node 0, the replicas come next.
const SERVER: Node = 0;
/// How long things go wrong, in virtual seconds.
const TROUBLE: Duration = Duration::from_secs(40);
/// How long a cluster that is whole again may take until it certifies: a replica without others doubts its clock for ten minutes.
const RECOVERY: Duration = Duration::from_secs(900);
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// What somebody was promised.
#[derive(Debug, Clone)]
struct Promise {
    bytes: Bytes,
    certificate: Certificate,
    /// When the client had it.
    at: Duration,
}

/// What the clients know, together.
#[derive(Debug, Default)]
struct Known {
    committee: Option<Arc<Committee>>,
    promises: Vec<Promise>,
    failures: u64,
}

/// A cluster under a seed.
pub struct World {
    seed: u64,
    random: Random,
    trace: Trace,
    wires: Wires,
    /// The server and the replicas, then a machine for each client.
    machines: Vec<Machine>,
    running: BTreeSet<Node>,
    replicas: usize,
    /// A replica whose disk spoils what it holds, and when it did last.
    spoiling: Node,
    spoiled: Duration,
    known: Arc<Mutex<Known>>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of everything that happened.
    pub trace: blake3::Hash,
    /// Puts that were certified, and those that failed by name.
    pub certified: usize,
    pub failed: u64,
}

const CLIENTS: usize = 2;

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        node::begin();
        let mut random = Random::new(seed, 0);
        let replicas = match random.within(0..8) {
            0 => 1,
            1 => 7,
            _ => 4,
        };
        let wires = Wires::new(Random::new(seed, 1), trace.clone());
        let machines = (0..=replicas + CLIENTS).map(Machine::new).collect();
        let spoiling = 1 + random.index(replicas);
        Self {
            seed,
            random,
            trace,
            wires,
            machines,
            running: BTreeSet::new(),
            replicas,
            spoiling,
            spoiled: Duration::ZERO,
            known: Arc::default(),
        }
    }

    /// Lets everything happen, and holds it against what was promised.
    ///
    /// # Panics
    /// When a promise was broken.
    pub async fn run(mut self) -> Outcome {
        self.start(SERVER);
        for node in 1..=self.replicas {
            self.start(node);
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let node = 1 + self.replicas + number;
                let host = self.machines[node].start(self.seed, &self.wires);
                let random = Random::new(self.seed, 100 + number as u64);
                tokio::spawn(use_cluster(host, random, self.trace.clone(), self.known.clone()))
            })
            .collect();
        while node::elapsed() < TROUBLE {
            let pause = self.random.within(50..3_000);
            sleep(Duration::from_millis(pause)).await;
            self.trouble();
            if self.random.one_in(4) {
                self.check_a_promise();
            }
        }
        for client in clients {
            client.abort();
            // one that panicked says why
            if let Err(error) = client.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.heal();
        self.check_recovery().await;
        self.check_repair().await;
        self.check_without_some().await;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Outcome { trace: self.trace.hash(), certified: known.promises.len(), failed: known.failures }
    }

    fn promises(&self) -> Vec<Promise> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).promises.clone()
    }

    fn tolerated(&self) -> usize {
        (self.replicas - 1) / 3
    }

    fn start(&mut self, node: Node) {
        let host = self.machines[node].start(self.seed, &self.wires);
        let trace = self.trace.clone();
        trace.note(format_args!("start {node}"));
        let starting = host.clone();
        let replicas = u16::try_from(self.replicas).unwrap_or(1);
        // a start that fails is tried again, as a supervisor does
        host.spawn(async move {
            loop {
                let said = trace.clone();
                let ended = match node {
                    SERVER => serve(&starting, replicas, said).await,
                    _ => replicate(&starting, node, said).await,
                };
                trace.note(format_args!("{node} ended: {ended}"));
                starting.sleep(Duration::from_secs(1)).await;
            }
        });
        self.running.insert(node);
    }

    /// Its process ends, or its machine loses power.
    fn stop(&mut self, node: Node, loses_power: bool) {
        self.trace.note(format_args!("stop {node}{}", if loses_power { ", without power" } else { "" }));
        let seed = self.random.next();
        let names = if self.random.one_in(2) { Names::Lost } else { Names::Kept };
        self.wires.gone(node, loses_power);
        let machine = &mut self.machines[node];
        machine.disk = match loses_power {
            true => machine.disk.after_power_cut(Writes::Mixed(seed), names),
            false => machine.disk.after_kill(),
        };
        machine.abort();
        self.running.remove(&node);
    }

    fn is_up(&self, node: Node) -> bool {
        self.running.contains(&node)
    }

    /// Something goes wrong, or right again.
    fn trouble(&mut self) {
        let down = (1..=self.replicas).filter(|node| !self.is_up(*node)).count();
        let node = 1 + self.random.index(self.replicas);
        match self.random.within(0..13) {
            0..=2 if !self.is_up(node) => self.start(node),
            0..=2 if down < self.tolerated() || self.random.one_in(8) => {
                let loses_power = self.random.one_in(2);
                self.stop(node, loses_power);
            }
            3 if self.is_up(SERVER) => {
                let loses_power = self.random.one_in(2);
                self.stop(SERVER, loses_power);
            }
            3..=4 if !self.is_up(SERVER) => self.start(SERVER),
            5 => {
                self.trace.note(format_args!("cut {node} from the server"));
                self.wires.cut(node, SERVER);
                if self.random.one_in(2) {
                    self.wires.cut(SERVER, node);
                }
            }
            6 => {
                self.trace.note(format_args!("cut the server from {node}"));
                self.wires.cut(SERVER, node);
            }
            7 => {
                self.trace.note(format_args!("reset {node}"));
                let other = if self.random.one_in(3) { 1 + self.replicas } else { node };
                self.wires.reset(SERVER, other);
            }
            8 => {
                let milliseconds = self.random.within(10..4_000);
                self.trace.note(format_args!("slow {node}: {milliseconds}"));
                self.wires.slow(node, milliseconds);
            }
            9 => {
                let seconds = [-4_000, -90, -5, 0, 5, 90, 4_000][self.random.index(7)];
                self.trace.note(format_args!("clock of {node}: {seconds}"));
                self.machines[node].set_clock_off(seconds);
            }
            10 if self.random.one_in(3) => {
                let free = if self.random.one_in(2) { 1 << 20 } else { 1 << 40 };
                self.trace.note(format_args!("space of {node}: {free}"));
                self.machines[node].disk.set_space(free, 1 << 40);
            }
            11 if self.tolerated() > 0 => self.spoil(),
            _ => {
                self.trace.note(format_args!("mend"));
                self.wires.mend();
            }
        }
    }

    /// A byte of a large blob is another one now.
    fn spoil(&mut self) {
        let disk = &self.machines[self.spoiling].disk;
        let mut files = disk.files_below(&Path::new(FOLDER).join("blobs"));
        files.retain(|path| path.extension().is_none() && path.file_name().is_some_and(|name| name != "store-id"));
        if files.is_empty() {
            return;
        }
        let path = &files[self.random.index(files.len())];
        let mut bytes = disk.bytes(path);
        let Some(last) = bytes.last_mut() else { return };
        *last ^= 1;
        disk.overwrite(path, &bytes);
        self.trace.note(format_args!("spoil {}", path.display()));
        self.spoiled = node::elapsed();
    }

    /// Everything is right again.
    fn heal(&mut self) {
        self.trace.note(format_args!("heal"));
        self.wires.mend();
        for node in 0..=self.replicas {
            self.machines[node].set_clock_off(0);
            self.machines[node].disk.set_space(1 << 40, 1 << 40);
            if !self.is_up(node) {
                self.start(node);
            }
        }
    }

    /// Whoever signed has the bytes, durably.
    ///
    /// # Panics
    /// When a signer lost them.
    fn check_a_promise(&mut self) {
        let promises = self.promises();
        if promises.is_empty() {
            return;
        }
        let number = self.random.index(promises.len());
        let (Some(promise), Some(committee)) = (promises.get(number), self.committee()) else { return };
        let signers: Vec<u16> = promise.certificate.signers.iter().collect();
        let signer = signers[self.random.index(signers.len())];
        let node = self.node_of(&committee, signer);
        if node == self.spoiling && promise.at <= self.spoiled {
            return;
        }
        let held = self.held_after_power_cut(node, promise.certificate.claim.receipt.digest);
        assert!(
            held.as_deref() == Some(&promise.bytes[..]),
            "node {node} signed for {} and would not have it after a loss of power",
            promise.certificate.claim.receipt.digest
        );
    }

    fn committee(&self) -> Option<Arc<Committee>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).committee.clone()
    }

    /// The node of a member, by its name.
    fn node_of(&self, committee: &Committee, member: u16) -> Node {
        let name = committee.record().name(member);
        name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("names are node-N")
    }

    fn held_after_power_cut(&self, node: Node, digest: Digest) -> Option<Vec<u8>> {
        let disk = self.machines[node].disk.after_power_cut(Writes::Lost, Names::Lost);
        read(&open(disk), digest)
    }

    /// Everybody fetches what it missed.
    ///
    /// # Panics
    /// When a member still lacks something in the end.
    async fn check_repair(&mut self) {
        let promises = self.promises();
        let mut lacking = Vec::new();
        for _ in 0..10 {
            sleep(RECOVERY / 10).await;
            lacking.clear();
            for node in (1..=self.replicas).filter(|node| *node != self.spoiling) {
                let store = open(self.machines[node].disk.after_kill());
                let lacks = promises.iter().map(|promise| promise.certificate.claim.receipt.digest);
                lacking.extend(lacks.filter(|digest| read(&store, *digest).is_none()).map(|digest| (node, digest)));
            }
            if lacking.is_empty() {
                return;
            }
            self.trace.note(format_args!("{} are lacking", lacking.len()));
        }
        panic!("never fetched, by node: {lacking:?}");
    }

    /// A put is certified again, in time.
    ///
    /// # Panics
    /// When none is.
    async fn check_recovery(&mut self) {
        let node = 1 + self.replicas;
        let host = self.machines[node].start(self.seed, &self.wires);
        let bytes = Bytes::from(format!("after all of {}", self.seed));
        let trusted = self.committee().map(|committee| committee.cluster());
        let certified =
            until_recovered(&self.trace, async || put(&host, trusted, bytes.clone(), false, &mut None).await);
        let (promise, committee) = certified.await.expect("a cluster that is whole again certifies");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.committee.get_or_insert(committee);
        known.promises.push(promise);
    }

    /// A blob that was certified comes back byte for byte.
    ///
    /// # Panics
    /// When it does not.
    async fn check_readable(&mut self, promise: &Promise) {
        let host = self.machines[1 + self.replicas].start(self.seed, &self.wires);
        let trusted = self.committee().map(|committee| committee.cluster());
        let digest = promise.certificate.claim.receipt.digest;
        let got = until_recovered(&self.trace, async || get(&host, trusted, digest).await);
        let got = got.await.unwrap_or_else(|| panic!("{digest} was certified and cannot be had"));
        assert!(got == promise.bytes, "{digest}: other bytes");
    }

    /// As many as may fail lose their power: everything that was certified is there all the same.
    async fn check_without_some(&mut self) {
        for _ in 0..self.tolerated() {
            let up: Vec<Node> = (1..=self.replicas).filter(|node| self.is_up(*node)).collect();
            let node = up[self.random.index(up.len())];
            self.stop(node, true);
        }
        for promise in self.promises() {
            self.check_readable(&promise).await;
        }
    }
}

/// Tries again and again for as long as a recovery may take.
async fn until_recovered<T>(trace: &Trace, attempt: impl AsyncFn() -> Result<T, ClientError>) -> Option<T> {
    let attempts = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => {
                    trace.note(format_args!("not yet: {error}"));
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    };
    timeout(RECOVERY, attempts).await.ok()
}

/// The store on a disk.
///
/// # Panics
/// When it does not open, which it does whatever was lost.
fn open(disk: SimulatedDisk) -> Store {
    let store = Store::open(&Host::on_disk(Arc::new(disk)), Path::new(FOLDER), &store::Config::default());
    store.expect("a store opens after a loss of power")
}

/// All of a blob, if it is held and right.
fn read(store: &Store, digest: Digest) -> Option<Vec<u8>> {
    let length = store.length_of(&digest).ok()??;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let (from, most) = (bytes.len() as u64, 256 << 10);
        let wanted = u32::try_from((length - from).min(most)).ok()?;
        bytes.extend_from_slice(&store.read(&digest, from, wanted).ok()?.bytes);
    }
    Some(bytes)
}

async fn serve(host: &Host, replicas: u16, trace: Trace) -> String {
    let mut config = server::Config::new(PathBuf::from(FOLDER));
    config.told.replicas = Some(replicas);
    // so that what is never given back is missed soon
    config.replica_queue = 4;
    let reporter = move |event: server::Event| trace.note(format_args!("server: {event:?}"));
    let server = match Server::open(host.clone(), config, Arc::new(reporter)) {
        Ok(server) => server,
        Err(error) => return error.to_string(),
    };
    let listener = match host.listen(ADDRESS).await {
        Ok(listener) => listener,
        Err(error) => return error.to_string(),
    };
    match server.run(listener, std::future::pending()).await {
        Ok(()) => "done".into(),
        Err(error) => error.to_string(),
    }
}

async fn replicate(host: &Host, node: Node, trace: Trace) -> String {
    let mut config = replica::Config::new(Data::Folder(FOLDER.into()), vec![ADDRESS.into()]);
    config.name = Some(format!("node-{node}"));
    config.max_incoming = 16;
    config.store.partials.checkpoint = 1;
    let reporter = move |event: replica::Event| trace.note(format_args!("{node}: {event:?}"));
    match Replica::open(host.clone(), config, Arc::new(reporter)) {
        Ok(replica) => {
            replica.run(std::future::pending()).await;
            "done".into()
        }
        Err(error) => error.to_string(),
    }
}

/// Puts and gets, for as long as nobody ends it.
async fn use_cluster(host: Host, mut random: Random, trace: Trace, known: Arc<Mutex<Known>>) {
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut link, mut again) = (None, None);
    for number in 0_u64.. {
        host.sleep(Duration::from_millis(random.within(10..2_000))).await;
        let (trusted, promises) = {
            let known = lock();
            (known.committee.as_ref().map(|committee| committee.cluster()), known.promises.clone())
        };
        if !promises.is_empty() && random.one_in(3) {
            let promise = &promises[random.index(promises.len())];
            match get(&host, trusted, promise.certificate.claim.receipt.digest).await {
                Ok(bytes) => assert!(bytes == promise.bytes, "other bytes"),
                Err(error) => trace.note(format_args!("get: {error}")),
            }
            continue;
        }
        let renewed = promises.last().filter(|_| random.one_in(5)).map(|promise| promise.bytes.clone());
        let renew = renewed.is_some();
        // what failed is put again, most of the time, and goes on where it stopped
        let bytes: Bytes = renewed.or_else(|| again.take().filter(|_| !random.one_in(4))).unwrap_or_else(|| {
            let mut bytes = vec![0; usize::try_from(size(&mut random)).unwrap_or(0)];
            random.fill(&mut bytes);
            bytes.into()
        });
        match timeout(Duration::from_secs(120), put(&host, trusted, bytes.clone(), renew, &mut link)).await {
            Ok(Ok((promise, committee))) => {
                trace.note(format_args!("put {number}: {}", promise.certificate.claim.receipt.digest));
                let mut known = lock();
                let first = known.committee.get_or_insert_with(|| committee.clone());
                assert_eq!(first.cluster(), committee.cluster(), "two clusters");
                known.promises.push(promise);
            }
            Ok(Err(error)) => {
                trace.note(format_args!("put {number}: {error}"));
                lock().failures += 1;
                again = Some(bytes);
            }
            Err(_) => panic!("put {number} has no end"),
        }
    }
}

/// Mostly small blobs, sometimes one of several blocks.
fn size(random: &mut Random) -> u64 {
    match random.within(0..6) {
        0 => random.within(0..3),
        1 => random.within(60 << 10..70 << 10),
        2..=3 => random.within(100 << 10..1_500 << 10),
        _ => random.within(1..5_000),
    }
}

/// Puts over a link that is open, or a new one.
async fn put(
    host: &Host,
    trusted: Option<ClusterId>,
    bytes: Bytes,
    renew: bool,
    kept: &mut Option<PutLink>,
) -> Result<(Promise, Arc<Committee>), ClientError> {
    let link = match kept.take().filter(|link| !link.is_closed()) {
        Some(link) => link,
        None => PutLink::open_with(host, ADDRESS, trusted, StallLimit::new(Duration::from_secs(30))).await?,
    };
    let link = kept.insert(link);
    let certified = link.put_bytes(bytes.clone(), NEVER, renew).await?;
    let certificate = certified.certificate;
    let subject = Subject { digest: Digest::of(&bytes), length: Some(bytes.len() as u64) };
    verify_certificate(&certificate, &certified.committee, &subject, host.unix_seconds(), false)
        .expect("a client takes no certificate that does not verify");
    Ok((Promise { bytes, certificate, at: node::elapsed() }, certified.committee))
}

async fn get(host: &Host, trusted: Option<ClusterId>, digest: Digest) -> Result<Vec<u8>, ClientError> {
    let (server, held, retry) = (ADDRESS.into(), Suspended::default(), Duration::from_secs(5));
    let request = client::Get { server, trusted, digest, length: None, range: None, held, retry };
    let mut bytes = Vec::new();
    client::get(host, request, &mut bytes, drop).await?;
    Ok(bytes)
}
