//! A log with one member, on the real disk: what is decided alone needs no network.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use vouch_core::bundle::OpBundle;
use vouch_core::chain::CommitteeChain;
use vouch_core::log::{BlockDigest, EngineVote, EngineVoteType, Evidence, Op, OpId};
use vouch_core::statement::{LogHead, Statement};
use vouch_core::tally::Tally;
use vouch_core::verify::{LogVerifyOptions, Verifier};
use vouch_fixture::TestCommittee;
use vouch_node_core::log::notes::Notes;

use super::*;
use crate::host::Host;
use crate::host::tasks::JoinHandle;
use crate::replica::{Data, Replica, ReplicaConfig};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running replica that is the only member of its committee.
struct OnlyMember {
    committee: TestCommittee,
    log: Arc<ReplicaLog>,
    link: LogLink,
    replies: mpsc::Receiver<Outgoing>,
    running: JoinHandle<()>,
    context: Arc<LogContext>,
}

impl OnlyMember {
    async fn start(folder: &Path, change: impl FnOnce(&mut ReplicaConfig)) -> Self {
        let mut config = ReplicaConfig::new(Data::Folder(folder.join("replica")), Vec::new());
        change(&mut config);
        let replica = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).unwrap();
        let (runner, context, peers, events) = replica.log;
        let keys = &context.identity.keys;
        let vote = vouch_core::bls::VoteSecretKey::from_bytes(&keys.vote.to_bytes()).unwrap();
        let committee = TestCommittee::of_keys([7; 16], [(keys.node.node_key(), vote)]);
        context.identity.committees.replace(Some(CommitteeChain::new(committee.committee.clone())));
        let log = replica.link.log.clone();
        let running = Host::system().spawn(runner.run(context.clone(), peers, events));
        let (replies, queue) = mpsc::channel(64);
        Self { committee, link: log.link(replies), log, replies: queue, running, context }
    }

    /// Ends the log, as a crash would.
    async fn stop(self) {
        self.running.abort();
        let _ = self.running.await;
    }

    async fn call(&mut self, call: LogCall) -> Message {
        assert_eq!(self.link.call(Stream(5), call), None);
        self.reply().await
    }

    async fn reply(&mut self) -> Message {
        let reply = Host::system().timeout(PATIENCE, self.replies.recv()).await.unwrap().unwrap();
        Message::decode(&reply.bytes).unwrap()
    }

    async fn submit(&mut self, op: &Op) -> Message {
        self.call(LogCall::Submit(op.clone())).await
    }

    fn id(&self, op: &Op) -> OpId {
        op.id(&self.committee.cluster())
    }

    async fn until(&self, is_so: impl Fn(&LogStatus) -> bool) -> LogStatus {
        let waiting = async {
            loop {
                let status = self.log.status();
                if is_so(&status) {
                    return status;
                }
                Host::system().sleep(Duration::from_millis(5)).await;
            }
        };
        Host::system().timeout(PATIENCE, waiting).await.unwrap()
    }
}

fn note(text: &str, lasts: u64) -> Op {
    let nonce = Host::system().random();
    Op::new(Notes::NOTE, nonce, Host::system().unix_seconds() + lasts, text.into()).unwrap()
}

fn decided(height: u64) -> Message {
    Message::OpDecided { stream: Stream(5), height }
}

