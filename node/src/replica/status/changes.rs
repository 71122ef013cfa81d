//! The changes of members as a replica knows them from the log, for its operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::{AddedMember, CommitteeChange};
use vouch_node_core::membership::{Membership, Proposal, RunningChange, Sealing};

use super::OperatorContext;

/// A node with the name that people know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The name. It need not be unique.
    pub name: String,
    /// The node key, base58.
    pub node_key: String,
}

/// What a change of members does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// Its identity, base58.
    pub id: String,
    /// Who joins.
    pub joins: Vec<NamedNode>,
    /// Who leaves.
    pub leaves: Vec<NamedNode>,
    /// Whether it may take effect before the next committee holds every file.
    pub forced: bool,
}

/// A proposed change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalStatus {
    /// The change.
    pub change: ChangeStatus,
    /// The height of the block with the proposal.
    pub height: u64,
    /// Whether the cluster's operator signed it. Then every member approves it by itself.
    pub operator_signed: bool,
    /// The members that approve it.
    pub approved_by: Vec<NamedNode>,
    /// Whether this replica agrees to it. Its approval may still be on the way into the log.
    pub approved_here: bool,
}

/// What a running change waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeStep {
    /// The nodes of the next committee offer their vote keys.
    Offers,
    /// All keys are there; the epoch before must be sealed first.
    Seal,
    /// A quorum of the next committee must accept it.
    Accepts,
    /// A quorum of the old committee must stop.
    Stops,
    /// A quorum of the old committee must sign the handoff.
    Handoff,
}

/// A change that a quorum approves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// The change.
    pub change: ChangeStatus,
    /// The time of the block with the last approval, seconds since 1970.
    pub since: u64,
    /// What it waits for.
    pub step: ChangeStep,
    /// Number of members of the next committee.
    pub next_members: u16,
    /// The nodes whose key offers are missing. Members that stay keep their keys if they offer none.
    pub offers_missing: Vec<NamedNode>,
    /// The members of the next committee that accepted it.
    pub accepted_by: Vec<NamedNode>,
    /// The members of the old committee that stopped.
    pub stopped: Vec<NamedNode>,
    /// When the old epoch closes, seconds since 1970, once that is decided.
    pub closing: Option<u64>,
    /// The members of the old committee that signed the handoff.
    pub signed_by: Vec<NamedNode>,
    /// Number of accepts that are needed.
    pub accepts_needed: u16,
    /// Number of stops, and of signatures on the handoff, that are needed.
    pub signatures_needed: u16,
}

/// The seal of the epoch before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealStatus {
    /// The epoch that is sealed.
    pub epoch: u64,
    /// When it closed, seconds since 1970.
    pub closing: u64,
    /// Whether its seal is signed.
    pub sealed: bool,
    /// Number of members that know of no certificate that the seal lacks.
    pub ready: usize,
    /// Number of members that signed it.
    pub signed: usize,
    /// Number of members that are needed for each of them.
    pub needed: u16,
}

/// What this replica is in the committee and in the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum OwnPart {
    /// A member.
    Member {
        /// Whether it leaves with the running change.
        leaves: bool,
    },
    /// A proposed change would make it a member.
    Proposed,
    /// It joins with the running change, and fetches blobs until it holds all.
    CatchingUp {
        /// Number of blobs that it lacks and some member holds. `None` until it has read the lists of certificates.
        lacking: Option<u64>,
    },
    /// It joins with the running change, and holds every blob that anybody holds.
    Ready,
    /// It is no member, and no change makes it one.
    Outside,
}

/// The committee and its changes, as the log decided them so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipStatus {
    /// The cluster's identity, base58.
    pub cluster: String,
    /// The active epoch.
    pub epoch: u64,
    /// Number of members.
    pub members: u16,
    /// Number of approvals that a change needs.
    pub quorum: u16,
    /// The proposed changes, oldest first.
    pub proposals: Vec<ProposalStatus>,
    /// The change that a quorum approves.
    pub running: Option<RunningStatus>,
    /// The seal of the epoch before; `None` in epoch 0.
    pub seal: Option<SealStatus>,
    /// What this replica is.
    pub own: OwnPart,
}

