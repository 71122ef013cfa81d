//! How long a replica takes that lacks many blocks of the ordered log: block by block, and by the state where the others do not keep the
//! blocks any more. The blocks are written into the data folders of the others before these start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::processes::{Node, Processes, run};
use support::{ordered_log, until};
use tokio::runtime::Runtime;
use vouch::host::Host;
use vouch::log::block_store::{BlockStore, KEPT_BLOCKS, NewBlock};
use vouch::log::disk::WAL;
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::{BlockDigest, EngineVote, EngineVoteType, Op, SignedOp};
use vouch_node_core::log::applied::Applied;
use vouch_node_core::log::members::LogMembers;
use vouch_node_core::log::messages::VoteCertificate;
use vouch_node_core::log::notes::Notes;
use vouch_node_core::log::verified_op::VerifiedOp;

const MEMBERS: usize = 4;
/// The one that lacks the blocks.
const BEHIND: usize = 3;
/// Blocks of one transaction while the folders are prepared.
const TOGETHER: u64 = 250;
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn measure(runtime: &Runtime) {
    for (blocks, how) in [(KEPT_BLOCKS, "blocks"), (KEPT_BLOCKS + 2 * TOGETHER, "the state")] {
        let took = runtime.block_on(catch_up(blocks)).as_secs_f64();
        let rate = blocks as f64 / took;
        println!("{:<44} {took:>9.1} s, {rate:.0} blocks a second", format!("log, {blocks} blocks behind: by {how}"));
    }
}

/// The time from the start of a replica's process to when it has all blocks.
async fn catch_up(blocks: u64) -> Duration {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut cluster = Processes::start_in(folder.path(), MEMBERS).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let has_log = |replica: &Node| replica.folder().join(WAL).exists();
    until("every replica has a log", || cluster.replicas.iter().all(has_log)).await;
    cluster.replicas.iter_mut().for_each(Node::kill);
    let folders: Vec<_> = cluster.replicas.iter().map(|replica| replica.folder().to_owned()).collect();
    tokio::task::spawn_blocking(move || Author::new(&folders, identity).write(blocks)).await.unwrap();
    cluster.replicas[..BEHIND].iter_mut().for_each(Node::start);
    cluster.until_connected().await;
    let began = Instant::now();
    cluster.replicas[BEHIND].start();
    let replica = cluster.replicas[BEHIND].folder();
    while height(cluster.root(), replica).await < blocks {
        assert!(began.elapsed() < PATIENCE, "it never has all blocks");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    began.elapsed()
}

/// The height of a replica's log, as it tells its operator; 0 while it starts.
async fn height(root: &Path, folder: &Path) -> u64 {
    let output = run(root, &["status", "--data", folder.to_str().unwrap(), "--json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    status["log"]["height"].as_u64().unwrap_or(0)
}

/// Makes a log, with the keys of all members.
struct Author {
    keys: Vec<Arc<NodeSecretKey>>,
    cluster: ClusterId,
    stores: Vec<BlockStore>,
}

impl Author {
    fn new(folders: &[PathBuf], cluster: ClusterId) -> Self {
        let host = Host::system();
        let key_of = |folder: &PathBuf| vouch::replica::keys_of(&host, folder).unwrap().node;
        let keys: Vec<_> = folders.iter().map(key_of).collect();
        let stores = folders[..BEHIND].iter().map(|folder| ordered_log::blocks(folder, cluster)).collect();
        Self { keys, cluster, stores }
    }

    /// Writes so many blocks, each with one note of every member.
    fn write(&self, blocks: u64) {
        let founders = LogMembers::new(0, self.keys.iter().map(|key| key.node_key())).unwrap();
        let mut applied = Applied::genesis(self.cluster, founders, Notes::default());
        let first = Host::system().unix_seconds() - blocks - 60;
        let mut decided = Vec::new();
        for height in 1..=blocks {
            let time = first + height;
            let ops: Vec<_> = self.keys.iter().map(|key| self.note(key, height, time)).collect();
            let executed = applied.build(&ops, self.keys[0].node_key(), time).unwrap().unwrap();
            let certificate = self.certify(height, executed.block.digest());
            decided.push(NewBlock::new(executed.block, &executed.results, certificate.encode()));
            applied = executed.next;
            if height % TOGETHER == 0 {
                let state = applied.encode().unwrap();
                self.stores.iter().for_each(|store| store.commit(&decided, &state).unwrap());
                decided.clear();
            }
        }
        assert!(self.stores.iter().all(|store| store.height() == blocks));
    }

    fn note(&self, key: &NodeSecretKey, height: u64, time: u64) -> VerifiedOp {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&height.to_le_bytes());
        nonce[8..].copy_from_slice(&key.node_key().0[..8]);
        let op = Op::new(Notes::NOTE, nonce, time + 60, b"a note of a benchmark".to_vec()).unwrap();
        VerifiedOp::verify(SignedOp::sign(op, &self.cluster, key), &self.cluster).unwrap()
    }

    /// The precommits of a quorum.
    fn certify(&self, height: u64, block: BlockDigest) -> VoteCertificate {
        let vote = EngineVote { vote_type: EngineVoteType::Precommit, height, round: 0, block: Some(block) };
        let sign = |key: &Arc<NodeSecretKey>| (key.node_key(), vote.sign(&self.cluster, 0, key));
        VoteCertificate { height, round: 0, block, signatures: self.keys[..BEHIND].iter().map(sign).collect() }
    }
}
