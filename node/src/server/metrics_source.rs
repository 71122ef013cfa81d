//! Reads a server's state for a scrape of its metrics.

use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use vouch_core::founding::WantedCommittee;
use vouch_node_core::server::health::Trouble;

use super::cluster_view::{ClusterView, MemberState};
use super::guard::Guard;
use crate::metrics::{MemberFigures, MetricsSource, ServerCounters, ServerFigures};

/// What the metrics are read from.
pub(super) struct ServerMetrics {
    view: ClusterView,
    guard: Weak<Guard>,
    counters: ServerCounters,
    /// In seconds since 1970.
    started: u64,
    /// The number of replicas that the founding waits for; 0 if the operator said none.
    wanted: u64,
}

impl ServerMetrics {
    pub(super) fn new(
        view: ClusterView,
        guard: &Arc<Guard>,
        counters: ServerCounters,
        wanted: &WantedCommittee,
    ) -> Self {
        let started = view.members.host().unix_seconds();
        let listed = wanted.members.as_ref().map(|members| members.len() as u64);
        let wanted = listed.or(wanted.replicas.map(u64::from)).unwrap_or(0);
        Self { view, guard: Arc::downgrade(guard), counters, started, wanted }
    }

    fn figures(&self) -> ServerFigures {
        let state = self.view.state();
        let guard = self.guard.upgrade();
        ServerFigures {
            started: self.started,
            is_ready: state.is_ready,
            epoch: state.epoch,
            quorum: state.quorum,
            tolerated_faults: state.tolerated_faults,
            wanted: if state.members.is_empty() { self.wanted } else { state.members.len() as u64 },
            connected: state.connected,
            members: state.members.iter().map(member).collect(),
            log_height: state.log_height,
            requests: self.view.members.routes().len(),
            budgets: guard.as_ref().map(|guard| guard.used()).unwrap_or_default(),
            limited: guard.map(|guard| guard.limited()).unwrap_or_default(),
        }
    }
}

fn member(state: &MemberState) -> MemberFigures {
    MemberFigures {
        name: state.member.name.to_string(),
        trouble: state.trouble.as_ref().map(Trouble::word),
        log_height: state.log_height,
    }
}

impl MetricsSource for ServerMetrics {
    fn metrics(&self) -> BoxFuture<'_, Registry> {
        async { self.figures().registry(&self.counters) }.boxed()
    }
}
