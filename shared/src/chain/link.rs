//! Verifies that committees follow from those before them.

use std::sync::Arc;

use super::{ChainError, CommitteeChain, Epoch, MadeHandoff};
use crate::bls::{self, AggregateClaim, BlsError};
use crate::certificate::Certificate;
use crate::committee::{Committee, CommitteeRecord, Lineage};
use crate::digest::History;
use crate::statement::{Handoff, StatementId};
use crate::verify::{Invalid, check_signers};

/// Number of handoffs whose signatures are verified together. The keys of so many committees are looked at before anybody has vouched for
/// them: with more, whoever sends a chain could make a verifier check the keys of thousands of members that it has invented.
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
            let handoff = chain.check_handoff(&link)?;
            let error = |error| handoff_error(lineage.epoch, Invalid::Signature(error));
            let absent = link.handoff.signers.absent().map(usize::from);
            let claim = previous.claim(absent, &link.handoff.signature).map_err(error)?;
            claims.push((lineage.epoch, claim, handoff.statement));
            let invalid = |(member, error)| ChainError::VoteKey { epoch: lineage.epoch, member, error };
            let committee = Arc::new(Committee::handed_over(link.committee).map_err(invalid)?);
            chain.push(MadeHandoff { claim: link.handoff.claim, identity: handoff.identity }, committee);
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

    /// Checks a handoff from the current committee, except for its signature.
    fn check_handoff(&self, link: &EpochLink) -> Result<UnverifiedHandoff, ChainError> {
        let epoch = link.committee.epoch();
        let (expected, got) = (link.committee.digest(), link.handoff.claim.next);
        if got != expected {
            return Err(ChainError::Next { epoch, expected, got });
        }
        let (before, got) = (self.last_handoff().map_or(0, |before| before.claim.height), link.handoff.claim.height);
        if got <= before {
            return Err(ChainError::Height { epoch, before, got });
        }
        let statement = check_signers(&link.handoff, self.current().record());
        let statement = statement.map_err(|error| handoff_error(epoch, error))?;
        Ok(UnverifiedHandoff { identity: statement.id(), statement: statement.encode() })
    }

    /// The handoff to the current committee.
    fn last_handoff(&self) -> Option<&MadeHandoff> {
        self.later.last().map(|epoch| &epoch.handoff)
    }

    fn push(&mut self, handoff: MadeHandoff, committee: Arc<Committee>) {
        Arc::make_mut(&mut self.later).push(Epoch { handoff, committee });
    }
}

/// A handoff whose signature is not verified yet.
struct UnverifiedHandoff {
    identity: StatementId,
    statement: Vec<u8>,
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
