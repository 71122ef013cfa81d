//! Nodes that do their duties, and a log that loses, delays and repeats ops before it orders them.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::bls::VoteSecretKey;
use vouch_core::certificate::Certificate;
use vouch_core::chain::{CommitteeChain, EpochLink};
use vouch_core::committee::{Committee, CommitteeRecord, KeyOffer, Member, MemberName, Policy};
use vouch_core::digest::ChangeId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::Op;
use vouch_core::membership::{AddedMember, CertifiedStatement, CommitteeChange, MembershipOp, NodeVote};
use vouch_core::merkle::TreeHash;
use vouch_core::seal::SealTree;
use vouch_core::statement::{Batch, Statement, StatementId, Stored};
use vouch_core::tally::Tally;
use vouch_core::verify::verify_signed;

use crate::cluster_state::ClusterState;
use crate::fixture::{ISSUED, next_random, receipt};
use crate::log::state_machine::{BlockContext, StateMachine};
use crate::membership::{Consent, Duty, Membership, OwnState, SEAL_DELAY};

struct Node {
    key: NodeSecretKey,
    /// By epoch.
    votes: BTreeMap<u64, VoteSecretKey>,
    /// By epoch: what the node promised to sign nothing after.
    stopped: BTreeMap<u64, u64>,
    /// The handoff and the seal that it signed, by epoch.
    signed: BTreeMap<(u64, &'static str), StatementId>,
    /// What it agrees to, and how.
    consents: BTreeMap<ChangeId, Consent>,
    is_away: bool,
    is_in_doubt: bool,
    lacks_blobs: bool,
}

pub(super) struct World {
    random: u64,
    /// How many of 100 ops are lost, and how many are repeated.
    chaos: u64,
    pub(super) state: ClusterState,
    height: u64,
    time: u64,
    nodes: BTreeMap<NodeKey, Node>,
    next_node: u8,
    waiting: Vec<Op>,
    effects: Vec<String>,
    chain: CommitteeChain,
    /// With the statements of each sealed epoch.
    certificates: Vec<Certificate>,
    seals: BTreeMap<u64, StatementId>,
    is_operated: bool,
}

fn secret(number: u8) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[number; 32])
}

fn vote_key(number: u64, epoch: u64) -> VoteSecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed[8..16].copy_from_slice(&epoch.to_le_bytes());
    VoteSecretKey::generate(&seed).unwrap()
}

impl World {
    pub(super) fn operator() -> VoteSecretKey {
        VoteSecretKey::generate(&[99; 32]).unwrap()
    }

    pub(super) fn founded(n: u8, policy: Policy) -> Self {
        let mut nodes = BTreeMap::new();
        for number in 1..=n {
            let (key, votes) = (secret(number), BTreeMap::from([(0, vote_key(number.into(), 0))]));
            nodes.insert(key.node_key(), Node::new(key, votes));
        }
        let member = |(node_key, node): (&NodeKey, &Node)| Member {
            node_key: *node_key,
            vote_key: node.votes[&0].vote_key(),
            name: MemberName::new("founder").unwrap(),
        };
        let record = CommitteeRecord::genesis_under(policy, [0; 16], nodes.iter().map(member).collect()).unwrap();
        let possessions = nodes.values().map(|node| node.votes[&0].prove_possession()).collect();
        let genesis = Arc::new(Committee::proven(record, possessions).unwrap());
        Self {
            random: 1,
            chaos: 0,
            state: ClusterState::founded(genesis.clone()),
            height: 0,
            time: ISSUED,
            nodes,
            next_node: n + 1,
            waiting: Vec::new(),
            effects: Vec::new(),
            chain: genesis.into(),
            certificates: Vec::new(),
            seals: BTreeMap::new(),
            is_operated: policy != Policy::Open,
        }
    }

    /// A cluster of some members, with a log that loses and repeats ops.
    pub(super) fn random(seed: u64) -> Self {
        let mut random = seed;
        let n = 1 + next_random(&mut random) % 7;
        let mut world = Self::founded(n.try_into().unwrap(), Policy::Open);
        (world.random, world.chaos) = (random, 20);
        world
    }

