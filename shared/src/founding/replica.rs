//! What a replica does about the foundings that servers show it.

use std::collections::BTreeMap;

use super::record::{MAX_REFUSED, MAX_RELEASED, ReplicaRecord};
use super::{Evidence, Founding, Refusal};
use crate::bls::VoteSecretKey;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::link::NodeSecretKey;
use crate::message::Message;
use crate::statement::Accept;
use crate::tally::VerifiedVote;

/// Refusals by others of foundings that it never accepted, so that it does not accept what is dead.
const MAX_DEAD: usize = 64;
/// Foundings that wait for this replica's answer. Servers show them again on every new link.
const MAX_OFFERED: usize = 16;

/// What people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It accepted a founding of so many members.
    Accepted(CommitteeDigest, u16),
    /// The founding is complete: the replica is a member for good.
    Founded(CommitteeDigest),
    /// It refused a founding in favour of the one that it accepted.
    Refused(CommitteeDigest),
    /// Another member refused the founding that this replica had accepted, so it is free again.
    Released(Refusal),
    /// A member is faulty.
    Evidence(Box<Evidence>),
    /// A founding names this replica's node key with another vote key.
    AnotherVoteKey(CommitteeDigest),
    /// A founding carries this replica's own acceptance, yet it has accepted another: its files were lost once.
    AcceptedBefore(CommitteeDigest),
}

/// What has to be done, in this order: save, then send, then tell people.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The record changed and must be durable before anything is sent.
    pub save: bool,
    /// For the server whose message this is about.
    pub reply: Vec<Message>,
    /// For every other server.
    pub elsewhere: Vec<Message>,
    /// For people.
    pub notes: Vec<Note>,
    /// What arrived was about a founding that does not name this replica.
    pub is_standby: bool,
}

impl Outcome {
    fn send(&mut self, message: Message) {
        self.reply.push(message.clone());
        self.elsewhere.push(message);
    }
}

/// A replica's part in foundings. The caller makes [`record`](Self::record) durable whenever an [`Outcome`] says so.
#[derive(Debug, Clone)]
pub struct ReplicaFounding {
    record: ReplicaRecord,
    founded: bool,
    /// Named this replica, and not answered yet.
    offered: BTreeMap<CommitteeDigest, Founding>,
    /// Never accepted, and refused by another member.
    dead: BTreeMap<CommitteeDigest, Refusal>,
}

/// The keys that a replica signs with.
#[derive(Debug, Clone, Copy)]
struct SigningKeys<'a> {
    node: &'a NodeSecretKey,
    vote: &'a VoteSecretKey,
}

impl ReplicaFounding {
    /// Goes on with what was saved. `founded`: the committee of the accepted founding was taken up for good.
    pub fn new(record: ReplicaRecord, founded: bool) -> Self {
        let founded = founded || record.accepted.as_ref().is_some_and(Founding::is_complete);
        Self { record, founded, offered: BTreeMap::new(), dead: BTreeMap::new() }
    }

    /// What must be durable.
    pub fn record(&self) -> &ReplicaRecord {
        &self.record
    }

    /// The founding that this replica accepted and is bound to.
    pub fn accepted(&self) -> Option<&Founding> {
        self.record.accepted.as_ref()
    }

    /// Whether the accepted founding is complete.
    pub fn is_founded(&self) -> bool {
        self.founded
    }

    /// What a server is shown first, by the cluster that it named in its hello.
    pub fn show(&self, served: Option<ClusterId>, node: &NodeSecretKey) -> Vec<Message> {
        let Some(accepted) = &self.record.accepted else { return Vec::new() };
        if served != Some(accepted.record().cluster()) {
            return vec![Message::Founding(Box::new(accepted.message()))];
        }
        // the server has the committee; it may lack acceptances, where an earlier release founded it
        let own = accepted.record().position(&node.node_key());
        own.and_then(|member| acceptance_message(accepted, member)).into_iter().collect()
    }

    /// A server shows a founding.
    pub fn offer(&mut self, founding: Founding, node: &NodeSecretKey, vote: &VoteSecretKey) -> Outcome {
        let mut outcome = Outcome::default();
        let digest = founding.digest();
        let Some(member) = founding.record().position(&node.node_key()) else {
            outcome.is_standby = true;
            return outcome;
        };
        if founding.record().members().get(usize::from(member)).is_none_or(|own| own.vote_key != vote.vote_key()) {
            outcome.notes.push(Note::AnotherVoteKey(digest));
            return outcome;
        }
        if let Some(accepted) = self.record.accepted.as_mut().filter(|accepted| accepted.digest() == digest) {
            outcome.save |= accepted.merge(&founding);
            // the server shows it because it does not know of this acceptance
            if !founding.has(member) {
                outcome.reply.extend(acceptance_message(accepted, member));
            }
        } else if let Some(killed) = self.record.released.get(&digest).or(self.dead.get(&digest)) {
            outcome.reply.push(Message::Refusals(vec![*killed]));
        } else if let Some(instead) = self.record.refused.get(&digest) {
            outcome.reply.push(Message::Refusals(vec![Refusal::sign(node, digest, *instead)]));
        } else if let Some(known) = self.offered.get_mut(&digest) {
            known.merge(&founding);
        } else {
            self.offered.insert(digest, founding);
            while self.offered.len() > MAX_OFFERED {
                self.offered.pop_last();
            }
        }
        self.settle(SigningKeys { node, vote }, Some(digest), &mut outcome);
        outcome
    }

