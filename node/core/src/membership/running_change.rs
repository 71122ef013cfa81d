//! A change that a quorum approves, until the next epoch is active.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::bls::{VoteKey, VoteSignature};
use vouch_core::committee::{Committee, CommitteeRecord, KeyOffer, Lineage, Member};
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::{AddedMember, CommitteeChange, NodeVote, SignedNodeVote};
use vouch_core::merkle::TreeHash;
use vouch_core::statement::{Accept, Handoff, StatementId};
use vouch_core::tally::Tally;

use super::state::MAX_STOP_AHEAD;
use crate::log::effect::refused;
use crate::log::state_machine::BlockContext;

/// How long a change waits for the offers of members that stay, in seconds. After that, they keep their vote keys.
pub const OFFER_TIME: u64 = 10;

/// A change that a quorum approves.
#[derive(Debug, Clone)]
pub struct RunningChange {
    /// The change.
    pub change: CommitteeChange,
    /// Its identity.
    pub id: ChangeId,
    /// The time of the block that has the last approval.
    pub since: u64,
    /// The vote keys that were offered, and verified.
    pub offers: BTreeMap<NodeKey, VoteKey>,
    /// The next committee, once it is fixed.
    pub next: Option<NextCommittee>,
}

/// A committee that its members may accept.
#[derive(Debug, Clone)]
pub struct NextCommittee {
    /// The committee.
    pub committee: Arc<Committee>,
    /// The identity of the seal that its history names.
    pub seal: Option<StatementId>,
    /// The accepts.
    pub accepts: Tally<Accept>,
    /// Once a quorum has accepted.
    pub decided: Option<DecidedSuccessor>,
}

/// The successor is decided; the old committee ends.
#[derive(Debug, Clone)]
pub struct DecidedSuccessor {
    /// The height of the block that decided it.
    pub height: u64,
    /// The log root over the blocks up to that height, once there is a later block.
    pub log_root: Option<TreeHash>,
    /// When each member of the old committee stops, seconds since 1970.
    pub stops: BTreeMap<NodeKey, u64>,
    /// The handoff, once the closing is decided.
    pub handoff: Option<Tally<Handoff>>,
}

impl RunningChange {
    pub(super) fn new(change: CommitteeChange, time: u64) -> Self {
        Self { id: change.id(), change, since: time, offers: BTreeMap::new(), next: None }
    }

    /// The successor, once it is decided.
    pub fn decided(&self) -> Option<(&NextCommittee, &DecidedSuccessor)> {
        let next = self.next.as_ref()?;
        Some((next, next.decided.as_ref()?))
    }

    /// The nodes of the next committee, ascending by node key.
    pub fn members(&self, committee: &CommitteeRecord) -> Vec<AddedMember> {
        self.change.members_after(committee)
    }

    pub(super) fn offer(&mut self, committee: &CommitteeRecord, offer: &KeyOffer) -> Result<String, String> {
        if self.next.is_some() {
            return Err("the next committee has its keys already".into());
        }
        let (node_key, vote_key) = (offer.offered.node_key, offer.offered.vote_key);
        let Some(member) = self.members(committee).into_iter().find(|member| member.node_key == node_key) else {
            return Err(format!("key offer: expected one of a member of the next committee, got one of {node_key}"));
        };
        let is_of_another = committee.members().iter().any(|one| one.vote_key == vote_key && one.node_key != node_key)
            || self.offers.iter().any(|(owner, key)| *key == vote_key && *owner != node_key);
        if is_of_another {
            return Err(format!("offered vote key: expected one of {}, got another member's", member.name));
        }
        offer.verify(committee).map_err(refused)?;
        self.offers.insert(node_key, vote_key);
        Ok(format!("{} offers a vote key", member.name))
    }

    /// The nodes whose offers are missing: those that join, and those that stay.
    pub fn missing(&self, committee: &CommitteeRecord) -> (Vec<AddedMember>, Vec<AddedMember>) {
        let missing = self.members(committee).into_iter().filter(|member| !self.offers.contains_key(&member.node_key));
        missing.partition(|member| committee.position(&member.node_key).is_none())
    }

