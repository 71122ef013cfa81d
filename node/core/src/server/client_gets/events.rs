//! What a client's lookups and reads take, and what they want done.

use std::collections::{BTreeMap, BTreeSet};

use vouch_core::digest::Digest;
use vouch_core::message::{Failed, Holder, Message, Read, Stream};

use crate::server::health::LinkId;

/// What happened.
#[derive(Debug)]
pub enum GetInput {
    /// The client asked who holds a blob.
    Locate(Stream, Digest),
    /// Completes [`GetAction::AskHolders`]: the members whose queues had room for the question.
    Asked(Stream, BTreeSet<u16>),
    /// The client asked for a read.
    Read(Read),
    /// There is room in the budget for the oldest read that waits.
    Room,
    /// [`GetAction::AskForRead`] failed: the replica does not read.
    NotReading(Stream),
    /// A member answered a lookup.
    Holds {
        /// The member.
        member: u16,
        /// The server's number of the lookup.
        stream: Stream,
        /// The blob's length, if the member holds it.
        length: Option<u64>,
    },
    /// A member sent the bytes of a read. The shell has them.
    Bytes {
        /// The member.
        member: u16,
        /// The server's number of the read.
        stream: Stream,
    },
    /// A member refused a read, under the server's number.
    Refused(u16, Failed),
    /// Members connected or disconnected; these are connected now. `None` before there is a committee.
    Connected(Option<BTreeMap<u16, LinkId>>),
    /// Time passed.
    Tick,
}

impl GetInput {
    /// The input that a member's message is; `None` if it is no answer to a lookup or a read.
    pub fn of_reply(member: u16, message: &Message) -> Option<Self> {
        match message {
            // a member answers for itself, whatever index it names
            Message::Located { stream, holders } => {
                let length = holders.first().map(|holder| holder.length);
                Some(Self::Holds { member, stream: *stream, length })
            }
            Message::Chunk { stream, .. } => Some(Self::Bytes { member, stream: *stream }),
            Message::Failed(failed) => Some(Self::Refused(member, failed.clone())),
            _ => None,
        }
    }
}

/// What a client's lookups and reads lead to.
#[derive(Debug)]
pub enum GetOutput {
    /// Tell the client.
    Answer(GetAnswer),
    /// Do this.
    Action(GetAction),
    /// The client broke the protocol: its link ends.
    Violation(Failed),
}

impl From<GetAnswer> for GetOutput {
    fn from(answer: GetAnswer) -> Self {
        Self::Answer(answer)
    }
}

impl From<GetAction> for GetOutput {
    fn from(action: GetAction) -> Self {
        Self::Action(action)
    }
}

/// What the client is told, under its own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetAnswer {
    /// Who holds what it looked for.
    Located(Stream, Vec<Holder>),
    /// A lookup or a read failed.
    Failed(Failed),
}

/// What the shell is asked to do, under the server's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetAction {
    /// Ask these members whether they hold a blob, then [`GetInput::Asked`].
    AskHolders {
        /// The number of the lookup.
        stream: Stream,
        /// The blob.
        digest: Digest,
        /// Whom to ask.
        members: BTreeSet<u16>,
    },
    /// Ask a member for a read, which keeps the room that was found for it. If its queue is full, [`GetInput::NotReading`].
    AskForRead(Read),
    /// Send the chunk that was just received to the client. Its room is released when it is written; otherwise the answers to a client
    /// that does not read would pile up.
    Relay {
        /// The number of the read.
        stream: Stream,
        /// The client's number.
        client: Stream,
    },
    /// A lookup or a read is over: expect no more replies, and release its room.
    Release(Stream),
}
