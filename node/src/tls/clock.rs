//! The wall clock by which certificates of TLS are judged.

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::Dialing;
use crate::host::Host;

#[derive(Debug)]
pub(super) struct HostTime(Host);

impl HostTime {
    /// The clock of a host. It keeps nothing of how the host dials: that may hold this clock, and neither would ever be freed.
    pub(super) fn of(host: &Host) -> Self {
        Self(host.with_dialing(Dialing::default()))
    }
}

impl TimeProvider for HostTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since_1970()))
    }
}
