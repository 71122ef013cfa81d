//! Clusters whose committee has changed. The changes are made up: the test has the keys of all members.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use support::blobs::{content, judge, verdict};
use support::in_process::InProcess;
use support::proxy::Proxy;
use support::{http, unix_seconds, until};
use vouch::client::{self, ClientError};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch::keys::ReplicaKeys;
use vouch::replica::Event;
use vouch::{committee_file, epoch_files, server};
use vouch_core::bls::VoteSecretKey;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::NodeKey;
use vouch_core::receipt::NEVER;
use vouch_core::session::Certified;
use vouch_core::verify::Verdict;
use vouch_fixture::{TestCommittee, TestEpochs};

const MIB: usize = 1 << 20;

/// Five replicas, and what the keys in their folders have decided: four found the cluster; the fifth joins, with a new vote key for each member;
/// then the first leaves, and one of the others was away and keeps its key.
struct ChangedCluster {
    cluster: InProcess,
    keys: Vec<ReplicaKeys>,
    epochs: TestEpochs,
}

impl ChangedCluster {
    async fn start() -> Self {
        let mut cluster = InProcess::start(0).await;
        let host = Host::system();
        let keys = (0..5).map(|number| {
            std::fs::DirBuilder::new().mode(0o700).create(cluster.folder(number)).unwrap();
            let keys = ReplicaKeys::open_or_create(&host, &cluster.folder(number)).unwrap();
            // A running replica reads no key that somebody else made.
            (1..=3).for_each(|epoch| drop(keys.votes.create(epoch).unwrap()));
            keys
        });
        let keys: Vec<_> = keys.collect();
        let genesis = keys[..4].iter().map(|keys| member(keys, 0));
        let mut epochs = TestEpochs::founded(TestCommittee::of_keys([7; 16], genesis));
        epochs.change(unix_seconds() - 20, keys.iter().map(|keys| member(keys, 1)));
        let later = keys[1..].iter().zip([2, 2, 2, 1]).map(|(keys, made)| member(keys, made));
        epochs.change(unix_seconds() - 10, later);
        let mut changed = Self { cluster, keys, epochs };
        for number in 0..5 {
            changed.save(&changed.cluster.folder(number));
        }
        changed.cluster.stop_server().await;
        changed.save(changed.cluster.server_folder());
        changed.cluster.start_server().await;
        for number in 0..5 {
            changed.cluster.start_replica(number).await;
        }
        cluster = changed.cluster;
        Self { cluster, ..changed }
    }

    fn save(&self, folder: &Path) {
        let host = Host::system();
        committee_file::save(host.disk(), folder, self.epochs.chain.first()).unwrap();
        epoch_files::save(host.disk(), folder, &self.epochs.chain, 0).unwrap();
    }

    /// Decides epoch 3: all five, with new keys. Only replica 1 learns of it.
    async fn change_again(&mut self) {
        // Certificates of epoch 2 that are made until then stay valid.
        self.epochs.change(unix_seconds() + 600, self.keys.iter().map(|keys| member(keys, 3)));
        self.cluster.stop_replica(1).await;
        self.save(&self.cluster.folder(1));
        self.cluster.start_replica(1).await;
    }

    fn identity(&self) -> ClusterId {
        self.epochs.chain.cluster()
    }

    /// Waits until the server and all replicas are in an epoch.
    async fn until_all_in(&self, epoch: u64) {
        let began =
            |event: &server::Event| matches!(event, server::Event::NewEpoch(new) if new.record().epoch() == epoch);
        until("the server takes over", || self.cluster.server_events().iter().any(began)).await;
        for number in 0..5 {
            let is_member = |event: &Event| matches!(event, Event::Member(new, _) if new.record().epoch() == epoch);
            self.cluster.until_replica(number, "is a member", is_member).await;
        }
    }

