//! The end of a server: from when it takes no new links and puts, and until when it waits for those in progress.

use std::sync::Arc;
use std::time::Duration;

use super::guard::Guard;
use crate::latest::{Follower, Latest};

/// How long the server still waits, once no put is in progress, until clients have their answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Whether the server is ending. Shared by everything that accepts something new.
#[derive(Debug)]
pub(super) struct Ending {
    has_begun: Latest<bool>,
    /// Each connection of a client holds a clone.
    clients: Arc<()>,
}

/// The presence of a client, until it is dropped.
pub(super) struct ClientPresence(#[expect(dead_code, reason = "counted")] Arc<()>);

impl Ending {
    pub(super) fn new() -> Self {
        Self { has_begun: Latest::new(false), clients: Arc::new(()) }
    }

    /// Whether new links and puts are refused.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Follows the beginning of the end.
    pub(super) fn follow(&self) -> Follower<bool> {
        self.has_begun.follow()
    }

    /// A connection that may be a client's.
    pub(super) fn client(&self) -> ClientPresence {
        ClientPresence(self.clients.clone())
    }

    fn clients(&self) -> usize {
        // only presences share it
        Arc::strong_count(&self.clients) - 1
    }
}

/// What a server that is ending waits for.
#[derive(Debug)]
pub(super) struct LastPuts {
    deadline: Duration,
    /// Since when no put has been in progress.
    idle_since: Option<Duration>,
}

impl LastPuts {
    /// Refuses new links and puts from now on, and waits for those in progress at most this long.
    pub(super) fn begin(ending: &Ending, now: Duration, timeout: Duration) -> Self {
        ending.has_begun.replace(true);
        Self { deadline: now.saturating_add(timeout), idle_since: None }
    }

    /// The number of puts that are cut off, once the server may end.
    pub(super) fn check(&mut self, ending: &Ending, guard: &Guard, now: Duration) -> Option<u64> {
        let puts = guard.puts.held();
        if puts > 0 {
            // A put over HTTP gives its place back for a moment when a new committee takes over.
            self.idle_since = None;
            return (now >= self.deadline).then_some(puts);
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        (ending.clients() == 0 || now >= idle_since + LAST_ANSWERS || now >= self.deadline).then_some(0)
    }
}
