//! The ops by which committees change. Each carries its own signatures, so any member may submit it for anyone.

use thiserror::Error;

use super::change::{ChangeFormatError, CommitteeChange};
use super::node_vote::{NodeVote, SignedNodeVote};
use crate::bls::{AggregateSignature, VoteSignature};
use crate::certificate::{Certificate, CertificateError, Signers};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::{Committee, CommitteeRecord, KeyOffer, KeyOfferFormatError};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::ChangeId;
use crate::limits::{Limits, MAX_BATCH, MAX_OP_BODY};
use crate::link::NodeKey;
use crate::merkle::TreeHash;
use crate::statement::{Statement, StatementId, Stored};
use crate::verify::Invalid;

/// A stored statement with the signatures that certify it, without any receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedStatement {
    /// The statement's body.
    pub body: Stored,
    /// Who signed it.
    pub signers: Signers,
    /// Their aggregate signature.
    pub signature: AggregateSignature,
}

impl CertifiedStatement {
    /// What certifies the statement of a certificate by this committee. `None` if the certificate names no statement of it.
    pub fn of(certificate: &Certificate, committee: &CommitteeRecord) -> Option<Self> {
        let body = *certificate.statement(committee)?.body();
        Some(Self { body, signers: certificate.signers.clone(), signature: certificate.signature })
    }

    /// Checks that a quorum of this committee signed the statement, and returns its identity.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(&self, committee: &Committee) -> Result<StatementId, CertifiedStatementError> {
        let record = committee.record();
        let (expected, got) = (record.n(), self.signers.n());
        if got != expected {
            return Err(Invalid::BitmapSize { expected, got }.into());
        }
        let (signers, quorum) = (self.signers.count(), record.quorum());
        if signers < quorum {
            return Err(Invalid::BelowQuorum { signers, quorum }.into());
        }
        let statement = Statement::new(record, self.body);
        let absent = self.signers.absent().map(usize::from);
        let checked = committee.verify_aggregate(absent, &statement.encode(), &self.signature);
        checked.map_err(Invalid::Signature)?;
        Ok(statement.id())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.body.issued_at.to_le_bytes());
        out.extend_from_slice(&self.body.count.to_le_bytes());
        out.extend_from_slice(&self.body.root.0);
        self.signers.write(out);
        out.extend_from_slice(&self.signature.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, MembershipOpError> {
        let issued_at = reader.safe_u64("issued_at")?;
        let count = reader.u32("count")?;
        in_range("count", count.into(), 1, MAX_BATCH.into())?;
        let body = Stored { issued_at, count, root: TreeHash(reader.array("root")?) };
        let signers = Signers::read(reader, &Limits::default()).map_err(MembershipOpError::Signers)?;
        Ok(Self { body, signers, signature: AggregateSignature(reader.array("signature")?) })
    }
}

/// Why a statement is not certified.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.comparison())]
pub struct CertifiedStatementError(#[from] pub Invalid);

/// An op about the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipOp {
    /// Proposes a change. Anybody may.
    Propose {
        /// The change.
        change: CommitteeChange,
        /// The operator's signature on it, where the policy needs one.
        operator: Option<VoteSignature>,
    },
    /// A member approves a change.
    Approve(SignedNodeVote),
    /// A node offers the vote key that it will have in the next committee.
    Offer(Box<KeyOffer>),
    /// The next committee takes the keys that were offered, also if a member that stays has offered none.
    Fix {
        /// The change.
        change: ChangeId,
    },
    /// A member of the next committee accepts it, with its new vote key.
    Accept {
        /// The member.
        node_key: NodeKey,
        /// On the statement of kind 3 of the next committee.
        signature: VoteSignature,
    },
    /// A member of the committee that ends stops.
    Stop(SignedNodeVote),
    /// A member of the committee that ends signs the handoff.
    SignHandoff {
        /// The member.
        node_key: NodeKey,
        /// On the statement of kind 2.
        signature: VoteSignature,
    },
    /// Statements that the epoch before certified, for its seal.
    Certified(Vec<CertifiedStatement>),
    /// A member knows of no certificate of the epoch before that the log lacks.
    SealReady(SignedNodeVote),
    /// A member signs the seal of the epoch before.
    SignSeal {
        /// The member.
        node_key: NodeKey,
        /// On the statement of kind 9.
        signature: VoteSignature,
    },
}

impl MembershipOp {
    /// The kind of [`Propose`](Self::Propose), the least one.
    pub const FIRST_KIND: u16 = 1;
    /// The kind of [`SignSeal`](Self::SignSeal), the greatest one.
    pub const LAST_KIND: u16 = 10;

    /// Whether an op of this kind is about the members.
    pub fn has_kind(kind: u16) -> bool {
        (Self::FIRST_KIND..=Self::LAST_KIND).contains(&kind)
    }

