//! The status of a replica, for its operator.

mod changes;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_node_core::peers::HeldBack;

use super::admission::ReplicaAdmission;
use super::clock_watch::{ClockStatus, ClockWatch};
use super::context::{OwnIdentity, Reports, Storage};
use super::founding::Foundings;
use super::last_votes::LastVotes;
pub use super::last_votes::Votes;
pub use super::log::LogStatus;
use super::log::ReplicaLog;
use super::membership::Approving;
use super::peers::PeerNetwork;
use super::repair::Repair;
use super::scrub::{Scrubbed, Scrubber};
pub use super::server_links::ServerLink;
use crate::store::Usage;
pub use changes::{
    ApprovedChange, ChangeStatus, ChangeStep, MembershipStatus, NamedNode, OwnPart, ProposalStatus, RunningStatus,
    SealStatus,
};

/// The status of a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name in the committee.
    pub name: String,
    /// Its node key, base58.
    pub node_key: String,
    /// Its cluster's identity, base58, once it is a member.
    pub cluster: Option<String>,
    /// Its position in the committee, from 0.
    pub member: Option<u16>,
    /// The accepted founding that is not complete, in words.
    pub founding: Option<String>,
    /// Why it signs nothing now. `None` if it signs.
    pub signs_nothing: Option<String>,
    /// Its votes.
    pub votes: Votes,
    /// Its servers.
    pub servers: Vec<ServerLink>,
    /// What it holds. `None` if its index cannot be read.
    pub usage: Option<Usage>,
    /// Why its index cannot be read.
    pub index_failed: Option<String>,
    /// Why it no longer stores and votes.
    pub storage_failed: Option<String>,
    /// The state of its wall clock.
    pub clock: ClockStatus,
    /// The results of scrubbing since the start.
    pub scrubbed: Scrubbed,
    /// The progress of repair.
    pub repair: Repair,
    /// The state of the ordered log.
    pub log: LogStatus,
    /// The members that sent it more messages than it takes.
    pub held_back: Vec<HeldBackMember>,
}

/// A member that sent more messages than a replica takes of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBackMember {
    /// Its name in the committee.
    pub name: String,
    /// Its node key, base58.
    pub node_key: String,
    /// How often nothing was read from a connection of it for a moment.
    pub pauses: u64,
    /// Messages of it that a server relayed, and that were dropped.
    pub dropped: u64,
}

/// The handles that the operator's commands use.
pub(super) struct OperatorContext {
    pub(super) identity: Arc<OwnIdentity>,
    pub(super) reports: Arc<Reports>,
    pub(super) storage: Storage,
    pub(super) admission: Arc<ReplicaAdmission>,
    pub(super) clock: Arc<ClockWatch>,
    pub(super) foundings: Arc<Foundings>,
    pub(super) votes: Arc<LastVotes>,
    pub(super) log: Arc<ReplicaLog>,
    pub(super) approving: Arc<Approving>,
    pub(super) peers: PeerNetwork,
    pub(super) scrubber: Scrubber,
}

impl OperatorContext {
    /// The status now. Blocks until the disk has answered.
    pub(super) fn status(&self) -> Status {
        let chain = self.identity.chain();
        let committee = chain.as_ref().map(CommitteeChain::current);
        let (usage, index_failed) = match self.storage.store.usage() {
            Ok(usage) => (Some(usage), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (storage_failed, clock) = (self.storage.store.failure(), self.clock.status());
        let signs_nothing = self.signs_nothing(
            committee.map(|committee| &**committee),
            index_failed.as_ref(),
            storage_failed.as_ref(),
            &clock,
        );
        Status {
            name: self.identity.name.as_str().to_owned(),
            node_key: self.identity.node_key().to_string(),
            cluster: chain.as_ref().map(|chain| chain.cluster().to_string()),
            member: committee.and_then(|committee| self.identity.position(committee)),
            founding: self.foundings.progress().map(|(n, accepted)| {
                format!("accepted a founding of {n} members; {accepted} of them are known to have accepted")
            }),
            signs_nothing,
            votes: self.votes.status(),
            servers: self.reports.links.status(),
            usage,
            index_failed,
            storage_failed,
            clock,
            scrubbed: self.scrubber.so_far(),
            repair: self.storage.repairs.progress(self.storage.host.unix_seconds()),
            log: self.log.status(),
            held_back: committee.map(|committee| self.held_back(committee)).unwrap_or_default(),
        }
    }

    fn held_back(&self, committee: &Committee) -> Vec<HeldBackMember> {
        let member = |(key, HeldBack { pauses, dropped }): (NodeKey, _)| {
            let name = committee.record().position(&key).map(|position| committee.record().name(position));
            HeldBackMember { name: name.unwrap_or_default(), node_key: key.to_string(), pauses, dropped }
        };
        self.peers.held_back().into_iter().map(member).collect()
    }

    /// Why this replica signs nothing now: the first reason that holds. A new reason gets its line here.
    fn signs_nothing(
        &self,
        committee: Option<&Committee>,
        index_failed: Option<&String>,
        storage_failed: Option<&String>,
        clock: &ClockStatus,
    ) -> Option<String> {
        let Some(committee) = committee else {
            return Some("it is in no committee yet".into());
        };
        if self.identity.position(committee).is_none() {
            return Some("it is not a member of its committee".into());
        }
        if let Some(why) = index_failed {
            return Some(format!("its index cannot be read: {why}"));
        }
        if let Some(why) = storage_failed {
            return Some(format!("its storage failed: {why}"));
        }
        if let Some(why) = &clock.reason {
            return Some(format!("its clock is in doubt: {why}"));
        }
        (!self.reports.links.is_counted()).then(|| "no server is connected that counts it as a member".into())
    }
}
