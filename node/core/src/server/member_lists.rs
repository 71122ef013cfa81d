//! The members' lists of certificates: when the server reads each, which pages it accepts, and which members it notifies of certificates.
//!
//! A state machine without IO. Each member keeps the certificates of the blobs that it holds. The server reads these lists when a link
//! begins and every few seconds after that. So a new server, or one that lost its archive, obtains every certificate, and the servers of
//! one cluster learn each other's. Members are not trusted: a certificate is kept only after its signature is verified.

mod notices;
mod page_request;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::health::LinkId;
pub use notices::{Notice, notices};
pub use page_request::{PageRequest, PageRequestInput};
use reading::ListReading;
pub use reading::{ListInput, ListOutput};

/// The state of reading the list of every connected replica.
#[derive(Debug, Default)]
pub struct MemberLists {
    readings: BTreeMap<LinkId, ListReading>,
}

impl MemberLists {
    /// A link has begun.
    pub fn begin(&mut self, link: LinkId) {
        self.readings.insert(link, ListReading::default());
    }

    /// A link has ended.
    pub fn end(&mut self, link: &LinkId) {
        self.readings.remove(link);
    }

    /// Handles an input of reading the list over a link.
    pub fn handle(&mut self, link: &LinkId, input: ListInput) -> Vec<ListOutput> {
        // A notice may be late: the link has ended.
        self.readings.get_mut(link).map(|reading| reading.handle(input)).unwrap_or_default()
    }

    /// Whether the lists of a quorum of the connected members were read to their ends: the server then has all certificates except for those
    /// of the last seconds.
    pub fn are_complete<'a>(&self, connected: impl IntoIterator<Item = &'a LinkId>, quorum: usize) -> bool {
        let is_read = |link: &&LinkId| self.readings.get(*link).is_some_and(ListReading::is_read);
        connected.into_iter().filter(is_read).count() >= quorum
    }
}
