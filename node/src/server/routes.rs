//! Which link waits for which replies of replicas. Every replica uses the server's number for a put, a lookup or a read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use vouch_core::message::{MAX_PUTS, Stream};
pub(crate) use vouch_node_core::server::Reply;

/// Replies waiting for one client, beside those of each replica.
const MAILBOX: usize = 64;
/// What a replica may answer at once: that it stored each put, or not.
const ANSWERS: usize = 2 * MAX_PUTS;

/// A mailbox with room for all that so many honest replicas may answer to one client at once.
pub(crate) fn mailbox(replicas: usize) -> (mpsc::Sender<Box<Reply>>, mpsc::Receiver<Box<Reply>>) {
    mpsc::channel(MAILBOX + ANSWERS * replicas)
}

/// Open requests by the server's number. Replies are boxed: a channel always keeps room for 32 of what it carries, and most links
/// wait for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes(Arc<Mutex<HashMap<Stream, mpsc::Sender<Box<Reply>>>>>);

impl Routes {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Stream, mpsc::Sender<Box<Reply>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replies to `stream` go to `mailbox` until the route is dropped.
    pub(crate) fn open(&self, stream: Stream, mailbox: mpsc::Sender<Box<Reply>>) -> Route {
        self.map().insert(stream, mailbox);
        Route { routes: self.clone(), stream }
    }

    /// Delivers a reply; one to a full mailbox is dropped, whose size covers every honest reply. A stray one comes back.
    pub(crate) fn deliver(&self, reply: Reply) -> Option<Reply> {
        let mailbox = self.map().get(&reply.stream).cloned();
        match mailbox {
            Some(mailbox) => {
                let _ = mailbox.try_send(Box::new(reply));
                None
            }
            None => Some(reply),
        }
    }
}

/// An open request; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Route {
    routes: Routes,
    stream: Stream,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.routes.map().remove(&self.stream);
    }
}
