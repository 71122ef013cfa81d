//! The committees of a bundle: the checks `committee`, `identity`, `possession` and `chain`.

use std::sync::Arc;

use super::{CheckError, Invalid, Missing, Trust};
use crate::bls::Possession;
use crate::bundle::{BundleEpoch, BundleStart, ChainText};
use crate::certificate::{Certificate, CertificateError};
use crate::chain::{Checkpoint, CommitteeChain, EpochLink};
use crate::committee::{Committee, CommitteeError, CommitteeRecord};
use crate::digest::ClusterId;
use crate::limits::Limits;
use crate::statement::StatementId;

/// Committees that were verified, and their text in the bundle, proofs included. The same committees with other proofs have another text, and
/// must be verified again.
#[derive(Debug, Clone)]
pub(super) struct VerifiedCommittees {
    text: ChainText,
    /// The epoch of the committee that was pinned then: handoffs to earlier epochs were not verified. 0 if none was pinned.
    pinned: u64,
    chain: CommitteeChain,
}

impl VerifiedCommittees {
    pub(super) fn new(text: ChainText, pinned: u64, chain: CommitteeChain) -> Self {
        Self { text, pinned, chain }
    }

    /// What was verified of this text. `None` if its start was not.
    pub(super) fn known_of(&self, text: &ChainText, pinned: u64) -> Option<CommitteeChain> {
        if self.pinned > pinned || self.text.start != text.start {
            return None;
        }
        let known = self.text.epochs.iter().zip(&text.epochs).take_while(|(own, other)| own == other).count();
        self.chain.up_to(self.chain.first().record().epoch() + known as u64).ok()
    }
}

/// The committee by which a bundle begins, before the check `committee`.
pub(crate) enum UndecodedStart {
    /// With those after it that were verified before.
    Verified(CommitteeChain),
    Unverified(BundleStart),
}

fn handoff_error(error: CertificateError) -> CheckError {
    match error {
        CertificateError::UnknownVersion(version) => Missing::HandoffVersion(version).into(),
        CertificateError::AnotherKind { got, .. } => Missing::HandoffKind(got).into(),
        error => Invalid::Handoff(error).into(),
    }
}

/// The committees of a bundle. Only those at its start may have been verified before.
pub(crate) struct BundleCommittees {
    start: Start,
    links: Vec<EpochLink>,
}

enum Start {
    Verified(CommitteeChain),
    Unverified { record: Box<CommitteeRecord>, possessions: Vec<Possession>, handed_by: Option<StatementId> },
}

impl BundleCommittees {
    /// The check `committee`.
    pub(crate) fn decode(start: UndecodedStart, epochs: &[BundleEpoch], limits: &Limits) -> Result<Self, CheckError> {
        let mut known = 0;
        let start = match start {
            UndecodedStart::Verified(chain) => {
                known = chain.later_epochs();
                Start::Verified(chain)
            }
            UndecodedStart::Unverified(BundleStart { committee, possessions, handed_by }) => {
                let record = match handed_by {
                    None => CommitteeRecord::decode(&committee, limits)?,
                    Some(_) => CommitteeRecord::decode_later(&committee, limits)?,
                };
                let (expected, got) = (record.members().len(), possessions.len());
                if expected != got {
                    return Err(CommitteeError::PossessionCount { expected, got }.into());
                }
                Start::Unverified { record: Box::new(record), possessions, handed_by }
            }
        };
        let mut links = Vec::new();
        for BundleEpoch { handoff, committee, seal } in epochs.iter().skip(known) {
            let handoff = Certificate::decode(handoff, limits).map_err(handoff_error)?;
            links.push(EpochLink {
                handoff,
                committee: CommitteeRecord::decode_later(committee, limits)?,
                seal: *seal,
            });
        }
        Ok(Self { start, links })
    }

    /// As a bundle states them.
    pub(crate) fn stated(text: ChainText, limits: &Limits) -> Result<Self, CheckError> {
        Self::decode(UndecodedStart::Unverified(text.start.decode()?), &text.epochs, limits)
    }

