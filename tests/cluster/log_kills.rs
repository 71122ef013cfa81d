//! Replicas killed at random moments while notes are written: no acknowledged op is lost, and the log never forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::http::{get, request};
use support::ordered_log::{OPS, blocks, digests};
use support::processes::Processes;
use tokio::task::JoinSet;
use vouch::host::Host;
use vouch::log::block_store::KEPT_BLOCKS;
use vouch_core::digest::{BlockDigest, ClusterId};
use vouch_core::log::{Op, OpId};
use vouch_core::verify::{LogVerifyOptions, Verifier};
use vouch_fixture::next_random;

const WRITERS: u64 = 4;
/// More blocks than may be decided after the last op that is waited for: of ops that were given up and have not expired.
const STILL_DECIDED: u64 = 1_000;

/// An op whose proof a client got.
struct Acknowledged {
    id: OpId,
    height: u64,
    block: BlockDigest,
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_ops_survive_twelve_seconds_of_kills() {
    kills_for(Duration::from_secs(12), 20_261_129).await;
}

/// `make soak`. `VOUCH_KILL_SECONDS` sets the time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn acknowledged_ops_survive_minutes_of_kills() {
    let seconds = std::env::var("VOUCH_KILL_SECONDS").map_or(240, |seconds| seconds.parse().unwrap());
    kills_for(Duration::from_secs(seconds), u64::from(std::process::id())).await;
}

async fn kills_for(time: Duration, seed: u64) {
    println!("seed {seed}");
    let mut random = seed;
    let mut cluster = Processes::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let (over, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(write(cluster.address().to_owned(), identity, seed ^ number << 32, over.clone(), tried.clone()));
    }
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < time {
        pause(&mut random, 1500).await;
        let victim = usize::try_from(next_random(&mut random) % 4).unwrap();
        // Now and then all at once: what is durable at each must be enough to go on.
        let victims = if next_random(&mut random).is_multiple_of(6) { 0..4 } else { victim..victim + 1 };
        victims.clone().for_each(|number| cluster.replicas[number].kill());
        kills += victims.len();
        pause(&mut random, 1500).await;
        victims.for_each(|number| cluster.replicas[number].start());
    }
    over.store(true, Ordering::Relaxed);
    cluster.until_connected().await;
    let mut acknowledged = Vec::new();
    while let Some(written) = writers.join_next().await {
        acknowledged.extend(written.unwrap());
    }
    let last = until_written(cluster.address(), identity, &mut random).await;
    println!("{} of {} ops were acknowledged, {kills} kills", acknowledged.len(), tried.load(Ordering::Relaxed));
    assert!(acknowledged.len() > 10, "most of them should have been");
    // Older ones cannot be proved any more. That they are not lost follows from the digests below.
    let kept = last.height.saturating_sub(KEPT_BLOCKS - STILL_DECIDED);
    for expected in acknowledged.iter().filter(|expected| expected.height > kept) {
        let found = get(cluster.address(), &format!("{OPS}/{}", expected.id.to_hex())).await;
        let got = proved(&found.body, identity, expected.id).unwrap_or_else(|| panic!("{}", found.text()));
        assert_eq!((got.height, got.block), (expected.height, expected.block));
    }

    // Every replica has the same blocks, as far as it has them.
    cluster.replicas.iter_mut().for_each(support::processes::Node::kill);
    let logs: Vec<_> = cluster.replicas.iter().map(|replica| digests(&blocks(replica.folder(), identity))).collect();
    let longest = logs.iter().max_by_key(|log| log.len()).unwrap();
    assert!(longest.len() as u64 >= last.height);
    for (log, replica) in logs.iter().zip(&cluster.replicas) {
        assert!(longest.starts_with(log), "{} has another block than the others", replica.name());
    }
    for Acknowledged { height, block, .. } in &acknowledged {
        assert_eq!(longest[usize::try_from(height - 1).unwrap()], *block);
    }
}

/// Writes notes one after the other until it is over. Each is sent again until it is acknowledged or expired, as a client would.
async fn write(
    address: String,
    identity: ClusterId,
    mut random: u64,
    over: Arc<AtomicBool>,
    tried: Arc<AtomicU64>,
) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    while !over.load(Ordering::Relaxed) {
        tried.fetch_add(1, Ordering::Relaxed);
        acknowledged.extend(submit(&address, identity, &note(&mut random)).await);
    }
    acknowledged
}

async fn until_written(address: &str, identity: ClusterId, random: &mut u64) -> Acknowledged {
    for _ in 0..30 {
        if let Some(written) = submit(address, identity, &note(random)).await {
            return written;
        }
    }
    panic!("the log does not go on");
}

async fn submit(address: &str, identity: ClusterId, op: &Op) -> Option<Acknowledged> {
    let body = op.encode();
    let length = body.len().to_string();
    let answer = request(address, "POST", OPS, &[("Content-Length", &length)], &body).await;
    proved(&answer.body, identity, op.id(&identity))
}

fn proved(bundle: &[u8], identity: ClusterId, id: OpId) -> Option<Acknowledged> {
    let options = LogVerifyOptions { trust: identity.into(), wanted: Some(id), now: now() };
    let judged = Verifier::new().judge_op(bundle, &options);
    let (proof, _) = judged.proved().ok()?;
    Some(Acknowledged { id, height: proof.block.height, block: proof.block.digest() })
}

fn note(random: &mut u64) -> Op {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&next_random(random).to_le_bytes());
    nonce[8..].copy_from_slice(&next_random(random).to_le_bytes());
    Op::new(Op::NOTE, nonce, now() + 60, b"a note".to_vec()).unwrap()
}

fn now() -> u64 {
    Host::system().unix_seconds()
}

async fn pause(random: &mut u64, most: u64) {
    tokio::time::sleep(Duration::from_millis(next_random(random) % most)).await;
}
