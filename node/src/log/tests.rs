use std::path::Path;
use std::sync::Arc;

use vouch_core::digest::{BlockDigest, ClusterId, StateDigest};
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{Block, BlockHeader, LogTree, Op, OpsDigest, SignedOp};
use vouch_core::merkle::TreeHash;

use super::block_store::{NewBlock, NewState};
use super::{LogOwner, unused};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::disk::simulated::SimulatedDisk;

mod blocks;
mod crash;
mod hostile;
mod kills;
mod proofs;
mod requests;
mod speed;

const FOLDER: &str = "/data";
const OWNER: LogOwner = LogOwner { cluster: ClusterId([3; 32]), node_key: NodeKey([4; 32]) };

fn host(disk: &SimulatedDisk) -> Host {
    Host::on_disk(Arc::new(disk.clone()))
}

/// A disk with the data folder of new keys.
fn empty() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    disk.create_folders(&[FOLDER.into()], 0o700).unwrap();
    unused::mark(&disk, Path::new(FOLDER), &OWNER.node_key).unwrap();
    disk
}

fn wal_path() -> std::path::PathBuf {
    Path::new(FOLDER).join(super::disk::WAL)
}

/// A block with one op. Only its height and its ops are right.
fn block(height: u64) -> NewBlock {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&height.to_le_bytes());
    let op = Op::new(0, nonce, 1_790_000_060, vec![7; 40]).unwrap();
    let ops = vec![SignedOp::sign(op, &OWNER.cluster, &NodeSecretKey::from_bytes(&[1; 32]))];
    let header = BlockHeader {
        cluster: OWNER.cluster,
        epoch: 0,
        height,
        parent: BlockDigest::GENESIS,
        author: OWNER.node_key,
        time: 1_790_000_000,
        log_root: TreeHash([0; 32]),
        count: 1,
        ops: OpsDigest::of(&ops),
        results: TreeHash([5; 32]),
        state: StateDigest([6; 32]),
    };
    let block = Block::new(header, ops).unwrap();
    NewBlock { block, effects: format!("effects {height}").into(), certificate: format!("certificate {height}").into() }
}

/// A state after a height, with a tree that its header commits to.
fn new_state(height: u64) -> NewState {
    let mut before = LogTree::new();
    (1..height).for_each(|height| drop(before.append(&block(height).block.digest())));
    let header = BlockHeader { log_root: before.root(), ..block(height).block.header().clone() };
    NewState { header, before, state: state(height) }
}

fn state(height: u64) -> Vec<u8> {
    format!("state {height}").into()
}

/// A record of which no two are alike.
fn record(number: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes);
    bytes
}
