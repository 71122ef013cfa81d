//! Waits until a change of members has taken effect, and says what it waits for, as far as the log's verified blocks show it.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::membership::{AddedMember, CommitteeChange, MembershipOp, NodeVote};
use vouch_core::quorum;
use vouch_core::report::BlockOpView;

use super::super::log_client::{LogClient, explain};
use super::super::nodes::interrupted;
use super::super::{Failure, output};
use crate::client::http::HttpError;

/// Interval at which the server is asked for the newest log head.
const EVERY: Duration = Duration::from_secs(1);
/// Maximum number of blocks that are read with one head. Earlier ones are skipped: then the counts are too low.
const MOST_BLOCKS: u64 = 64;

/// A change that the log has.
pub(super) struct Proposed<'a> {
    pub(super) change: &'a CommitteeChange,
    /// The committee that it changes.
    pub(super) committee: &'a CommitteeRecord,
    /// The height of the block with the proposal.
    pub(super) height: u64,
}

/// Waits until the next epoch is active. Returns the committees up to it.
pub(super) async fn until_active(
    mut client: LogClient<'_>,
    proposed: &Proposed<'_>,
    limit: Duration,
) -> Result<CommitteeChain, Failure> {
    let host = client.host;
    let (id, server) = (proposed.change.id(), client.server().to_owned());
    let goes_on = |why: String| {
        let json = serde_json::json!({ "change": id, "active": false });
        let failure = Failure { json: Some(Box::new(json)), ..Failure::new(why) };
        failure.with_note(format_args!(
            "The change goes on without this command. See its result with: vouch committee show --server {server}"
        ))
    };
    let following = host.timeout(limit, follow(&mut client, proposed));
    tokio::select! {
        biased;
        () = interrupted() => Err(goes_on(format!("interrupted before change {id} took effect"))),
        result = following => match result {
            Ok(result) => result,
            Err(_) => Err(goes_on(format!("change {id} has not taken effect within {} s", limit.as_secs()))),
        },
    }
}

async fn follow(client: &mut LogClient<'_>, proposed: &Proposed<'_>) -> Result<CommitteeChain, Failure> {
    let host = client.host;
    let mut seen = SeenSteps::default();
    let (mut known, mut said, mut is_away) = (proposed.height - 1, String::new(), false);
    loop {
        match look(client, proposed, &mut seen, &mut known).await {
            Ok(Some(chain)) => return Ok(chain),
            Ok(None) => {
                is_away = false;
                let now = seen.text(proposed);
                if now != said {
                    output::error_line(format_args!("{now}"));
                    said = now;
                }
            }
            Err(LookError::Http(error)) if error.is_passing() => {
                // Say it once: a server that restarts is back in a moment.
                if !is_away {
                    output::error_line(format_args!("{error}; trying again"));
                }
                is_away = true;
            }
            Err(LookError::Http(error)) => return Err(explain(&error)),
            Err(LookError::Failure(failure)) => return Err(failure),
        }
        host.sleep(EVERY).await;
    }
}

/// Why the log could not be read.
enum LookError {
    /// The server could not be asked.
    Http(HttpError),
    /// What the server sent does not prove anything.
    Failure(Failure),
}

impl From<HttpError> for LookError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<Failure> for LookError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Reads the blocks above the known height. Returns the committees once a later epoch than the change's is active.
async fn look(
    client: &mut LogClient<'_>,
    proposed: &Proposed<'_>,
    seen: &mut SeenSteps,
    known: &mut u64,
) -> Result<Option<CommitteeChain>, LookError> {
    let bundle = client.ask("/v1/log/head").await?;
    let (head, chain) = client.head_and_chain(&bundle, None).await?;
    if chain.current().record().epoch() > proposed.committee.epoch() {
        return Ok(Some(chain));
    }
    let first = (*known + 1).max((head.height + 1).saturating_sub(MOST_BLOCKS));
    for height in first..=head.height {
        let bundle = client.ask(&format!("/v1/log/blocks/{height}")).await?;
        let block = client.block(&bundle, height).await?;
        block.ops.iter().for_each(|op| seen.record(proposed, op));
        *known = height;
    }
    Ok(None)
}

/// Which members were seen to do what. The log's state is more exact: an op in a block may have been refused.
#[derive(Debug, Default)]
struct SeenSteps {
    approvals: BTreeSet<NodeKey>,
    offers: BTreeSet<NodeKey>,
    accepts: BTreeSet<NodeKey>,
    stops: BTreeSet<NodeKey>,
    signatures: BTreeSet<NodeKey>,
}

impl SeenSteps {
    fn record(&mut self, proposed: &Proposed<'_>, op: &BlockOpView) {
        let Ok(body) = base16ct::lower::decode_vec(&op.body) else { return };
        let Ok(op) = MembershipOp::decode(op.kind, &body) else { return };
        let (change, committee) = (proposed.change, proposed.committee);
        let is_next = |key: &NodeKey| change.members_after(committee).iter().any(|member| member.node_key == *key);
        match op {
            MembershipOp::Approve(signed) if signed.verify(committee).is_ok() => match signed.vote {
                NodeVote::Approve { change: approved, .. } if approved == change.id() => {
                    self.approvals.insert(signed.node_key);
                }
                // A member approves one change at a time.
                _ => drop(self.approvals.remove(&signed.node_key)),
            },
            MembershipOp::Stop(signed) if signed.verify(committee).is_ok() => drop(self.stops.insert(signed.node_key)),
            MembershipOp::Offer(offer) if is_next(&offer.offered.node_key) && offer.verify(committee).is_ok() => {
                self.offers.insert(offer.offered.node_key);
            }
            MembershipOp::Accept { node_key, .. } if is_next(&node_key) => drop(self.accepts.insert(node_key)),
            MembershipOp::SignHandoff { node_key, .. } if committee.position(&node_key).is_some() => {
                self.signatures.insert(node_key);
            }
            _ => {}
        }
    }

