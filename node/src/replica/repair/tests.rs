use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::bls::VoteSecretKey;
use vouch_core::committee::{Committee, CommitteeRecord, Member, MemberName};
use vouch_core::link::NodeSecretKey;
use vouch_core::message::{Code, ListPosition, ListSource};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::Batch;
use vouch_core::tally::Tally;

use super::*;
use crate::host::Host;
use crate::replica::link::LinkContext;
use crate::replica::{Config, Data, Replica};

const PATIENCE: Duration = Duration::from_secs(30);
/// This server's own key, of its list.
const SERVER: NodeKey = NodeKey([9; 32]);

/// A replica that is a member of four, and the votes of the other three.
struct Cluster {
    context: Arc<LinkContext>,
    committee: Arc<Committee>,
    others: Vec<(NodeSecretKey, VoteSecretKey)>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let context = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).unwrap().link;
        let key =
            |number: u8| (NodeSecretKey::from_bytes(&[number; 32]), VoteSecretKey::generate(&[number; 32]).unwrap());
        let others: Vec<_> = (1..4).map(key).collect();
        let name = MemberName::new("member").unwrap();
        let all = others.iter().map(|(node, vote)| (node.node_key(), vote));
        let mut all: Vec<_> = all.chain([(context.identity.node_key(), &context.identity.keys.vote)]).collect();
        all.sort_by_key(|(node_key, _)| *node_key);
        let members =
            all.iter().map(|(node_key, vote)| Member { node_key: *node_key, vote_key: vote.vote_key(), name });
        let record = CommitteeRecord::genesis([1; 16], members.collect()).unwrap();
        let possessions = all.iter().map(|(_, vote)| vote.prove_possession()).collect();
        let committee = Arc::new(Committee::genesis(record, possessions).unwrap());
        context.identity.committees.replace(Some(committee.clone().into()));
        Self { context, committee, others, _folder: folder }
    }

    /// Signed by the others.
    fn certificate(&self, bytes: &[u8]) -> Certificate {
        let receipt =
            Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at: NEVER };
        let batch = Batch::new(Host::system().unix_seconds(), vec![receipt]).unwrap();
        let mut tally = Tally::new(self.committee.record(), batch.body());
        let statement = *tally.statement();
        for (node, vote) in &self.others {
            let member = self.committee.record().position(&node.node_key()).unwrap();
            tally.add(&self.committee, member, statement.sign(vote)).unwrap();
        }
        tally.certificates(batch.claims()).unwrap().remove(0)
    }

    fn lacking(&self) -> Option<u64> {
        self.context.storage.repairs.progress(self.context.storage.host.unix_seconds()).lacking
    }

    /// Whether or not that is all.
    fn lacking_known(&self) -> usize {
        let (mut tried, repairer) = (BTreeSet::new(), &self.context.storage.repairs);
        while let Some(next) = repairer.with(|blobs| blobs.next(&tried)) {
            tried.insert(next.claim.receipt.digest);
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

    async fn hear(&self, link: u64, certificates: Vec<Certificate>) {
        let learned = learn(&self.context.storage, &self.committee, certificates).await.unwrap();
        self.context.storage.repairs.add(link, learned.lacking);
    }
}

fn forged(certificate: &Certificate) -> Certificate {
    let mut forged = certificate.clone();
    forged.claim.receipt.digest = Digest::of(b"never put");
    forged
}

/// The lists that a server shows, and its answers for members that it cannot reach.
struct Server {
    pages: BTreeMap<ListSource, Vec<Certificate>>,
    requests: mpsc::Receiver<Outgoing>,
    listed: mpsc::Sender<Page>,
}

impl Server {
    /// Answers so many requests for lists.
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

/// A link to a server on which nobody can fetch anything.
fn link(cluster: &Cluster) -> (RepairTask, Server) {
    let (requests, queue) = mpsc::channel(64);
    let (listed, pages) = mpsc::channel(2);
    let task = {
        let LinkContext { storage, identity, repair, .. } = &*cluster.context;
        RepairTask::new(storage.clone(), identity, *repair, ("127.0.0.1:1".into(), SERVER), requests, pages)
    };
    (task, Server { pages: BTreeMap::new(), requests: queue, listed })
}

fn other_members(cluster: &Cluster) -> Vec<ListSource> {
    let own = cluster.context.identity.position(&cluster.committee).unwrap();
    (0..4).filter(|member| *member != own).map(ListSource::Member).collect()
}

#[tokio::test]
async fn what_is_lacking_is_unknown_until_the_lists_of_a_quorum_were_read() {
    let cluster = Cluster::new();
    let others = other_members(&cluster);
    let (repairing, mut server) = link(&cluster);
    let number = repairing.number();
    server.pages.insert(ListSource::Own, Vec::new());
    server.pages.insert(others[0], vec![cluster.certificate(b"one")]);
    assert_eq!(cluster.lacking(), None);
    let run = Host::system().spawn(repairing.run());
    // the server's list and one member's are not enough
    server.answer(4).await;
    // asked again: the first round is over
    let first = server.requests.recv().await.unwrap();
    assert_eq!(cluster.lacking(), None);
    let Message::List { stream, .. } = Message::decode(&first.bytes).unwrap() else { panic!("expected a list") };
    server.listed.send((stream, Err(Failed::new(stream, Code::Storage, "the disk")))).await.unwrap();
    server.pages.insert(others[2], vec![cluster.certificate(b"one"), cluster.certificate(b"two")]);
    server.answer(3).await;
    // nor is it without the server's own
    server.answer(4).await;
    cluster.until_lacking(Some(2)).await;
    // of what it hears by the way, and believes
    let three = cluster.certificate(b"three");
    cluster.hear(number, vec![forged(&three)]).await;
    assert_eq!(cluster.lacking(), Some(2));
    cluster.hear(number, vec![three]).await;
    assert_eq!(cluster.lacking(), Some(3));
    // there is more than it was shown
    cluster.context.storage.repairs.read_lists_again(number);
    assert_eq!(cluster.lacking(), None);
    server.answer(4).await;
    cluster.until_lacking(Some(3)).await;
    // the link ends
    run.abort();
    let _ = run.await;
    assert_eq!(cluster.lacking(), None);
}

#[tokio::test]
async fn no_list_ends_another() {
    let cluster = Cluster::new();
    let others = other_members(&cluster);
    let (repairing, mut server) = link(&cluster);
    let two = cluster.certificate(b"two");
    server.pages.insert(ListSource::Own, vec![forged(&two); 40]);
    server.pages.insert(others[0], [vec![forged(&two)], vec![cluster.certificate(b"one")]].concat());
    server.pages.insert(others[1], vec![forged(&two); 40]);
    server.pages.insert(others[2], vec![two]);
    let run = Host::system().spawn(repairing.run());
    server.answer(4).await;
    // asked again: the first round is over
    let _ = server.requests.recv().await.unwrap();
    assert_eq!(cluster.lacking(), None, "garbage is not read to its end");
    assert_eq!(cluster.lacking_known(), 2, "a wrong certificate is passed over");
    run.abort();
}

#[tokio::test]
async fn a_renewal_that_was_missed_prolongs_the_duty() {
    let cluster = Cluster::new();
    let bytes = b"held, for a while";
    let certificate = cluster.certificate(bytes);
    let receipt = Receipt { expires_at: Host::system().unix_seconds() + 1000, ..certificate.claim.receipt };
    cluster.context.storage.store.put_small(&receipt, Bytes::from_static(bytes)).await.unwrap();
    cluster.hear(1, vec![certificate.clone()]).await;
    assert_eq!(cluster.context.storage.store.keep_until(&receipt.digest).unwrap(), Some(NEVER));
    assert_eq!(cluster.context.storage.store.certificate(&receipt.digest).unwrap(), Some(certificate));
    assert_eq!(cluster.lacking_known(), 0);
}
