//! Kind 0x8004, *operator*: the operator agrees to a change of members. One key signs it, and it is never certified.

use super::{OPERATOR, header};
use crate::digest::{ChangeId, ClusterId, CommitteeDigest};

const SIZE: u32 = 32;

/// What the operator signs. `epoch` and `committee` are those of the committee that changes.
pub(crate) fn operator_statement(
    epoch: u64,
    cluster: &ClusterId,
    committee: &CommitteeDigest,
    change: &ChangeId,
) -> Vec<u8> {
    let mut out = header(OPERATOR, SIZE, epoch, cluster, committee);
    out.extend_from_slice(&change.0);
    out
}