    /// The committee of a founding that acceptances may arrive for.
    pub fn founding(&self, digest: &CommitteeDigest) -> Option<&Founding> {
        self.record.accepted.as_ref().filter(|accepted| accepted.digest() == *digest).or(self.offered.get(digest))
    }

    /// Verified acceptances arrived.
    pub fn accept(
        &mut self,
        acceptances: &[VerifiedVote<Accept>],
        node: &NodeSecretKey,
        vote: &VoteSecretKey,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for acceptance in acceptances {
            if let Some(accepted) = self.record.accepted.as_mut() {
                outcome.save |= accepted.add(*acceptance);
            }
            if let Some(offered) = self.offered.get_mut(&acceptance.statement().committee()) {
                offered.add(*acceptance);
            }
        }
        self.settle(SigningKeys { node, vote }, None, &mut outcome);
        outcome
    }

    /// Refusals arrived; those that do not hold are passed over.
    pub fn refuse(&mut self, refusals: &[Refusal], node: &NodeSecretKey, vote: &VoteSecretKey) -> Outcome {
        let mut outcome = Outcome::default();
        for refusal in refusals {
            self.hear_refusal(refusal, node, &mut outcome);
        }
        self.settle(SigningKeys { node, vote }, None, &mut outcome);
        outcome
    }

    fn hear_refusal(&mut self, refusal: &Refusal, node: &NodeSecretKey, outcome: &mut Outcome) {
        let Some(founding) = self.founding(&refusal.refused) else { return };
        let Some(judged) = founding.judge(refusal) else { return };
        // its own word about what it accepted can only be old
        if refusal.node_key == node.node_key() {
            return;
        }
        let is_accepted = self.record.accepted.as_ref().is_some_and(|accepted| accepted.digest() == refusal.refused);
        // With that acceptance the founding may be complete elsewhere: to leave it now could found two clusters.
        if let Err(evidence) = judged {
            outcome.notes.push(Note::Evidence(Box::new(evidence)));
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
            outcome.save = true;
            outcome.notes.push(Note::Released(*refusal));
            // other servers show this replica's acceptance until they hear of it
            outcome.send(Message::Refusals(vec![*refusal]));
        }
    }

    /// Does everything that the state allows now. `shown`: the founding that the other end of the link has just shown.
    fn settle(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, outcome: &mut Outcome) {
        if self.record.accepted.is_none() {
            self.accept_one(keys, shown, outcome);
        }
        if let Some(accepted) = &self.record.accepted
            && accepted.is_complete()
            && !self.founded
        {
            self.founded = true;
            outcome.save = true;
            // other servers may not have all the members connected
            outcome.elsewhere.push(Message::Founding(Box::new(accepted.message())));
            outcome.notes.push(Note::Founded(accepted.digest()));
        }
        self.answer_rivals(keys, shown, outcome);
    }

    /// Free: accepts a founding. One that is complete carries this replica's own acceptance, from before it lost its files.
    fn accept_one(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, outcome: &mut Outcome) {
        let complete = self.offered.iter().find(|(_, founding)| founding.is_complete()).map(|(digest, _)| *digest);
        let Some(digest) = complete.or_else(|| self.offered.keys().next().copied()) else { return };
        let Some(mut founding) = self.offered.remove(&digest) else { return };
        let Some(member) = founding.record().position(&keys.node.node_key()) else { return };
        founding.accept_as(&keys.node.node_key(), keys.vote);
        outcome.save = true;
        let whole = Message::Founding(Box::new(founding.message()));
        // whoever has just shown it needs the acceptance only; for others it may be the first that they hear of it
        match acceptance_message(&founding, member).filter(|_| shown == Some(digest)) {
            Some(acceptance) => outcome.reply.push(acceptance),
            None => outcome.reply.push(whole.clone()),
        }
        outcome.elsewhere.push(whole);
        outcome.notes.push(Note::Accepted(digest, founding.record().n()));
        self.record.accepted = Some(founding);
    }

    /// Bound: refuses every founding with a greater digest, and once founded every other.
    fn answer_rivals(&mut self, keys: SigningKeys<'_>, shown: Option<CommitteeDigest>, outcome: &mut Outcome) {
        let Some(bound) = self.record.accepted.clone() else { return };
        let accepted = bound.digest();
        let mut refusals = Vec::new();
        for (digest, rival) in std::mem::take(&mut self.offered) {
            let own = rival.record().position(&keys.node.node_key());
            if own.is_some_and(|member| rival.has(member)) {
                // to refuse it as well would be evidence against this replica
                outcome.notes.push(Note::AcceptedBefore(digest));
            } else if self.founded {
                // the committee file binds it for ever: there is nothing to record
                refusals.push(Refusal::sign(keys.node, digest, accepted));
            } else if digest > accepted && self.record.refused.len() < MAX_REFUSED {
                self.record.refused.insert(digest, accepted);
                outcome.save = true;
                outcome.notes.push(Note::Refused(digest));
                refusals.push(Refusal::sign(keys.node, digest, accepted));
            } else {
                // A lesser one waits: its acceptors refuse this replica's, or that one is completed. A server that proposes it may
                // have forgotten this replica's founding before the acceptance came, and then nobody would hear of both.
                if shown == Some(digest) {
                    outcome.reply.push(Message::Founding(Box::new(bound.message())));
                }
                self.offered.insert(digest, rival);
            }
        }
        if !refusals.is_empty() {
            outcome.send(Message::Refusals(refusals));
        }
    }
}

fn acceptance_message(founding: &Founding, member: u16) -> Option<Message> {
    let signature = *founding.acceptances().get(&member)?;
    Some(Message::Acceptances { founding: founding.digest(), acceptances: vec![(member, signature)] })
}
