//! Which changes this member agrees to.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use vouch_core::digest::ChangeId;
use vouch_core::membership::CommitteeChange;

/// Which changes this member agrees to. What the operator signed needs no approval of anybody else.
#[derive(Debug)]
pub(in crate::replica) struct Approving {
    /// Whether nodes may join without being named: on one machine, everybody is its owner.
    takes_joiners: bool,
    named: Mutex<BTreeSet<ChangeId>>,
}

impl Approving {
    pub(in crate::replica) fn new(takes_joiners: bool) -> Self {
        Self { takes_joiners, named: Mutex::default() }
    }

    /// The operator of this replica agrees to a change.
    pub(in crate::replica) fn name(&self, change: ChangeId) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(change);
    }

    pub(super) fn approves(&self, change: &CommitteeChange) -> bool {
        let joins_only = change.removed.is_empty() && !change.added.is_empty() && !change.is_forced;
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        (self.takes_joiners && joins_only) || named.contains(&change.id())
    }
}
