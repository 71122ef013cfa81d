//! The decoding of each message. It does not copy a chunk's payload: the payload shares the input's memory.
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for messages that only nodes send"))]

use bytes::Bytes;

use super::epochs::read_epochs;
use super::layout::{
    ACCEPTANCES, ACCESS, ALL, ARCHIVE, ASK_BLOCK, ASK_LOG_HEAD, ASK_OP_PROOF, ASK_SEAL, ASK_TIME, AUTH, AUTHORISED,
    BLOB, BLOB_AUTHORISED, BLOB_RENEW, CANCEL, CERTIFIED, CHUNK, CLUSTER, ENDORSE, EPOCHS, FAILED, FIND_CERTIFICATE,
    FOUND_CERTIFICATE, FOUNDING, JOIN, LIST, LISTED, LOCATE, LOCATED, LOG_BLOCK, LOG_HEAD, LOG_TIP, MISSED,
    NEXT_MEMBERS, NOT_FROM_ASKER, OFFERED, OP_DECIDED, OP_PROOF, OWN, PEER, PROGRESS, PROPOSE, PUT, PUT_END, READ,
    READY, REFUSALS, RENEW, REPLICA_STATUS, SEAL_PART, SIGNED_TIME, STORED, SUBMIT_OP, VOTE,
};
use super::{
    ClusterMessage, Code, Failed, Holder, ListFilter, ListPage, ListPosition, ListSource, MAX_BLOB, MAX_CHUNK,
    MAX_DETAIL, MAX_ENDORSE, MAX_MESSAGE, MAX_REFUSALS, MAX_SEAL_PART, Message, MessageError, Read, ReplicaStatus,
    Stage, Stream,
};
#[cfg(feature = "nodes")]
use crate::access::AccessView;
use crate::access::Authorisation;
use crate::bls::{AggregateSignature, Possession, VoteKey, VoteSignature};
use crate::certificate::{Certificate, Signers};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::{MemberName, read_genesis};
use crate::comparison::Quoted;
use crate::digest::{CommitteeDigest, Digest};
#[cfg(feature = "nodes")]
use crate::founding::{read_acceptances, read_founding, read_refusal};
use crate::limits::{Limits, MAX_BATCH, MAX_MEMBERS, MAX_SAFE_INTEGER};
use crate::link::{HELLO, Hello, LinkSignature, NodeKey};
#[cfg(feature = "nodes")]
use crate::log::{Block, MAX_LOG_PATH, Op, OpId, OpProof};
#[cfg(feature = "nodes")]
use crate::merkle::TreeHash;
use crate::receipt::Receipt;
#[cfg(feature = "nodes")]
use crate::seal::MAX_SEALED;
#[cfg(feature = "nodes")]
use crate::signed_time::TimeSignature;
#[cfg(feature = "nodes")]
use crate::statement::{Body, LogHead, StatementId};
use crate::tree::{GROUP, MAX_PROOF, Parent};

