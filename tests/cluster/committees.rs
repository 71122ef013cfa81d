//! How a committee forms, which replicas it admits, and that it never changes.

use support::blobs::{get_bytes, put_bytes, signers, verdict};
use support::fake_replica::Identity;
use support::in_process::InProcess;
use support::raw_link::RawLink;
use support::until;
use vouch::client::ClientError;
use vouch::link::LinkError;
use vouch::replica::Event;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::{LinkSignature, NodeKey, Role};
use vouch_core::message::{Code, Failed, Message};
use vouch_core::session::SessionError;
use vouch_core::verify::Verdict;

fn refusal(error: &ClientError) -> &Failed {
    match error {
        ClientError::Session(SessionError::Refused { failed, .. }) | ClientError::Link(LinkError::Refused(failed)) => {
            failed
        }
        other => panic!("expected a refusal, got {other}"),
    }
}

fn refused_for_good(event: Event) -> Option<String> {
    match event {
        Event::RefusedForGood(_, why) => Some(why),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quorum_follows_from_committee_size() {
    for (n, needed, text) in [
        (1_u16, 1_u16, "1 member: tolerates no fault, every member must be up (4 members tolerate 1)"),
        (2, 2, "2 members: tolerates no fault, every member must be up (4 members tolerate 1)"),
        (3, 3, "3 members: tolerates no fault, every member must be up (4 members tolerate 1)"),
        (4, 3, "4 members: tolerates 1 dead, slow or lying; 3 must sign"),
        (7, 5, "7 members: tolerates 2 dead, slow or lying; 5 must sign"),
    ] {
        let cluster = InProcess::start(n.into()).await;
        let certified = cluster.put(b"some bytes").await.unwrap();
        let record = certified.committee().record();
        assert_eq!((record.n(), record.quorum()), (n, needed));
        assert_eq!(vouch::server::tolerance(certified.committee()), text);
        assert!((needed..=n).contains(&certified.certificate.signers.count()));
        assert!(matches!(verdict(&certified, record.cluster(), b"some bytes"), Verdict::Valid(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_and_get_without_replicas_fail_with_no_committee() {
    let cluster = InProcess::start(0).await;
    let error = cluster.put(b"x").await.unwrap_err();
    assert_eq!(refusal(&error).code, Code::NoCommittee, "{error}");
    assert!(error.to_string().contains("start one with `vouch replica SERVER`"), "{error}");
    let error = get_bytes(cluster.address(), None, Digest::of(b"x")).await.unwrap_err();
    assert_eq!(refusal(&error).code, Code::NoCommittee, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_put_founds_the_committee_and_later_replicas_stand_by() {
    let mut cluster = InProcess::start(2).await;
    let first = cluster.put(b"x").await.unwrap();
    assert_eq!(first.committee().record().n(), 2);
    cluster.start_replica(2).await;
    cluster.until_replica(2, "stands by", |event| matches!(event, Event::Standby(_))).await;
    let second = cluster.put(b"y").await.unwrap();
    assert_eq!(second.committee().cluster(), first.committee().cluster());
    let mut names = signers(&second);
    names.sort();
    assert_eq!(names, ["replica-0", "replica-1"]);
    let stored = |event: &Event| matches!(event, Event::Stored(..));
    assert!(!cluster.replica_events(2).iter().any(stored), "a standby is not asked");
    cluster
        .until_replica(
            0,
            "stores both",
            |event| matches!(event, Event::Stored(digest, 1) if *digest == Digest::of(b"y")),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committee_is_founded_when_the_configured_number_has_joined() {
    let mut cluster = InProcess::start_with(1, |config| config.wanted.replicas = Some(2)).await;
    let error = cluster.put(b"x").await.unwrap_err();
    let failed = refusal(&error);
    assert_eq!(failed.code, Code::NoCommittee, "{error}");
    assert!(failed.detail.contains("2 replicas must join first, 1 are connected"), "{error}");
    cluster.start_replica(1).await;
    // without any put
    cluster.until_replica(1, "is a member", |event| matches!(event, Event::Member(..))).await;
    cluster.start_replica(2).await;
    cluster.until_replica(2, "stands by", |event| matches!(event, Event::Standby(_))).await;
    assert_eq!(cluster.put(b"x").await.unwrap().committee().record().n(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_of_another_cluster_is_refused_with_both_identities() {
    let mut one = InProcess::start(1).await;
    let mut other = InProcess::start(1).await;
    let (first, second) = (one.put(b"x").await.unwrap(), other.put(b"x").await.unwrap());
    let identities = [first.committee().cluster().to_string(), second.committee().cluster().to_string()];
    // a member of the other cluster dials this server
    other.stop_replica(0).await;
    let replica = other.spawn_replica_at(0, vec![one.address().into()]).await;
    let mut text = String::new();
    until("the replica is refused", || {
        text = replica.events().into_iter().find_map(refused_for_good).unwrap_or_default();
        !text.is_empty()
    })
    .await;
    assert!(identities.iter().all(|identity| text.contains(identity)), "{text}");
    // the server refuses it too
    let mut link = RawLink::open(one.address()).await;
    let stranger = Identity::new(1, "stranger");
    let hello = vouch_core::link::Hello::new(
        Role::Replica,
        Some(second.committee().cluster()),
        stranger.node.node_key(),
        [0; 32],
    );
    link.send(&Message::Hello(hello)).await;
    let failed = link.refused().await;
    assert_eq!(failed.code, Code::AnotherCluster);
    assert!(identities.iter().all(|identity| failed.detail.contains(identity)), "{failed}");
    one.stop_replica(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_must_prove_both_its_keys() {
    let cluster = InProcess::start(1).await;
    let (own, other) = (Identity::new(1, "own"), Identity::new(2, "other"));

    let mut link = RawLink::open(cluster.address()).await;
    link.hello(Role::Replica, None, own.node.node_key()).await;
    link.send(&Message::Auth(LinkSignature([1; 64]))).await;
    let failed = link.refused().await;
    assert_eq!(failed.code, Code::NotAuthenticated, "{failed}");

    // a valid signature by another key than the named one
    let mut link = RawLink::open(cluster.address()).await;
    let welcome = link.hello(Role::Replica, None, own.node.node_key()).await;
    link.send(&Message::Auth(other.node.sign(&welcome.transcript, Role::Replica))).await;
    assert_eq!(link.refused().await.code, Code::NotAuthenticated);

    // another replica's vote key, with a proof for a different key
    let mut link = RawLink::open(cluster.address()).await;
    let welcome = link.hello(Role::Replica, None, own.node.node_key()).await;
    link.send(&Message::Auth(own.node.sign(&welcome.transcript, Role::Replica))).await;
    let possession = own.vote.prove_possession();
    link.send(&Message::Join { vote_key: other.vote.vote_key(), possession, name: own.name }).await;
    let failed = link.refused().await;
    assert_eq!(failed.code, Code::NotAuthenticated, "{failed}");

    let certified = cluster.put(b"x").await.unwrap();
    assert_eq!(certified.committee().record().n(), 1, "none of them joined");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_trusts_another_cluster_fails_on_both_sides() {
    let cluster = InProcess::start(1).await;
    let identity = cluster.put(b"x").await.unwrap().committee().cluster();
    let pinned = ClusterId([9; 32]);
    for error in [
        put_bytes(cluster.address(), Some(pinned), b"x").await.unwrap_err(),
        get_bytes(cluster.address(), Some(pinned), Digest::of(b"x")).await.unwrap_err(),
    ] {
        assert_eq!(refusal(&error).code, Code::AnotherCluster);
        let text = error.to_string();
        assert!(text.contains(&identity.to_string()) && text.contains(&pinned.to_string()), "{text}");
    }
    // a server without a committee cannot refuse it: the client does
    let empty = InProcess::start(1).await;
    let error = put_bytes(empty.address(), Some(pinned), b"x").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Session(SessionError::AnotherCluster { expected, got: None }) if *expected == pinned),
        "{error}"
    );
    let mut link = RawLink::open(cluster.address()).await;
    link.send(&Message::Hello(vouch_core::link::Hello::new(Role::Client, Some(pinned), NodeKey::ANONYMOUS, [0; 32])))
        .await;
    assert_eq!(link.refused().await.code, Code::AnotherCluster);
}
