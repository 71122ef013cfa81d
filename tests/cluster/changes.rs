//! Members that change their committee through the ordered log, while clients put.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::blobs::{content, put_bytes, put_bytes_patiently, verdict};
use support::committee::node_secret;
use support::in_process::InProcess;
use support::ordered_log::{first_note, submit};
use support::{unix_seconds, until};
use vouch::client::PutLink;
use vouch::host::Host;
use vouch::keys::ReplicaKeys;
use vouch::replica::Event;
use vouch::server;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::{CommitteeRecord, MemberName};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::NodeKey;
use vouch_core::log::Op;
use vouch_core::membership::{AddedMember, CommitteeChange, MembershipOp, NodeVote};
use vouch_core::session::Certified;
use vouch_core::verify::Verdict;

/// A cluster whose log runs, and a file from before its committee changes.
struct Changing {
    cluster: InProcess,
    before: Certified,
}

const BEFORE: &[u8] = b"before the change";

impl Changing {
    async fn start(n: usize) -> Self {
        // After a change, members connect again with their new keys, which takes a moment.
        let cluster = InProcess::start_with(n, |config| config.quorum_wait = Duration::from_secs(20)).await;
        let before = cluster.put(BEFORE).await.unwrap();
        first_note(cluster.address()).await;
        Self { cluster, before }
    }

    fn identity(&self) -> ClusterId {
        self.before.committee().cluster()
    }

    fn genesis(&self) -> CommitteeRecord {
        self.before.committee().record().clone()
    }

    fn keys(&self, number: usize) -> ReplicaKeys {
        vouch::replica::keys_of(&Host::system(), &self.cluster.folder(number)).unwrap()
    }

    fn node_key(&self, number: usize) -> NodeKey {
        self.keys(number).node.node_key()
    }

    /// The committees that the server shows.
    async fn chain(&self) -> CommitteeChain {
        let link = PutLink::open(&Host::system(), self.cluster.address(), Some(self.identity())).await.unwrap();
        link.known_chain().await.unwrap().clone()
    }

    async fn order(&self, op: &MembershipOp) {
        let nonce = Host::system().random();
        let op = Op::new(op.kind(), nonce, unix_seconds() + 60, op.body()).unwrap();
        assert_eq!(submit(self.cluster.address().to_owned(), op).await, 201);
    }

    /// These members approve a change of the genesis.
    async fn decide(&self, change: CommitteeChange, approving: Range<usize>) {
        self.decide_of(&self.genesis(), change, approving).await;
    }

    /// These members approve a change of their committee.
    async fn decide_of(&self, committee: &CommitteeRecord, change: CommitteeChange, approving: Range<usize>) {
        let id = change.id();
        self.order(&MembershipOp::Propose { change, operator: None }).await;
        for number in approving {
            let vote = NodeVote::Approve { change: id, number: 1 }.sign(committee, &self.keys(number).node);
            self.order(&MembershipOp::Approve(vote)).await;
        }
    }

    async fn until_server_in(&self, epoch: u64) {
        let began =
            |event: &server::Event| matches!(event, server::Event::NewEpoch(new) if new.record().epoch() == epoch);
        until("the server takes over", || self.cluster.server_events().iter().any(began)).await;
    }

    async fn until_member_in(&self, number: usize, epoch: u64) {
        let is_member = |event: &Event| matches!(event, Event::Member(new, _) if new.record().epoch() == epoch);
        self.cluster.until_replica(number, "is a member", is_member).await;
    }

