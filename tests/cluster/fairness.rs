//! Many concurrent clients, none of which starves.

use std::time::{Duration, Instant};

use support::blobs::{content, get_bytes, put_bytes};
use support::in_process::InProcess;
use vouch_core::digest::Digest;

const CLIENTS: u64 = 64;
const LENGTH: usize = 1 << 20;

/// Runs all clients at once; returns the time each took, sorted.
async fn all<F: Future<Output = ()> + Send + 'static>(clients: impl Iterator<Item = F>) -> Vec<Duration> {
    let began = Instant::now();
    let tasks: Vec<_> = clients
        .map(|client| {
            tokio::spawn(async move {
                client.await;
                began.elapsed()
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.push(tokio::time::timeout(Duration::from_secs(180), task).await.expect("nobody starves").unwrap());
    }
    times.sort();
    times
}

fn report(what: &str, times: &[Duration]) {
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    let ratio = slowest.as_secs_f64() / fastest.as_secs_f64();
    println!("{} {what} of 1 MiB: fastest {fastest:.2?}, slowest {slowest:.2?}, ratio {ratio:.1}", times.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_clients_share_a_cluster_fairly() {
    let cluster = InProcess::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let address = cluster.address().to_owned();
    let files: Vec<Vec<u8>> = (0..CLIENTS).map(|seed| content(seed, LENGTH)).collect();
    let puts = files.iter().cloned().map(|bytes| {
        let address = address.clone();
        async move {
            let certified = put_bytes(&address, Some(identity), &bytes).await.unwrap();
            assert_eq!(certified.certificate.claim.receipt.digest, Digest::of(&bytes));
        }
    });
    report("puts", &all(puts).await);
    let gets = files.iter().cloned().map(|bytes| {
        let address = address.clone();
        async move {
            let got = get_bytes(&address, Some(identity), Digest::of(&bytes)).await.unwrap();
            assert!(got.bytes == bytes && got.rejections.is_empty(), "{:?}", got.rejections);
        }
    });
    report("gets", &all(gets).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_puts_of_one_file_all_succeed() {
    let cluster = InProcess::start(4).await;
    let bytes = content(1, LENGTH);
    let puts = (0..16).map(|_| {
        let (address, bytes) = (cluster.address().to_owned(), bytes.clone());
        async move {
            put_bytes(&address, None, &bytes).await.unwrap();
        }
    });
    report("puts of one file", &all(puts).await);
}
