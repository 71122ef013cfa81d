//! Tells the service manager that started this process how it does: sd_notify(3) of systemd. Without such a manager nothing is sent.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Host;

/// What a service tells its manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceState {
    /// It serves from now on.
    Ready,
    /// It is stopping.
    Stopping,
    /// It is alive: the watchdog is satisfied for another period.
    Alive,
    /// What it does, for people, on one line.
    Status(String),
}

/// Whether a service manager started this process.
pub fn is_present() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How often the manager's watchdog wants to hear [`ServiceState::Alive`] at the latest; `None` without a watchdog of this process.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

impl Host {
    /// Tells the manager, on a thread that may block: a manager that does not read would block the process.
    ///
    /// # Errors
    /// The manager's socket does not take it.
    pub async fn tell_service_manager(&self, states: Vec<ServiceState>) -> io::Result<()> {
        let telling = self.spawn_blocking(move || {
            let states: Vec<NotifyState<'_>> = states.iter().map(ServiceState::as_notification).collect();
            sd_notify::notify(&states)
        });
        telling.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    }
}

impl ServiceState {
    fn as_notification(&self) -> NotifyState<'_> {
        match self {
            Self::Ready => NotifyState::Ready,
            Self::Stopping => NotifyState::Stopping,
            Self::Alive => NotifyState::Watchdog,
            Self::Status(text) => NotifyState::Status(text),
        }
    }
}
