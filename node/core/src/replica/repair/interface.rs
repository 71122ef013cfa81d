//! Inputs and outputs of a link's repair.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::Digest;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Stream};

use crate::replica::Event;
use crate::replica::assigned_blob::AssignedBlob;
use crate::replica::lacking::ListPositions;

/// The state outside the repair at the time of an input.
#[derive(Debug, Clone, Copy)]
pub struct RepairMoment<'a> {
    /// Monotonic.
    pub now: Duration,
    /// The wall clock, in seconds since 1970.
    pub wall: u64,
    /// The cluster's committees, once there are any.
    pub chain: Option<&'a CommitteeChain>,
}

/// How a lacking blob was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobSource {
    /// A put brought it meanwhile.
    Put,
    /// Its files were on this replica's disk, but not in the index.
    OwnDisk,
    /// It was fetched from other members.
    Others,
}

/// The result of learning the certificates of a page. Those of stored blobs are already kept.
#[derive(Debug, Default)]
pub struct Learned {
    /// The blobs that this replica does not hold, with verified certificates.
    pub lacking: Vec<AssignedBlob>,
    /// Why the last invalid certificate is invalid.
    pub invalid: Option<String>,
    /// Too many certificates are invalid: none of the page was kept.
    pub is_garbage: bool,
}

/// The result of the last request.
#[derive(Debug)]
pub enum RepairInput {
    /// To [`RepairRequest::Sleep`] and [`RepairRequest::Wait`]: the time has passed.
    Elapsed,
    /// To [`RepairRequest::Wait`]: there is news of a lacking blob.
    Woken,
    /// To [`RepairRequest::AwaitCommittee`].
    CommitteeChanged,
    /// To [`RepairRequest::FindDamaged`].
    Damaged {
        /// Damaged blobs whose certificates are here.
        blobs: Vec<AssignedBlob>,
        /// Damaged blobs without a certificate here.
        orphans: BTreeSet<Digest>,
    },
    /// To [`RepairRequest::List`].
    Page(Result<ListPage, Failed>),
    /// To [`RepairRequest::List`]: no answer within [`LIST_DEADLINE`](super::LIST_DEADLINE).
    NoPage,
    /// To [`RepairRequest::Learn`].
    Learned(Learned),
    /// To [`RepairRequest::TakeTurn`].
    Turn,
    /// To [`RepairRequest::Fetch`].
    Fetched(BlobSource),
    /// To [`RepairRequest::Fetch`]: no member holds the blob, or none delivers it. The reason.
    FoundNowhere(String),
    /// To [`RepairRequest::SavePositions`]: these are durable.
    Saved(ListPositions),
    /// To any request: it failed.
    Failed(String),
}

impl RepairInput {
    /// The failure of a request. A result of another kind of request counts as a failure as well.
    pub(super) fn failure(self) -> String {
        match self {
            Self::Failed(why) | Self::FoundNowhere(why) => why,
            _ => "the request was answered with what another one asked for".into(),
        }
    }
}

/// A request to perform. Its result is the next input.
#[derive(Debug)]
pub enum RepairRequest {
    /// Wait until the committee changes.
    AwaitCommittee,
    /// Find the stored blobs that are damaged.
    FindDamaged,
    /// Request a page of a list from the server.
    List {
        /// The request's stream number.
        stream: Stream,
        /// The list.
        source: ListSource,
        /// The position after which the page begins.
        from: ListPosition,
        /// The certificates to leave out.
        filter: ListFilter,
    },
    /// Verify the certificates of a page against the committees, and keep those of stored blobs.
    Learn(CommitteeChain, Vec<Certificate>),
    /// Wait until no other link fetches.
    TakeTurn,
    /// Obtain a blob if it is still lacking: from this replica's disk, or from other members.
    Fetch(CommitteeChain, Box<AssignedBlob>),
    /// Make the positions in the lists durable.
    SavePositions(ListPositions),
    /// Wait for this time.
    Sleep(Duration),
    /// Wait for this time, or until there is news.
    Wait(Duration),
}

/// An output to perform at once.
#[derive(Debug)]
pub enum RepairOutput {
    /// Report to the operator.
    Report(Event),
    /// Ask the server to certify these blobs again, with this replica among the signers.
    Endorse(Vec<Digest>),
    /// Another link may fetch.
    EndTurn,
}

/// The result of an input: perform all outputs in order, then the request.
#[derive(Debug)]
pub struct RepairStep {
    /// The outputs.
    pub outputs: Vec<RepairOutput>,
    /// The next request.
    pub request: RepairRequest,
}
