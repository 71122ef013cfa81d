//! Clusters of processes whose committee changes again and again: under continuous puts, and while processes are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::blobs::{content, judge, put_bytes_patiently};
use support::ordered_log::OPS;
use support::processes::Processes;
use support::unix_seconds;
use tokio::time::{Instant, sleep};
use vouch::client::PutLink;
use vouch::client::http::HttpRequest;
use vouch::host::Host;
use vouch_core::bls::VoteSecretKey;
use vouch_core::bundle::Bundle;
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::MemberName;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::link::NodeKey;
use vouch_core::log::Op;
use vouch_core::membership::{AddedMember, CommitteeChange, MembershipOp};
use vouch_core::verify::Verdict;
use vouch_fixture::next_random;

/// Time limit for one handoff. The seal of the epoch before takes three minutes; then members of a busy machine fetch what they missed.
const HANDOFF: Duration = Duration::from_secs(1200);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a put is retried: longer than any change takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a server may take to have an op decided.
const ANSWER: Duration = Duration::from_secs(30);

/// A cluster with an operator, whose key is here.
struct Operated {
    nodes: Processes,
    operator: VoteSecretKey,
    identity: ClusterId,
}

/// A certificate, and what it is for.
type Certified = (Certificate, Vec<u8>);

impl Operated {
    /// A cluster with so many members.
    async fn start(members: usize) -> Self {
        let operator = VoteSecretKey::generate(&[5; 32]).unwrap();
        let key = operator.vote_key().to_string();
        let mut nodes = Processes::start_server_with(&["--operator", &key, "--replicas", &members.to_string()]).await;
        for number in 0..members {
            nodes.add_replica_with(number, &["--operator", &key]);
        }
        nodes.until_connected().await;
        let identity = nodes.put(b"first").await.unwrap().committee().cluster();
        Self { nodes, operator, identity }
    }

    /// Starts a replica that wants to join.
    fn add_joiner(&mut self, number: usize) {
        let key = self.operator.vote_key().to_string();
        self.nodes.add_replica_with(number, &["--operator", &key, "--join"]);
    }

    fn node_key(&self, number: usize) -> Option<NodeKey> {
        let keys = vouch::replica::keys_of(&Host::system(), self.nodes.replicas[number].folder()).ok()?;
        Some(keys.node.node_key())
    }

    /// The committees that the server shows; `None` while it cannot.
    async fn chain(&self) -> Option<CommitteeChain> {
        let link = PutLink::open(&Host::system(), self.nodes.address(), Some(self.identity)).await.ok()?;
        link.known_chain().await.ok().cloned()
    }

    /// Proposes a change to the server, once. Whether it is in the log.
    async fn propose(&self, change: &CommitteeChange) -> bool {
        let operator = Some(change.sign_as_operator(&self.operator));
        let op = MembershipOp::Propose { change: change.clone(), operator };
        let op = Op::new(op.kind(), Host::system().random(), unix_seconds() + 60, op.body()).unwrap();
        let body = op.encode().into();
        let request = HttpRequest::post(self.nodes.address(), OPS.into(), body, MAX_BUNDLE, ANSWER);
        request.send(&Host::system()).await.is_ok()
    }

    /// Changes the members of the latest committee. `meanwhile` is called again and again until the next epoch is active.
    async fn change(
        &mut self,
        removed: &[usize],
        added: &[usize],
        mut meanwhile: impl AsyncFnMut(&mut Processes),
    ) -> CommitteeChain {
        let end = Instant::now() + HANDOFF;
        let mut proposed = None::<CommitteeChange>;
        let mut from = None;
        while Instant::now() < end {
            if let Some(chain) = self.chain().await {
                let record = chain.current().record().clone();
                let epoch = *from.get_or_insert(record.epoch());
                if record.epoch() > epoch {
                    return chain;
                }
                let key = |number: &usize| self.node_key(*number).unwrap();
                let removed = removed.iter().map(key).collect();
                let name = |number: &usize| MemberName::new(&format!("replica-{number}")).unwrap();
                let added = added.iter().map(|number| AddedMember { node_key: key(number), name: name(number) });
                let change = proposed.take().unwrap_or_else(|| {
                    CommitteeChange::new(&record, Host::system().random(), false, removed, added.collect()).unwrap()
                });
                // Proposing it again changes nothing.
                self.propose(&change).await;
                proposed = Some(change);
            }
            meanwhile(&mut self.nodes).await;
            sleep(LOOK_EVERY).await;
        }
        panic!("epoch {from:?} does not end: {}", self.nodes.server.log());
    }

