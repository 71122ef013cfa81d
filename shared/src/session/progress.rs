//! How long a client waits for progress, whatever the other side pings.
//!
//! One rule for every client: the phase that a session is in has a deadline, and only a step forward moves it. A ping, or a
//! message that says again what was said before, is no step: otherwise a server that withholds a result holds its client
//! for ever.

use std::time::Duration;

use super::SessionError;

/// A server gives a put so long until a quorum said from where it needs bytes, and from the last byte until a quorum stored.
pub const SERVER_STORES: Duration = Duration::from_secs(60);
/// From the proposal of a batch, a server gives a quorum so long to vote.
pub const SERVER_VOTES: Duration = Duration::from_secs(20);

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The server proves its key.
    Opening,
    /// The server takes the put, or has certified its file before. Replicas may read what they hold first.
    Offered,
    /// All bytes are sent: replicas make them durable and vote.
    Certifying,
    /// The server names the replicas that hold the blob.
    Locating,
    /// The bytes of the blob.
    Reading,
}

impl Phase {
    /// How long it may stay without a step. Beyond every deadline of an honest server, which says what failed.
    pub const fn deadline(self) -> Duration {
        match self {
            Self::Opening => Duration::from_secs(20),
            // and the time for a quorum to connect
            Self::Offered | Self::Certifying => SERVER_STORES.saturating_add(SERVER_VOTES.saturating_mul(2)),
            Self::Locating => Duration::from_secs(30),
            Self::Reading => Duration::from_secs(60),
        }
    }

    /// What the client does, for people.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Opening => "opening the link",
            Self::Offered => "offering the file",
            Self::Certifying => "having the file certified",
            Self::Locating => "looking for the file",
            Self::Reading => "reading the file",
        }
    }

    /// The messages that would be a step.
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

/// Where a session stands: it made progress when this differs from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// `None` while nothing is owed to it: the client itself is to send, and the socket has a deadline of its own.
    pub phase: Option<Phase>,
    /// Grows with every step within a phase.
    pub steps: u64,
}

/// Watches one session.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgressWatch {
    last: Option<(Standing, Duration)>,
}

impl ProgressWatch {
    /// Looks at where a session stands; to be called about once a second. `now` is monotonic.
    ///
    /// # Errors
    /// [`SessionError::NoProgress`] when it has stood there for too long. It may be tried again as after a lost link.
    pub fn look(&mut self, standing: Standing, now: Duration) -> Result<(), SessionError> {
        let since = match self.last {
            Some((last, since)) if last == standing => since,
            _ => now,
        };
        self.last = Some((standing, since));
        match standing.phase {
            Some(phase) if now.saturating_sub(since) >= phase.deadline() => Err(SessionError::NoProgress(phase)),
            _ => Ok(()),
        }
    }

    /// The phase that the session is in, and for how long it had stood there without a step when it was looked at last. `None` where
    /// nothing is owed to it.
    pub fn stood(&self, now: Duration) -> Option<(Phase, Duration)> {
        let (standing, since) = self.last?;
        Some((standing.phase?, now.saturating_sub(since)))
    }

    /// The time until now was the client's own: it was busy with what came.
    pub fn restart(&mut self) {
        self.last = None;
    }
}
