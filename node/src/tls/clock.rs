//! The wall clock by which certificates of TLS are judged.

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::host::Host;

#[derive(Debug)]
pub(super) struct HostTime(pub(super) Host);

impl TimeProvider for HostTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since_1970()))
    }
}
