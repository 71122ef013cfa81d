//! A key offer: a replica offers the vote key with which it would sign in the next committee.

use thiserror::Error;

use super::CommitteeRecord;
use crate::bls::{BlsError, Possession, ProvenVoteKey, VoteKey, VoteSecretKey, VoteSignature};
use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, CommitteeDigest};
use crate::limits::MAX_SAFE_INTEGER;
use crate::link::{NodeKey, NodeSecretKey};
use crate::statement::key_offer_statement;

/// The name, length first. It separates offers from everything else that a node key signs.
const NAMESPACE: &[u8; 15] = b"\x0Evouch/offer/v1";
const MAGIC: &[u8; 7] = b"vouchko";
const VERSION: u8 = 1;

/// What both keys of an offer sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedKey {
    /// The epoch of the committee before. The key is for the next one.
    pub epoch: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The committee before.
    pub committee: CommitteeDigest,
    /// The node key of the replica that offers.
    pub node_key: NodeKey,
    /// The vote key that it will sign with.
    pub vote_key: VoteKey,
}

/// An offer of a vote key. Both keys sign it. Without the node key's signature, anyone could enlist a replica with a key of their own; without
/// the vote key's, a replica could offer another's key as its own: a proof of possession can be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOffer {
    /// What is offered.
    pub offered: OfferedKey,
    /// The proof that somebody holds the vote key.
    pub possession: Possession,
    /// The signature by the node key.
    pub node_signature: [u8; 64],
    /// The signature by the vote key.
    pub vote_signature: VoteSignature,
}

impl OfferedKey {
    /// What the vote key signs: a statement of kind 0x8003, in the name of the committee before.
    fn statement(&self) -> Vec<u8> {
        let Self { epoch, cluster, committee, node_key, vote_key } = self;
        key_offer_statement(*epoch, cluster, committee, node_key, vote_key)
    }

    /// What the node key signs: the offer with the proof, so that nobody can exchange it.
    fn signed_bytes(&self, possession: &Possession) -> Vec<u8> {
        let mut out = NAMESPACE.to_vec();
        self.write(&mut out);
        out.extend_from_slice(&possession.0);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.committee.0);
        out.extend_from_slice(&self.node_key.0);
        out.extend_from_slice(&self.vote_key.0);
    }
}

impl KeyOffer {
    /// Size of the encoding in bytes.
    pub const SIZE: usize = 416;

    /// Offers a vote key for the committee after this one.
    pub fn new(committee: &CommitteeRecord, node: &NodeSecretKey, vote: &VoteSecretKey) -> Self {
        let offered = OfferedKey {
            epoch: committee.epoch(),
            cluster: committee.cluster(),
            committee: committee.digest(),
            node_key: node.node_key(),
            vote_key: vote.vote_key(),
        };
        let possession = vote.prove_possession();
        let node_signature = node.sign_bytes(&offered.signed_bytes(&possession));
        Self { offered, possession, node_signature, vote_signature: vote.sign(&offered.statement()) }
    }

    /// Checks that the offer is for the committee after this one, and that both keys signed it. Costs two pairings.
    ///
    /// # Errors
    /// See [`KeyOfferError`].
    pub fn verify(&self, committee: &CommitteeRecord) -> Result<ProvenVoteKey, KeyOfferError> {
        let Self { offered, possession, node_signature, vote_signature } = self;
        let (expected, got) = (committee.digest(), offered.committee);
        // The digest fixes the cluster and the epoch, too.
        if got != expected || offered.cluster != committee.cluster() || offered.epoch != committee.epoch() {
            return Err(KeyOfferError::AnotherCommittee { expected, got });
        }
        if !offered.node_key.has_signed(&offered.signed_bytes(possession), node_signature) {
            return Err(KeyOfferError::NodeSignature(offered.node_key));
        }
        let key = ProvenVoteKey::verify(offered.vote_key, *possession).map_err(KeyOfferError::Possession)?;
        key.checked().verify(&offered.statement(), vote_signature).map_err(KeyOfferError::VoteSignature)?;
        Ok(key)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::SIZE);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        self.offered.write(&mut out);
        out.extend_from_slice(&self.possession.0);
        out.extend_from_slice(&self.node_signature);
        out.extend_from_slice(&self.vote_signature.0);
        out
    }

    /// Decodes exactly one offer.
    ///
    /// # Errors
    /// See [`KeyOfferFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyOfferFormatError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        match reader.u8("version")? {
            VERSION => {}
            version => return Err(KeyOfferFormatError::UnknownVersion(version)),
        }
        let epoch = reader.u64("epoch")?;
        // There must be a next epoch.
        in_range("epoch", epoch, 0, MAX_SAFE_INTEGER - 1)?;
        let offered = OfferedKey {
            epoch,
            cluster: ClusterId(reader.array("cluster")?),
            committee: CommitteeDigest(reader.array("committee digest")?),
            node_key: NodeKey(reader.array("node key")?),
            vote_key: VoteKey(reader.array("vote key")?),
        };
        let possession = Possession(reader.array("proof of possession")?);
        let node_signature = reader.array("signature of the node key")?;
        let vote_signature = VoteSignature(reader.array("signature of the vote key")?);
        reader.finish()?;
        Ok(Self { offered, possession, node_signature, vote_signature })
    }
}

