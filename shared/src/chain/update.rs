//! Takes in epochs that somebody else shows.

use std::cmp::Ordering;

use super::{ChainError, CommitteeChain, EpochLink};
use crate::digest::CommitteeDigest;

/// What shown epochs mean to the holder of a chain.
#[derive(Debug, Clone)]
pub enum ChainUpdate {
    /// They are known.
    Known,
    /// The chain with those that are new.
    Extended(CommitteeChain),
    /// A committee handed over twice: to the known committee of this epoch, and to the one shown. A node keeps the one that it knew first.
    Fork {
        /// The epoch of both.
        epoch: u64,
        /// The known committee.
        known: CommitteeDigest,
        /// The committee shown.
        shown: CommitteeDigest,
    },
}

impl CommitteeChain {
    /// What epochs that somebody shows mean to this chain. Their order is that of the epochs. What is not known is verified.
    ///
    /// # Errors
    /// They follow neither from this chain nor from an earlier committee of it.
    pub fn updated(&self, links: Vec<EpochLink>) -> Result<ChainUpdate, ChainError> {
        let last = self.current().record().epoch();
        let differs = |link: &&EpochLink| {
            let known = self.record(link.committee.epoch());
            known.is_some_and(|known| known.digest() != link.committee.digest())
        };
        if let Some(link) = links.iter().find(differs) {
            let (epoch, shown) = (link.committee.epoch(), link.committee.digest());
            // Anyone can invent a committee: it is a fork only if the one before signed for it.
            let before = epoch.saturating_sub(1);
            let other = links.into_iter().filter(|link| link.committee.epoch() == epoch);
            self.up_to(before)?.extended(other)?;
            let known = self.record(epoch).map_or(shown, |known| known.digest());
            return Ok(ChainUpdate::Fork { epoch, known, shown });
        }
        let new = links.into_iter().filter(|link| link.committee.epoch().cmp(&last) == Ordering::Greater);
        let extended = self.extended(new)?;
        Ok(if extended.current().record().epoch() == last {
            ChainUpdate::Known
        } else {
            ChainUpdate::Extended(extended)
        })
    }
}
