//! A founding: a genesis committee, which is valid once every member has accepted it. The module `founding_protocol` decides who accepts
//! and refuses what.

mod encoding;
mod record;
mod refusal;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::bls::{Possession, VoteSecretKey, VoteSignature};
use crate::committee::{Committee, CommitteeRecord, GenesisError};
use crate::digest::CommitteeDigest;
use crate::link::NodeKey;
use crate::statement::{Accept, Statement};
use crate::tally::{Tally, VerifiedVote, VoteError};

pub(crate) use encoding::{read_acceptances, read_founding, read_refusal, write_founding, write_refusal};
pub(crate) use record::{MAX_REFUSED, MAX_RELEASED};
pub use record::{RecordError, ReplicaRecord};
pub use refusal::{Evidence, Refusal, RefusalError, VerifiedRefusal};
pub use wanted::WantedCommittee;

/// A genesis committee and some of its acceptances, as sent on links. Only the layout is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundingMessage {
    /// The committee.
    pub genesis: CommitteeRecord,
    /// The proofs of possession, one for each member, in member order.
    pub possessions: Vec<Possession>,
    /// The acceptances, by member.
    pub acceptances: BTreeMap<u16, VoteSignature>,
}

/// Why a founding, or an acceptance of it, is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FoundingError {
    /// The committee is not well formed, or a proof of possession is bad.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// An acceptance is invalid.
    #[error("acceptance by {name}: {error}")]
    Acceptance {
        /// The member's name.
        name: String,
        /// The reason.
        error: VoteError,
    },
}

/// The statement that the members of a genesis committee sign to accept it.
pub fn accept_statement(genesis: &CommitteeRecord) -> Statement<Accept> {
    Statement::new(genesis, Accept::GENESIS)
}

/// Verifies acceptances of a founding, except those that it has: all together and, if that fails, one by one.
///
/// # Errors
/// The first invalid acceptance. The rest are not verified: otherwise a message with a thousand bad ones would cost a thousand pairings.
pub fn verify_acceptances(
    founding: &Founding,
    claimed: &[(u16, VoteSignature)],
) -> Result<Vec<VerifiedVote<Accept>>, FoundingError> {
    let known = |(member, vote): &(u16, VoteSignature)| {
        founding.acceptances.vote_of(*member).filter(|_| founding.acceptances().get(member) == Some(vote))
    };
    let new: Vec<_> = claimed.iter().filter(|acceptance| known(acceptance).is_none()).copied().collect();
    let mut verified: Vec<_> = claimed.iter().filter_map(known).collect();
    let ballot = founding.acceptances.ballot();
    if let Some(together) = ballot.verify_together(&founding.committee, &new) {
        verified.extend(together);
        return Ok(verified);
    }
    for (member, vote) in new {
        let invalid = |error| FoundingError::Acceptance { name: founding.record().name(member), error };
        verified.push(ballot.verify(&founding.committee, member, vote).map_err(invalid)?);
    }
    Ok(verified)
}

/// Verifies refusals of these foundings, by their digests. Leaves out the invalid ones and those of other foundings. Each costs the
/// verification of an Ed25519 signature, and a message may have a thousand.
pub fn verify_refusals(
    committees: &BTreeMap<CommitteeDigest, Arc<Committee>>,
    claimed: &[Refusal],
) -> Vec<VerifiedRefusal> {
    let verify = |refusal: &Refusal| refusal.verify(committees.get(&refusal.refused)?.record()).ok();
    claimed.iter().filter_map(verify).collect()
}

/// A genesis committee with verified proofs of possession, and verified acceptances of it.
#[derive(Debug, Clone)]
pub struct Founding {
    committee: Arc<Committee>,
    acceptances: Tally<Accept>,
}

impl Founding {
    /// A founding without acceptances.
    pub fn new(committee: Arc<Committee>) -> Self {
        let acceptances = Tally::new(committee.record(), Accept::GENESIS);
        Self { committee, acceptances }
    }

    /// Verifies a founding that was received. Costs about a millisecond for each member.
    ///
    /// # Errors
    /// See [`FoundingError`].
    pub fn open(message: FoundingMessage) -> Result<Self, FoundingError> {
        Self::open_known(message, None)
    }

    /// As [`open`](Self::open). The proofs of possession that `known` has, and its acceptances if it is this founding, are not verified
    /// again.
    ///
    /// # Errors
    /// See [`FoundingError`].
    pub fn open_known(message: FoundingMessage, known: Option<&Self>) -> Result<Self, FoundingError> {
        let FoundingMessage { genesis, possessions, acceptances } = message;
        let known = match known {
            Some(known) if *known.record() == genesis => known.clone(),
            known => {
                let committee = known.map(|known| &*known.committee);
                Self::new(Arc::new(Committee::proven_knowing(genesis, possessions, committee)?))
            }
        };
        let claimed: Vec<_> = acceptances.into_iter().collect();
        let mut founding = Self::new(known.committee.clone());
        for acceptance in verify_acceptances(&known, &claimed)? {
            founding.add(acceptance);
        }
        Ok(founding)
    }

    /// The founding as sent on links.
    pub fn message(&self) -> FoundingMessage {
        FoundingMessage {
            genesis: self.record().clone(),
            possessions: self.committee.possessions().to_vec(),
            acceptances: self.acceptances().clone(),
        }
    }

    /// The committee. It is valid only once the founding [is complete](Self::is_complete).
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// The committee's record, which is hashed.
    pub fn record(&self) -> &CommitteeRecord {
        self.committee.record()
    }

    /// The digest of the genesis committee, which identifies the founding.
    pub fn digest(&self) -> CommitteeDigest {
        self.record().digest()
    }

    /// Whether every member accepted.
    pub fn is_complete(&self) -> bool {
        self.acceptances.is_complete()
    }

    /// Whether this member accepted.
    pub fn has(&self, member: u16) -> bool {
        self.acceptances().contains_key(&member)
    }

    /// The acceptances, by member.
    pub fn acceptances(&self) -> &BTreeMap<u16, VoteSignature> {
        self.acceptances.votes()
    }

    /// The members whose acceptance is missing, ascending.
    pub fn missing(&self) -> impl Iterator<Item = u16> {
        (0..self.record().n()).filter(|member| !self.has(*member))
    }

    /// The evidence against the signer of a refusal of this founding, if it has also accepted the founding. Without it, the refusal ends the
    /// founding.
    pub(crate) fn evidence(&self, refusal: &VerifiedRefusal) -> Option<Evidence> {
        let acceptance = self.acceptances.vote_of(refusal.member())?;
        Some(Evidence { refusal: *refusal.refusal(), acceptance })
    }

    /// Adds an acceptance. `false` if it belongs to another founding or was known.
    pub fn add(&mut self, acceptance: VerifiedVote<Accept>) -> bool {
        self.acceptances.count(acceptance).is_ok()
    }

    /// Adds the acceptances that `other` knows of the same founding. `true` if there were new ones.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let before = self.acceptances().len();
        self.acceptances.merge(&other.acceptances);
        self.acceptances().len() > before
    }

    /// Accepts on behalf of the member with this node key, if the vote key is the member's. The caller makes the acceptance durable before it is sent.
    pub fn accept_as(&mut self, node_key: &NodeKey, key: &VoteSecretKey) {
        let record = self.record();
        let member = record.position(node_key);
        let signed = member.and_then(|member| self.acceptances.ballot().sign(record, member, key));
        signed.map(|acceptance| self.add(acceptance));
    }
}
