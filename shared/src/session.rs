//! The client's side of a link as state machines without IO: bytes of a message go in, events come out.
//!
//! The command line drives them over tokio, the page over the browser's WebSocket. Whatever a server sends, a session ends
//! with a checked result or with a [`SessionError`].

mod door;
mod failure;
mod get;
mod one_get;
mod one_put;
pub mod progress;
mod put;
mod put_link;
mod range;

pub use failure::{Failure, Kind};
pub use get::{GetRequest, GetSession};
pub use one_get::{GetEvent, OneGet, Rejection, WantedBytes};
pub use one_put::{Certified, NewPut, PutEvent, Source};
pub use progress::{Phase, ProgressWatch, Standing};
pub use put::{PutRequest, PutSession};
pub use put_link::{PutLink, PutLinkEvent};
pub use range::{ByteRange, ParseRangeError};

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
    /// The server sent bytes that are no message.
    #[error("the server sent a malformed message: {0}")]
    Malformed(#[from] MessageError),
    /// The server sent a message that does not belong there.
    #[error("the server broke the protocol: expected {expected}, got {got}")]
    Unexpected {
        /// What belongs there.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// The server does not hold the key that it named.
    #[error("the server failed to authenticate: {0}")]
    Auth(#[from] AuthError),
    /// The server serves another cluster than the trusted one.
    #[error("the server belongs to another cluster: expected {expected}, got {}", none_or(got))]
    AnotherCluster {
        /// The trusted identity.
        expected: ClusterId,
        /// The server's; `None` when it has no committee yet.
        got: Option<ClusterId>,
    },
    /// The committee that the server showed is bad.
    #[error("the server showed a bad committee: {0}")]
    Committee(#[from] GenesisError),
    /// The server, or a replica through it, gave up.
    #[error("{}", refusal(failed, names))]
    Refused {
        /// What it said.
        failed: Failed,
        /// Names of the members concerned.
        names: Vec<String>,
    },
    /// The certificate does not hold.
    #[error("the server sent a certificate that is INVALID: {} ({}){}", .0.meaning(), .0, clock_of_the_future(.0))]
    Invalid(#[from] Invalid),
    /// The certificate is for another receipt than this put's.
    #[error("the server sent a certificate for another put: expected {}, got {}", shown(expected), shown(got))]
    AnotherReceipt {
        /// What was asked for.
        expected: Box<Receipt>,
        /// What was certified.
        got: Box<Receipt>,
    },
    /// The certificate was made before the put began.
    #[error(
        "the server sent an old certificate: expected issued_at of at least {expected}, got {got}; {}",
        check_clock(*got, expected.saturating_add(CLOCK_TOLERANCE))
    )]
    OldCertificate {
        /// When the put began, less the clock tolerance; seconds since 1970.
        expected: u64,
        /// Seconds since 1970.
        got: u64,
    },
    /// The source gave more or fewer bytes than it was offered with.
    #[error("the file changed while it was read: expected {expected} bytes, got {got}; put it again")]
    SourceChanged {
        /// The length that was offered.
        expected: u64,
        /// The length read.
        got: u64,
    },
    /// Bytes of an offered file of several blocks whose outline is lacking.
    #[error("expected the file's outline, to prove its bytes with, got {size} bytes at {offset} without one")]
    Unproved {
        /// Where they begin.
        offset: u64,
        /// How many.
        size: u64,
    },
    /// The server would go on at a place where none of its replicas can have stopped.
    #[error(
        "the server broke the protocol: expected bytes to go on at the end of a block of this file's {length} bytes, got {got}"
    )]
    BadOffset {
        /// The file's length; 0 of a stream, which begins at its beginning.
        length: u64,
        /// Where it would go on.
        got: u64,
    },
    /// The blob has none of the bytes wanted.
    #[error("expected a range within the blob's {length} bytes, got {range}")]
    Unsatisfiable {
        /// The range.
        range: ByteRange,
        /// The blob's length, verified.
        length: u64,
    },
    /// Nothing came that would have been a step forward.
    #[error(
        "the server made no progress for {} s while {}: expected {}, got nothing; try again, or ask another server of the cluster",
        .0.deadline().as_secs(), .0.what(), .0.expected()
    )]
    NoProgress(Phase),
    /// A put that would be one too many on its link, or comes before the link is open.
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
    /// A failure as an error, with the members concerned by name where their committee is known.
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

/// A certificate of the future is more often one of a computer whose clock is behind.
fn clock_of_the_future(invalid: &Invalid) -> String {
    match invalid {
        Invalid::FromTheFuture { issued_at, now } => format!("; {}", check_clock(*issued_at, *now)),
        _ => String::new(),
    }
}

/// The replicas' clocks by the time in a certificate, against this computer's.
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
    let who = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
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
    format!("{}: {}{who}{next}", failed.code, failed.detail)
}

fn list(rejections: &[Rejection]) -> String {
    rejections.iter().map(Rejection::to_string).collect::<Vec<_>>().join("; ")
}
