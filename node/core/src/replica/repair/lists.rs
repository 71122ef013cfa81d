//! One reading of the lists of certificates: the server's own, and through it the list of every other member. Each is read from where
//! it was left. Nobody can hide a certificate that somebody else lists, and no list ends another.

use std::collections::VecDeque;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Stream};

use super::{Learned, RepairInput, RepairRequest};
use crate::replica::lacking::LackingBlobs;

/// How long a server may take to show a page, its own or a member's.
pub const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// Pages of one list in one round: a list that never ends keeps nobody from the others.
pub(super) const MAX_PAGES: usize = 64;

#[derive(Debug)]
struct List {
    source: ListSource,
    owner: NodeKey,
    /// Of its owner, for people.
    name: String,
    pages: usize,
}

/// What was asked of the first list.
#[derive(Debug)]
enum Asked {
    Page { from: ListPosition },
    Learn { end: ListPosition, is_last: bool },
}

/// What comes next.
#[derive(Debug)]
pub(super) enum ListStep {
    /// Certificates are to be verified.
    Learn(Vec<Certificate>),
    /// The next page is to be asked for; the operator hears of these.
    GoOn(Vec<String>),
    /// Nothing can be read now.
    GiveUp(String),
}

/// How far one reading of all lists is.
#[derive(Debug)]
pub(super) struct ListsRound {
    /// This replica's index.
    own: Option<u16>,
    /// Those still to be read, the current one first.
    lists: VecDeque<List>,
    asked: Option<Asked>,
    /// Members whose lists were read to their ends.
    members: usize,
    /// The server's own list was.
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
        Self { own, lists, asked: None, members: 0, server: false }
    }

    /// Whether enough lists were read to their ends, the server's own among them.
    pub(super) fn is_complete(&self, quorum: u16) -> bool {
        self.server && self.members + 1 >= usize::from(quorum)
    }

    /// Asks for the next page, under this number; nothing once every list was read as far as there is room for what is lacking.
    pub(super) fn next_page(&mut self, stream: u32, blobs: &LackingBlobs) -> Option<RepairRequest> {
        let is_room = !blobs.is_full();
        while let Some(list) = self.lists.front_mut() {
            if !is_room || list.pages >= MAX_PAGES {
                self.lists.pop_front();
                continue;
            }
            list.pages += 1;
            let (from, is_read) = blobs.position(&list.owner);
            // what this replica signed since then is nothing new: it holds that, or knows that it is damaged. At first everything
            // is wanted: its disk may be new, or a backup brought back
            let own = self.own.filter(|_| is_read);
            let filter = own.map_or(ListFilter::All, ListFilter::NotSignedBy);
            let source = list.source;
            self.asked = Some(Asked::Page { from });
            return Some(RepairRequest::List { stream: Stream(stream), source, from, filter });
        }
        None
    }

    pub(super) fn handle(&mut self, input: RepairInput, blobs: &mut LackingBlobs) -> ListStep {
        match (self.asked.take(), input) {
            (Some(Asked::Page { from }), RepairInput::Page(Ok(page))) => self.page(from, page),
            (Some(Asked::Page { .. }), RepairInput::Page(Err(failed))) => self.not_listed(&failed),
            (Some(Asked::Page { .. }), RepairInput::NoPage) => {
                ListStep::GiveUp(format!("the server did not list within {} s", LIST_DEADLINE.as_secs()))
            }
            (Some(Asked::Learn { end, is_last }), RepairInput::Learned(learned)) => {
                self.learned(learned, (end, is_last), blobs)
            }
            (_, other) => ListStep::GiveUp(other.failure()),
        }
    }

    fn page(&mut self, from: ListPosition, page: ListPage) -> ListStep {
        if !page.advances_beyond(from) {
            let (after, until) = (from.after, page.end.after);
            return self.pass_over(|name| {
                vec![format!("{name} lists: expected entries after {after}, got some up to {until}")]
            });
        }
        self.asked = Some(Asked::Learn { end: page.end, is_last: !page.more });
        ListStep::Learn(page.certificates)
    }

    fn not_listed(&mut self, failed: &Failed) -> ListStep {
        let is_server = self.lists.front().is_some_and(|list| list.source == ListSource::Own);
        self.pass_over(|_| match is_server {
            true => vec![format!("the server does not list: {failed}")],
            // the server cannot reach the member
            false => Vec::new(),
        })
    }

    fn learned(&mut self, learned: Learned, read: (ListPosition, bool), blobs: &mut LackingBlobs) -> ListStep {
        let Learned { lacking, invalid, is_garbage } = learned;
        let name = self.lists.front().map_or("the server", |list| &list.name);
        let mut notes: Vec<String> = Vec::new();
        notes.extend(invalid.map(|why| format!("{name} lists a certificate that is INVALID: {why}")));
        if is_garbage {
            return self.pass_over(|name| {
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
        ListStep::GoOn(notes)
    }

    /// Reads no further in this list; the others are read all the same.
    fn pass_over(&mut self, notes: impl FnOnce(&str) -> Vec<String>) -> ListStep {
        let list = self.lists.pop_front();
        ListStep::GoOn(notes(list.as_ref().map_or("the server", |list| &list.name)))
    }
}