/// The answer to an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedChange {
    /// The change, with the approvals that the log had before.
    pub proposal: ProposalStatus,
    /// Number of approvals that it needs.
    pub needed: u16,
    /// Another change that this member approves in the log so far, and that is still proposed. It approves one at a time, so it gives this up.
    pub approves_already: Option<String>,
}

fn named(name: impl ToString, node_key: &NodeKey) -> NamedNode {
    NamedNode { name: name.to_string(), node_key: node_key.to_string() }
}

fn all_named(members: &[AddedMember]) -> Vec<NamedNode> {
    members.iter().map(|member| named(member.name, &member.node_key)).collect()
}

/// Nodes of a committee by their keys.
fn members_named<'a>(record: &CommitteeRecord, keys: impl IntoIterator<Item = &'a NodeKey>) -> Vec<NamedNode> {
    let name = |key: &NodeKey| record.position(key).map(|position| record.name(position)).unwrap_or_default();
    keys.into_iter().map(|key| named(name(key), key)).collect()
}

fn voters_named(record: &CommitteeRecord, voters: impl Iterator<Item = u16>) -> Vec<NamedNode> {
    voters.filter_map(|voter| record.member(voter)).map(|member| named(member.name, &member.node_key)).collect()
}

fn change_status(change: &CommitteeChange, record: &CommitteeRecord) -> ChangeStatus {
    ChangeStatus {
        id: change.id().to_string(),
        joins: all_named(&change.added),
        leaves: members_named(record, &change.removed),
        forced: change.is_forced,
    }
}

fn running_status(running: &RunningChange, record: &CommitteeRecord) -> RunningStatus {
    let (joining, staying) = running.missing(record);
    let after = running.members(record).len();
    let (next, decided) = (running.next.as_ref(), running.decided().map(|(_, decided)| decided));
    let handoff = decided.and_then(|decided| decided.handoff.as_ref());
    let step = match (next, decided, handoff) {
        (None, ..) if joining.is_empty() && staying.is_empty() => ChangeStep::Seal,
        (None, ..) => ChangeStep::Offers,
        (Some(_), None, _) => ChangeStep::Accepts,
        (Some(_), Some(_), None) => ChangeStep::Stops,
        (Some(_), Some(_), Some(_)) => ChangeStep::Handoff,
    };
    let offers_missing = match step {
        ChangeStep::Offers => all_named(&[joining, staying].concat()),
        _ => Vec::new(),
    };
    // Cannot saturate: a change leads to at most 1000 members.
    let next_members = u16::try_from(after).unwrap_or(u16::MAX);
    RunningStatus {
        change: change_status(&running.change, record),
        since: running.since,
        step,
        next_members,
        offers_missing,
        accepted_by: next.map(|next| voters_named(next.committee.record(), next.accepts.voters())).unwrap_or_default(),
        stopped: decided.map(|decided| members_named(record, decided.stops.keys())).unwrap_or_default(),
        closing: handoff.map(|handoff| handoff.statement().body().closing),
        signed_by: handoff.map(|handoff| voters_named(record, handoff.voters())).unwrap_or_default(),
        accepts_needed: vouch_core::quorum::quorum(next_members),
        signatures_needed: record.quorum(),
    }
}

fn seal_status(sealing: &Sealing, current: &Committee) -> SealStatus {
    SealStatus {
        epoch: sealing.committee.record().epoch(),
        closing: sealing.closing,
        sealed: sealing.seal.is_some(),
        ready: sealing.ready.len(),
        signed: sealing.tally.as_ref().map_or(0, |tally| tally.voters().count()),
        needed: current.record().quorum(),
    }
}

/// What a node is. `lacking`: the number of blobs that it lacks and can get, if it knows.
fn own_part(state: &Membership, own: &NodeKey, lacking: Option<u64>) -> OwnPart {
    let joins = |change: &CommitteeChange| change.added.iter().any(|member| member.node_key == *own);
    let running = state.running().map(|running| &running.change);
    if state.committee().record().position(own).is_some() {
        return OwnPart::Member { leaves: running.is_some_and(|change| change.removed.contains(own)) };
    }
    match (running.is_some_and(joins), lacking) {
        (true, Some(0)) => OwnPart::Ready,
        (true, lacking) => OwnPart::CatchingUp { lacking },
        (false, _) if state.approvals().proposals().values().any(|proposal| joins(&proposal.change)) => {
            OwnPart::Proposed
        }
        (false, _) => OwnPart::Outside,
    }
}

