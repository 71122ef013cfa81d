//! Reads the members' lists of certificates, over each member's link.

use std::convert::Infallible;
use std::sync::Arc;

use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Message};
use vouch_node_core::server::health::LinkId;
use vouch_node_core::server::member_lists::{ListInput, ListOutput, PageRequest, PageRequestInput};

use super::{CertificateLists, verified};
use crate::latest::Follower;
use crate::server::member_links::Snapshot;
use crate::server::reports::Event;

/// The reading of the list over one link. It ends when this is dropped.
pub(in crate::server) struct FollowedList {
    certificates: Arc<CertificateLists>,
    link: LinkId,
}

impl Drop for FollowedList {
    fn drop(&mut self) {
        self.certificates.lists().end(&self.link);
    }
}

/// The member whose list is read.
struct ListOwner {
    chain: CommitteeChain,
    member: u16,
}

impl ListOwner {
    fn name(&self) -> String {
        self.chain.current().record().name(self.member)
    }
}

impl FollowedList {
    /// A link has begun.
    pub(in crate::server) fn begin(certificates: Arc<CertificateLists>, link: LinkId) -> Self {
        certificates.lists().begin(link);
        Self { certificates, link }
    }

    fn handle(&self, input: ListInput) -> Vec<ListOutput> {
        self.certificates.lists().handle(&self.link, input)
    }

    /// Reads the list repeatedly until the future is dropped, at the end of the link.
    pub(in crate::server) async fn follow(&self) -> Infallible {
        let mut changes = self.certificates.links.follow();
        let mut input = ListInput::Due;
        loop {
            let owner = self.owner(&mut changes).await;
            let mut next = None;
            for output in self.handle(input) {
                next = self.perform(output, &owner).await;
            }
            // Each input has an output, the last one, that leads to the next input.
            input = match next {
                Some(next) => next,
                None => return std::future::pending().await,
            };
        }
    }

    /// Waits until the replica is a member: a standby has no certificates.
    async fn owner(&self, changes: &mut Follower<Arc<Snapshot>>) -> ListOwner {
        loop {
            if let Some(chain) = changes.see().chain.clone()
                && let Some(member) = chain.current().record().position(&self.link.node_key)
            {
                return ListOwner { chain, member };
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Performs an output. Returns the input that completes it, if there is one.
    async fn perform(&self, output: ListOutput, owner: &ListOwner) -> Option<ListInput> {
        let certificates = &self.certificates;
        let completed = match output {
            ListOutput::SendMissed => {
                let nothing_shown = Message::Missed { certificates: Vec::new() };
                if !certificates.links.try_send(owner.member, &nothing_shown) {
                    self.handle(ListInput::NoticeUnsent);
                }
                return None;
            }
            ListOutput::Learned(count) => {
                certificates.reports.report(Event::Learned(owner.name(), count));
                return None;
            }
            ListOutput::Failing(why) => {
                certificates.report_trouble(format!("reading the certificates that {} lists: {why}", owner.name()));
                return None;
            }
            ListOutput::Pause(pause) => {
                certificates.links.host().sleep(pause).await;
                Ok(ListInput::Due)
            }
            ListOutput::ReadPage(filter) => self.read_page(filter, owner).await,
            ListOutput::Keep { page, notify } => self.keep(page, notify, owner).await.map(ListInput::Kept),
        };
        Some(completed.unwrap_or_else(ListInput::Failed))
    }

    async fn read_page(&self, filter: ListFilter, owner: &ListOwner) -> Result<ListInput, String> {
        let from = self.certificates.archive.list_read(self.link.node_key).await.map_err(|error| error.to_string())?;
        let page = self.certificates.request_page(owner.member, from, filter).await;
        page.map(|page| ListInput::Page { from, page }).map_err(|failed| failed.to_string())
    }

    /// Keeps the certificates of a page that are new. Returns their number.
    async fn keep(&self, page: ListPage, notify: bool, owner: &ListOwner) -> Result<usize, String> {
        let CertificateLists { archive, verifying, links, .. } = &*self.certificates;
        let turn = verifying.lock().await;
        let new = archive.new_among(page.certificates).await.map_err(|error| error.to_string())?;
        let new = Arc::new(verified(links.host(), new, &owner.chain).await?);
        let saved = archive.save_listed(new.clone(), self.link.node_key, page.end).await;
        saved.map_err(|error| error.to_string())?;
        drop(turn);
        if notify {
            self.certificates.notify(&new, &[owner.member]).await;
        }
        Ok(new.len())
    }
}

impl CertificateLists {
    /// Requests a page of a member's own list.
    ///
    /// # Errors
    /// The member's refusal, or that it is not connected or late.
    pub(super) async fn request_page(
        &self,
        member: u16,
        from: ListPosition,
        filter: ListFilter,
    ) -> Result<ListPage, Failed> {
        let stream = self.links.numbers().next();
        let mut replies = self.links.replies(stream, 1);
        let mut changes = self.links.follow();
        let mut request = PageRequest::new(stream, member, &changes.see().links(), self.links.now())?;
        let question = Message::List { stream, source: ListSource::Own, from, filter };
        let mut input = (!self.links.try_send(member, &question)).then_some(PageRequestInput::Unsent);
        loop {
            if let Some(ended) = input.and_then(|input| request.handle(input, self.links.now())) {
                return ended;
            }
            input = tokio::select! {
                biased;
                reply = replies.next(request.next_tick()) => match reply {
                    Some(reply) => PageRequestInput::of_reply(reply.member, reply.message),
                    None => Some(PageRequestInput::Tick),
                },
                changed = changes.changed() => {
                    // If the server has ended, nobody is connected.
                    let connected = changed.map(|()| changes.see().links()).unwrap_or_default();
                    Some(PageRequestInput::Connected(connected))
                }
            };
        }
    }
}
