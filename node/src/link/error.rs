//! Why links end.

use std::time::Duration;

use thiserror::Error;
use vouch_core::link::HelloError;
use vouch_core::message::{Code, Failed, Message, MessageError, Stream};

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The connection could not be made.
    #[error("cannot connect to {address}: {error}{}", start(error))]
    Connect {
        /// The server's address.
        address: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// Another service answered.
    #[error("{address} does not speak the Vouch link protocol: {reason}")]
    Handshake {
        /// The server's address.
        address: String,
        /// The answer.
        reason: String,
    },
    /// A deadline passed.
    #[error("the other end did not {what} within {} s", .after.as_secs())]
    Deadline {
        /// What the other end should have done.
        what: &'static str,
        /// The time that it had.
        after: Duration,
    },
    /// The other end closed the link.
    #[error("the other end closed the link{}", reason(.0))]
    Closed(String),
    /// The connection broke, or the other end broke the WebSocket protocol.
    #[error("the link broke: {0}")]
    Broken(String),
    /// A message arrived too slowly.
    #[error("expected the rest of a message sooner, got {0} bytes of it in {} s", .after.as_secs())]
    TooSlow {
        /// Number of bytes that arrived.
        got: u64,
        /// In this time.
        after: Duration,
    },
    /// A message exceeded the size limit.
    #[error("the link broke: message too large: {0}")]
    TooLarge(String),
    /// A message was malformed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The other end refused, with a reason.
    #[error(transparent)]
    Refused(#[from] Failed),
    /// This end refuses, usually because the other end broke the protocol. The failure is sent to the other end.
    #[error("{0}")]
    Violation(Failed),
}

impl LinkError {
    /// The other end sent an unexpected message.
    pub fn unexpected(expected: &str, got: &Message) -> Self {
        Self::violation(Code::Unexpected, format!("expected {expected}, got {}", got.name()))
    }

    /// This end refuses with a code and a reason.
    pub fn violation(code: Code, detail: impl Into<String>) -> Self {
        Self::Violation(Failed::new(Stream::LINK, code, detail.into()))
    }

    /// The failure to send to the other end: if the socket closed without a reason, its operator could only
    /// guess. `None` if the other end has ended the link, or is gone.
    pub fn to_tell(&self) -> Option<Failed> {
        let code = match self {
            Self::Violation(failed) => return Some(failed.clone()),
            Self::TooLarge(_) | Self::Message(MessageError::TooLarge(_)) => Code::TooLarge,
            Self::Message(MessageError::Hello(HelloError::Version { .. })) => Code::Version,
            Self::Message(_) => Code::Malformed,
            Self::Deadline { .. } | Self::TooSlow { .. } => Code::TimedOut,
            Self::Connect { .. } | Self::Handshake { .. } | Self::Closed(_) | Self::Broken(_) | Self::Refused(_) => {
                return None;
            }
        };
        Some(Failed::new(Stream::LINK, code, self.to_string()))
    }
}

/// What to do if nobody listens.
fn start(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "; is a server running there? start one with `vouch server`",
        _ => "",
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
