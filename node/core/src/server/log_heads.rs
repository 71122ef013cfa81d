//! Certifies the head of the ordered log: asks the members to sign the newest head that a quorum has, and counts their signatures.
//!
//! One head is in progress at a time; whatever is decided meanwhile is covered by the next one. A state machine without IO.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Message, Stream};
use vouch_core::statement::LogHead;
use vouch_core::tally::{Ballot, Tally, VerifiedVote, VoteError};

use super::stream_numbers::StreamNumbers;

/// The time that members have to sign a head.
const ROUND: Duration = Duration::from_secs(2);
/// The least time from the beginning of one head to that of the next. Each costs every member a signature and a write, so under load
/// one head covers several blocks.
const PAUSE: Duration = Duration::from_millis(50);

/// Votes by member, not verified.
pub type MemberVotes = Vec<(u16, VoteSignature)>;

/// An input.
#[derive(Debug)]
pub enum LogHeadsInput {
    /// A member says that this is the height of its last decided block.
    Tip(u16, u64),
    /// A member has disconnected.
    Left(u16),
    /// A member signed a head.
    Signed {
        /// The request that it answers.
        stream: Stream,
        /// The member.
        member: u16,
        /// The head.
        head: LogHead,
        /// The signature, not verified.
        signature: VoteSignature,
    },
    /// A member refused to sign.
    Refused {
        /// The request that it answers.
        stream: Stream,
        /// The member.
        member: u16,
    },
    /// Completes [`LogHeadsOutput::Verify`].
    Verified {
        /// The request.
        stream: Stream,
        /// The members' votes, in the order of the request.
        votes: Vec<(u16, Result<VerifiedVote<LogHead>, VoteError>)>,
    },
    /// Time has passed.
    Tick,
}

impl LogHeadsInput {
    /// A member's reply as an input. Whatever is not a signature is a refusal.
    pub fn of_reply(stream: Stream, member: u16, message: Message) -> Self {
        match message {
            Message::LogHead { head, signature, .. } => Self::Signed { stream, member, head, signature },
            _ => Self::Refused { stream, member },
        }
    }
}

/// An output.
#[derive(Debug)]
pub enum LogHeadsOutput {
    /// Ask these members to sign the head of this height.
    Ask {
        /// The request's number, new for each height.
        stream: Stream,
        /// The height.
        height: u64,
        /// The members.
        members: BTreeSet<u16>,
    },
    /// Verify votes on another thread.
    Verify {
        /// The request.
        stream: Stream,
        /// The head that they are for.
        ballot: Ballot<LogHead>,
        /// The members with their votes.
        votes: MemberVotes,
    },
    /// A member's signature is not valid.
    SignedFalsely {
        /// The request.
        stream: Stream,
        /// The member.
        member: u16,
    },
    /// The members need not answer any more.
    Over(Stream),
    /// A quorum signed a head, newer than the last.
    Certified(Box<Certificate<LogHead>>),
}

/// The signatures on one height.
#[derive(Debug)]
struct Round {
    stream: Stream,
    height: u64,
    until: Duration,
    /// The members that were asked and have not refused.
    asked: BTreeSet<u16>,
    /// Each member's first answer, until it is verified.
    unverified: BTreeMap<u16, (LogHead, VoteSignature)>,
    /// The valid votes. All honest members sign the same head.
    tallies: Vec<Tally<LogHead>>,
    is_verifying: bool,
}

/// The heads of one committee's log.
#[derive(Debug)]
pub struct LogHeads {
    committee: Arc<Committee>,
    numbers: StreamNumbers,
    /// The height of each connected member's log, as it claims.
    tips: BTreeMap<u16, u64>,
    round: Option<Round>,
    /// The height of the newest certified head; 0: none.
    certified: u64,
    not_before: Duration,
}

impl LogHeads {
    /// No head is certified yet.
    pub fn new(committee: Arc<Committee>, numbers: StreamNumbers) -> Self {
        let (tips, round, not_before) = (BTreeMap::new(), None, Duration::ZERO);
        Self { committee, numbers, tips, round, certified: 0, not_before }
    }

    /// The height of each connected member's log, as it claims.
    pub fn tips(&self) -> &BTreeMap<u16, u64> {
        &self.tips
    }

