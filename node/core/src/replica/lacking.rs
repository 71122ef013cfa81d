//! The certified blobs that this replica lacks, and its positions in the lists of certificates.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::ListPosition;

use super::assigned_blob::AssignedBlob;

/// Beyond this number of lacking blobs, no list is read until some are fetched. One page may exceed it.
pub const MAX_LACKING: usize = 4096;

/// A lacking blob is one that nobody can supply if every member answered so often that it does not hold it, for so long. Meanwhile a member
/// that restarts has come back.
const VAIN_ATTEMPTS: u32 = 3;
const VAIN_TIME: Duration = Duration::from_secs(60);

/// The positions up to which the lists of certificates were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPositions {
    /// The positions, by the node key of the list's owner.
    pub lists: BTreeMap<[u8; 32], ListPosition>,
    /// The latest expiry, in seconds since 1970, among the certificates that were skipped as expired by the wall clock; 0 if there are
    /// none. If the clock later shows an earlier time, it was wrong before, and the lists are read again.
    pub skipped_until: u64,
}

/// The progress of repair. `fetched` and `failed` are counted since the replica started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Number of certified blobs that this replica does not hold. `None` if unknown: until it has read the lists of certificates over a
    /// link, and while a server has certificates that it did not show.
    pub lacking: Option<u64>,
    /// Their bytes.
    pub lacking_bytes: Option<u64>,
    /// Number of those that no other member could supply either, over any link. They are looked for on and on, but a change of members does
    /// not wait for them.
    pub unavailable: u64,
    /// Blobs fetched, verified and stored.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Failed attempts. Each blob is retried.
    pub failed: u64,
}

/// Whether the lists read over one link name everything that is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// No round of lists is complete yet.
    New,
    /// All lists were read.
    Complete,
    /// The server has certificates that it could not show.
    Doubtful,
}

impl Repair {
    /// Number of blobs that this replica lacks and can get. `None` if unknown.
    pub fn obtainable(&self) -> Option<u64> {
        self.lacking.map(|lacking| lacking.saturating_sub(self.unavailable))
    }
}

/// A blob that this replica lacks.
#[derive(Debug)]
struct LackingBlob {
    /// With the best certificate that is known.
    blob: AssignedBlob,
    /// The earliest `issued_at` of its certificates, seconds since 1970.
    first_issued: u64,
    /// The attempts in which no member supplied it, if there are any.
    vain: Option<VainAttempts>,
}

/// Attempts to fetch a blob that no member holds.
#[derive(Debug)]
struct VainAttempts {
    since: Duration,
    last: Duration,
    count: u32,
    /// The links over which they were made.
    links: BTreeSet<u64>,
}

/// The lacking blobs, the positions in the lists, and the knowledge of each link.
#[derive(Debug, Default)]
pub struct LackingBlobs {
    fetched: u64,
    fetched_bytes: u64,
    failed: u64,
    /// By the digest of the whole blob.
    lacking: BTreeMap<Digest, LackingBlob>,
    positions: ListPositions,
    /// Owners whose lists were read to their ends since the replica started.
    read: BTreeSet<[u8; 32]>,
    /// Whether these positions are durable.
    is_saved: bool,
    /// Damaged blobs without a certificate here, for which the lists were read again from the beginning.
    orphans: BTreeSet<Digest>,
    links: BTreeMap<u64, Knowledge>,
    next_link: u64,
}

impl LackingBlobs {
    /// Continues the lists at their saved positions.
    pub fn new(positions: ListPositions) -> Self {
        Self { positions, is_saved: true, ..Self::default() }
    }

    /// The progress of repair. `wall`: the wall clock, in seconds since 1970.
    pub fn progress(&self, wall: u64) -> Repair {
        let is_known = self.is_known(wall);
        let bytes = self.lacking.values().map(|lacking| lacking.blob.assignment.length).sum();
        Repair {
            lacking: is_known.then_some(self.lacking.len() as u64),
            lacking_bytes: is_known.then_some(bytes),
            unavailable: self.unavailable().count() as u64,
            fetched: self.fetched,
            fetched_bytes: self.fetched_bytes,
            failed: self.failed,
        }
    }

    fn is_known(&self, wall: u64) -> bool {
        self.links.values().any(|knowledge| *knowledge == Knowledge::Complete)
            && self.links.values().all(|knowledge| *knowledge != Knowledge::Doubtful)
            && !self.skipped_unexpired(wall)
    }

