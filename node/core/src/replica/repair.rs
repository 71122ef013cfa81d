//! Repair over one link: fetches the certified blobs that this replica lacks from the other members, and asks the server to certify
//! them again with this replica among the signers.
//!
//! Repair runs in rounds. A round finds damaged blobs, reads the lists of certificates if that is due, fetches the lacking blobs, makes
//! the positions in the lists durable, and waits. It has one request in progress at a time, whose result is the next input. All links
//! share the lacking blobs. Only one link fetches at a time, so that no blob is fetched twice.

mod fetching;
mod interface;
mod lists;
#[cfg(test)]
mod tests;

use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;

use super::Event;
use super::lacking::{Knowledge, LackingBlobs};
use crate::backoff::Backoff;
use fetching::Fetching;
pub use interface::{BlobSource, Learned, RepairInput, RepairMoment, RepairOutput, RepairRequest, RepairStep};
pub use lists::LIST_DEADLINE;
use lists::{ListStep, ListsRound};

/// Pauses after failed rounds double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Pause after a round that did not read enough lists to their ends.
const GO_ON: Duration = Duration::from_secs(2);
/// Pause between news and the round that it starts: the bytes of a slow put may still be arriving.
const SETTLE: Duration = Duration::from_secs(1);

/// The configuration of repair.
#[derive(Debug, Clone, Copy)]
pub struct RepairConfig {
    /// Interval between readings of the lists. They are also read when a link begins and when there is news.
    pub every: Duration,
    /// Maximum rate of fetching, in bytes per second.
    pub rate: u64,
    /// Whether the replica fetches everything before it is a member.
    pub joins: bool,
}

/// A round.
#[derive(Debug)]
struct Round {
    chain: CommitteeChain,
    has_failed: bool,
}

/// The request in progress.
#[derive(Debug)]
enum RepairStage {
    /// No request yet, or waiting for a committee.
    Idle,
    FindDamaged(Round),
    ReadLists(Round, ListsRound),
    TakeTurn(Round),
    Fetch(Round, Fetching),
    SavePositions(Round),
    /// Waiting for the next round, or for news.
    Wait,
    /// News has arrived.
    Settle,
}

/// The repair over one link.
#[derive(Debug)]
pub struct LinkRepair {
    own: NodeKey,
    server: NodeKey,
    /// The link's number in [`LackingBlobs`].
    link: u64,
    config: RepairConfig,
    stage: RepairStage,
    /// The time at which the lists are read again.
    next_lists: Duration,
    /// The backoff after failed rounds.
    backoff: Backoff,
    /// The stream number of the last list request.
    last_stream: u32,
    out: Vec<RepairOutput>,
}

impl LinkRepair {
    /// Repair over the link with number `link` between this replica, with the node key `own`, and the server with the node key `server`.
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

    /// Handles the result of the last request. The first input is [`RepairInput::Elapsed`].
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
                    RepairInput::Damaged { blobs: damaged, orphans } => blobs.set_damaged(damaged, orphans),
                    other => self.trouble(format!("looking for blobs that are lacking: {}", other.failure())),
                }
                self.read_lists(round, moment, blobs)
            }
            (RepairStage::ReadLists(round, lists), input) => self.continue_reading(round, lists, input, moment, blobs),
            (RepairStage::TakeTurn(round), _) => {
                let fetching = Fetching::new(self.config.rate, moment.now);
                self.fetch_next(round, fetching, moment, blobs)
            }
            (RepairStage::Fetch(round, fetching), input) => {
                self.continue_fetching(round, fetching, input, moment, blobs)
            }
            (RepairStage::SavePositions(round), input) => {
                match input {
                    RepairInput::Saved(positions) => blobs.saved(&positions),
                    // After a restart, the lists are read again from the last durable positions.
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
        let takes_part =
            |chain: &&CommitteeChain| self.config.joins || chain.current().record().position(&self.own).is_some();
        let Some(chain) = moment.chain.filter(takes_part) else { return RepairRequest::AwaitCommittee };
        self.stage = RepairStage::FindDamaged(Round { chain: chain.clone(), has_failed: false });
        RepairRequest::FindDamaged
    }

    /// Begins to read the lists, if that is due.
    fn read_lists(&mut self, round: Round, moment: &RepairMoment<'_>, blobs: &mut LackingBlobs) -> RepairRequest {
        if moment.now < self.next_lists && blobs.knowledge(self.link) == Knowledge::Complete {
            return self.take_turn(round);
        }
        blobs.begin_round(self.link);
        let lists = ListsRound::new(round.chain.current(), self.server, self.own);
        self.next_page(round, lists, moment, blobs)
    }

    fn next_page(
        &mut self,
        round: Round,
        mut lists: ListsRound,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        // 0 is reserved for the link itself.
        let stream = self.last_stream.checked_add(1).unwrap_or(1);
        let Some(request) = lists.next_page(stream, blobs) else {
            // A quorum of lists, this replica's included: an honest member in it has listed each certificate that another quorum signed.
            // Do not wait for more, because a liar's list may never end.
            if lists.is_complete(round.chain.current().record().quorum()) {
                blobs.complete_round(self.link);
                self.next_lists = moment.now.saturating_add(self.config.every);
            }
            return self.take_turn(round);
        };
        self.last_stream = stream;
        self.stage = RepairStage::ReadLists(round, lists);
        request
    }

    fn continue_reading(
        &mut self,
        mut round: Round,
        mut lists: ListsRound,
        input: RepairInput,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        match lists.handle(input, blobs) {
            ListStep::Learn(certificates) => {
                let chain = round.chain.clone();
                self.stage = RepairStage::ReadLists(round, lists);
                RepairRequest::Learn(chain, certificates)
            }
            ListStep::Continue(notes) => {
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
