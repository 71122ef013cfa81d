//! The part of a round that fetches the lacking blobs, each once.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::bugs::{self, Bug};
use vouch_core::digest::Digest;
use vouch_core::message::MAX_ENDORSE;

use super::{BlobSource, LinkRepair, RepairInput, RepairMoment, RepairOutput, RepairRequest, RepairStage, Round};
use crate::replica::Event;
use crate::replica::assigned_blob::AssignedBlob;
use crate::replica::lacking::LackingBlobs;
use crate::replica::pace::Pace;

#[derive(Debug)]
pub(super) struct Fetching {
    /// The blob being fetched; `None` during a pause to keep the pace.
    current: Option<Box<AssignedBlob>>,
    tried: BTreeSet<Digest>,
    /// Blobs stored in this round for which no endorsement was requested yet.
    stored: Vec<Digest>,
    pace: Pace,
    bytes: u64,
    /// Number of blobs that were found on this replica's disk, and their bytes.
    adopted: (u64, u64),
}

impl Fetching {
    pub(super) fn new(rate: u64, now: Duration) -> Self {
        let pace = Pace::new(rate, now);
        Self { current: None, tried: BTreeSet::new(), stored: Vec::new(), pace, bytes: 0, adopted: (0, 0) }
    }

    fn stored(&mut self, blob: &AssignedBlob) {
        self.stored.push(blob.digest());
        self.bytes = self.bytes.saturating_add(blob.assignment.length);
    }
}

impl LinkRepair {
    /// Fetches the next blob, or ends the fetching.
    pub(super) fn fetch_next(
        &mut self,
        round: Round,
        mut fetching: Fetching,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        while let Some(blob) = blobs.next(&fetching.tried).filter(|_| !bugs::has(Bug::NoRepair)) {
            fetching.tried.insert(blob.digest());
            if blob.certificate.claim.receipt.is_expired(moment.wall) {
                blobs.expired(&blob);
                continue;
            }
            let blob = Box::new(blob);
            fetching.current = Some(blob.clone());
            let chain = round.chain.clone();
            self.stage = RepairStage::Fetch(round, fetching);
            return RepairRequest::Fetch(chain, blob);
        }
        self.endorse(&mut fetching, 1);
        let (count, bytes) = fetching.adopted;
        if count > 0 {
            self.report(Event::Adopted(count, bytes));
        }
        match blobs.positions_to_save() {
            Some(positions) => {
                self.stage = RepairStage::SavePositions(round);
                RepairRequest::SavePositions(positions)
            }
            None => self.end_round(&round, moment, blobs),
        }
    }

    /// A blob was fetched, or the pace allows the next one.
    pub(super) fn continue_fetching(
        &mut self,
        mut round: Round,
        mut fetching: Fetching,
        input: RepairInput,
        moment: &RepairMoment<'_>,
        blobs: &mut LackingBlobs,
    ) -> RepairRequest {
        let Some(blob) = fetching.current.take() else {
            return self.fetch_next(round, fetching, moment, blobs);
        };
        match input {
            RepairInput::Fetched(BlobSource::Others) => {
                blobs.fetched(&blob);
                fetching.stored(&blob);
            }
            RepairInput::Fetched(BlobSource::OwnDisk) => {
                let (count, bytes) = fetching.adopted;
                fetching.adopted = (count + 1, bytes.saturating_add(blob.assignment.length));
                blobs.forget(&blob.digest());
                fetching.stored(&blob);
            }
            RepairInput::Fetched(BlobSource::Put) => blobs.forget(&blob.digest()),
            other => {
                if matches!(other, RepairInput::FoundNowhere(_)) {
                    blobs.found_nowhere(blob.digest(), self.link, moment.now);
                }
                round.has_failed = true;
                blobs.failed();
                self.trouble(format!("fetching {}: {}", blob.digest(), other.failure()));
            }
        }
        self.endorse(&mut fetching, MAX_ENDORSE);
        let delay = fetching.pace.delay(fetching.bytes, moment.now);
        if delay.is_zero() {
            return self.fetch_next(round, fetching, moment, blobs);
        }
        self.stage = RepairStage::Fetch(round, fetching);
        RepairRequest::Sleep(delay)
    }

    /// Asks the server to certify the stored blobs again, once there are at least `least`.
    fn endorse(&mut self, fetching: &mut Fetching, least: usize) {
        if fetching.stored.len() >= least {
            self.out.push(RepairOutput::Endorse(std::mem::take(&mut fetching.stored)));
        }
    }
}