    /// Number of blobs that were certified at this time or before, and that this replica lacks and can get. `None` if unknown. During puts,
    /// some replica always lacks what was certified a moment ago.
    pub fn awaited(&self, until: u64, wall: u64) -> Option<usize> {
        let is_unavailable = self.by_unavailability();
        let is_awaited = |lacking: &&LackingBlob| lacking.first_issued <= until && !is_unavailable(lacking);
        self.is_known(wall).then(|| self.lacking.values().filter(is_awaited).count())
    }

    /// Whether no member could supply a blob over any link that knows all certificates: one server may have lied.
    fn by_unavailability(&self) -> impl Fn(&LackingBlob) -> bool + use<> {
        let links = self.links.iter().filter(|(_, knowledge)| **knowledge == Knowledge::Complete);
        let links: BTreeSet<u64> = links.map(|(link, _)| *link).collect();
        move |lacking| {
            lacking.vain.as_ref().is_some_and(|vain| {
                vain.count >= VAIN_ATTEMPTS && vain.last >= vain.since + VAIN_TIME && links.is_subset(&vain.links)
            })
        }
    }

    /// The lacking blobs that no member could supply.
    pub fn unavailable(&self) -> impl Iterator<Item = Digest> {
        let is_unavailable = self.by_unavailability();
        self.lacking.iter().filter(move |(_, lacking)| is_unavailable(lacking)).map(|(digest, _)| *digest)
    }

    /// No member holds a lacking blob: so the server of this link says.
    pub fn found_nowhere(&mut self, digest: Digest, link: u64, now: Duration) {
        if let Some(lacking) = self.lacking.get_mut(&digest) {
            let first = || VainAttempts { since: now, last: now, count: 0, links: BTreeSet::new() };
            let vain = lacking.vain.get_or_insert_with(first);
            (vain.last, vain.count) = (now, vain.count.saturating_add(1));
            vain.links.insert(link);
        }
    }

    /// A link begins. Returns its number.
    pub fn begin_link(&mut self) -> u64 {
        self.next_link += 1;
        self.links.insert(self.next_link, Knowledge::New);
        self.next_link
    }

    /// A link has ended: its knowledge no longer counts.
    pub fn end_link(&mut self, link: u64) {
        self.links.remove(&link);
    }

    /// The knowledge of a link.
    pub fn knowledge(&self, link: u64) -> Knowledge {
        self.links.get(&link).copied().unwrap_or(Knowledge::New)
    }

    /// A round of reading lists begins on a link. A [`doubt`](Self::doubt) during the round outlives it.
    pub fn begin_round(&mut self, link: u64) {
        self.change(link, Knowledge::Doubtful, Knowledge::New);
    }

    /// Enough lists were read to their ends on a link.
    pub fn complete_round(&mut self, link: u64) {
        self.change(link, Knowledge::New, Knowledge::Complete);
    }

    fn change(&mut self, link: u64, from: Knowledge, to: Knowledge) {
        if let Some(knowledge) = self.links.get_mut(&link).filter(|knowledge| **knowledge == from) {
            *knowledge = to;
        }
    }

    /// The server has certificates that it did not show.
    pub fn doubt(&mut self, link: u64) {
        if let Some(knowledge) = self.links.get_mut(&link) {
            *knowledge = Knowledge::Doubtful;
        }
    }

    /// Every list is to be read again, and every lacking blob looked for anew. Until then, it is unknown what is lacking.
    pub fn doubt_all(&mut self) {
        self.lacking.values_mut().for_each(|lacking| lacking.vain = None);
        self.links.values_mut().for_each(|knowledge| *knowledge = Knowledge::Doubtful);
    }

    /// Whether the limit is reached: read no list before blobs are fetched.
    pub fn is_full(&self) -> bool {
        self.lacking.len() >= MAX_LACKING
    }

    /// Adds lacking blobs. Keeps the [best](Certificate::supersedes) certificate of each one.
    pub fn add(&mut self, blobs: Vec<AssignedBlob>) {
        for blob in blobs {
            let issued_at = blob.certificate.claim.issued_at;
            match self.lacking.entry(blob.digest()) {
                Entry::Vacant(entry) => {
                    entry.insert(LackingBlob { blob, first_issued: issued_at, vain: None });
                }
                Entry::Occupied(entry) => {
                    let lacking = entry.into_mut();
                    lacking.first_issued = issued_at.min(lacking.first_issued);
                    if blob.certificate.supersedes(&lacking.blob.certificate) {
                        lacking.blob = blob;
                    }
                }
            }
        }
    }