    fn below(&mut self, limit: u64) -> u64 {
        next_random(&mut self.random) % limit
    }

    pub(super) fn membership(&self) -> &Membership {
        self.state.membership()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.membership().committee().record().epoch()
    }

    pub(super) fn chain(&self) -> &CommitteeChain {
        &self.chain
    }

    pub(super) fn effects(&self) -> &[String] {
        &self.effects
    }

    /// The members' node keys.
    pub(super) fn members(&self) -> Vec<NodeKey> {
        self.membership().committee().record().members().iter().map(|member| member.node_key).collect()
    }

    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// Time in which no block is made.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.time += seconds;
    }

    pub(super) fn secret_of(&self, node: NodeKey) -> NodeSecretKey {
        (1..self.next_node).map(secret).find(|key| key.node_key() == node).unwrap()
    }

    pub(super) fn vote_of(&self, node: NodeKey, epoch: u64) -> VoteSecretKey {
        VoteSecretKey::from_bytes(&self.nodes[&node].votes[&epoch].to_bytes()).unwrap()
    }

    /// A statement that the active epoch certified just now.
    pub(super) fn certified(&mut self) -> Vec<CertifiedStatement> {
        self.certify("certified");
        let last = self.certificates.last().unwrap();
        CertifiedStatement::of(last, self.chain.record(last.epoch).unwrap()).into_iter().collect()
    }

    /// The effect of an op on a copy of the state.
    pub(super) fn effect_of(&self, op: &Op) -> String {
        let block = BlockContext { height: self.height + 1, time: self.time, log_root: TreeHash([0; 32]) };
        String::from_utf8(self.state.clone().apply(&block, op).bytes().to_vec()).unwrap()
    }

    /// Every member approves what it agrees to.
    pub(super) fn approve_all(&mut self) {
        self.until("a change runs", |membership| membership.running().is_some());
    }

    pub(super) fn until_fixed(&mut self) {
        self.until("a committee is fixed", |membership| {
            membership.running().is_some_and(|running| running.next.is_some())
        });
    }

    pub(super) fn until_decided(&mut self) {
        let is_decided =
            |membership: &Membership| membership.running().is_some_and(|running| running.decided().is_some());
        self.until("a successor is decided", is_decided);
    }

    pub(super) fn until_stopped(&mut self) {
        let handoff = |membership: &Membership| Some(membership.running()?.decided()?.1.handoff.is_some());
        self.until("the closing is decided", |membership| handoff(membership).unwrap_or(false));
    }

    pub(super) fn until_sealed(&mut self) {
        self.until("the epoch before is sealed", Membership::is_sealed);
    }

    pub(super) fn until_epoch(&mut self, epoch: u64) {
        self.until("the next epoch is active", |membership| membership.committee().record().epoch() == epoch);
    }

    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Membership) -> bool) {
        for _ in 0..600 {
            if holds(self.membership()) {
                return;
            }
            self.round();
        }
        let last: Vec<_> = self.effects.iter().rev().take(12).collect();
        panic!("{what}: it did not happen; the last effects: {last:#?}");
    }

    pub(super) fn set_away(&mut self, node: NodeKey, is_away: bool) {
        self.nodes.get_mut(&node).unwrap().is_away = is_away;
    }

    pub(super) fn set_in_doubt(&mut self, node: NodeKey, is_in_doubt: bool) {
        self.nodes.get_mut(&node).unwrap().is_in_doubt = is_in_doubt;
    }

    pub(super) fn set_lacking(&mut self, node: NodeKey, lacks_blobs: bool) {
        self.nodes.get_mut(&node).unwrap().lacks_blobs = lacks_blobs;
    }

    pub(super) fn set_lost(&mut self, node: NodeKey) {
        self.nodes.remove(&node);
    }

    pub(super) fn op(&mut self, op: &MembershipOp) -> Op {
        let nonce = [self.below(256), self.below(256)].map(|byte| byte.to_le_bytes()).concat().try_into().unwrap();
        Op::new(op.kind(), nonce, self.time + 60, op.body()).unwrap()
    }

    /// Orders an op at once; returns its effect.
    pub(super) fn order(&mut self, op: &MembershipOp) -> String {
        let others = std::mem::take(&mut self.waiting);
        let op = self.op(op);
        self.waiting.push(op);
        let chaos = std::mem::replace(&mut self.chaos, 0);
        self.block();
        self.chaos = chaos;
        self.waiting = others;
        self.effects.last().cloned().unwrap()
    }

    /// One block of what waits, in any order.
    fn block(&mut self) {
        self.time += 1;
        let mut ops = std::mem::take(&mut self.waiting);
        for place in (1..ops.len()).rev() {
            let other = self.below(place as u64 + 1);
            ops.swap(place, usize::try_from(other).unwrap());
        }
        ops.retain(|_| next_random(&mut self.random) % 100 >= self.chaos);
        if ops.is_empty() {
            return;
        }
        self.height += 1;
        let root = TreeHash([u8::try_from(self.height % 251).unwrap(); 32]);
        let block = BlockContext { height: self.height, time: self.time, log_root: root };
        for op in &ops {
            let effect = self.state.apply(&block, op);
            self.effects.push(String::from_utf8(effect.bytes().to_vec()).unwrap());
            if self.below(100) < self.chaos {
                self.waiting.push(op.clone());
            }
        }
        let encoded = self.state.snapshot();
        let restored = ClusterState::restore(&encoded).unwrap();
        assert!(restored.snapshot() == encoded, "a restored state has the same encoding");
        self.state = restored;
        self.follow();
    }

    /// What every node learns from the state: a new epoch, and a new seal.
    fn follow(&mut self) {
        let membership = self.state.membership().clone();
        if let Some(sealing) = membership.sealing()
            && let Some(seal) = sealing.seal
        {
            let before = self.seals.insert(sealing.committee.record().epoch(), seal);
            assert!(before.is_none_or(|before| before == seal), "one seal of an epoch");
        }
        let last = self.chain.current().record().epoch();
        let Some(start) = membership.start().filter(|_| membership.committee().record().epoch() > last) else { return };
        assert_eq!(membership.committee().record().epoch(), last + 1);
        let (handoff, seal) = (start.handoff.clone(), start.seal);
        let committee = membership.committee().record().clone();
        self.chain = self.chain.extended([EpochLink { handoff, committee, seal }]).unwrap();
    }

    /// Some time in which nodes do their duties and blocks are made.
    pub(super) fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round();
        }
    }

    fn round(&mut self) {
        let (membership, time) = (self.membership().clone(), self.time);
        let mut ops = Vec::new();
        for node in self.nodes.values_mut().filter(|node| !node.is_away) {
            let node_key = node.key.node_key();
            let unix_seconds = Some(time).filter(|_| !node.is_in_doubt);
            let own = OwnState { node_key: &node_key, unix_seconds, holds_everything: !node.lacks_blobs };
            let consents = node.consents.clone();
            for duty in membership.duties(own, |change| consents.get(&change.id()).copied()) {
                ops.extend(node.perform(&membership, duty, time, &self.certificates));
            }
        }
        for op in ops {
            let op = self.op(&op);
            self.waiting.push(op);
        }
        self.block();
    }

    fn joiners(&mut self, count: u64) -> Vec<AddedMember> {
        (0..count)
            .map(|_| {
                let number = self.next_node;
                self.next_node += 1;
                let key = secret(number);
                let node_key = key.node_key();
                self.nodes.insert(node_key, Node::new(key, BTreeMap::new()));
                AddedMember { node_key, name: MemberName::new(&format!("joiner-{number}")).unwrap() }
            })
            .collect()
    }

    pub(super) fn changing(&mut self, joins: u64, leaves: usize) -> CommitteeChange {
        let record = self.membership().committee().record().clone();
        let added = self.joiners(joins);
        let removed = self.members().into_iter().take(leaves).collect();
        let nonce = [u8::try_from(self.below(256)).unwrap(); 16];
        CommitteeChange::new(&record, nonce, false, removed, added).unwrap()
    }

    pub(super) fn propose_unsigned(&mut self, joins: u64, leaves: usize) {
        let change = self.changing(joins, leaves);
        self.order(&MembershipOp::Propose { change, operator: None });
    }

    /// Proposes a change that all members agree to by themselves. Returns who joins.
    pub(super) fn propose(&mut self, joins: u64, leaves: usize) -> Vec<NodeKey> {
        self.propose_as(joins, leaves, Some(Consent::Automatic)).1
    }

    /// Proposes a change to which all members agree in this way. Returns it, and who joins.
    pub(super) fn propose_as(
        &mut self,
        joins: u64,
        leaves: usize,
        consent: Option<Consent>,
    ) -> (ChangeId, Vec<NodeKey>) {
        let change = self.changing(joins, leaves);
        let (id, added) = (change.id(), change.added.iter().map(|member| member.node_key).collect());
        self.set_consent(id, consent);
        let operator = self.is_operated.then(|| change.sign_as_operator(&Self::operator()));
        let effect = self.order(&MembershipOp::Propose { change, operator });
        assert_eq!(effect, format!("proposed {id}"));
        (id, added)
    }

    /// All members agree to a change in this way from now on.
    pub(super) fn set_consent(&mut self, change: ChangeId, consent: Option<Consent>) {
        for node in self.nodes.values_mut() {
            match consent {
                Some(consent) => drop(node.consents.insert(change, consent)),
                None => drop(node.consents.remove(&change)),
            }
        }
    }

    /// The change that a quorum approves.
    pub(super) fn running(&self) -> Option<ChangeId> {
        self.membership().running().map(|running| running.id)
    }

    /// Certifies some files, changes the members, and waits until the next epoch is active and the last one sealed.
    pub(super) fn change(&mut self, joins: u64, leaves: usize) {
        let epoch = self.epoch();
        self.certify(&format!("a file of epoch {epoch}"));
        self.propose(joins, leaves);
        self.until_epoch(epoch + 1);
        self.certify(&format!("the first file of epoch {}", epoch + 1));
        self.until_sealed();
        self.assert_sealed(epoch);
    }

    pub(super) fn change_at_random(&mut self) {
        let n = u64::from(self.membership().committee().record().n());
        let most = u64::from(vouch_core::quorum::honest_holders(n.try_into().unwrap())) - 1;
        let (joins, leaves) = (self.below(3), self.below(most + 1));
        let away = self.members()[usize::try_from(self.below(n)).unwrap()];
        // Both committees tolerate one member that is away.
        let is_away = n >= 4 && n + joins >= leaves + 4 && self.below(2) == 0;
        self.set_away(away, is_away);
        self.change(joins, leaves.try_into().unwrap());
        if let Some(node) = self.nodes.get_mut(&away) {
            node.is_away = false;
        }
    }

    /// A certificate of the active epoch, by a quorum of its members.
    fn certify(&mut self, label: &str) {
        let committee = self.chain.current().clone();
        let (record, epoch) = (committee.record(), committee.record().epoch());
        let batch = Batch::new(self.time, vec![receipt(label)]).unwrap();
        let mut tally = Tally::<Stored>::new(record, batch.body());
        for (member, entry) in (0..).zip(record.members()) {
            let node = &self.nodes[&entry.node_key];
            let key = node.votes.range(..=epoch).map(|(_, key)| key).find(|key| key.vote_key() == entry.vote_key);
            if !node.is_away && node.stopped.get(&epoch).is_none_or(|until| self.time <= *until) && !tally.is_complete()
            {
                tally.add(&committee, member, tally.statement().sign(key.unwrap())).unwrap();
            }
        }
        self.certificates.extend(tally.certificates(batch.claims()).unwrap());
    }

    /// The seal of an epoch has exactly its certificates.
    fn assert_sealed(&self, epoch: u64) {
        let record = self.chain.record(epoch).unwrap();
        let of_epoch = self.certificates.iter().filter(|certificate| certificate.epoch == epoch);
        let statements: Vec<_> = of_epoch.map(|certificate| certificate.statement(record).unwrap().id()).collect();
        let tree = SealTree::new(statements.iter().copied()).unwrap();
        let sealing = self.chain.record(epoch + 1).unwrap();
        for statement in &statements {
            let seal = tree.path(statement).unwrap().seal(record, statement).unwrap();
            assert_eq!(Some(&Statement::new(sealing, seal).id()), self.seals.get(&epoch), "epoch {epoch}");
        }
        assert!(!statements.is_empty());
    }

    /// Every certificate is valid by the chain, and none was issued after its epoch closed.
    pub(super) fn assert_all_verify(&self) {
        assert!(self.certificates.len() > 2);
        for certificate in &self.certificates {
            let committee = self.chain.of_epoch(certificate.epoch).unwrap();
            assert_eq!(verify_signed(certificate, committee), Ok(()));
            let closing = self.chain.closing(certificate.epoch);
            assert!(closing.is_none_or(|closing| certificate.claim.issued_at <= closing));
        }
        for epoch in 2..=self.epoch() {
            assert_eq!(self.chain.seal_of(epoch - 2), self.seals.get(&(epoch - 2)).copied());
        }
    }
}

