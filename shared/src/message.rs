//! The messages on links: one tag byte, then a body. The specification lists them under "Links".
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for what only nodes say"))]

mod encoding;
#[cfg(feature = "nodes")]
mod founding;
mod genesis;
#[cfg(feature = "nodes")]
mod payload_frame;

#[cfg(feature = "nodes")]
pub(crate) use founding::{read_founding, read_refusal, write_founding, write_refusal};
#[cfg(feature = "nodes")]
pub use payload_frame::{PayloadFrame, PayloadFrameError};

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::bls::{AggregateSignature, Possession, VoteKey, VoteSignature};
use crate::certificate::{Certificate, CertificateError, Signers};
use crate::codec::DecodeError;
use crate::committee::{CommitteeError, CommitteeRecord, MemberName};
use crate::digest::{CommitteeDigest, Digest};
#[cfg(feature = "nodes")]
use crate::founding::{FoundingMessage, Refusal};
use crate::link::{Hello, HelloError, LinkSignature, NodeKey};
use crate::receipt::{Receipt, ReceiptError};
#[cfg(feature = "nodes")]
use crate::signed_time::TimeSignature;
use crate::tree::Parent;

/// Maximum size of a message in bytes.
pub const MAX_MESSAGE: usize = 512 * 1024;
/// Maximum number of a file's bytes in one message.
pub const MAX_CHUNK: usize = 256 * 1024;
/// Maximum size in bytes of a file that is put in a single message.
pub const MAX_BLOB: usize = 64 * 1024;
/// Maximum number of puts in progress on one client link.
pub const MAX_PUTS: usize = 64;
/// Maximum number of a client's unanswered reads.
pub const MAX_READS: usize = 8;
/// Maximum number of blobs in one [`Message::Endorse`].
pub const MAX_ENDORSE: usize = 256;
/// Maximum number of refusals in one [`Message::Refusals`].
pub const MAX_REFUSALS: usize = 1024;
/// Maximum size in bytes of the text in a [`Failed`].
pub const MAX_DETAIL: usize = 512;

/// A request's number on its link, chosen by the end that asks. 0 is the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub u32);

impl Stream {
    /// The link itself, in a [`Failed`].
    pub const LINK: Self = Self(0);
    /// The replica as a whole, when it reports its own state. No request has this number.
    pub const REPLICA: Self = Self(u32::MAX);
}

/// Why a request or a link failed. The values are the numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names say it; the specification lists them")]
pub enum Code {
    Malformed = 1,
    Version = 2,
    AnotherCluster = 3,
    NotAuthenticated = 4,
    Unexpected = 5,
    TooLarge = 6,
    Busy = 7,
    NoCommittee = 8,
    NotEnoughReplicas = 9,
    DigestDiffers = 10,
    LengthDiffers = 11,
    NotFound = 12,
    NoSpace = 13,
    Storage = 14,
    TimedOut = 15,
    Cancelled = 16,
    Clock = 17,
    NotHeld = 18,
    Expired = 19,
    ShuttingDown = 20,
    NotAdmitted = 21,
    ClockInDoubt = 23,
}

impl Code {
    const ALL: [Self; 22] = [
        Self::Malformed,
        Self::Version,
        Self::AnotherCluster,
        Self::NotAuthenticated,
        Self::Unexpected,
        Self::TooLarge,
        Self::Busy,
        Self::NoCommittee,
        Self::NotEnoughReplicas,
        Self::DigestDiffers,
        Self::LengthDiffers,
        Self::NotFound,
        Self::NoSpace,
        Self::Storage,
        Self::TimedOut,
        Self::Cancelled,
        Self::Clock,
        Self::NotHeld,
        Self::Expired,
        Self::ShuttingDown,
        Self::NotAdmitted,
        Self::ClockInDoubt,
    ];

    /// The code as the specification names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed message",
            Self::Version => "unsupported version",
            Self::AnotherCluster => "another cluster",
            Self::NotAuthenticated => "not authenticated",
            Self::Unexpected => "unexpected message",
            Self::TooLarge => "too large",
            Self::Busy => "busy",
            Self::NoCommittee => "no committee yet",
            Self::NotEnoughReplicas => "not enough replicas",
            Self::DigestDiffers => "digest differs",
            Self::LengthDiffers => "length differs",
            Self::NotFound => "not found",
            Self::NoSpace => "no space",
            Self::Storage => "storage fault",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Clock => "clock out of range",
            Self::NotHeld => "not held",
            Self::Expired => "expired",
            Self::ShuttingDown => "shutting down",
            Self::NotAdmitted => "not admitted",
            Self::ClockInDoubt => "clock in doubt",
        }
    }

    /// The name as one word for programs: `not-enough-replicas`.
    pub fn slug(self) -> String {
        self.name().replace(' ', "-")
    }

    /// Whether the same request may succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::NoCommittee
                | Self::NotEnoughReplicas
                | Self::NoSpace
                | Self::TimedOut
                // The bytes were lost meanwhile; the next attempt sends them again.
                | Self::NotHeld
                | Self::ShuttingDown
                // The replica asks the other members again within seconds.
                | Self::ClockInDoubt
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request or a link failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {detail}")]
pub struct Failed {
    /// The request or link that failed.
    pub stream: Stream,
    /// The reason.
    pub code: Code,
    /// The members or receipts concerned, depending on the code.
    pub subjects: Vec<u16>,
    /// A text for people: at most [`MAX_DETAIL`] bytes without control characters. Show it as text, never as markup.
    pub detail: String,
}

