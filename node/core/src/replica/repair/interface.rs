//! What goes into the decisions of a link's repair, and what comes out of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Stream};

use crate::replica::Event;
use crate::replica::lacking::ListPositions;

/// What holds while an input is handled.
#[derive(Debug, Clone, Copy)]
pub struct RepairMoment<'a> {
    /// A clock that never goes back.
    pub now: Duration,
    /// The wall clock, in seconds since 1970.
    pub wall: u64,
    /// The committee, once there is one.
    pub committee: Option<&'a Arc<Committee>>,
}

/// Where a blob came from that was lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobSource {
    /// It was put meanwhile.
    Put,
    /// Its files were there, and the index had lost them.
    OwnDisk,
    /// It was fetched.
    Others,
}

/// What certificates mean to this replica. Those of blobs that it holds are kept already.
#[derive(Debug, Default)]
pub struct Learned {
    /// Verified, of blobs that it does not hold.
    pub lacking: Vec<Certificate>,
    /// The last that is wrong, and why.
    pub invalid: Option<String>,
    /// Too many are wrong: nothing of them is kept.
    pub is_garbage: bool,
}

/// How the last request ended.
#[derive(Debug)]
pub enum RepairInput {
    /// To [`RepairRequest::Sleep`] and [`RepairRequest::Wait`]: the time is over.
    Elapsed,
    /// To [`RepairRequest::Wait`]: there is news of something that is lacking.
    Woken,
    /// To [`RepairRequest::AwaitCommittee`].
    CommitteeChanged,
    /// To [`RepairRequest::FindDamaged`].
    Damaged {
        /// The certificates of damaged blobs.
        certificates: Vec<Certificate>,
        /// Damaged blobs that have none here.
        orphans: BTreeSet<Digest>,
    },
    /// To [`RepairRequest::List`].
    Page(Result<ListPage, Failed>),
    /// To [`RepairRequest::List`]: nothing came within [`LIST_DEADLINE`](super::LIST_DEADLINE).
    NoPage,
    /// To [`RepairRequest::Learn`].
    Learned(Learned),
    /// To [`RepairRequest::TakeTurn`].
    Turn,
    /// To [`RepairRequest::Fetch`].
    Fetched(BlobSource),
    /// To [`RepairRequest::SavePositions`]: these are durable.
    Saved(ListPositions),
    /// To any: it failed.
    Failed(String),
}

impl RepairInput {
    /// Why a request gave nothing. Any other end than a failure answers another request, and is as good as none.
    pub(super) fn failure(self) -> String {
        match self {
            Self::Failed(why) => why,
            _ => "the request was answered with what another one asked for".into(),
        }
    }
}

/// What is to be performed; its end is the next input.
#[derive(Debug)]
pub enum RepairRequest {
    /// Wait until the committee changes.
    AwaitCommittee,
    /// Find the blobs that were held and went bad.
    FindDamaged,
    /// Ask the server for a page of a list.
    List {
        /// The number of the request.
        stream: Stream,
        /// Whose list.
        source: ListSource,
        /// After this position.
        from: ListPosition,
        /// What is wanted of it.
        filter: ListFilter,
    },
    /// Verify the certificates of a page against the committee, and keep those of blobs that are held.
    Learn(Arc<Committee>, Vec<Certificate>),
    /// Wait until no other link fetches.
    TakeTurn,
    /// Have the blob of a verified certificate, if it is lacking still: from the own disk, or from the others.
    Fetch(Arc<Committee>, Box<Certificate>),
    /// Make the positions in the lists durable.
    SavePositions(ListPositions),
    /// Wait so long, whatever happens.
    Sleep(Duration),
    /// Wait so long, or until there is news.
    Wait(Duration),
}

/// What is to be done at once.
#[derive(Debug)]
pub enum RepairOutput {
    /// Tell the operator.
    Report(Event),
    /// Ask the server to certify these blobs again, with this replica among the signers.
    Endorse(Vec<Digest>),
    /// Another link may fetch.
    EndTurn,
}

/// What an input leads to: first all outputs, in order, and then the request.
#[derive(Debug)]
pub struct RepairStep {
    /// At once.
    pub outputs: Vec<RepairOutput>,
    /// What comes next.
    pub request: RepairRequest,
}
