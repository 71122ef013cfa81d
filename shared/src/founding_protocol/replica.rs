//! A replica's side of a founding: what it answers to the foundings, acceptances and refusals that servers send.

use std::collections::BTreeMap;

use crate::bls::VoteSecretKey;
use crate::committee::Policy;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::founding::{Evidence, Founding, MAX_REFUSED, MAX_RELEASED, Refusal, ReplicaRecord};
use crate::link::NodeSecretKey;
use crate::message::Message;
use crate::statement::Accept;
use crate::tally::VerifiedVote;

/// Maximum number of remembered foundings that another member refused before this replica accepted them. It must not accept these.
const MAX_DEAD: usize = 64;
/// Maximum number of foundings that wait for this replica's answer. A dropped one returns: servers send foundings again on every new link.
const MAX_OFFERED: usize = 16;

/// An event for the replica's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaFoundingEvent {
    /// The replica accepted a founding with this number of members.
    Accepted(CommitteeDigest, u16),
    /// The founding is complete: the replica is a member permanently.
    Founded(CommitteeDigest),
    /// The replica refused a founding because it has accepted another.
    Refused(CommitteeDigest),
    /// Another member refused the founding that this replica had accepted. The replica is free again.
    Released(Refusal),
    /// Proof that a member is faulty.
    Evidence(Box<Evidence>),
    /// A founding names this replica's node key with another vote key.
    AnotherVoteKey(CommitteeDigest),
    /// A founding has another operator than the one that was named to this replica, or one of the two has none: it is neither accepted nor
    /// refused.
    AnotherPolicy {
        /// The founding.
        founding: CommitteeDigest,
        /// The policy that this replica accepts.
        expected: Policy,
        /// That of the founding.
        got: Policy,
    },
    /// A founding has this replica's own acceptance, but its record names another as accepted: the record was lost or restored.
    AcceptedBefore(CommitteeDigest),
    /// The founding that the replica accepted now has its own acceptance from before: the record was lost.
    AcceptedAgain(CommitteeDigest),
}

/// What the caller must do, in this order: save, send, log.
#[derive(Debug, Clone, Default)]
pub struct FoundingActions {
    /// The record has changed and must be durable before anything is sent.
    pub save: bool,
    /// Messages for the server that sent the input.
    pub reply: Vec<Message>,
    /// Messages for every other server.
    pub to_others: Vec<Message>,
    /// Events to log.
    pub events: Vec<ReplicaFoundingEvent>,
    /// The received founding does not name this replica.
    pub is_standby: bool,
}

impl FoundingActions {
    fn send(&mut self, message: Message) {
        self.reply.push(message.clone());
        self.to_others.push(message);
    }
}

/// A replica's state in foundings. The caller makes [`record`](Self::record) durable whenever an [`FoundingActions`] says so.
#[derive(Debug, Clone)]
pub struct ReplicaFounding {
    record: ReplicaRecord,
    founded: bool,
    /// The policy of the foundings that it accepts.
    policy: Policy,
    /// Foundings that name this replica and that it has not answered yet.
    offered: BTreeMap<CommitteeDigest, Founding>,
    /// Foundings that it never accepted and that another member has refused.
    dead: BTreeMap<CommitteeDigest, Refusal>,
}

/// The keys that a replica signs with.
#[derive(Debug, Clone, Copy)]
struct SigningKeys<'a> {
    node: &'a NodeSecretKey,
    vote: &'a VoteSecretKey,
}

impl ReplicaFounding {
    /// Continues from a saved record. `founded`: the replica has already adopted the committee of the accepted founding. `policy`: that of the
    /// foundings that it accepts from now on.
    pub fn new(record: ReplicaRecord, founded: bool, policy: Policy) -> Self {
        let founded = founded || record.accepted.as_ref().is_some_and(Founding::is_complete);
        Self { record, founded, policy, offered: BTreeMap::new(), dead: BTreeMap::new() }
    }

    /// The record to make durable.
    pub fn record(&self) -> &ReplicaRecord {
        &self.record
    }

    /// The policy of the foundings that this replica accepts.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The accepted founding, which binds this replica.
    pub fn accepted(&self) -> Option<&Founding> {
        self.record.accepted.as_ref()
    }

    /// Whether the accepted founding is complete.
    pub fn is_founded(&self) -> bool {
        self.founded
    }

