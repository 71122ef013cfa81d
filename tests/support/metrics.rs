//! Scrapes of the metrics of a cluster of processes.

use std::collections::{BTreeMap, BTreeSet};

use crate::http::{self, Answer};
use crate::processes::{Node, Processes};
use crate::until;

/// `host:port` of a node's metrics, once it listens.
pub async fn address(node: &Node) -> String {
    let mut found = None;
    until("the metrics are served", || {
        let log = node.log();
        let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        found = lines.find_map(|line| {
            Some(line.strip_prefix("metrics http://")?.trim_end().strip_suffix("/metrics")?.to_owned())
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// A server and `n` replicas that serve metrics, once all have joined. The first replica has a quota.
pub async fn cluster(n: usize) -> Processes {
    let mut cluster = Processes::start_server_with(&["--metrics", "0"]).await;
    for number in 0..n {
        let quota: &[&str] = if number == 0 { &["--quota", "1GiB"] } else { &[] };
        cluster.add_replica_with(number, &[&["--metrics", "127.0.0.1:0"], quota].concat());
    }
    cluster.until_connected().await;
    cluster
}

/// One scrape of a node, in the text format of Prometheus.
#[derive(Debug)]
pub struct Scrape {
    /// The body.
    pub text: String,
    /// The values, by series as it is written.
    pub values: BTreeMap<String, f64>,
}

/// The type and the labels of a metric, without `le`.
pub type Metric = (String, BTreeSet<String>);

impl Scrape {
    /// Scrapes the metrics at an address.
    pub async fn of(address: &str) -> Self {
        let answer: Answer = http::get(address, "/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::parse(answer.text())
    }

    /// Parses a body.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self { values: values.collect(), text: text.to_owned() }
    }

    /// The value of a series; 0 if there is none.
    pub fn value(&self, series: &str) -> f64 {
        self.values.get(series).copied().unwrap_or(0.0)
    }

    /// The metrics, by name.
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types
            .map(|(name, kind)| {
                let labels = self
                    .values
                    .keys()
                    .filter(|series| family(series) == name || family_of_histogram(series) == Some(name));
                let labels = labels.flat_map(|series| labels_of(series)).filter(|label| label != "le").collect();
                (name.to_owned(), (kind.to_owned(), labels))
            })
            .collect()
    }
}

fn family(series: &str) -> &str {
    series.split('{').next().unwrap()
}

fn family_of_histogram(series: &str) -> Option<&str> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|end| family(series).strip_suffix(end))
}

/// The names of the labels. No value of a test has a quote or a comma in it.
fn labels_of(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.split_once('{') else { return Vec::new() };
    labels.trim_end_matches('}').split(',').map(|pair| pair.split('=').next().unwrap().to_owned()).collect()
}
