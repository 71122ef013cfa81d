//! A server with real replicas, all in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vouch_core::log::Op;
use vouch_core::message::Code;
use vouch_node_core::log::notes::Notes;

use super::requests::ProvedBlock;
use super::*;
use crate::host::Host;
use crate::host::tasks::JoinHandle;
use crate::replica::{Data, Replica, ReplicaConfig};
use crate::server::{Server, ServerConfig};

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    root: TempDir,
    address: String,
    log: Arc<ServerLog>,
    replicas: Vec<Option<JoinHandle<()>>>,
    _serving: JoinHandle<()>,
}

impl Cluster {
    async fn start(n: u16) -> Self {
        let (root, host) = (tempfile::tempdir().unwrap(), Host::system());
        let mut config = ServerConfig::new(root.path().join("server"));
        config.wanted.replicas = Some(n);
        let server = Server::open(host.clone(), config, Arc::new(|_| {})).unwrap();
        let log = server.log.clone();
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = host.spawn(async move { server.run(listener, std::future::pending()).await.unwrap() });
        let mut cluster = Self { root, address, log, replicas: Vec::new(), _serving: serving };
        for number in 0..n.into() {
            let replica = cluster.start_replica(number).await;
            cluster.replicas.push(Some(replica));
        }
        cluster.until(|log| log.tips().len() == usize::from(n)).await;
        cluster
    }

    fn folder(&self, number: usize) -> std::path::PathBuf {
        Path::new(self.root.path()).join(format!("replica-{number}"))
    }

    async fn start_replica(&self, number: usize) -> JoinHandle<()> {
        let config = ReplicaConfig::new(Data::Folder(self.folder(number)), vec![self.address.clone()]);
        let replica = Replica::open(Host::system(), config, Arc::new(|_| {})).await.unwrap();
        Host::system().spawn(replica.run(std::future::pending()))
    }

    /// Ends a replica as a crash would.
    async fn kill(&mut self, number: usize) {
        let replica = self.replicas[number].take().unwrap();
        replica.abort();
        let _ = replica.await;
    }

    async fn until(&self, is_so: impl Fn(&ServerLog) -> bool) {
        let waiting = async {
            while !is_so(&self.log) {
                Host::system().sleep(Duration::from_millis(5)).await;
            }
        };
        Host::system().timeout(PATIENCE, waiting).await.unwrap();
    }

    /// Submits a note, and returns its effect and height.
    async fn note(&self, text: &str) -> Result<(String, u64), LogFailure> {
        let expires_at = Host::system().unix_seconds() + 60;
        let op = Op::new(Notes::NOTE, Host::system().random(), expires_at, text.into()).unwrap();
        let bundle = self.log.submit(op.clone()).await?;
        assert_eq!(bundle.proof.op, op);
        Ok((String::from_utf8(bundle.proof.effect.bytes().to_vec()).unwrap(), bundle.proof.block.height))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_are_decided_by_members_that_reach_each_other_through_the_server() {
    let cluster = Cluster::start(4).await;
    assert_eq!(cluster.note("first").await.unwrap().0, "note 1");
    let both = tokio::join!(cluster.note("one of two"), cluster.note("the other"));
    let mut effects = [both.0.unwrap().0, both.1.unwrap().0];
    effects.sort();
    assert_eq!(effects, ["note 2", "note 3"]);
    let head = cluster.log.head().unwrap();
    let ProvedBlock { block, .. } = cluster.log.block(1).await.unwrap();
    assert_eq!(block.ops()[0].op.body(), b"first");
    let id = block.ops()[0].op.id(&block.header().cluster);
    let proved = cluster.log.prove(id).await.unwrap();
    assert_eq!(proved.proof.block.height, 1);
    let above = cluster.log.block(head.claim.height + 100).await.unwrap_err();
    assert_eq!(above.code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_survives_a_dead_member_and_takes_it_in_again() {
    let mut cluster = Cluster::start(4).await;
    cluster.note("before").await.unwrap();
    cluster.kill(2).await;
    for i in 0..8 {
        assert_eq!(cluster.note("with three").await.unwrap().0, format!("note {}", i + 2));
    }
    cluster.kill(0).await;
    cluster.replicas[2] = Some(cluster.start_replica(2).await);
    // The quorum now needs the one that was away: it must have caught up.
    assert_eq!(cluster.note("again three").await.unwrap().0, "note 10");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_quorum_the_log_waits_and_says_so() {
    let mut cluster = Cluster::start(2).await;
    cluster.note("both").await.unwrap();
    cluster.kill(1).await;
    cluster.until(|log| log.tips().len() == 1).await;
    let failure = cluster.note("alone").await.unwrap_err();
    assert_eq!(failure.code, Code::TimedOut);
}