    /// Whether a certificate of the same lacking blob is known that this one does not supersede.
    pub fn knows(&self, certificate: &Certificate) -> bool {
        let known = self.lacking.get(&certificate.claim.receipt.digest);
        known.is_some_and(|known| !certificate.supersedes(&known.blob.certificate))
    }

    /// A certificate was skipped because it had expired by the wall clock.
    pub fn skip_expired(&mut self, expires_at: u64) {
        if expires_at > self.positions.skipped_until {
            self.positions.skipped_until = expires_at;
            self.is_saved = false;
        }
    }

    /// Whether a certificate was skipped that has not expired at this time.
    fn skipped_unexpired(&self, wall: u64) -> bool {
        self.positions.skipped_until > wall
    }

    /// Restarts the lists if a certificate was skipped that has not expired after all. `wall`: the wall clock, in seconds since 1970.
    pub fn check_clock(&mut self, wall: u64) {
        if self.skipped_unexpired(wall) {
            self.positions.skipped_until = 0;
            self.restart_lists();
        }
    }

    fn restart_lists(&mut self) {
        self.positions.lists.clear();
        self.read.clear();
        for knowledge in self.links.values_mut() {
            *knowledge = Knowledge::New;
        }
    }

    /// The position in a list, and whether the list was read to its end since the replica started.
    pub fn position(&self, owner: &NodeKey) -> (ListPosition, bool) {
        (self.positions.lists.get(&owner.0).copied().unwrap_or_default(), self.read.contains(&owner.0))
    }

    /// A list was read up to a position. `lacking`: the lacking blobs found on the way.
    pub fn advance(&mut self, owner: &NodeKey, (position, is_end): (ListPosition, bool), lacking: Vec<AssignedBlob>) {
        self.add(lacking);
        if is_end {
            self.read.insert(owner.0);
        }
        if self.positions.lists.insert(owner.0, position) != Some(position) {
            self.is_saved = false;
        }
    }

    /// The positions to make durable. `None` while a blob is lacking: after a restart, no list would be read before these positions, and
    /// the blob would never be found again.
    pub fn positions_to_save(&self) -> Option<ListPositions> {
        let is_due = !self.is_saved && self.lacking.is_empty();
        is_due.then(|| self.positions.clone())
    }

    /// These positions are now durable.
    pub fn saved(&mut self, positions: &ListPositions) {
        self.is_saved = self.positions == *positions;
    }

    /// Sets the damaged blobs: those whose certificates are known here, and those without one. For the latter, the lists are read again from
    /// the beginning, once.
    pub fn set_damaged(&mut self, blobs: Vec<AssignedBlob>, orphans: BTreeSet<Digest>) {
        self.add(blobs);
        if !orphans.is_subset(&self.orphans) {
            self.restart_lists();
        }
        self.orphans = orphans;
    }

    /// The next blob to fetch: the one with the fewest holders among those not tried yet.
    pub fn next(&self, tried: &BTreeSet<Digest>) -> Option<AssignedBlob> {
        let untried =
            self.lacking.iter().filter(|(digest, _)| !tried.contains(digest)).map(|(_, lacking)| &lacking.blob);
        untried.min_by_key(|blob| blob.certificate.signers.count()).cloned()
    }

    /// A blob was fetched and stored.
    pub fn fetched(&mut self, blob: &AssignedBlob) {
        self.forget(&blob.digest());
        self.fetched += 1;
        self.fetched_bytes += blob.assignment.length;
    }

    /// A blob is no longer lacking: it was put.
    pub fn forget(&mut self, digest: &Digest) {
        self.lacking.remove(digest);
    }

    /// A blob has expired by the wall clock and is no longer fetched.
    pub fn expired(&mut self, blob: &AssignedBlob) {
        self.forget(&blob.digest());
        self.skip_expired(blob.assignment.expires_at);
    }

