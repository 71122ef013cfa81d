//! The encoding of a genesis committee with its proofs of possession. It is the same in every message that has one.

use super::{CommitteeError, CommitteeRecord, HEADER_SIZE, MEMBER_SIZE};
use crate::bls::Possession;
use crate::codec::{Reader, in_range};
use crate::limits::{Limits, MAX_MEMBERS};

/// Size of a committee of [`MAX_MEMBERS`].
const MAX_SIZE: usize = HEADER_SIZE + MEMBER_SIZE * MAX_MEMBERS as usize;

/// Reads a committee, its length first, and a proof of possession for each member.
pub(crate) fn read_genesis(reader: &mut Reader<'_>) -> Result<(CommitteeRecord, Vec<Possession>), CommitteeError> {
    let size = reader.u32("length of the committee")?;
    in_range("length of the committee", size.into(), 1, MAX_SIZE as u64)?;
    // Cannot fail: the line above bounds the size.
    let size = usize::try_from(size).unwrap_or(MAX_SIZE);
    let genesis = CommitteeRecord::decode(reader.take("committee", size)?, &Limits::default())?;
    let possessions =
        (0..genesis.n()).map(|_| reader.array("proof of possession").map(Possession)).collect::<Result<_, _>>()?;
    Ok((genesis, possessions))
}
