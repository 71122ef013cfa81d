//! Random numbers from a seed.

use vouch_fixture::next_random;

/// A generator, and its state.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        next_random(&mut self.0)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// True in `per_mille` of 1,000 cases.
    pub(super) fn is(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}
