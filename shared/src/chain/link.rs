//! Verifies that committees follow from those before them.

use std::sync::Arc;

use super::{ChainError, CommitteeChain, Epoch, EpochCommittee};
use crate::bls::{self, AggregateClaim, BlsError};
use crate::certificate::Certificate;
use crate::committee::{Committee, CommitteeRecord, Lineage};
use crate::digest::History;
use crate::statement::{Handoff, Statement, StatementId};
use crate::verify::{Invalid, check_signers};

/// Maximum number of handoffs whose signatures are verified together.
const TOGETHER: usize = 64;
/// Maximum number of members whose keys are checked before a signature vouches for them, besides those of one committee. Anyone can invent
/// thousands.
const UNVOUCHED: usize = 256;

/// What a chain needs to go on by one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochLink {
    /// The certificate of the previous committee's handoff.
    pub handoff: Certificate<Handoff>,
    /// The committee that it hands over to.
    pub committee: CommitteeRecord,
    /// The identity of the seal that the committee's history names: of the epoch before the previous one. `None` in epoch 1.
    pub seal: Option<StatementId>,
}

impl CommitteeChain {
    /// The chain that these later epochs make of this one. Their order is that of the epochs. Costs a pairing for each handoff, and a final
    /// exponentiation for sixteen.
    ///
    /// # Errors
    /// An epoch that does not follow.
    pub fn extended(&self, links: impl IntoIterator<Item = EpochLink>) -> Result<Self, ChainError> {
        self.extended_below(0, links)
    }

    /// As [`extended`](Self::extended), for a verifier that trusts the committee of epoch `pinned` by its digest, and has compared it. That
    /// committee fixes those before it and, by its history, the handoffs to them: their signatures and keys are not looked at.
    pub(crate) fn extended_below(
        &self,
        pinned: u64,
        links: impl IntoIterator<Item = EpochLink>,
    ) -> Result<Self, ChainError> {
        let mut chain = self.clone();
        let (mut claims, mut unvouched) = (Vec::new(), 0);
        for link in links {
            if claims.len() == TOGETHER || unvouched > UNVOUCHED {
                verify_all(&claims)?;
                claims.clear();
                unvouched = 0;
            }
            let (expected, got) = (chain.last_epoch() + 1, link.committee.epoch());
            let lineage = link.committee.lineage().filter(|lineage| lineage.epoch == expected);
            let lineage = *lineage.ok_or(ChainError::Epoch { expected, got })?;
            chain.check_lineage(&lineage, link.seal)?;
            chain.check_policy(&link.committee)?;
            let statement = chain.check_handoff(&link)?;
            let EpochLink { handoff, committee, seal } = link;
            let committee = Arc::new(committee);
            let committee = if lineage.epoch < pinned {
                EpochCommittee::Named(committee)
            } else {
                let error = |error| handoff_error(lineage.epoch, Invalid::Signature(error));
                let absent = handoff.signers.absent().map(usize::from);
                let claim = chain.last_committee()?.claim(absent, &handoff.signature).map_err(error)?;
                claims.push((lineage.epoch, claim, statement.encode()));
                unvouched += committee.members().len();
                EpochCommittee::Verified(with_keys(committee)?)
            };
            let epoch = Epoch { handoff, identity: statement.id(), seal, committee };
            Arc::make_mut(&mut chain.later).push(Arc::new(epoch));
        }
        verify_all(&claims)?;
        chain.current = chain.last_committee()?;
        Ok(chain)
    }

    /// This chain up to an epoch, without those after it.
    ///
    /// # Errors
    /// A vote key of that epoch's committee is not a valid point, and was not looked at before.
    pub(crate) fn up_to(&self, epoch: u64) -> Result<Self, ChainError> {
        if epoch >= self.last_epoch() {
            return Ok(self.clone());
        }
        let count = self.place(epoch).map_or(0, |place| place + 1);
        let later: Vec<_> = self.later.iter().take(count).cloned().collect();
        let mut chain = Self { later: Arc::new(later), ..self.clone() };
        chain.current = chain.last_committee()?;
        Ok(chain)
    }

    /// The number of epochs after the first.
    pub(crate) fn later_epochs(&self) -> usize {
        self.later.len()
    }

