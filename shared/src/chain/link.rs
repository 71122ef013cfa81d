//! Verifies that committees follow from those before them.

use std::sync::Arc;

use super::{ChainError, CommitteeChain, Epoch, MadeHandoff};
use crate::bls::{self, AggregateClaim, BlsError};
use crate::certificate::Certificate;
use crate::committee::{Committee, CommitteeRecord, Lineage};
use crate::digest::History;
use crate::statement::{Handoff, Statement, StatementId};
use crate::verify::{Invalid, check_signers};

/// Number of handoffs whose signatures are verified together. The keys of that many committees are checked before a signature vouches for
/// them. With a larger number, a sender could make a verifier check the keys of many thousands of invented members.
const TOGETHER: usize = 16;

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
        let mut chain = self.clone();
        let mut claims = Vec::new();
        for link in links {
            if claims.len() == TOGETHER {
                verify_all(&claims)?;
                claims.clear();
            }
            let previous = chain.current().clone();
            let (expected, got) = (previous.record().epoch() + 1, link.committee.epoch());
            let lineage = link.committee.lineage().filter(|lineage| lineage.epoch == expected);
            let lineage = *lineage.ok_or(ChainError::Epoch { expected, got })?;
            chain.check_lineage(&lineage, link.seal)?;
            let statement = chain.check_handoff(&link)?;
            let error = |error| handoff_error(lineage.epoch, Invalid::Signature(error));
            let absent = link.handoff.signers.absent().map(usize::from);
            let claim = previous.claim(absent, &link.handoff.signature).map_err(error)?;
            claims.push((lineage.epoch, claim, statement.encode()));
            let invalid = |(member, error)| ChainError::VoteKey { epoch: lineage.epoch, member, error };
            let committee = Arc::new(Committee::handed_over(link.committee).map_err(invalid)?);
            let handoff = MadeHandoff { claim: link.handoff.claim, identity: statement.id() };
            Arc::make_mut(&mut chain.later).push(Epoch { handoff, committee });
        }
        verify_all(&claims)?;
        Ok(chain)
    }

    /// Checks what a committee says of those before it. It is of the next epoch.
    fn check_lineage(&self, lineage: &Lineage, seal: Option<StatementId>) -> Result<(), ChainError> {
        let Lineage { epoch, cluster, previous, history } = *lineage;
        let (expected, got) = (self.cluster(), cluster);
        if got != expected {
            return Err(ChainError::Cluster { epoch, expected, got });
        }
        let (expected, got) = (self.current().record().digest(), previous);
        if got != expected {
            return Err(ChainError::Previous { epoch, expected, got });
        }
        let before = self.current().record().lineage();
        let expected = match (before, self.last_handoff(), seal) {
            (None, _, None) => History::NONE,
            (Some(before), Some(handoff), Some(seal)) => before.history.next(&handoff.identity, &seal),
            _ => return Err(ChainError::Seal { epoch }),
        };
        match history == expected {
            true => Ok(()),
            false => Err(ChainError::History { epoch, expected, got: history }),
        }
    }

    /// Checks a handoff from the current committee, except for its signature. Returns what the committee must have signed.
    fn check_handoff(&self, link: &EpochLink) -> Result<Statement<Handoff>, ChainError> {
        let epoch = link.committee.epoch();
        let (expected, got) = (link.committee.digest(), link.handoff.claim.next);
        if got != expected {
            return Err(ChainError::Next { epoch, expected, got });
        }
        let (before, got) = (self.last_handoff().map_or(0, |before| before.claim.height), link.handoff.claim.height);
        if got <= before {
            return Err(ChainError::Height { epoch, before, got });
        }
        check_signers(&link.handoff, self.current().record()).map_err(|error| handoff_error(epoch, error))
    }

    /// The handoff to the current committee.
    fn last_handoff(&self) -> Option<&MadeHandoff> {
        self.later.last().map(|epoch| &epoch.handoff)
    }
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
