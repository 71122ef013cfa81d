//! The forms that metrics have: labels, buckets, and values that are read when they are scraped.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets of durations, in seconds: from a put of a small blob on one machine to one that waits for a slow quorum.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The label of a family with one label.
pub(super) type Label<V> = [(&'static str, V); 1];

/// A counter for each value of one label. The values are from a fixed set: codes, or words of the program.
pub(super) type ByWord = Family<Label<String>, Counter>;

/// A histogram of durations in seconds.
pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Counts one event under a word. Words are separated by underscores in metrics.
pub(super) fn count(family: &ByWord, label: &'static str, word: &str) {
    family.get_or_create(&[(label, word.to_owned())]).inc();
}

/// Bytes of connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    /// Bytes that were received.
    pub(crate) received: Counter,
    /// Bytes that were sent.
    pub(crate) sent: Counter,
}

/// Registers values that were read for one scrape.
pub(super) trait Figures {
    /// A value that goes up and down.
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl Into<f64>);
    /// A value that only goes up.
    fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: u64);
    /// The program and its start, in seconds since 1970.
    fn program(&mut self, role: &'static str, started: u64);
}

impl Figures for Registry {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl Into<f64>) {
        let value = ConstGauge::new(value.into());
        match unit {
            Some(unit) => self.register_with_unit(name, help, unit, value),
            None => self.register(name, help, value),
        }
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: u64) {
        let value = ConstCounter::new(value);
        match unit {
            Some(unit) => self.register_with_unit(name, help, unit, value),
            None => self.register(name, help, value),
        }
    }

    fn program(&mut self, role: &'static str, started: u64) {
        let labels = Program { role, version: env!("CARGO_PKG_VERSION") };
        self.register("vouch_build", "The program: its version, and its role in the cluster", Info::new(labels));
        self.gauge("vouch_start_time", "When the node was started, since 1970", Some(Unit::Seconds), Count(started));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Program {
    role: &'static str,
    version: &'static str,
}

/// A number of things, or of bytes, as a value. Beyond 2^53 it is rounded, as Prometheus does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) u64);

impl From<Count> for f64 {
    #[allow(clippy::cast_precision_loss, reason = "values of metrics are floating point numbers")]
    fn from(Count(count): Count) -> Self {
        count as Self
    }
}

/// Yes or no as a value.
pub(super) fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