impl Node {
    fn new(key: NodeSecretKey, votes: BTreeMap<u64, VoteSecretKey>) -> Self {
        let (stopped, signed, consents) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { key, votes, stopped, signed, consents, is_away: false, is_in_doubt: false, lacks_blobs: false }
    }

    /// Its key in a committee.
    fn key_in(&self, record: &CommitteeRecord) -> &VoteSecretKey {
        let member = record.member(record.position(&self.key.node_key()).unwrap()).unwrap();
        self.votes.values().find(|key| key.vote_key() == member.vote_key).unwrap()
    }

    fn sign_once(&mut self, epoch: u64, kind: &'static str, statement: StatementId) {
        let before = self.signed.insert((epoch, kind), statement);
        assert!(before.is_none_or(|before| before == statement), "a second {kind} of epoch {epoch}");
    }

    fn perform(
        &mut self,
        membership: &Membership,
        duty: Duty,
        time: u64,
        certificates: &[Certificate],
    ) -> Vec<MembershipOp> {
        let committee = membership.committee();
        let (record, node_key) = (committee.record(), self.key.node_key());
        let epoch = record.epoch();
        let next = || membership.running().unwrap().next.as_ref().unwrap().committee.record().clone();
        let op = match duty {
            Duty::Approve { change, number } => {
                MembershipOp::Approve(NodeVote::Approve { change, number }.sign(record, &self.key))
            }
            Duty::Offer => {
                let number = u64::from_le_bytes(node_key.0[..8].try_into().unwrap());
                let vote = self.votes.entry(epoch + 1).or_insert_with(|| vote_key(number, epoch + 1));
                MembershipOp::Offer(Box::new(KeyOffer::new(record, &self.key, vote)))
            }
            Duty::Fix { change } => MembershipOp::Fix { change },
            Duty::Accept(statement) => {
                MembershipOp::Accept { node_key, signature: statement.sign(self.key_in(&next())) }
            }
            Duty::Stop => {
                let until = *self.stopped.entry(epoch).or_insert(time + 5);
                MembershipOp::Stop(NodeVote::Stop { until }.sign(record, &self.key))
            }
            Duty::SignHandoff(statement) => {
                self.sign_once(epoch, "handoff", statement.id());
                MembershipOp::SignHandoff { node_key, signature: statement.sign(self.key_in(record)) }
            }
            Duty::ReportCertificates { is_turn } => {
                let sealing = membership.sealing().unwrap();
                assert!(time >= sealing.closing + SEAL_DELAY);
                let sealed = sealing.committee.record();
                let of_epoch = certificates.iter().filter(|certificate| certificate.committee == sealed.digest());
                let missing = of_epoch.filter_map(|certificate| CertifiedStatement::of(certificate, sealed));
                let is_missing = |statement: &CertifiedStatement| {
                    !sealing.statements.contains(&Statement::new(sealed, statement.body).id())
                };
                let missing: Vec<_> = missing.filter(is_missing).collect();
                if !missing.is_empty() {
                    return if is_turn { MembershipOp::certified(missing) } else { Vec::new() };
                }
                MembershipOp::SealReady(NodeVote::SealReady.sign(record, &self.key))
            }
            Duty::SignSeal(statement) => {
                self.sign_once(epoch, "seal", statement.id());
                MembershipOp::SignSeal { node_key, signature: statement.sign(self.key_in(record)) }
            }
        };
        vec![op]
    }
}
