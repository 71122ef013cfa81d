//! A request for a page of one member's list, for the server itself or for another member.

use std::collections::BTreeMap;
use std::time::Duration;

use vouch_core::message::{Code, Failed, ListPage, Message, Stream};

use crate::server::health::LinkId;

/// Timeout of a request for a page.
pub(super) const PAGE_DEADLINE: Duration = Duration::from_secs(10);

/// An input of a request for a page.
#[derive(Debug)]
pub enum PageRequestInput {
    /// The member's queue has no room for the request.
    Unsent,
    /// A member answered: with a page, or with a refusal.
    Answered(u16, Result<ListPage, Failed>),
    /// Members have connected or disconnected. The connected ones.
    Connected(BTreeMap<u16, LinkId>),
    /// Time has passed.
    Tick,
}

impl PageRequestInput {
    /// A member's message as an input; `None` if it is not an answer to a list request.
    pub fn of_reply(member: u16, message: Message) -> Option<Self> {
        match message {
            Message::Listed { page, .. } => Some(Self::Answered(member, Ok(page))),
            Message::Failed(failed) => Some(Self::Answered(member, Err(failed))),
            _ => None,
        }
    }
}

/// A request for a page of one member's list.
#[derive(Debug)]
pub struct PageRequest {
    /// The server's number of the request.
    stream: Stream,
    member: u16,
    /// The member's link when the request was sent: a new link does not know it.
    link: LinkId,
    deadline: Duration,
}

impl PageRequest {
    /// A request with this number.
    ///
    /// # Errors
    /// The member is not connected.
    pub fn new(stream: Stream, member: u16, connected: &BTreeMap<u16, LinkId>, now: Duration) -> Result<Self, Failed> {
        let link = connected.get(&member).copied().ok_or_else(|| not_connected(stream, member))?;
        Ok(Self { stream, member, link, deadline: now + PAGE_DEADLINE })
    }

    /// When [`PageRequestInput::Tick`] is due if there is no other input.
    pub fn next_tick(&self) -> Duration {
        self.deadline
    }

    /// Handles one input. Returns the page or the reason why there is none, once the request has ended.
    pub fn handle(&mut self, input: PageRequestInput, now: Duration) -> Option<Result<ListPage, Failed>> {
        let fail = |code, detail| Some(Err(failed(self.stream, self.member, code, detail)));
        match input {
            PageRequestInput::Unsent => fail(Code::Busy, "the member does not read"),
            PageRequestInput::Answered(member, answer) => (member == self.member).then_some(answer),
            PageRequestInput::Connected(connected) => {
                let is_gone = connected.get(&self.member) != Some(&self.link);
                is_gone.then(|| Err(not_connected(self.stream, self.member)))
            }
            PageRequestInput::Tick if now >= self.deadline => fail(Code::TimedOut, "the member did not list in time"),
            PageRequestInput::Tick => None,
        }
    }
}

fn not_connected(stream: Stream, member: u16) -> Failed {
    failed(stream, member, Code::NotFound, "the member is not connected")
}

fn failed(stream: Stream, member: u16, code: Code, detail: &str) -> Failed {
    Failed::new(stream, code, detail).with_subjects(vec![member])
}
