//! The client's side of a link as state machines without IO: a message's bytes go in, events come out.
//!
//! The command line drives them over tokio, the page over the browser's WebSocket. A session ends with a verified result
//! or with a [`SessionError`], for any bytes that a server sends.

mod failure;
mod get;
mod handshake;
mod one_get;
mod one_put;
pub mod progress;
mod put;
mod put_link;
mod range;
pub mod retry;

pub use failure::{Failure, Kind};
pub use get::{GetRequest, GetSession};
pub use one_get::{GetEvent, OneGet, Rejection, WantedBytes};
pub use one_put::{Certified, NewPut, PutEvent, Source};
pub use progress::{Phase, ProgressWatch, Standing};
pub use put::{PutRequest, PutSession};
pub use put_link::{PutLink, PutLinkEvent};
pub use range::{ByteRange, ParseRangeError};
pub use retry::{Fault, Milestone, Retry};

use thiserror::Error;

use crate::chain::CommitteeChain;
use crate::clocks;
use crate::committee::GenesisError;
use crate::digest::{ClusterId, Digest};
use crate::link::AuthError;
use crate::message::{Code, Failed, MAX_PUTS, MessageError};
use crate::receipt::Receipt;
use crate::verify::{CLOCK_TOLERANCE, Invalid};

/// Why a put or a get ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The server sent bytes that do not decode as a message.
    #[error("the server sent a malformed message: {0}")]
    Malformed(#[from] MessageError),
    /// The server sent a message that the protocol does not allow at this point.
    #[error("the server broke the protocol: expected {expected}, got {got}")]
    Unexpected {
        /// The messages allowed at this point.
        expected: &'static str,
        /// The message received.
        got: &'static str,
    },
    /// The server did not prove that it holds the node key that it named.
    #[error("the server failed to authenticate: {0}")]
    Auth(#[from] AuthError),
    /// The server's cluster is not the trusted one.
    #[error("the server belongs to another cluster: expected {expected}, got {}", none_or(got))]
    AnotherCluster {
        /// The trusted cluster identity.
        expected: ClusterId,
        /// The server's cluster identity; `None` if it has no committee yet.
        got: Option<ClusterId>,
    },
    /// The committee that the server showed is not valid.
    #[error("the server showed a bad committee: {0}")]
    Committee(#[from] GenesisError),
    /// The server, or a replica through it, refused the request.
    #[error("{}", refusal(failed, names))]
    Refused {
        /// The server's `Failed` message.
        failed: Failed,
        /// Names of the members concerned.
        names: Vec<String>,
    },
    /// The certificate is invalid.
    #[error("the server sent a certificate that is INVALID: {} ({}){}", .0.meaning(), .0, clock_hint(.0))]
    Invalid(#[from] Invalid),
    /// The certificate's receipt is not this put's.
    #[error("the server sent a certificate for another put: expected {}, got {}", shown(expected), shown(got))]
    AnotherReceipt {
        /// The receipt that the client asked for.
        expected: Box<Receipt>,
        /// The receipt in the certificate.
        got: Box<Receipt>,
    },
    /// The certificate was made before the put began.
    #[error(
        "the server sent an old certificate: expected issued_at of at least {expected}, got {got}; {}",
        check_clock(*got, expected.saturating_add(CLOCK_TOLERANCE))
    )]
    OldCertificate {
        /// The time when the put began, minus the clock tolerance; seconds since 1970.
        expected: u64,
        /// Seconds since 1970.
        got: u64,
    },
    /// The source yielded more or fewer bytes than the offer says.
    #[error("the file changed while it was read: expected {expected} bytes, got {got}; put it again")]
    SourceChanged {
        /// The offered length.
        expected: u64,
        /// The length read.
        got: u64,
    },
    /// Bytes of an offered file of several blocks were passed without the file's outline.
    #[error("expected the file's outline, to prove its bytes with, got {size} bytes at {offset} without one")]
    Unproved {
        /// The offset of the first of these bytes.
        offset: u64,
        /// The number of these bytes.
        size: u64,
    },
    /// The server named a resume offset at which no replica can have stopped.
    #[error(
        "the server broke the protocol: expected bytes to go on at the end of a block of this file's {length} bytes, got {got}"
    )]
    BadOffset {
        /// The file's length; 0 for a stream, which cannot resume.
        length: u64,
        /// The resume offset that the server named.
        got: u64,
    },
    /// The requested range lies outside the blob.
    #[error("expected a range within the blob's {length} bytes, got {range}")]
    Unsatisfiable {
        /// The requested range.
        range: ByteRange,
        /// The blob's verified length.
        length: u64,
    },
    /// No message that counts as progress came before the phase's deadline.
    #[error(
        "the server made no progress for {} s while {}: expected {}, got nothing; try again, or ask another server of the cluster",
        .0.deadline().as_secs(), .0.what(), .0.expected()
    )]
    NoProgress(Phase),
    /// The link has [`MAX_PUTS`] puts in progress already, or is not open yet.
    #[error("puts on a link: expected at most {MAX_PUTS} at once on an open link, got one more")]
    NoRoom,
    /// No replica holds the blob.
    #[error("no replica of the cluster holds {0}")]
    NotFound(Digest),
    /// Every replica that claimed to hold the blob failed.
    #[error("no replica delivered the blob: {}", list(.0))]
    Exhausted(Vec<Rejection>),
}

