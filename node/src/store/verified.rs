//! Blobs that need not be read before a vote: those whose bytes arrived just now, and those whose files were read within a day
//! and are unchanged.
//!
//! This is kept in memory only: after a restart, each blob is read again before the first vote for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use crate::host::Host;
use crate::host::disk::FileIdentity;

/// How long a verified read counts, in running time.
pub(super) const VALID_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long bytes that arrived with a put count as verified: longer than a put takes from its last byte to its last vote.
const FRESH_FOR: Duration = Duration::from_secs(180);
/// Maximum number of remembered blobs. A forgotten one is read again.
const MOST_READ: usize = 16 << 10;
const MOST_FRESH: usize = 32 << 10;
/// Maximum number of blobs read at once for votes. The rest of the disk's throughput is for puts and gets.
const READERS: usize = 2;

/// The version of a blob that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// The identities of its two files.
    Files { data: FileIdentity, outboard: FileIdentity },
    /// The object store's versions of its two objects.
    Objects { data: String, outboard: String },
}

/// A bounded map that evicts the oldest entry.
#[derive(Debug)]
struct RecentMap<K, V> {
    rows: HashMap<K, (V, Duration)>,
    order: VecDeque<(K, Duration)>,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> RecentMap<K, V> {
    fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), order: VecDeque::new(), most }
    }

    fn insert(&mut self, key: K, value: V, now: Duration) {
        self.rows.insert(key, (value, now));
        self.order.push_back((key, now));
        while self.order.len() > self.most {
            let Some((oldest, since)) = self.order.pop_front() else { break };
            // keep an entry that was inserted again
            if self.rows.get(&oldest).is_some_and(|(_, noted)| *noted == since) {
                self.rows.remove(&oldest);
            }
        }
    }

    fn get(&self, key: &K, now: Duration, within: Duration) -> Option<&V> {
        self.rows.get(key).filter(|(_, since)| now <= *since + within).map(|(value, _)| value)
    }
}

#[derive(Debug)]
struct VerifiedState {
    read: RecentMap<Digest, Version>,
    /// By digest and salt: another put of the same blob received its own bytes.
    fresh: RecentMap<(Digest, [u8; 16]), ()>,
    /// The blobs that are being read.
    reading: HashSet<Digest>,
}

/// The verified blobs of one store.
#[derive(Debug)]
pub(super) struct VerifiedBlobs {
    host: Host,
    notes: Mutex<VerifiedState>,
    done: Condvar,
    bytes: AtomicU64,
}

impl VerifiedBlobs {
    pub(super) fn new(host: Host) -> Self {
        let (read, fresh) = (RecentMap::new(MOST_READ), RecentMap::new(MOST_FRESH));
        let notes = VerifiedState { read, fresh, reading: HashSet::new() };
        Self { host, notes: Mutex::new(notes), done: Condvar::new(), bytes: AtomicU64::new(0) }
    }

    fn notes(&self) -> MutexGuard<'_, VerifiedState> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that every byte of this version was read and is right.
    pub(super) fn note_read(&self, digest: Digest, version: Version) {
        self.notes().read.insert(digest, version, self.host.monotonic());
    }

    /// Notes that the bytes arrived with the put of this receipt and are durable.
    pub(super) fn note_fresh(&self, assignment: &Assignment) {
        self.notes().fresh.insert((assignment.digest, assignment.salt), (), self.host.monotonic());
    }

    /// The version that was read within [`VALID_FOR`].
    pub(super) fn read_lately(&self, digest: &Digest) -> Option<Version> {
        self.notes().read.get(digest, self.host.monotonic(), VALID_FOR).cloned()
    }

    /// The indices of the assignments whose bytes have not just arrived.
    pub(super) fn not_fresh(&self, assignments: &[Assignment]) -> Vec<usize> {
        let (notes, now) = (self.notes(), self.host.monotonic());
        let is_fresh =
            |assignment: &Assignment| notes.fresh.get(&(assignment.digest, assignment.salt), now, FRESH_FOR).is_some();
        (0..).zip(assignments).filter(|(_, assignment)| !is_fresh(assignment)).map(|(index, _)| index).collect()
    }

    /// Waits for a turn to read a blob. At most [`READERS`] blobs are read at once, and none by two readers.
    pub(super) fn turn(&self, digest: Digest) -> Turn<'_> {
        let mut notes = self.notes();
        while notes.reading.len() >= READERS || notes.reading.contains(&digest) {
            notes = self.done.wait(notes).unwrap_or_else(PoisonError::into_inner);
        }
        notes.reading.insert(digest);
        Turn { verified: self, digest }
    }

    /// Number of bytes read for votes. Scrubbing slows down by it, because both share one IO budget.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The turn to read one blob, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    verified: &'a VerifiedBlobs,
    digest: Digest,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.verified.notes().reading.remove(&self.digest);
        self.verified.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bounded_in_number_and_age() {
        let mut recent = RecentMap::new(3);
        let at = Duration::from_secs;
        for number in 0..4 {
            recent.insert(number, number, at(number));
        }
        assert_eq!(recent.get(&0, at(4), at(100)), None, "the first is evicted");
        assert_eq!(recent.get(&1, at(11), at(10)), Some(&1));
        assert_eq!(recent.get(&1, at(12), at(10)), None, "too old");
        // an entry that is inserted again is not evicted with its first insertion
        recent.insert(2, 20, at(5));
        recent.insert(9, 9, at(6));
        recent.insert(8, 8, at(7));
        assert_eq!(recent.get(&2, at(7), at(10)), Some(&20));
        assert!(recent.order.len() <= 3 && recent.rows.len() <= 3);
    }
}
