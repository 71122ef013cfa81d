//! Kind 3, *accept*: a member agrees to belong to a committee.

use super::{Body, ClaimError};
use crate::codec::Reader;
use crate::limits::Limits;
use crate::quorum;

/// The signer is a member of the committee in the header, and of no other founding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// The identity of the accepted proposal; zeros for a genesis, which has no proposal.
    pub proposal: [u8; 32],
}

impl Accept {
    /// The body that the members of a genesis sign.
    pub const GENESIS: Self = Self { proposal: [0; 32] };
}

impl Body for Accept {
    const KIND: u16 = 3;
    const NAME: &'static str = "accept";
    const SIZE: u32 = 32;

    type Claim = Self;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.proposal);
    }

    /// All members of a genesis: there is no earlier committee that could decide for a member. A quorum of a later committee.
    fn threshold(&self, n: u16) -> u16 {
        if *self == Self::GENESIS { n } else { quorum::quorum(n) }
    }

    fn of_claim(claim: &Self) -> Option<Self> {
        Some(*claim)
    }

    fn write_claim(claim: &Self, out: &mut Vec<u8>) {
        claim.write(out);
    }

    fn read_claim(reader: &mut Reader<'_>, _: &Limits) -> Result<Self, ClaimError> {
        Ok(Self { proposal: reader.array("proposal")? })
    }
}