    /// A blob could not be fetched.
    pub fn failed(&mut self) {
        self.failed += 1;
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::TestCommittee;
    use vouch_core::certificate::Signers;
    use vouch_core::receipt::{NEVER, Receipt};

    use super::*;

    const OWNER: NodeKey = NodeKey([9; 32]);

    /// A blob whose certificate has a wrong signature: nothing here verifies it.
    fn blob(bytes: &[u8], issued_at: u64, signers: &[u16]) -> AssignedBlob {
        let receipt =
            Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at: NEVER };
        let certificate = TestCommittee::new(1).certify_one(issued_at, receipt);
        let signers = Signers::new(4, signers.iter().copied()).unwrap();
        AssignedBlob::new(Certificate { signers, ..certificate }, Some(0))
    }

    fn positions<const N: usize>(lists: [([u8; 32], ListPosition); N], skipped_until: u64) -> ListPositions {
        ListPositions { lists: lists.into(), skipped_until }
    }

    #[test]
    fn lists_restart_if_the_clock_that_skipped_certificates_was_ahead() {
        let position = ListPosition { list: 1, after: 1 };
        let mut blobs = LackingBlobs::new(ListPositions::default());
        let link = blobs.begin_link();
        blobs.advance(&OWNER, (position, true), Vec::new());
        blobs.complete_round(link);
        blobs.skip_expired(1000);
        let saved = blobs.positions_to_save().unwrap();
        assert_eq!(saved, positions([(OWNER.0, position)], 1000));
        blobs.saved(&saved);
        blobs.check_clock(1000);
        assert_eq!((blobs.position(&OWNER), blobs.progress(1000).lacking), ((position, true), Some(0)));
        // the clock is set back: the skipped certificate has not expired
        assert_eq!(blobs.progress(999).lacking, None);
        blobs.check_clock(999);
        assert_eq!(blobs.position(&OWNER), (ListPosition::default(), false));
        assert_eq!(blobs.knowledge(link), Knowledge::New);
        // the lists restart only once
        blobs.advance(&OWNER, (position, true), Vec::new());
        blobs.check_clock(999);
        assert_eq!(blobs.position(&OWNER), (position, true));
        assert_eq!(blobs.positions_to_save(), Some(positions([(OWNER.0, position)], 0)));
        // the clock was set back while the replica was down
        let mut blobs = LackingBlobs::new(saved);
        blobs.check_clock(999);
        assert_eq!(blobs.position(&OWNER), (ListPosition::default(), false));
    }

    #[test]
    fn positions_are_saved_only_while_nothing_is_lacking() {
        let blob = blob(b"one", 1, &[0, 1, 2]);
        let position = ListPosition { list: 1, after: 1 };
        let mut blobs = LackingBlobs::default();
        blobs.advance(&OWNER, (position, true), vec![blob.clone()]);
        assert_eq!(blobs.positions_to_save(), None);
        blobs.fetched(&blob);
        let positions = blobs.positions_to_save().unwrap();
        assert_eq!(positions.lists, BTreeMap::from([(OWNER.0, position)]));
        blobs.saved(&positions);
        assert_eq!(blobs.positions_to_save(), None);
    }

    #[test]
    fn a_damaged_blob_without_a_certificate_restarts_the_lists_once() {
        let position = ListPosition { list: 1, after: 1 };
        let mut blobs = LackingBlobs::new(positions([(OWNER.0, position)], 0));
        let link = blobs.begin_link();
        blobs.complete_round(link);
        blobs.set_damaged(Vec::new(), BTreeSet::from([Digest::of(b"two")]));
        assert_eq!(blobs.position(&OWNER), (ListPosition::default(), false));
        assert_eq!(blobs.knowledge(link), Knowledge::New);
        blobs.advance(&OWNER, (position, true), Vec::new());
        blobs.set_damaged(Vec::new(), BTreeSet::from([Digest::of(b"two")]));
        assert_eq!(blobs.position(&OWNER), (position, true));
    }

    #[test]
    fn a_doubt_during_a_round_outlives_it_and_ends_with_the_next_round() {
        let mut blobs = LackingBlobs::default();
        let link = blobs.begin_link();
        blobs.begin_round(link);
        blobs.doubt(link);
        blobs.complete_round(link);
        assert_eq!(blobs.progress(0).lacking, None);
        blobs.begin_round(link);
        blobs.complete_round(link);
        assert_eq!(blobs.progress(0).lacking, Some(0));
        // One doubtful link is enough. A link that has ended no longer counts.
        let other = blobs.begin_link();
        blobs.doubt(other);
        assert_eq!(blobs.progress(0).lacking, None);
        blobs.end_link(other);
        assert_eq!(blobs.progress(0).lacking, Some(0));
    }

