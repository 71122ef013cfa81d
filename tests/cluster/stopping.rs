//! A server or a replica that is asked to stop finishes the puts in progress.

use std::process::Output;
use std::time::{Duration, Instant};

use support::blobs::write_content;
use support::processes::{Processes, run};
use support::proxy::Proxy;
use support::raw_link::RawLink;
use support::{http, until};
use tokio::task::JoinHandle;
use vouch_core::message::{Code, Stream};

const LENGTH: u64 = 50 << 20;
/// Bytes per second.
const FAST: u64 = 24 << 20;
const SLOW: u64 = 1 << 20;

/// A cluster with a put that is half done.
struct HalfPut {
    cluster: Processes,
    proxy: Proxy,
    put: JoinHandle<Output>,
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

impl HalfPut {
    /// With these arguments of server and replica.
    async fn start(arguments: &[&str], rate: u64) -> Self {
        let mut cluster = Processes::start_server_with(arguments).await;
        cluster.add_replica_with(0, arguments);
        cluster.until_connected().await;
        let proxy = Proxy::start(cluster.address()).await;
        proxy.set_rate(rate);
        let file = cluster.root().join("large");
        write_content(&file, 1, LENGTH).unwrap();
        let (root, address) = (cluster.root().to_owned(), proxy.address().to_owned());
        let put =
            tokio::spawn(async move { run(&root, &["put", "large", "--server", &address, "--retry", "0"]).await });
        proxy.until_sent(rate / 4).await;
        Self { cluster, proxy, put }
    }

    /// The put is certified, and its bundle is valid.
    async fn succeeds(self) {
        let output = self.put.await.unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let cluster = text(&output);
        let identity = cluster.lines().find_map(|line| line.strip_prefix("cluster    ")).unwrap();
        let verified = run(self.cluster.root(), &["verify", "large", "large.vouch", "--cluster", identity]).await;
        assert!(verified.status.success(), "{}", text(&verified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_finishes_its_puts_and_refuses_new_ones() {
    let mut half = HalfPut::start(&[], FAST).await;
    let address = half.cluster.address().to_owned();
    let mut idle = RawLink::client(&address).await;
    half.cluster.server.ask_to_stop();
    // A link without a put is told, and ended.
    assert_eq!(idle.refused().await.code, Code::ShuttingDown);
    std::fs::write(half.cluster.root().join("late"), "late").unwrap();
    let late = run(half.cluster.root(), &["put", "late", "--server", &address, "--retry", "0"]).await;
    assert_eq!(late.status.code(), Some(1), "{}", text(&late));
    assert!(text(&late).contains("shutting down: the server takes no new links and puts"), "{}", text(&late));
    let refused = http::put(&address, b"late").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.json()["code"], "shutting-down");
    assert_eq!(http::get(&address, "/readyz").await.status, 503);
    assert_eq!(http::get(&address, "/healthz").await.status, 200);
    assert!(half.cluster.server.is_running() && !half.put.is_finished(), "the put is still in progress");
    assert_eq!(half.cluster.server.wait(), Some(0));
    assert!(!half.cluster.server.log().contains("stopped before"), "{}", half.cluster.server.log());
    half.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_finishes_its_puts() {
    let mut half = HalfPut::start(&[], FAST).await;
    half.cluster.replicas[0].ask_to_stop();
    assert_eq!(half.cluster.replicas[0].wait(), Some(0));
    half.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_finish_puts_is_limited() {
    let mut half = HalfPut::start(&["--stop-timeout", "1s"], SLOW).await;
    let began = Instant::now();
    assert_eq!(half.cluster.server.terminate(), Some(0));
    assert!(began.elapsed() >= Duration::from_secs(1), "the put had its second");
    assert!(half.cluster.server.log().contains("stopped before every put was finished; their number: 1"));
    let output = half.put.await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    // The replica keeps what it has received: its server is gone, so it has no put in progress.
    assert_eq!(half.cluster.replicas[0].terminate(), Some(0));
    drop(half.proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_server_and_a_replica_at_once() {
    for is_server in [true, false] {
        let mut half = HalfPut::start(&["--stop-timeout", "10m"], SLOW).await;
        let Processes { server, replicas, .. } = &mut half.cluster;
        let node = if is_server { server } else { &mut replicas[0] };
        node.ask_to_stop();
        until("it is stopping", || node.log().contains("a second signal ends them at once")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(node.is_running(), "{} waits for the put", node.name());
        assert_eq!(node.terminate(), Some(0));
        assert!(!half.put.await.unwrap().status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_puts_ends_its_links_and_stops() {
    let mut cluster = Processes::start_server_with(&["--stop-timeout", "10m"]).await;
    let mut client = RawLink::client(cluster.address()).await;
    cluster.server.ask_to_stop();
    let refused = client.refused().await;
    assert_eq!((refused.stream, refused.code), (Stream::LINK, Code::ShuttingDown));
    drop(client);
    assert_eq!(cluster.server.wait(), Some(0));
}
