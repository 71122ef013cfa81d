//! The owner of the cluster, who changes its members again and again, and what must hold once all faults have ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use vouch::client::PutLink;
use vouch::client::seal::{SealError, fetch_seal};
use vouch::host::Host;
use vouch::log::LogOwner;
use vouch::log::block_store::BlockStore;
use vouch_core::bundle::{Bundle, BundleChain};
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::{CommitteeRecord, MemberName};
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::Op;
use vouch_core::membership::{AddedMember, CommitteeChange, MembershipOp, NodeVote};
use vouch_core::seal::SealTree;
use vouch_core::session::{LinkOptions, WaitLimit};
use vouch_core::verify::{Subject, Verdict, Verifier, VerifyOptions};

use crate::checker::{Checker, FOLDER, Rule};
use crate::network::Node;
use crate::node;
use crate::ordered_log::submit;
use crate::plan::tolerated;
use crate::random::Random;
use crate::recovery::{RECOVERY, TRY_AGAIN};
use crate::servers::{address, operator};
use crate::trace::Trace;
use crate::world::World;

/// How long an op about members waits for the log, in seconds.
const LASTS: u64 = 60;

/// How long a change may take: until blobs that nobody has are not awaited any more, and until the epoch before is sealed.
const PATIENCE: Duration = Duration::from_secs(280);

/// The folder of the certificates for the other two verifiers.
fn saved_certificates() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("changes")
}

/// Empties that folder: those verifiers need not judge the certificates of earlier runs again.
pub fn forget_certificates() {
    let folder = saved_certificates();
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("it can be removed");
    }
}

/// Changes the members until it is aborted.
pub async fn change_members(host: Host, mut random: Random, trace: Trace, checker: Checker) {
    loop {
        host.sleep(Duration::from_millis(random.within(2_000..60_000))).await;
        if let Some(change) = Change::draw(&checker, &mut random) {
            change.propose(&host, &mut random, &trace, &checker).await;
        }
    }
}

/// A change, and who approves it.
struct Change {
    record: CommitteeRecord,
    change: CommitteeChange,
    /// The keys of the honest members.
    members: Vec<Arc<NodeSecretKey>>,
}

impl Change {
    /// Draws a change of the latest committee.
    fn draw(checker: &Checker, random: &mut Random) -> Option<Self> {
        let committee = checker.committees().current()?;
        let record = committee.record();
        let shape = checker.known().shape;
        let keys = keys(checker);
        let key = |node: &Node| keys.get(node).map(|key| key.node_key());
        let position = |node: &Node| key(node).and_then(|key| record.position(&key));
        let outside: Vec<Node> =
            shape.joiners().filter(|node| keys.contains_key(node) && position(node).is_none()).collect();
        let all: Vec<(Node, NodeKey)> = (0..)
            .zip(record.members())
            .map(|(index, member)| (crate::checker::node_of(&committee, index), member.node_key))
            .collect();
        let n = all.len();
        let most = n - 2 * tolerated(n) - 1;
        let (mut joins, mut leaves) = (Vec::new(), Vec::new());
        for node in outside {
            if random.one_in(2) {
                joins.push(node);
            }
        }
        for member in &all {
            if leaves.len() < most && random.one_in(3) {
                leaves.push(*member);
            }
        }
        let lies = shape.liar().is_some_and(|liar| {
            all.iter().any(|(node, _)| *node == liar) && leaves.iter().all(|(node, _)| *node != liar)
        });
        // A committee in which more members lie than it tolerates would promise nothing.
        while lies && tolerated(n + joins.len() - leaves.len()) == 0 {
            leaves.pop()?;
        }
        let added = joins.iter().filter_map(|node| added(*node, key(node)?)).collect();
        let removed = leaves.into_iter().map(|(_, key)| key).collect();
        let mut nonce = [0; 16];
        random.fill(&mut nonce);
        let change = CommitteeChange::new(record, nonce, false, removed, added).ok()?;
        let members = all.iter().filter_map(|(node, _)| keys.get(node).cloned()).collect();
        Some(Self { record: record.clone(), change, members })
    }