/// Why bytes are not a key offer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyOfferFormatError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An unknown format version.
    #[error("expected version {VERSION} of a key offer, got {0}")]
    UnknownVersion(u8),
}

/// Why an offer is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyOfferError {
    /// The offer is for the committee after another one.
    AnotherCommittee {
        /// The digest of the committee at hand.
        expected: CommitteeDigest,
        /// The digest in the offer.
        got: CommitteeDigest,
    },
    /// The node key did not sign it.
    NodeSignature(NodeKey),
    /// The vote key or its proof of possession is not valid.
    Possession(BlsError),
    /// The vote key did not sign it.
    VoteSignature(BlsError),
}

impl KeyOfferError {
    /// What is required, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::AnotherCommittee { expected, got } => {
                Comparison::new(&"committee before the key offer", expected, got)
            }
            Self::NodeSignature(key) => {
                Comparison::new(&"key offer", &format_args!("a signature by {key}"), &"another")
            }
            Self::Possession(error) => error.comparison().within("proof of possession of the key offer"),
            Self::VoteSignature(error) => error.comparison().within("vote key's signature of the key offer"),
        }
    }
}

display_comparison!(KeyOfferError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::{Member, MemberName};

    fn committee(seed: u8) -> CommitteeRecord {
        let (node_key, vote) = (node(seed).node_key(), vote(seed));
        let member = Member { node_key, vote_key: vote.vote_key(), name: MemberName::new("own").unwrap() };
        CommitteeRecord::genesis([seed; 16], vec![member]).unwrap()
    }

    fn node(seed: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[seed; 32])
    }

    fn vote(seed: u8) -> VoteSecretKey {
        VoteSecretKey::generate(&[seed; 32]).unwrap()
    }

    #[test]
    fn an_offer_is_for_one_committee() {
        let offer = KeyOffer::new(&committee(1), &node(2), &vote(2));
        assert_eq!(offer.verify(&committee(1)).unwrap().vote_key(), vote(2).vote_key());
        let (expected, got) = (committee(3).digest(), committee(1).digest());
        assert_eq!(offer.verify(&committee(3)).unwrap_err(), KeyOfferError::AnotherCommittee { expected, got });
        let later = KeyOffer { offered: OfferedKey { epoch: 1, ..offer.offered }, ..offer };
        assert!(matches!(later.verify(&committee(1)), Err(KeyOfferError::AnotherCommittee { .. })));
    }

    #[test]
    fn nobody_offers_for_another() {
        let (own, other) =
            (KeyOffer::new(&committee(1), &node(2), &vote(2)), KeyOffer::new(&committee(1), &node(3), &vote(3)));
        // another's vote key, with its proof and its signature
        let stolen = OfferedKey { node_key: node(3).node_key(), ..own.offered };
        let node_signature = node(3).sign_bytes(&stolen.signed_bytes(&own.possession));
        let stolen = KeyOffer { offered: stolen, node_signature, ..own };
        assert_eq!(stolen.verify(&committee(1)).unwrap_err(), KeyOfferError::VoteSignature(BlsError::Mismatch));
        // a vote key of one's own for another's node key
        let enlisted = OfferedKey { node_key: node(2).node_key(), ..other.offered };
        let vote_signature = vote(3).sign(&enlisted.statement());
        let enlisted = KeyOffer { offered: enlisted, vote_signature, ..other };
        assert_eq!(enlisted.verify(&committee(1)).unwrap_err(), KeyOfferError::NodeSignature(node(2).node_key()));
        // another's proof
        let node_signature = node(2).sign_bytes(&own.offered.signed_bytes(&other.possession));
        let unproved = KeyOffer { possession: other.possession, node_signature, ..own };
        assert_eq!(unproved.verify(&committee(1)).unwrap_err(), KeyOfferError::Possession(BlsError::Mismatch));
    }

    #[test]
    fn the_encoding_is_canonical() {
        let offer = KeyOffer::new(&committee(1), &node(2), &vote(2));
        let good = offer.encode();
        assert_eq!((good.len(), KeyOffer::decode(&good)), (KeyOffer::SIZE, Ok(offer)));
        for length in 0..good.len() {
            assert!(KeyOffer::decode(&good[..length]).is_err(), "{length}");
        }
        assert!(KeyOffer::decode(&[&good[..], &[0]].concat()).is_err());
        let mut newer = good.clone();
        newer[7] = 2;
        assert_eq!(KeyOffer::decode(&newer), Err(KeyOfferFormatError::UnknownVersion(2)));
        let mut last = good;
        last[8..16].copy_from_slice(&MAX_SAFE_INTEGER.to_le_bytes());
        assert!(KeyOffer::decode(&last).is_err(), "there is no next epoch");
    }
}
