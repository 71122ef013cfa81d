//! Inputs and outputs of a client's lookups and reads.

use std::collections::{BTreeMap, BTreeSet};

use vouch_core::access::Authorisation;
use vouch_core::digest::Digest;
use vouch_core::message::{Failed, Holder, Message, Read, Stream};

use crate::server::health::LinkId;

/// An input of a client's lookups and reads.
#[derive(Debug)]
pub enum GetInput {
    /// The client sent a lookup for a blob.
    Locate(Stream, Digest, Option<Authorisation>),
    /// Completes [`GetAction::AskHolders`]: the members whose queues had room for the request.
    Asked(Stream, BTreeSet<u16>),
    /// The client sent a read.
    Read(Read),
    /// The budget has room for the oldest waiting read.
    Room,
    /// [`GetAction::AskForRead`] failed, because the replica's queue is full.
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
    /// A member sent the bytes of a read. The shell keeps them for [`GetAction::Relay`].
    Bytes {
        /// The member.
        member: u16,
        /// The server's number of the read.
        stream: Stream,
    },
    /// A member refused a lookup or a read, under the server's number.
    Refused(u16, Failed),
    /// Members have connected or disconnected. The connected ones; `None` before there is a committee.
    Connected(Option<BTreeMap<u16, LinkId>>),
    /// Time has passed.
    Tick,
}

impl GetInput {
    /// A member's message as an input; `None` if it is not an answer to a lookup or a read.
    pub fn of_reply(member: u16, message: &Message) -> Option<Self> {
        match message {
            // A member answers only for itself: ignore the index that it names.
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

/// An output of a client's lookups and reads.
#[derive(Debug)]
pub enum GetOutput {
    /// Answer the client.
    Answer(GetAnswer),
    /// Perform an action.
    Action(GetAction),
    /// The client broke the protocol: close its link.
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

/// An answer to the client, under its own stream number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetAnswer {
    /// The holders of the blob.
    Located(Stream, Vec<Holder>),
    /// A lookup or a read failed.
    Failed(Failed),
}

/// An action of the shell. Stream numbers are the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GetAction {
    /// Ask these members whether they hold a blob. Completed by [`GetInput::Asked`].
    AskHolders {
        /// The number of the lookup.
        stream: Stream,
        /// The blob's digest.
        digest: Digest,
        /// By the holder of a token, or by a member. The replicas check it.
        authorisation: Option<Authorisation>,
        /// The members to ask.
        members: BTreeSet<u16>,
    },
    /// Send a read to its member, with the budget's room that [`GetInput::Room`] announced. If the member's queue is full, give
    /// [`GetInput::NotReading`].
    AskForRead(Read),
    /// Send the chunk just received to the client. Release its room in the budget only once it is written: otherwise answers to a client
    /// that does not read would pile up.
    Relay {
        /// The number of the read.
        stream: Stream,
        /// The client's number.
        client: Stream,
    },
    /// A lookup or a read has ended: expect no more replies, and release its room in the budget.
    Release(Stream),
}
