//! Notes for the ordered log of a cluster, and what replicas that do not run have in their folders.

use std::path::Path;

use vouch::host::Host;
use vouch::log::LogOwner;
use vouch::log::block_store::BlockStore;
use vouch::log::disk::BLOCKS;
use vouch_core::digest::{BlockDigest, ClusterId};
use vouch_core::log::Op;

use crate::http::request;
use crate::unix_seconds;

/// The path of ops.
pub const OPS: &str = "/v1/log/ops";
/// How long a note may wait, in seconds: nearly as long as it may.
const LIFETIME: u64 = 110;

/// A note that differs from those with another nonce.
pub fn note(nonce: u8) -> Op {
    Op::new(Op::NOTE, [nonce; 16], unix_seconds() + LIFETIME, b"a note".to_vec()).unwrap()
}

/// Submits an op. Returns the HTTP status: 201 once it is decided, 503 before the log runs.
pub async fn submit(address: String, op: Op) -> u16 {
    let body = op.encode();
    request(&address, "POST", OPS, &[("Content-Length", &body.len().to_string())], &body).await.status
}

/// Waits until the log runs, and submits a first note.
///
/// # Panics
/// If it is refused.
pub async fn first_note(address: &str) {
    loop {
        match submit(address.to_owned(), note(0)).await {
            503 => {}
            status => return assert_eq!(status, 201),
        }
    }
}

/// The decided blocks in a replica's folder. The replica must not be running.
pub fn blocks(folder: &Path, cluster: ClusterId) -> BlockStore {
    let host = Host::system();
    let node_key = vouch::replica::keys_of(&host, folder).unwrap().node.node_key();
    let owner = LogOwner { cluster, node_key };
    let (blocks, replaced) = BlockStore::open(&host, &folder.join(BLOCKS), owner, true).unwrap();
    assert!(replaced.is_none());
    blocks
}

/// The digests of all its blocks, from the first on.
pub fn digests(blocks: &BlockStore) -> Vec<BlockDigest> {
    let mut all = Vec::new();
    loop {
        let more = blocks.digests(all.len() as u64 + 1, 4096).unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}
