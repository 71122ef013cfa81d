//! The replica's part in changes of members: does what the log's state says is due, and follows when an epoch begins.

mod approving;
mod joining;
mod pacing;
mod performing;
mod reporting;
mod seal_lists;
mod stops;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::chain::EpochLink;
use vouch_core::committee::Committee;
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::statement::StatementId;
use vouch_core::verify::CLOCK_TOLERANCE;
use vouch_node_core::membership::{Duty, Membership, OwnState};
use vouch_node_core::replica::Event;

use super::admission::ReplicaAdmission;
use super::clock_watch::ClockWatch;
use super::context::{OwnIdentity, Reports, Storage};
use super::log::ReplicaLog;
use crate::latest::Closed;
pub(super) use approving::Approving;
use joining::Proposing;
use pacing::Pacing;
pub(super) use reporting::Reporting;
pub(super) use stops::Stops;
pub use stops::StopsError;

/// Interval at which duties are looked at without news.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What changes of members use of the replica.
pub(super) struct MembershipContext {
    pub(super) identity: Arc<OwnIdentity>,
    pub(super) reports: Arc<Reports>,
    pub(super) storage: Storage,
    pub(super) clock: Arc<ClockWatch>,
    pub(super) log: Arc<ReplicaLog>,
    pub(super) approving: Arc<Approving>,
    pub(super) admission: Arc<ReplicaAdmission>,
    pub(super) stops: Arc<Stops>,
    pub(super) reporting: Reporting,
    /// Addresses of servers.
    pub(super) servers: Vec<String>,
    /// Whether the replica wants to be a member of the cluster that its servers show.
    pub(super) joins: bool,
}

impl MembershipContext {
    /// Does what is due, whenever the state changes and every two seconds. Never completes.
    pub(super) async fn run(self: Arc<Self>) {
        let (mut states, mut access) = (self.log.follow_membership(), self.log.follow_access());
        let (mut reported, mut proposing, mut pacing) = (None, Proposing::default(), Pacing::default());
        let (mut erased_before, mut holding_for) = (0, None);
        loop {
            let state = states.see();
            self.propose_itself(state.as_deref(), &mut proposing).await;
            if let (Some(state), Some(access)) = (&state, access.see()) {
                self.admission.set_access(state.committee().record().cluster(), access, readers(state));
            }
            if let Some(state) = state {
                self.follow(&state, &mut erased_before).await;
                self.clock.set_joining(joining(&state));
                self.report(&state, &mut reported);
                self.read_lists_for(&state, &mut holding_for);
                let now = self.storage.host.monotonic();
                for duty in self.duties(&state) {
                    if !pacing.is_due(&state, &duty, now) {
                        continue;
                    }
                    if let Err(why) = self.perform(&state, duty).await {
                        self.trouble(&why);
                    }
                }
            }
            if let Ok(Err(Closed)) = self.storage.host.timeout(LOOK_EVERY, states.changed()).await {
                return std::future::pending().await;
            }
        }
    }

    /// Has the lists of certificates read when a change begins, once for each change. The lists name every blob that was certified before the
    /// change was approved. A member that lacks none of them accepts the next committee.
    fn read_lists_for(&self, state: &Membership, holding_for: &mut Option<ChangeId>) {
        let running = state.running().map(|running| running.id);
        if running.is_some() && running != *holding_for {
            self.storage.repairs.read_all_lists_again();
        }
        *holding_for = running;
    }

    fn trouble(&self, why: &str) {
        self.reports.report(Event::Trouble(format!("change of members: {why}")));
    }

    /// The wall clock, unless it is in doubt.
    fn unix_seconds(&self) -> Option<u64> {
        let now = self.storage.host.unix_seconds();
        self.clock.doubt().is_none().then_some(now)
    }

