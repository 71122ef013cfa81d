use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::certificate::Certificate;
use vouch_core::message::{Code, ListPosition, ListSource};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_fixture::TestCommittee;

use super::*;
use crate::host::Host;
use crate::replica::identity::committee_with;
use crate::replica::link::LinkContext;
use crate::replica::{Data, Replica, ReplicaConfig};

const PATIENCE: Duration = Duration::from_secs(30);
/// The node key of the server, which owns its list.
const SERVER: NodeKey = NodeKey([9; 32]);

/// A replica in a committee of four.
struct RepairedReplica {
    context: Arc<LinkContext>,
    fixture: TestCommittee,
    _folder: tempfile::TempDir,
}

impl RepairedReplica {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ReplicaConfig::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let context = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).unwrap().link;
        let fixture = committee_with(&context.identity.keys, 1..4);
        context.identity.committees.replace(Some(fixture.committee.clone().into()));
        Self { context, fixture, _folder: folder }
    }

    /// A certificate of these bytes, signed by the other members.
    fn certificate(&self, bytes: &[u8]) -> Certificate {
        let receipt =
            Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at: NEVER };
        let own = self.context.identity.position(&self.fixture.committee).unwrap();
        let others = (0..4).filter(|member| *member != own);
        self.fixture.certify_by(Host::system().unix_seconds(), &[receipt], others).remove(0)
    }

    fn lacking(&self) -> Option<u64> {
        self.context.storage.repairs.progress(self.context.storage.host.unix_seconds()).lacking
    }

    /// Number of blobs that are known to be lacking, even if there may be more.
    fn known_lacking(&self) -> usize {
        let (mut tried, repairer) = (BTreeSet::new(), &self.context.storage.repairs);
        while let Some(next) = repairer.with(|blobs| blobs.next(&tried)) {
            tried.insert(next.digest());
        }
        tried.len()
    }

    async fn until_lacking(&self, lacking: Option<u64>) {
        let reached = async {
            while self.lacking() != lacking {
                Host::system().sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = Host::system().timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("expected {lacking:?} lacking, got {:?}", self.lacking()));
    }

    async fn learn(&self, link: u64, certificates: Vec<Certificate>) {
        let (own, chain) = (self.context.identity.node_key(), self.fixture.committee.clone().into());
        let learned = learn(&self.context.storage, &chain, own, certificates).await.unwrap();
        self.context.storage.repairs.add(link, learned.lacking);
    }
}

fn forged(certificate: &Certificate) -> Certificate {
    let mut forged = certificate.clone();
    forged.claim.receipt.digest = Digest::of(b"never put");
    forged
}

/// The lists that a server shows, and its answers for members that it cannot reach.
struct ListServer {
    pages: BTreeMap<ListSource, Vec<Certificate>>,
    requests: mpsc::Receiver<Outgoing>,
    listed: mpsc::Sender<Page>,
}

impl ListServer {
    /// Answers this many list requests.
    async fn answer(&mut self, mut requests: usize) {
        while requests > 0 {
            let request = Host::system().timeout(PATIENCE, self.requests.recv()).await.unwrap().unwrap();
            let Message::List { stream, source, from, .. } = Message::decode(&request.bytes).unwrap() else { continue };
            requests -= 1;
            let page = |certificates: &Vec<Certificate>| {
                let after = certificates.len() as u64;
                let new = certificates.iter().skip(usize::try_from(from.after).unwrap());
                ListPage { end: ListPosition { list: 1, after }, more: false, certificates: new.cloned().collect() }
            };
            let away = || Failed::new(stream, Code::NotFound, "away");
            let answer = self.pages.get(&source).map(page).ok_or_else(away);
            self.listed.send((stream, answer)).await.unwrap();
        }
    }
}

/// A link to a server from which nothing can be fetched.
fn link(replica: &RepairedReplica) -> (RepairTask, ListServer) {
    let (requests, queue) = mpsc::channel(64);
    let (listed, pages) = mpsc::channel(2);
    let task = {
        let LinkContext { storage, identity, admission, repair, .. } = &*replica.context;
        let reader = Reader { identity: identity.clone(), admission: admission.clone() };
        RepairTask::new(storage.clone(), reader, *repair, ("127.0.0.1:1".into(), SERVER), requests, pages)
    };
    (task, ListServer { pages: BTreeMap::new(), requests: queue, listed })
}

