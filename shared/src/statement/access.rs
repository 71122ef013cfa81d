//! Kind 0x8005, *access*: the operator decides a change of the rules of access. One key signs it, and it is never certified.

use super::{ACCESS, header};
use crate::digest::{AccessChangeId, ClusterId, CommitteeDigest};

const SIZE: u32 = 32;

/// What the operator signs. `epoch` and `committee` are those of the current committee.
pub(crate) fn access_statement(
    epoch: u64,
    cluster: &ClusterId,
    committee: &CommitteeDigest,
    change: &AccessChangeId,
) -> Vec<u8> {
    let mut out = header(ACCESS, SIZE, epoch, cluster, committee);
    out.extend_from_slice(&change.0);
    out
}
