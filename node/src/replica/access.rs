//! The replica's part in deciding who may put and read: its operator has it approve a change.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use vouch_core::access::{AccessChange, AccessOp};
use vouch_core::log::Op;
use vouch_node_core::access::Access;

use super::status::OperatorContext;

/// How long the log may take to decide an approval. The command that waits gives up after 10 s without a reply.
const DECIDED_WITHIN: Duration = Duration::from_secs(8);
/// Interval at which the approval is submitted again: an op may get lost.
const SUBMIT_EVERY: Duration = Duration::from_secs(2);
/// How long an op may wait in the log, in seconds.
const OP_LIFETIME: u64 = 60;

impl OperatorContext {
    /// Approves a change in this member's name, and waits until the log has the approval. Returns the member's name.
    pub(super) async fn approve_access(self: Arc<Self>, text: &str) -> Result<String, String> {
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| "change: expected base64url".to_owned())?;
        let change = AccessChange::decode(&bytes).map_err(|error| format!("change: {error}"))?;
        let host = &self.storage.host;
        let mut states = self.log.follow_access();
        let until = host.monotonic() + DECIDED_WITHIN;
        loop {
            let op = self.approval(&change, states.see().as_deref())?;
            let Some(op) = op else { return Ok(self.identity.name.as_str().to_owned()) };
            if host.monotonic() >= until {
                let seconds = DECIDED_WITHIN.as_secs();
                return Err(format!("the log did not decide the approval within {seconds} s; see `vouch status`"));
            }
            self.log.submit(op);
            // A new state, or the time to submit it again.
            let _ = host.timeout(SUBMIT_EVERY, states.changed()).await;
        }
    }

    /// The op with the approval; `None` once the log has it, or has made the change.
    fn approval(&self, change: &AccessChange, access: Option<&Access>) -> Result<Option<Op>, String> {
        let (Some(access), Some(chain)) = (access, self.identity.chain()) else {
            return Err("the log of this replica does not run yet".into());
        };
        let (committee, own) = (chain.current().record(), self.identity.node_key());
        if committee.position(&own).is_none() {
            return Err(format!(
                "this replica is not a member in epoch {}, and only members approve",
                committee.epoch()
            ));
        }
        if change.cluster != committee.cluster() {
            return Err(format!("cluster of the change: expected {}, got {}", committee.cluster(), change.cluster));
        }
        if access.number() >= change.number {
            return match access.has_made(change) {
                true => Ok(None),
                false => {
                    let (next, got) = (access.number() + 1, change.number);
                    Err(format!("number of the change: expected {next}, the next one, got {got}; begin it again"))
                }
            };
        }
        if access.approvers(committee, &change.id()).contains(&own) {
            return Ok(None);
        }
        let number = access.last_number(committee, &own).map_or(1, |last| last + 1);
        let op = AccessOp::approve(*change, number, committee, &self.identity.keys.node);
        let host = &self.storage.host;
        let expires_at = host.unix_seconds().saturating_add(OP_LIFETIME);
        Op::new(op.kind(), host.random(), expires_at, op.body()).map(Some).map_err(|error| error.to_string())
    }
}
