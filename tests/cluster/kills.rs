//! Processes killed at random moments: no certified blob is lost by any replica that signed for it.

use std::collections::BTreeMap;
use std::time::Duration;

use support::blobs::{content, put_bytes};
use support::processes::{Node, Processes};
use tokio::task::JoinSet;
use vouch::host::Host;
use vouch::store::{self, Store};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::session::Certified;
use vouch_fixture::next_random;

/// Sizes around every limit between the store's ways to keep a blob.
const SIZES: [usize; 8] = [1, 1 << 10, 10_000, 64 << 10, (64 << 10) + 1, 300_000, 1 << 20, 2 << 20];

#[tokio::test(flavor = "multi_thread")]
async fn certified_blobs_survive_twenty_rounds_of_kills() {
    rounds(20, 20_261_121).await;
}

/// `make soak`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn certified_blobs_survive_two_hundred_rounds_of_kills() {
    rounds(200, u64::from(std::process::id())).await;
}

async fn rounds(rounds: u64, seed: u64) {
    println!("seed {seed}");
    let mut random = seed;
    let mut cluster = Processes::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let mut certified = Vec::new();
    let mut tried = 0;
    for round in 0..rounds {
        let mut puts = JoinSet::new();
        for number in 0..6 {
            let size = SIZES[usize::try_from(next_random(&mut random) % 8).unwrap()];
            puts.spawn(put(cluster.address().to_owned(), identity, content(seed ^ (round << 16 | number), size)));
            tried += 1;
        }
        for _ in 0..=next_random(&mut random) % 3 {
            pause(&mut random, 60).await;
            kill(&mut cluster, next_random(&mut random) % 6, &mut random).await;
        }
        while let Some(put) = puts.join_next().await {
            certified.extend(put.unwrap());
        }
    }
    println!("{} of {tried} puts were certified in {rounds} rounds", certified.len());
    assert!(certified.len() as u64 > rounds, "most of them should have been");
    cluster.until_connected().await;
    cluster.put(b"it goes on").await.unwrap();

    // check every certificate that a client received, not only the newest per blob
    for replica in &mut cluster.replicas {
        replica.kill();
    }
    let stores: BTreeMap<String, Store> = cluster.replicas.iter().map(open).collect();
    for (certified, bytes) in &certified {
        let record = certified.committee().record();
        for member in certified.certificate.signers.iter() {
            let name = record.name(member);
            let held = read(&stores[&name], &certified.certificate.claim.receipt.digest, bytes.len());
            assert!(held == *bytes, "{name} lost {}", certified.certificate.claim.receipt.digest);
        }
    }
}

async fn put(address: String, identity: ClusterId, bytes: Vec<u8>) -> Option<(Certified, Vec<u8>)> {
    // a kill may fail the put
    let certified = put_bytes(&address, Some(identity), &bytes).await.ok()?;
    Some((certified, bytes))
}

async fn pause(random: &mut u64, most: u64) {
    tokio::time::sleep(Duration::from_millis(next_random(random) % most)).await;
}

/// Kills a replica, the server, or all nodes, and restarts them.
async fn kill(cluster: &mut Processes, whom: u64, random: &mut u64) {
    match whom {
        4 => cluster.restart_server().await,
        5 => {
            cluster.server.kill();
            cluster.replicas.iter_mut().for_each(Node::kill);
            cluster.replicas.iter_mut().for_each(Node::start);
            cluster.restart_server().await;
        }
        number => {
            let replica = &mut cluster.replicas[usize::try_from(number).unwrap()];
            replica.kill();
            pause(random, 30).await;
            replica.start();
        }
    }
}

fn open(replica: &Node) -> (String, Store) {
    let store = Store::open(&Host::system(), replica.folder(), &store::StoreConfig::default()).unwrap();
    (replica.name().to_owned(), store)
}

fn read(store: &Store, digest: &Digest, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let wanted = (length - bytes.len()).min(256 << 10);
        let slice = store.read(digest, bytes.len() as u64, u32::try_from(wanted).unwrap()).unwrap();
        bytes.extend_from_slice(&slice.bytes);
    }
    bytes
}
