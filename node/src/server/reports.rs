//! What a server tells its operator.

use std::sync::Arc;

use vouch_core::committee::Committee;

use crate::host::Host;
use crate::notices::Notice;

/// An event for a server's log.
#[derive(Debug, Clone)]
pub enum Event {
    /// A replica has joined. Its name, its membership, and the number of connected replicas.
    Joined(String, &'static str, usize),
    /// A replica has left.
    Left(String, String),
    /// The committee was founded.
    Formed(Arc<Committee>),
    /// A later committee has taken over.
    NewEpoch(Arc<Committee>),
    /// What a founding waits for, or why it ended.
    Founding(String),
    /// A blob was certified.
    Certified(Box<vouch_core::certificate::Certificate>),
    /// A link was refused for a reason that concerns the operators of both ends.
    Refused(String),
    /// The server learned certificates from a member's list. Their number, and the member's name.
    Learned(String, usize),
    /// A put continued without a member, or no longer waits for it. The reason.
    LeftOut(String),
    /// A summary of the addresses that were limited.
    Limited(String),
    /// The TLS certificate was replaced.
    Certificate(String),
    /// A failure that no client caused.
    Trouble(String),
}

/// Receives the server's events.
pub type ServerReporter = Arc<dyn Fn(Event) + Send + Sync>;

/// Passes events on to the operator.
pub(super) struct ServerReports {
    host: Host,
    reporter: ServerReporter,
    /// Limits the lines about members' health: otherwise each put would write one.
    health_lines: Notice,
}

impl ServerReports {
    pub(super) fn new(host: Host, reporter: ServerReporter) -> Self {
        Self { host, reporter, health_lines: Notice::default() }
    }

    pub(super) fn report(&self, event: Event) {
        (self.reporter)(event);
    }

    /// Reports a line about a member's health, after the member's name; at most one such line in ten seconds.
    pub(super) fn report_health(&self, name: &str, text: &str) {
        if let Some(line) = self.health_lines.line(self.host.monotonic(), &format!("{name} {text}")) {
            self.report(Event::LeftOut(line));
        }
    }
}
