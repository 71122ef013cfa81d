//! A replica that wants to join proposes itself, through its servers as any client does: the members do not know it yet.

use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Policy;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::link::NodeKey;
use vouch_core::membership::{AddedMember, CommitteeChange, MembershipOp};
use vouch_node_core::membership::Membership;

use super::MembershipContext;
use crate::client::http::HttpRequest;

/// Pauses between proposals double from the first to the longest: each is an op in the log.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a server may take to have a proposal decided.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a proposal waits for the log, in seconds.
const LASTS: u64 = 30;

/// When the replica proposes itself again.
#[derive(Debug, Default)]
pub(super) struct Proposing {
    next: Duration,
    pause: Option<Duration>,
}

impl MembershipContext {
    /// Proposes that this replica joins, if it wants to and no change that adds it is under way. Where an operator decides, only the operator
    /// proposes; and a replica that was a member before must be added by the others, or nobody could remove it.
    pub(super) async fn propose_itself(&self, state: Option<&Membership>, proposing: &mut Proposing) {
        let host = &self.storage.host;
        let node_key = self.identity.node_key();
        let may_propose = |chain: &CommitteeChain| {
            chain.current().record().policy() == Policy::Open && !has_been_member(chain, &node_key)
        };
        let Some(chain) = self.identity.chain().filter(|chain| self.joins && may_propose(chain)) else { return };
        let record = chain.current().record();
        let joins = |change: &CommitteeChange| change.added.iter().any(|member| member.node_key == node_key);
        let is_under_way = state.and_then(Membership::running).is_some_and(|running| joins(&running.change));
        if is_under_way || host.monotonic() < proposing.next {
            return;
        }
        let pause = proposing.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        (proposing.next, proposing.pause) = (host.monotonic() + pause, Some(pause));
        let added = vec![AddedMember { node_key, name: self.identity.name }];
        // The nonce is always the same: a change that is proposed already is not proposed twice.
        let Ok(change) = CommitteeChange::new(record, [0; 16], false, Vec::new(), added) else { return };
        let propose = MembershipOp::Propose { change, operator: None };
        let Some(op) = self.log_op(&propose, LASTS) else { return };
        for server in &self.servers {
            let request = HttpRequest::post(server, "/v1/log/ops".into(), op.encode().into(), MAX_BUNDLE, PATIENCE);
            match request.send(host).await {
                Ok(_) => return,
                Err(error) => self.trouble(&format!("proposing to join: {error}")),
            }
        }
    }
}

/// Whether a node is a member, or was one in an earlier epoch.
fn has_been_member(chain: &CommitteeChain, node_key: &NodeKey) -> bool {
    let epochs = chain.first().record().epoch()..=chain.current().record().epoch();
    epochs.filter_map(|epoch| chain.record(epoch)).any(|record| record.position(node_key).is_some())
}
