//! Metrics: what the listener answers, and that the figures are those of what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use support::http::{exchange, get, head, put, request};
use support::metrics::{Metric, Scrape, address, cluster};
use support::processes::Processes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouch_core::digest::Digest;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Scrapes until a series has this value, or more.
async fn until_at_least(address: &str, series: &str, least: f64) -> Scrape {
    for _ in 0..1000 {
        let scrape = Scrape::of(address).await;
        if scrape.values.get(series).is_some_and(|value| *value >= least) {
            return scrape;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{series} does not reach {least}:\n{}", Scrape::of(address).await.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_metrics_are_served() {
    let cluster = Processes::start_server_with(&["--metrics", "0"]).await;
    let metrics = address(&cluster.server).await;
    for accept in [
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        OPEN_METRICS,
    ] {
        let answer = request(&metrics, "GET", "/metrics", &[("Accept", accept)], b"").await;
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)));
        assert_eq!((answer.header("cache-control"), answer.header("connection")), (Some("no-store"), Some("close")));
        assert!(answer.is_complete() && answer.text().ends_with("\n# EOF\n"));
    }
    for accept in ["text/plain", "*/*"] {
        let answer = request(&metrics, "GET", "/metrics", &[("Accept", accept)], b"").await;
        let media_type = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)));
        assert!(!answer.text().contains("EOF"));
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/metrics/"),
        ("GET", "/v1/cluster"),
        ("GET", "/v1/link"),
        ("GET", "/readyz"),
        ("GET", "/../metrics"),
        ("HEAD", "/metrics"),
        ("POST", "/metrics"),
        ("PUT", "/v1/blobs"),
        ("OPTIONS", "/metrics"),
    ] {
        assert_eq!(request(&metrics, method, path, &[], b"").await.status, 404, "{method} {path}");
    }
    assert_eq!(get(cluster.address(), "/metrics").await.status, 404, "not on the server's port");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_is_bounded() {
    let cluster = Processes::start_server_with(&["--metrics", "0"]).await;
    let metrics = address(&cluster.server).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(&metrics).await.unwrap());
    }
    let answer = get(&metrics, "/metrics").await;
    assert_eq!(answer.status, 200, "idle connections give way");
    // at most 16 stay open, one of which the scrape took; the others end when no headers come
    let mut open = 0;
    for stream in &mut idle {
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
        open += usize::from(read.is_err());
    }
    assert!(open <= 16, "{open} connections are open");
    let long = format!("{:0>20000}", 7);
    let too_long = head(&metrics, "GET", "/metrics", &[("X-Long", &long)]);
    let answer = exchange(&metrics, too_long.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    // a client that never sends the end of its headers is cut off
    let mut slow = TcpStream::connect(&metrics).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_once() {
    let cluster = cluster(4).await;
    let metrics = address(&cluster.server).await;
    let before = Scrape::of(&metrics).await;
    assert_eq!(before.value("vouch_server_members_connected"), 4.0);
    assert_eq!(before.value("vouch_server_members_wanted"), 0.0);
    assert_eq!(before.value("vouch_server_ready"), 1.0);

    // one put and one get on links, one of each over HTTP, and one get of an unknown blob
    let large = vec![7; 600_000];
    let certified = cluster.put(&large).await.unwrap();
    assert_eq!(put(cluster.address(), b"letter").await.status, 201);
    cluster.get(certified.chain.cluster(), Digest::of(&large)).await.unwrap();
    assert_eq!(get(cluster.address(), &support::http::blob(b"letter")).await.status, 200);
    assert_eq!(get(cluster.address(), &support::http::blob(b"unknown")).await.status, 404);
    assert_eq!(
        request(cluster.address(), "PUT", "/v1/blobs?expires=1s", &[("Content-Range", "bytes 0-1/3")], b"x")
            .await
            .status,
        400
    );

    let scrape = Scrape::of(&metrics).await;
    for (series, value) in [
        ("vouch_server_puts_total{result=\"certified\"}", 2.0),
        ("vouch_server_put_duration_seconds_count", 2.0),
        ("vouch_server_put_bytes_total", 600_006.0),
        ("vouch_server_gets_total{result=\"found\"}", 2.0),
        ("vouch_server_links{role=\"replica\"}", 4.0),
        ("vouch_server_members_wanted", 4.0),
        ("vouch_server_quorum", 3.0),
        ("vouch_server_tolerated_faults", 1.0),
    ] {
        assert_eq!(scrape.value(series), value, "{series}:\n{}", scrape.text);
    }
    assert!(scrape.value("vouch_server_gets_total{result=\"not-found\"}") >= 1.0, "{}", scrape.text);
    assert!(scrape.value("vouch_server_received_bytes_total") > 600_000.0);
    assert!(scrape.value("vouch_server_sent_bytes_total") > 4.0 * 600_000.0, "each replica got the bytes");

    // A get reads the last group first, which proves the length.
    let read_by_gets = scrape.value("vouch_server_get_bytes_total");
    assert!((600_006.0..640_000.0).contains(&read_by_gets), "{read_by_gets}");
    let reads = scrape.value("vouch_server_get_reads_total{result=\"read\"}");
    assert!(reads >= 4.0 && reads == scrape.value("vouch_server_get_duration_seconds_count{step=\"read\"}"));

    let mut read = 0.0;
    for replica in &cluster.replicas {
        let own = address(replica).await;
        let scrape = until_at_least(&own, "vouch_replica_blobs", 2.0).await;
        assert_eq!(scrape.value("vouch_replica_stored_bytes"), 600_006.0);
        assert_eq!(scrape.value("vouch_replica_written_bytes_total"), 600_006.0);
        assert_eq!(scrape.value("vouch_replica_votes_total{result=\"signed\"}"), 2.0);
        assert_eq!(scrape.value("vouch_replica_signing"), 1.0);
        read += scrape.value("vouch_replica_read_bytes_total");
    }
    assert_eq!(read, read_by_gets);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_missing_and_clients_that_are_refused_show() {
    let mut cluster = cluster(4).await;
    let metrics = address(&cluster.server).await;
    cluster.put(b"letter").await.unwrap();
    for number in [1, 2] {
        cluster.replicas[number].kill();
        cluster.until_left(number).await;
    }
    assert_eq!(put(cluster.address(), b"another").await.status, 503);
    let scrape = Scrape::of(&metrics).await;
    assert_eq!((scrape.value("vouch_server_ready"), scrape.value("vouch_server_members_connected")), (0.0, 2.0));
    assert_eq!(scrape.value("vouch_server_puts_total{result=\"not-enough-replicas\"}"), 1.0, "{}", scrape.text);
    let state = |name: &str, state: &str| {
        let (name, state) = (format!("name=\"{name}\""), format!("state=\"{state}\""));
        let mut found = scrape.values.iter().filter(|(series, _)| series.contains(&name) && series.contains(&state));
        *found.next().unwrap().1
    };
    for (name, missing) in [("replica-0", 0.0), ("replica-1", 1.0), ("replica-2", 1.0), ("replica-3", 0.0)] {
        assert_eq!((state(name, "missing"), state(name, "well")), (missing, 1.0 - missing), "{name}");
    }
}

/// The metrics of a table in the documentation, by name, with units.
fn documented(text: &str) -> BTreeMap<String, (Metric, String)> {
    let rows = text.lines().filter(|line| line.starts_with("| `vouch_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, unit, labels, meaning, _, _] = cells[..] else { panic!("{row}") };
        assert!(!meaning.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (name.trim_matches('`').to_owned(), ((kind.to_owned(), labels), unit.to_owned()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_one_exists() {
    let cluster = cluster(4).await;
    cluster.put(b"letter").await.unwrap();
    let server = address(&cluster.server).await;
    let replica = address(&cluster.replicas[0]).await;
    // figures that exist only once members have answered
    until_at_least(&replica, "vouch_replica_clock_agreeing_members", 1.0).await;
    until_at_least(&replica, "vouch_replica_lacking_blobs", 0.0).await;
    for _ in 0..1000 {
        if Scrape::of(&server).await.text.contains("vouch_server_member_log_height{") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut scraped = Scrape::of(&server).await.metrics();
    scraped.extend(Scrape::of(&replica).await.metrics());
    let documented = documented(include_str!("../../docs/METRICS.md"));
    let undocumented: Vec<_> = scraped.keys().filter(|name| !documented.contains_key(*name)).collect();
    let missing: Vec<_> = documented.keys().filter(|name| !scraped.contains_key(*name)).collect();
    assert!(undocumented.is_empty() && missing.is_empty(), "not documented: {undocumented:?}; missing: {missing:?}");
    for (name, (metric, unit)) in &documented {
        assert_eq!(&scraped[name], metric, "{name}");
        let base = name.trim_end_matches("_total");
        let units: Vec<&str> =
            ["seconds", "bytes", "ratio"].into_iter().filter(|unit| base.ends_with(&format!("_{unit}"))).collect();
        assert_eq!(units, unit.split(' ').filter(|unit| !unit.is_empty()).collect::<Vec<_>>(), "{name}");
        assert_eq!(metric.0 == "counter", name.ends_with("_total"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_hold_no_digests_keys_or_addresses() {
    let mut cluster = Processes::start_server_with(&["--metrics", "0"]).await;
    cluster.add_replica_with(0, &["--metrics", "0"]);
    cluster.until_connected().await;
    let certified = cluster.put(b"letter").await.unwrap();
    let described = get(cluster.address(), "/v1/cluster").await.json();
    let member = &described["members"][0];
    let secret = [
        certified.chain.cluster().to_string(),
        Digest::of(b"letter").to_string(),
        Digest::of(b"letter").to_hex(),
        member["node_key"].as_str().unwrap().to_owned(),
        member["vote_key"].as_str().unwrap().to_owned(),
        described["server"].as_str().unwrap().to_owned(),
        cluster.address().to_owned(),
        cluster.root().to_str().unwrap().to_owned(),
    ];
    for node in [&cluster.server, &cluster.replicas[0]] {
        let text = Scrape::of(&address(node).await).await.text;
        for value in &secret {
            assert!(!text.contains(value.as_str()), "{value} is in\n{text}");
        }
    }
}
