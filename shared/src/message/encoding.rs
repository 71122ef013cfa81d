//! The encoding of each message. Decoding does not copy a chunk's payload: it shares the input's memory.
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for what only nodes say"))]

use bytes::Bytes;

#[cfg(feature = "nodes")]
use super::founding::{read_acceptances, read_founding, read_refusal, write_founding, write_refusal};
use super::genesis::read_genesis;
use super::{
    ClusterMessage, Code, Failed, Holder, ListFilter, ListPage, ListPosition, ListSource, MAX_BLOB, MAX_CHUNK,
    MAX_DETAIL, MAX_ENDORSE, MAX_MESSAGE, MAX_REFUSALS, Message, MessageError, Read, ReplicaStatus, Stage, Stream,
};
use crate::bls::{AggregateSignature, Possession, VoteKey, VoteSignature};
use crate::certificate::{Certificate, Signers};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::MemberName;
use crate::digest::{CommitteeDigest, Digest};
#[cfg(feature = "nodes")]
use crate::founding::Refusal;
use crate::limits::{Limits, MAX_BATCH, MAX_MEMBERS, MAX_SAFE_INTEGER};
use crate::link::{HELLO, Hello, LinkSignature, NodeKey};
use crate::receipt::Receipt;
#[cfg(feature = "nodes")]
use crate::signed_time::TimeSignature;
use crate::tree::{GROUP, MAX_PROOF, Parent};

const AUTH: u8 = 0x02;
const CLUSTER: u8 = 0x03;
const FAILED: u8 = 0x04;
const PUT: u8 = 0x10;
pub(super) const CHUNK: u8 = 0x11;
const PUT_END: u8 = 0x12;
const CANCEL: u8 = 0x13;
const READY: u8 = 0x14;
const PROGRESS: u8 = 0x15;
const CERTIFIED: u8 = 0x16;
const STORED: u8 = 0x17;
pub(super) const BLOB: u8 = 0x18;
const LOCATE: u8 = 0x20;
const LOCATED: u8 = 0x21;
const READ: u8 = 0x22;
const JOIN: u8 = 0x30;
const PROPOSE: u8 = 0x31;
const VOTE: u8 = 0x32;
const ARCHIVE: u8 = 0x33;
const LIST: u8 = 0x34;
const LISTED: u8 = 0x35;
const ENDORSE: u8 = 0x36;
const ASK_TIME: u8 = 0x37;
const SIGNED_TIME: u8 = 0x38;
const FIND_CERTIFICATE: u8 = 0x3A;
const FOUND_CERTIFICATE: u8 = 0x3B;
const MISSED: u8 = 0x3C;

/// In place of a member's index: the end that is asked itself.
const OWN: u16 = u16::MAX;
/// In place of a member's index: the filters of a list that name no member.
const ALL: u16 = u16::MAX;
const NOT_FROM_ASKER: u16 = u16::MAX - 1;
const FOUNDING: u8 = 0x40;
const ACCEPTANCES: u8 = 0x41;
const REFUSALS: u8 = 0x42;
const REPLICA_STATUS: u8 = 0x43;

/// Number of bytes before a chunk's parents: tag, stream, offset, number of parents.
pub(super) const CHUNK_HEADER: usize = 1 + 4 + 8 + 1;

/// Number of bytes before a whole blob: tag, stream, renew, receipt.
pub(super) const BLOB_HEADER: usize = 1 + 4 + 1 + Receipt::SIZE;

/// Flags of a put.
const OFFERED: u8 = 1;
const RENEW: u8 = 2;

struct Writer(Vec<u8>);

