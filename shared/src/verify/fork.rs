//! The checks of a fork: did one committee of the trusted cluster sign two handoffs?

use super::committees::BundleCommittees;
use super::signed::{check_aggregate, check_signers};
use super::{CheckError, Invalid, Trust};
use crate::certificate::Certificate;
use crate::committee::CommitteeRecord;
use crate::statement::Handoff;

/// Two handoffs that were verified: a quorum of one committee signed each. A member with its memory intact signs at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenFork {
    handoffs: [Certificate<Handoff>; 2],
    committee: CommitteeRecord,
}

impl ProvenFork {
    /// The checks `identity` to `conflict`.
    pub(super) fn check(
        handoffs: [Certificate<Handoff>; 2],
        committees: BundleCommittees,
        trust: &Trust,
    ) -> Result<Self, CheckError> {
        committees.check_identity(trust.cluster)?;
        let epoch = handoffs[0].epoch;
        let committee = committees.of_certificate(epoch)?.clone();
        let [first, second] = handoffs.each_ref().map(|handoff| check_signers(handoff, &committee));
        let statements = [first?, second?];
        let chain = committees.verify(trust)?;
        // The chain has every committee of the bundle.
        let keys = chain.with_keys(epoch).unwrap_or_else(|| Ok(chain.current().clone())).map_err(Invalid::Chain)?;
        for (handoff, statement) in handoffs.iter().zip(&statements) {
            check_aggregate(handoff, &keys, &statement.encode())?;
        }
        let [first, second] = statements;
        if first == second {
            return Err(Invalid::OneHandoff { got: first.id() }.into());
        }
        Ok(Self { handoffs, committee })
    }

    /// The two certificates.
    pub fn handoffs(&self) -> &[Certificate<Handoff>; 2] {
        &self.handoffs
    }

    /// The committee that signed both.
    pub fn committee(&self) -> &CommitteeRecord {
        &self.committee
    }
}
