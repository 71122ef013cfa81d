//! How a cluster begins: a genesis committee counts only with the acceptance of every one of its members.
//!
//! A replica accepts at most one founding at a time, durably, and gives it up only when another member has refused it. So
//! two foundings that share a member never both gather all acceptances. Where foundings overlap, whoever accepted one signs a
//! refusal of every founding with a greater digest, and the least digest wins. The specification's section *Founding* has the
//! rules; [`ReplicaFounding`] and [`ServerFounding`] decide by them, without IO.

mod record;
mod refusal;
mod replica;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::bls::{Possession, VoteSecretKey, VoteSignature};
use crate::committee::{Committee, CommitteeRecord, GenesisError};
use crate::digest::CommitteeDigest;
use crate::link::NodeKey;
use crate::statement::{Accept, Statement};
use crate::tally::{Ballot, Tally, VerifiedVote, VoteError};

pub use record::{RecordError, ReplicaRecord};
pub use refusal::{Evidence, Refusal, RefusalError};
pub use replica::{Note, Outcome, ReplicaFounding};
pub use server::{Candidate, Progress, Sends, ServerFounding, ServerNote, Told};

/// A genesis committee and some of its acceptances as they travel, nothing checked beyond the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundingMessage {
    /// The committee.
    pub genesis: CommitteeRecord,
    /// One proof for each member, in member order.
    pub possessions: Vec<Possession>,
    /// Acceptances by member.
    pub acceptances: BTreeMap<u16, VoteSignature>,
}

/// Why a founding or an acceptance of it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FoundingError {
    /// The committee is not well formed, or a proof of possession is bad.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// An acceptance does not count.
    #[error("acceptance by {name}: {error}")]
    Acceptance {
        /// The member's name.
        name: String,
        /// What is wrong.
        error: VoteError,
    },
}

/// What the members of a genesis committee sign.
pub fn accept_statement(genesis: &CommitteeRecord) -> Statement<Accept> {
    Statement::new(genesis, Accept::GENESIS)
}

/// Verifies acceptances of one founding: together, and one by one only where that fails.
///
/// # Errors
/// The first that is bad. The others are not looked at: whoever sends a thousand could have each of them cost a pairing.
pub fn verify_acceptances(
    committee: &Committee,
    claimed: &[(u16, VoteSignature)],
) -> Result<Vec<VerifiedVote<Accept>>, FoundingError> {
    let record = committee.record();
    let ballot = Ballot::new(accept_statement(record));
    if let Some(verified) = ballot.verify_together(committee, claimed) {
        return Ok(verified);
    }
    let verify = |(member, vote): &(u16, VoteSignature)| {
        let refused = |error| FoundingError::Acceptance { name: record.name(*member), error };
        ballot.verify(committee, *member, *vote).map_err(refused)
    };
    claimed.iter().map(verify).collect()
}

/// A genesis committee whose keys are proven, with acceptances that were verified.
#[derive(Debug, Clone)]
pub struct Founding {
    committee: Arc<Committee>,
    acceptances: Tally<Accept>,
}

impl Founding {
    /// A founding that nobody accepted yet.
    pub fn new(committee: Arc<Committee>) -> Self {
        let acceptances = Tally::new(committee.record(), Accept::GENESIS);
        Self { committee, acceptances }
    }

    /// Checks a founding that somebody shows. Costs about a millisecond for each member.
    ///
    /// # Errors
    /// See [`FoundingError`].
    pub fn open(message: FoundingMessage) -> Result<Self, FoundingError> {
        Self::open_known(message, None)
    }

    /// The same for a committee that may be known: its proofs were checked then, and only the acceptances are checked now.
    ///
    /// # Errors
    /// See [`FoundingError`].
    pub fn open_known(message: FoundingMessage, known: Option<Arc<Committee>>) -> Result<Self, FoundingError> {
        let FoundingMessage { genesis, possessions, acceptances } = message;
        let committee = match known.filter(|known| *known.record() == genesis) {
            Some(known) => known,
            None => Arc::new(Committee::genesis(genesis, possessions)?),
        };
        let claimed: Vec<_> = acceptances.iter().map(|(member, signature)| (*member, *signature)).collect();
        let mut founding = Self::new(committee);
        for acceptance in verify_acceptances(&founding.committee, &claimed)? {
            founding.add(acceptance);
        }
        Ok(founding)
    }

    /// As it travels.
    pub fn message(&self) -> FoundingMessage {
        FoundingMessage {
            genesis: self.record().clone(),
            possessions: self.committee.possessions().to_vec(),
            acceptances: self.acceptances().clone(),
        }
    }

    /// The committee; it counts only once the founding [is complete](Self::is_complete).
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// The committee as hashed.
    pub fn record(&self) -> &CommitteeRecord {
        self.committee.record()
    }

    /// Names the founding: the digest of its genesis committee.
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

    /// What a refusal means to this founding: it is over, or the member that signed accepted it as well. `None`: the refusal does not hold.
    fn judge(&self, refusal: &Refusal) -> Option<Result<(), Evidence>> {
        let member = refusal.check(self.record()).ok()?;
        Some(match self.acceptances.vote_of(member) {
            None => Ok(()),
            Some(acceptance) => Err(Evidence { refusal: *refusal, acceptance }),
        })
    }

    /// Adds an acceptance; `false` when it is of another founding or was there.
    pub fn add(&mut self, acceptance: VerifiedVote<Accept>) -> bool {
        self.acceptances.count(acceptance).is_ok()
    }

    /// Adds the acceptances of the same founding; `true` when there were new ones.
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.acceptances().len();
        self.acceptances.merge(&other.acceptances);
        self.acceptances().len() > before
    }

    /// Signs for the member with this node key, if the vote key is its own. The caller makes that durable before anybody hears of it.
    pub fn accept_as(&mut self, node_key: &NodeKey, key: &VoteSecretKey) {
        let record = self.record();
        let member = record.position(node_key);
        let signed = member.and_then(|member| self.acceptances.ballot().sign(record, member, key));
        signed.map(|acceptance| self.add(acceptance));
    }
}