impl OperatorContext {
    fn membership_state(&self) -> Result<Arc<Membership>, String> {
        let not_running = "the ordered log does not run on this replica; see why with `vouch status`";
        self.log.follow_membership().see().ok_or_else(|| not_running.to_owned())
    }

    fn proposal_status(&self, id: &ChangeId, proposal: &Proposal, state: &Membership) -> ProposalStatus {
        let (record, own) = (state.committee().record(), self.identity.node_key());
        let approvers: BTreeSet<NodeKey> = state.approvals().approvers(*id).collect();
        ProposalStatus {
            change: change_status(&proposal.change, record),
            height: proposal.height,
            operator_signed: proposal.operator.is_some(),
            approved_here: approvers.contains(&own) || self.approving.consent(&proposal.change).is_some(),
            approved_by: members_named(record, &approvers),
        }
    }

    /// The committee and its changes.
    pub(in crate::replica) fn membership(&self) -> Result<MembershipStatus, String> {
        let state = self.membership_state()?;
        let record = state.committee().record();
        let lacking = self.storage.repairs.progress(self.storage.host.unix_seconds()).obtainable();
        let mut proposals: Vec<_> = state.approvals().proposals().iter().collect();
        proposals.sort_by_key(|(id, proposal)| (proposal.height, **id));
        Ok(MembershipStatus {
            cluster: record.cluster().to_string(),
            epoch: record.epoch(),
            members: record.n(),
            quorum: record.quorum(),
            proposals: proposals.iter().map(|(id, proposal)| self.proposal_status(id, proposal, &state)).collect(),
            running: state.running().map(|running| running_status(running, record)),
            seal: state.sealing().map(|sealing| seal_status(sealing, state.committee())),
            own: own_part(&state, &self.identity.node_key(), lacking),
        })
    }