fn other_members(replica: &RepairedReplica) -> Vec<ListSource> {
    let own = replica.context.identity.position(&replica.fixture.committee).unwrap();
    (0..4).filter(|member| *member != own).map(ListSource::Member).collect()
}

#[tokio::test]
async fn lacking_blobs_are_unknown_until_the_lists_of_a_quorum_are_read() {
    let replica = RepairedReplica::new();
    let others = other_members(&replica);
    let (repairing, mut server) = link(&replica);
    let number = repairing.number();
    server.pages.insert(ListSource::Own, Vec::new());
    server.pages.insert(others[0], vec![replica.certificate(b"one")]);
    assert_eq!(replica.lacking(), None);
    let run = Host::system().spawn(repairing.run());
    // the server's list and one member's are not enough
    server.answer(4).await;
    // the first request of the second round
    let first = server.requests.recv().await.unwrap();
    assert_eq!(replica.lacking(), None);
    let Message::List { stream, .. } = Message::decode(&first.bytes).unwrap() else { panic!("expected a list") };
    server.listed.send((stream, Err(Failed::new(stream, Code::Storage, "the disk")))).await.unwrap();
    server.pages.insert(others[2], vec![replica.certificate(b"one"), replica.certificate(b"two")]);
    server.answer(3).await;
    // members' lists without the server's are not enough either
    server.answer(4).await;
    replica.until_lacking(Some(2)).await;
    // certificates that arrive between rounds count, if they are valid
    let three = replica.certificate(b"three");
    replica.learn(number, vec![forged(&three)]).await;
    assert_eq!(replica.lacking(), Some(2));
    replica.learn(number, vec![three]).await;
    assert_eq!(replica.lacking(), Some(3));
    // the server has certificates that it did not send
    replica.context.storage.repairs.read_lists_again(number);
    assert_eq!(replica.lacking(), None);
    server.answer(4).await;
    replica.until_lacking(Some(3)).await;
    // a link that has ended counts no longer
    run.abort();
    let _ = run.await;
    assert_eq!(replica.lacking(), None);
}

#[tokio::test]
async fn a_list_of_garbage_does_not_keep_others_from_being_read() {
    let replica = RepairedReplica::new();
    let others = other_members(&replica);
    let (repairing, mut server) = link(&replica);
    let two = replica.certificate(b"two");
    server.pages.insert(ListSource::Own, vec![forged(&two); 40]);
    server.pages.insert(others[0], [vec![forged(&two)], vec![replica.certificate(b"one")]].concat());
    server.pages.insert(others[1], vec![forged(&two); 40]);
    server.pages.insert(others[2], vec![two]);
    let run = Host::system().spawn(repairing.run());
    server.answer(4).await;
    // the first request of the second round
    let _ = server.requests.recv().await.unwrap();
    assert_eq!(replica.lacking(), None, "a list of garbage is not read to its end");
    assert_eq!(replica.known_lacking(), 2, "one wrong certificate is skipped");
    run.abort();
}

#[tokio::test]
async fn a_missed_renewal_prolongs_the_duty() {
    let replica = RepairedReplica::new();
    let bytes = b"held, for a while";
    let certificate = replica.certificate(bytes);
    let receipt = Receipt { expires_at: Host::system().unix_seconds() + 1000, ..certificate.claim.receipt };
    let assignment = receipt.assignment(replica.context.identity.position(&replica.fixture.committee));
    replica.context.storage.store.put_small(&assignment, Bytes::from_static(bytes)).await.unwrap();
    replica.learn(1, vec![certificate.clone()]).await;
    assert_eq!(replica.context.storage.store.keep_until(&receipt.digest).unwrap(), Some(NEVER));
    assert_eq!(replica.context.storage.store.certificate(&receipt.digest).unwrap(), Some(certificate));
    assert_eq!(replica.known_lacking(), 0);
}
