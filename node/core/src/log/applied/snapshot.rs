//! The encoding of the log's state. A reader checks it against the digest of its last block, so the state may come from a peer that the
//! reader does not trust.

use vouch_core::codec::{Reader, write_count};
use vouch_core::digest::ClusterId;
use vouch_core::log::{BlockHeader, LogTree, StateDigest};

use super::error::SnapshotError;
use super::recent_ops::RecentOps;
use super::{Applied, MAX_SNAPSHOT};
use crate::log::members::LogMembers;
use crate::log::state_machine::StateMachine;

const MAGIC: &[u8; 7] = b"vouchls";
const VERSION: u8 = 1;

/// The part of the state that is not in the header of the last block: its digest is. It contains neither that block's digest nor a tree
/// over it, because the block commits to this.
pub(super) fn encode_state(recent: &RecentOps, machine: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    recent.write(&mut out);
    write_count(&mut out, machine.len());
    out.extend_from_slice(machine);
    out
}

impl<M: StateMachine> Applied<M> {
    /// The snapshot: the header of the last block, the log tree before it, and the state. `None` at height 0, where there is nothing to
    /// transfer.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let header = self.header.as_ref()?;
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        header.write(&mut out);
        self.before.write(&mut out);
        out.extend_from_slice(&encode_state(&self.recent, &self.machine.snapshot()));
        Some(out)
    }

    /// Decodes exactly one snapshot of this cluster, and checks that all of it is what its last block commits to. Whether that block was
    /// decided is for the caller to check, by [`block`](Self::block). `founders`: the members that the log began with.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn decode(bytes: &[u8], cluster: ClusterId, founders: LogMembers) -> Result<Self, SnapshotError> {
        if bytes.len() > MAX_SNAPSHOT {
            return Err(SnapshotError::TooLarge { got: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion { expected: VERSION, got: version });
        }
        let header = BlockHeader::read(&mut reader)?;
        if header.cluster != cluster {
            return Err(SnapshotError::Cluster { expected: cluster, got: header.cluster });
        }
        let before = LogTree::read(&mut reader)?;
        if before.size() + 1 != header.height {
            return Err(SnapshotError::TreeSize { expected: header.height - 1, got: before.size() });
        }
        if before.root() != header.log_root {
            return Err(SnapshotError::LogRoot { expected: header.log_root, got: before.root() });
        }
        let state = reader.rest();
        // Before the machine sees a byte: it is given nothing that a block does not commit to.
        let got = StateDigest::of(state);
        if got != header.state {
            return Err(SnapshotError::State { expected: header.state, got });
        }
        let (recent, machine) = decode_state(state, header.time)?;
        let mut applied = Self::genesis(cluster, founders, machine);
        applied.before = before;
        applied.recent = recent;
        applied.set_last(header);
        Ok(applied)
    }
}

fn decode_state<M: StateMachine>(bytes: &[u8], time: u64) -> Result<(RecentOps, M), SnapshotError> {
    let mut reader = Reader::new(bytes);
    let recent = RecentOps::read(&mut reader, time)?;
    let length = reader.u32("length of the state machine")?;
    let encoded = reader.take("state machine", length as usize)?;
    reader.finish()?;
    let machine = M::restore(encoded)?;
    // A machine that loses something when it is restored would disagree with all others at the next block.
    match machine.snapshot() == encoded {
        true => Ok((recent, machine)),
        false => Err(SnapshotError::MachineEncoding),
    }
}
