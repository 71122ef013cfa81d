//! Requests for lists of certificates, and the pages that answer them.

use crate::certificate::Certificate;

/// Whose certificates are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListSource {
    /// The list of the end that is asked.
    Own,
    /// The list of a member, which the server relays.
    Member(u16),
}

/// Which certificates a page leaves out, because the reader has them already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListFilter {
    /// None.
    All,
    /// Those that the asking server made itself.
    NotFromAsker,
    /// Those that this member signed.
    NotSignedBy(u16),
}

/// A position in a list, up to which it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListPosition {
    /// The list's number, chosen at random when its owner created the list; 0 if none was read yet. A list with another number
    /// is read from its beginning, because positions are valid in one list only.
    pub list: u64,
    /// The position of the last entry read, counted from 1; 0 is the beginning.
    pub after: u64,
}

/// Some entries of a list of certificates, in the order in which the list's owner obtained them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The position after which the next page begins.
    pub end: ListPosition,
    /// Whether more entries can be read at once.
    pub more: bool,
    /// The entries.
    pub certificates: Vec<Certificate>,
}

impl ListPage {
    /// Whether this page advances a reader that asked for the entries after `from`. A page that announces more entries but ends
    /// where it began would make its reader ask without end.
    pub fn advances_beyond(&self, from: ListPosition) -> bool {
        !self.more || self.end.list != from.list || self.end.after > from.after
    }
}