    /// The messages to send a server after `Join`. `served`: the cluster in the server's hello.
    pub fn show(&self, served: Option<ClusterId>, node: &NodeSecretKey) -> Vec<Message> {
        let Some(accepted) = &self.record.accepted else { return Vec::new() };
        if served != Some(accepted.record().cluster()) {
            return vec![Message::Founding(Box::new(accepted.message()))];
        }
        // The server has the committee. It may lack acceptances, if an earlier release founded the cluster.
        let own = accepted.record().position(&node.node_key());
        own.and_then(|member| acceptance_message(accepted, member)).into_iter().collect()
    }

    /// Handles a founding that a server sent.
    pub fn offer(&mut self, founding: Founding, node: &NodeSecretKey, vote: &VoteSecretKey) -> FoundingActions {
        let mut actions = FoundingActions::default();
        let digest = founding.digest();
        let Some(member) = founding.record().position(&node.node_key()) else {
            actions.is_standby = true;
            return actions;
        };
        if founding.record().members().get(usize::from(member)).is_none_or(|own| own.vote_key != vote.vote_key()) {
            actions.events.push(ReplicaFoundingEvent::AnotherVoteKey(digest));
            return actions;
        }
        let (expected, got) = (self.policy, founding.record().policy());
        let is_accepted = self.record.accepted.as_ref().is_some_and(|accepted| accepted.digest() == digest);
        if got != expected && !is_accepted {
            actions.events.push(ReplicaFoundingEvent::AnotherPolicy { founding: digest, expected, got });
            return actions;
        }
        if let Some(accepted) = self.record.accepted.as_mut().filter(|accepted| accepted.digest() == digest) {
            actions.save |= accepted.merge(&founding);
            // The server does not know this replica's acceptance.
            if !founding.has(member) {
                actions.reply.extend(acceptance_message(accepted, member));
            }
        } else if let Some(refusal) = self.record.released.get(&digest).or(self.dead.get(&digest)) {
            actions.reply.push(Message::Refusals(vec![*refusal]));
        } else if let Some(instead) = self.record.refused.get(&digest) {
            actions.reply.push(Message::Refusals(vec![Refusal::sign(node, digest, *instead)]));
        } else if let Some(known) = self.offered.get_mut(&digest) {
            known.merge(&founding);
        } else {
            self.offered.insert(digest, founding);
            while self.offered.len() > MAX_OFFERED {
                self.offered.pop_last();
            }
        }
        self.settle(SigningKeys { node, vote }, Some(digest), &mut actions);
        actions
    }

    /// The founding with this digest, if acceptances of it may arrive.
    pub fn founding(&self, digest: &CommitteeDigest) -> Option<&Founding> {
        self.record.accepted.as_ref().filter(|accepted| accepted.digest() == *digest).or(self.offered.get(digest))
    }

    /// The founding of this digest, or else another one, which may name the same members.
    pub fn founding_or_other(&self, digest: &CommitteeDigest) -> Option<&Founding> {
        self.founding(digest).or(self.record.accepted.as_ref()).or(self.offered.values().next())
    }

    /// Handles acceptances from a server. They are verified.
    pub fn accept(
        &mut self,
        acceptances: &[VerifiedVote<Accept>],
        node: &NodeSecretKey,
        vote: &VoteSecretKey,
    ) -> FoundingActions {
        let mut actions = FoundingActions::default();
        for acceptance in acceptances {
            if let Some(accepted) = self.record.accepted.as_mut() {
                actions.save |= accepted.add(*acceptance);
            }
            if let Some(offered) = self.offered.get_mut(&acceptance.statement().committee()) {
                offered.add(*acceptance);
            }
        }
        self.settle(SigningKeys { node, vote }, None, &mut actions);
        actions
    }

    /// Handles refusals from a server. Invalid ones are ignored.
    pub fn refuse(&mut self, refusals: &[Refusal], node: &NodeSecretKey, vote: &VoteSecretKey) -> FoundingActions {
        let mut actions = FoundingActions::default();
        for refusal in refusals {
            self.apply_refusal(refusal, node, &mut actions);
        }
        self.settle(SigningKeys { node, vote }, None, &mut actions);
        actions
    }