    fn duties(&self, state: &Membership) -> Vec<Duty> {
        let (node_key, wall) = (self.identity.node_key(), self.storage.host.unix_seconds());
        // The block's time and a certificate's may be off by the tolerance, in opposite directions.
        let until = state.running().map_or(u64::MAX, |running| running.since.saturating_add(2 * CLOCK_TOLERANCE));
        let holds_everything = self.storage.repairs.with(|blobs| blobs.awaited(until, wall)) == Some(0);
        let own = OwnState { node_key: &node_key, unix_seconds: self.unix_seconds(), holds_everything };
        state.duties(own, |change| self.approving.consent(change))
    }

    /// Takes over an epoch that has begun, and erases the vote keys of those that are over: once for each epoch.
    async fn follow(&self, state: &Arc<Membership>, erased_before: &mut u64) {
        let (Some(start), Some(chain)) = (state.start(), self.identity.chain()) else { return };
        let record = state.committee().record();
        let (epoch, known) = (record.epoch(), chain.current().record().epoch());
        // Epochs that this log skipped come from the servers.
        if epoch == known + 1 {
            let (handoff, seal) = (start.handoff.clone(), start.seal);
            let link = EpochLink { handoff, committee: record.clone(), seal };
            match self.identity.extend(vec![link]).await {
                Ok(_) => self.reports.report(Event::Log(format!("epoch {epoch} begins, with {} members", record.n()))),
                Err(why) => self.trouble(&why.to_string()),
            }
        }
        // Votes for statements of an epoch are given until then.
        let is_over = self.unix_seconds().is_some_and(|now| now > start.handoff.claim.closing + CLOCK_TOLERANCE);
        if epoch <= known && is_over && *erased_before < epoch {
            match self.identity.erase_vote_keys_before(epoch).await {
                Ok(()) => *erased_before = epoch,
                Err(why) => self.trouble(&why.to_string()),
            }
        }
    }

    /// Says how far a change is, once for each step.
    fn report(&self, state: &Membership, reported: &mut Option<Step>) {
        let step = Step::of(state);
        if *reported != Some(step) {
            *reported = Some(step);
            if let Some(text) = step.text(state) {
                self.reports.report(Event::Log(text));
            }
        }
    }
}

/// The nodes that the approved change adds.
fn joining(state: &Membership) -> BTreeSet<NodeKey> {
    let added = state.running().map(|running| running.change.added.as_slice()).unwrap_or_default();
    added.iter().map(|member| member.node_key).collect()
}

/// The nodes that read whatever the rules of access say: they need the blobs to be members.
fn readers(state: &Membership) -> BTreeSet<NodeKey> {
    let members = |committee: &Committee| committee.record().members().iter().map(|member| member.node_key).collect();
    let (mut readers, deciding): (BTreeSet<_>, BTreeSet<_>) = (members(state.committee()), members(state.deciding()));
    readers.extend(deciding);
    readers.extend(joining(state));
    readers
}

/// How far a change of members is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle(u64),
    Running(u64),
    Fixed(u64),
    Decided(u64),
    Closing(u64),
    Sealed(StatementId),
}

impl Step {
    fn of(state: &Membership) -> Self {
        let epoch = state.committee().record().epoch();
        let Some(running) = state.running() else {
            let seal = state.sealing().and_then(|sealing| sealing.seal);
            return seal.map_or(Self::Idle(epoch), Self::Sealed);
        };
        match (&running.next, running.decided()) {
            (None, _) => Self::Running(epoch),
            (Some(_), None) => Self::Fixed(epoch),
            (Some(_), Some((_, decided))) if decided.handoff.is_none() => Self::Decided(epoch),
            (Some(_), Some(_)) => Self::Closing(epoch),
        }
    }

    fn text(self, state: &Membership) -> Option<String> {
        let next = state.committee().record().epoch() + 1;
        Some(match self {
            Self::Idle(_) => return None,
            Self::Running(_) => {
                format!("change {} is approved: members offer keys for epoch {next}", state.running()?.id)
            }
            Self::Fixed(_) => format!("the committee of epoch {next} waits to be accepted"),
            Self::Decided(_) => format!("the committee of epoch {next} is decided"),
            Self::Closing(epoch) => format!("epoch {epoch} closes; the handoff is being signed"),
            Self::Sealed(_) => format!("epoch {} is sealed", next.saturating_sub(2)),
        })
    }
}
