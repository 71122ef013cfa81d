//! The ops that could be applied a second time, because they have not expired yet.

use std::collections::BTreeMap;

use vouch_core::codec::{DecodeError, Reader, in_range, write_count};
use vouch_core::link::NodeKey;
use vouch_core::log::OpId;

use super::error::SnapshotError;
use super::{LIVE_OPS, OP_LIFETIME};

/// The identities of applied ops, until they expire. After that, no block may contain the op again, so nothing needs to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RecentOps {
    /// By expiry and identity; the values are the submitters.
    ops: BTreeMap<(u64, OpId), NodeKey>,
    counts: BTreeMap<NodeKey, usize>,
}

impl RecentOps {
    pub(super) fn contains(&self, expires_at: u64, id: OpId) -> bool {
        self.ops.contains_key(&(expires_at, id))
    }

    pub(super) fn insert(&mut self, expires_at: u64, id: OpId, submitter: NodeKey) {
        if self.ops.insert((expires_at, id), submitter).is_none() {
            *self.counts.entry(submitter).or_default() += 1;
        }
    }

    /// Forgets what no block of this time or later may contain.
    pub(super) fn forget_expired(&mut self, time: u64) {
        let live = self.ops.split_off(&(time, OpId([0; 32])));
        for submitter in std::mem::replace(&mut self.ops, live).into_values() {
            if let Some(count) = self.counts.get_mut(&submitter) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&submitter);
                }
            }
        }
    }

    /// Whether `limit` or more ops of the submitter are live at this time.
    pub(super) fn is_full_for(&self, submitter: &NodeKey, limit: usize, time: u64) -> bool {
        let count = self.counts.get(submitter).copied().unwrap_or(0);
        count >= limit && count - self.expired(time).filter(|of| *of == submitter).count() >= limit
    }

    /// Whether `limit` or more ops of all submitters are live at this time.
    pub(super) fn is_full(&self, limit: usize, time: u64) -> bool {
        self.ops.len() >= limit && self.ops.len() - self.expired(time).count() >= limit
    }

    fn expired(&self, time: u64) -> impl Iterator<Item = &NodeKey> {
        self.ops.range(..(time, OpId([0; 32]))).map(|(_, submitter)| submitter)
    }

    /// Appends the canonical encoding: the number of submitters and their keys, ascending; the number of ops, and each one's expiry,
    /// identity and submitter's index, ascending.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut index_of = BTreeMap::new();
        write_count(out, self.counts.len());
        for (index, key) in (0u32..).zip(self.counts.keys()) {
            index_of.insert(key, index);
            out.extend_from_slice(&key.0);
        }
        write_count(out, self.ops.len());
        for ((expires_at, id), submitter) in &self.ops {
            out.extend_from_slice(&expires_at.to_le_bytes());
            out.extend_from_slice(&id.0);
            out.extend_from_slice(&index_of.get(submitter).copied().unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    /// Reads the ops that are remembered after a block of this time.
    pub(super) fn read(reader: &mut Reader<'_>, time: u64) -> Result<Self, SnapshotError> {
        let submitters = read_count(reader, "number of submitters")?;
        let mut keys = Vec::new();
        for _ in 0..submitters {
            let key = NodeKey(reader.array("submitter")?);
            if keys.last().is_some_and(|last| *last >= key) {
                return Err(SnapshotError::Order { field: "submitters" });
            }
            keys.push(key);
        }
        let mut recent = Self::default();
        for _ in 0..read_count(reader, "number of recent ops")? {
            let expires_at = reader.u64("expires_at")?;
            in_range("expires_at", expires_at, time, time + OP_LIFETIME)?;
            let id = OpId(reader.array("op identity")?);
            if recent.ops.last_key_value().is_some_and(|(last, _)| *last >= (expires_at, id)) {
                return Err(SnapshotError::Order { field: "recent ops" });
            }
            let index = reader.u32("submitter's index")?;
            let Some(submitter) = keys.get(index as usize) else {
                let max = u64::from(submitters).saturating_sub(1);
                let field = "submitter's index";
                return Err(DecodeError::OutOfRange { field, min: 0, max, got: index.into() }.into());
            };
            recent.insert(expires_at, id, *submitter);
        }
        // Otherwise a key without ops could be added, and one state would have two encodings.
        match recent.counts.len() == keys.len() {
            true => Ok(recent),
            false => Err(SnapshotError::IdleSubmitters { expected: recent.counts.len(), got: keys.len() }),
        }
    }
}

fn read_count(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    let count = reader.u32(field)?;
    in_range(field, count.into(), 0, LIVE_OPS as u64)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1000;

    fn id(i: u8) -> OpId {
        OpId([i; 32])
    }

    fn key(i: u8) -> NodeKey {
        NodeKey([i; 32])
    }

    fn recent() -> RecentOps {
        let mut recent = RecentOps::default();
        recent.insert(TIME + 5, id(1), key(9));
        recent.insert(TIME, id(2), key(8));
        recent.insert(TIME + 5, id(0), key(8));
        recent
    }

    fn encode(recent: &RecentOps) -> Vec<u8> {
        let mut out = Vec::new();
        recent.write(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<RecentOps, SnapshotError> {
        let mut reader = Reader::new(bytes);
        let recent = RecentOps::read(&mut reader, TIME)?;
        reader.finish()?;
        Ok(recent)
    }

    #[test]
    fn an_op_is_remembered_until_it_has_expired() {
        let mut recent = recent();
        recent.forget_expired(TIME);
        assert!(recent.contains(TIME, id(2)), "a block of this time may still contain it");
        recent.forget_expired(TIME + 1);
        assert!(!recent.contains(TIME, id(2)));
        assert!(recent.contains(TIME + 5, id(1)) && recent.contains(TIME + 5, id(0)));
        recent.forget_expired(TIME + 6);
        assert_eq!(recent, RecentOps::default());
    }

    #[test]
    fn expired_ops_count_for_nobody() {
        let recent = recent();
        assert!(recent.is_full_for(&key(8), 2, TIME));
        assert!(!recent.is_full_for(&key(8), 3, TIME));
        assert!(!recent.is_full_for(&key(8), 2, TIME + 1));
        assert!(recent.is_full_for(&key(9), 1, TIME + 1));
        assert!(recent.is_full(3, TIME) && !recent.is_full(4, TIME) && !recent.is_full(3, TIME + 1));
    }

    #[test]
    fn there_is_one_encoding() {
        let bytes = encode(&recent());
        assert_eq!(bytes.len(), 4 + 2 * 32 + 4 + 3 * 44);
        assert_eq!(decode(&bytes), Ok(recent()));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        let swap = |at: usize, size: usize| {
            let mut swapped = bytes.clone();
            let (left, right) = swapped[at..].split_at_mut(size);
            left.swap_with_slice(&mut right[..size]);
            decode(&swapped)
        };
        assert_eq!(swap(4, 32), Err(SnapshotError::Order { field: "submitters" }));
        assert_eq!(swap(72 + 44, 44), Err(SnapshotError::Order { field: "recent ops" }));
        let altered = |at: usize, byte: u8| {
            let mut altered = bytes.clone();
            altered[at] = byte;
            decode(&altered)
        };
        assert!(matches!(altered(72 + 40, 2), Err(SnapshotError::Decode(_))), "there are two submitters");
        assert_eq!(altered(72 + 44 * 2 + 40, 0), Err(SnapshotError::IdleSubmitters { expected: 1, got: 2 }));
        assert!(matches!(altered(71, 1), Err(SnapshotError::Decode(_))), "too many ops");
        assert!(matches!(altered(3, 1), Err(SnapshotError::Decode(_))), "too many submitters");
        // 1000 is 0x03E8: one second before the block, and more than 120 s after it.
        assert!(matches!(altered(72, 0xE7), Err(SnapshotError::Decode(_))));
        assert!(matches!(altered(72 + 88 + 1, 0x05), Err(SnapshotError::Decode(_))));
    }
}
