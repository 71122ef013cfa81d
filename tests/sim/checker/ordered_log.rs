//! The rules of the ordered log: what clients were proved, and what the replicas' disks have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use vouch::host::Host;
use vouch::log::LogOwner;
use vouch::log::block_store::BlockStore;
use vouch::log::disk::BLOCKS;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::log::{BlockDigest, Op, OpId};
use vouch_core::statement::{Body, LogHead, Statement};
use vouch_core::verify::{LogVerifyOptions, Verifier};

use super::{Checker, FOLDER, Rule, node_of, now};
use crate::network::Node;

/// What clients know of the log.
#[derive(Debug, Default)]
pub struct KnownLog {
    submitted: BTreeSet<OpId>,
    /// The place of each op that was proved.
    proved: BTreeMap<OpId, (u64, BlockDigest)>,
    /// The heads that came with proofs, by height.
    heads: BTreeMap<u64, LogHead>,
    verifier: Verifier,
}

impl Checker {
    /// A client is about to submit an op.
    pub fn submitted(&self, op: &Op) {
        let mut known = self.known();
        let cluster = known.committees.cluster();
        known.log.submitted.extend(cluster.map(|cluster| op.id(&cluster)));
    }

    /// Checks the proof that a client got for its op. Returns the height of the op's block.
    pub fn op_answered(&self, op: &Op, bundle: &[u8]) -> u64 {
        let cluster = self.cluster();
        cluster.map_or(0, |cluster| self.proof_answered(op.id(&cluster), bundle))
    }

    /// Checks the proof of an op. Returns the height of the op's block.
    pub fn proof_answered(&self, op: OpId, bundle: &[u8]) -> u64 {
        let judged = {
            let known = &mut *self.known();
            let cluster = known.committees.cluster();
            known
                .log
                .verifier
                .judge_op(bundle, &LogVerifyOptions { trust: cluster.into(), wanted: Some(op), now: now() })
        };
        let (proof, certificate) = match judged.proved() {
            Ok((proof, certificate)) => (proof, certificate.clone()),
            Err(error) => {
                self.broken(Rule::OpProved, format_args!("{op}: {error:?}"));
                return 0;
            }
        };
        let place = (proof.block.height, proof.block.digest());
        let before = *self.known().log.proved.entry(op).or_insert(place);
        if before != place {
            self.broken(Rule::OpKept, format_args!("{op} was proved at {before:?}, and is now at {place:?}"));
        }
        self.check_head(&certificate);
        place.0
    }

    /// Checks a head that a client got.
    pub fn head_answered(&self, bundle: &[u8]) {
        let judged = {
            let known = &mut *self.known();
            let cluster = known.committees.cluster();
            known.log.verifier.judge_head(bundle, &LogVerifyOptions { trust: cluster.into(), wanted: None, now: now() })
        };
        match judged.proved() {
            Ok((_, certificate)) => self.check_head(certificate),
            Err(error) => self.broken(Rule::OpProved, format_args!("log head: {error:?}")),
        }
    }

    /// Checks a genuine certificate of a head: there is no other head of its height, and its signers have its blocks.
    fn check_head(&self, certificate: &Certificate<LogHead>) {
        let head = certificate.claim;
        let (signers, honest) = {
            let known = self.known();
            (known.committees.signers(certificate), known.shape.honest())
        };
        let before = self.known().log.heads.insert(head.height, head);
        if before.is_some_and(|before| before != head) {
            self.broken(Rule::OneLog, format_args!("expected the head {before:?}, got {head:?}"));
        }
        if before.is_some() || self.known().is_repeat {
            return;
        }
        for signer in signers.into_iter().filter(|signer| honest.contains(signer)) {
            let held = self.blocks_of(signer).and_then(|blocks| blocks.head(head.height).ok()?);
            if held != Some(head) {
                self.broken(Rule::HeadHolds, format_args!("{signer} signed {head:?}, and would have {held:?}"));
            }
        }
    }

    /// The greatest height of a block that an op was proved to be in.
    pub fn proved_height(&self) -> u64 {
        self.known().log.proved.values().map(|(height, _)| *height).max().unwrap_or(0)
    }

    pub fn proved_ops(&self) -> Vec<OpId> {
        self.known().log.proved.keys().copied().collect()
    }

    /// The height up to which a replica has the log, durably.
    pub fn log_height(&self, node: Node) -> u64 {
        self.blocks_of(node).map_or(0, |blocks| blocks.height())
    }

