//! Which of the proposed changes a member approves. It approves one at a time, so that there is at most one that a quorum approves.

use vouch_core::digest::ChangeId;
use vouch_core::membership::CommitteeChange;

use super::approvals::Proposal;
use super::duties::OwnState;
use super::state::Membership;

/// How long the change that a quorum approves may take while others wait that members approve by themselves, in seconds. A node that proposed
/// itself and never came back would otherwise keep all others out.
pub const TURN_TIME: u64 = 300;

/// How a member agrees to a change that no operator signed. A greater one is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// By itself.
    Automatic,
    /// Its owner approved the change: a later approval has a greater number.
    Named(u64),
}

/// How much a member wants a proposed change. A greater one is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// The changes take turns, so none is preferred.
    InTurn,
    Named(u64),
    /// The operator signed it. What is proposed later is what the operator wants now.
    Signed {
        height: u64,
        change: ChangeId,
    },
}

impl Membership {
    /// The change that a node wants to approve, and the number of the approval; `None` if it approves that one already, or no other can be chosen
    /// any more.
    pub(super) fn approval(
        &self,
        own: OwnState<'_>,
        consents: impl Fn(&CommitteeChange) -> Option<Consent>,
    ) -> Option<(ChangeId, u64)> {
        if self.running.as_ref().is_some_and(|running| running.decided().is_some()) {
            return None;
        }
        let proposals = self.approvals.proposals().values();
        let mut wishes: Vec<(&Proposal, Wish)> =
            proposals.filter_map(|proposal| Some((proposal, wish(proposal, &consents)?))).collect();
        wishes.sort_by_key(|(proposal, _)| (proposal.height, proposal.change.id()));
        let strongest = wishes.iter().map(|(_, wish)| *wish).max()?;
        let wanted: Vec<ChangeId> =
            wishes.iter().filter(|(_, wish)| *wish == strongest).map(|(proposal, _)| proposal.change.id()).collect();
        let last = self.approvals.of_member(own.node_key);
        let approved = last.map(|(_, change)| change);
        let chosen = self.in_turn(&wanted, approved, own.unix_seconds)?;
        (approved != Some(chosen)).then(|| (chosen, last.map_or(1, |(number, _)| number + 1)))
    }

    /// The one of these changes whose turn it is, oldest first. All members choose alike, because they have the same log.
    fn in_turn(&self, wanted: &[ChangeId], approved: Option<ChangeId>, unix_seconds: Option<u64>) -> Option<ChangeId> {
        let place = |change: ChangeId| wanted.iter().position(|one| *one == change);
        let kept = approved.and_then(place).unwrap_or(0);
        let chosen = match self.running.as_ref().and_then(|running| Some((running, place(running.id)?))) {
            None => kept,
            Some((running, place)) => match unix_seconds {
                None => kept,
                // The next committee names the seal of the epoch before, so no change gets on without it.
                Some(now) if self.is_sealed() && now >= running.since.saturating_add(TURN_TIME) => place + 1,
                Some(_) => place,
            },
        };
        wanted.get(chosen).or(wanted.first()).copied()
    }
}

fn wish(proposal: &Proposal, consents: impl Fn(&CommitteeChange) -> Option<Consent>) -> Option<Wish> {
    if proposal.operator.is_some() {
        return Some(Wish::Signed { height: proposal.height, change: proposal.change.id() });
    }
    consents(&proposal.change).map(|consent| match consent {
        Consent::Automatic => Wish::InTurn,
        Consent::Named(number) => Wish::Named(number),
    })
}