impl Message {
    /// Decodes exactly one message.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError::TooLarge(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("tag")?;
        let message = match tag {
            HELLO => Self::Hello(Hello::read(&mut reader)?),
            AUTH => Self::Auth(LinkSignature(reader.array("signature")?)),
            CLUSTER => Self::Cluster(read_cluster(&mut reader)?),
            FAILED => Self::Failed(read_failed(&mut reader)?),
            PUT => {
                let stream = read_stream(&mut reader)?;
                let flags = reader.u8("flags of a put")?;
                in_range("flags of a put", flags.into(), 0, (OFFERED | RENEW | AUTHORISED).into())?;
                let offer = (flags & OFFERED != 0).then(|| Receipt::read(&mut reader)).transpose()?;
                let authorisation = read_authorisation(&mut reader, flags & AUTHORISED != 0)?;
                Self::Put { stream, offer, renew: flags & RENEW != 0, authorisation }
            }
            CHUNK => {
                let stream = read_stream(&mut reader)?;
                let offset = reader.safe_u64("offset")?;
                let parents = read_parents(&mut reader)?;
                let size = reader.rest().len();
                in_range("bytes of a chunk", size as u64, 1, MAX_CHUNK as u64)?;
                Self::Chunk { stream, offset, parents, bytes: bytes.slice(bytes.len() - size..) }
            }
            PUT_END => {
                let stream = read_stream(&mut reader)?;
                let receipt = Receipt::read(&mut reader)?;
                let is_authorised = reader.remaining() > 0;
                Self::PutEnd { stream, receipt, authorisation: read_authorisation(&mut reader, is_authorised)? }
            }
            CANCEL => {
                let stream = read_stream(&mut reader)?;
                let keep = reader.flag("keep")?;
                Self::Cancel { stream, keep }
            }
            READY => Self::Ready { stream: read_stream(&mut reader)?, offset: reader.safe_u64("offset")? },
            PROGRESS => {
                let stream = read_stream(&mut reader)?;
                let member = read_member(&mut reader)?;
                let stage = match reader.u8("stage")? {
                    1 => Stage::Receiving,
                    2 => Stage::Stored,
                    3 => Stage::Voted,
                    4 => Stage::Dropped,
                    got => {
                        return Err(DecodeError::OutOfRange { field: "stage", min: 1, max: 4, got: got.into() }.into());
                    }
                };
                Self::Progress { stream, member, stage }
            }
            CERTIFIED => {
                let stream = read_stream(&mut reader)?;
                Self::Certified { stream, certificate: read_certificate(&mut reader)? }
            }
            STORED => Self::Stored { stream: read_stream(&mut reader)? },
            BLOB => {
                let stream = read_stream(&mut reader)?;
                let flags = reader.u8("flags of a blob")?;
                in_range("flags of a blob", flags.into(), 0, (BLOB_RENEW | BLOB_AUTHORISED).into())?;
                let receipt = Receipt::read(&mut reader)?;
                let authorisation = read_authorisation(&mut reader, flags & BLOB_AUTHORISED != 0)?;
                let size = reader.rest().len();
                in_range("bytes of a blob", size as u64, 0, MAX_BLOB as u64)?;
                let (renew, bytes) = (flags & BLOB_RENEW != 0, bytes.slice(bytes.len() - size..));
                Self::Blob { stream, receipt, renew, authorisation, bytes }
            }
            LOCATE => {
                let stream = read_stream(&mut reader)?;
                let digest = Digest(reader.array("digest")?);
                let is_authorised = reader.remaining() > 0;
                Self::Locate { stream, digest, authorisation: read_authorisation(&mut reader, is_authorised)? }
            }
            LOCATED => {
                let stream = read_stream(&mut reader)?;
                Self::Located { stream, holders: read_holders(&mut reader)? }
            }
            READ => {
                let stream = read_stream(&mut reader)?;
                let member = read_member(&mut reader)?;
                let digest = Digest(reader.array("digest")?);
                let offset = reader.safe_u64("offset")?;
                multiple_of_group(offset)?;
                let length = reader.u32("length")?;
                in_range("length of a read", length.into(), 1, MAX_CHUNK as u64)?;
                Self::Read(Read { stream, member, digest, offset, length })
            }
            EPOCHS => Self::Epochs(read_epochs(&mut reader)?),
            #[cfg(feature = "nodes")]
            JOIN => Self::Join {
                vote_key: VoteKey(reader.array("vote key")?),
                possession: Possession(reader.array("proof of possession")?),
                name: MemberName::decode(reader.array("name")?)?,
            },
            #[cfg(feature = "nodes")]
            PROPOSE => {
                let stream = read_stream(&mut reader)?;
                let issued_at = reader.safe_u64("issued_at")?;
                let count = reader.u16("count")?;
                in_range("count", count.into(), 1, MAX_BATCH.into())?;
                let receipts = (0..count).map(|_| Receipt::read(&mut reader)).collect::<Result<_, _>>()?;
                Self::Propose { stream, issued_at, receipts }
            }
            #[cfg(feature = "nodes")]
            VOTE => {
                let stream = read_stream(&mut reader)?;
                Self::Vote { stream, signature: VoteSignature(reader.array("signature")?) }
            }
            #[cfg(feature = "nodes")]
            ARCHIVE => {
                let stream = read_stream(&mut reader)?;
                let signers = Signers::read(&mut reader, &Limits::default())?;
                Self::Archive { stream, signers, signature: AggregateSignature(reader.array("signature")?) }
            }
            #[cfg(feature = "nodes")]
            LIST => {
                let stream = read_stream(&mut reader)?;
                let source = match reader.u16("member")? {
                    OWN => ListSource::Own,
                    member => ListSource::Member(member_in_range(member)?),
                };
                let from = read_list_position(&mut reader)?;
                let filter = match reader.u16("filter")? {
                    ALL => ListFilter::All,
                    NOT_FROM_ASKER => ListFilter::NotFromAsker,
                    member => ListFilter::NotSignedBy(member_in_range(member)?),
                };
                Self::List { stream, source, from, filter }
            }
            #[cfg(feature = "nodes")]
            LISTED => {
                let stream = read_stream(&mut reader)?;
                let end = read_list_position(&mut reader)?;
                let more = reader.flag("more")?;
                let certificates = read_certificates(&mut reader)?;
                Self::Listed { stream, page: ListPage { end, more, certificates } }
            }
            #[cfg(feature = "nodes")]
            ENDORSE => {
                let count = reader.u16("number of digests")?;
                in_range("number of digests", count.into(), 1, MAX_ENDORSE as u64)?;
                let digests = (0..count).map(|_| reader.array("digest").map(Digest)).collect::<Result<_, _>>()?;
                Self::Endorse { digests }
            }
            #[cfg(feature = "nodes")]
            ASK_TIME => {
                let stream = read_stream(&mut reader)?;
                let asker = NodeKey(reader.array("node key")?);
                Self::AskTime { stream, asker, nonce: reader.array("nonce")? }
            }
            #[cfg(feature = "nodes")]
            SIGNED_TIME => {
                let stream = read_stream(&mut reader)?;
                let member = read_member(&mut reader)?;
                let time = reader.safe_u64("time")?;
                Self::SignedTime { stream, member, time, signature: TimeSignature(reader.array("signature")?) }
            }
            #[cfg(feature = "nodes")]
            FIND_CERTIFICATE => {
                let stream = read_stream(&mut reader)?;
                Self::FindCertificate { stream, digest: Digest(reader.array("digest")?) }
            }
            #[cfg(feature = "nodes")]
            FOUND_CERTIFICATE => {
                let stream = read_stream(&mut reader)?;
                let is_found = reader.flag("found")?;
                let certificate = is_found.then(|| read_certificate(&mut reader)).transpose()?;
                Self::FoundCertificate { stream, certificate }
            }
            #[cfg(feature = "nodes")]
            MISSED => Self::Missed { certificates: read_certificates(&mut reader)? },
            #[cfg(feature = "nodes")]
            FOUNDING => Self::Founding(Box::new(read_founding(&mut reader)?)),
            #[cfg(feature = "nodes")]
            ACCEPTANCES => {
                let founding = CommitteeDigest(reader.array("founding")?);
                Self::Acceptances { founding, acceptances: read_acceptances(&mut reader)? }
            }
            #[cfg(feature = "nodes")]
            REFUSALS => {
                let count = reader.u16("number of refusals")?;
                in_range("number of refusals", count.into(), 1, MAX_REFUSALS as u64)?;
                Self::Refusals((0..count).map(|_| read_refusal(&mut reader)).collect::<Result<_, _>>()?)
            }
            #[cfg(feature = "nodes")]
            REPLICA_STATUS => {
                let status = match reader.u8("status")? {
                    1 => ReplicaStatus::Waiting,
                    2 => ReplicaStatus::Member,
                    3 => ReplicaStatus::Standby,
                    got => {
                        let got = got.into();
                        return Err(DecodeError::OutOfRange { field: "status", min: 1, max: 3, got }.into());
                    }
                };
                Self::ReplicaStatus { status, detail: read_detail(&mut reader)? }
            }
            #[cfg(feature = "nodes")]
            PEER => {
                let size = reader.rest().len();
                Self::Peer(bytes.slice(bytes.len() - size..))
            }
            #[cfg(feature = "nodes")]
            SUBMIT_OP => Self::SubmitOp { stream: read_stream(&mut reader)?, op: Op::read(&mut reader)? },
            #[cfg(feature = "nodes")]
            OP_DECIDED => Self::OpDecided { stream: read_stream(&mut reader)?, height: read_height(&mut reader)? },
            #[cfg(feature = "nodes")]
            LOG_TIP => Self::LogTip { height: reader.safe_u64("height")?, time: reader.safe_u64("time")? },
            #[cfg(feature = "nodes")]
            ASK_LOG_HEAD => Self::AskLogHead { stream: read_stream(&mut reader)?, height: read_height(&mut reader)? },
            #[cfg(feature = "nodes")]
            LOG_HEAD => {
                let stream = read_stream(&mut reader)?;
                let head = LogHead::read_claim(&mut reader, &Limits::default())?;
                Self::LogHead { stream, head, signature: VoteSignature(reader.array("signature")?) }
            }
            #[cfg(feature = "nodes")]
            ASK_OP_PROOF => {
                let stream = read_stream(&mut reader)?;
                Self::AskOpProof { stream, op: OpId(reader.array("op")?), head: read_height(&mut reader)? }
            }
            #[cfg(feature = "nodes")]
            OP_PROOF => {
                let stream = read_stream(&mut reader)?;
                Self::OpProof { stream, proof: Box::new(OpProof::decode(reader.rest())?) }
            }
            #[cfg(feature = "nodes")]
            ASK_BLOCK => {
                let stream = read_stream(&mut reader)?;
                Self::AskBlock { stream, height: read_height(&mut reader)?, head: read_height(&mut reader)? }
            }
            #[cfg(feature = "nodes")]
            LOG_BLOCK => {
                let stream = read_stream(&mut reader)?;
                let count = reader.u8("number of hashes in the block's path")?;
                in_range("number of hashes in the block's path", count.into(), 0, MAX_LOG_PATH as u64)?;
                let path = (0..count).map(|_| reader.array("path").map(TreeHash)).collect::<Result<_, _>>()?;
                Self::LogBlock { stream, path, block: Box::new(Block::decode(reader.rest())?) }
            }
            #[cfg(feature = "nodes")]
            ASK_SEAL => {
                let (stream, epoch) = (read_stream(&mut reader)?, reader.safe_u64("epoch")?);
                let from = reader.u32("first statement of a seal")?;
                in_range("first statement of a seal", from.into(), 0, MAX_SEALED as u64)?;
                Self::AskSeal { stream, epoch, from }
            }
            #[cfg(feature = "nodes")]
            SEAL_PART => {
                let (stream, count) = (read_stream(&mut reader)?, reader.u32("count of a seal")?);
                in_range("count of a seal", count.into(), 0, MAX_SEALED as u64)?;
                let number = reader.u16("number of statements")?;
                in_range("number of statements", number.into(), 0, MAX_SEAL_PART as u64)?;
                let identities =
                    (0..number).map(|_| reader.array("statement").map(StatementId)).collect::<Result<_, _>>()?;
                Self::SealPart { stream, count, identities }
            }
            #[cfg(feature = "nodes")]
            NEXT_MEMBERS => {
                let number = reader.u16("number of members")?;
                in_range("number of members", number.into(), 0, MAX_MEMBERS.into())?;
                let members = (0..number).map(|_| reader.array("node key").map(NodeKey)).collect::<Result<_, _>>()?;
                Self::NextMembers { members }
            }
            #[cfg(feature = "nodes")]
            ACCESS => Self::Access(Box::new(AccessView::read(&mut reader)?)),
            tag => return Err(MessageError::UnknownTag(tag)),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn read_authorisation(reader: &mut Reader<'_>, is_there: bool) -> Result<Option<Authorisation>, DecodeError> {
    is_there.then(|| Authorisation::read(reader)).transpose()
}

fn read_stream(reader: &mut Reader<'_>) -> Result<Stream, DecodeError> {
    let number = reader.u32("stream")?;
    in_range("stream", number.into(), 1, u32::MAX.into())?;
    Ok(Stream(number))
}

/// The height of a block; there is no block 0.
#[cfg(feature = "nodes")]
fn read_height(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let height = reader.u64("height")?;
    in_range("height", height, 1, MAX_SAFE_INTEGER)?;
    Ok(height)
}

fn read_member(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    member_in_range(reader.u16("member")?)
}

fn member_in_range(member: u16) -> Result<u16, DecodeError> {
    in_range("member", member.into(), 0, u64::from(MAX_MEMBERS) - 1)?;
    Ok(member)
}

fn read_parents(reader: &mut Reader<'_>) -> Result<Vec<Parent>, DecodeError> {
    let count = reader.u8("number of parents")?;
    in_range("number of parents", count.into(), 0, MAX_PROOF as u64)?;
    let parents = reader.take("parents", Parent::SIZE * usize::from(count))?;
    Ok(parents.as_chunks().0.iter().copied().map(Parent).collect())
}

/// Checks the offset of a read: proofs are for whole groups.
fn multiple_of_group(offset: u64) -> Result<(), DecodeError> {
    if offset.is_multiple_of(GROUP as u64) {
        return Ok(());
    }
    let got = offset.to_string();
    Err(DecodeError::BadText { field: "offset of a read", expected: "a multiple of 16384", got })
}

fn read_list_position(reader: &mut Reader<'_>) -> Result<ListPosition, DecodeError> {
    Ok(ListPosition { list: reader.safe_u64("number of a list")?, after: reader.safe_u64("position in a list")? })
}

fn read_certificate(reader: &mut Reader<'_>) -> Result<Box<Certificate>, MessageError> {
    Ok(Box::new(Certificate::decode(reader.rest(), &Limits::default())?))
}

fn read_certificates(reader: &mut Reader<'_>) -> Result<Vec<Certificate>, MessageError> {
    let count = reader.u16("number of certificates")?;
    let mut certificates = Vec::new();
    for _ in 0..count {
        let size = reader.u16("length of a certificate")?;
        let bytes = reader.take("certificate", size.into())?;
        certificates.push(Certificate::decode(bytes, &Limits::default())?);
    }
    Ok(certificates)
}

fn read_cluster(reader: &mut Reader<'_>) -> Result<ClusterMessage, MessageError> {
    let (genesis, possessions) = read_genesis(reader)?;
    Ok(ClusterMessage { genesis, possessions })
}

fn read_holders(reader: &mut Reader<'_>) -> Result<Vec<Holder>, DecodeError> {
    let count = reader.u16("number of holders")?;
    in_range("number of holders", count.into(), 0, MAX_MEMBERS.into())?;
    let mut holders: Vec<Holder> = Vec::new();
    for _ in 0..count {
        let holder = Holder { member: read_member(reader)?, length: reader.safe_u64("length")? };
        if let Some(last) = holders.last() {
            let least = u64::from(last.member) + 1;
            in_range("member, ascending", holder.member.into(), least, MAX_SAFE_INTEGER)?;
        }
        holders.push(holder);
    }
    Ok(holders)
}

fn read_failed(reader: &mut Reader<'_>) -> Result<Failed, DecodeError> {
    // Not `read_stream`: in a Failed, 0 means the link.
    let stream = Stream(reader.u32("stream")?);
    let number = reader.u16("code")?;
    let code = Code::ALL.into_iter().find(|code| *code as u16 == number).ok_or(DecodeError::OutOfRange {
        field: "code",
        min: 1,
        max: Code::ALL.iter().fold(0, |most, code| most.max(*code as u16)).into(),
        got: number.into(),
    })?;
    let count = reader.u16("number of subjects")?;
    in_range("number of subjects", count.into(), 0, MAX_BATCH.into())?;
    let subjects = (0..count).map(|_| reader.u16("subject")).collect::<Result<_, _>>()?;
    Ok(Failed { stream, code, subjects, detail: read_detail(reader)? })
}

/// Decodes a text for people.
fn read_detail(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let size = reader.u16("length of the detail")?;
    in_range("length of the detail", size.into(), 0, MAX_DETAIL as u64)?;
    let detail = std::str::from_utf8(reader.take("detail", size.into())?).map_err(|error| DecodeError::BadText {
        field: "detail",
        expected: "in UTF-8",
        got: format!("another byte at {}", error.valid_up_to()),
    })?;
    // Refuse control characters: with a line feed, the sender could forge a line of the reader's own output.
    if let Some(control) = detail.chars().find(|c| c.is_control()) {
        let got = Quoted(control.encode_utf8(&mut [0; 4])).to_string();
        return Err(DecodeError::BadText { field: "detail", expected: "without control characters", got });
    }
    Ok(detail.into())
}
