//! Whoever ends a link says why before the socket closes, and whoever is left out of a put is named.

use std::sync::Arc;

use support::fake_replica::Identity;
use support::fake_server::reason_of_a_replica;
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio::net::TcpListener;
use vouch::replica::{Config, Data, Replica};
use vouch_core::digest::Digest;
use vouch_core::link::Role;
use vouch_core::message::{Code, Message, Stream};

fn locate() -> Message {
    Message::Locate { stream: Stream(1), digest: Digest::of(b"") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_a_replica_what_it_did_wrong() {
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
async fn a_replica_tells_a_server_what_it_did_wrong() {
    let said = Message::Located { stream: Stream(1), holders: Vec::new() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(Data::Folder(folder.path().join("replica")), vec![address]);
    let replica = Replica::open(config, Arc::new(|_| {})).unwrap();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(replica.run(async { drop(told.await) }));
    let failed = reason_of_a_replica(listener, said).await;
    assert_eq!((failed.code, failed.detail.as_str()), (Code::Unexpected, "expected a request, got Located"));
    drop(tell);
    running.await.unwrap().unwrap();
}
