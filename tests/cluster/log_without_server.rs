//! The ordered log of real processes while no server runs: members that accept each other's connections go on deciding.

use std::ops::Range;
use std::time::Duration;

use serde_json::Value;
use support::http::get;
use support::ordered_log::{OPS, blocks, digests, first_note, note, submit};
use support::processes::{Node, Processes};
use support::{unix_seconds, until};
use tokio::task::JoinSet;
use vouch_core::digest::ClusterId;
use vouch_core::log::Op;
use vouch_core::verify::{LogVerifyOptions, Verifier};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);

/// The number of members whose addresses a replica has on its disk.
fn known_addresses(replica: &Node) -> usize {
    let file = std::fs::read(replica.folder().join("peers.json")).unwrap_or_default();
    let parsed: Value = serde_json::from_slice(&file).unwrap_or_default();
    parsed["addresses"].as_object().map_or(0, serde_json::Map::len)
}

/// Four members whose log runs, and that know where the others listen.
async fn founded() -> (Processes, ClusterId) {
    let cluster = Processes::start_listening(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    in_time("the log runs", first_note(cluster.address())).await;
    for replica in &cluster.replicas {
        until("it has saved the addresses of the others", || known_addresses(replica) == 3).await;
    }
    (cluster, identity)
}

/// A replica's height, and the number of ops that wait there. Both are 0 while it starts.
async fn progress(cluster: &Processes, number: usize) -> (u64, u64) {
    let status = cluster.status_of(&cluster.replicas[number]).await;
    let value = |name: &str| status["log"][name].as_u64().unwrap_or(0);
    (value("height"), value("waiting"))
}

async fn in_time<T>(what: &str, waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Submits notes through the server, each in a request of its own, while too few members run to decide them.
/// Returns once two of them wait at both members that run, and the requests.
async fn until_two_wait(cluster: &Processes, nonces: Range<u8>) -> (Vec<Op>, JoinSet<u16>) {
    let ops: Vec<_> = nonces.map(note).collect();
    let mut requests = JoinSet::new();
    for op in &ops {
        requests.spawn(submit(cluster.address().to_owned(), op.clone()));
    }
    for number in 0..2 {
        in_time("two ops wait", async { while progress(cluster, number).await.1 < 2 {} }).await;
    }
    (ops, requests)
}

/// Waits until these members have decided all that waits, above a height, and are equally far.
async fn until_decided(cluster: &Processes, members: &[usize], above: u64) {
    let deciding = async {
        loop {
            let mut all = Vec::new();
            for number in members {
                all.push(progress(cluster, *number).await);
            }
            if all[0].0 > above && all.iter().all(|(height, waiting)| *height == all[0].0 && *waiting == 0) {
                return;
            }
        }
    };
    in_time("all have decided what waits", deciding).await;
}

/// Ends all replicas, and returns which of the ops all of them have in the same blocks.
fn decided_everywhere(cluster: &mut Processes, identity: ClusterId, ops: Vec<Op>) -> Vec<Op> {
    cluster.replicas.iter_mut().for_each(Node::kill);
    let logs: Vec<_> = cluster.replicas.iter().map(|replica| blocks(replica.folder(), identity)).collect();
    let digests: Vec<_> = logs.iter().map(digests).collect();
    let longest = digests.iter().max_by_key(|log| log.len()).unwrap();
    assert!(digests.iter().all(|log| longest.starts_with(log)), "{digests:?}");
    let place = |op: &Op| logs[0].find_op(op.id(&identity)).unwrap();
    let is_everywhere =
        |op: &Op| place(op).is_some() && logs.iter().all(|log| log.find_op(op.id(&identity)).unwrap() == place(op));
    ops.into_iter().filter(is_everywhere).collect()
}

/// A server that starts again proves what was decided without it.
async fn assert_proved(cluster: &mut Processes, identity: ClusterId, ops: &[Op]) {
    cluster.replicas.iter_mut().for_each(Node::start);
    cluster.restart_server().await;
    for op in ops {
        let id = op.id(&identity);
        let path = format!("{OPS}/{}", id.to_hex());
        let asking = async {
            loop {
                let found = get(cluster.address(), &path).await;
                if found.status == 200 {
                    return found;
                }
                // The head is not certified yet, or no member is connected.
                assert!([404, 503].contains(&found.status), "{}", found.text());
            }
        };
        let found = in_time("the server proves the op", asking).await;
        let options = LogVerifyOptions { trust: identity.into(), wanted: Some(id), now: unix_seconds() };
        let judged = Verifier::new().judge_op(&found.body, &options);
        assert!(judged.proved().is_ok(), "{}", found.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_are_decided_after_every_server_is_dead() {
    let (mut cluster, identity) = founded().await;
    // Two of four are no quorum, so nothing is decided before they go on.
    cluster.replicas[2..].iter().for_each(Node::stop);
    let (before, _) = progress(&cluster, 0).await;
    let (ops, _requests) = until_two_wait(&cluster, 1..5).await;
    cluster.server.kill();
    assert_eq!(progress(&cluster, 0).await.0, before);
    cluster.replicas[2..].iter().for_each(Node::resume);
    until_decided(&cluster, &[0, 1, 2, 3], before).await;
    let decided = decided_everywhere(&mut cluster, identity, ops);
    assert!(decided.len() >= 2, "{decided:?}");
    assert_proved(&mut cluster, identity, &decided).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_while_no_server_runs_catches_up_and_takes_part() {
    let (mut cluster, identity) = founded().await;
    cluster.replicas[3].kill();
    cluster.until_left(3).await;
    let missed = note(1);
    assert_eq!(submit(cluster.address().to_owned(), missed.clone()).await, 201, "three of four are a quorum");
    // With two of four, the next ones need the member that was down.
    cluster.replicas[2].stop();
    let (before, _) = progress(&cluster, 0).await;
    let (ops, _requests) = until_two_wait(&cluster, 2..6).await;
    cluster.server.kill();
    assert_eq!(progress(&cluster, 0).await.0, before);
    cluster.replicas[3].start();
    until_decided(&cluster, &[0, 1, 3], before).await;
    cluster.replicas[2].resume();
    until_decided(&cluster, &[0, 1, 2, 3], before).await;
    let decided = decided_everywhere(&mut cluster, identity, [vec![missed.clone()], ops].concat());
    assert!(decided.len() > 2 && decided[0] == missed, "{decided:?}");
    assert_proved(&mut cluster, identity, &decided).await;
}
