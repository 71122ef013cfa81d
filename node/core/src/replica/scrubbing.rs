//! Which blob is read next to look for decay, and when.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vouch_core::digest::Digest;

use super::pace::Pace;

/// How far a pass is, or what all passes came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Blobs read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those among the blobs that were not what they should be.
    pub damaged: u64,
}

impl Scrubbed {
    /// One more blob was read.
    pub fn add(&mut self, length: u64, is_damaged: bool) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(length);
        self.damaged += u64::from(is_damaged);
    }
}

/// What a pass does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrubStep {
    /// List the next held blobs after a digest, in order, with their lengths.
    List(Option<Digest>),
    /// Read this blob against its hash tree.
    Read(Digest),
    /// It is over: there are no more.
    Over,
}

/// What a blob was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobCondition {
    /// Right.
    Right,
    /// It was collected since it was listed.
    Gone,
    /// This differs. It is held no more.
    Damaged(String),
}

/// What one blob was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubbedBlob {
    /// The blob.
    pub digest: Digest,
    /// Its length.
    pub length: u64,
    /// What differs.
    pub damage: Option<String>,
}

/// One pass over all blobs after a digest.
#[derive(Debug)]
pub struct ScrubPass {
    after: Option<Digest>,
    page: VecDeque<(Digest, u64)>,
    is_over: bool,
    so_far: Scrubbed,
}

impl ScrubPass {
    /// Over every blob after this one, or over all of them.
    pub fn new(after: Option<Digest>) -> Self {
        Self { after, page: VecDeque::new(), is_over: false, so_far: Scrubbed::default() }
    }

    /// How far it is.
    pub fn so_far(&self) -> Scrubbed {
        self.so_far
    }

    /// What is to be done next. After [`ScrubStep::List`] comes [`listed`](Self::listed), after [`ScrubStep::Read`]
    /// [`found`](Self::found).
    pub fn step(&self) -> ScrubStep {
        match self.page.front() {
            Some((digest, _)) => ScrubStep::Read(*digest),
            None if self.is_over => ScrubStep::Over,
            None => ScrubStep::List(self.after),
        }
    }

    /// These come next.
    pub fn listed(&mut self, blobs: impl IntoIterator<Item = (Digest, u64)>) {
        self.page.extend(blobs);
        self.is_over = self.page.is_empty();
    }

    /// The blob was read; gives what counts.
    pub fn found(&mut self, condition: BlobCondition) -> Option<ScrubbedBlob> {
        let (digest, length) = self.page.pop_front()?;
        self.after = Some(digest);
        let damage = match condition {
            BlobCondition::Gone => return None,
            BlobCondition::Right => None,
            BlobCondition::Damaged(what) => Some(what),
        };
        self.so_far.add(length, damage.is_some());
        Some(ScrubbedBlob { digest, length, damage })
    }
}

/// The pace of one pass in the background. What votes read is read at its expense: together they keep to the rate.
#[derive(Debug)]
pub struct ScrubPace {
    pace: Pace,
    /// Bytes that votes had read when it began.
    confirmed: u64,
}

impl ScrubPace {
    /// A pass begins at `rate` bytes a second. `confirmed`: bytes that votes have read so far.
    pub fn new(rate: u64, now: Duration, confirmed: u64) -> Self {
        Self { pace: Pace::new(rate, now), confirmed }
    }

    /// How long to wait before the next blob, when the pass has read so many bytes.
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
        let found = pass.found(BlobCondition::Right);
        assert_eq!(found, Some(ScrubbedBlob { digest: digest(2), length: 10, damage: None }));
        assert_eq!(pass.step(), ScrubStep::Read(digest(3)));
        let found = pass.found(BlobCondition::Damaged("a byte".into()));
        assert_eq!(found, Some(ScrubbedBlob { digest: digest(3), length: 20, damage: Some("a byte".into()) }));
        assert_eq!(pass.step(), ScrubStep::List(Some(digest(3))));
        pass.listed([(digest(4), 40)]);
        assert_eq!(pass.found(BlobCondition::Gone), None, "what was collected is not counted");
        assert_eq!(pass.step(), ScrubStep::List(Some(digest(4))), "nor read again");
        pass.listed([]);
        assert_eq!(pass.step(), ScrubStep::Over);
        assert_eq!(pass.so_far(), Scrubbed { blobs: 2, bytes: 30, damaged: 1 });
    }

    #[test]
    fn a_pass_waits_for_what_votes_read_since_it_began() {
        let at = Duration::from_secs;
        let pace = ScrubPace::new(1000, at(10), 5000);
        assert_eq!(pace.delay(2000, 5000, at(10)), at(2));
        assert_eq!(pace.delay(2000, 6000, at(10)), at(3));
        assert_eq!(pace.delay(2000, 6000, at(13)), at(0));
    }
}