#[track_caller]
fn code(message: &Message) -> Code {
    match message {
        Message::Failed(failed) => failed.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_op_is_decided_once_and_proved_under_a_signed_head() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    let (first, second) = (note("first", 60), note("second", 60));
    assert_eq!(member.submit(&first).await, decided(1));
    assert_eq!(member.submit(&second).await, decided(2));
    assert_eq!(member.submit(&first).await, decided(1), "submitted again");

    let Message::LogHead { head, signature, .. } = member.call(LogCall::Head(2)).await else { panic!("no head") };
    let mut tally = Tally::new(member.committee.record(), head);
    tally.add(&member.committee.committee, 0, signature).unwrap();
    let certificate = tally.certificates([head]).unwrap().remove(0);
    for op in [&first, &second] {
        let id = member.id(op);
        let Message::OpProof { proof, .. } = member.call(LogCall::Proof { op: id, head: 2 }).await else { panic!() };
        let bundle = OpBundle::new(*proof, &certificate, &member.committee.committee.clone().into()).to_json();
        let options = LogVerifyOptions {
            trust: member.committee.cluster().into(),
            wanted: Some(id),
            now: Host::system().unix_seconds(),
        };
        let judgement = Verifier::new().judge_op(bundle.as_bytes(), &options);
        assert_eq!(&judgement.proved().unwrap().0.op, op);
    }
    let Message::LogBlock { block, .. } = member.call(LogCall::Block { height: 1, head: 2 }).await else { panic!() };
    assert_eq!(block.ops()[0].op, first);
    assert_eq!(code(&member.call(LogCall::Head(3)).await), Code::NotFound);
    assert_eq!(code(&member.call(LogCall::Block { height: 3, head: 3 }).await), Code::NotFound);
    assert_eq!(code(&member.call(LogCall::Proof { op: OpId([9; 32]), head: 2 }).await), Code::NotFound);
    let status = member.log.status();
    assert_eq!((status.height, status.waiting, status.abstains, status.stopped), (2, 0, None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_in_the_log_is_refused() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    let now = Host::system().unix_seconds();
    let unknown = Op::new(0x7777, [1; 16], now + 60, Vec::new()).unwrap();
    assert_eq!(code(&member.submit(&unknown).await), Code::Malformed);
    let expired = Op::new(Notes::NOTE, [1; 16], now - 1000, Vec::new()).unwrap();
    assert_eq!(code(&member.submit(&expired).await), Code::Expired);
    let late = Op::new(Notes::NOTE, [1; 16], now + 100_000, Vec::new()).unwrap();
    assert_eq!(code(&member.submit(&late).await), Code::Malformed);
    assert_eq!(member.log.status().height, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_signed_once_for_each_height_and_only_if_the_journal_has_it() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    member.submit(&note("one", 60)).await;
    let Message::LogHead { head, .. } = member.call(LogCall::Head(1)).await else { panic!("no head") };
    let store = member.context.storage.store.clone();
    let id = Statement::new(member.committee.record(), head).id();
    assert_eq!(store.signed(4, 1).unwrap(), [id]);
    let other = LogHead { time: head.time + 1, ..head };
    let refused = store.enter_once(Statement::new(member.committee.record(), other)).await.unwrap_err();
    assert!(matches!(refused, crate::store::StoreError::SignedAnother { height: 1, expected, .. } if expected == id));
    store.enter_once(Statement::new(member.committee.record(), head)).await.unwrap();

    let far = LogHead { height: 20_000, ..head };
    store.enter_once(Statement::new(member.committee.record(), far)).await.unwrap();
    assert_eq!(store.signed(4, 1).unwrap(), [], "old entries are dropped");
    let refused = store.enter_once(Statement::new(member.committee.record(), other)).await.unwrap_err();
    assert!(matches!(refused, crate::store::StoreError::SignedLater { least: 10_000, got: 1, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_after_a_restart() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    let first = note("before", 60);
    assert_eq!(member.submit(&first).await, decided(1));
    member.stop().await;
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    assert_eq!(member.submit(&first).await, decided(1));
    assert_eq!(member.submit(&note("after", 60)).await, decided(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_what_it_signed_abstains_until_its_operator_decides() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    assert_eq!(member.submit(&note("before", 60)).await, decided(1));
    member.stop().await;
    std::fs::remove_file(folder.path().join("replica").join(crate::log::disk::WAL)).unwrap();
    let member = OnlyMember::start(folder.path(), |_| {}).await;
    let status = member.until(|status| status.abstains.is_some()).await;
    assert!(status.abstains.unwrap().contains("--recover-log"));
    assert_eq!(member.link.call(Stream(5), LogCall::Submit(note("waits", 60))), None);
    member.until(|status| status.waiting == 1).await;
    member.stop().await;
    let mut member = OnlyMember::start(folder.path(), |config| config.recover_log = true).await;
    assert_eq!(member.submit(&note("after", 60)).await, decided(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_lost_all_files_of_the_log_is_not_a_new_one() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    assert_eq!(member.submit(&note("before", 60)).await, decided(1));
    member.stop().await;
    for file in [crate::log::disk::WAL, crate::log::disk::BLOCKS] {
        std::fs::remove_file(folder.path().join("replica").join(file)).unwrap();
    }
    let member = OnlyMember::start(folder.path(), |_| {}).await;
    member.until(|status| status.abstains.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_kept_shown_and_verified_also_after_a_restart() {
    let folder = folder();
    let mut member = OnlyMember::start(folder.path(), |_| {}).await;
    assert_eq!(member.submit(&note("it runs", 60)).await, decided(1));
    let (cluster, key) = (member.committee.cluster(), member.context.identity.keys.node.clone());
    let vote = |block| {
        let block = Some(BlockDigest([block; 32]));
        let vote = EngineVote { vote_type: EngineVoteType::Precommit, height: 3, round: 1, block };
        (vote, vote.sign(&cluster, 0, &key))
    };
    let found = Evidence::of_votes(cluster, 0, key.node_key(), [vote(1), vote(2)]).unwrap();
    let chain = member.committee.committee.clone().into();
    let name = evidence::keep(&member.context, &chain, found).unwrap().unwrap();
    assert_eq!(evidence::keep(&member.context, &chain, found).unwrap(), None, "it is there");
    let bundle = std::fs::read(folder.path().join("replica").join(&name)).unwrap();
    let proven = Verifier::new().judge_evidence(&bundle, &cluster.into());
    let proven = proven.proven().unwrap();
    assert_eq!((proven.evidence(), proven.position()), (&found, 0));
    std::fs::write(folder.path().join("replica/evidence/notes.txt"), "the operator's").unwrap();
    member.stop().await;
    let member = OnlyMember::start(folder.path(), |_| {}).await;
    let status = member.until(|status| !status.evidence.is_empty()).await;
    assert_eq!(status.evidence, [name]);
}

#[tokio::test]
async fn a_link_is_refused_what_the_log_has_no_room_for() {
    let (log, _runner) = ReplicaLog::new();
    let (replies, _queue) = mpsc::channel(1);
    let link = log.link(replies);
    let calls: Vec<_> = (1..).take(CALLS).map(|i| link.call(Stream(i), LogCall::Head(1))).collect();
    assert!(calls.iter().all(Option::is_none));
    assert_eq!(code(&link.call(Stream(9), LogCall::Head(1)).unwrap()), Code::Busy);
}
