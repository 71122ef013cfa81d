//! The repair over one link: fetches the certified blobs that this replica lacks from the other members, and asks the server to certify
//! them again with this replica among the signers.
//!
//! Rounds follow each other. A round looks for blobs that went bad, reads the lists of certificates if that is due, fetches what is
//! lacking, makes the positions in the lists durable, and waits. One request is performed at a time, and its end is the next input. What
//! is lacking is shared by all links; only one of them fetches at a time, so that no blob is fetched twice.

mod fetching;
mod interface;
mod lists;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;

use super::Event;
use super::lacking::{Knowledge, LackingBlobs};
use crate::backoff::Backoff;
use fetching::Fetching;
pub use interface::{BlobSource, Learned, RepairInput, RepairMoment, RepairOutput, RepairRequest, RepairStep};
pub use lists::LIST_DEADLINE;
use lists::{ListStep, ListsRound};

/// After a round in which something failed: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// From a round that read too few lists, or not to their ends, to the next.
const GO_ON: Duration = Duration::from_secs(2);
/// From a notice to the round that it calls for: the bytes of a put that was too slow may be arriving.
const SETTLE: Duration = Duration::from_secs(1);

/// How a replica repairs.
#[derive(Debug, Clone, Copy)]
pub struct RepairConfig {
    /// How often the lists are read, beside when a link begins or there is news.
    pub every: Duration,
    /// Bytes a second that are fetched.
    pub rate: u64,
}

/// One round.
#[derive(Debug)]
struct Round {
    committee: Arc<Committee>,
    has_failed: bool,
}

/// What is being performed.
#[derive(Debug)]
enum RepairStage {
    /// Nothing yet, or waiting for a committee.
    Idle,
    FindDamaged(Round),
    ReadLists(Round, ListsRound),
    TakeTurn(Round),
    Fetch(Round, Fetching),
    SavePositions(Round),
    /// Until the next round, or news.
    Wait,
    /// News came.
    Settle,
}

/// The repair over one link.
#[derive(Debug)]
pub struct LinkRepair {
    own: NodeKey,
    server: NodeKey,
    /// By which [`LackingBlobs`] knows the link.
    link: u64,
    config: RepairConfig,
    stage: RepairStage,
    /// When the lists are read again.
    next_lists: Duration,
    /// After rounds in which something fails.
    backoff: Backoff,
    /// The number of the last list that was asked for.
    last_stream: u32,
    out: Vec<RepairOutput>,
}

impl LinkRepair {
    /// Of the replica with the node key `own`, over its link number `link` to the server with the node key `server`.
    pub fn new(own: NodeKey, server: NodeKey, link: u64, config: RepairConfig) -> Self {
        Self {
            own,
            server,
            link,
            config,
            stage: RepairStage::Idle,
            next_lists: Duration::ZERO,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            last_stream: 0,
            out: Vec::new(),
        }
    }

    /// Takes the end of the last request; the first input is [`RepairInput::Elapsed`].
    pub fn handle(&mut self, input: RepairInput, moment: &RepairMoment<'_>, blobs: &mut LackingBlobs) -> RepairStep {
        let request = match (std::mem::replace(&mut self.stage, RepairStage::Idle), input) {
            (RepairStage::Idle | RepairStage::Settle, _) | (RepairStage::Wait, RepairInput::Elapsed) => {
                blobs.check_clock(moment.wall);
                self.begin_round(moment)
            }
            (RepairStage::Wait, _) => {
                self.stage = RepairStage::Settle;
                RepairRequest::Sleep(SETTLE)
            }
            (RepairStage::FindDamaged(round), input) => {
                match input {
                    RepairInput::Damaged { certificates, orphans } => blobs.set_damaged(certificates, orphans),
                    other => self.trouble(format!("looking for blobs that are lacking: {}", other.failure())),
                }
                self.read_lists(round, moment, blobs)
            }
            (RepairStage::ReadLists(round, lists), input) => self.go_on_reading(round, lists, input, moment, blobs),
            (RepairStage::TakeTurn(round), _) => {
                let fetching = Fetching::new(self.config.rate, moment.now);
                self.fetch_next(round, fetching, moment, blobs)
            }
            (RepairStage::Fetch(round, fetching), input) => self.go_on_fetching(round, fetching, input, moment, blobs),
            (RepairStage::SavePositions(round), input) => {
                match input {
                    RepairInput::Saved(positions) => blobs.saved(&positions),
                    // they are read again after the next start
                    other => self.trouble(other.failure()),
                }
                self.end_round(&round, moment, blobs)
            }
        };
        RepairStep { outputs: std::mem::take(&mut self.out), request }
    }