    /// Fixes the next committee, if the offers suffice.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn fix(
        &mut self,
        committee: &CommitteeRecord,
        lineage: Lineage,
        seal: Option<StatementId>,
        time: u64,
    ) -> Result<String, String> {
        if self.next.is_some() {
            return Err("the next committee has its keys already".into());
        }
        let (joining, staying) = self.missing(committee);
        let is_late = time >= self.since.saturating_add(OFFER_TIME);
        if let Some(member) = joining.first().or(staying.first().filter(|_| !is_late)) {
            return Err(format!("expected the key offer of {}, got none yet", member.name));
        }
        let vote_key = |node_key: &NodeKey| {
            let unchanged = || committee.members().iter().find(|one| one.node_key == *node_key).map(|one| one.vote_key);
            self.offers.get(node_key).copied().or_else(unchanged)
        };
        let member = |member: AddedMember| {
            let AddedMember { node_key, name } = member;
            Some(Member { node_key, vote_key: vote_key(&node_key)?, name })
        };
        let members: Option<Vec<_>> = self.members(committee).into_iter().map(member).collect();
        let members = members.ok_or("a member has no vote key")?;
        let record = CommitteeRecord::later(lineage, committee.policy(), members).map_err(refused)?;
        let digest = record.digest();
        let accepts = Tally::new(&record, Accept { proposal: self.id.0 });
        let next = Committee::handed_over(Arc::new(record)).map_err(|(_, error)| refused(error))?;
        self.next = Some(NextCommittee { committee: Arc::new(next), seal, accepts, decided: None });
        Ok(format!("the next committee is {digest}"))
    }

    pub(super) fn accept(
        &mut self,
        node_key: &NodeKey,
        signature: VoteSignature,
        block: &BlockContext,
    ) -> Result<String, String> {
        let next = self.next.as_mut().filter(|next| next.decided.is_none());
        let next = next.ok_or("no committee waits to be accepted")?;
        let record = next.committee.record();
        let member = record.position(node_key).ok_or_else(|| format!("{node_key} is not in the next committee"))?;
        next.accepts.add(&next.committee, member, signature).map_err(refused)?;
        let (count, name) = (next.accepts.voters().count(), record.name(member));
        if next.accepts.is_complete() {
            let (height, stops) = (block.height, BTreeMap::new());
            next.decided = Some(DecidedSuccessor { height, log_root: None, stops, handoff: None });
            return Ok(format!("{name} accepts: epoch {} is decided", record.epoch()));
        }
        Ok(format!("{name} accepts: {count} of {}", record.quorum()))
    }

    /// Notes the log root at the first block after the one that decided the successor.
    pub(super) fn begin_block(&mut self, block: &BlockContext) {
        if let Some(decided) = self.next.as_mut().and_then(|next| next.decided.as_mut())
            && block.height > decided.height
        {
            decided.log_root.get_or_insert(block.log_root);
        }
    }

    /// `earliest`: the closing of the epoch before, below which this one's must not be.
    pub(super) fn stop(
        &mut self,
        committee: &CommitteeRecord,
        signed: &SignedNodeVote,
        earliest: u64,
        block: &BlockContext,
    ) -> Result<String, String> {
        let NodeVote::Stop { until } = signed.vote else { return Err("expected a stop".into()) };
        let next = self.next.as_mut().ok_or("no committee ends")?;
        let record = next.committee.record();
        let decided = next.decided.as_mut().ok_or("no committee ends")?;
        let log_root = decided.log_root.ok_or("no committee ends")?;
        if decided.handoff.is_some() {
            return Err("the closing is decided".into());
        }
        let member = signed.verify(committee).map_err(refused)?;
        let latest = block.time.saturating_add(MAX_STOP_AHEAD);
        if until > latest {
            return Err(format!("time of the stop: expected at most {latest}, got {until}"));
        }
        if decided.stops.contains_key(&signed.node_key) {
            return Err(format!("{} has stopped already", committee.name(member)));
        }
        decided.stops.insert(signed.node_key, until);
        if decided.stops.len() >= usize::from(committee.quorum()) {
            let closing = decided.stops.values().copied().max().unwrap_or(until).max(earliest);
            let handoff = Handoff { closing, next: record.digest(), height: decided.height, log_root };
            decided.handoff = Some(Tally::new(committee, handoff));
            return Ok(format!("{} stops: epoch {} closes at {closing}", committee.name(member), committee.epoch()));
        }
        Ok(format!("{} stops: {} of {}", committee.name(member), decided.stops.len(), committee.quorum()))
    }

    /// Counts a signature on the handoff. Whether it is complete now.
    pub(super) fn sign_handoff(
        &mut self,
        committee: &Committee,
        node_key: &NodeKey,
        signature: VoteSignature,
    ) -> Result<(String, bool), String> {
        let record = committee.record();
        let member =
            record.position(node_key).ok_or_else(|| format!("{node_key} is not in the committee that ends"))?;
        let handoff = self.next.as_mut().and_then(|next| next.decided.as_mut()?.handoff.as_mut());
        let handoff = handoff.ok_or("no handoff waits for signatures")?;
        handoff.add(committee, member, signature).map_err(refused)?;
        let (count, quorum) = (handoff.voters().count(), record.quorum());
        Ok((format!("{} signs the handoff: {count} of {quorum}", record.name(member)), handoff.is_complete()))
    }
}
