//! How clusters are founded: each replica accepts one founding, despite several servers, strangers and crashes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use support::fake_replica::Identity;
use support::in_process::{InProcess, Running};
use support::processes::{Node, Processes, run};
use support::raw_link::RawLink;
use support::until;
use vouch::replica::Event;
use vouch_core::committee::{Committee, CommitteeRecord, Member};
use vouch_core::digest::ClusterId;
use vouch_core::founding::Founding;
use vouch_core::link::Role;
use vouch_core::message::{Code, Message};

/// The cluster that a replica says it is a member of.
fn membership(replica: &Running<Event>) -> Option<ClusterId> {
    replica.events().iter().find_map(|event| match event {
        Event::Member(committee, _) => Some(committee.cluster()),
        _ => None,
    })
}

/// The cluster that a server founded.
fn formed(server: &InProcess) -> Option<ClusterId> {
    server.server_events().iter().find_map(|event| match event {
        vouch::server::Event::Formed(committee) => Some(committee.cluster()),
        _ => None,
    })
}

/// Everything that a server reported about foundings.
fn foundings_reported(server: &InProcess) -> String {
    let lines = server.server_events().into_iter().filter_map(|event| match event {
        vouch::server::Event::Founding(line) => Some(line),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn server_of(replicas: u16) -> InProcess {
    InProcess::start_with(0, |config| config.wanted.replicas = Some(replicas)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fresh_servers_with_the_same_four_replicas_found_one_cluster() {
    for round in 0..6 {
        let (one, other) = (server_of(4).await, server_of(4).await);
        let mut replicas = Vec::new();
        for number in 0..4 {
            let mut servers = vec![one.address().to_owned(), other.address().to_owned()];
            if (number + round) % 2 == 0 {
                servers.reverse();
            }
            replicas.push(one.spawn_replica_at(number, servers).await);
        }
        until("both servers have a committee", || formed(&one).is_some() && formed(&other).is_some()).await;
        let cluster = formed(&one);
        assert_eq!(formed(&other), cluster, "round {round}");
        until("all are members of it", || replicas.iter().all(|replica| membership(replica) == cluster)).await;
        let [first, second] = [one.put(b"through one").await.unwrap(), other.put(b"through the other").await.unwrap()];
        assert_eq!(Some(first.committee().cluster()), cluster);
        assert_eq!(Some(second.committee().cluster()), cluster);
    }
}

/// Starts `n` replicas of two servers: replica `both` dials both, those before it one server, those after it the other.
async fn overlapping(one: &InProcess, other: &InProcess, n: usize, both: usize, reverse: bool) -> Vec<Running<Event>> {
    let mut replicas = Vec::new();
    for number in 0..n {
        let mut servers: Vec<String> = Vec::new();
        servers.extend((number <= both).then(|| one.address().to_owned()));
        servers.extend((number >= both).then(|| other.address().to_owned()));
        if reverse {
            servers.reverse();
        }
        replicas.push(one.spawn_replica_at(number, servers).await);
    }
    replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_foundings_that_share_a_replica_wins_and_both_servers_serve_it() {
    for round in 0..4 {
        let (one, other) = (server_of(3).await, server_of(3).await);
        let replicas = overlapping(&one, &other, 5, 2, round % 2 == 0).await;
        until("both servers have a committee", || formed(&one).is_some() && formed(&other).is_some()).await;
        let cluster = formed(&one);
        assert_eq!(formed(&other), cluster, "round {round}");
        let members = || replicas.iter().filter(|replica| membership(replica).is_some()).count();
        until("its three members know", || members() >= 3).await;
        assert_eq!(members(), 3, "round {round}");
        assert!(replicas.iter().all(|replica| membership(replica).is_none_or(|known| Some(known) == cluster)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_whose_founding_lost_reports_why_and_founds_with_free_replicas() {
    for round in 0..4 {
        let (one, other) = (server_of(2).await, server_of(3).await);
        let replicas = overlapping(&one, &other, 4, 1, round % 2 == 0).await;
        until("one of them has a committee", || formed(&one).is_some() || formed(&other).is_some()).await;
        let (winner, loser, n) = if formed(&one).is_some() { (&one, &other, 3) } else { (&other, &one, 2) };
        let cluster = formed(winner);
        let members = || replicas.iter().filter(|replica| membership(replica) == cluster).count();
        until("its members know", || members() == 5 - n).await;
        let why = format!(
            "{n} replicas must join first, {n} are connected, 1 of them belong to another founding (--replicas: expected"
        );
        until("the other says why it has none", || foundings_reported(loser).contains(&why)).await;
        assert_eq!(formed(loser), None, "round {round}");
        // the remaining replicas have accepted nothing: with one more they found another cluster
        let last = loser.spawn_replica_at(4, vec![loser.address().to_owned()]).await;
        until("the other has a committee too", || formed(loser).is_some()).await;
        assert_ne!(formed(loser), cluster);
        until("the newcomer knows", || membership(&last) == formed(loser)).await;
    }
}

/// A complete founding with a single member.
fn founding_of_one(identity: &Identity) -> Founding {
    let member = Member { node_key: identity.node.node_key(), vote_key: identity.vote.vote_key(), name: identity.name };
    let record = CommitteeRecord::genesis([1; 16], vec![member]).unwrap();
    let committee = Committee::proven(record, vec![identity.vote.prove_possession()]).unwrap();
    let mut founding = Founding::new(committee.into());
    founding.accept_as(&identity.node.node_key(), &identity.vote);
    founding
}

/// A stranger's link that claims membership of its own cluster.
async fn stranger(address: &str, seed: u32) -> RawLink {
    let identity = Identity::new(seed, "stranger");
    let founding = founding_of_one(&identity);
    let mut link = RawLink::open(address).await;
    let cluster = Some(founding.record().cluster());
    let welcome = link.hello(Role::Replica, cluster, identity.node.node_key()).await;
    link.send(&Message::Auth(identity.node.sign(&welcome.transcript, Role::Replica))).await;
    link.send(&identity.join()).await;
    link.send(&Message::Founding(Box::new(founding.message()))).await;
    link
}

/// A link of a replica that has joined and shown no membership yet.
async fn joined(address: &str, identity: &Identity) -> RawLink {
    let mut link = RawLink::open(address).await;
    let welcome = link.hello(Role::Replica, None, identity.node.node_key()).await;
    link.send(&Message::Auth(identity.node.sign(&welcome.transcript, Role::Replica))).await;
    link.send(&identity.join()).await;
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_with_an_invalid_membership_is_told_why_its_link_ends() {
    let server = server_of(4).await;
    let (own, other) = (Identity::new(1, "own"), Identity::new(2, "other"));
    let mut link = joined(server.address(), &own).await;
    link.send(&Message::Founding(Box::new(founding_of_one(&other).message()))).await;
    let failed = link.failed().await;
    assert_eq!(failed.code, Code::Unexpected, "{failed}");
    assert!(failed.detail.contains("expected a founding that") && failed.detail.contains("without its"), "{failed}");

    let mut link = joined(server.address(), &own).await;
    let mut forged = founding_of_one(&own).message();
    let signature = *founding_of_one(&other).acceptances().values().next().unwrap();
    forged.acceptances.insert(0, signature);
    link.send(&Message::Founding(Box::new(forged))).await;
    let failed = link.failed().await;
    assert_eq!(failed.code, Code::NotAuthenticated, "{failed}");
    assert!(failed.detail.contains("acceptance by own: vote of member 0"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_with_its_own_committee_does_not_capture_a_server_with_a_configured_size() {
    let server = server_of(4).await;
    let mut strangers = Vec::new();
    for seed in 0..3 {
        strangers.push(stranger(server.address(), seed).await);
    }
    until("all three are there", || {
        let joined = |event: &vouch::server::Event| matches!(event, vouch::server::Event::Joined(..));
        server.server_events().iter().filter(|event| joined(event)).count() == 3
    })
    .await;
    let error = server.put(b"x").await.unwrap_err().to_string();
    assert!(error.contains("4 replicas must join first, 3 are connected, 3 of them belong to another"), "{error}");
    let mut replicas = Vec::new();
    for number in 0..4 {
        replicas.push(server.spawn_replica_at(number, vec![server.address().to_owned()]).await);
    }
    until("the four found it", || formed(&server).is_some()).await;
    until("they know", || replicas.iter().all(|replica| membership(replica) == formed(&server))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_join_first_do_not_become_members_of_a_listed_committee() {
    let mut cluster = Processes::start_server_with(&[]).await;
    // the operator's list: the lines that `vouch keygen` prints
    let mut list = String::new();
    for number in 0..2 {
        let folder = cluster.root().join(format!("replica-{number}"));
        let printed = run(cluster.root(), &["keygen", "--data", folder.to_str().unwrap()]).await;
        list.push_str(&String::from_utf8(printed.stdout).unwrap());
    }
    let file = cluster.root().join("members");
    fs::write(&file, list).unwrap();
    let (server, address) = cluster.another_server_with("listed", &["--members", file.to_str().unwrap()]).await;
    for seed in 0..2 {
        let mut link = stranger(&address, seed).await;
        let failed = link.failed().await;
        assert_eq!(failed.code, Code::NotAdmitted, "{failed}");
        assert!(failed.detail.contains("--members"), "{failed}");
    }
    for number in 0..2 {
        cluster.add_replica_through(&address, number, &[], &[]);
    }
    until("the listed members found it", || server.log().contains("was founded by 2 replicas")).await;
}

/// The clusters that replicas log membership of.
fn clusters<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> BTreeSet<String> {
    let lines = nodes.into_iter().map(Node::log).collect::<String>();
    let clusters = lines.lines().filter(|line| line.starts_with("member "));
    clusters.filter_map(|line| line.split_once("of cluster ")).map(|(_, cluster)| cluster.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_during_a_founding_lead_to_one_cluster() {
    for round in 0..8_u64 {
        let mut cluster = Processes::start_server_with(&["--replicas", "4"]).await;
        for number in 0..4 {
            cluster.add_replica(number);
        }
        // each round kills at a different moment: before, during and after the acceptances
        tokio::time::sleep(Duration::from_millis(40 + 45 * round)).await;
        let victim = usize::try_from(round % 5).unwrap();
        match victim {
            4 => cluster.restart_server().await,
            replica => {
                cluster.replicas[replica].kill();
                cluster.replicas[replica].start();
            }
        }
        until("all are members", || cluster.replicas.iter().all(|replica| !clusters([replica]).is_empty())).await;
        let founded = clusters(&cluster.replicas);
        assert_eq!(founded.len(), 1, "round {round}: {founded:?}");
        let certified = cluster.put(b"x").await.unwrap();
        assert_eq!(BTreeSet::from([certified.committee().cluster().to_string()]), founded);
        assert_eq!(certified.committee().record().n(), 4);
    }
}

async fn status(cluster: &Processes, number: usize) -> String {
    let folder = cluster.replicas[number].folder().to_str().unwrap().to_owned();
    let output = run(cluster.root(), &["status", "--data", &folder]).await;
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn founding_with_a_lost_member_is_reported_and_can_be_abandoned() {
    let mut cluster = Processes::start_server_with(&["--replicas", "2"]).await;
    cluster.add_replica(0);
    cluster.until_connected().await;
    // the second of the two receives the founding and never returns
    let link = joined(cluster.address(), &Identity::new(1, "gone")).await;
    until("it is accepted by the first", || cluster.replicas[0].log().contains("accepted the founding")).await;
    drop(link);

    let error = cluster.put(b"x").await.unwrap_err().to_string();
    let words = "2 forms when all its members have accepted: 1 did; it waits for gone, which is not connected";
    assert!(error.contains(words) && error.contains("--abandon-founding"), "{error}");
    until("the server says it", || cluster.server.log().contains(words)).await;
    until("the replica says it", || cluster.replicas[0].log().contains(words)).await;
    let told = status(&cluster, 0).await;
    assert!(told.contains("founding  accepted a founding of 2 members; 1 of them"), "{told}");
    assert!(told.contains("signs     no: it is in no committee yet"), "{told}");
    assert!(told.contains(words), "{told}");

    // a replacement founds nothing: the first replica is bound by its acceptance
    cluster.add_replica(1);
    cluster.until_connected().await;
    cluster.put(b"x").await.unwrap_err();
    cluster.replicas[0].terminate();
    cluster.replicas[0].add_argument("--abandon-founding");
    cluster.replicas[0].start();
    until("a committee forms", || cluster.server.log().contains("was founded by 2 replicas")).await;
    assert!(cluster.replicas[0].log().contains("abandoned"), "{}", cluster.replicas[0].log());
    cluster.put(b"x").await.unwrap();
    until("it signs", || !clusters([&cluster.replicas[0]]).is_empty()).await;
    let told = status(&cluster, 0).await;
    assert!(told.contains("connected, as a member") && told.contains("signs     yes; last at"), "{told}");

    // a complete founding cannot be abandoned
    cluster.replicas[0].terminate();
    cluster.replicas[0].start();
    assert_eq!(cluster.replicas[0].wait(), Some(1));
    assert!(cluster.replicas[0].log().contains("cannot be left yet"), "{}", cluster.replicas[0].log());
}

fn write_key(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn member_refuses_to_start_without_its_keys_and_creates_no_new_ones() {
    let mut cluster = Processes::start(1).await;
    cluster.put(b"x").await.unwrap();
    cluster.replicas[0].terminate();
    let folder = cluster.replicas[0].folder().to_owned();
    let shown = folder.to_str().unwrap().to_owned();
    for name in ["node.key", "vote.key"] {
        let path = folder.join(name);
        let old = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        cluster.replicas[0].start();
        assert_eq!(cluster.replicas[0].wait(), Some(1));
        let log = cluster.replicas[0].log();
        assert!(log.contains(&format!("{name} is missing")) && log.contains("Restore the file from a copy"), "{log}");
        for command in ["keygen", "du"] {
            let output = run(cluster.root(), &[command, "--data", &shown]).await;
            assert_eq!(output.status.code(), Some(1), "{command}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(&format!("{name} is missing")), "{command}: {text}");
        }
        assert!(!path.exists(), "a new key would hide the loss");
        write_key(&path, format!("{}\n", "07".repeat(32)).as_bytes());
        cluster.replicas[0].start();
        assert_eq!(cluster.replicas[0].wait(), Some(1));
        let log = cluster.replicas[0].log();
        assert!(log.contains(&format!("{name}: expected the key of a member")), "{log}");
        write_key(&path, &old);
    }
    cluster.replicas[0].start();
    cluster.until_connected().await;
    cluster.put(b"y").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_refused_permanently_reports_it_and_keeps_its_other_servers() {
    let mut cluster = Processes::start(1).await;
    let first = cluster.put(b"x").await.unwrap();
    let foreign = InProcess::start(1).await;
    let other = foreign.put(b"x").await.unwrap();
    cluster.replicas[0].terminate();
    cluster.replicas.clear();
    cluster.add_replica_with(0, &[foreign.address()]);
    cluster.until_connected().await;
    let why = format!(
        "this server serves {}, the replica named {}",
        other.committee().cluster(),
        first.committee().cluster()
    );
    until("it says that it is refused", || cluster.replicas[0].log().contains(&why)).await;
    cluster.put(b"y").await.unwrap();
    let told = status(&cluster, 0).await;
    assert!(told.contains("refused for good") && told.contains(&why), "{told}");
    assert!(told.contains("connected, as a member"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_serves_only_its_configured_cluster() {
    let mut founder = InProcess::start(1).await;
    let certified = founder.put(b"x").await.unwrap();
    let cluster = certified.committee().cluster();
    let second = InProcess::start_with(0, |config| config.wanted.cluster = Some(cluster)).await;
    let _stranger = stranger(second.address(), 1).await;
    let error = second.put(b"x").await.unwrap_err().to_string();
    assert!(error.contains(&format!("serves cluster {cluster} only")), "{error}");
    assert_eq!(formed(&second), None);
    founder.stop_replica(0).await;
    let _member = founder.spawn_replica_at(0, vec![second.address().to_owned()]).await;
    until("a member shows it", || formed(&second) == Some(cluster)).await;
    second.put(b"y").await.unwrap();
}