    /// The committee of an epoch, with its keys. `None` if the chain does not have the epoch.
    ///
    /// # Errors
    /// A vote key is not a valid point, and was not looked at before.
    pub(crate) fn with_keys(&self, epoch: u64) -> Option<Result<Arc<Committee>, ChainError>> {
        if epoch == self.first.record().epoch() {
            return Some(Ok(self.first.clone()));
        }
        Some(self.later.get(self.place(epoch)?)?.committee.with_keys())
    }

    fn last_epoch(&self) -> u64 {
        self.last_record().epoch()
    }

    fn last_record(&self) -> &CommitteeRecord {
        self.later.last().map_or(self.first.record(), |last| last.committee.record())
    }

    fn last_committee(&self) -> Result<Arc<Committee>, ChainError> {
        self.later.last().map_or_else(|| Ok(self.first.clone()), |last| last.committee.with_keys())
    }

    /// Checks what a committee says of those before it. It is of the next epoch.
    fn check_lineage(&self, lineage: &Lineage, seal: Option<StatementId>) -> Result<(), ChainError> {
        let Lineage { epoch, cluster, previous, history } = *lineage;
        let (expected, got) = (self.cluster(), cluster);
        if got != expected {
            return Err(ChainError::Cluster { epoch, expected, got });
        }
        let last = self.last_record();
        let (expected, got) = (last.digest(), previous);
        if got != expected {
            return Err(ChainError::Previous { epoch, expected, got });
        }
        let handed_by = self.later.last().map(|last| last.identity).or(self.handed_by);
        let expected = match (last.lineage(), handed_by, seal) {
            (None, _, None) => History::NONE,
            (Some(before), Some(handoff), Some(seal)) => before.history.next(&handoff, &seal),
            _ => return Err(ChainError::Seal { epoch }),
        };
        match history == expected {
            true => Ok(()),
            false => Err(ChainError::History { epoch, expected, got: history }),
        }
    }

    /// Checks that policy and operator are those of the genesis.
    fn check_policy(&self, committee: &CommitteeRecord) -> Result<(), ChainError> {
        let (expected, got) = (self.last_record().policy(), committee.policy());
        let epoch = committee.epoch();
        if got == expected { Ok(()) } else { Err(ChainError::Policy { epoch, expected, got }) }
    }

    /// Checks a handoff from the current committee, except for its signature. Returns what the committee must have signed.
    fn check_handoff(&self, link: &EpochLink) -> Result<Statement<Handoff>, ChainError> {
        let epoch = link.committee.epoch();
        let (expected, got) = (link.committee.digest(), link.handoff.claim.next);
        if got != expected {
            return Err(ChainError::Next { epoch, expected, got });
        }
        // The handoff to the chain's first committee is not known.
        let (height, closing) = self.later.last().map_or((0, 0), |last| {
            let Handoff { height, closing, .. } = last.handoff.claim;
            (height, closing)
        });
        let Handoff { height: got, closing: got_closing, .. } = link.handoff.claim;
        if got <= height {
            return Err(ChainError::Height { epoch, before: height, got });
        }
        if got_closing < closing {
            return Err(ChainError::Closing { epoch, before: closing, got: got_closing });
        }
        check_signers(&link.handoff, self.last_record()).map_err(|error| handoff_error(epoch, error))
    }
}

impl EpochCommittee {
    fn with_keys(&self) -> Result<Arc<Committee>, ChainError> {
        match self {
            Self::Verified(committee) => Ok(committee.clone()),
            Self::Named(record) => with_keys(record.clone()),
        }
    }
}

/// A later committee with its keys.
fn with_keys(record: Arc<CommitteeRecord>) -> Result<Arc<Committee>, ChainError> {
    let epoch = record.epoch();
    let error = |(member, error)| ChainError::VoteKey { epoch, member, error };
    Ok(Arc::new(Committee::handed_over(record).map_err(error)?))
}

/// Verifies the signatures of handoffs to these epochs.
fn verify_all(claims: &[(u64, AggregateClaim, Vec<u8>)]) -> Result<(), ChainError> {
    let signed: Vec<_> = claims.iter().map(|(_, claim, statement)| (claim, &statement[..])).collect();
    match bls::first_mismatch(&signed).and_then(|position| claims.get(position)) {
        None => Ok(()),
        Some((epoch, ..)) => Err(handoff_error(*epoch, Invalid::Signature(BlsError::Mismatch))),
    }
}

fn handoff_error(epoch: u64, error: Invalid) -> ChainError {
    ChainError::Handoff { epoch, error: Box::new(error) }
}
