//! Time: wall clock for statements, monotonic for deadlines.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Host;

/// A source of time.
pub trait Clock: Debug + Send + Sync {
    /// Wall clock time since 1970; zero if the clock is set to an earlier time.
    fn since_1970(&self) -> Duration;
    /// Time since the machine started, including sleep if the system has such a clock. Nobody can set it.
    fn since_boot(&self) -> Duration;
    /// Time since an arbitrary moment. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn since_1970(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn since_boot(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(id);
        Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// The clock of the runtime, which a test can pause.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct RuntimeClock(tokio::time::Instant);

#[cfg(test)]
impl RuntimeClock {
    pub(super) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

#[cfg(test)]
impl Clock for RuntimeClock {
    fn since_1970(&self) -> Duration {
        self.monotonic()
    }

    fn since_boot(&self) -> Duration {
        self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Host {
    /// Wall clock time since 1970; zero if the clock is set to an earlier time.
    pub fn since_1970(&self) -> Duration {
        self.0.clock.since_1970()
    }

    /// Wall clock time in seconds since 1970; 0 if the clock is set to an earlier time.
    pub fn unix_seconds(&self) -> u64 {
        self.since_1970().as_secs()
    }

    /// Time since the machine started, including sleep if the system has such a clock. Nobody can set it.
    pub fn since_boot(&self) -> Duration {
        self.0.clock.since_boot()
    }

    /// Time since an arbitrary moment, for deadlines. Never goes back.
    pub fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }
}