impl Failed {
    /// A failure without subjects. A longer detail is cut, and control characters become blanks.
    pub fn new(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self { stream, code, subjects: Vec::new(), detail: cut(detail.into()) }
    }

    /// Sets the members or receipts concerned.
    pub fn with_subjects(mut self, subjects: Vec<u16>) -> Self {
        self.subjects = subjects;
        self
    }
}

fn cut(text: String) -> String {
    let mut text = text.replace(char::is_control, " ");
    while text.len() > MAX_DETAIL {
        text.pop();
    }
    text
}

/// A member's progress in a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The member receives bytes.
    Receiving = 1,
    /// The member holds the blob durably.
    Stored = 2,
    /// The member's vote was verified.
    Voted = 3,
    /// The member takes no further part in this put.
    Dropped = 4,
}

/// A committee in a message: the record and its proofs of possession, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMessage {
    /// The genesis committee.
    pub genesis: CommitteeRecord,
    /// The proofs of possession, one for each member, in member order.
    pub possessions: Vec<Possession>,
}

/// Every message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's table describes each field")]
pub enum Message {
    Hello(Hello),
    Auth(LinkSignature),
    Cluster(ClusterMessage),
    Failed(Failed),
    Put {
        stream: Stream,
        offer: Option<Receipt>,
        renew: bool,
    },
    Chunk {
        stream: Stream,
        offset: u64,
        parents: Vec<Parent>,
        bytes: Bytes,
    },
    PutEnd {
        stream: Stream,
        receipt: Receipt,
    },
    Cancel {
        stream: Stream,
        keep: bool,
    },
    Ready {
        stream: Stream,
        offset: u64,
    },
    Progress {
        stream: Stream,
        member: u16,
        stage: Stage,
    },
    Certified {
        stream: Stream,
        certificate: Box<Certificate>,
    },
    Stored {
        stream: Stream,
    },
    Blob {
        stream: Stream,
        receipt: Receipt,
        renew: bool,
        bytes: Bytes,
    },
    Locate {
        stream: Stream,
        digest: Digest,
    },
    Located {
        stream: Stream,
        holders: Vec<Holder>,
    },
    Read(Read),
    #[cfg(feature = "nodes")]
    Join {
        vote_key: VoteKey,
        possession: Possession,
        name: MemberName,
    },
    #[cfg(feature = "nodes")]
    Propose {
        stream: Stream,
        issued_at: u64,
        receipts: Vec<Receipt>,
    },
    #[cfg(feature = "nodes")]
    Vote {
        stream: Stream,
        signature: VoteSignature,
    },
    #[cfg(feature = "nodes")]
    Archive {
        stream: Stream,
        signers: Signers,
        signature: AggregateSignature,
    },
    #[cfg(feature = "nodes")]
    List {
        stream: Stream,
        source: ListSource,
        from: ListPosition,
        filter: ListFilter,
    },
    #[cfg(feature = "nodes")]
    Listed {
        stream: Stream,
        page: ListPage,
    },
    #[cfg(feature = "nodes")]
    Endorse {
        digests: Vec<Digest>,
    },
    #[cfg(feature = "nodes")]
    AskTime {
        stream: Stream,
        asker: NodeKey,
        nonce: [u8; 32],
    },
    #[cfg(feature = "nodes")]
    SignedTime {
        stream: Stream,
        member: u16,
        time: u64,
        signature: TimeSignature,
    },
    #[cfg(feature = "nodes")]
    FindCertificate {
        stream: Stream,
        digest: Digest,
    },
    #[cfg(feature = "nodes")]
    FoundCertificate {
        stream: Stream,
        certificate: Option<Box<Certificate>>,
    },
    #[cfg(feature = "nodes")]
    Missed {
        certificates: Vec<Certificate>,
    },
    #[cfg(feature = "nodes")]
    Founding(Box<FoundingMessage>),
    #[cfg(feature = "nodes")]
    Acceptances {
        founding: CommitteeDigest,
        acceptances: Vec<(u16, VoteSignature)>,
    },
    #[cfg(feature = "nodes")]
    Refusals(Vec<Refusal>),
    #[cfg(feature = "nodes")]
    ReplicaStatus {
        status: ReplicaStatus,
        detail: String,
    },
}

/// A replica's status at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplicaStatus {
    /// The server has no committee yet.
    Waiting = 1,
    /// The replica is a member of the server's committee: it receives puts, and its votes count.
    Member = 2,
    /// The replica is not a member of the server's committee.
    Standby = 3,
}

/// Whose certificates are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListSource {
    /// The list of the end that is asked.
    Own,
    /// The list of a member, which the server relays.
    Member(u16),
}

