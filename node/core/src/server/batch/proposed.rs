//! A proposed batch and its votes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::{Ballot, Tally, VerifiedVote, VoteError};

use super::{BatchContext, BatchOutput, BatchRequest, PendingReceipt, refused_receipts};
use crate::server::grace_period::GracePeriod;
use crate::server::succession::StayingMembers;

/// The state of a member that was asked to vote.
#[derive(Debug)]
enum VoteState {
    Asked,
    /// Its vote waits to be verified together with others.
    Received(VoteSignature),
    Verifying,
    Voted,
    /// The member refused, disconnected or voted falsely. The reason, if there is one.
    Out(Option<Failed>),
}

#[derive(Debug)]
pub(super) struct ProposedBatch {
    items: Vec<PendingReceipt>,
    receipts: Box<Batch>,
    tally: Tally<Stored>,
    proposal: Arc<Message>,
    parts: BTreeMap<u16, VoteState>,
    /// For each member that was not asked, the number of items that it holds.
    held: BTreeMap<u16, usize>,
    grace: GracePeriod,
}

impl ProposedBatch {
    pub(super) fn new(
        items: Vec<PendingReceipt>,
        (receipts, tally): (Box<Batch>, Tally<Stored>),
        proposal: Arc<Message>,
        asked: &BTreeSet<u16>,
        now: Duration,
    ) -> Self {
        let mut held = BTreeMap::new();
        for member in items.iter().flat_map(|item| item.holders.difference(asked)) {
            *held.entry(*member).or_insert(0) += 1;
        }
        let parts = asked.iter().map(|member| (*member, VoteState::Asked)).collect();
        Self { items, receipts, tally, proposal, parts, held, grace: GracePeriod::new(now) }
    }

    pub(super) fn items(&mut self) -> impl Iterator<Item = &mut PendingReceipt> {
        self.items.iter_mut()
    }

    pub(super) fn proposal(&self) -> &Arc<Message> {
        &self.proposal
    }

    pub(super) fn ballot(&self) -> &Ballot<Stored> {
        self.tally.ballot()
    }

    pub(super) fn since(&self) -> Duration {
        self.grace.since()
    }

    /// The time until which a vote is in time; `None` until a quorum has voted.
    pub(super) fn until(&self) -> Option<Duration> {
        self.grace.until()
    }

    pub(super) fn is_in_time(&self, now: Duration) -> bool {
        self.grace.is_in_time(now)
    }

    pub(super) fn next_tick(&self, voting: Duration) -> Duration {
        self.until().unwrap_or(self.since() + voting + Duration::from_millis(1))
    }

    /// Records a holder of an item. `true` if the member now holds all items and must be asked as well.
    pub(super) fn also_held(&mut self, put: Stream, member: u16) -> bool {
        let Some(item) = self.items.iter_mut().find(|item| item.put == put) else { return false };
        if !item.hold(member) || self.parts.contains_key(&member) {
            return false;
        }
        let held = self.held.entry(member).or_insert(0);
        *held += 1;
        let holds_all = *held == self.items.len();
        if holds_all {
            self.parts.insert(member, VoteState::Asked);
        }
        holds_all
    }

    fn is_asked(&self, member: u16) -> bool {
        matches!(self.parts.get(&member), Some(VoteState::Asked))
    }

    /// Records a vote. `false` unless it is the first answer of a member that was asked.
    pub(super) fn receive_vote(&mut self, member: u16, vote: VoteSignature) -> bool {
        let is_first = self.is_asked(member);
        if is_first {
            self.parts.insert(member, VoteState::Received(vote));
        }
        is_first
    }

    /// The received votes, once they and the earlier ones may reach a quorum; fewer cannot make a certificate.
    pub(super) fn begin_verifying(&mut self, quorum: usize) -> Vec<(u16, VoteSignature)> {
        let counted = self
            .parts
            .values()
            .filter(|part| matches!(part, VoteState::Received(_) | VoteState::Verifying | VoteState::Voted))
            .count();
        if counted < quorum {
            return Vec::new();
        }
        let mut votes = Vec::new();
        for (member, part) in &mut self.parts {
            if let VoteState::Received(vote) = part {
                votes.push((*member, *vote));
                *part = VoteState::Verifying;
            }
        }
        votes
    }

