//! The proposed changes, and which members approve which.

use std::collections::BTreeMap;

use vouch_core::bls::VoteSignature;
use vouch_core::committee::{CommitteeRecord, Policy};
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::{CommitteeChange, NodeVote, SignedNodeVote, verify_operator};

use crate::log::effect::refused;

/// Maximum number of proposed changes that are kept. Anybody may propose: a further one replaces one that no member approves.
pub const MAX_PROPOSALS: usize = 16;

/// A proposed change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The change.
    pub change: CommitteeChange,
    /// The operator's signature, which was verified. `None` if the policy needs none.
    pub operator: Option<VoteSignature>,
    /// The height of the block that has the proposal.
    pub height: u64,
}

/// The proposals of one epoch and the members' approvals. A member approves one change at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvals {
    pub(super) proposals: BTreeMap<ChangeId, Proposal>,
    /// By member: the number of its last approval, and the change.
    pub(super) approvals: BTreeMap<NodeKey, (u64, ChangeId)>,
}

impl Approvals {
    /// The proposed changes.
    pub fn proposals(&self) -> &BTreeMap<ChangeId, Proposal> {
        &self.proposals
    }

    /// The members that approve a change.
    pub fn approvers(&self, change: ChangeId) -> impl Iterator<Item = NodeKey> {
        self.approvals.iter().filter(move |(_, (_, approved))| *approved == change).map(|(node_key, _)| *node_key)
    }

    /// A member's last approval: its number, and the change.
    pub fn of_member(&self, member: &NodeKey) -> Option<(u64, ChangeId)> {
        self.approvals.get(member).copied()
    }

    /// The change that a quorum of the committee approves. There is at most one, because a member approves one at a time.
    pub(super) fn chosen(&self, committee: &CommitteeRecord) -> Option<&Proposal> {
        let quorum = usize::from(committee.quorum());
        self.proposals.iter().find(|(id, _)| self.approvers(**id).count() >= quorum).map(|(_, proposal)| proposal)
    }

    pub(super) fn propose(
        &mut self,
        committee: &CommitteeRecord,
        change: CommitteeChange,
        operator: Option<VoteSignature>,
        height: u64,
    ) -> Result<String, String> {
        change.check(committee).map_err(refused)?;
        let operator = match (committee.policy(), operator) {
            (Policy::Open, _) => None,
            (Policy::Operator(_), None) => return Err("expected the operator's signature, got none".into()),
            (Policy::Operator(key), Some(signature)) => {
                verify_operator(&key, &change, &signature)
                    .map_err(|error| error.comparison().within("operator's signature").to_string())?;
                Some(signature)
            }
        };
        let id = change.id();
        if self.proposals.contains_key(&id) {
            return Err(format!("change {id} is proposed already"));
        }
        if self.proposals.len() >= MAX_PROPOSALS {
            let unapproved = self.proposals.iter().filter(|(id, _)| self.approvers(**id).next().is_none());
            let oldest = unapproved.min_by_key(|(_, proposal)| proposal.height).map(|(id, _)| *id);
            let Some(oldest) = oldest else {
                return Err(format!("expected at most {MAX_PROPOSALS} approved changes, got another"));
            };
            self.proposals.remove(&oldest);
        }
        self.proposals.insert(id, Proposal { change, operator, height });
        Ok(format!("proposed {id}"))
    }

    pub(super) fn approve(&mut self, committee: &CommitteeRecord, signed: &SignedNodeVote) -> Result<String, String> {
        let NodeVote::Approve { change, number } = signed.vote else { return Err("expected an approval".into()) };
        let member = signed.verify(committee).map_err(refused)?;
        if !self.proposals.contains_key(&change) {
            return Err(format!("change {change} is not proposed"));
        }
        if let Some((last, _)) = self.approvals.get(&signed.node_key)
            && number <= *last
        {
            return Err(format!("number of the approval: expected more than {last}, got {number}"));
        }
        self.approvals.insert(signed.node_key, (number, change));
        let (count, quorum) = (self.approvers(change).count(), committee.quorum());
        Ok(format!("{} approves {change}: {count} of {quorum}", committee.name(member)))
    }
}
