//! Known bugs that a test can put back, one at a time: a simulation that does not find them proves nothing.
//!
//! Only the feature `bugs` compiles them in, and a release build with that feature fails. Without it, [`has`] is `false` at compile
//! time.

#[cfg(all(feature = "bugs", not(debug_assertions)))]
compile_error!("the feature `bugs` is for tests: no release build has it");

/// A known bug.
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
    /// A replica votes from its index alone and does not look at the bytes.
    VoteWithoutBytes,
    /// A replica signs a statement that its journal does not have.
    VoteWithoutJournal,
    /// An interrupted put keeps its place at the replica.
    LostPlace,
    /// A permit of a queue is not released.
    LostCredit,
    /// A replica sends its answer to a founding before the answer is durable.
    FoundingUnsaved,
    /// A replica accepts a founding though it accepted another.
    TwoFoundings,
    /// A replica never fetches what it missed.
    NoRepair,
    /// One member fewer than the quorum is enough.
    QuorumMinusOne,
    /// A vote counts without being verified.
    UnverifiedVote,
    /// A put gets an earlier certificate though no quorum holds the blob any more.
    EarlierWithoutHolders,
    /// The server hands out a certificate that it has not saved.
    CertificateUnsaved,
    /// A replica deletes expired blobs while its clock is in doubt.
    CollectedInDoubt,
    /// A replica never deletes expired blobs.
    NeverCollected,
    /// The server accepts the node key that a hello names without a proof.
    UncheckedLink,
    /// A replica signs a head of the log with another block.
    HeadOfAnotherBlock,
    /// The log sends votes before their records are durable.
    LogVoteUnwritten,
    /// The log ignores its write-ahead log after a restart.
    LogNotReplayed,
    /// f + 1 votes decide a block of the log.
    LogAcceptsFewer,
    /// The log accepts a block with another parent.
    LogParentUnchecked,
    /// The log applies an op again.
    LogAppliedTwice,
    /// The log proposes again in a round in which it proposed before a restart.
    LogProposesTwice,
}

impl Bug {
    /// All known bugs.
    pub const ALL: [Self; 25] = [
        Self::CommitWithoutSync,
        Self::BlobWithoutSync,
        Self::FolderWithoutSync,
        Self::PartWithoutSync,
        Self::VoteWithoutBytes,
        Self::VoteWithoutJournal,
        Self::LostPlace,
        Self::LostCredit,
        Self::FoundingUnsaved,
        Self::TwoFoundings,
        Self::NoRepair,
        Self::QuorumMinusOne,
        Self::UnverifiedVote,
        Self::EarlierWithoutHolders,
        Self::CertificateUnsaved,
        Self::CollectedInDoubt,
        Self::NeverCollected,
        Self::UncheckedLink,
        Self::HeadOfAnotherBlock,
        Self::LogVoteUnwritten,
        Self::LogNotReplayed,
        Self::LogAcceptsFewer,
        Self::LogParentUnchecked,
        Self::LogAppliedTwice,
        Self::LogProposesTwice,
    ];
}

#[cfg(feature = "bugs")]
mod put_back {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Bug;

    static NOW: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Gives this process this bug and no other; `None` removes it.
    pub fn put_back(bug: Option<Bug>) {
        NOW.store(bug.map_or(usize::MAX, |bug| bug as usize), Ordering::Relaxed);
    }

    /// Whether this process has this bug.
    pub fn has(bug: Bug) -> bool {
        NOW.load(Ordering::Relaxed) == bug as usize
    }
}

#[cfg(feature = "bugs")]
pub use put_back::{has, put_back};

/// Whether this process has this bug. Always `false` without the feature `bugs`.
#[cfg(not(feature = "bugs"))]
pub const fn has(_: Bug) -> bool {
    false
}