    pub(super) fn verified(&mut self, member: u16, vote: Result<VerifiedVote<Stored>, VoteError>) {
        let counted = vote.and_then(|vote| self.tally.count(vote));
        let part = match counted {
            Ok(()) => VoteState::Voted,
            Err(error) => {
                VoteState::Out(Some(Failed::new(self.stream(), Code::NotAuthenticated, why_uncounted(&error))))
            }
        };
        self.parts.insert(member, part);
    }

    fn stream(&self) -> Stream {
        match &*self.proposal {
            Message::Propose { stream, .. } => *stream,
            _ => Stream::LINK,
        }
    }

    pub(super) fn refused(&mut self, member: u16, failed: Failed) {
        self.drop_member(member, Some(failed));
    }

    pub(super) fn lost(&mut self, member: u16) {
        self.drop_member(member, None);
    }

    /// A vote that was received still counts after its member is lost.
    fn drop_member(&mut self, member: u16, why: Option<Failed>) {
        if self.is_asked(member) {
            self.parts.insert(member, VoteState::Out(why));
        }
    }

    fn voters(&self) -> impl Iterator<Item = &u16> {
        self.parts.iter().filter(|(_, part)| matches!(part, VoteState::Voted)).map(|(member, _)| member)
    }

    /// Whether a quorum has voted, with enough of the members that stay.
    pub(super) fn has_votes(&self, quorum: usize, staying: &StayingMembers) -> bool {
        staying.suffice(self.voters(), quorum)
    }

    /// The members that were asked and have not answered.
    pub(super) fn silent(&self) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(|(_, part)| matches!(part, VoteState::Asked)).map(|(member, _)| *member)
    }

    /// Whether enough members have voted and the wait for the others is over.
    pub(super) fn is_certified(&mut self, quorum: usize, context: &BatchContext) -> bool {
        let BatchContext { not_awaited, staying, now, .. } = context;
        if !self.has_votes(quorum, staying) {
            return false;
        }
        let awaited = self.parts.iter().filter(|(member, part)| match part {
            VoteState::Asked => !not_awaited.contains(member),
            VoteState::Received(_) | VoteState::Verifying => true,
            VoteState::Voted | VoteState::Out(_) => false,
        });
        let awaited = awaited.count();
        self.grace.is_over(self.voters().count(), quorum, awaited, *now)
    }

    /// Whether too few of the asked members can still vote.
    pub(super) fn is_hopeless(&self, quorum: usize, staying: &StayingMembers) -> bool {
        let left = self.parts.iter().filter(|(_, part)| !matches!(part, VoteState::Out(_))).map(|(member, _)| member);
        !staying.suffice(left, quorum)
    }

    pub(super) fn certify(self, batch: Stream) -> BatchOutput {
        let asked = self.parts.keys().copied().collect();
        let puts = self.items.iter().map(|item| item.put).collect();
        let (receipts, tally) = (self.receipts, Box::new(self.tally));
        BatchOutput::Request(BatchRequest::Certify { batch, receipts, tally, puts, asked })
    }

    /// The items, each without the holders that refused it or the whole batch.
    pub(super) fn into_items(self) -> Vec<PendingReceipt> {
        let Self { mut items, parts, .. } = self;
        let count = items.len();
        for (member, part) in parts {
            let VoteState::Out(why) = part else { continue };
            let about = why.as_ref().and_then(|failed| refused_receipts(failed, count));
            for (index, item) in items.iter_mut().enumerate() {
                if about.as_ref().is_none_or(|about| about.contains(&index)) {
                    item.holders.remove(&member);
                    item.refusals.extend(why.clone().map(|why| (member, why)));
                }
            }
        }
        items
    }
}

/// Why a vote was not counted. The text does not name the member, because the failure's subjects do: equal reasons of several members
/// can then be merged.
fn why_uncounted(error: &VoteError) -> String {
    match error {
        VoteError::Invalid { error, .. } => format!("the vote is not the member's signature of the statement: {error}"),
        other => other.to_string(),
    }
}