    /// When [`LogHeadsInput::Tick`] is due if there is no other input; `None` if it is not needed.
    pub fn next_tick(&self) -> Option<Duration> {
        match &self.round {
            Some(round) => Some(round.until),
            None => self.next_height().map(|_| self.not_before),
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, input: LogHeadsInput, now: Duration) -> Vec<LogHeadsOutput> {
        let mut out = Vec::new();
        match input {
            LogHeadsInput::Tip(member, height) => self.tip(member, height, &mut out),
            LogHeadsInput::Left(member) => {
                self.tips.remove(&member);
                self.refused(member);
            }
            LogHeadsInput::Signed { stream, member, head, signature } => {
                if let Some(round) = self.round.as_mut().filter(|round| round.stream == stream) {
                    round.signed(member, head, signature);
                }
            }
            LogHeadsInput::Refused { stream, member } => {
                if self.round.as_ref().is_some_and(|round| round.stream == stream) {
                    self.refused(member);
                }
            }
            LogHeadsInput::Verified { stream, votes } => self.verified(stream, votes, &mut out),
            LogHeadsInput::Tick => {}
        }
        self.go_on(now, &mut out);
        out
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    /// The greatest height that a quorum claims to have, if it is not certified yet. Fewer liars than that cannot raise it above what an
    /// honest member has.
    fn next_height(&self) -> Option<u64> {
        let mut heights: Vec<_> = self.tips.values().copied().collect();
        heights.sort_unstable_by(|one, other| other.cmp(one));
        heights.get(self.quorum() - 1).copied().filter(|height| *height > self.certified)
    }

    fn tip(&mut self, member: u16, height: u64, out: &mut Vec<LogHeadsOutput>) {
        if member >= self.committee.record().n() {
            return;
        }
        self.tips.insert(member, height);
        // A member that was behind when the others were asked can sign by now.
        if let Some(round) = &mut self.round
            && height >= round.height
            && !round.has_answered(member)
            && round.asked.insert(member)
        {
            out.push(LogHeadsOutput::Ask { stream: round.stream, height: round.height, members: [member].into() });
        }
    }

    fn refused(&mut self, member: u16) {
        if let Some(round) = self.round.as_mut().filter(|round| !round.has_answered(member)) {
            round.asked.remove(&member);
        }
    }

    fn verified(
        &mut self,
        stream: Stream,
        votes: Vec<(u16, Result<VerifiedVote<LogHead>, VoteError>)>,
        out: &mut Vec<LogHeadsOutput>,
    ) {
        let Some(round) = self.round.as_mut().filter(|round| round.stream == stream) else { return };
        round.is_verifying = false;
        for (member, vote) in votes {
            let Ok(vote) = vote else {
                out.push(LogHeadsOutput::SignedFalsely { stream, member });
                continue;
            };
            let record = self.committee.record();
            let body = *vote.statement().body();
            let found = round.tallies.iter().position(|tally| *tally.statement().body() == body);
            let index = found.unwrap_or_else(|| {
                round.tallies.push(Tally::new(record, body));
                round.tallies.len() - 1
            });
            // Fails for a second vote of a member only, and each answers once.
            if let Some(tally) = round.tallies.get_mut(index) {
                let _ = tally.count(vote);
            }
        }
    }

    /// What follows from every input.
    fn go_on(&mut self, now: Duration, out: &mut Vec<LogHeadsOutput>) {
        let quorum = self.quorum();
        if let Some(round) = &mut self.round {
            let complete = round.tallies.iter().find(|tally| tally.is_complete());
            let certificate = complete.and_then(|tally| tally.certificates([*tally.statement().body()]).ok()?.pop());
            if let Some(certificate) = certificate {
                self.certified = certificate.claim.height;
                out.extend([LogHeadsOutput::Over(round.stream), LogHeadsOutput::Certified(Box::new(certificate))]);
                self.round = None;
            } else if now >= round.until || !round.is_possible(quorum) {
                out.push(LogHeadsOutput::Over(round.stream));
                self.round = None;
                // The next attempt may fail as well.
                self.not_before = now + ROUND;
            } else if let Some((ballot, votes)) = round.take_unverified(&self.committee, quorum) {
                out.push(LogHeadsOutput::Verify { stream: round.stream, ballot, votes });
            }
        }
        if self.round.is_none()
            && now >= self.not_before
            && let Some(height) = self.next_height()
        {
            self.begin(height, now, out);
        }
    }

    fn begin(&mut self, height: u64, now: Duration, out: &mut Vec<LogHeadsOutput>) {
        let stream = self.numbers.next();
        let has = |(member, tip): (&u16, &u64)| (*tip >= height).then_some(*member);
        let members: BTreeSet<u16> = self.tips.iter().filter_map(has).collect();
        self.not_before = now + PAUSE;
        self.round = Some(Round {
            stream,
            height,
            until: now + ROUND,
            asked: members.clone(),
            unverified: BTreeMap::new(),
            tallies: Vec::new(),
            is_verifying: false,
        });
        out.push(LogHeadsOutput::Ask { stream, height, members });
    }
}

impl Round {
    fn has_answered(&self, member: u16) -> bool {
        self.unverified.contains_key(&member)
            || self.tallies.iter().any(|tally| tally.voters().any(|voter| voter == member))
    }

    fn signed(&mut self, member: u16, head: LogHead, signature: VoteSignature) {
        // A member that was not asked, that answers again, or that signs another height does not count.
        if self.asked.contains(&member) && !self.has_answered(member) && head.height == self.height {
            self.unverified.insert(member, (head, signature));
        }
    }

    /// The number of members whose votes on a head are counted, or wait to be verified.
    fn votes_on(&self, head: &LogHead) -> usize {
        let counted = self.tallies.iter().find(|tally| tally.statement().body() == head);
        let unverified = self.unverified.values().filter(|(other, _)| other == head).count();
        unverified + counted.map_or(0, |tally| tally.voters().count())
    }

    /// Whether a quorum can still sign one head.
    fn is_possible(&self, quorum: usize) -> bool {
        let silent = self.asked.iter().filter(|member| !self.has_answered(**member)).count();
        let counted = self.tallies.iter().map(|tally| tally.statement().body());
        let heads = counted.chain(self.unverified.values().map(|(head, _)| head));
        let most = heads.map(|head| self.votes_on(head)).max().unwrap_or(0);
        self.is_verifying || silent + most >= quorum
    }

    /// Votes to verify: those on one head, once they may complete a quorum. Until then, verifying each by itself would cost more.
    fn take_unverified(&mut self, committee: &Committee, quorum: usize) -> Option<(Ballot<LogHead>, MemberVotes)> {
        if self.is_verifying {
            return None;
        }
        let head = self.unverified.values().map(|(head, _)| *head).find(|head| self.votes_on(head) >= quorum)?;
        let votes: Vec<_> = self
            .unverified
            .iter()
            .filter(|(_, (other, _))| *other == head)
            .map(|(member, (_, signature))| (*member, *signature))
            .collect();
        for (member, _) in &votes {
            self.unverified.remove(member);
            self.asked.remove(member);
        }
        self.is_verifying = true;
        Some((Tally::new(committee.record(), head).ballot().clone(), votes))
    }
}
