//! Reads the lists of certificates: the server's own and, relayed by it, the list of every other member. Each is read from its last
//! position. The lists are independent: nobody can hide a certificate that another one lists, and a failed list does not end the others.

use std::collections::VecDeque;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Stream};

use super::{Learned, RepairInput, RepairRequest};
use crate::replica::lacking::LackingBlobs;

/// Timeout of a request for a page, of the server's own list or of a member's.
pub const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// Maximum number of pages of one list in a round: an endless list must not keep the others from being read.
pub(super) const MAX_PAGES: usize = 64;

#[derive(Debug)]
struct List {
    source: ListSource,
    owner: NodeKey,
    /// The owner's name, for people.
    name: String,
    pages: usize,
}

/// The request in progress for the first list.
#[derive(Debug)]
enum ListRequest {
    Page { from: ListPosition },
    Learn { end: ListPosition, is_last: bool },
}

/// The next step of reading the lists.
#[derive(Debug)]
pub(super) enum ListStep {
    /// Verify these certificates.
    Learn(Vec<Certificate>),
    /// Request the next page, and report these lines to the operator.
    Continue(Vec<String>),
    /// End the reading, for this reason.
    GiveUp(String),
}

/// The state of one reading of all lists.
#[derive(Debug)]
pub(super) struct ListsRound {
    /// This replica's index.
    own: Option<u16>,
    /// The lists still to be read, the current one first.
    lists: VecDeque<List>,
    pending: Option<ListRequest>,
    /// The number of members whose lists were read to their ends.
    members: usize,
    /// Whether the server's own list was read to its end.
    server: bool,
}

impl ListsRound {
    pub(super) fn new(committee: &Committee, server: NodeKey, own: NodeKey) -> Self {
        let own = committee.record().position(&own);
        let server = List { source: ListSource::Own, owner: server, name: "the server".into(), pages: 0 };
        let members = (0..).zip(committee.record().members()).filter(|(member, _)| Some(*member) != own);
        let members = members.map(|(index, member)| List {
            source: ListSource::Member(index),
            owner: member.node_key,
            name: member.name.to_string(),
            pages: 0,
        });
        let lists = [server].into_iter().chain(members).collect();
        Self { own, lists, pending: None, members: 0, server: false }
    }

    /// Whether enough lists were read to their ends, the server's own among them.
    pub(super) fn is_complete(&self, quorum: u16) -> bool {
        // A member's own list counts.
        self.server && self.members + usize::from(self.own.is_some()) >= usize::from(quorum)
    }

    /// The request for the next page, with this stream number. `None` if all lists were read, or if too many blobs are lacking.
    pub(super) fn next_page(&mut self, stream: u32, blobs: &LackingBlobs) -> Option<RepairRequest> {
        let is_room = !blobs.is_full();
        while let Some(list) = self.lists.front_mut() {
            if !is_room || list.pages >= MAX_PAGES {
                self.lists.pop_front();
                continue;
            }
            list.pages += 1;
            let (from, is_read) = blobs.position(&list.owner);
            // Skip what this replica signed: it holds these blobs, or knows that they are damaged. Not in the first reading after a start:
            // its disk may be new, or restored from a backup.
            let own = self.own.filter(|_| is_read);
            let filter = own.map_or(ListFilter::All, ListFilter::NotSignedBy);
            let source = list.source;
            self.pending = Some(ListRequest::Page { from });
            return Some(RepairRequest::List { stream: Stream(stream), source, from, filter });
        }
        None
    }

    pub(super) fn handle(&mut self, input: RepairInput, blobs: &mut LackingBlobs) -> ListStep {
        match (self.pending.take(), input) {
            (Some(ListRequest::Page { from }), RepairInput::Page(Ok(page))) => self.page(from, page),
            (Some(ListRequest::Page { .. }), RepairInput::Page(Err(failed))) => self.not_listed(&failed),
            (Some(ListRequest::Page { .. }), RepairInput::NoPage) => {
                ListStep::GiveUp(format!("the server did not list within {} s", LIST_DEADLINE.as_secs()))
            }
            (Some(ListRequest::Learn { end, is_last }), RepairInput::Learned(learned)) => {
                self.learned(learned, (end, is_last), blobs)
            }
            (_, other) => ListStep::GiveUp(other.failure()),
        }
    }

    fn page(&mut self, from: ListPosition, page: ListPage) -> ListStep {
        if !page.advances_beyond(from) {
            let (after, until) = (from.after, page.end.after);
            return self.skip_list(|name| {
                vec![format!("{name} lists: expected entries after {after}, got some up to {until}")]
            });
        }
        self.pending = Some(ListRequest::Learn { end: page.end, is_last: !page.more });
        ListStep::Learn(page.certificates)
    }

    fn not_listed(&mut self, failed: &Failed) -> ListStep {
        let is_server = self.lists.front().is_some_and(|list| list.source == ListSource::Own);
        self.skip_list(|_| match is_server {
            true => vec![format!("the server does not list: {failed}")],
            // The server cannot reach the member: nothing to report.
            false => Vec::new(),
        })
    }

    fn learned(&mut self, learned: Learned, read: (ListPosition, bool), blobs: &mut LackingBlobs) -> ListStep {
        let Learned { lacking, invalid, is_garbage } = learned;
        let name = self.lists.front().map_or("the server", |list| &list.name);
        let mut notes: Vec<String> = Vec::new();
        notes.extend(invalid.map(|why| format!("{name} lists a certificate that is INVALID: {why}")));
        if is_garbage {
            return self.skip_list(|name| {
                notes.push(format!("{name} lists too many certificates that are INVALID"));
                notes
            });
        }
        if let Some(list) = self.lists.front() {
            blobs.advance(&list.owner, read, lacking);
        }
        let (_, is_last) = read;
        if is_last {
            match self.lists.pop_front().map(|list| list.source) {
                Some(ListSource::Own) => self.server = true,
                Some(ListSource::Member(_)) => self.members += 1,
                None => {}
            }
        }
        ListStep::Continue(notes)
    }

    /// Ends the reading of the current list. The others are still read.
    fn skip_list(&mut self, notes: impl FnOnce(&str) -> Vec<String>) -> ListStep {
        let list = self.lists.pop_front();
        ListStep::Continue(notes(list.as_ref().map_or("the server", |list| &list.name)))
    }
}
