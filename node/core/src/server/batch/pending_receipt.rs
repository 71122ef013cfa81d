//! A receipt that waits for its certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::message::{Failed, Stream};
use vouch_core::receipt::Receipt;

/// A put's receipt that is not certified yet.
#[derive(Debug)]
pub(super) struct PendingReceipt {
    pub(super) put: Stream,
    pub(super) receipt: Receipt,
    pub(super) holders: BTreeSet<u16>,
    pub(super) candidates: BTreeSet<u16>,
    pub(super) refusals: Vec<(u16, Failed)>,
    pub(super) since: Duration,
}

impl PendingReceipt {
    /// Records a holder; `false` if it was known.
    pub(super) fn hold(&mut self, member: u16) -> bool {
        self.candidates.remove(&member);
        self.holders.insert(member)
    }
}

/// The members that hold all blobs of a batch.
pub(super) fn common_holders(items: &[PendingReceipt]) -> BTreeSet<u16> {
    let mut items = items.iter();
    let mut common = items.next().map(|item| item.holders.clone()).unwrap_or_default();
    for item in items {
        if item.holders != common {
            common.retain(|member| item.holders.contains(member));
        }
    }
    common
}
