//! The disk of the ordered log: what a member wrote before it signed, what was decided, and the thread that writes both.

use std::fmt;

use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;

pub mod block_store;
pub mod disk;
#[cfg(test)]
mod tests;
pub mod unused;
pub mod wal_file;

/// Whose log it is. Files of another owner are refused: their records are not what this member has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOwner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub node_key: NodeKey,
}

impl LogOwner {
    const SIZE: usize = 64;

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..32].copy_from_slice(&self.cluster.0);
        bytes[32..].copy_from_slice(&self.node_key.0);
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (mut cluster, mut node_key) = ([0; 32], [0; 32]);
        cluster.copy_from_slice(&bytes[..32]);
        node_key.copy_from_slice(&bytes[32..]);
        Self { cluster: ClusterId(cluster), node_key: NodeKey(node_key) }
    }
}

impl fmt::Display for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} of cluster {}", self.node_key, self.cluster)
    }
}
