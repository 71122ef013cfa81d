//! For whom the budgets of a connection count: who made it, or, behind a trusted proxy, the client whose request came last.

use std::sync::Arc;

use crate::latest::Latest;
use crate::server::guard::Connection;

/// The place of one connection.
#[derive(Clone)]
pub(super) struct Places(Arc<Latest<Arc<Connection>>>);

impl Places {
    pub(super) fn new(accepted: Arc<Connection>) -> Self {
        Self(Arc::new(Latest::new(accepted)))
    }

    /// The one that counts now.
    pub(super) fn current(&self) -> Arc<Connection> {
        self.0.get()
    }

    /// Another client's request begins. The place of the one before is given up.
    pub(super) fn replace(&self, client: Arc<Connection>) {
        self.0.replace(client);
    }

    /// Completes when the one that counts then is evicted.
    pub(super) async fn until_cut_off(&self) {
        let mut places = self.0.follow();
        loop {
            let current = places.see();
            tokio::select! {
                biased;
                () = current.until_cut_off() => return,
                // It is not closed, because this has a handle to it.
                _ = places.changed() => {}
            }
        }
    }
}
