//! Notices of certificates: most likely, the connected members that did not sign them lack these blobs, and fetch them at once.

use std::collections::BTreeSet;
use std::ops::Range;

use vouch_core::certificate::Certificate;

/// Maximum size in bytes of the certificates in one notice, by the size of the first one.
pub(super) const NOTICE: usize = 64 << 10;

/// A notice: one message, the same for all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The members that get it.
    pub members: Vec<u16>,
    /// The certificates in it, by their indices.
    pub certificates: Range<usize>,
}

/// The notices of certificates for the connected members, except for those in `knowing`, which have the certificates already.
/// Neighbours with the same signers share a notice. `epoch`: of the committee whose members are connected; the signers of another epoch were
/// other members.
pub fn notices(certificates: &[Certificate], epoch: u64, knowing: &[u16], connected: &BTreeSet<u16>) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut begin = 0;
    for of_same_signers in
        certificates.chunk_by(|one, other| (one.epoch, &one.signers) == (other.epoch, &other.signers))
    {
        let (from, end) = (begin, begin + of_same_signers.len());
        begin = end;
        let Some(first) = of_same_signers.first() else { continue };
        let has_signed = |member: u16| first.epoch == epoch && first.signers.contains(member);
        let lacks = |member: &&u16| !has_signed(**member) && !knowing.contains(*member);
        let members: Vec<u16> = connected.iter().filter(lacks).copied().collect();
        if members.is_empty() {
            continue;
        }
        let most = (NOTICE / first.encode().len().max(1)).max(1);
        let pages = (from..end).step_by(most).map(|page| page..end.min(page + most));
        notices.extend(pages.map(|certificates| Notice { members: members.clone(), certificates }));
    }
    notices
}
