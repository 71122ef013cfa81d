//! Decides whether a failed put or get is retried, at which server, and after which pause.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use super::SessionError;
use crate::message::{Code, Stage};

/// How long a put or a get is retried without progress, unless the user says otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// Pauses double from the first to the longest. Each is shortened at random by up to a half: otherwise all clients of a server that
/// failed would return at the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a failure means for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The link was lost or could not be opened, the server made no progress, or the committee changed.
    Link,
    /// The server refused for a temporary reason, such as a restart or too many puts.
    Refusal,
    /// No replica holds the blob, or every holder failed.
    NoHolder,
    /// A retry at the same server would fail in the same way.
    Permanent,
    /// The fault lies with the client: its file, its output, or its request. Another server would not help.
    Local,
}

impl Fault {
    /// The fault of a refusal with this code.
    pub fn of_refusal(code: Code) -> Self {
        match code {
            // Not a refusal: the server ends all links of the old epoch, whatever they were doing.
            Code::NewEpoch => Self::Link,
            // A full disk needs an operator who frees space.
            Code::NoSpace => Self::Permanent,
            code if code.is_temporary() => Self::Refusal,
            _ => Self::Permanent,
        }
    }

    /// The fault of a problem over HTTP, by its code as one word.
    pub fn of_problem(code: &str) -> Self {
        match code {
            "not-found" | "exhausted" => Self::NoHolder,
            _ => Code::of_slug(code).map_or(Self::Permanent, Self::of_refusal),
        }
    }
}

impl From<&SessionError> for Fault {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::Refused { failed, .. } => Self::of_refusal(failed.code),
            SessionError::NoProgress(_) | SessionError::OldEpoch { .. } => Self::Link,
            SessionError::NotFound(_) | SessionError::Exhausted(_) => Self::NoHolder,
            SessionError::SourceChanged { .. }
            | SessionError::Unproved { .. }
            | SessionError::NoRoom
            // The length is proved, so it is the same at every server.
            | SessionError::Unsatisfiable { .. } => Self::Local,
            _ => Self::Permanent,
        }
    }
}

/// A point that a put or a get has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// The server accepted the put, or located holders for the get. The number of bytes that the replicas, or the get's output, hold.
    Ready(u64),
    /// The number of bytes sent or received.
    Moved(u64),
    /// A member stored the blob.
    Stored,
    /// A member signed.
    Voted,
}

impl Milestone {
    /// The milestone of a member that reached this stage, if it is one.
    pub fn of_stage(stage: Stage) -> Option<Self> {
        match stage {
            Stage::Stored => Some(Self::Stored),
            Stage::Voted => Some(Self::Voted),
            Stage::Receiving | Stage::Dropped => None,
        }
    }
}

