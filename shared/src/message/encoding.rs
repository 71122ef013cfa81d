//! The encoding of each message.
#![cfg_attr(not(feature = "nodes"), allow(dead_code, unused_imports, reason = "for messages that only nodes send"))]

use bytes::Bytes;

use super::epochs::write_epochs;
use super::layout::{
    ACCEPTANCES, ACCESS, ALL, ARCHIVE, ASK_BLOCK, ASK_LOG_HEAD, ASK_OP_PROOF, ASK_SEAL, ASK_TIME, AUTH, AUTHORISED,
    BLOB, BLOB_AUTHORISED, BLOB_HEADER, BLOB_RENEW, CANCEL, CERTIFIED, CHUNK, CHUNK_HEADER, CLUSTER, ENDORSE, FAILED,
    FIND_CERTIFICATE, FOUND_CERTIFICATE, FOUNDING, JOIN, LIST, LISTED, LOCATE, LOCATED, LOG_BLOCK, LOG_HEAD, LOG_TIP,
    MISSED, NEXT_MEMBERS, NOT_FROM_ASKER, OFFERED, OP_DECIDED, OP_PROOF, OWN, PEER, PROGRESS, PROPOSE, PUT, PUT_END,
    READ, READY, REFUSALS, RENEW, REPLICA_STATUS, SEAL_PART, SIGNED_TIME, STORED, SUBMIT_OP, VOTE,
};
use super::{Failed, ListFilter, ListPage, ListSource, Message, Stream};
use crate::access::Authorisation;
use crate::bls::VoteSignature;
use crate::certificate::Certificate;
#[cfg(feature = "nodes")]
use crate::founding::{Refusal, write_founding, write_refusal};
use crate::link::HELLO;
use crate::receipt::Receipt;
#[cfg(feature = "nodes")]
use crate::statement::{Body, LogHead};
use crate::tree::Parent;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(tag: u8, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(1 + capacity);
        out.push(tag);
        Self(out)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn stream(self, stream: Stream) -> Self {
        self.u32(stream.0)
    }

    /// Writes a count in 16 bits. All counts are bounded far below the maximum (members, receipts, detail).
    pub(super) fn count(self, count: usize) -> Self {
        self.u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn authorisation(self, authorisation: &Option<Authorisation>) -> Self {
        authorisation.iter().fold(self, |writer, authorisation| writer.bytes(&authorisation.encode()))
    }

    fn certificates(self, certificates: &[Certificate]) -> Self {
        let one = |writer: Self, certificate: &Certificate| {
            let bytes = certificate.encode();
            writer.count(bytes.len()).bytes(&bytes)
        };
        certificates.iter().fold(self.count(certificates.len()), one)
    }

    /// Number of bytes after the tag.
    pub(super) fn size(&self) -> usize {
        self.0.len() - 1
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }
}

impl Message {
    /// The bytes of [`Message::Missed`] with these certificates, which need not be cloned.
    #[cfg(feature = "nodes")]
    pub fn encode_missed(certificates: &[Certificate]) -> Bytes {
        Writer::new(MISSED, 2 + 300 * certificates.len()).certificates(certificates).finish()
    }

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
            Self::Put { stream, offer, renew, authorisation } => {
                let flag = |is_set, flag| if is_set { flag } else { 0 };
                let flags =
                    flag(offer.is_some(), OFFERED) | flag(*renew, RENEW) | flag(authorisation.is_some(), AUTHORISED);
                let writer = Writer::new(PUT, 70 + Authorisation::SIZE).stream(*stream).u8(flags);
                let writer = offer.iter().fold(writer, |writer, receipt| writer.bytes(&receipt.encode()));
                writer.authorisation(authorisation).finish()
            }
            Self::Chunk { stream, offset, parents, bytes } => {
                let capacity = CHUNK_HEADER + Parent::SIZE * parents.len() + bytes.len();
                // MAX_PROOF bounds the number where parents are made or decoded.
                let count = u8::try_from(parents.len()).unwrap_or(u8::MAX);
                let writer = Writer::new(CHUNK, capacity).stream(*stream).u64(*offset).u8(count);
                parents.iter().fold(writer, |writer, parent| writer.bytes(&parent.0)).bytes(bytes).finish()
            }
            Self::PutEnd { stream, receipt, authorisation } => {
                let writer = Writer::new(PUT_END, 69 + Authorisation::SIZE).stream(*stream).bytes(&receipt.encode());
                writer.authorisation(authorisation).finish()
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
            Self::Blob { stream, receipt, renew, authorisation, bytes } => {
                let flags = if *renew { BLOB_RENEW } else { 0 };
                let flags = flags | if authorisation.is_some() { BLOB_AUTHORISED } else { 0 };
                Writer::new(BLOB, BLOB_HEADER + Authorisation::SIZE + bytes.len())
                    .stream(*stream)
                    .u8(flags)
                    .bytes(&receipt.encode())
                    .authorisation(authorisation)
                    .bytes(bytes)
                    .finish()
            }
            Self::Locate { stream, digest, authorisation } => Writer::new(LOCATE, 36 + Authorisation::SIZE)
                .stream(*stream)
                .bytes(&digest.0)
                .authorisation(authorisation)
                .finish(),
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
            Self::Epochs(epochs) => write_epochs(epochs).finish(),
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
            Self::Missed { certificates } => Self::encode_missed(certificates),
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
            #[cfg(feature = "nodes")]
            Self::Peer(frame) => Writer::new(PEER, frame.len()).bytes(frame).finish(),
            #[cfg(feature = "nodes")]
            Self::SubmitOp { stream, op } => {
                Writer::new(SUBMIT_OP, 4 + op.encoded_size()).stream(*stream).bytes(&op.encode()).finish()
            }
            #[cfg(feature = "nodes")]
            Self::OpDecided { stream, height } => Writer::new(OP_DECIDED, 12).stream(*stream).u64(*height).finish(),
            #[cfg(feature = "nodes")]
            Self::LogTip { height, time } => Writer::new(LOG_TIP, 16).u64(*height).u64(*time).finish(),
            #[cfg(feature = "nodes")]
            Self::AskLogHead { stream, height } => Writer::new(ASK_LOG_HEAD, 12).stream(*stream).u64(*height).finish(),
            #[cfg(feature = "nodes")]
            Self::LogHead { stream, head, signature } => {
                let mut writer = Writer::new(LOG_HEAD, 180).stream(*stream);
                LogHead::write_claim(head, &mut writer.0);
                writer.bytes(&signature.0).finish()
            }
            #[cfg(feature = "nodes")]
            Self::AskOpProof { stream, op, head } => {
                Writer::new(ASK_OP_PROOF, 44).stream(*stream).bytes(&op.0).u64(*head).finish()
            }
            #[cfg(feature = "nodes")]
            Self::OpProof { stream, proof } => {
                Writer::new(OP_PROOF, 1024).stream(*stream).bytes(&proof.encode()).finish()
            }
            #[cfg(feature = "nodes")]
            Self::AskBlock { stream, height, head } => {
                Writer::new(ASK_BLOCK, 20).stream(*stream).u64(*height).u64(*head).finish()
            }
            #[cfg(feature = "nodes")]
            Self::LogBlock { stream, path, block } => {
                let block = block.encode();
                // Cannot saturate: `MAX_LOG_PATH` bounds the path.
                let count = u8::try_from(path.len()).unwrap_or(u8::MAX);
                let writer = Writer::new(LOG_BLOCK, 5 + 32 * path.len() + block.len()).stream(*stream).u8(count);
                path.iter().fold(writer, |writer, hash| writer.bytes(&hash.0)).bytes(&block).finish()
            }
            #[cfg(feature = "nodes")]
            Self::AskSeal { stream, epoch, from } => {
                Writer::new(ASK_SEAL, 16).stream(*stream).u64(*epoch).u32(*from).finish()
            }
            #[cfg(feature = "nodes")]
            Self::SealPart { stream, count, identities } => {
                let writer = Writer::new(SEAL_PART, 10 + 32 * identities.len()).stream(*stream);
                let writer = writer.u32(*count).count(identities.len());
                identities.iter().fold(writer, |writer, identity| writer.bytes(&identity.0)).finish()
            }
            #[cfg(feature = "nodes")]
            Self::NextMembers { members } => {
                let writer = Writer::new(NEXT_MEMBERS, 2 + 32 * members.len()).count(members.len());
                members.iter().fold(writer, |writer, member| writer.bytes(&member.0)).finish()
            }
            #[cfg(feature = "nodes")]
            Self::Access(view) => {
                let mut writer = Writer::new(ACCESS, 14 + 88 * view.tokens.len());
                view.write(&mut writer.0);
                writer.finish()
            }
        }
    }
}
