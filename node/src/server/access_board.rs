//! What the members say of the rules of access. The server shows it; the replicas decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::access::AccessView;
use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::quorum;
use vouch_node_core::server::health::LinkId;

/// What the connected members say. A member that says nothing knows of no change. Equal views share their memory: there may be as many as
/// members, each with every token.
#[derive(Debug, Default)]
pub(super) struct AccessBoard(Mutex<BTreeMap<NodeKey, (LinkId, Arc<AccessView>)>>);

impl AccessBoard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeKey, (LinkId, Arc<AccessView>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member says this.
    pub(super) fn note(&self, link: LinkId, view: AccessView) {
        let mut said = self.lock();
        let same = said.values().find(|(_, other)| **other == view).map(|(_, other)| Arc::clone(other));
        said.insert(link.node_key, (link, same.unwrap_or_else(|| Arc::new(view))));
    }

    /// A link has ended.
    pub(super) fn leave(&self, link: LinkId) {
        let mut said = self.lock();
        if said.get(&link.node_key).is_some_and(|(of, _)| *of == link) {
            said.remove(&link.node_key);
        }
    }

    /// The newest rules that so many members say that one of them is honest.
    pub(super) fn view(&self, committee: &CommitteeRecord) -> Arc<AccessView> {
        let said = self.lock();
        let of_members = said.iter().filter(|(node_key, _)| committee.position(node_key).is_some());
        let views: Vec<_> = of_members.map(|(_, (_, view))| view).collect();
        let enough = usize::from(quorum::tolerated_faults(committee.n())) + 1;
        let is_said = |view| views.iter().filter(|other| Arc::ptr_eq(other, view)).count() >= enough;
        let newest = views.iter().copied().filter(|view| is_said(view)).max_by_key(|view| view.number);
        newest.cloned().unwrap_or_default()
    }
}
