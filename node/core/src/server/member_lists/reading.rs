//! The reading of one member's list over one link.

use std::time::Duration;

use vouch_core::message::{ListFilter, ListPage, ListPosition};

use crate::backoff::Backoff;

/// Interval between readings of a list after its end. A reading without news takes two small messages.
pub(super) const READ_EVERY: Duration = Duration::from_secs(3);
/// Pauses after a failed reading double from the first to the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(3);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// An input of the reading of one list.
#[derive(Debug)]
pub enum ListInput {
    /// The replica is a member, and the pause is over.
    Due,
    /// Completes [`ListOutput::ReadPage`].
    Page {
        /// The position up to which the list was read.
        from: ListPosition,
        /// The page after it.
        page: ListPage,
    },
    /// Completes [`ListOutput::Keep`]: so many certificates were new.
    Kept(usize),
    /// [`ListOutput::ReadPage`] or [`ListOutput::Keep`] failed, for this reason.
    Failed(String),
    /// The member's queue had no room for a notice.
    NoticeUnsent,
}

/// An output of the reading of one list.
#[derive(Debug, PartialEq, Eq)]
pub enum ListOutput {
    /// Send the member a notice without certificates: it missed some that had no room in its queue.
    SendMissed,
    /// Request the next page of the list.
    ReadPage(ListFilter),
    /// Verify and save the certificates of a page that are new, and the position that was reached.
    Keep {
        /// The page.
        page: ListPage,
        /// Whether to [notify](super::notices) the other members of the new certificates.
        notify: bool,
    },
    /// Report to the operator the number of certificates that the first reading of the list found.
    Learned(usize),
    /// Report to the operator why the list cannot be read.
    Failing(String),
    /// Give [`ListInput::Due`] after this pause.
    Pause(Duration),
}

/// The reading of one list over one link.
#[derive(Debug)]
pub(super) struct ListReading {
    /// Whether the list was read to its end on this link.
    is_read: bool,
    /// Whether the member missed certificates for which its queue had no room.
    owes_notice: bool,
    /// Number of certificates that the first reading found so far.
    learned: usize,
    /// Whether the page that is being kept is not the last one.
    more: bool,
    backoff: Backoff,
}

impl Default for ListReading {
    fn default() -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        Self { is_read: false, owes_notice: false, learned: 0, more: false, backoff }
    }
}

impl ListReading {
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    pub(super) fn handle(&mut self, input: ListInput) -> Vec<ListOutput> {
        match input {
            ListInput::Due => self.read_page(),
            ListInput::Page { from, page } => self.page(from, page),
            ListInput::Kept(new) => self.kept(new),
            ListInput::Failed(why) => self.failed(why),
            ListInput::NoticeUnsent => {
                self.owes_notice = true;
                Vec::new()
            }
        }
    }

    fn read_page(&mut self) -> Vec<ListOutput> {
        // Skip certificates that this server made: its archive has them. Not in the first reading: archive and position may have been
        // restored from a backup.
        let filter = if self.is_read { ListFilter::NotFromAsker } else { ListFilter::All };
        let missed = std::mem::take(&mut self.owes_notice).then_some(ListOutput::SendMissed);
        missed.into_iter().chain([ListOutput::ReadPage(filter)]).collect()
    }

    fn page(&mut self, from: ListPosition, page: ListPage) -> Vec<ListOutput> {
        if !page.advances_beyond(from) {
            return self.failed(format!("expected entries after {}, got some up to {}", from.after, page.end.after));
        }
        self.more = page.more;
        if page.end == from && page.certificates.is_empty() && !page.more {
            return self.kept(0);
        }
        // A put through another server: notify members that missed it. At the beginning of a link, replicas read the lists themselves.
        vec![ListOutput::Keep { page, notify: self.is_read }]
    }

    fn kept(&mut self, new: usize) -> Vec<ListOutput> {
        self.learned += new;
        if self.more {
            return self.read_page();
        }
        self.backoff.reset();
        let is_first = !std::mem::replace(&mut self.is_read, true);
        let learned = (is_first && self.learned > 0).then_some(ListOutput::Learned(self.learned));
        learned.into_iter().chain([ListOutput::Pause(READ_EVERY)]).collect()
    }

    fn failed(&mut self, why: String) -> Vec<ListOutput> {
        let failing = self.backoff.is_reset().then_some(ListOutput::Failing(why));
        failing.into_iter().chain([ListOutput::Pause(self.backoff.pause())]).collect()
    }
}