    fn apply_refusal(&mut self, refusal: &Refusal, node: &NodeSecretKey, actions: &mut FoundingActions) {
        let Some(founding) = self.founding(&refusal.refused) else { return };
        let Ok(verified) = refusal.verify(founding.record()) else { return };
        let evidence = founding.evidence(&verified);
        // The replica's own refusal dates from before a loss of its record.
        if refusal.node_key == node.node_key() {
            return;
        }
        let is_accepted = self.record.accepted.as_ref().is_some_and(|accepted| accepted.digest() == refusal.refused);
        // The signer has accepted the founding, too, so the founding may be complete elsewhere: leaving it now could found two clusters.
        if let Some(evidence) = evidence {
            actions.events.push(ReplicaFoundingEvent::Evidence(Box::new(evidence)));
            return;
        }
        if !is_accepted {
            self.offered.remove(&refusal.refused);
            self.dead.insert(refusal.refused, *refusal);
            while self.dead.len() > MAX_DEAD {
                self.dead.pop_first();
            }
        } else if !self.founded && self.record.released.len() < MAX_RELEASED {
            self.record.released.insert(refusal.refused, *refusal);
            self.record.accepted = None;
            actions.save = true;
            actions.events.push(ReplicaFoundingEvent::Released(*refusal));
            // Other servers relay this replica's acceptance until they know the refusal.
            actions.send(Message::Refusals(vec![*refusal]));
        }
    }

    /// Does everything that the state now allows. `shown`: the founding that the server has just sent.
    fn settle(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, actions: &mut FoundingActions) {
        if self.record.accepted.is_none() {
            self.accept_one(keys, shown, actions);
        }
        if let Some(accepted) = &self.record.accepted
            && accepted.is_complete()
            && !self.founded
        {
            self.founded = true;
            actions.save = true;
            // Another server may not have all members connected.
            actions.to_others.push(Message::Founding(Box::new(accepted.message())));
            actions.events.push(ReplicaFoundingEvent::Founded(accepted.digest()));
        }
        self.answer_rivals(keys, shown, actions);
    }

    /// Accepts a founding if one is offered; the replica is free. A complete one comes first: it has this replica's own acceptance, from before its record was lost.
    fn accept_one(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, actions: &mut FoundingActions) {
        let complete = self.offered.iter().find(|(_, founding)| founding.is_complete()).map(|(digest, _)| *digest);
        let Some(digest) = complete.or_else(|| self.offered.keys().next().copied()) else { return };
        let Some(mut founding) = self.offered.remove(&digest) else { return };
        let Some(member) = founding.record().position(&keys.node.node_key()) else { return };
        // Nobody else can make it.
        if founding.has(member) {
            actions.events.push(ReplicaFoundingEvent::AcceptedAgain(digest));
        }
        founding.accept_as(&keys.node.node_key(), keys.vote);
        actions.save = true;
        let whole = Message::Founding(Box::new(founding.message()));
        // The server that has just sent it needs only the acceptance. Other servers may not know the founding at all.
        match acceptance_message(&founding, member).filter(|_| shown == Some(digest)) {
            Some(acceptance) => actions.reply.push(acceptance),
            None => actions.reply.push(whole.clone()),
        }
        actions.to_others.push(whole);
        actions.events.push(ReplicaFoundingEvent::Accepted(digest, founding.record().n()));
        self.record.accepted = Some(founding);
    }

    /// Refuses every offered founding with a greater digest than the accepted one; once founded, every other founding.
    fn answer_rivals(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, actions: &mut FoundingActions) {
        let Some(bound) = self.record.accepted.clone() else { return };
        let accepted = bound.digest();
        let mut refusals = Vec::new();
        for (digest, rival) in std::mem::take(&mut self.offered) {
            let own = rival.record().position(&keys.node.node_key());
            if own.is_some_and(|member| rival.has(member)) {
                // A refusal would be evidence against this replica.
                actions.events.push(ReplicaFoundingEvent::AcceptedBefore(digest));
            } else if self.founded {
                // The committee file binds the replica permanently, so the refusal needs no record.
                refusals.push(Refusal::sign(keys.node, digest, accepted));
            } else if digest > accepted && self.record.refused.len() < MAX_REFUSED {
                self.record.refused.insert(digest, accepted);
                actions.save = true;
                actions.events.push(ReplicaFoundingEvent::Refused(digest));
                refusals.push(Refusal::sign(keys.node, digest, accepted));
            } else {
                // A lesser one waits until its members refuse the accepted one, or until the accepted one is complete. Show the accepted one: the
                // server may have forgotten it before this replica's acceptance arrived, and then nobody would know both.
                if shown == Some(digest) {
                    actions.reply.push(Message::Founding(Box::new(bound.message())));
                }
                self.offered.insert(digest, rival);
            }
        }
        if !refusals.is_empty() {
            actions.send(Message::Refusals(refusals));
        }
    }
}

fn acceptance_message(founding: &Founding, member: u16) -> Option<Message> {
    let signature = *founding.acceptances().get(&member)?;
    Some(Message::Acceptances { founding: founding.digest(), acceptances: vec![(member, signature)] })
}
