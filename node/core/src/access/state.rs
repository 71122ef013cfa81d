//! The log's state about access: what an op about it does.

use std::collections::BTreeMap;

use vouch_core::access::{
    AccessChange, AccessOp, AccessView, Decision, Grant, Rules, TokenKey, verify_access_operator,
};
use vouch_core::committee::{CommitteeRecord, Policy};
use vouch_core::digest::{AccessChangeId, CommitteeDigest};
use vouch_core::limits::MAX_TOKENS;
use vouch_core::link::NodeKey;
use vouch_core::log::{Effect, Op};
use vouch_core::membership::{NodeVote, SignedNodeVote};

use crate::log::effect::{effect_of, refused};

/// The approvals of changes, by the members of one committee. A member approves one change at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approvals {
    pub(super) committee: CommitteeDigest,
    /// The number of the approval, and the change.
    pub(super) by_member: BTreeMap<NodeKey, (u64, AccessChange)>,
}

/// Who may put and read. Equal states have equal encodings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The number of changes that were made.
    pub(super) number: u64,
    pub(super) rules: Rules,
    pub(super) tokens: BTreeMap<TokenKey, Grant>,
    /// Approvals of the next change. `None` instead of an empty list.
    pub(super) approvals: Option<Approvals>,
}

impl Access {
    /// The number of changes that were made.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who may put and read.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The tokens, by their public keys. Some may have expired.
    pub fn tokens(&self) -> &BTreeMap<TokenKey, Grant> {
        &self.tokens
    }

    /// What members tell servers.
    pub fn view(&self) -> AccessView {
        let tokens = self.tokens.iter().map(|(key, grant)| (*key, *grant)).collect();
        AccessView { number: self.number, rules: self.rules, tokens }
    }

    /// Whether this was the last change that was made.
    pub fn has_made(&self, change: &AccessChange) -> bool {
        self.number == change.number && self.is_in_force(&change.decision)
    }

    fn is_in_force(&self, decision: &Decision) -> bool {
        match decision {
            Decision::Rules(rules) => self.rules == *rules,
            Decision::Grant(key, grant) => self.tokens.get(key) == Some(grant),
            Decision::Revoke(key) => !self.tokens.contains_key(key),
        }
    }

    /// The members of this committee that approve a change.
    pub fn approvers(&self, committee: &CommitteeRecord, change: &AccessChangeId) -> Vec<NodeKey> {
        let current = self.approvals.iter().filter(|approvals| approvals.committee == committee.digest());
        let all = current.flat_map(|approvals| &approvals.by_member);
        all.filter(|(_, (_, approved))| approved.id() == *change).map(|(member, _)| *member).collect()
    }

    /// Applies an op about access, in the name of the current committee.
    pub fn apply(&mut self, committee: &CommitteeRecord, op: &Op) -> Effect {
        let decoded = AccessOp::decode(op.kind(), op.body());
        effect_of(decoded.map_err(refused).and_then(|op| self.decide(committee, op)))
    }

    fn decide(&mut self, committee: &CommitteeRecord, op: AccessOp) -> Result<String, String> {
        self.check(committee, op.change())?;
        match (op, committee.policy()) {
            (AccessOp::Decide { operator, change }, Policy::Operator(key)) => {
                verify_access_operator(&key, committee, &change, &operator)
                    .map_err(|error| error.comparison().within("operator's signature").to_string())?;
                Ok(self.make(&change))
            }
            (AccessOp::Decide { .. }, Policy::Open) => {
                Err("expected approvals by members, got a signature by an operator, whom this cluster lacks".into())
            }
            (AccessOp::Approve { .. }, Policy::Operator(_)) => {
                Err("expected the operator's signature, got an approval by a member".into())
            }
            (AccessOp::Approve { node_key, number, signature, change }, Policy::Open) => {
                let vote = NodeVote::ApproveAccess { change: change.id(), number };
                let member = SignedNodeVote { node_key, vote, signature }.verify(committee).map_err(refused)?;
                self.approve(committee, node_key, (number, change))?;
                let (count, quorum) = (self.approvers(committee, &change.id()).len(), committee.quorum());
                let done = format!("{} approves: {count} of {quorum}", committee.name(member));
                Ok(match count >= usize::from(quorum) {
                    true => format!("{done}; {}", self.make(&change)),
                    false => done,
                })
            }
        }
    }

    /// Checks that a change is the next one of this cluster, and can be made.
    fn check(&self, committee: &CommitteeRecord, change: &AccessChange) -> Result<(), String> {
        let AccessChange { cluster, number, decision } = change;
        if *cluster != committee.cluster() {
            return Err(format!("cluster of the change: expected {}, got {cluster}", committee.cluster()));
        }
        if *number != self.number + 1 {
            return Err(format!("number of the change: expected {}, the next one, got {number}", self.number + 1));
        }
        match decision {
            Decision::Grant(key, _) if self.tokens.len() >= MAX_TOKENS && !self.tokens.contains_key(key) => {
                Err(format!("expected at most {MAX_TOKENS} tokens, got another; revoke those that have expired"))
            }
            Decision::Revoke(key) if !self.tokens.contains_key(key) => Err(format!("there is no token {key}")),
            Decision::Grant(..) | Decision::Revoke(_) | Decision::Rules(_) => Ok(()),
        }
    }

    fn approve(
        &mut self,
        committee: &CommitteeRecord,
        member: NodeKey,
        (number, change): (u64, AccessChange),
    ) -> Result<(), String> {
        if let Some(last) = self.last_number(committee, &member).filter(|last| number <= *last) {
            return Err(format!("number of the approval: expected more than {last}, got {number}"));
        }
        let committee = committee.digest();
        let fresh = || Approvals { committee, by_member: BTreeMap::new() };
        let approvals = self.approvals.get_or_insert_with(fresh);
        if approvals.committee != committee {
            *approvals = fresh();
        }
        approvals.by_member.insert(member, (number, change));
        Ok(())
    }

    /// The number of a member's last approval of the next change, in the name of this committee.
    pub fn last_number(&self, committee: &CommitteeRecord, member: &NodeKey) -> Option<u64> {
        let current = self.approvals.as_ref().filter(|approvals| approvals.committee == committee.digest());
        current.and_then(|approvals| approvals.by_member.get(member)).map(|(number, _)| *number)
    }

    fn make(&mut self, change: &AccessChange) -> String {
        self.number = change.number;
        // they were for this number
        self.approvals = None;
        let done = match change.decision {
            Decision::Rules(rules) => {
                self.rules = rules;
                format!("{} may put, {} may read", rules.put, rules.read)
            }
            Decision::Grant(key, grant) => {
                self.tokens.insert(key, grant);
                format!("token {key} of {}", grant.name)
            }
            Decision::Revoke(key) => {
                self.tokens.remove(&key);
                format!("token {key} is revoked")
            }
        };
        format!("access change {}: {done}", change.number)
    }
}