    /// Proposes the change; without an operator, its members approve it, too. Whether all of that is in the log.
    async fn propose(self, host: &Host, random: &mut Random, trace: &Trace, checker: &Checker) -> bool {
        let Self { record, change, members } = self;
        let shape = checker.known().shape;
        let server = random.index(shape.servers);
        trace.note(format_args!("change {}: {} join, {} leave", change.id(), change.added.len(), change.removed.len()));
        let operator = operator(shape).map(|key| change.sign_as_operator(&key));
        let (id, is_signed) = (change.id(), operator.is_some());
        let mut is_done = order(host, server, &MembershipOp::Propose { change, operator }, trace, checker).await;
        let approving = if is_signed { Vec::new() } else { members };
        for key in approving {
            // Each must be greater than the one before of the same member.
            let number = u64::try_from(node::elapsed().as_millis()).unwrap_or(u64::MAX);
            let vote = NodeVote::Approve { change: id, number }.sign(&record, &key);
            is_done &= order(host, server, &MembershipOp::Approve(vote), trace, checker).await;
        }
        is_done
    }
}

/// The node keys of the honest replicas that have some.
fn keys(checker: &Checker) -> BTreeMap<Node, Arc<NodeSecretKey>> {
    let (shape, disks) = {
        let known = checker.known();
        (known.shape, known.disks.clone())
    };
    let key = |node: Node| {
        // A replica that has not started yet has none, and must get none here.
        let disk = disks[node].after_kill();
        disk.files_below(FOLDER.as_ref()).iter().find(|path| path.ends_with("node.key"))?;
        let host = Host::on_disk(Arc::new(disk));
        let keys = vouch::replica::keys_of(&host, FOLDER.as_ref()).ok()?;
        Some((node, keys.node))
    };
    shape.honest().filter_map(key).collect()
}

fn added(node: Node, node_key: NodeKey) -> Option<AddedMember> {
    Some(AddedMember { node_key, name: MemberName::new(&format!("node-{node}")).ok()? })
}

async fn order(host: &Host, server: Node, op: &MembershipOp, trace: &Trace, checker: &Checker) -> bool {
    let ordered = Op::new(op.kind(), host.random(), host.unix_seconds() + LASTS, op.body()).expect("it fits");
    let ended = submit(host, server, &ordered, checker).await;
    match &ended {
        Ok(height) => trace.note(format_args!("{} in block {height}", name(op))),
        Err(error) => trace.note(format_args!("{}: {error}", name(op))),
    }
    ended.is_ok()
}

impl World {
    /// Whatever is under way ends, and another change after it.
    ///
    /// # Panics
    /// The committee changes no more.
    pub(super) async fn check_changes_end(&mut self) {
        let epoch = |checker: &Checker| checker.committees().current().map(|committee| committee.record().epoch());
        let (before, end) = (epoch(&self.checker), node::elapsed() + RECOVERY);
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        while node::elapsed() < end {
            if epoch(&self.checker) > before {
                return;
            }
            let mut is_proposed = false;
            if let Some(change) = Change::draw(&self.checker, &mut self.random) {
                is_proposed = change.propose(&host, &mut self.random, &self.trace, &self.checker).await;
            }
            self.checker.assert_holds();
            // Members that approve another change give up the first.
            let until = node::elapsed() + if is_proposed { PATIENCE } else { 6 * TRY_AGAIN };
            while node::elapsed() < until && epoch(&self.checker) == before {
                sleep(TRY_AGAIN).await;
            }
        }
        self.checker.broken(Rule::ChangesEnd, format_args!("the committee of epoch {before:?} changes no more"));
        self.checker.assert_holds();
    }

