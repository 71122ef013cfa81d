//! The committees of a run: each epoch has one, and each holds what was certified before it was approved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::Committee;
use vouch_core::digest::{ClusterId, CommitteeDigest, Digest};
use vouch_core::statement::Body;

use super::{Checker, Rule, read};
use crate::network::Node;
use crate::node;
use crate::plan::tolerated;

/// The committees that nodes have shown, by epoch. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Committees(BTreeMap<u64, Arc<Committee>>);

impl Committees {
    pub fn cluster(&self) -> Option<ClusterId> {
        self.0.values().next().map(|committee| committee.cluster())
    }

    /// The committee of the latest epoch.
    pub fn current(&self) -> Option<Arc<Committee>> {
        self.0.values().next_back().cloned()
    }

    pub fn of_epoch(&self, epoch: u64) -> Option<Arc<Committee>> {
        self.0.get(&epoch).cloned()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Committee>> {
        self.0.values()
    }

    fn of(&self, digest: CommitteeDigest) -> Option<Arc<Committee>> {
        self.0.values().find(|committee| committee.record().digest() == digest).cloned()
    }

    /// The committee that signed a certificate.
    pub fn signing<B: Body>(&self, certificate: &Certificate<B>) -> Option<Arc<Committee>> {
        self.of(certificate.committee)
    }

    /// The nodes that signed a certificate.
    pub fn signers<B: Body>(&self, certificate: &Certificate<B>) -> BTreeSet<Node> {
        let nodes = |committee: Arc<Committee>| nodes(&committee, &certificate.signers);
        self.signing(certificate).map(nodes).unwrap_or_default()
    }

    /// The nodes of the members of the latest committee.
    pub fn members(&self) -> BTreeSet<Node> {
        self.current().map(|committee| members(&committee)).unwrap_or_default()
    }
}

/// The nodes of the members of a committee.
pub fn members(committee: &Committee) -> BTreeSet<Node> {
    (0..committee.record().n()).map(|member| node_of(committee, member)).collect()
}

fn nodes(committee: &Committee, signers: &Signers) -> BTreeSet<Node> {
    signers.iter().map(|signer| node_of(committee, signer)).collect()
}

/// The node of a member, by its name.
pub fn node_of(committee: &Committee, member: u16) -> Node {
    let name = committee.record().name(member);
    name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("names are node-N")
}

impl Checker {
    pub fn committees(&self) -> Committees {
        self.known().committees.clone()
    }

    pub fn cluster(&self) -> Option<ClusterId> {
        self.known().committees.cluster()
    }

    /// The members of the latest committee; before there is one, the replicas that will found it.
    fn members_or_founders(&self) -> BTreeSet<Node> {
        let known = self.known();
        let members = known.committees.members();
        let founders = || known.shape.honest().filter(|node| !known.shape.joiners().contains(node));
        if members.is_empty() { founders().chain(known.shape.liar()).collect() } else { members }
    }

    /// The number of honest members that may be down.
    pub fn spare(&self) -> usize {
        let (members, liar) = (self.members_or_founders(), self.known().shape.liar());
        let lies = liar.is_some_and(|liar| members.contains(&liar));
        tolerated(members.len()).saturating_sub(usize::from(lies))
    }

    /// The honest members.
    pub fn honest_members(&self) -> Vec<Node> {
        let (members, honest) = (self.members_or_founders(), self.known().shape.honest());
        members.into_iter().filter(|node| honest.contains(node)).collect()
    }

    /// Notes what a replica reports about the log: when a change is first approved.
    pub fn log_reported(&self, text: &str) {
        let epoch =
            text.split_once("is approved: members offer keys for epoch ").and_then(|(_, epoch)| epoch.parse().ok());
        if let Some(epoch) = epoch {
            self.known().approved.entry(epoch).or_insert_with(node::elapsed);
        }
    }

    /// Checks a committee that a node or a client has adopted.
    pub fn adopted(&self, committee: &Arc<Committee>) {
        let (record, cluster) = (committee.record(), self.cluster());
        if let Some(first) = cluster.filter(|first| *first != committee.cluster()) {
            return self.broken(Rule::OneCommittee, format_args!("{first} and {}", committee.cluster()));
        }
        let known = self.known().committees.0.get(&record.epoch()).cloned();
        match known {
            Some(known) if known.record().digest() != record.digest() => {
                let (epoch, got) = (record.epoch(), record.digest());
                let known = known.record().digest();
                self.broken(Rule::OneSuccessor, format_args!("epoch {epoch}: expected {known}, got {got}"));
            }
            Some(_) => {}
            None => {
                self.check_holders(committee);
                self.known().committees.0.insert(record.epoch(), committee.clone());
            }
        }
    }

    /// Checks a committee that has just become active: n − f of it hold each blob that was certified before any such change was approved.
    fn check_holders(&self, committee: &Committee) {
        let approved = self.known().approved.get(&committee.record().epoch()).copied();
        let Some(approved) = approved.filter(|_| !self.known().is_repeat) else { return };
        let members = members(committee);
        let (liar, expected) = (self.known().shape.liar(), members.len() - tolerated(members.len()));
        let old: Vec<_> = self.promises().into_iter().filter(|promise| promise.ended < approved).collect();
        let lives_on = node::elapsed() + Duration::from_secs(1);
        // A replica notices a spoiled file only when it reads it.
        let ruined = self.known().ruined.clone();
        let old = old.into_iter().filter(|promise| {
            let expires = promise.certificate.claim.receipt.expires_at;
            expires > node::BEGINNING + lives_on.as_secs() && !ruined.contains_key(&promise.digest())
        });
        let digests: BTreeSet<Digest> = old.map(|promise| promise.digest()).collect();
        let stores: Vec<_> = members.iter().map(|node| (*node, self.store_of_honest(*node, &digests))).collect();
        for digest in &digests {
            let holds = |(node, store): &(Node, Option<_>)| match store {
                Some(store) => read(store, *digest).is_some(),
                None => liar == Some(*node),
            };
            let holders = stores.iter().filter(|of| holds(of)).count();
            if holders < expected {
                let epoch = committee.record().epoch();
                self.broken(
                    Rule::NextHolds,
                    format_args!("{digest} in epoch {epoch}: expected {expected} holders, got {holders}"),
                );
            }
        }
    }

    fn store_of_honest(&self, node: Node, digests: &BTreeSet<Digest>) -> Option<vouch::store::Store> {
        let is_honest = self.known().shape.honest().contains(&node);
        is_honest.then(|| self.store_of(node, digests))
    }
}