    /// Every certificate verifies with the committees that the server shows now, and every file comes back.
    async fn check(&self, certified: &[Certified]) {
        let chain = self.chain().await.unwrap();
        for (certificate, bytes) in certified {
            let bundle = Bundle::new(certificate, &chain).to_json();
            let verdict = judge(bundle.as_bytes(), self.identity, bytes);
            assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
        }
        for (_, bytes) in certified {
            assert!(self.get(bytes).await == *bytes);
        }
    }

    /// Gets a file. On a machine with a hundred other processes, a server may be late once.
    async fn get(&self, bytes: &[u8]) -> Vec<u8> {
        let end = Instant::now() + ANSWER;
        loop {
            match self.nodes.get(self.identity, Digest::of(bytes)).await {
                Ok(got) => return got.bytes,
                Err(error) if Instant::now() > end => panic!("{error}"),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// Puts as `vouch put` does, which retries.
async fn put(server: &str, identity: ClusterId, bytes: Vec<u8>) -> Certified {
    let certified = put_bytes_patiently(server, Some(identity), &bytes, PATIENCE).await.unwrap();
    (certified.certificate, bytes)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "each epoch is sealed three minutes after it closed: run by make soak"]
async fn one_member_becomes_four_and_ten_and_four_again_and_no_put_fails() {
    let mut cluster = Operated::start(1).await;
    let (address, identity) = (cluster.nodes.address().to_owned(), cluster.identity);
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = is_over.clone();
    let putting = tokio::spawn(async move {
        let mut certified = Vec::new();
        for number in 0_u64.. {
            let length = [10, 1000, 100_000, 400_000][usize::try_from(number % 4).unwrap()];
            certified.push(put(&address, identity, content(number, length)).await);
            if ended.load(Ordering::Relaxed) {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        certified
    });
    for number in 1..10 {
        cluster.add_joiner(number);
    }
    support::until("every replica has its key", || (0..10).all(|number| cluster.node_key(number).is_some())).await;
    let changes: [(&[usize], &[usize], u16); 5] =
        [(&[], &[1, 2, 3], 4), (&[], &[4, 5, 6, 7, 8, 9], 10), (&[0, 4, 7], &[], 7), (&[1, 8], &[], 5), (&[9], &[], 4)];
    for (removed, added, expected) in changes {
        let began = Instant::now();
        let chain = cluster.change(removed, added, async |_| {}).await;
        let record = chain.current().record();
        println!("epoch {}: {} members after {:.0?}", record.epoch(), record.n(), began.elapsed());
        assert_eq!(record.n(), expected);
    }
    is_over.store(true, Ordering::Relaxed);
    let certified = putting.await.unwrap();
    let epochs: Vec<u64> = certified.iter().map(|(certificate, _)| certificate.epoch).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    println!("{} puts, none failed", certified.len());
    // Those that left are not needed.
    for number in [0, 1, 4, 7, 8, 9] {
        cluster.nodes.replicas[number].kill();
    }
    cluster.check(&certified).await;
}

/// Kills one of the processes, and starts it again.
async fn kill(nodes: &mut Processes, random: &mut u64) {
    let whom = usize::try_from(next_random(random) % 6).unwrap();
    match nodes.replicas.get_mut(whom) {
        Some(replica) => {
            replica.kill();
            sleep(Duration::from_millis(next_random(random) % 3_000)).await;
            replica.start();
        }
        None => nodes.restart_server().await,
    }
}

/// A cluster of four, of which every process may be killed at any time, hands over so many times.
async fn handoffs(count: u64, seed: u64) -> u64 {
    let mut cluster = Operated::start(4).await;
    let (mut random, mut kills, mut certified) = (seed, 0, Vec::new());
    for number in 0..count {
        let mut next_kill = Instant::now();
        let chain = cluster.change(&[], &[], async |nodes| {
            if Instant::now() >= next_kill {
                kill(nodes, &mut random).await;
                kills += 1;
                next_kill = Instant::now() + Duration::from_millis(next_random(&mut random) % 15_000);
            }
        });
        let epoch = chain.await.current().record().epoch();
        assert_eq!(epoch, number + 1, "exactly one successor");
        // A server that was killed a moment ago refuses puts until its replicas are back, and a client that it has never served gives up.
        cluster.nodes.until_connected().await;
        certified.push(put(cluster.nodes.address(), cluster.identity, content(seed ^ number, 100_000)).await);
    }
    cluster.check(&certified).await;
    kills
}

/// Waiting for seals takes nearly all of the time, so the clusters run side by side.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "half an hour: run by make soak-handoffs"]
async fn two_hundred_handoffs_while_processes_are_killed() {
    let (clusters, each) = (25, 8);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let running = (0..clusters).map(|number| handoffs(each, seed ^ number << 32));
    let kills: u64 = futures_util::future::join_all(running).await.iter().sum();
    println!("{} handoffs, {kills} kills", clusters * each);
}