    /// The blocks that a replica would have after a loss of power.
    fn blocks_of(&self, node: Node) -> Option<BlockStore> {
        let committees = self.committees();
        let key = |committee: &Arc<Committee>| {
            let mut members = (0..).zip(committee.record().members());
            members.find(|(index, _)| node_of(committee, *index) == node).map(|(_, member)| member.node_key)
        };
        let owner = LogOwner { cluster: committees.cluster()?, node_key: committees.all().find_map(key)? };
        let path = Path::new(FOLDER).join(BLOCKS);
        let disk = self.known().disks[node].durable_part(|of| of == path);
        let host = Host::on_disk(std::sync::Arc::new(disk));
        let (blocks, replaced) = BlockStore::open(&host, &path, owner, true).ok()?;
        if let Some(replaced) = replaced {
            self.broken(Rule::OneLog, format_args!("{node}: {replaced}"));
        }
        Some(blocks)
    }

    /// Checks the logs of all replicas in the end.
    pub fn check_logs(&self) {
        let honest = {
            let known = self.known();
            Some(known.shape.honest()).filter(|_| !known.is_repeat)
        };
        let Some(honest) = honest else { return };
        let logs: Vec<_> = honest.filter_map(|node| Some((node, self.blocks_of(node)?))).collect();
        let Some((_, longest)) = logs.iter().max_by_key(|(_, blocks)| blocks.height()) else {
            return self.broken(Rule::OneLog, format_args!("no replica has a log"));
        };
        let heads = self.check_chain(longest);
        for (node, blocks) in &logs {
            self.check_log_of(*node, blocks, &heads);
        }
        let (claimed, proved) = {
            let known = self.known();
            (known.log.heads.clone(), known.log.proved.clone())
        };
        let of = |height: u64| heads.get(usize::try_from(height).ok()?.checked_sub(1)?).map(|(_, head)| head);
        for (height, head) in claimed {
            if of(height) != Some(&head) {
                self.broken(Rule::OneLog, format_args!("expected {:?}, got the certified {head:?}", of(height)));
            }
        }
        for (op, (height, block)) in proved {
            let found = longest.find_op(op).ok().flatten().map(|(height, _)| height);
            if found != Some(height) || of(height).is_none_or(|head| head.block != block) {
                self.broken(
                    Rule::OpKept,
                    format_args!("{op} was proved in block {height}, {block}; found in {found:?}"),
                );
            }
        }
    }

    /// Checks a log by itself: each op is a client's, and is there once. Returns what is signed about each height, with its
    /// epoch.
    fn check_chain(&self, blocks: &BlockStore) -> Vec<(u64, LogHead)> {
        let (mut heads, mut seen, mut parent) = (Vec::new(), BTreeMap::new(), BlockDigest::GENESIS);
        for height in 1..=blocks.height() {
            let read = blocks.blocks(height, 1).ok().and_then(|mut read| read.pop());
            let (Some(new), Ok(Some(head))) = (read, blocks.head(height)) else {
                self.broken(Rule::OneLog, format_args!("block {height} cannot be read"));
                return heads;
            };
            let header = new.block.header();
            if header.parent != parent {
                self.broken(Rule::OneLog, format_args!("block {height} follows {}, expected {parent}", header.parent));
            }
            parent = head.block;
            heads.push((header.epoch, head));
            for op in new.block.ops() {
                let id = op.op.id(&header.cluster);
                // Ops about members come from the members themselves.
                if op.op.kind() == Op::NOTE && !self.known().log.submitted.contains(&id) {
                    self.broken(Rule::OneLog, format_args!("nobody submitted {id}, which is in block {height}"));
                }
                if let Some(earlier) = seen.insert(id, height) {
                    self.broken(Rule::OpKept, format_args!("{id} is in block {earlier} and again in block {height}"));
                }
            }
        }
        heads
    }

    /// Checks one replica's log against the longest: it has the same blocks, and its journal has no other head.
    fn check_log_of(&self, node: Node, blocks: &BlockStore, heads: &[(u64, LogHead)]) {
        let committees = self.committees();
        let store = self.store_of(node, &BTreeSet::new());
        let digests = blocks.digests(1, blocks.height()).unwrap_or_default();
        for (index, (epoch, head)) in heads.iter().enumerate() {
            if digests.get(index).is_some_and(|digest| *digest != head.block) {
                let got = digests[index];
                self.broken(Rule::OneLog, format_args!("{node} has block {} as {got}, others {head:?}", head.height));
            }
            let signed = store.signed(LogHead::KIND, head.height).unwrap_or_default();
            // Nobody has seen the committee of an epoch that is decided and not active.
            let committee = committees.of_epoch(*epoch);
            let expected = committee.map(|committee| Statement::new(committee.record(), *head).id());
            if signed.iter().any(|statement| expected.is_some_and(|expected| *statement != expected)) {
                self.broken(Rule::OneLog, format_args!("{node} signed another head than {head:?}"));
            }
        }
    }
}
