//! Where a certificate stands among the epochs of its cluster: the checks `closing` and `seal`.

use serde::Serialize;

use super::{CheckError, Invalid, Missing, Trust};
use crate::chain::CommitteeChain;
use crate::committee::CommitteeRecord;
use crate::seal::{SealPath, SealPathError};
use crate::statement::{Body, Handoff, LogHead, Statement, StatementId, Stored, StoredClaim};

/// A kind of statement that must be made before its epoch ends.
pub(super) trait OfEpoch: Body {
    /// The check `closing`, against the handoff by which the epoch ended. Returns whether the handoff fixes the claim.
    fn check_end(claim: &Self::Claim, handoff: &Handoff) -> Result<bool, Invalid>;
}

impl OfEpoch for Stored {
    fn check_end(claim: &StoredClaim, handoff: &Handoff) -> Result<bool, Invalid> {
        let (expected, got) = (handoff.closing, claim.issued_at);
        // Only the seal has the statements.
        if got > expected { Err(Invalid::AfterClosing { expected, got }) } else { Ok(false) }
    }
}

impl OfEpoch for LogHead {
    fn check_end(claim: &LogHead, handoff: &Handoff) -> Result<bool, Invalid> {
        let (expected, got) = (handoff.height, claim.height);
        if got != expected {
            return if got > expected { Err(Invalid::AfterLastBlock { expected, got }) } else { Ok(false) };
        }
        let (expected, got) = (handoff.log_root, claim.log_root);
        if got == expected { Ok(true) } else { Err(Invalid::AnotherLastRoot { expected, got }) }
    }
}

/// Whether a certified statement is known to be in the seal of its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealState {
    /// The bundle shows no end of the epoch.
    Open,
    /// The epoch ended, and the bundle has no proof that the statement is in its seal.
    Unproved,
    /// The statement is in the seal that the bundle's committees name, but the verifier pins none of them that is late enough. An
    /// attacker with old keys could have made these committees.
    Unpinned,
    /// The statement is in the seal, which is fixed by a committee that the verifier pins.
    Sealed,
}

impl SealState {
    /// Of what the history of the committee two epochs later names, directly or by a proof.
    fn of_proved(epoch: u64, trusted_epoch: u64) -> Self {
        if trusted_epoch >= epoch.saturating_add(2) { Self::Sealed } else { Self::Unpinned }
    }

    /// The state in words, as a clause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Open => "its epoch has not ended, as far as the bundle shows",
            Self::Unproved => "the bundle has no proof that it is in the seal of its epoch",
            Self::Unpinned => {
                "it is in a seal, but only a committee that you pin, two epochs later or more, makes that count"
            }
            Self::Sealed => "a committee that you pinned names the seal that it is in",
        }
    }
}

/// Where a certificate stands among the epochs of its cluster. It was found to be genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The epoch of the committee that signed.
    pub epoch: u64,
    /// The epoch of the committee that the verifier trusts: 0 for the genesis, or that of the checkpoint.
    pub trusted_epoch: u64,
    /// The number of handoffs between the two.
    pub handoffs: u64,
    /// The last epoch in the bundle.
    pub last_epoch: u64,
    /// The latest `issued_at` of its epoch, seconds since 1970. `None` if the bundle shows no end of the epoch.
    pub closing: Option<u64>,
    /// Whether it is sealed. A log head is if it is the last one of its epoch, which the handoff names.
    pub seal: SealState,
}

impl Standing {
    /// Of a certificate of this epoch, before the proof of a seal is looked at. `is_fixed`: by the handoff from its epoch.
    pub(super) fn new(epoch: u64, chain: &CommitteeChain, trust: &Trust, is_fixed: bool) -> Self {
        let trusted_epoch = trust.pinned();
        let closing = chain.closing(epoch);
        Self {
            epoch,
            trusted_epoch,
            handoffs: epoch.abs_diff(trusted_epoch),
            last_epoch: chain.current().record().epoch(),
            closing,
            seal: match closing {
                None => SealState::Open,
                Some(_) if is_fixed => SealState::of_proved(epoch, trusted_epoch),
                Some(_) => SealState::Unproved,
            },
        }
    }
}

/// The check `seal` of a bundle that has a proof. `identity` is the statement's, `sealed` the committee that signed it.
pub(super) fn check_seal(
    proof: &[u8],
    identity: &StatementId,
    sealed: &CommitteeRecord,
    chain: &CommitteeChain,
    standing: &Standing,
) -> Result<SealState, CheckError> {
    let path = SealPath::decode(proof).map_err(|error| match error {
        SealPathError::UnknownVersion(version) => CheckError::from(Missing::SealPathVersion(version)),
        SealPathError::Decode(error) => Invalid::SealPath(error).into(),
    })?;
    let epoch = standing.epoch;
    let names_it = epoch.saturating_add(2);
    let (expected, sealing) =
        chain.seal_of(epoch).zip(chain.record(epoch + 1)).ok_or(Missing::SealingEpoch { needed: names_it })?;
    // Every decoded path has a seal.
    let seal = path.seal(sealed, identity).map(|seal| Statement::new(sealing, seal).id());
    if seal != Some(expected) {
        let got = seal.unwrap_or(StatementId([0; 32]));
        return Err(Invalid::AnotherSeal { expected, got }.into());
    }
    Ok(SealState::of_proved(epoch, standing.trusted_epoch))
}
