//! How long a client waits for progress.
//!
//! One rule for every client: each phase of a session has a deadline, and only progress (a *step*) extends it. A ping, or a
//! message that repeats an earlier one, is not a step: otherwise a server that withholds a result could keep its client
//! waiting without end.

use std::time::Duration;

use super::SessionError;

/// Deadline for opening a connection to a server.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// If a server reads nothing for this long, its link is lost.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How often a shell calls the `check_deadline` of its sessions.
pub const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How long a server waits for a quorum to name its resume offsets, and, after the last byte, for a quorum to store.
pub const SERVER_STORES: Duration = Duration::from_secs(60);
/// How long a server waits for the votes of a quorum after it proposes a batch.
pub const SERVER_VOTES: Duration = Duration::from_secs(20);

/// What a session is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The server's proof of its node key.
    Opening,
    /// `Ready`, or an earlier certificate of the same file. Replicas may first read back the bytes that they hold.
    Offered,
    /// The certificate. All bytes are sent; replicas make them durable and vote.
    Certifying,
    /// The list of replicas that hold the blob.
    Locating,
    /// Bytes of the blob.
    Reading,
}

impl Phase {
    /// How long the phase may last without a step. It is longer than an honest server's own deadlines, so that the client
    /// receives the server's `Failed`, which says what failed.
    pub const fn deadline(self) -> Duration {
        match self {
            Self::Opening => Duration::from_secs(20),
            // Includes the time for a quorum to connect.
            Self::Offered | Self::Certifying => SERVER_STORES.saturating_add(SERVER_VOTES.saturating_mul(2)),
            Self::Locating => Duration::from_secs(30),
            Self::Reading => Duration::from_secs(60),
        }
    }

    /// What the client is doing, for people.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Opening => "opening the link",
            Self::Offered => "offering the file",
            Self::Certifying => "having the file certified",
            Self::Locating => "looking for the file",
            Self::Reading => "reading the file",
        }
    }

    /// The messages that count as a step.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Opening => "Hello and Auth",
            Self::Offered => "Ready or Certified",
            Self::Certifying => "Progress or Certified",
            Self::Locating => "Located",
            Self::Reading => "Chunk",
        }
    }
}

/// A session's progress. The session made progress if this value differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressMark {
    /// `None` while the server owes no answer: it is the client's turn to send, and the socket has a deadline of its own.
    pub phase: Option<Phase>,
    /// Increases with every step within a phase.
    pub steps: u64,
}

/// The longest wait for a decision of the server that the user allows, besides the deadline of each [`Phase`].
///
/// Time in which bytes move is not limited: a slow connection stands still for seconds, too.
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitLimit(Option<Duration>);

impl WaitLimit {
    /// The limit for a client that retries for this long without progress; zero sets no limit.
    pub fn new(retry: Duration) -> Self {
        // A quarter more: with the default, a server that waits for replicas as long as it ever does still has time to name the ones that failed.
        Self((!retry.is_zero()).then(|| retry.saturating_add(retry / 4)))
    }

    /// The longest wait; `None` if only the deadlines count.
    pub fn longest(self) -> Option<Duration> {
        self.0
    }
}

/// Detects that a session makes no progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgressWatch {
    limit: WaitLimit,
    last: Option<(ProgressMark, Duration)>,
}

impl ProgressWatch {
    /// A watch with a limit of the user's.
    pub fn new(limit: WaitLimit) -> Self {
        Self { limit, last: None }
    }

    /// Compares the session's progress with the last call's. Call it about once a second. `now` is monotonic.
    ///
    /// # Errors
    /// [`SessionError::NoProgress`] if the phase's deadline has passed without a step, and the caller may retry as after a lost
    /// connection; [`SessionError::WaitLimit`] if the user's limit has.
    pub fn check_deadline(&mut self, mark: ProgressMark, now: Duration) -> Result<(), SessionError> {
        let since = match self.last {
            Some((last, since)) if last == mark => since,
            _ => now,
        };
        self.last = Some((mark, since));
        let waited = now.saturating_sub(since);
        match (mark.phase, self.limit.0) {
            (Some(phase), _) if waited >= phase.deadline() => Err(SessionError::NoProgress(phase)),
            (Some(phase), Some(longest)) if phase != Phase::Reading && waited >= longest => {
                Err(SessionError::WaitLimit { phase, waited })
            }
            _ => Ok(()),
        }
    }

    /// Restarts the deadline: until now, the client itself was busy with what it had received.
    pub fn restart(&mut self) {
        self.last = None;
    }
}