impl Writer {
    fn new(tag: u8, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(1 + capacity);
        out.push(tag);
        Self(out)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn stream(self, stream: Stream) -> Self {
        self.u32(stream.0)
    }

    /// Writes a count in 16 bits. All counts are bounded far below the maximum (members, receipts, detail).
    fn count(self, count: usize) -> Self {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn certificates(self, certificates: &[Certificate]) -> Self {
        let one = |writer: Self, certificate: &Certificate| {
            let bytes = certificate.encode();
            writer.count(bytes.len()).bytes(&bytes)
        };
        certificates.iter().fold(self.count(certificates.len()), one)
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }
}

impl Message {
    /// The message's bytes, tag first.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello(hello) => {
                let mut writer = Writer::new(HELLO, 107);
                hello.write(&mut writer.0);
                writer.finish()
            }
            Self::Auth(signature) => Writer::new(AUTH, 64).bytes(&signature.0).finish(),
            Self::Cluster(cluster) => {
                let committee = cluster.genesis.encode();
                let size = u32::try_from(committee.len()).unwrap_or(u32::MAX);
                let writer = Writer::new(CLUSTER, 4 + committee.len() + 96 * cluster.possessions.len());
                let writer = writer.u32(size).bytes(&committee);
                cluster.possessions.iter().fold(writer, |writer, pop| writer.bytes(&pop.0)).finish()
            }
            Self::Failed(failed) => {
                let Failed { stream, code, subjects, detail } = failed;
                let writer = Writer::new(FAILED, 10 + 2 * subjects.len() + detail.len());
                let writer = writer.stream(*stream).u16(*code as u16).count(subjects.len());
                let writer = subjects.iter().fold(writer, |writer, subject| writer.u16(*subject));
                writer.count(detail.len()).bytes(detail.as_bytes()).finish()
            }
            Self::Put { stream, offer, renew } => {
                let writer = Writer::new(PUT, 70).stream(*stream);
                let flags = if *renew { RENEW } else { 0 };
                match offer {
                    None => writer.u8(flags).finish(),
                    Some(receipt) => writer.u8(OFFERED | flags).bytes(&receipt.encode()).finish(),
                }
            }
            Self::Chunk { stream, offset, parents, bytes } => {
                let capacity = CHUNK_HEADER + Parent::SIZE * parents.len() + bytes.len();
                // MAX_PROOF bounds the number where parents are made or decoded.
                let count = u8::try_from(parents.len()).unwrap_or(u8::MAX);
                let writer = Writer::new(CHUNK, capacity).stream(*stream).u64(*offset).u8(count);
                parents.iter().fold(writer, |writer, parent| writer.bytes(&parent.0)).bytes(bytes).finish()
            }
            Self::PutEnd { stream, receipt } => {
                Writer::new(PUT_END, 69).stream(*stream).bytes(&receipt.encode()).finish()
            }
            Self::Cancel { stream, keep } => Writer::new(CANCEL, 5).stream(*stream).u8((*keep).into()).finish(),
            Self::Ready { stream, offset } => Writer::new(READY, 12).stream(*stream).u64(*offset).finish(),
            Self::Progress { stream, member, stage } => {
                Writer::new(PROGRESS, 7).stream(*stream).u16(*member).u8(*stage as u8).finish()
            }
            Self::Certified { stream, certificate } => {
                Writer::new(CERTIFIED, 300).stream(*stream).bytes(&certificate.encode()).finish()
            }
            Self::Stored { stream } => Writer::new(STORED, 4).stream(*stream).finish(),
            Self::Blob { stream, receipt, renew, bytes } => Writer::new(BLOB, BLOB_HEADER + bytes.len())
                .stream(*stream)
                .u8(u8::from(*renew))
                .bytes(&receipt.encode())
                .bytes(bytes)
                .finish(),
            Self::Locate { stream, digest } => Writer::new(LOCATE, 36).stream(*stream).bytes(&digest.0).finish(),
            Self::Located { stream, holders } => {
                let writer = Writer::new(LOCATED, 6 + 10 * holders.len()).stream(*stream).count(holders.len());
                holders.iter().fold(writer, |writer, holder| writer.u16(holder.member).u64(holder.length)).finish()
            }
            Self::Read(read) => Writer::new(READ, 50)
                .stream(read.stream)
                .u16(read.member)
                .bytes(&read.digest.0)
                .u64(read.offset)
                .u32(read.length)
                .finish(),
            #[cfg(feature = "nodes")]
            Self::Join { vote_key, possession, name } => {
                Writer::new(JOIN, 168).bytes(&vote_key.0).bytes(&possession.0).bytes(&name.encode()).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Propose { stream, issued_at, receipts } => {
                let writer = Writer::new(PROPOSE, 14 + Receipt::SIZE * receipts.len());
                let writer = writer.stream(*stream).u64(*issued_at).count(receipts.len());
                receipts.iter().fold(writer, |writer, receipt| writer.bytes(&receipt.encode())).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Vote { stream, signature } => Writer::new(VOTE, 100).stream(*stream).bytes(&signature.0).finish(),
            #[cfg(feature = "nodes")]
            Self::Archive { stream, signers, signature } => {
                let mut writer = Writer::new(ARCHIVE, 240).stream(*stream);
                signers.write(&mut writer.0);
                writer.bytes(&signature.0).finish()
            }
            #[cfg(feature = "nodes")]
            Self::List { stream, source, from, filter } => {
                let source = match source {
                    ListSource::Own => OWN,
                    ListSource::Member(member) => *member,
                };
                let filter = match filter {
                    ListFilter::All => ALL,
                    ListFilter::NotFromAsker => NOT_FROM_ASKER,
                    ListFilter::NotSignedBy(member) => *member,
                };
                let writer = Writer::new(LIST, 24).stream(*stream).u16(source);
                writer.u64(from.list).u64(from.after).u16(filter).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Listed { stream, page: ListPage { end, more, certificates } } => {
                let writer = Writer::new(LISTED, 23 + 300 * certificates.len());
                let writer = writer.stream(*stream).u64(end.list).u64(end.after).u8((*more).into());
                writer.certificates(certificates).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Endorse { digests } => {
                let writer = Writer::new(ENDORSE, 2 + 32 * digests.len()).count(digests.len());
                digests.iter().fold(writer, |writer, digest| writer.bytes(&digest.0)).finish()
            }
            #[cfg(feature = "nodes")]
            Self::AskTime { stream, asker, nonce } => {
                Writer::new(ASK_TIME, 68).stream(*stream).bytes(&asker.0).bytes(nonce).finish()
            }
            #[cfg(feature = "nodes")]
            Self::SignedTime { stream, member, time, signature } => {
                Writer::new(SIGNED_TIME, 78).stream(*stream).u16(*member).u64(*time).bytes(&signature.0).finish()
            }
            #[cfg(feature = "nodes")]
            Self::FindCertificate { stream, digest } => {
                Writer::new(FIND_CERTIFICATE, 36).stream(*stream).bytes(&digest.0).finish()
            }
            #[cfg(feature = "nodes")]
            Self::FoundCertificate { stream, certificate } => {
                let writer = Writer::new(FOUND_CERTIFICATE, 300).stream(*stream).u8(certificate.is_some().into());
                certificate.iter().fold(writer, |writer, certificate| writer.bytes(&certificate.encode())).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Missed { certificates } => {
                Writer::new(MISSED, 2 + 300 * certificates.len()).certificates(certificates).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Founding(founding) => {
                let mut writer = Writer::new(FOUNDING, 400 * founding.possessions.len());
                write_founding(founding, &mut writer.0);
                writer.finish()
            }
            #[cfg(feature = "nodes")]
            Self::Acceptances { founding, acceptances } => {
                let writer = Writer::new(ACCEPTANCES, 34 + 98 * acceptances.len());
                let writer = writer.bytes(&founding.0).count(acceptances.len());
                let one = |writer: Writer, (member, signature): &(u16, VoteSignature)| {
                    writer.u16(*member).bytes(&signature.0)
                };
                acceptances.iter().fold(writer, one).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Refusals(refusals) => {
                let mut writer = Writer::new(REFUSALS, 2 + Refusal::SIZE * refusals.len()).count(refusals.len());
                for refusal in refusals {
                    write_refusal(refusal, &mut writer.0);
                }
                writer.finish()
            }
            #[cfg(feature = "nodes")]
            Self::ReplicaStatus { status, detail } => Writer::new(REPLICA_STATUS, 3 + detail.len())
                .u8(*status as u8)
                .count(detail.len())
                .bytes(detail.as_bytes())
                .finish(),
        }
    }

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
                in_range("flags of a put", flags.into(), 0, (OFFERED | RENEW).into())?;
                let offer = (flags & OFFERED != 0).then(|| Receipt::read(&mut reader)).transpose()?;
                Self::Put { stream, offer, renew: flags & RENEW != 0 }
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
                Self::PutEnd { stream, receipt: Receipt::read(&mut reader)? }
            }
            CANCEL => {
                let stream = read_stream(&mut reader)?;
                let keep = reader.u8("keep")?;
                in_range("keep", keep.into(), 0, 1)?;
                Self::Cancel { stream, keep: keep == 1 }
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
                let renew = reader.u8("renew")?;
                in_range("renew", renew.into(), 0, 1)?;
                let receipt = Receipt::read(&mut reader)?;
                let size = reader.rest().len();
                in_range("bytes of a blob", size as u64, 0, MAX_BLOB as u64)?;
                Self::Blob { stream, receipt, renew: renew == 1, bytes: bytes.slice(BLOB_HEADER..) }
            }
            LOCATE => {
                let stream = read_stream(&mut reader)?;
                Self::Locate { stream, digest: Digest(reader.array("digest")?) }
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
                let more = reader.u8("more")?;
                in_range("more", more.into(), 0, 1)?;
                let certificates = read_certificates(&mut reader)?;
                Self::Listed { stream, page: ListPage { end, more: more == 1, certificates } }
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
                let is_found = reader.u8("found")?;
                in_range("found", is_found.into(), 0, 1)?;
                let certificate = (is_found == 1).then(|| read_certificate(&mut reader)).transpose()?;
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
            tag => return Err(MessageError::UnknownTag(tag)),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn read_stream(reader: &mut Reader<'_>) -> Result<Stream, DecodeError> {
    let number = reader.u32("stream")?;
    in_range("stream", number.into(), 1, u32::MAX.into())?;
    Ok(Stream(number))
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
        let got = format!("{control:?}");
        return Err(DecodeError::BadText { field: "detail", expected: "without control characters", got });
    }
    Ok(detail.into())
}