    /// Approves a proposed change as a member, durably. Blocks until the disk has answered.
    pub(in crate::replica) fn approve(&self, change: &str) -> Result<ApprovedChange, String> {
        let id: ChangeId = change.parse().map_err(|error| format!("change: {error}"))?;
        let state = self.membership_state()?;
        let (record, own) = (state.committee().record(), self.identity.node_key());
        let epoch = record.epoch();
        if record.position(&own).is_none() {
            return Err(format!("this replica is not a member in epoch {epoch}, and only members approve changes"));
        }
        let proposals = state.approvals().proposals();
        let Some(proposal) = proposals.get(&id) else {
            let others = match proposals.len() {
                0 => "no change is proposed".to_owned(),
                1 => "another one is".to_owned(),
                count => format!("{count} others are"),
            };
            return Err(format!("change {id} is not proposed in epoch {epoch}; {others}"));
        };
        if proposal.operator.is_some() {
            return Err(format!(
                "the operator signed change {id}: members approve the latest such change by themselves"
            ));
        }
        self.approving.name(self.storage.host.disk(), epoch, id).map_err(|error| error.to_string())?;
        let approved = state.approvals().of_member(&own).map(|(_, approved)| approved);
        let another = approved.filter(|approved| *approved != id && proposals.contains_key(approved));
        Ok(ApprovedChange {
            proposal: self.proposal_status(&id, proposal, &state),
            needed: record.quorum(),
            approves_already: another.map(|another| another.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::VoteSecretKey;
    use vouch_core::committee::{KeyOffer, MemberName};
    use vouch_core::link::NodeSecretKey;
    use vouch_core::log::Op;
    use vouch_core::membership::{MembershipOp, NodeVote};
    use vouch_core::merkle::TreeHash;
    use vouch_core::statement::Statement;
    use vouch_fixture::{TestCommittee, node_key};
    use vouch_node_core::log::state_machine::BlockContext;

    use super::*;

    /// A committee of the replicas 1 to 4, which 5 joins.
    struct Joining {
        state: Membership,
        change: CommitteeChange,
        nonce: u8,
    }

    fn node(number: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[number; 32])
    }

    fn vote(number: u8) -> VoteSecretKey {
        VoteSecretKey::generate(&[number + 100; 32]).unwrap()
    }

    impl Joining {
        fn new() -> Self {
            let founded = TestCommittee::new(4).committee;
            let added = vec![AddedMember { node_key: node_key(5), name: MemberName::new("five").unwrap() }];
            let change = CommitteeChange::new(founded.record(), [0; 16], false, Vec::new(), added).unwrap();
            let mut joining = Self { state: Membership::founded(founded), change, nonce: 0 };
            joining.apply(MembershipOp::Propose { change: joining.change.clone(), operator: None });
            joining
        }

        fn apply(&mut self, op: MembershipOp) {
            self.nonce += 1;
            let op = Op::new(op.kind(), [self.nonce; 16], 1000, op.body()).unwrap();
            let block = BlockContext { height: self.nonce.into(), time: 100, log_root: TreeHash([0; 32]) };
            let effect = self.state.apply(&block, &op);
            let effect = String::from_utf8_lossy(effect.bytes()).into_owned();
            assert!(!effect.starts_with("refused"), "{effect}");
        }

        fn approve(&mut self) {
            let record = self.state.committee().record().clone();
            for number in 1..=3 {
                let vote = NodeVote::Approve { change: self.change.id(), number: 1 };
                self.apply(MembershipOp::Approve(vote.sign(&record, &node(number))));
            }
        }

        fn own(&self, number: u8, lacking: Option<u64>) -> OwnPart {
            own_part(&self.state, &node_key(number), lacking)
        }

        fn running(&self) -> RunningStatus {
            running_status(self.state.running().unwrap(), self.state.committee().record())
        }
    }

    #[test]
    fn a_replica_knows_how_far_it_is_with_joining() {
        let mut joining = Joining::new();
        assert_eq!(joining.own(1, None), OwnPart::Member { leaves: false });
        assert_eq!((joining.own(5, Some(0)), joining.own(6, Some(0))), (OwnPart::Proposed, OwnPart::Outside));
        joining.approve();
        assert_eq!(joining.own(5, None), OwnPart::CatchingUp { lacking: None });
        assert_eq!(joining.own(5, Some(2)), OwnPart::CatchingUp { lacking: Some(2) });
        assert_eq!((joining.own(5, Some(0)), joining.own(6, Some(0))), (OwnPart::Ready, OwnPart::Outside));
    }

    #[test]
    fn each_step_of_a_running_change_names_who_is_missing() {
        let mut joining = Joining::new();
        joining.approve();
        let record = joining.state.committee().record().clone();
        assert_eq!((joining.running().step, joining.running().offers_missing.len()), (ChangeStep::Offers, 5));
        for number in [1, 2, 3, 5] {
            let offer = KeyOffer::new(&record, &node(number), &vote(number));
            joining.apply(MembershipOp::Offer(Box::new(offer)));
        }
        let missing = joining.running().offers_missing;
        assert_eq!(missing.iter().map(|node| node.node_key.clone()).collect::<Vec<_>>(), [node_key(4).to_string()]);
        joining.apply(MembershipOp::Offer(Box::new(KeyOffer::new(&record, &node(4), &vote(4)))));
        let running = joining.running();
        assert_eq!((running.step, running.accepts_needed, running.signatures_needed), (ChangeStep::Accepts, 4, 3));
        let accept = *joining.state.running().unwrap().next.as_ref().unwrap().accepts.statement();
        let sign = |statement: &Statement<_>, number| statement.sign(&vote(number));
        for number in [1, 2, 3, 5] {
            let signature = sign(&accept, number);
            joining.apply(MembershipOp::Accept { node_key: node_key(number), signature });
        }
        let running = joining.running();
        assert_eq!((running.step, running.accepted_by.len(), running.closing), (ChangeStep::Stops, 4, None));
        assert!(running.accepted_by.iter().any(|node| node.name == "five"));
    }
}
