//! Kind 0x8003, *key offer*: a replica offers a vote key for the next committee. One key signs it, and it is never certified.

use super::{KEY_OFFER, header};
use crate::bls::VoteKey;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::link::NodeKey;

const SIZE: u32 = 80;

/// What the offered vote key signs. `epoch` and `committee` are those of the committee before.
pub(crate) fn key_offer_statement(
    epoch: u64,
    cluster: &ClusterId,
    committee: &CommitteeDigest,
    node_key: &NodeKey,
    vote_key: &VoteKey,
) -> Vec<u8> {
    let mut out = header(KEY_OFFER, SIZE, epoch, cluster, committee);
    out.extend_from_slice(&node_key.0);
    out.extend_from_slice(&vote_key.0);
    out
}
