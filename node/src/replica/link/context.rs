//! The handles that a link is given.

use std::sync::Arc;

use vouch_node_core::replica::Event;
use vouch_node_core::replica::repair::RepairConfig;

use crate::metrics::ReplicaCounters;
use crate::notices::Notice;
use crate::replica::admission::ReplicaAdmission;
use crate::replica::clock_watch::ClockWatch;
use crate::replica::context::{OwnIdentity, Reports, Storage};
use crate::replica::founding::Foundings;
use crate::replica::last_votes::LastVotes;
use crate::replica::log::ReplicaLog;
use crate::replica::membership::Stops;
use crate::replica::peers::PeerNetwork;
use crate::replica::put_workers::ReceivingPuts;

/// What the replica's links share.
pub(in crate::replica) struct LinkContext {
    pub(in crate::replica) identity: Arc<OwnIdentity>,
    pub(in crate::replica) reports: Arc<Reports>,
    pub(in crate::replica) storage: Storage,
    pub(in crate::replica) admission: Arc<ReplicaAdmission>,
    pub(in crate::replica) clock: Arc<ClockWatch>,
    pub(in crate::replica) foundings: Arc<Foundings>,
    pub(in crate::replica) votes: Arc<LastVotes>,
    pub(in crate::replica) log: Arc<ReplicaLog>,
    pub(in crate::replica) peers: PeerNetwork,
    pub(in crate::replica) stops: Arc<Stops>,
    /// Rate limit for log lines about puts that continued without this replica.
    pub(in crate::replica) left_out: Notice,
    pub(in crate::replica) repair: RepairConfig,
    /// Maximum number of puts received at once over one link.
    pub(in crate::replica) max_incoming: usize,
    /// The puts being received. A shutdown waits for them.
    pub(in crate::replica) receiving: Arc<ReceivingPuts>,
    pub(in crate::replica) counters: ReplicaCounters,
}

impl LinkContext {
    /// Reports that a server continued a put or a batch without this replica.
    pub(super) fn report_left_out(&self, server: &str, why: &str) {
        let text = format!("{server} says of this replica: it {why}");
        if let Some(line) = self.left_out.line(self.storage.host.monotonic(), &text) {
            self.reports.report(Event::LeftOut(line));
        }
    }
}