/// The furthest point that one put or get has reached in any attempt.
#[derive(Debug, Default)]
struct HighWaterMark {
    stage: ReachedStage,
    held: u64,
    moved: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ReachedStage {
    #[default]
    Begun,
    Ready,
    Stored,
    Voted,
}

impl HighWaterMark {
    /// Records a milestone. `true` if it is further than in any attempt before.
    fn advance(&mut self, milestone: Milestone) -> bool {
        let (stage, held, moved) = match milestone {
            Milestone::Ready(bytes) => (ReachedStage::Ready, bytes, 0),
            Milestone::Moved(bytes) => (ReachedStage::Ready, 0, bytes),
            Milestone::Stored => (ReachedStage::Stored, 0, 0),
            Milestone::Voted => (ReachedStage::Voted, 0, 0),
        };
        // Bytes that are sent again after a member has stored the blob are not progress.
        let counts = self.stage < ReachedStage::Stored;
        let is_further = stage > self.stage || counts && (held > self.held || moved > self.moved);
        self.stage = self.stage.max(stage);
        self.held = self.held.max(held);
        self.moved = self.moved.max(moved);
        is_further
    }
}

/// Decides whether the puts or gets of one link are retried, and at which server. The limit is on the time without progress, counted from
/// the first failure since the last progress. Only a milestone beyond every earlier attempt is progress.
///
/// A client may have several servers of one cluster. After a fault of one, the next is tried at once; only after all of them have failed
/// since the last progress is there a pause. One that would fail in the same way again is not tried any more.
#[derive(Debug)]
pub struct Retry {
    limit: Duration,
    /// The fault of each server in this round, in the order given. A permanent one excludes the server from later rounds, too.
    servers: Vec<Option<Fault>>,
    server: usize,
    reached: BTreeMap<usize, HighWaterMark>,
    is_open: bool,
    is_ready: bool,
    failing_since: Option<Duration>,
    pauses: u32,
    attempts: u32,
}

impl Retry {
    /// Retries until there has been no progress for `limit`; zero: never retries.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            servers: vec![None],
            server: 0,
            reached: BTreeMap::new(),
            is_open: false,
            is_ready: false,
            failing_since: None,
            pauses: 0,
            attempts: 1,
        }
    }

    /// For a client with this many servers.
    #[must_use]
    pub fn among(self, servers: NonZeroUsize) -> Self {
        Self { servers: vec![None; servers.get()], ..self }
    }

    /// The server of the next attempt: its place in the order given, from 0.
    pub fn server(&self) -> usize {
        self.server
    }

    /// A server has proved its node key.
    pub fn opened(&mut self) {
        self.is_open = true;
    }

    /// One of the puts or gets has reached a milestone.
    pub fn reached(&mut self, number: usize, milestone: Milestone) {
        self.is_open = true;
        self.is_ready = true;
        if self.reached.entry(number).or_default().advance(milestone) {
            self.progressed();
        }
    }

    /// One of the puts or gets is complete.
    pub fn completed(&mut self, number: usize) {
        self.reached.remove(&number);
        self.is_open = true;
        self.is_ready = true;
        self.progressed();
    }

    fn progressed(&mut self) {
        (self.failing_since, self.pauses) = (None, 0);
        self.reopen();
    }

    /// Begins a round: every server that is not excluded may be tried.
    fn reopen(&mut self) {
        for fault in &mut self.servers {
            *fault = fault.filter(|fault| *fault == Fault::Permanent);
        }
    }

    /// Goes on to the first server after the last one that may be tried. `false` if there is none.
    fn advance(&mut self) -> bool {
        for _ in 0..self.servers.len() {
            self.server = (self.server + 1) % self.servers.len();
            if self.servers[self.server].is_none() {
                return true;
            }
        }
        false
    }

    /// The number of attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The pause before the next attempt, which goes to [`server`](Self::server): zero if a server is left that has not failed since the
    /// last progress. `None` if there is no further attempt. `now` is monotonic. `random` is a random byte.
    pub fn pause(&mut self, fault: Fault, now: Duration, random: u8) -> Option<Duration> {
        if fault == Fault::Local {
            return None;
        }
        self.servers[self.server] = Some(fault);
        let mut pause = Duration::ZERO;
        if !self.advance() {
            pause = self.pause_of_round(now, random)?;
            self.advance();
        }
        self.attempts += 1;
        Some(pause)
    }

    /// The pause after every server has failed. Then a new round begins.
    fn pause_of_round(&mut self, now: Duration, random: u8) -> Option<Duration> {
        if !self.servers.iter().flatten().any(|fault| self.may_pass(*fault)) {
            return None;
        }
        let whole = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(8)).min(LONGEST_PAUSE);
        let pause = whole - whole * u32::from(random) / 512;
        let since = *self.failing_since.get_or_insert(now);
        if now + pause > since.saturating_add(self.limit) {
            return None;
        }
        self.pauses += 1;
        self.reopen();
        Some(pause)
    }

    /// Whether a retry may succeed. There is no retry if no server was ever reached, or if the server refused before it accepted anything:
    /// the address or the request is then likely wrong.
    pub fn may_pass(&self, fault: Fault) -> bool {
        !self.limit.is_zero()
            && match fault {
                Fault::Link => self.is_open,
                Fault::Refusal => self.is_ready,
                // An earlier attempt found holders: replicas need a while to reconnect to a restarted server.
                Fault::NoHolder => self.is_ready && self.attempts > 1,
                Fault::Permanent | Fault::Local => false,
            }
    }
}
