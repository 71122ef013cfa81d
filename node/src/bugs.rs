//! Bugs that were found before, to be put back one at a time: a test that finds none of them proves nothing.
//!
//! Only the feature `bugs` compiles them in, which no release build can have. Without it every question is answered *no* when it is compiled.

#[cfg(all(feature = "bugs", not(debug_assertions)))]
compile_error!("the feature `bugs` is for tests: no release build has it");

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A commit is not synced.
    CommitWithoutSync,
    /// A large blob's bytes are not synced.
    BlobWithoutSync,
    /// The folder of a large blob is not synced.
    FolderWithoutSync,
    /// The index records a partial blob before its bytes are synced.
    PartWithoutSync,
    /// A vote is given from the index alone.
    VoteWithoutBytes,
    /// A put that was cut off keeps its place.
    LostPlace,
    /// Room in a queue is not given back.
    LostCredit,
    /// What a replica promised of a founding is said before it is on its disk.
    FoundingUnsaved,
    /// What a replica missed is never fetched.
    NoRepair,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CommitWithoutSync,
        Self::BlobWithoutSync,
        Self::FolderWithoutSync,
        Self::PartWithoutSync,
        Self::VoteWithoutBytes,
        Self::LostPlace,
        Self::LostCredit,
        Self::FoundingUnsaved,
        Self::NoRepair,
    ];
}

#[cfg(feature = "bugs")]
mod put_back {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Bug;

    static NOW: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// From now on this process has this bug, and no other.
    pub fn put_back(bug: Option<Bug>) {
        NOW.store(bug.map_or(usize::MAX, |bug| bug as usize), Ordering::Relaxed);
    }

    pub(crate) fn has(bug: Bug) -> bool {
        NOW.load(Ordering::Relaxed) == bug as usize
    }
}

#[cfg(feature = "bugs")]
pub(crate) use put_back::has;
#[cfg(feature = "bugs")]
pub use put_back::put_back;

#[cfg(not(feature = "bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
