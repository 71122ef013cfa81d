//! How members decide on the next committee: what is proposed, what each node signs about it, and the ops that carry this into the log.
//!
//! What an op does is decided by the state machine of the log. Here are the formats, and the checks that need no state.

mod change;
mod node_vote;
mod op;

pub use change::{AddedMember, ChangeError, ChangeFormatError, CommitteeChange, verify_operator};
pub use node_vote::{NodeVote, NodeVoteError, SignedNodeVote};
pub use op::{CertifiedStatement, CertifiedStatementError, MembershipOp, MembershipOpError};