    /// What the change waits for.
    fn text(&self, proposed: &Proposed<'_>) -> String {
        let Proposed { change, committee, .. } = proposed;
        let quorum = committee.quorum();
        if self.approvals.len() < quorum.into() {
            let names = names(committee, &self.approvals);
            return format!("waits for approvals: {} of {quorum}{names}", self.approvals.len());
        }
        let after = change.members_after(committee);
        let next = quorum::quorum(u16::try_from(after.len()).unwrap_or(u16::MAX));
        let missing: Vec<_> = after.iter().filter(|member| !self.offers.contains(&member.node_key)).collect();
        let joining = |member: &&&AddedMember| committee.position(&member.node_key).is_none();
        let joining: Vec<String> = missing.iter().filter(joining).map(|member| member.name.to_string()).collect();
        if self.accepts.is_empty() && !joining.is_empty() {
            return format!(
                "approved; waits until those that join hold every file, and offer their vote keys: {}",
                joining.join(", ")
            );
        }
        if self.accepts.is_empty() && !missing.is_empty() {
            let offered = after.len() - missing.len();
            return format!("approved; members offer their vote keys: {offered} of {}", after.len());
        }
        if self.accepts.len() < next.into() {
            let seal = match committee.epoch() {
                0 => String::new(),
                epoch => format!("; epoch {} must be sealed before", epoch - 1),
            };
            return format!("waits until the next committee accepts: {} of {next}{seal}", self.accepts.len());
        }
        let (stops, signatures) = (self.stops.len(), self.signatures.len());
        format!("accepted; the old committee hands over: {stops} of {quorum} stopped, {signatures} of {quorum} signed")
    }
}

/// Names in parentheses; nothing for nobody.
fn names(committee: &CommitteeRecord, keys: &BTreeSet<NodeKey>) -> String {
    let names: Vec<_> =
        keys.iter().filter_map(|key| committee.position(key)).map(|member| committee.name(member)).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::{VoteSecretKey, VoteSignature};
    use vouch_core::committee::{KeyOffer, MemberName};
    use vouch_core::digest::OpId;
    use vouch_core::link::NodeSecretKey;

    use super::super::choosing::tests::{four, key};
    use super::*;

    fn node(number: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[number; 32])
    }

    fn view(op: &MembershipOp) -> BlockOpView {
        let body = base16ct::lower::encode_string(&op.body());
        BlockOpView { id: OpId([0; 32]), kind: op.kind(), body, text: None, submitter: String::new() }
    }

    #[test]
    fn each_step_says_what_it_waits_for() {
        let four = four();
        let added = vec![AddedMember { node_key: key(5), name: MemberName::new("five").unwrap() }];
        let change = CommitteeChange::new(&four, [1; 16], false, Vec::new(), added).unwrap();
        let proposed = Proposed { change: &change, committee: &four, height: 1 };
        let mut seen = SeenSteps::default();
        let mut after = |op: MembershipOp| {
            seen.record(&proposed, &view(&op));
            seen.text(&proposed)
        };
        let approve =
            |number, change| MembershipOp::Approve(NodeVote::Approve { change, number: 1 }.sign(&four, &node(number)));
        let id = change.id();
        assert_eq!(after(approve(1, id)), "waits for approvals: 1 of 3 (one)");
        assert_eq!(after(approve(1, id)), "waits for approvals: 1 of 3 (one)", "a member counts once");
        assert_eq!(after(approve(5, id)), "waits for approvals: 1 of 3 (one)", "only members approve");
        assert!(after(approve(2, id)).contains("2 of 3"));
        let another = vouch_core::digest::ChangeId([9; 32]);
        assert_eq!(after(approve(2, another)), "waits for approvals: 1 of 3 (one)", "one change at a time");
        after(approve(2, id));
        assert!(after(approve(3, id)).ends_with("offer their vote keys: five"));
        let vote = |number: u8| VoteSecretKey::generate(&[number + 50; 32]).unwrap();
        let offer = |number: u8| MembershipOp::Offer(Box::new(KeyOffer::new(&four, &node(number), &vote(number))));
        assert!(after(offer(6)).ends_with("offer their vote keys: five"), "a stranger's key does not count");
        assert_eq!(after(offer(5)), "approved; members offer their vote keys: 1 of 5");
        (1..4).for_each(|number| drop(after(offer(number))));
        assert_eq!(after(offer(4)), "waits until the next committee accepts: 0 of 4");
        let signature = VoteSignature([0; 96]);
        let accept = |number| MembershipOp::Accept { node_key: key(number), signature };
        assert!(after(accept(6)).contains("accepts: 0 of 4"));
        (1..4).for_each(|number| drop(after(accept(number))));
        let decided = "accepted; the old committee hands over: 0 of 3 stopped, 0 of 3 signed";
        assert_eq!(after(accept(5)), decided);
        let stop = |number| MembershipOp::Stop(NodeVote::Stop { until: 7 }.sign(&four, &node(number)));
        assert!(after(stop(1)).contains("1 of 3 stopped"));
        assert!(after(stop(5)).contains("1 of 3 stopped"));
        let sign = |number| MembershipOp::SignHandoff { node_key: key(number), signature };
        assert!(after(sign(2)).ends_with("1 of 3 signed"));
    }
}
