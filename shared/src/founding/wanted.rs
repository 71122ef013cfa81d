//! The committee that a server's operator wants.

use std::collections::BTreeSet;

use crate::bls::VoteKey;
use crate::committee::{CommitteeRecord, Policy};
use crate::digest::ClusterId;
use crate::link::NodeKey;

/// The committee that the operator wants. Nothing is required if all fields are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedCommittee {
    /// The number of members (`--replicas`).
    pub replicas: Option<u16>,
    /// Exactly these node keys (`--members`).
    pub members: Option<BTreeSet<NodeKey>>,
    /// The genesis committee of this cluster, which other servers found (`--cluster`).
    pub cluster: Option<ClusterId>,
    /// The key of the operator who must agree to every change of members (`--operator`). Without one, this server founds open committees,
    /// and serves one with any operator: the members have checked it.
    pub operator: Option<VoteKey>,
}

impl WantedCommittee {
    /// The number of members of the wanted committee; 0 if the operator did not say.
    pub fn size(&self) -> u64 {
        let listed = self.members.as_ref().map(|members| members.len() as u64);
        listed.or(self.replicas.map(u64::from)).unwrap_or(0)
    }

    /// Checks that a committee is what the operator wants.
    ///
    /// # Errors
    /// The first contradiction, with expected and got.
    pub fn allows(&self, genesis: &CommitteeRecord) -> Result<(), String> {
        if let Some(expected) = self.replicas.filter(|expected| *expected != genesis.n()) {
            return Err(format!("--replicas: expected a committee of {expected}, got one of {}", genesis.n()));
        }
        if let Some(expected) = self.cluster.filter(|expected| *expected != genesis.cluster()) {
            return Err(format!("--cluster: expected {expected}, got {}", genesis.cluster()));
        }
        let policy = self.operator.map(Policy::Operator);
        if let Some(expected) = policy.filter(|expected| *expected != genesis.policy()) {
            return Err(format!(
                "--operator: expected a committee with the policy {expected}, got {}",
                genesis.policy()
            ));
        }
        let Some(expected) = &self.members else { return Ok(()) };
        let got: BTreeSet<_> = genesis.members().iter().map(|member| member.node_key).collect();
        if let Some(missing) = expected.difference(&got).next() {
            return Err(format!("--members: expected {missing} in the committee, got one without it"));
        }
        match got.difference(expected).next() {
            Some(stranger) => Err(format!("--members: expected only listed members, got {stranger}")),
            None => Ok(()),
        }
    }
}