    pub(crate) fn first(&self) -> &CommitteeRecord {
        match &self.start {
            Start::Verified(chain) => chain.first().record(),
            Start::Unverified { record, .. } => record,
        }
    }

    /// The committee that evidence of this epoch is about.
    #[cfg(feature = "nodes")]
    pub(super) fn of_evidence(&self, epoch: u64) -> Result<&CommitteeRecord, Missing> {
        let (first, last) = (self.first().epoch(), self.last());
        self.record(epoch).ok_or(Missing::EvidenceEpoch { epoch, first, last })
    }

    /// Whether there is a committee besides a genesis.
    #[cfg(feature = "nodes")]
    pub(super) fn has_later(&self) -> bool {
        self.last() > 0
    }

    /// The last epoch that needs no link.
    fn base(&self) -> u64 {
        match &self.start {
            Start::Verified(chain) => chain.current().record().epoch(),
            Start::Unverified { record, .. } => record.epoch(),
        }
    }

    /// The last epoch, if each entry is of the epoch after the one before.
    fn last(&self) -> u64 {
        self.base().saturating_add(self.links.len() as u64)
    }

    /// The committees that were not verified before, each with the closing of its epoch.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = (&CommitteeRecord, Option<u64>)> {
        let records = std::iter::once(self.first()).chain(self.links.iter().map(|link| &link.committee));
        records.zip(self.links.iter().map(|link| Some(link.handoff.claim.closing)).chain([None]))
    }

    /// The committee at the place of an epoch. That it is of this epoch must still be checked.
    pub(crate) fn record(&self, epoch: u64) -> Option<&CommitteeRecord> {
        match (&self.start, epoch.checked_sub(self.base() + 1)) {
            (_, Some(place)) => Some(&self.links.get(usize::try_from(place).ok()?)?.committee),
            (Start::Verified(chain), None) => chain.record(epoch),
            (Start::Unverified { record, .. }, None) => (epoch == record.epoch()).then_some(&**record),
        }
    }

    /// The committee of which a certificate says that it is of this epoch.
    pub(super) fn of_certificate(&self, epoch: u64) -> Result<&CommitteeRecord, Missing> {
        let (first, last) = (self.first().epoch(), self.last());
        self.record(epoch).ok_or(Missing::Epoch { epoch, first, last })
    }

    /// The check `identity`.
    pub(super) fn check_identity(&self, trusted: Option<ClusterId>) -> Result<(), CheckError> {
        let expected = trusted.ok_or(Missing::Identity)?;
        let got = self.first().cluster();
        if got == expected { Ok(()) } else { Err(Invalid::AnotherCluster { expected, got }.into()) }
    }

    /// Checks that the pinned committee is among these; without one, that the first is a genesis.
    fn check_pinned(&self, pinned: Option<Checkpoint>) -> Result<(), CheckError> {
        let (first, last) = (self.first().epoch(), self.last());
        let Some(Checkpoint { epoch, committee: expected }) = pinned else {
            return if first == 0 { Ok(()) } else { Err(Missing::Checkpoint { epoch: first }.into()) };
        };
        let got = self.record(epoch).ok_or(Missing::PinnedEpoch { epoch, first, last })?.digest();
        if got == expected { Ok(()) } else { Err(Invalid::AnotherCheckpoint { epoch, expected, got }.into()) }
    }

    /// Whether there is anything that was not verified before.
    pub(super) fn is_new(&self) -> bool {
        !self.links.is_empty() || matches!(self.start, Start::Unverified { .. })
    }

    /// The checks `possession` and `chain`.
    pub(super) fn verify(self, trust: &Trust) -> Result<CommitteeChain, CheckError> {
        let is_pinned = self.check_pinned(trust.checkpoint);
        let chain = match self.start {
            Start::Verified(chain) => chain,
            Start::Unverified { record, possessions, handed_by } => {
                CommitteeChain::starting_with(Arc::new(Committee::proven(*record, possessions)?), handed_by)
            }
        };
        is_pinned?;
        Ok(chain.extended_below(trust.pinned(), self.links).map_err(Invalid::Chain)?)
    }
}