    fn report(&mut self, event: Event) {
        self.out.push(RepairOutput::Report(event));
    }

    fn trouble(&mut self, what: String) {
        self.report(Event::Trouble(what));
    }

    fn begin_round(&mut self, moment: &RepairMoment<'_>) -> RepairRequest {
        let committee = moment.committee.filter(|committee| committee.record().position(&self.own).is_some());
        let Some(committee) = committee else { return RepairRequest::AwaitCommittee };
        self.stage = RepairStage::FindDamaged(Round { committee: committee.clone(), has_failed: false });
        RepairRequest::FindDamaged
    }

    /// Begins to read the lists, if that is due.
    fn read_lists(&mut self, round: Round, moment: &RepairMoment<'_>, blobs: &mut LackingBlobs) -> RepairRequest {
        if moment.now < self.next_lists && blobs.knowledge(self.link) == Knowledge::Complete {
            return self.take_turn(round);
        }
        blobs.begin_round(self.link);
        let lists = ListsRound::new(&round.committee, self.server, self.own);
        self.next_page(round, lists, moment, blobs)
    }

    fn next_page(
        &mut self,
        round: Round,
        mut lists: ListsRound,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        // 0 is the link itself
        let stream = self.last_stream.checked_add(1).unwrap_or(1);
        let Some(request) = lists.next_page(stream, blobs) else {
            // this one is of the quorum itself: what a quorum signed without it, somebody who does not lie has listed then. A
            // list that never ends is not waited for
            if lists.is_complete(round.committee.record().quorum()) {
                blobs.complete_round(self.link);
                self.next_lists = moment.now.saturating_add(self.config.every);
            }
            return self.take_turn(round);
        };
        self.last_stream = stream;
        self.stage = RepairStage::ReadLists(round, lists);
        request
    }

    fn go_on_reading(
        &mut self,
        mut round: Round,
        mut lists: ListsRound,
        input: RepairInput,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        match lists.handle(input, blobs) {
            ListStep::Learn(certificates) => {
                let committee = round.committee.clone();
                self.stage = RepairStage::ReadLists(round, lists);
                RepairRequest::Learn(committee, certificates)
            }
            ListStep::GoOn(notes) => {
                notes.into_iter().for_each(|note| self.trouble(note));
                self.next_page(round, lists, moment, blobs)
            }
            ListStep::GiveUp(why) => {
                round.has_failed = true;
                self.trouble(format!("looking for blobs that are lacking: {why}"));
                self.take_turn(round)
            }
        }
    }

    fn take_turn(&mut self, round: Round) -> RepairRequest {
        self.stage = RepairStage::TakeTurn(round);
        RepairRequest::TakeTurn
    }

    fn end_round(&mut self, round: &Round, moment: &RepairMoment<'_>, blobs: &LackingBlobs) -> RepairRequest {
        self.out.push(RepairOutput::EndTurn);
        let is_known = blobs.knowledge(self.link) == Knowledge::Complete;
        let wait = match (round.has_failed, is_known) {
            (true, _) => self.backoff.pause(),
            (false, true) => self.next_lists.saturating_sub(moment.now),
            (false, false) => GO_ON,
        };
        if !round.has_failed {
            self.backoff.reset();
        }
        self.stage = RepairStage::Wait;
        RepairRequest::Wait(wait)
    }
}
