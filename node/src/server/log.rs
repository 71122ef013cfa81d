//! The ordered log, as a server offers it: has the log's head certified, submits ops for clients, and fetches proofs.
//!
//! A server takes no part in the log. Members sign what it relays, and the receivers verify it.

mod heads;
mod requests;
mod seals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::certificate::Certificate;
use vouch_core::statement::LogHead;
use vouch_core::verify::Verifier;
use vouch_node_core::server::log_heads::LogHeadsInput;
use vouch_node_core::server::log_requests;

use super::core_performer::CorePerformer;
use super::member_links::MemberLinks;
use crate::latest::{Follower, Latest};
pub(super) use heads::certify_heads;
pub(super) use requests::LogFailure;
use seals::SealLists;

/// Maximum number of heights that members told and that were not handled yet. More are dropped: each member tells the next one.
const INPUTS: usize = 1024;

/// The log's newest certified head.
pub(super) type CertifiedHead = Arc<Certificate<LogHead>>;

/// The log, for links and requests.
pub(super) struct ServerLog {
    members: MemberLinks,
    core: Arc<CorePerformer>,
    /// Heights, by member.
    inputs: mpsc::Sender<LogHeadsInput>,
    /// The height of each connected member's log, as it claims.
    tips: Mutex<BTreeMap<u16, u64>>,
    head: Latest<Option<CertifiedHead>>,
    /// Verifies what members send. It has the committee, which costs a pairing for each member to verify.
    verifier: Arc<Mutex<Verifier>>,
    /// The turn of the next request.
    turn: AtomicUsize,
    seals: SealLists,
}

impl ServerLog {
    /// The log of the members behind these links, and the inputs for [`certify_heads`].
    pub(super) fn new(members: MemberLinks, core: Arc<CorePerformer>) -> (Arc<Self>, mpsc::Receiver<LogHeadsInput>) {
        let (inputs, queue) = mpsc::channel(INPUTS);
        let (tips, head, verifier) = (Mutex::default(), Latest::new(None), Arc::default());
        let (turn, seals) = (AtomicUsize::new(0), SealLists::default());
        (Arc::new(Self { members, core, inputs, tips, head, verifier, turn, seals }), queue)
    }

    /// A member told the height of its log.
    pub(super) fn tip(&self, member: u16, height: u64) {
        // Dropped if the queue is full: the member tells each new height.
        let _ = self.inputs.try_send(LogHeadsInput::Tip(member, height));
    }

    /// The newest head that a quorum signed; `None` before the first.
    pub(super) fn head(&self) -> Option<CertifiedHead> {
        self.head.get()
    }

    /// Follows the newest certified head.
    pub(super) fn follow_head(&self) -> Follower<Option<CertifiedHead>> {
        self.head.follow()
    }

    /// A certified head of at least this height, if there is one before `until` on the monotonic clock.
    pub(super) async fn head_from(&self, height: u64, until: Duration) -> Option<CertifiedHead> {
        let mut heads = self.follow_head();
        loop {
            if let Some(head) = heads.see()
                && head.claim.height >= height
            {
                return Some(head);
            }
            let left = until.saturating_sub(self.members.now());
            self.members.host().timeout(left, heads.changed()).await.ok()?.ok()?;
        }
    }

    /// The heights of the connected members' logs, as they claim.
    pub(super) fn heights(&self) -> BTreeMap<u16, u64> {
        self.tips().clone()
    }

    /// The connected members in the order in which to ask them.
    fn order(&self) -> Vec<u16> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        log_requests::order(&self.tips(), turn)
    }

    fn tips(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        // Recover from poisoning: the heights are replaced as a whole.
        self.tips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