/// Which certificates a page leaves out, because the reader has them already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListFilter {
    /// None.
    All,
    /// Those that the asking server made itself.
    NotFromAsker,
    /// Those that this member signed.
    NotSignedBy(u16),
}

/// A position in a list, up to which it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListPosition {
    /// The list's number, chosen at random when its owner created the list; 0 if none was read yet. A list with another number
    /// is read from its beginning, because positions are valid in one list only.
    pub list: u64,
    /// The position of the last entry read, counted from 1; 0 is the beginning.
    pub after: u64,
}

/// Some entries of a list of certificates, in the order in which the list's owner obtained them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The position after which the next page begins.
    pub end: ListPosition,
    /// Whether more entries can be read at once.
    pub more: bool,
    /// The entries.
    pub certificates: Vec<Certificate>,
}

impl ListPage {
    /// Whether this page advances a reader that asked for the entries after `from`. A page that announces more entries but ends
    /// where it began would make its reader ask without end.
    pub fn advances_beyond(&self, from: ListPosition) -> bool {
        !self.more || self.end.list != from.list || self.end.after > from.after
    }
}

/// A member that holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The member's index in the committee.
    pub member: u16,
    /// The blob's length as the member claims it.
    pub length: u64,
}

/// A request to one member for a range of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The request's number.
    pub stream: Stream,
    /// The index of the member that is asked.
    pub member: u16,
    /// The blob's digest.
    pub digest: Digest,
    /// The first requested byte, a multiple of [`GROUP`](crate::tree::GROUP).
    pub offset: u64,
    /// The number of bytes, 1 to [`MAX_CHUNK`]: a multiple of [`GROUP`](crate::tree::GROUP), or up to the blob's end.
    pub length: u32,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The message is longer than [`MAX_MESSAGE`].
    #[error("message: expected at most {MAX_MESSAGE} bytes, got {0}")]
    TooLarge(usize),
    /// The tag is unknown.
    #[error("message tag: expected one of this version, got {0:#04x}")]
    UnknownTag(u8),
    /// The bytes do not follow the layout.
    #[error("message: {0}")]
    Decode(#[from] DecodeError),
    /// The hello is not well formed, or of another version of the protocol.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The certificate inside is not well formed.
    #[error("message: {0}")]
    Certificate(#[from] CertificateError),
    /// The committee inside is not well formed.
    #[error("message: {0}")]
    Committee(#[from] CommitteeError),
    /// The receipt inside is not well formed.
    #[error("message: {0}")]
    Receipt(#[from] ReceiptError),
}

impl Message {
    /// A `Failed` for one request, or for the link.
    pub fn failed(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self::Failed(Failed::new(stream, code, detail))
    }

    /// A replica's status at the server, with the reason. A longer detail is cut as in [`Failed::new`].
    #[cfg(feature = "nodes")]
    pub fn replica_status(status: ReplicaStatus, detail: impl Into<String>) -> Self {
        Self::ReplicaStatus { status, detail: cut(detail.into()) }
    }

    /// The message's name in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Auth(_) => "Auth",
            Self::Cluster(_) => "Cluster",
            Self::Failed(_) => "Failed",
            Self::Put { .. } => "Put",
            Self::Chunk { .. } => "Chunk",
            Self::PutEnd { .. } => "PutEnd",
            Self::Cancel { .. } => "Cancel",
            Self::Ready { .. } => "Ready",
            Self::Progress { .. } => "Progress",
            Self::Certified { .. } => "Certified",
            Self::Stored { .. } => "Stored",
            Self::Blob { .. } => "Blob",
            Self::Locate { .. } => "Locate",
            Self::Located { .. } => "Located",
            Self::Read(_) => "Read",
            #[cfg(feature = "nodes")]
            Self::Join { .. } => "Join",
            #[cfg(feature = "nodes")]
            Self::Propose { .. } => "Propose",
            #[cfg(feature = "nodes")]
            Self::Vote { .. } => "Vote",
            #[cfg(feature = "nodes")]
            Self::Archive { .. } => "Archive",
            #[cfg(feature = "nodes")]
            Self::List { .. } => "List",
            #[cfg(feature = "nodes")]
            Self::Listed { .. } => "Listed",
            #[cfg(feature = "nodes")]
            Self::Endorse { .. } => "Endorse",
            #[cfg(feature = "nodes")]
            Self::AskTime { .. } => "AskTime",
            #[cfg(feature = "nodes")]
            Self::SignedTime { .. } => "SignedTime",
            #[cfg(feature = "nodes")]
            Self::FindCertificate { .. } => "FindCertificate",
            #[cfg(feature = "nodes")]
            Self::FoundCertificate { .. } => "FoundCertificate",
            #[cfg(feature = "nodes")]
            Self::Missed { .. } => "Missed",
            #[cfg(feature = "nodes")]
            Self::Founding(_) => "Founding",
            #[cfg(feature = "nodes")]
            Self::Acceptances { .. } => "Acceptances",
            #[cfg(feature = "nodes")]
            Self::Refusals(_) => "Refusals",
            #[cfg(feature = "nodes")]
            Self::ReplicaStatus { .. } => "ReplicaStatus",
        }
    }
}
