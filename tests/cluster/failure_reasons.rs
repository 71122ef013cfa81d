//! A node that ends a link sends the reason before it closes the socket, and a skipped member is named.

use std::sync::Arc;

use support::blobs::content;
use support::fake_replica::{FakeReplica, Identity};
use support::fake_server::reason_of_a_replica;
use support::in_process::InProcess;
use support::proxy::Proxy;
use support::raw_link::RawLink;
use support::until;
use tokio::net::TcpListener;
use vouch::host::Host;
use vouch::replica::{Data, Replica, ReplicaConfig};
use vouch_core::digest::Digest;
use vouch_core::link::Role;
use vouch_core::message::{Code, Message, Stream};

fn locate() -> Message {
    Message::Locate { stream: Stream(1), digest: Digest::of(b""), authorisation: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_tells_a_replica_why_it_ends_the_link() {
    let cluster = InProcess::start(1).await;
    let identity = Identity::new(7, "wrong");
    let mut link = RawLink::open(cluster.address()).await;
    let welcome = link.hello(Role::Replica, None, identity.node.node_key()).await;
    link.send(&Message::Auth(identity.node.sign(&welcome.transcript, Role::Replica))).await;
    link.send(&identity.join()).await;
    link.send(&locate()).await;
    let failed = link.refused().await;
    assert_eq!((failed.code, failed.detail.as_str()), (Code::Unexpected, "expected a reply, got Locate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_tells_a_server_why_it_ends_the_link() {
    let said = Message::Located { stream: Stream(1), holders: Vec::new() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = ReplicaConfig::new(Data::Folder(folder.path().join("replica")), vec![address]);
    let replica = Replica::open(Host::system(), config, Arc::new(|_| {})).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(replica.run(async { drop(told.await) }));
    let failed = reason_of_a_replica(listener, said).await;
    assert_eq!((failed.code, failed.detail.as_str()), (Code::Unexpected, "expected a request, got Located"));
    drop(tell);
    running.await.unwrap();
}

/// A slow replica logs no error of its own, so the server must tell it that puts do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn skipped_replica_is_told_why_and_logs_it() {
    let cluster = InProcess::start(3).await;
    let proxy = Proxy::start(cluster.address()).await;
    let slow = cluster.spawn_replica_at(3, vec![proxy.address().to_owned()]).await;
    until("the slow one joins", || cluster.connected().contains(&"replica-3".to_owned())).await;
    proxy.set_receive_rate(256 << 10);
    cluster.put(&content(1, 1 << 20)).await.unwrap();
    let expected = "it had not stored a blob when a quorum had; it is not waited for until it stores in time again";
    let told = |event: &vouch::replica::Event| match event {
        vouch::replica::Event::LeftOut(line) => line.contains(expected) && line.contains(proxy.address()),
        _ => false,
    };
    until("the slow one logs it", || slow.events().iter().any(told)).await;
    let logged = |event: &vouch::server::Event| match event {
        vouch::server::Event::LeftOut(line) => line.starts_with("replica-3 had not stored a blob"),
        _ => false,
    };
    assert!(cluster.server_events().iter().any(logged), "{:?}", cluster.server_events());
}

/// The other votes make the certificate; the liar is told why its vote does not count.
#[tokio::test(flavor = "multi_thread")]
async fn member_with_an_invalid_vote_is_told_why() {
    let cluster = InProcess::start(3).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let lie = move |honest: &_, question: &Message, answers| {
        if let Message::Failed(failed) = question {
            tell.send(failed.clone()).unwrap();
        }
        let honest: &support::fake_replica::Honest = honest;
        match question {
            Message::Propose { stream, issued_at, receipts } => vec![honest.vote(*stream, issued_at + 1, receipts)],
            _ => answers,
        }
    };
    let _liar = FakeReplica::join(cluster.address(), Identity::new(7, "liar"), lie).await;
    until("the liar joins", || cluster.connected().contains(&"liar".to_owned())).await;
    let certified = cluster.put(b"bytes").await.unwrap();
    // a vote that arrives after its batch ended is not checked: retry until one is
    let mut failed = None;
    for seed in 0..100 {
        cluster.put(&content(seed, 1000)).await.unwrap();
        failed = std::iter::from_fn(|| told.try_recv().ok()).find(|failed| failed.code != Code::TimedOut);
        if failed.is_some() {
            break;
        }
    }
    let failed = failed.expect("the liar is told");
    let names: Vec<_> = failed.subjects.iter().map(|member| certified.committee().record().name(*member)).collect();
    assert_eq!((failed.code, &names[..]), (Code::NotAuthenticated, &["liar".to_owned()][..]), "{failed:?}");
    assert_eq!(failed.detail, "voted with a signature that is not its own, or not of what was proposed");
}