    fn expect_valid(&self, certified: &Certified, epoch: u64, bytes: &[u8]) {
        assert_eq!(certified.certificate.epoch, epoch);
        assert_eq!(certified.bundle.chain.epochs.len(), usize::try_from(epoch).unwrap());
        let verdict = verdict(certified, self.identity(), bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
    }

    /// The bundle that the server hands out over HTTP.
    async fn expect_valid_over_http(&self, bytes: &[u8]) {
        let answer =
            http::get(self.cluster.address(), &format!("/v1/certificates/{}", Digest::of(bytes).to_hex())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let verdict = judge(&answer.body, self.identity(), bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
    }
}

/// A replica with the vote key that it made for an epoch.
fn member(keys: &ReplicaKeys, epoch: u64) -> (NodeKey, VoteSecretKey) {
    let made = keys.votes.create(epoch).unwrap();
    (keys.node.node_key(), VoteSecretKey::from_bytes(&made.secret.to_bytes()).unwrap())
}

/// Puts as `vouch put` does, which retries.
async fn put_with_retry(server: String, trusted: ClusterId, bytes: Vec<u8>) -> Result<Certified, ClientError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let retry = Duration::from_secs(60);
    let put = client::Put {
        servers: server.into(),
        trusted: trusted.into(),
        source: Source::File(path),
        expires_at: NEVER,
        renew: true,
        token: None,
        retry,
    };
    client::put(&Host::system(), put, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_a_later_epoch_certifies_and_serves() {
    let changed = ChangedCluster::start().await;
    let (cluster, identity) = (&changed.cluster, changed.identity());
    let certified = cluster.put(b"in epoch 2").await.unwrap();
    changed.expect_valid(&certified, 2, b"in epoch 2");
    assert_eq!(certified.committee().record().n(), 4);
    assert_eq!(cluster.get(identity, Digest::of(b"in epoch 2")).await.unwrap().bytes, b"in epoch 2");
    let large = content(1, 3 * MIB);
    changed.expect_valid(&cluster.put(&large).await.unwrap(), 2, &large);
    assert_eq!(cluster.get(identity, Digest::of(&large)).await.unwrap().bytes, large);
    changed.expect_valid_over_http(&large).await;
    let answer = http::put(cluster.address(), b"over HTTP").await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(matches!(judge(&answer.body, identity, b"over HTTP"), Verdict::Valid(_)));
    // The one that left stores nothing and votes for nothing.
    let stored = |event: &Event| matches!(event, Event::Stored(..) | Event::Voted(..));
    assert!(!cluster.replica_events(0).iter().any(stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_takes_over_to_a_new_epoch_and_puts_go_on() {
    let mut changed = ChangedCluster::start().await;
    let identity = changed.identity();
    let before = changed.cluster.put(b"before").await.unwrap();
    let proxy = Proxy::start(changed.cluster.address()).await;
    proxy.set_rate(2 * MIB as u64);
    let bytes = content(2, 8 * MIB);
    let putting = tokio::spawn(put_with_retry(proxy.address().to_owned(), identity, bytes.clone()));
    proxy.until_sent(MIB as u64).await;
    changed.change_again().await;
    changed.until_all_in(3).await;
    let sent = proxy.sent();
    proxy.set_rate(0);
    let across = putting.await.unwrap().unwrap();
    changed.expect_valid(&across, 3, &bytes);
    assert!(proxy.sent() > sent, "it was not complete when the epoch began");
    let after = changed.cluster.put(b"after").await.unwrap();
    changed.expect_valid(&after, 3, b"after");
    assert_eq!(after.committee().record().n(), 5);
    // What epoch 2 certified stays so, also for clients that learn the chain only now.
    assert!(matches!(verdict(&before, identity, b"before"), Verdict::Valid(_)));
    changed.expect_valid_over_http(b"before").await;
    assert_eq!(changed.cluster.get(identity, Digest::of(b"before")).await.unwrap().bytes, b"before");
    // The epoch is durable everywhere: nobody needs to hear of it again.
    changed.cluster.stop_server().await;
    changed.cluster.start_server().await;
    changed.expect_valid(&again(&changed, b"once more").await, 3, b"once more");
}

/// A put while the replicas find the server again.
async fn again(changed: &ChangedCluster, bytes: &[u8]) -> Certified {
    let mut certified = None;
    for _ in 0..100 {
        certified = changed.cluster.put(bytes).await.ok();
        if certified.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    certified.expect("the replicas are back within ten seconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_disk_learns_every_epoch_from_the_replicas() {
    let mut changed = ChangedCluster::start().await;
    changed.cluster.put(b"before the loss").await.unwrap();
    changed.cluster.stop_server().await;
    std::fs::remove_dir_all(changed.cluster.server_folder()).unwrap();
    let identity = changed.identity();
    changed.cluster.configure(|config| config.wanted.cluster = Some(identity));
    changed.cluster.start_server().await;
    let learned = |event: &server::Event| matches!(event, server::Event::NewEpoch(new) if new.record().epoch() == 2);
    until("the server learns epoch 2", || changed.cluster.server_events().iter().any(learned)).await;
    changed.expect_valid(&again(&changed, b"after the loss").await, 2, b"after the loss");
    changed.expect_valid_over_http(b"before the loss").await;
    let genesis = CommitteeChain::new(changed.epochs.chain.first().clone());
    let saved = epoch_files::load(Host::system().disk(), changed.cluster.server_folder(), Some(genesis)).unwrap();
    assert_eq!(saved.unwrap().current().record(), changed.epochs.chain.current().record());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_joins_when_a_later_committee_names_it() {
    let mut changed = ChangedCluster::start().await;
    // It forgets its cluster, but not its keys.
    changed.cluster.stop_replica(4).await;
    std::fs::remove_file(changed.cluster.folder(4).join("committee")).unwrap();
    std::fs::remove_dir_all(changed.cluster.folder(4).join("epochs")).unwrap();
    changed.cluster.configure_replicas(|config| config.joins = true);
    changed.cluster.start_replica(4).await;
    let is_member = |event: &Event| matches!(event, Event::Member(new, _) if new.record().epoch() == 2);
    changed.cluster.until_replica(4, "joins", is_member).await;
    for number in [1, 2] {
        changed.cluster.until_replica(number, "is a member", is_member).await;
    }
    changed.cluster.stop_replica(3).await;
    changed.expect_valid(&again(&changed, b"with the joiner").await, 2, b"with the joiner");
    // Its folder opens like that of any member.
    changed.cluster.stop_replica(4).await;
    changed.cluster.start_replica(4).await;
    changed.expect_valid(&again(&changed, b"after a restart").await, 2, b"after a restart");
}