impl SessionError {
    /// A `Failed` as an error. If the committee is known, the error names the members concerned.
    pub fn refused(failed: Failed, chain: Option<&CommitteeChain>) -> Self {
        let about_members = matches!(
            failed.code,
            Code::NotEnoughReplicas | Code::TimedOut | Code::NoSpace | Code::Storage | Code::Clock | Code::ClockInDoubt
        );
        let names = match chain {
            Some(chain) if about_members => {
                failed.subjects.iter().map(|index| chain.name(chain.member(*index))).collect()
            }
            _ => Vec::new(),
        };
        Self::Refused { failed, names }
    }
}

/// A hint to check this computer's clock: if a certificate seems to be from the future, that clock is usually behind.
fn clock_hint(invalid: &Invalid) -> String {
    match invalid {
        Invalid::FromTheFuture { issued_at, now } => format!("; {}", check_clock(*issued_at, *now)),
        _ => String::new(),
    }
}

/// Compares the time in a certificate, which the replicas' clocks showed, with this computer's.
fn check_clock(certified: u64, own: u64) -> String {
    let difference = clocks::against(certified, own);
    format!("by it the replicas' clocks are {difference} this computer's: check this computer's clock first")
}

fn none_or(cluster: &Option<ClusterId>) -> String {
    cluster.map_or_else(|| "none yet".into(), |cluster| cluster.to_string())
}

fn shown(receipt: &Receipt) -> String {
    let Receipt { salt, digest, length, expires_at } = receipt;
    let salt = base16ct::lower::encode_string(salt);
    format!("{digest} of {length} bytes with salt {salt} until {expires_at}")
}

fn refusal(failed: &Failed, names: &[String]) -> String {
    let members = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let next = match failed.code {
        Code::Busy | Code::TimedOut => "; try again",
        Code::NotEnoughReplicas => "; start the missing replicas again and repeat the command",
        Code::DigestDiffers | Code::LengthDiffers => "; if the file changed while it was read, put it again",
        Code::Clock => "; set the clocks of these replicas or of the server right, and try again",
        Code::ClockInDoubt => {
            "; set the clocks of these replicas right; they sign again as soon as they agree with the others"
        }
        Code::NoSpace => "; free space on the replicas and try again",
        _ => "",
    };
    format!("{}: {}{members}{next}", failed.code, failed.detail)
}

fn list(rejections: &[Rejection]) -> String {
    rejections.iter().map(Rejection::to_string).collect::<Vec<_>>().join("; ")
}