    /// The op's kind.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Propose { .. } => 1,
            Self::Approve(_) => 2,
            Self::Offer(_) => 3,
            Self::Fix { .. } => 4,
            Self::Accept { .. } => 5,
            Self::Stop(_) => 6,
            Self::SignHandoff { .. } => 7,
            Self::Certified(_) => 8,
            Self::SealReady(_) => 9,
            Self::SignSeal { .. } => 10,
        }
    }

    /// The op's body.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Propose { change, operator } => {
                out.push(operator.is_some().into());
                operator.iter().for_each(|signature| out.extend_from_slice(&signature.0));
                out.extend_from_slice(&change.encode());
            }
            Self::Approve(vote) | Self::Stop(vote) | Self::SealReady(vote) => vote.write(&mut out),
            Self::Offer(offer) => out = offer.encode(),
            Self::Fix { change } => out.extend_from_slice(&change.0),
            Self::Accept { node_key, signature }
            | Self::SignHandoff { node_key, signature }
            | Self::SignSeal { node_key, signature } => {
                out.extend_from_slice(&node_key.0);
                out.extend_from_slice(&signature.0);
            }
            Self::Certified(statements) => statements.iter().for_each(|statement| statement.write(&mut out)),
        }
        out
    }

    /// Decodes the body of an op of this kind.
    ///
    /// # Errors
    /// See [`MembershipOpError`].
    pub fn decode(kind: u16, body: &[u8]) -> Result<Self, MembershipOpError> {
        let mut reader = Reader::new(body);
        let op = match kind {
            1 => {
                let operator = match reader.flag("operator's signature")? {
                    true => Some(VoteSignature(reader.array("operator's signature")?)),
                    false => None,
                };
                Self::Propose { change: CommitteeChange::read(&mut reader)?, operator }
            }
            2 => Self::Approve(SignedNodeVote::read_approval(&mut reader)?),
            3 => Self::Offer(Box::new(KeyOffer::decode(reader.rest())?)),
            4 => Self::Fix { change: ChangeId(reader.array("change")?) },
            5 | 7 | 10 => {
                let node_key = NodeKey(reader.array("node key")?);
                let signature = VoteSignature(reader.array("signature")?);
                match kind {
                    5 => Self::Accept { node_key, signature },
                    7 => Self::SignHandoff { node_key, signature },
                    _ => Self::SignSeal { node_key, signature },
                }
            }
            6 => Self::Stop(SignedNodeVote::read_stop(&mut reader)?),
            8 => {
                let mut statements = Vec::new();
                while statements.is_empty() || reader.remaining() > 0 {
                    statements.push(CertifiedStatement::read(&mut reader)?);
                }
                Self::Certified(statements)
            }
            9 => Self::SealReady(SignedNodeVote::read_seal_ready(&mut reader)?),
            got => return Err(MembershipOpError::UnknownKind { got }),
        };
        reader.finish()?;
        Ok(op)
    }

    /// Puts statements into as few ops as their size allows.
    pub fn certified(statements: impl IntoIterator<Item = CertifiedStatement>) -> Vec<Self> {
        let (mut ops, mut last, mut size) = (Vec::new(), Vec::new(), 0);
        for statement in statements {
            let mut encoded = Vec::new();
            statement.write(&mut encoded);
            if size + encoded.len() > MAX_OP_BODY {
                ops.push(Self::Certified(std::mem::take(&mut last)));
                size = 0;
            }
            size += encoded.len();
            last.push(statement);
        }
        if !last.is_empty() {
            ops.push(Self::Certified(last));
        }
        ops
    }

    /// The vote that a node key signed, if this is one.
    pub fn node_vote(&self) -> Option<&NodeVote> {
        match self {
            Self::Approve(signed) | Self::Stop(signed) | Self::SealReady(signed) => Some(&signed.vote),
            _ => None,
        }
    }
}

/// Why the body of an op is malformed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MembershipOpError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The change is malformed.
    Change(#[from] ChangeFormatError),
    /// The key offer is malformed.
    Offer(#[from] KeyOfferFormatError),
    /// The signers of a statement are malformed.
    Signers(CertificateError),
    /// No op about members has this kind.
    UnknownKind {
        /// The kind.
        got: u16,
    },
}

impl MembershipOpError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        let version = |got: &u8| Comparison::new(&"version", &1, got);
        match self {
            Self::Decode(error)
            | Self::Change(ChangeFormatError::Decode(error))
            | Self::Offer(KeyOfferFormatError::Decode(error)) => error.comparison(),
            Self::Change(ChangeFormatError::UnknownVersion(got)) => version(got).within("committee change"),
            Self::Offer(KeyOfferFormatError::UnknownVersion(got)) => version(got).within("key offer"),
            Self::Signers(error) => error.comparison(),
            Self::UnknownKind { got } => {
                let kinds = format!("{} to {}", MembershipOp::FIRST_KIND, MembershipOp::LAST_KIND);
                Comparison::new(&"kind of an op about members", &kinds, got)
            }
        }
    }
}

