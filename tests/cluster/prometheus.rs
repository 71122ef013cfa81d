//! A real Prometheus scrapes a cluster, and every query of the dashboard and of the alerts is run against it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::http::{get, put, request};
use support::metrics::{address, cluster};
use support::processes::Processes;
use vouch_core::digest::Digest;

/// Grafana replaces this with a few intervals between scrapes.
const INTERVAL: &str = "$__rate_interval";
/// Queries of the dashboard that return nothing while nothing is wrong, and why.
const EMPTY_WHILE_WELL: [(&str, &str); 2] = [
    ("sum by (event) (rate(vouch_server_limited_total[$__rate_interval])) > 0", "nobody is refused"),
    ("vouch_replica_unavailable_blobs > 0", "each blob is held by some member"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder with the programs of Prometheus, installed if necessary.
fn programs() -> PathBuf {
    let output = Command::new(repository().join("tests/prometheus.sh")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/prometheus.sh failed");
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

/// Runs promtool, with this on its standard input.
fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut command = Command::new(programs().join("promtool"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// A running Prometheus. It ends when this is dropped.
struct Prometheus {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts it in this folder, with this configuration.
    async fn start(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // The port may be taken meanwhile: then it exits, and is started on another one.
        for _ in 0..5 {
            if let Some(running) = Self::start_once(folder).await {
                return running;
            }
        }
        panic!("{}", std::fs::read_to_string(folder.join("prometheus.log")).unwrap());
    }

    async fn start_once(folder: &Path) -> Option<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let log = folder.join("prometheus.log");
        let output = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(programs().join("prometheus"))
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut running = Self { child, address, log };
        for _ in 0..600 {
            if running.child.try_wait().unwrap().is_some() {
                return None;
            }
            if tokio::net::TcpStream::connect(&running.address).await.is_ok()
                && get(&running.address, "/-/ready").await.status == 200
            {
                return Some(running);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", std::fs::read_to_string(&running.log).unwrap());
    }

    /// The result of a query.
    async fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = request(&self.address, "GET", &format!("/api/v1/query?query={escaped}"), &[], b"").await;
        let body = match answer.header("transfer-encoding") {
            Some(_) => serde_json::from_slice(&answer.unchunked()).unwrap(),
            None => answer.json(),
        };
        let body: Value = body;
        assert_eq!(body["status"], "success", "{query}: {body}");
        body["data"]["result"].as_array().unwrap().clone()
    }

    /// The result of a query, once it has one.
    async fn samples(&self, query: &str) -> Vec<Value> {
        for _ in 0..300 {
            let found = self.query(query).await;
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no sample for {query}\n{}", std::fs::read_to_string(&self.log).unwrap());
    }
}

/// The configuration that scrapes all nodes of a cluster every second, and evaluates the alerts.
async fn config(cluster: &Processes) -> String {
    let server = address(&cluster.server).await;
    let mut replicas = Vec::new();
    for replica in &cluster.replicas {
        replicas.push(format!("{:?}", address(replica).await));
    }
    let alerts = repository().join("deploy/prometheus/alerts.yml");
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{alerts:?}]\n\
         scrape_configs:\n\
         - {{ job_name: vouch-server, static_configs: [ {{ targets: [{server:?}] }} ] }}\n\
         - {{ job_name: vouch-replica, static_configs: [ {{ targets: [{}] }} ] }}\n",
        replicas.join(", ")
    )
}

/// The queries of a dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{panel}");
        panel["targets"].as_array().unwrap()
    });
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_samples() {
    let cluster = cluster(4).await;
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &config(&cluster).await).await;
    prometheus.samples("vouch_server_puts_total").await;
    for number in 0..4u8 {
        let bytes = vec![number; 100_000];
        assert_eq!(put(cluster.address(), &bytes).await.status, 201);
        let certified = cluster.put(&bytes).await.unwrap();
        cluster.get(certified.chain.cluster(), Digest::of(&bytes)).await.unwrap();
        // A rate needs values before and after.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let targets = prometheus.query("up == 1").await;
    assert_eq!(targets.len(), 5, "{targets:?}");

    let dashboard = std::fs::read(repository().join("deploy/grafana/vouch.json")).unwrap();
    let queries = queries(&serde_json::from_slice(&dashboard).unwrap());
    for (empty, why) in EMPTY_WHILE_WELL {
        assert!(queries.iter().any(|query| query == empty), "no such query, of which {why}: {empty}");
        let found = prometheus.query(&empty.replace(INTERVAL, "30s")).await;
        assert!(found.is_empty(), "{empty}: expected no sample, as {why}; got {found:?}");
    }
    let with_samples = queries.iter().filter(|query| EMPTY_WHILE_WELL.iter().all(|(empty, _)| empty != query));
    for query in with_samples {
        let found = prometheus.samples(&query.replace(INTERVAL, "30s")).await;
        assert!(!query.contains("$__") || query.contains(INTERVAL), "{query}");
        let is_number = |sample: &Value| {
            sample["value"][1].as_str().is_some_and(|value| value.parse::<f64>().is_ok_and(f64::is_finite))
        };
        // A quantile is NaN for a series without events, but not for all.
        assert!(found.iter().any(is_number), "{query}: {found:?}");
    }
    let firing = prometheus.query("ALERTS").await;
    assert!(firing.is_empty(), "of a cluster that is well: {firing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_trouble_raises_alerts() {
    let mut cluster = cluster(4).await;
    cluster.put(b"letter").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &config(&cluster).await).await;
    prometheus.samples("vouch_server_quorum == 3").await;
    cluster.replicas[2].kill();
    cluster.until_left(2).await;
    let pending = prometheus.samples("ALERTS{alertname=\"VouchNoFaultLeft\"}").await;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert!(prometheus.query("ALERTS{alertname=\"VouchNotReady\"}").await.is_empty(), "one of four may fail");
    cluster.replicas[1].kill();
    cluster.until_left(1).await;
    prometheus.samples("ALERTS{alertname=\"VouchNotReady\"}").await;
    let left = prometheus.query("vouch_server_member_state{state=\"missing\"} == 1").await;
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_metrics_and_the_rules() {
    let cluster = cluster(1).await;
    cluster.put(b"letter").await.unwrap();
    for node in [&cluster.server, &cluster.replicas[0]] {
        let scrape = get(&address(node).await, "/metrics").await;
        promtool(&["check", "metrics"], scrape.text());
    }
    let file = |path: &str| repository().join(path).to_str().unwrap().to_owned();
    promtool(&["check", "rules", &file("deploy/prometheus/alerts.yml")], "");
    promtool(&["check", "config", &file("deploy/prometheus/prometheus.yml")], "");
}
