//! The client's side of a link as state machines without IO: a message's bytes go in, events come out.
//!
//! The command line drives them over tokio, the page over the browser's WebSocket. A session ends with a verified result
//! or with a [`SessionError`], for any bytes that a server sends.

mod attempts;
mod failure;
mod get;
mod handshake;
mod one_get;
mod one_put;
pub mod progress;
mod put_link;
mod range;
mod resumable_get;
pub mod retry;

pub use attempts::{Attempts, LinkOptions};
pub use failure::{Failure, FailureKind};
pub use get::{GetRequest, GetSession};
pub use handshake::check_pinned;
pub use one_get::{GetEvent, OneGet, Rejection, WantedBytes};
pub use one_put::{Certified, NewPut, PutEvent, Source};
pub use progress::{Phase, ProgressMark, ProgressWatch, WaitLimit};
pub use put_link::{CancelReason, PutLink, PutLinkEvent};
pub use range::{ByteRange, ParseRangeError};
pub use resumable_get::{ResumableGet, VerifiedRange};
pub use retry::{Fault, Milestone, Retry};

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::chain::{ChainError, CommitteeChain};
use crate::clocks;
use crate::committee::GenesisError;
use crate::comparison::Comparison;
use crate::digest::{ClusterId, CommitteeDigest, Digest};
use crate::link::{AuthError, HelloError};
use crate::message::{Code, Failed, MAX_PUTS, MessageError};
use crate::receipt::Receipt;
use crate::verify::{CLOCK_TOLERANCE, Invalid};

const ANOTHER_CLUSTER: &str = "the server belongs to another cluster";