display_comparison!(MembershipOpError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{Member, MemberName};
    use crate::link::NodeSecretKey;
    use crate::tally::Tally;

    fn node() -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[1; 32])
    }

    fn vote() -> VoteSecretKey {
        VoteSecretKey::generate(&[1; 32]).unwrap()
    }

    fn committee() -> Committee {
        let member =
            Member { node_key: node().node_key(), vote_key: vote().vote_key(), name: MemberName::new("own").unwrap() };
        Committee::proven(CommitteeRecord::genesis([0; 16], vec![member]).unwrap(), vec![vote().prove_possession()])
            .unwrap()
    }

    fn statement(number: u8) -> CertifiedStatement {
        let body = Stored { issued_at: number.into(), count: 1, root: TreeHash([number; 32]) };
        let committee = committee();
        let mut tally = Tally::new(committee.record(), body);
        tally.add(&committee, 0, tally.statement().sign(&vote())).unwrap();
        let signature = crate::bls::aggregate(tally.votes().values()).unwrap();
        CertifiedStatement { body, signers: Signers::new(1, [0]).unwrap(), signature }
    }

    fn ops() -> Vec<MembershipOp> {
        let committee = committee();
        let (record, node_key) = (committee.record(), node().node_key());
        let change = CommitteeChange::new(record, [1; 16], true, Vec::new(), Vec::new()).unwrap();
        let signature = change.sign_as_operator(&vote());
        let signed = |vote: NodeVote| vote.sign(record, &node());
        vec![
            MembershipOp::Propose { change: change.clone(), operator: None },
            MembershipOp::Propose { change: change.clone(), operator: Some(signature) },
            MembershipOp::Approve(signed(NodeVote::Approve { change: change.id(), number: 3 })),
            MembershipOp::Offer(Box::new(KeyOffer::new(record, &node(), &vote()))),
            MembershipOp::Fix { change: change.id() },
            MembershipOp::Accept { node_key, signature },
            MembershipOp::Stop(signed(NodeVote::Stop { until: 7 })),
            MembershipOp::SignHandoff { node_key, signature },
            MembershipOp::Certified(vec![statement(1), statement(2)]),
            MembershipOp::SealReady(signed(NodeVote::SealReady)),
            MembershipOp::SignSeal { node_key, signature },
        ]
    }

    #[test]
    fn every_op_has_one_encoding() {
        for op in ops() {
            let (kind, body) = (op.kind(), op.body());
            assert!(MembershipOp::has_kind(kind) && body.len() <= MAX_OP_BODY);
            assert_eq!(MembershipOp::decode(kind, &body), Ok(op.clone()));
            // one statement of two is an op, too
            let is_list = matches!(op, MembershipOp::Certified(_));
            for length in (0..body.len()).filter(|length| !(is_list && *length == body.len() / 2)) {
                assert!(MembershipOp::decode(kind, &body[..length]).is_err(), "{kind}: {length}");
            }
            assert!(MembershipOp::decode(kind, &[&body[..], &[0]].concat()).is_err(), "{kind}");
        }
        assert_eq!(MembershipOp::decode(0, &[]), Err(MembershipOpError::UnknownKind { got: 0 }));
        assert_eq!(MembershipOp::decode(11, &[]), Err(MembershipOpError::UnknownKind { got: 11 }));
    }

    #[test]
    fn a_node_vote_counts_for_its_committee_and_its_words_only() {
        let committee = committee();
        let signed = NodeVote::Stop { until: 7 }.sign(committee.record(), &node());
        assert_eq!(signed.verify(committee.record()), Ok(0));
        let later = SignedNodeVote { vote: NodeVote::Stop { until: 8 }, ..signed };
        assert!(later.verify(committee.record()).is_err());
        let other = SignedNodeVote { vote: NodeVote::SealReady, ..signed };
        assert!(other.verify(committee.record()).is_err());
        let stranger = NodeVote::SealReady.sign(committee.record(), &NodeSecretKey::from_bytes(&[2; 32]));
        assert!(stranger.verify(committee.record()).is_err());
    }

    #[test]
    fn only_certified_statements_verify_and_ops_hold_as_many_as_fit() {
        let committee = committee();
        let good = statement(1);
        assert_eq!(good.verify(&committee), Ok(Statement::new(committee.record(), good.body).id()));
        let other = CertifiedStatement { signature: statement(2).signature, ..good.clone() };
        assert!(other.verify(&committee).is_err());
        let crowd = CertifiedStatement { signers: Signers::new(2, [0]).unwrap(), ..good.clone() };
        assert!(crowd.verify(&committee).is_err());
        let ops = MembershipOp::certified(vec![good; 60]);
        let counts: Vec<_> = ops.iter().map(|op| (op.body().len() <= MAX_OP_BODY, op.body().len() / 143)).collect();
        assert_eq!(counts, [(true, 28), (true, 28), (true, 4)]);
    }
}
