//! The state of the cluster as the server sees it now: for `/v1/cluster`, `/readyz` and the metrics.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::access::AccessView;
use vouch_core::committee::{Committee, Member};
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;
use vouch_core::quorum;
use vouch_node_core::server::ServerCore;
use vouch_node_core::server::health::Trouble;

use super::access_board::AccessBoard;
use super::core_performer::CorePerformer;
use super::founding::ServerFoundings;
use super::log::ServerLog;
use super::member_links::{MemberLinks, ReplicaHandle};

/// What the cluster's state is read from.
#[derive(Clone)]
pub(super) struct ClusterView {
    pub(super) core: Arc<CorePerformer>,
    pub(super) members: MemberLinks,
    pub(super) foundings: Arc<ServerFoundings>,
    pub(super) log: Arc<ServerLog>,
    pub(super) access: Arc<AccessBoard>,
    /// Whether each put through this server must name a token.
    pub(super) needs_tokens: bool,
    /// The server's.
    pub(super) node_key: NodeKey,
    /// The number of members that the operator wants.
    pub(super) wanted_replicas: Option<u16>,
}

/// The state of the cluster at one moment. Before the founding, all numbers of the committee are 0.
#[derive(Debug, Clone)]
pub(super) struct ClusterState {
    pub(super) cluster: Option<ClusterId>,
    /// Whether a put would have a quorum.
    pub(super) is_ready: bool,
    pub(super) epoch: u64,
    pub(super) quorum: u16,
    pub(super) tolerated_faults: u16,
    /// How many more members may fail before no put has a quorum.
    pub(super) faults_left: u16,
    /// Connected members; before the founding, connected replicas.
    pub(super) connected: usize,
    /// The height of the newest certified head of the log; 0 before the first.
    pub(super) log_height: u64,
    pub(super) members: Vec<MemberState>,
}

/// The state of one member.
#[derive(Debug, Clone)]
pub(super) struct MemberState {
    pub(super) member: Member,
    pub(super) is_connected: bool,
    pub(super) trouble: Option<Trouble>,
    /// The height of its log as it claims, if it is connected and has told one.
    pub(super) log_height: Option<u64>,
}

impl ClusterView {
    pub(super) fn state(&self) -> ClusterState {
        let snapshot = self.members.snapshot();
        let log_height = self.log.head().map_or(0, |head| head.claim.height);
        let Some(committee) = snapshot.chain.as_ref().map(|chain| chain.current()) else {
            return ClusterState {
                cluster: None,
                is_ready: self.foundings.put_obstacle().is_none(),
                epoch: 0,
                quorum: 0,
                tolerated_faults: 0,
                faults_left: 0,
                connected: self.core.state().roster().count(),
                log_height,
                members: Vec::new(),
            };
        };
        let (record, heights) = (committee.record(), self.log.heights());
        let (core, now) = (self.core.state(), self.members.host().monotonic());
        let members: Vec<_> = (0..)
            .zip(record.members())
            .map(|(number, member)| MemberState {
                is_connected: snapshot.members.contains_key(&number),
                trouble: core.health().trouble(&member.node_key, now),
                log_height: heights.get(&number).copied(),
                member: *member,
            })
            .collect();
        let readiness = Readiness::of(&core, committee, now);
        ClusterState {
            cluster: Some(committee.cluster()),
            is_ready: readiness.is_ready(),
            epoch: record.epoch(),
            quorum: record.quorum(),
            tolerated_faults: quorum::tolerated_faults(record.n()),
            faults_left: u16::try_from(readiness.able().saturating_sub(readiness.quorum)).unwrap_or(u16::MAX),
            connected: snapshot.members.len(),
            log_height,
            members,
        }
    }

    /// The rules of access as members say, and the cluster. Nothing is restricted before there is a cluster.
    pub(super) fn access(&self) -> (Arc<AccessView>, Option<ClusterId>) {
        match self.members.chain() {
            Some(chain) => (self.access.view(chain.current().record()), Some(chain.cluster())),
            None => (Arc::default(), None),
        }
    }

    pub(super) fn assess(&self, committee: &Committee) -> Readiness {
        Readiness::of(&self.core.state(), committee, self.members.host().monotonic())
    }
}

/// The members of the committee that a put can count on.
pub(super) struct Readiness {
    pub(super) quorum: usize,
    pub(super) n: usize,
    /// Members that a put cannot count on, by name.
    pub(super) fatal: Vec<(String, Trouble)>,
    /// Members that take part, but slowly.
    pub(super) impaired: Vec<(String, Trouble)>,
}

impl Readiness {
    fn of(core: &ServerCore<ReplicaHandle>, committee: &Committee, now: Duration) -> Self {
        let record = committee.record();
        let members = record.members().iter();
        let troubled =
            members.filter_map(|member| Some((member.name.to_string(), core.health().trouble(&member.node_key, now)?)));
        let (fatal, impaired) = troubled.partition(|(_, trouble)| trouble.is_fatal());
        Self { quorum: record.quorum().into(), n: record.n().into(), fatal, impaired }
    }

    pub(super) fn able(&self) -> usize {
        self.n - self.fatal.len()
    }

    /// Whether a put would have a quorum.
    pub(super) fn is_ready(&self) -> bool {
        self.able() >= self.quorum
    }
}