    /// Every certificate that was ever issued verifies with the committees that a server shows now.
    ///
    /// # Panics
    /// One does not.
    pub(super) async fn check_certificates(&mut self) {
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let (Some(trusted), server) = (self.checker.cluster(), self.random.index(self.shape.servers)) else { return };
        let limit = WaitLimit::new(Duration::from_secs(30));
        let known = self.checker.committees().of_epoch(0).map(Into::into);
        let options = LinkOptions { trusted: trusted.into(), known, limit, token: None };
        let link = PutLink::open_with(&host, &address(server), options).await.expect("a healed server answers");
        let chain = link.known_chain().await.expect("a healed server shows its committees").clone();
        let seals = self.seals(&host, server, &chain).await;
        let certificates = self.checker.certificates();
        // Bundles are as `vouch upgrade` writes them.
        let all = BundleChain::new(&chain, chain.current().record().epoch());
        let (mut verifier, mut saved) = (Verifier::new(), BTreeMap::new());
        for certificate in certificates {
            let receipt = certificate.claim.receipt;
            let statement = chain.record(certificate.epoch).and_then(|record| certificate.statement(record));
            let seal = seals.get(&certificate.epoch).zip(statement);
            let sealed = seal.and_then(|(seal, statement)| seal.path(&statement.id())).map(|path| path.encode());
            let bundle = Bundle { certificate: certificate.encode(), chain: all.clone(), sealed }.to_json();
            let subject = Some(Subject { digest: receipt.digest, length: Some(receipt.length) });
            let now = certificate.claim.issued_at;
            let options =
                VerifyOptions { trust: trusted.into(), require_sealed: false, subject, now, waive_expiry: false };
            let verdict = verifier.verify(bundle.as_bytes(), &options);
            if !matches!(verdict, Verdict::Valid(_)) {
                self.checker.broken(Rule::Genuine, format_args!("in the end: {verdict:?}"));
            }
            let (digest, length) = (receipt.digest.to_hex(), receipt.length);
            saved
                .insert(certificate.epoch, json!({ "digest": digest, "length": length, "now": now, "bundle": bundle }));
        }
        self.checker.assert_holds();
        // One of each epoch, for the other two verifiers.
        let all = json!({ "cluster": trusted.to_string(), "certificates": saved.into_values().collect::<Vec<_>>() });
        std::fs::create_dir_all(saved_certificates()).expect("a folder");
        std::fs::write(saved_certificates().join(format!("{}.json", self.seed)), all.to_string()).expect("a file");
    }

    /// The statements of every seal that a committee of the chain names, from the members.
    async fn seals(&mut self, host: &Host, server: Node, chain: &CommitteeChain) -> BTreeMap<u64, SealTree> {
        let mut seals = BTreeMap::new();
        for epoch in (0..chain.current().record().epoch()).filter(|epoch| chain.seal_of(*epoch).is_some()) {
            let end = node::elapsed() + RECOVERY;
            let seal = loop {
                match fetch_seal(host, &address(server), chain, epoch, Duration::from_secs(30)).await {
                    Ok(seal) => break Some(seal),
                    Err(SealError::Http(_)) if node::elapsed() <= end => sleep(TRY_AGAIN).await,
                    Err(error) => {
                        self.trace.note(format_args!("seal of epoch {epoch}: {error}"));
                        break None;
                    }
                }
            };
            match seal {
                Some(seal) => drop(seals.insert(epoch, seal)),
                None => self.checker.broken(Rule::SealsAreKept, format_args!("nobody has the seal of epoch {epoch}")),
            }
        }
        self.checker.assert_holds();
        self.check_lists(seals.keys().copied().collect()).await;
        seals
    }

    /// Every honest member that runs has the statements of these seals in the end, also of those that it did not sign.
    async fn check_lists(&mut self, epochs: Vec<u64>) {
        let (end, keys) = (node::elapsed() + RECOVERY, keys(&self.checker));
        for node in self.checker.honest_members().into_iter().filter(|node| self.is_up(*node)).collect::<Vec<_>>() {
            let node_key = keys[&node].node_key();
            while let Some(epoch) = self.lacks_list(node, node_key, &epochs) {
                if node::elapsed() > end {
                    self.checker.broken(Rule::SealsAreKept, format_args!("{node} lacks the seal of epoch {epoch}"));
                    break;
                }
                sleep(TRY_AGAIN).await;
            }
        }
        self.checker.assert_holds();
    }

    /// An epoch whose list is not on a node's disk.
    fn lacks_list(&self, node: Node, node_key: NodeKey, epochs: &[u64]) -> Option<u64> {
        let owner = LogOwner { cluster: self.checker.cluster().expect("it was founded"), node_key };
        let host = Host::on_disk(Arc::new(self.checker.known().disks[node].after_kill()));
        let opened = BlockStore::open(&host, &Path::new(FOLDER).join("log.redb"), owner, true);
        let has_list = |epoch: u64| opened.as_ref().is_ok_and(|(blocks, _)| blocks.has_seal(epoch).unwrap_or(false));
        epochs.iter().copied().find(|epoch| !has_list(*epoch))
    }
}

fn name(op: &MembershipOp) -> &'static str {
    match op {
        MembershipOp::Propose { .. } => "proposal",
        _ => "approval",
    }
}
