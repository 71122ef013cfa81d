//! Routes replies of replicas to the client links that wait for them, by the server's stream number of the put, lookup or read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use vouch_core::message::{MAX_PUTS, Stream};
pub(super) use vouch_node_core::server::Reply;

/// Base size of a client's mailbox in replies.
const MAILBOX: usize = 64;
/// Additional size per replica: it may answer all puts of the link at once.
const ANSWERS: usize = 2 * MAX_PUTS;

/// A mailbox with room for every reply that this number of honest replicas may send to one client at once.
pub(super) fn mailbox(replicas: usize) -> (mpsc::Sender<Box<Reply>>, mpsc::Receiver<Box<Reply>>) {
    mpsc::channel(MAILBOX + ANSWERS * replicas)
}

/// The open requests, by the server's number. Replies are boxed: a channel always allocates room for 32 items, and most links wait for none.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes(Arc<Mutex<HashMap<Stream, mpsc::Sender<Box<Reply>>>>>);

impl Routes {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Stream, mpsc::Sender<Box<Reply>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of open requests.
    pub(super) fn len(&self) -> usize {
        self.map().len()
    }

    /// Routes replies on `stream` to `mailbox` until the route is dropped.
    pub(super) fn open(&self, stream: Stream, mailbox: mpsc::Sender<Box<Reply>>) -> Route {
        self.map().insert(stream, mailbox);
        Route { routes: self.clone(), stream }
    }

    /// Delivers a reply. Drops it if the mailbox is full, whose size covers every honest reply. Returns it if no route exists.
    pub(super) fn deliver(&self, reply: Reply) -> Option<Reply> {
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

/// An open request. Dropping it ends the route.
#[derive(Debug)]
pub(super) struct Route {
    routes: Routes,
    stream: Stream,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.routes.map().remove(&self.stream);
    }
}