/// Why a put or a get ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The server sent bytes that do not decode as a message.
    Malformed(#[from] MessageError),
    /// The server sent a message that the protocol does not allow at this point.
    Unexpected {
        /// The messages allowed at this point.
        expected: &'static str,
        /// The message received.
        got: &'static str,
    },
    /// The server did not prove that it holds the node key that it named.
    Auth(#[from] AuthError),
    /// The server's cluster is not the trusted one.
    AnotherCluster {
        /// The trusted cluster identity.
        expected: ClusterId,
        /// The server's cluster identity; `None` if it has no committee yet.
        got: Option<ClusterId>,
    },
    /// The committee that the server showed is not valid.
    Committee(#[from] GenesisError),
    /// A later committee that the server showed does not follow from the one before.
    Chain(#[source] Box<ChainError>),
    /// The committees that the server showed do not end with the epoch that it announced.
    AnotherEpoch {
        /// The epoch announced.
        expected: u64,
        /// The last epoch shown.
        got: u64,
    },
    /// The server knows only an earlier epoch than this client.
    OldEpoch {
        /// The newest epoch that the client has verified.
        expected: u64,
        /// The server's newest epoch.
        got: u64,
    },
    /// The server showed another committee of this epoch than the one that this client has verified before.
    AnotherCommittee {
        /// The epoch.
        epoch: u64,
        /// The committee verified before.
        expected: CommitteeDigest,
        /// The committee shown.
        got: CommitteeDigest,
    },
    /// The server, or a replica through it, refused the request.
    Refused {
        /// The server's `Failed` message.
        failed: Failed,
        /// Names of the members concerned.
        names: Vec<String>,
    },
    /// The certificate is invalid.
    Invalid(#[from] Invalid),
    /// The certificate's receipt is not this put's.
    AnotherReceipt {
        /// The receipt that the client asked for.
        expected: Box<Receipt>,
        /// The receipt in the certificate.
        got: Box<Receipt>,
    },
    /// The certificate was made before the put began.
    OldCertificate {
        /// The time when the put began, minus the clock tolerance; seconds since 1970.
        expected: u64,
        /// Seconds since 1970.
        got: u64,
    },
    /// The source yielded more or fewer bytes than the offer says.
    SourceChanged {
        /// The offered length.
        expected: u64,
        /// The length read.
        got: u64,
    },
    /// Bytes of an offered file of several blocks were passed without the file's outline.
    Unproved {
        /// The offset of the first of these bytes.
        offset: u64,
        /// The number of these bytes.
        size: u64,
    },
    /// The server named a resume offset at which no replica can have stopped.
    BadOffset {
        /// The file's length; 0 for a stream, which cannot resume.
        length: u64,
        /// The resume offset that the server named.
        got: u64,
    },
    /// The requested range lies outside the blob.
    Unsatisfiable {
        /// The requested range.
        range: ByteRange,
        /// The blob's verified length.
        length: u64,
    },
    /// No message that counts as progress came before the phase's deadline.
    NoProgress(Phase),
    /// A decision of the server took longer than the user allows.
    WaitLimit {
        /// What the session was waiting for.
        phase: Phase,
        /// How long it waited.
        waited: Duration,
    },
    /// The link has [`MAX_PUTS`] puts in progress already.
    NoRoom,
    /// No replica holds the blob.
    NotFound(Digest),
    /// Every replica that claimed to hold the blob failed.
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

    /// The value required and the value found, if the error is a comparison.
    pub fn comparison(&self) -> Option<Comparison> {
        const BROKEN: &str = "the server broke the protocol";
        Some(match self {
            Self::Unexpected { expected, got } => Comparison::new(&BROKEN, expected, got),
            Self::Auth(error) => error.comparison().within("the server failed to authenticate"),
            Self::AnotherCluster { expected, got: Some(got) } => Comparison::new(&ANOTHER_CLUSTER, expected, got),
            Self::AnotherCluster { expected, got: None } => Comparison::new(&ANOTHER_CLUSTER, expected, &"none yet"),
            Self::Committee(error) => error.comparison().within("the server showed a bad committee"),
            Self::Chain(error) => error.comparison().within("the server showed a committee that does not follow"),
            Self::AnotherEpoch { expected, got } => {
                let expected = format_args!("committees up to epoch {expected}, which it announced");
                Comparison::new(&BROKEN, &expected, &format_args!("epoch {got}"))
            }
            Self::OldEpoch { expected, got } => Comparison::new(
                &"the server does not know the newest committee",
                &format_args!("epoch {expected}"),
                got,
            ),
            Self::AnotherCommittee { epoch, expected, got } => {
                let subject = format_args!(
                    "the server shows another committee of epoch {epoch} than this client has verified before"
                );
                Comparison::new(&subject, expected, got)
            }
            Self::Invalid(invalid) => invalid.comparison(),
            Self::AnotherReceipt { expected, got } => {
                Comparison::new(&"the server sent a certificate for another put", &shown(expected), &shown(got))
            }
            Self::OldCertificate { expected, got } => {
                let expected = format_args!("issued_at of at least {expected}");
                Comparison::new(&"the server sent an old certificate", &expected, got)
            }
            Self::SourceChanged { expected, got } => {
                Comparison::new(&"the file changed while it was read", &format_args!("{expected} bytes"), got)
            }
            Self::BadOffset { length, got } => {
                let expected = format_args!("a resume offset at the end of a block of this file's {length} bytes");
                Comparison::new(&BROKEN, &expected, got)
            }
            Self::Unsatisfiable { range, length } => {
                Comparison::new(&"", &format_args!("a range within the blob's {length} bytes"), range)
            }
            Self::NoProgress(phase) => {
                let (seconds, what) = (phase.deadline().as_secs(), phase.what());
                let subject = format_args!("the server made no progress for {seconds} s while {what}");
                Comparison::new(&subject, &phase.expected(), &"nothing")
            }
            Self::Malformed(_)
            | Self::Refused { .. }
            | Self::Unproved { .. }
            | Self::WaitLimit { .. }
            | Self::NoRoom
            | Self::NotFound(_)
            | Self::Exhausted(_) => return None,
        })
    }

    /// What to do next, as the end of the sentence.
    fn advice(&self) -> String {
        match self {
            Self::SourceChanged { .. } => "; put it again".to_owned(),
            Self::NoProgress(_) | Self::OldEpoch { .. } => {
                "; try again, or ask another server of the cluster".to_owned()
            }
            Self::WaitLimit { .. } => "; try again, or allow a longer wait".to_owned(),
            // A certificate seems to be from the future if this computer's clock is behind.
            Self::Invalid(Invalid::FromTheFuture { issued_at, now }) => format!("; {}", check_clock(*issued_at, *now)),
            Self::OldCertificate { expected, got } => {
                format!("; {}", check_clock(*got, expected.saturating_add(CLOCK_TOLERANCE)))
            }
            Self::Refused { failed, .. } => refusal_advice(failed.code).to_owned(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Nothing is wrong with the message, and the error says what to do.
            Self::Malformed(MessageError::Hello(error @ HelloError::Version { .. })) => {
                write!(f, "the server has another version: {error}")?;
            }
            Self::Malformed(error) => write!(f, "the server sent a malformed message: {error}")?,
            Self::Invalid(invalid) => {
                write!(f, "the server sent a certificate that is INVALID: {} ({invalid})", invalid.meaning())?;
            }
            Self::Refused { failed, names } if names.is_empty() => write!(f, "{failed}")?,
            Self::Refused { failed, names } => write!(f, "{failed} ({})", names.join(", "))?,
            Self::Unproved { offset, size } => write!(
                f,
                "expected the file's outline, to prove its bytes with, got {size} bytes at {offset} without one"
            )?,
            Self::WaitLimit { phase, waited } => {
                let (seconds, what) = (waited.as_secs(), phase.what());
                write!(f, "the server made no progress for {seconds} s while {what}, and no more time is allowed")?;
            }
            Self::NoRoom => {
                write!(f, "puts on a link: expected at most {MAX_PUTS} at once, got one more")?;
            }
            Self::NotFound(digest) => write!(f, "no replica of the cluster holds {digest}")?,
            Self::Exhausted(rejections) => {
                let rejections: Vec<_> = rejections.iter().map(Rejection::to_string).collect();
                write!(f, "no replica delivered the blob: {}", rejections.join("; "))?;
            }
            compared => compared.comparison().map_or(Ok(()), |comparison| comparison.fmt(f))?,
        }
        f.write_str(&self.advice())
    }
}

/// Compares the time in a certificate, which the replicas' clocks showed, with this computer's.
fn check_clock(certified: u64, own: u64) -> String {
    let difference = clocks::describe_difference(certified, own);
    format!("by it the replicas' clocks are {difference} this computer's: check this computer's clock first")
}

fn shown(receipt: &Receipt) -> String {
    let Receipt { salt, digest, length, expires_at } = receipt;
    let salt = base16ct::lower::encode_string(salt);
    format!("{digest} of {length} bytes with salt {salt} until {expires_at}")
}

/// What to do after a refusal, as the end of a sentence.
fn refusal_advice(code: Code) -> &'static str {
    match code {
        Code::Busy | Code::TimedOut | Code::NewEpoch => "; try again",
        Code::NotEnoughReplicas => "; start the missing replicas again and repeat the command",
        Code::DigestDiffers | Code::LengthDiffers => "; if the file changed while it was read, put it again",
        Code::Clock => "; set the clocks of these replicas or of the server right, and try again",
        Code::ClockInDoubt => {
            "; set the clocks of these replicas right; they sign again as soon as they agree with the others"
        }
        Code::NoSpace => "; free space on the replicas and try again",
        _ => "",
    }
}
