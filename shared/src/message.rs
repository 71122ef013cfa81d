//! What travels on links: one tag byte, one body. The table stands under "Links" in the specification.
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for what only nodes say"))]

mod encoding;
#[cfg(feature = "nodes")]
mod founding;
mod genesis;

#[cfg(feature = "nodes")]
pub(crate) use founding::{read_founding, read_refusal, write_founding, write_refusal};

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

/// The most bytes of one message.
pub const MAX_MESSAGE: usize = 512 * 1024;
/// The most bytes of a file in one message.
pub const MAX_CHUNK: usize = 256 * 1024;
/// The most bytes of a file that is put in a single message.
pub const MAX_BLOB: usize = 64 * 1024;
/// The most puts in progress on one link of a client.
pub const MAX_PUTS: usize = 64;
/// The most reads that a client leaves unanswered.
pub const MAX_READS: usize = 8;
/// The most blobs that a replica names in one [`Message::Endorse`].
pub const MAX_ENDORSE: usize = 256;
/// The most refusals in one [`Message::Refusals`].
pub const MAX_REFUSALS: usize = 1024;
/// The most bytes of the text in a [`Failed`].
pub const MAX_DETAIL: usize = 512;

/// A request's number on its link, chosen by the asking side. 0 is the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub u32);

impl Stream {
    /// The link itself, in [`Failed`].
    pub const LINK: Self = Self(0);
    /// A replica as a whole, where it says what is wrong with it: no request has this number.
    pub const REPLICA: Self = Self(u32::MAX);
}

/// Why a request or a link failed; numbers on the wire.
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

    /// Whether the same request may well succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::NoCommittee
                | Self::NotEnoughReplicas
                | Self::NoSpace
                | Self::TimedOut
                // it was lost meanwhile; the next try brings the bytes
                | Self::NotHeld
                | Self::ShuttingDown
                // it asks the others again within seconds
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
    /// What failed.
    pub stream: Stream,
    /// Why.
    pub code: Code,
    /// Members or receipts concerned; the code says which.
    pub subjects: Vec<u16>,
    /// For people, at most [`MAX_DETAIL`] bytes without control characters; text, never markup.
    pub detail: String,
}

impl Failed {
    /// Without subjects. A longer detail is cut, control characters become blanks.
    pub fn new(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self { stream, code, subjects: Vec::new(), detail: cut(detail.into()) }
    }

    /// With the members or receipts concerned.
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

/// What a member has done for a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Bytes flow to it.
    Receiving = 1,
    /// It holds the blob durably.
    Stored = 2,
    /// Its vote was verified.
    Voted = 3,
    /// It takes no further part in this put.
    Dropped = 4,
}

/// A committee as it travels: the record and its proofs of possession, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMessage {
    /// The genesis committee.
    pub genesis: CommitteeRecord,
    /// One for each member, in member order.
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
    Standing {
        standing: Standing,
        detail: String,
    },
}

/// What a replica is to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// The server has no committee yet.
    Waiting = 1,
    /// A member of its committee: puts go to it, and its votes count.
    Member = 2,
    /// Not a member of its committee.
    Standby = 3,
}

/// Whose certificates are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListSource {
    /// Those that the asked end keeps itself.
    Own,
    /// Those that a member keeps; the server relays its list.
    Member(u16),
}

/// What a page leaves out, because the reader has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListFilter {
    /// Nothing.
    All,
    /// Certificates that the asking server made itself.
    NotFromAsker,
    /// Certificates that this member signed.
    NotSignedBy(u16),
}

/// How far a list was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListPosition {
    /// The list's number, drawn at random when its owner created it; 0 when none was read yet. A list with another number is
    /// read from its beginning, because positions mean something in one list only.
    pub list: u64,
    /// The position of the last entry that was read, counted from 1; 0 is the beginning.
    pub after: u64,
}

/// Some entries of a list of certificates, in the order in which its owner came to keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// Where the next page begins.
    pub end: ListPosition,
    /// Whether entries follow at once.
    pub more: bool,
    /// The entries.
    pub certificates: Vec<Certificate>,
}

impl ListPage {
    /// Whether a reader that asked for what follows `from` gets further with it. A page that announces more and ends where it
    /// began would have its reader ask for ever.
    pub fn moves_on_from(&self, from: ListPosition) -> bool {
        !self.more || self.end.list != from.list || self.end.after > from.after
    }
}

/// A member that holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its position in the committee.
    pub member: u16,
    /// The blob's length, by its word.
    pub length: u64,
}

/// Asks one member for some bytes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The request's number.
    pub stream: Stream,
    /// Who is asked.
    pub member: u16,
    /// The blob.
    pub digest: Digest,
    /// The first byte wanted, a multiple of [`GROUP`](crate::tree::GROUP).
    pub offset: u64,
    /// How many, 1 to [`MAX_CHUNK`]: a multiple of [`GROUP`](crate::tree::GROUP), or up to the blob's end.
    pub length: u32,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message: expected at most {MAX_MESSAGE} bytes, got {0}")]
    TooLarge(usize),
    /// The tag is of no message.
    #[error("message tag: expected one of this version, got {0:#04x}")]
    UnknownTag(u8),
    /// Not the layout.
    #[error("message: {0}")]
    Decode(#[from] DecodeError),
    /// A hello of another version of the protocol.
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
    /// A failure of one request, or of the link.
    pub fn failed(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self::Failed(Failed::new(stream, code, detail))
    }

    /// What a replica is to the server, and what it waits for. A longer detail is cut as that of [`Failed`].
    #[cfg(feature = "nodes")]
    pub fn standing(standing: Standing, detail: impl Into<String>) -> Self {
        Self::Standing { standing, detail: cut(detail.into()) }
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
            Self::Standing { .. } => "Standing",
        }
    }
}