    #[test]
    fn a_blob_that_no_member_has_is_unavailable_once_every_link_has_looked_for_it_long_enough() {
        let (mut blobs, lost) = (LackingBlobs::default(), blob(b"lost", 1, &[0, 1, 2]));
        let (one, other) = (blobs.begin_link(), blobs.begin_link());
        blobs.add(vec![lost.clone()]);
        [one, other].into_iter().for_each(|link| blobs.complete_round(link));
        let look = |blobs: &mut LackingBlobs, link, seconds| {
            blobs.found_nowhere(lost.digest(), link, Duration::from_secs(seconds));
            blobs.awaited(1, 0) == Some(0)
        };
        assert!(!look(&mut blobs, one, 0) && !look(&mut blobs, other, 1));
        assert!(!look(&mut blobs, one, 59), "a member that restarts may have it");
        assert!(look(&mut blobs, one, 60));
        assert_eq!((blobs.progress(0).lacking, blobs.progress(0).unavailable), (Some(1), 1));
        // over a link that has not looked, another server may find it
        let late = blobs.begin_link();
        assert_eq!(blobs.awaited(1, 0), Some(0), "this link knows nothing yet");
        blobs.complete_round(late);
        assert!(blobs.awaited(1, 0) == Some(1) && look(&mut blobs, late, 61));
        // what is held is not looked for
        blobs.found_nowhere(Digest::of(b"held"), one, Duration::ZERO);
        assert_eq!(blobs.unavailable().collect::<Vec<_>>(), [lost.digest()]);
        blobs.doubt_all();
        assert!(blobs.progress(0).lacking.is_none() && blobs.unavailable().next().is_none());
        blobs.fetched(&lost);
        [one, other, late].into_iter().for_each(|link| {
            blobs.begin_round(link);
            blobs.complete_round(link);
        });
        assert_eq!(blobs.awaited(1, 0), Some(0));
        // twice is too seldom, however long it takes
        blobs.add(vec![lost.clone()]);
        assert!([one, other].into_iter().all(|link| !look(&mut blobs, link, 100)));
        assert!(!look(&mut blobs, late, 159) && look(&mut blobs, late, 160));
    }

    #[test]
    fn what_was_certified_later_is_not_awaited_and_a_renewal_does_not_make_it_later() {
        let mut blobs = LackingBlobs::default();
        let link = blobs.begin_link();
        blobs.add(vec![blob(b"old", 10, &[0, 1, 2]), blob(b"new", 20, &[0, 1, 2])]);
        assert_eq!(blobs.awaited(10, 0), None, "the lists are not read");
        blobs.complete_round(link);
        assert_eq!([9, 10, 19, 20].map(|until| blobs.awaited(until, 0)), [Some(0), Some(1), Some(1), Some(2)]);
        blobs.add(vec![blob(b"old", 30, &[0, 1, 2, 3])]);
        assert_eq!(blobs.awaited(10, 0), Some(1));
        blobs.forget(&Digest::of(b"old"));
        assert_eq!((blobs.awaited(10, 0), blobs.awaited(20, 0)), (Some(0), Some(1)));
    }

    #[test]
    fn the_blob_with_the_fewest_holders_comes_first_and_the_newest_certificate_counts() {
        let mut blobs = LackingBlobs::default();
        let (many, few) = (blob(b"many", 5, &[0, 1, 2, 3]), blob(b"few", 5, &[0, 1]));
        blobs.add(vec![many.clone(), few.clone()]);
        blobs.add(vec![blob(b"few", 4, &[0])]);
        assert_eq!(blobs.next(&BTreeSet::new()), Some(few.clone()));
        assert_eq!(blobs.next(&BTreeSet::from([few.digest()])), Some(many));
        let newer = blob(b"few", 6, &[0, 1, 2]);
        assert!(!blobs.knows(&newer.certificate));
        blobs.add(vec![newer.clone()]);
        assert_eq!(blobs.next(&BTreeSet::new()), Some(newer.clone()));
        let mut shorter = blob(b"few", 7, &[0, 1, 2]);
        shorter.certificate.claim.receipt.expires_at = 1000;
        assert!(blobs.knows(&shorter.certificate), "the shorter promise must not replace the longer one");
        blobs.add(vec![shorter]);
        assert_eq!(blobs.next(&BTreeSet::new()), Some(newer));
    }
}
