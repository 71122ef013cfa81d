//! For whom the budgets of a connection count: who made it, or, behind a trusted proxy, the client whose request came last.

use std::sync::Arc;

use tokio::sync::watch;

use crate::server::guard::Connection;

/// The place of one connection.
#[derive(Clone)]
pub(super) struct Places(Arc<watch::Sender<Arc<Connection>>>);

impl Places {
    pub(super) fn new(accepted: Arc<Connection>) -> Self {
        Self(Arc::new(watch::Sender::new(accepted)))
    }

    /// The one that counts now.
    pub(super) fn current(&self) -> Arc<Connection> {
        self.0.borrow().clone()
    }

    /// Another client's request begins. The place of the one before is given up.
    pub(super) fn replace(&self, client: Arc<Connection>) {
        self.0.send_replace(client);
    }

    /// Completes when the one that counts then is evicted.
    pub(super) async fn until_cut_off(&self) {
        let mut places = self.0.subscribe();
        loop {
            let current = places.borrow_and_update().clone();
            tokio::select! {
                biased;
                () = current.until_cut_off() => return,
                // The sender lives as long as this.
                _ = places.changed() => {}
            }
        }
    }
}