    /// Gets a file from members that may still be connecting.
    async fn get_soon(&self, bytes: &[u8]) -> Vec<u8> {
        for _ in 0..100 {
            if let Ok(got) = self.cluster.get(self.identity(), Digest::of(bytes)).await {
                return got.bytes;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody has {}", Digest::of(bytes))
    }

    fn expect_valid(&self, certified: &Certified, epoch: u64, bytes: &[u8]) {
        assert_eq!(certified.certificate.epoch, epoch);
        let verdict = verdict(certified, self.identity(), bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
    }
}

/// Puts as `vouch put` does, which retries.
async fn put(server: &str, trusted: ClusterId, bytes: &[u8]) -> Certified {
    put_bytes_patiently(server, Some(trusted), bytes, Duration::from_secs(60)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_get_new_vote_keys_while_puts_go_on_and_old_certificates_stay_valid() {
    let changing = Changing::start(4).await;
    let (identity, genesis) = (changing.identity(), changing.genesis());
    let (address, is_over) = (changing.cluster.address().to_owned(), Arc::new(AtomicBool::new(false)));
    let ended = is_over.clone();
    let putting = tokio::spawn(async move {
        let mut epochs = Vec::new();
        for number in 0u64.. {
            epochs.push(put(&address, identity, format!("file {number}").as_bytes()).await.certificate.epoch);
            if ended.load(Ordering::Relaxed) && epochs.last() == Some(&1) {
                return epochs;
            }
        }
        epochs
    });
    changing.decide(CommitteeChange::new(&genesis, [1; 16], false, Vec::new(), Vec::new()).unwrap(), 0..4).await;
    changing.until_server_in(1).await;
    is_over.store(true, Ordering::Relaxed);
    let epochs = putting.await.unwrap();
    assert!(epochs.contains(&0) && epochs.is_sorted(), "{epochs:?}");
    for number in 0..4 {
        changing.until_member_in(number, 1).await;
    }
    let chain = changing.chain().await;
    let (before, after) = (chain.record(0).unwrap(), chain.record(1).unwrap());
    for (before, after) in before.members().iter().zip(after.members()) {
        assert!(before.node_key == after.node_key && before.vote_key != after.vote_key, "{}", before.node_key);
    }
    changing.expect_valid(&changing.before, 0, BEFORE);
    let certified = put(changing.cluster.address(), identity, b"after the change").await;
    changing.expect_valid(&certified, 1, b"after the change");
    assert_eq!(changing.get_soon(BEFORE).await, BEFORE);
    // The log goes on among the same members.
    first_note(changing.cluster.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_removed_and_the_others_go_on() {
    let mut changing = Changing::start(4).await;
    let genesis = changing.genesis();
    let dead = changing.node_key(3);
    changing.cluster.stop_replica(3).await;
    changing.decide(CommitteeChange::new(&genesis, [2; 16], false, vec![dead], Vec::new()).unwrap(), 0..3).await;
    changing.until_server_in(1).await;
    let chain = changing.chain().await;
    assert_eq!((chain.current().record().n(), chain.current().record().position(&dead)), (3, None));
    let certified = put(changing.cluster.address(), changing.identity(), b"by three").await;
    changing.expect_valid(&certified, 1, b"by three");
    changing.expect_valid(&changing.before, 0, BEFORE);
}

/// Two of seven leave, and one joins that never comes: the change stays approved. Of the five that stay, four must hold a new file.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_leave_do_not_certify_a_file_that_too_few_of_the_others_hold() {
    let mut changing = Changing::start(7).await;
    let (identity, genesis) = (changing.identity(), changing.genesis());
    let (stay, leave) =
        ([0, 1, 2, 3, 4].map(|number| changing.node_key(number)), [5, 6].map(|number| changing.node_key(number)));
    let absent = AddedMember { node_key: node_secret("absent").node_key(), name: MemberName::new("absent").unwrap() };
    let change = CommitteeChange::new(&genesis, [5; 16], false, leave.to_vec(), vec![absent]).unwrap();
    changing.decide(change, 0..5).await;
    for number in [0, 1] {
        changing.cluster.stop_replica(number).await;
    }
    let address = changing.cluster.address().to_owned();
    // The members tell the server a moment after the log has decided.
    let refused = async |bytes: &[u8]| match put_bytes(&address, Some(identity), bytes).await {
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    };
    let mut said = None;
    for number in 0..100 {
        said = refused(format!("by those that leave {number}").as_bytes()).await;
        if said.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = said.expect("a quorum of which three stay is not enough");
    assert!(said.contains("the committee changes, and too few members that stay hold the file"), "{said}");
    changing.cluster.start_replica(0).await;
    let certified = put(&address, identity, b"by four that stay").await;
    let members = genesis.members();
    let signed =
        certified.certificate.signers.iter().filter(|signer| stay.contains(&members[usize::from(*signer)].node_key));
    assert_eq!((certified.certificate.epoch, signed.count()), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_joins_by_itself_and_holds_everything_before_it_is_a_member() {
    let mut changing = Changing::start(1).await;
    let large = content(7, 3 << 20);
    put(changing.cluster.address(), changing.identity(), &large).await;
    changing.cluster.start_joiner(1).await;
    changing.until_server_in(1).await;
    changing.until_member_in(1, 1).await;
    let chain = changing.chain().await;
    assert_eq!(chain.current().record().n(), 2);
    // It alone has the files now.
    changing.cluster.stop_replica(0).await;
    for bytes in [BEFORE, &large[..]] {
        assert_eq!(changing.get_soon(bytes).await, bytes);
    }
    changing.cluster.start_replica(0).await;
    changing.until_member_in(0, 1).await;
    let certified = put(changing.cluster.address(), changing.identity(), b"by both").await;
    changing.expect_valid(&certified, 1, b"by both");
    changing.expect_valid(&changing.before, 0, BEFORE);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an epoch is sealed two minutes after it closed: run by make soak"]
async fn an_epoch_is_sealed_before_the_next_change() {
    let changing = Changing::start(4).await;
    let genesis = changing.genesis();
    changing.decide(CommitteeChange::new(&genesis, [1; 16], false, Vec::new(), Vec::new()).unwrap(), 0..4).await;
    changing.until_server_in(1).await;
    put(changing.cluster.address(), changing.identity(), b"in epoch 1").await;
    let first = changing.chain().await.record(1).unwrap().clone();
    let again = CommitteeChange::new(&first, [2; 16], false, Vec::new(), Vec::new()).unwrap();
    changing.decide_of(&first, again, 0..4).await;
    // The change waits for the seal of epoch 0.
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if changing.chain().await.current().record().epoch() == 2 {
            break;
        }
    }
    let chain = changing.chain().await;
    assert!(chain.record(2).is_some() && chain.seal_of(0).is_some());
    changing.expect_valid(&changing.before, 0, BEFORE);
    let certified = put(changing.cluster.address(), changing.identity(), b"in epoch 2").await;
    changing.expect_valid(&certified, 2, b"in epoch 2");
}
