//! Scrubbing: decides which stored blob is read next to find damage, and when.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vouch_core::digest::Digest;

use super::pace::Pace;

/// The counts of a pass, or of all passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Blobs read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs found damaged.
    pub damaged: u64,
}

impl Scrubbed {
    /// Counts a blob that was read.
    pub fn add(&mut self, length: u64, is_damaged: bool) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(length);
        self.damaged += u64::from(is_damaged);
    }
}

/// The next step of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrubStep {
    /// List the next stored blobs after a digest, in order, with their lengths.
    List(Option<Digest>),
    /// Read this blob against its hash tree.
    Read(Digest),
    /// The pass has ended.
    Over,
}

/// The condition in which a blob was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobCondition {
    /// The blob is intact.
    Intact,
    /// The blob was collected after it was listed.
    Gone,
    /// The blob is damaged and no longer stored. The damage.
    Damaged(String),
}

/// A blob that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubbedBlob {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length.
    pub length: u64,
    /// The damage, if any.
    pub damage: Option<String>,
}

/// A pass over the stored blobs.
#[derive(Debug)]
pub struct ScrubPass {
    after: Option<Digest>,
    page: VecDeque<(Digest, u64)>,
    is_over: bool,
    so_far: Scrubbed,
}

impl ScrubPass {
    /// A pass over the blobs after this digest; `None`: over all blobs.
    pub fn new(after: Option<Digest>) -> Self {
        Self { after, page: VecDeque::new(), is_over: false, so_far: Scrubbed::default() }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Scrubbed {
        self.so_far
    }

    /// The next step. Report its result: [`ScrubStep::List`] with [`listed`](Self::listed), [`ScrubStep::Read`] with
    /// [`found`](Self::found).
    pub fn step(&self) -> ScrubStep {
        match self.page.front() {
            Some((digest, _)) => ScrubStep::Read(*digest),
            None if self.is_over => ScrubStep::Over,
            None => ScrubStep::List(self.after),
        }
    }

    /// Adds listed blobs to read.
    pub fn listed(&mut self, blobs: impl IntoIterator<Item = (Digest, u64)>) {
        self.page.extend(blobs);
        self.is_over = self.page.is_empty();
    }

    /// The blob was read. Returns it unless it was gone.
    pub fn found(&mut self, condition: BlobCondition) -> Option<ScrubbedBlob> {
        let (digest, length) = self.page.pop_front()?;
        self.after = Some(digest);
        let damage = match condition {
            BlobCondition::Gone => return None,
            BlobCondition::Intact => None,
            BlobCondition::Damaged(what) => Some(what),
        };
        self.so_far.add(length, damage.is_some());
        Some(ScrubbedBlob { digest, length, damage })
    }
}

/// The pace of a background pass. Bytes that votes read count as well: together they keep to the rate.
#[derive(Debug)]
pub struct ScrubPace {
    pace: Pace,
    /// Bytes that votes had read when the pass began.
    confirmed: u64,
}

impl ScrubPace {
    /// A pass begins at `rate` bytes a second. `confirmed`: bytes that votes have read so far.
    pub fn new(rate: u64, now: Duration, confirmed: u64) -> Self {
        Self { pace: Pace::new(rate, now), confirmed }
    }

    /// The wait before the next blob. `read`: bytes read by the pass; `confirmed`: bytes read by votes so far.
    pub fn delay(&self, read: u64, confirmed: u64, now: Duration) -> Duration {
        let by_votes = confirmed.saturating_sub(self.confirmed);
        self.pace.delay(read.saturating_add(by_votes), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    #[test]
    fn a_pass_reads_every_blob_after_its_beginning_page_by_page() {
        let mut pass = ScrubPass::new(Some(digest(1)));
        assert_eq!(pass.step(), ScrubStep::List(Some(digest(1))));
        pass.listed([(digest(2), 10), (digest(3), 20)]);
        assert_eq!(pass.step(), ScrubStep::Read(digest(2)));
        let found = pass.found(BlobCondition::Intact);
        assert_eq!(found, Some(ScrubbedBlob { digest: digest(2), length: 10, damage: None }));
        assert_eq!(pass.step(), ScrubStep::Read(digest(3)));
        let found = pass.found(BlobCondition::Damaged("a byte".into()));
        assert_eq!(found, Some(ScrubbedBlob { digest: digest(3), length: 20, damage: Some("a byte".into()) }));
        assert_eq!(pass.step(), ScrubStep::List(Some(digest(3))));
        pass.listed([(digest(4), 40)]);
        assert_eq!(pass.found(BlobCondition::Gone), None, "a collected blob is not counted");
        assert_eq!(pass.step(), ScrubStep::List(Some(digest(4))), "and is not read again");
        pass.listed([]);
        assert_eq!(pass.step(), ScrubStep::Over);
        assert_eq!(pass.so_far(), Scrubbed { blobs: 2, bytes: 30, damaged: 1 });
    }

    #[test]
    fn bytes_read_by_votes_during_a_pass_slow_it_down() {
        let at = Duration::from_secs;
        let pace = ScrubPace::new(1000, at(10), 5000);
        assert_eq!(pace.delay(2000, 5000, at(10)), at(2));
        assert_eq!(pace.delay(2000, 6000, at(10)), at(3));
        assert_eq!(pace.delay(2000, 6000, at(13)), at(0));
    }
}
