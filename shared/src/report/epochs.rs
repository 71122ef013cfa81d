//! The epochs in a bundle, as it states them.

use serde::Serialize;

#[cfg(feature = "nodes")]
use crate::chain::CommitteeChain;
use crate::committee::{CommitteeRecord, Member};
use crate::digest::CommitteeDigest;

/// One epoch, with what changed since the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochView {
    /// The epoch.
    pub epoch: u64,
    /// The committee's digest.
    pub committee: CommitteeDigest,
    /// Number of members.
    pub members: u16,
    /// The names of the members that are new. Empty for the first epoch in the bundle.
    pub joined: Vec<String>,
    /// The names of the members that left with the epoch before.
    pub left: Vec<String>,
    /// When the epoch closed, seconds since 1970. `None` if the bundle shows no end.
    pub closing: Option<u64>,
}

impl EpochView {
    /// The epochs of a verified chain.
    #[cfg(feature = "nodes")]
    pub fn of_chain(chain: &CommitteeChain) -> Vec<Self> {
        let epochs = chain.first().record().epoch()..=chain.current().record().epoch();
        Self::all(epochs.filter_map(|epoch| Some((chain.record(epoch)?, chain.closing(epoch)))))
    }

    /// These epochs, each with its closing.
    pub(super) fn all<'a>(epochs: impl Iterator<Item = (&'a CommitteeRecord, Option<u64>)>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut before: Option<&CommitteeRecord> = None;
        for (record, closing) in epochs {
            let (joined, left) = match before {
                None => (Vec::new(), Vec::new()),
                Some(before) => (names_beyond(record, before), names_beyond(before, record)),
            };
            let (epoch, committee, members) = (record.epoch(), record.digest(), record.n());
            all.push(Self { epoch, committee, members, joined, left, closing });
            before = Some(record);
        }
        all
    }
}

/// The names of the members of one committee that are not in the other.
fn names_beyond(own: &CommitteeRecord, other: &CommitteeRecord) -> Vec<String> {
    // A search by halves would be a hundredth of the verifier's module, and a committee has at most a thousand members.
    let is_in_both = |member: &&Member| other.members().iter().any(|one| one.node_key == member.node_key);
    let own = own.members().iter().filter(|member| !is_in_both(member));
    own.map(|member| member.name.to_string()).collect()
}
