//! The state that the parts of one client's link share: its queue, its mailbox, and why it ends.

use std::sync::Arc;

use tokio::sync::mpsc;
use vouch_core::message::{Code, Failed, MAX_PUTS, Message, Stream};

use super::epochs::epoch_is_over;
use super::guard::Connection;
use super::member_links::{MemberLinks, Snapshot};
use super::reply_routing::Reply;
use crate::committee_file;
use crate::latest::Follower;
use crate::link::{LinkError, Outgoing};

/// Number of places in the queue reserved for answers, which progress must not take: one for each put and each read, and some for the
/// link itself.
pub(super) const ROOM_FOR_ANSWERS: usize = 2 * MAX_PUTS;

/// A connected client.
pub(super) struct Client {
    pub(super) members: MemberLinks,
    pub(super) snapshot: Follower<Arc<Snapshot>>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) mailbox: mpsc::Sender<Box<Reply>>,
    pub(super) knows_committee: bool,
    /// The epoch that the server announced to the client.
    pub(super) epoch: u64,
    /// The connection, with its budgets.
    pub(super) connection: Arc<Connection>,
}

/// The client's queue is full: it does not read its answers.
#[derive(Debug)]
pub(super) struct NotReading;

impl Client {
    /// Queues a message for the client.
    pub(super) fn send_message(&self, message: &Message) -> Result<(), NotReading> {
        self.send(message.encode().into())
    }

    /// Queues a message that the client can do without, if the places reserved for answers stay free.
    pub(super) fn hint(&self, message: &Message) {
        if self.outgoing.capacity() > ROOM_FOR_ANSWERS {
            // The next answer notices a client that is gone.
            let _ = self.outgoing.try_send(message.encode().into());
        }
    }

    pub(super) fn send(&self, outgoing: Outgoing) -> Result<(), NotReading> {
        self.outgoing.try_send(outgoing).map_err(|_| NotReading)
    }

    /// Sends the genesis once, as soon as there is one.
    ///
    /// # Errors
    /// The committee is of a later epoch than the one announced: the client must connect again. A number that names a member of the new
    /// committee would name another member of the committee that the client knows.
    pub(super) fn show_committee(&mut self) -> Result<(), Ended> {
        let Some(chain) = self.members.chain() else { return Ok(()) };
        let epoch = chain.current().record().epoch();
        if epoch != self.epoch {
            return Err(Ended::Refused(epoch_is_over(epoch)));
        }
        if !self.knows_committee {
            self.knows_committee = true;
            self.send_message(&committee_file::message(chain.first()))?;
        }
        Ok(())
    }
}

/// Why a client's link has ended.
#[derive(Debug)]
pub(super) enum Ended {
    Link(LinkError),
    Refused(Failed),
    NotReading,
    /// The connection was evicted.
    CutOff,
}

impl From<NotReading> for Ended {
    fn from(NotReading: NotReading) -> Self {
        Self::NotReading
    }
}

pub(super) fn unexpected(detail: String) -> Ended {
    Ended::Refused(Failed::new(Stream::LINK, Code::Unexpected, detail))
}
