//! Memory is bounded by configuration, not by the size of files.

use support::blobs::write_content;
use support::processes::{Processes, run};

const GIB: u64 = 1 << 30;
const LIMIT: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by make soak"]
async fn a_gibibyte_passes_through_little_memory() {
    let cluster = Processes::start(4).await;
    write_content(&cluster.root().join("large"), 1, GIB).unwrap();
    let put = run(cluster.root(), &["put", "large", "--server", cluster.address()]).await;
    assert!(put.status.success(), "{put:?}");
    let get = run(cluster.root(), &["get", "large.vouch", "-o", "copy", "--server", cluster.address()]).await;
    assert!(get.status.success(), "{get:?}");
    for node in cluster.replicas.iter().chain([&cluster.server]) {
        let peak = node.peak_memory();
        println!("{}: {:.1} MiB at most", node.name(), peak as f64 / f64::from(1 << 20));
        assert!(peak <= LIMIT, "{}: {peak} bytes", node.name());
    }
}
