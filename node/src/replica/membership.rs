//! Which committee a replica belongs to: the first genesis that names it with its own keys, and no other ever.

use vouch_core::bls::VoteKey;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::link::NodeKey;

/// What to do about a committee that a server shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is the one known.
    Known,
    /// Check its proofs, make it durable, take it up.
    TakeUp,
    /// It is complete without this replica.
    Standby,
    /// This replica belongs to another.
    Refuse(String),
}

/// Decides. `own` is the committee taken up before.
pub(super) fn decide(
    own: Option<&Committee>,
    shown: &CommitteeRecord,
    node_key: &NodeKey,
    vote_key: &VoteKey,
) -> Decision {
    if let Some(own) = own {
        if own.cluster() == shown.cluster() {
            return Decision::Known;
        }
        return Decision::Refuse(format!(
            "this replica belongs to {}, the server shows {}",
            own.cluster(),
            shown.cluster()
        ));
    }
    match shown.members().iter().find(|member| member.node_key == *node_key) {
        None => Decision::Standby,
        Some(member) if member.vote_key == *vote_key => Decision::TakeUp,
        // to vote with that key is impossible, to be counted would harm the others
        Some(member) => Decision::Refuse(format!("expected the vote key {vote_key}, got {}", member.vote_key)),
    }
}
