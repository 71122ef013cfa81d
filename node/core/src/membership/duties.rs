//! What a node has to do about the members now: whatever the log's state lacks from it. The shell performs each duty, and asks again later:
//! a duty that is done is in the state, and one that got lost is still due.

use vouch_core::committee::CommitteeRecord;
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::CommitteeChange;
use vouch_core::statement::{Accept, Handoff, Seal, Statement};

use super::choosing::Consent;
use super::running_change::OFFER_TIME;
use super::sealing::SEAL_DELAY;
use super::state::Membership;

/// A node's clock may be behind the log's by this much, in seconds, when it does what must not be too early.
const CLOCK_MARGIN: u64 = 1;

/// Time that one member has, in seconds, to put the certificates of an ended epoch into the log before the next one does. All know nearly the
/// same ones: with every member at once, the log would verify each of them n times.
const TURN: u64 = 10;

/// Something to do, in the order of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Approve a change.
    Approve {
        /// The change.
        change: ChangeId,
        /// The number of the approval.
        number: u64,
    },
    /// Make the vote key of the next epoch, and offer it.
    Offer,
    /// Fix the next committee without the offers of members that stay.
    Fix {
        /// The change.
        change: ChangeId,
    },
    /// Accept the next committee with the vote key of its epoch.
    Accept(Box<Statement<Accept>>),
    /// Sign no later statements of the epoch that ends, and say so.
    Stop,
    /// Sign the handoff.
    SignHandoff(Box<Statement<Handoff>>),
    /// Put the certificates of the ended epoch into the log that it lacks, and then say that none is missing.
    ReportCertificates {
        /// Whether it is this node's turn to put them there. Until then, it only says that none is missing, if so.
        is_turn: bool,
    },
    /// Sign the seal of the ended epoch.
    SignSeal(Box<Statement<Seal>>),
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy)]
pub struct OwnState<'a> {
    /// Its node key.
    pub node_key: &'a NodeKey,
    /// Seconds since 1970, by its clock. `None` while the clock is in doubt: then nothing is done that depends on the time, and no committee is
    /// joined or accepted in which this node could not vote.
    pub unix_seconds: Option<u64>,
    /// Whether it holds every live blob that was certified before the running change was approved and that anybody can supply. It has read the
    /// lists of a quorum since then.
    pub holds_everything: bool,
}

impl Membership {
    /// What this node has to do. `consents` says whether and how it agrees to a change that no operator signed.
    pub fn duties(&self, own: OwnState<'_>, consents: impl Fn(&CommitteeChange) -> Option<Consent>) -> Vec<Duty> {
        let committee = self.committee.record();
        let is_member = committee.position(own.node_key).is_some();
        let approval = is_member.then(|| self.approval(own, consents)).flatten();
        let mut duties: Vec<Duty> =
            approval.map(|(change, number)| Duty::Approve { change, number }).into_iter().collect();
        duties.extend(self.duties_of_change(committee, own, is_member));
        if is_member {
            duties.extend(self.duties_of_seal(own));
        }
        duties
    }

    fn duties_of_change(&self, committee: &CommitteeRecord, own: OwnState<'_>, is_member: bool) -> Vec<Duty> {
        let Some(running) = &self.running else { return Vec::new() };
        let mut duties = Vec::new();
        let Some(next) = &running.next else {
            let (joining, staying) = running.missing(committee);
            // A node that joins offers its key once it holds everything: the committee cannot be fixed without it.
            let joins = joining.iter().any(|member| member.node_key == *own.node_key)
                && own.holds_everything
                && own.unix_seconds.is_some();
            if joins || staying.iter().any(|member| member.node_key == *own.node_key) {
                duties.push(Duty::Offer);
            }
            let is_late = own.unix_seconds.is_some_and(|now| now >= running.since + OFFER_TIME + CLOCK_MARGIN);
            // The next committee names the seal of the epoch before.
            if is_member && joining.is_empty() && is_late && self.is_sealed() {
                duties.push(Duty::Fix { change: running.id });
            }
            return duties;
        };
        let record = next.committee.record();
        let Some(decided) = &next.decided else {
            let has_accepted = |member| next.accepts.voters().any(|voter| voter == member);
            if record.position(own.node_key).is_some_and(|member| !has_accepted(member))
                && (own.holds_everything || running.change.is_forced)
                && own.unix_seconds.is_some()
            {
                duties.push(Duty::Accept(Box::new(*next.accepts.statement())));
            }
            return duties;
        };
        let Some(member) = committee.position(own.node_key) else { return duties };
        match &decided.handoff {
            None if decided.stops.contains_key(own.node_key) => {}
            None => duties.push(Duty::Stop),
            Some(handoff) if handoff.voters().any(|voter| voter == member) => {}
            Some(handoff) => duties.push(Duty::SignHandoff(Box::new(*handoff.statement()))),
        }
        duties
    }

    fn duties_of_seal(&self, own: OwnState<'_>) -> Option<Duty> {
        let sealing = self.sealing.as_ref().filter(|sealing| sealing.seal.is_none())?;
        let member = self.committee.record().position(own.node_key)?;
        if let Some(tally) = &sealing.tally {
            let has_signed = tally.voters().any(|voter| voter == member);
            return (!has_signed).then(|| Duty::SignSeal(Box::new(*tally.statement())));
        }
        let due = sealing.closing + SEAL_DELAY + CLOCK_MARGIN;
        let record = self.committee.record();
        let rank = (u64::from(member) + record.epoch()) % u64::from(record.n());
        let now = own.unix_seconds?;
        let duty = Duty::ReportCertificates { is_turn: now >= due + rank * TURN };
        (now >= due && !sealing.ready.contains(own.node_key)).then_some(duty)
    }
}
