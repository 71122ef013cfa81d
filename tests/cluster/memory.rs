//! Memory is bounded by configuration, not by the size of files.

use support::blobs::{content, put_bytes, write_content};
use support::processes::{Processes, run};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by make soak"]
async fn put_and_get_of_1_gib_use_bounded_memory() {
    let cluster = Processes::start(4).await;
    write_content(&cluster.root().join("large"), 1, GIB).unwrap();
    let put = run(cluster.root(), &["put", "large", "--server", cluster.address()]).await;
    assert!(put.status.success(), "{put:?}");
    let get = run(cluster.root(), &["get", "large.vouch", "-o", "copy", "--server", cluster.address()]).await;
    assert!(get.status.success(), "{get:?}");
    assert_peak_memory(&cluster, 64 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by make soak"]
async fn many_clients_and_a_hanging_replica_use_bounded_memory() {
    let cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    cluster.replicas[0].stop();
    let puts = (0..64).map(|seed| {
        let address = cluster.address().to_owned();
        tokio::spawn(async move { put_bytes(&address, None, &content(seed, 16 << 20)).await.map(drop) })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    // per client one message being read and one being forwarded, plus 8 MiB queued for the hanging replica
    assert_peak_memory(&cluster, 128 * MIB);
}

fn assert_peak_memory(cluster: &Processes, limit: u64) {
    for node in cluster.replicas.iter().chain([&cluster.server]) {
        let peak = node.peak_memory();
        println!("{}: {:.1} MiB at most", node.name(), peak as f64 / f64::from(1 << 20));
        assert!(peak <= limit, "{}: {peak} bytes", node.name());
    }
}
