//! The messages on links: one tag byte, then a body. The specification lists them under "Links".
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for messages that only nodes send"))]

mod decoding;
mod encoding;
mod epochs;
mod failure;
mod layout;
mod list;
#[cfg(feature = "nodes")]
mod payload_frame;

#[cfg(feature = "nodes")]
pub use payload_frame::{PayloadFrame, PayloadFrameError};

pub use epochs::EpochsMessage;
pub use failure::{Code, Failed, MAX_DETAIL};
pub use list::{ListFilter, ListPage, ListPosition, ListSource};

use bytes::Bytes;
use thiserror::Error;

#[cfg(feature = "nodes")]
use crate::access::AccessView;
use crate::access::Authorisation;
use crate::bls::{AggregateSignature, Possession, VoteKey, VoteSignature};
use crate::certificate::{Certificate, CertificateError, Signers};
use crate::codec::DecodeError;
use crate::committee::{CommitteeError, CommitteeRecord, MemberName};
use crate::digest::{CommitteeDigest, Digest};
#[cfg(feature = "nodes")]
use crate::founding::{FoundingMessage, Refusal};
use crate::link::{Hello, HelloError, LinkSignature, NodeKey};
#[cfg(feature = "nodes")]
use crate::log::{Block, BlockFormatError, Op, OpFormatError, OpId, OpProof, OpProofError};
#[cfg(feature = "nodes")]
use crate::merkle::TreeHash;
use crate::receipt::{Receipt, ReceiptError};
#[cfg(feature = "nodes")]
use crate::signed_time::TimeSignature;
#[cfg(feature = "nodes")]
use crate::statement::{ClaimError, LogHead, StatementId};
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

/// Maximum number of identities in one [`Message::SealPart`].
pub const MAX_SEAL_PART: usize = 8192;

/// A request's number on its link, chosen by the end that asks. 0 is the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub u32);

impl Stream {
    /// The link itself, in a [`Failed`].
    pub const LINK: Self = Self(0);
    /// The replica as a whole, when it reports its own state. No request has this number.
    pub const REPLICA: Self = Self(u32::MAX);
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
        authorisation: Option<Authorisation>,
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
        authorisation: Option<Authorisation>,
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
        authorisation: Option<Authorisation>,
        bytes: Bytes,
    },
    Locate {
        stream: Stream,
        digest: Digest,
        authorisation: Option<Authorisation>,
    },
    Located {
        stream: Stream,
        holders: Vec<Holder>,
    },
    Read(Read),
    Epochs(EpochsMessage),
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
    #[cfg(feature = "nodes")]
    Peer(Bytes),
    #[cfg(feature = "nodes")]
    SubmitOp {
        stream: Stream,
        op: Op,
    },
    #[cfg(feature = "nodes")]
    OpDecided {
        stream: Stream,
        height: u64,
    },
    #[cfg(feature = "nodes")]
    LogTip {
        height: u64,
        time: u64,
    },
    #[cfg(feature = "nodes")]
    AskLogHead {
        stream: Stream,
        height: u64,
    },
    #[cfg(feature = "nodes")]
    LogHead {
        stream: Stream,
        head: LogHead,
        signature: VoteSignature,
    },
    #[cfg(feature = "nodes")]
    AskOpProof {
        stream: Stream,
        op: OpId,
        head: u64,
    },
    #[cfg(feature = "nodes")]
    OpProof {
        stream: Stream,
        proof: Box<OpProof>,
    },
    #[cfg(feature = "nodes")]
    AskBlock {
        stream: Stream,
        height: u64,
        head: u64,
    },
    #[cfg(feature = "nodes")]
    LogBlock {
        stream: Stream,
        path: Vec<TreeHash>,
        block: Box<Block>,
    },
    #[cfg(feature = "nodes")]
    AskSeal {
        stream: Stream,
        epoch: u64,
        from: u32,
    },
    #[cfg(feature = "nodes")]
    SealPart {
        stream: Stream,
        count: u32,
        identities: Vec<StatementId>,
    },
    #[cfg(feature = "nodes")]
    NextMembers {
        members: Vec<NodeKey>,
    },
    #[cfg(feature = "nodes")]
    Access(Box<AccessView>),
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
    /// The op inside is not well formed.
    #[cfg(feature = "nodes")]
    #[error("message: {0}")]
    Op(#[from] OpFormatError),
    /// The proof of an op inside is not well formed.
    #[cfg(feature = "nodes")]
    #[error("message: {0}")]
    OpProof(#[from] OpProofError),
    /// The block inside is not well formed.
    #[cfg(feature = "nodes")]
    #[error("message: {0}")]
    Block(#[from] BlockFormatError),
    /// The log head inside is not well formed.
    #[cfg(feature = "nodes")]
    #[error("message: {0}")]
    LogHead(#[from] ClaimError),
}

impl Message {
    /// A `Failed` for one request, or for the link.
    pub fn failed(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self::Failed(Failed::new(stream, code, detail))
    }

    /// A replica's status at the server, with the reason. A longer detail is cut as in [`Failed::new`].
    #[cfg(feature = "nodes")]
    pub fn replica_status(status: ReplicaStatus, detail: impl Into<String>) -> Self {
        Self::ReplicaStatus { status, detail: failure::cut(detail.into()) }
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
            Self::Epochs(_) => "Epochs",
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
            #[cfg(feature = "nodes")]
            Self::Peer(_) => "Peer",
            #[cfg(feature = "nodes")]
            Self::SubmitOp { .. } => "SubmitOp",
            #[cfg(feature = "nodes")]
            Self::OpDecided { .. } => "OpDecided",
            #[cfg(feature = "nodes")]
            Self::LogTip { .. } => "LogTip",
            #[cfg(feature = "nodes")]
            Self::AskLogHead { .. } => "AskLogHead",
            #[cfg(feature = "nodes")]
            Self::LogHead { .. } => "LogHead",
            #[cfg(feature = "nodes")]
            Self::AskOpProof { .. } => "AskOpProof",
            #[cfg(feature = "nodes")]
            Self::OpProof { .. } => "OpProof",
            #[cfg(feature = "nodes")]
            Self::AskBlock { .. } => "AskBlock",
            #[cfg(feature = "nodes")]
            Self::LogBlock { .. } => "LogBlock",
            #[cfg(feature = "nodes")]
            Self::AskSeal { .. } => "AskSeal",
            #[cfg(feature = "nodes")]
            Self::SealPart { .. } => "SealPart",
            #[cfg(feature = "nodes")]
            Self::NextMembers { .. } => "NextMembers",
            #[cfg(feature = "nodes")]
            Self::Access(_) => "Access",
        }
    }
}
