//! Reads a replica's state for a scrape of its metrics.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

use super::put_workers::ReceivingPuts;
use super::status::OperatorContext;
use crate::metrics::{MetricsSource, ReplicaCounters, ReplicaFigures};

/// What the metrics are read from.
pub(super) struct ReplicaMetrics {
    operator: Arc<OperatorContext>,
    receiving: Arc<ReceivingPuts>,
    counters: ReplicaCounters,
    /// In seconds since 1970.
    started: u64,
}

impl ReplicaMetrics {
    pub(super) fn new(
        operator: Arc<OperatorContext>,
        receiving: Arc<ReceivingPuts>,
        counters: ReplicaCounters,
    ) -> Self {
        let started = operator.storage.host.unix_seconds();
        Self { operator, receiving, counters, started }
    }
}

impl MetricsSource for ReplicaMetrics {
    fn metrics(&self) -> BoxFuture<'_, Registry> {
        async {
            // The status blocks until the disk has answered.
            let operator = self.operator.clone();
            let reading = operator.storage.host.clone().spawn_blocking(move || operator.status());
            // After a panic, there is nothing to show.
            let Ok(status) = reading.await else { return Registry::default() };
            let figures = ReplicaFigures {
                started: self.started,
                status,
                epoch: self.operator.identity.epoch(),
                receiving: self.receiving.count(),
                clock_ahead: self.operator.clock.ahead(),
            };
            figures.registry(&self.counters)
        }
        .boxed()
    }
}
