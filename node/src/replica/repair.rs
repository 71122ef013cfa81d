//! What a replica lacks of the certified blobs, it fetches from the others, verified as by any client, and has itself counted
//! in. It was down when they were put, or its disk lost them.
//!
//! It learns of them from the lists of certificates that the server and every other member keep, and from the server's notices
//! of what it just missed. Nothing of that is believed but certificates that a quorum of the own committee signed.
//! [`repair`](vouch_node_core::replica::repair) decides; this performs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Failed, ListPage, Message, Stream};
pub use vouch_node_core::replica::lacking::Repair;
use vouch_node_core::replica::lacking::{LackingBlobs, ListPositions, MAX_LACKING};
use vouch_node_core::replica::repair::{
    LIST_DEADLINE, LinkRepair, RepairInput, RepairMoment, RepairOutput, RepairRequest, RepairStep,
};

use super::Shared;
use crate::latest::Follower;
use crate::link::Outgoing;
use crate::store::{Damaged, Store, StoreError};

mod fetch;
mod learn;
#[cfg(test)]
mod tests;

pub(super) use learn::learn;

/// Damaged blobs looked at a time.
const PAGE: usize = 256;

/// What a server answers to a list, by the list's number.
pub(super) type Page = (Stream, Result<ListPage, Failed>);

/// What is known to be lacking, and who waits for news of it.
#[derive(Debug, Default)]
pub(super) struct Repairer {
    state: Mutex<State>,
    /// One link fetches at a time: the next one has less to do.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    blobs: LackingBlobs,
    /// By the number of the link.
    wakes: BTreeMap<u64, Arc<Notify>>,
}

impl Repairer {
    /// Continues the lists at their saved positions.
    pub(super) fn new(read: ListPositions) -> Self {
        let state = State { blobs: LackingBlobs::new(read), wakes: BTreeMap::new() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// The progress so far. `wall`: the wall clock, in seconds since 1970.
    pub(super) fn so_far(&self, wall: u64) -> Repair {
        self.with(|blobs| blobs.progress(wall))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a panic elsewhere leaves the state whole: every change is one call
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, change: impl FnOnce(&mut LackingBlobs) -> T) -> T {
        change(&mut self.state().blobs)
    }

    /// Something is lacking that was there before.
    pub(super) fn call(&self) {
        self.state().wakes.values().for_each(|wake| wake.notify_one());
    }

    /// Something is lacking, by certificates that were verified. Too many are not kept: the lists have them as well.
    pub(super) fn missed(&self, link: u64, certificates: Vec<Certificate>) {
        if certificates.is_empty() {
            return;
        }
        let is_full = self.with(|blobs| {
            let is_full = blobs.is_full();
            if !is_full {
                blobs.add(certificates);
            }
            is_full
        });
        if is_full { self.doubt(link) } else { self.call() }
    }

    /// The server knows of certificates that it did not show: the lists are read at once.
    pub(super) fn doubt(&self, link: u64) {
        let mut state = self.state();
        state.blobs.doubt(link);
        if let Some(wake) = state.wakes.get(&link) {
            wake.notify_one();
        }
    }
}

/// One link's part in the repair; over with the link.
pub(super) struct Membership {
    shared: Arc<Shared>,
    pub(super) number: u64,
    wake: Arc<Notify>,
}

impl Membership {
    fn new(shared: Arc<Shared>) -> Self {
        let wake = Arc::new(Notify::new());
        let mut state = shared.repairer.state();
        let number = state.blobs.begin_link();
        state.wakes.insert(number, wake.clone());
        drop(state);
        Self { shared, number, wake }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.shared.repairer.state();
        state.blobs.end_link(self.number);
        state.wakes.remove(&self.number);
    }
}

/// The way to one server, for as long as the link to it lasts.
pub(super) struct Repairing {
    shared: Arc<Shared>,
    core: LinkRepair,
    /// The server, for the links that blobs are fetched over.
    address: String,
    requests: mpsc::Sender<Outgoing>,
    listed: mpsc::Receiver<Page>,
    committee: Follower<Option<Arc<Committee>>>,
    membership: Membership,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Repairing {
    pub(super) fn new(
        shared: Arc<Shared>,
        (address, server): (String, NodeKey),
        requests: mpsc::Sender<Outgoing>,
        listed: mpsc::Receiver<Page>,
    ) -> Self {
        let membership = Membership::new(shared.clone());
        let own = shared.keys.node.node_key();
        let core = LinkRepair::new(own, server, membership.number, shared.repair);
        let committee = shared.committee.follow();
        Self { shared, core, address, requests, listed, committee, membership, turn: None }
    }

    /// By which the repairer knows this link.
    pub(super) fn number(&self) -> u64 {
        self.membership.number
    }

    /// Looks for what is lacking and fetches it, again and again; ends with the link.
    pub(super) async fn run(mut self) {
        let mut input = RepairInput::Elapsed;
        loop {
            let RepairStep { outputs, request } = self.decide(input);
            for output in outputs {
                match output {
                    RepairOutput::Report(event) => self.shared.report(event),
                    RepairOutput::EndTurn => self.turn = None,
                    RepairOutput::Endorse(digests) => {
                        // the link is ending when this fails, and the certificates are good as they are
                        let _ = self.requests.send(Message::Endorse { digests }.encode().into()).await;
                    }
                }
            }
            let Some(done) = self.perform(request).await else { return };
            input = done;
        }
    }

    fn decide(&mut self, input: RepairInput) -> RepairStep {
        let (host, committee) = (&self.shared.host, self.committee.see());
        let moment = RepairMoment { now: host.monotonic(), wall: host.unix_seconds(), committee: committee.as_ref() };
        self.shared.repairer.with(|blobs| self.core.handle(input, &moment, blobs))
    }

    /// Gives how a request ended; nothing when the link is ending.
    async fn perform(&mut self, request: RepairRequest) -> Option<RepairInput> {
        let shared = &self.shared;
        let failed = |error: StoreError| RepairInput::Failed(error.to_string());
        Some(match request {
            RepairRequest::AwaitCommittee => {
                self.committee.changed().await.ok()?;
                RepairInput::CommitteeChanged
            }
            RepairRequest::FindDamaged => {
                let store = shared.store.clone();
                let found = shared.on_disk(move || damaged(&store)).await;
                found.map_or_else(failed, |(certificates, orphans)| RepairInput::Damaged { certificates, orphans })
            }
            RepairRequest::List { stream, source, from, filter } => {
                let request = Message::List { stream, source, from, filter };
                self.requests.send(request.encode().into()).await.ok()?;
                self.page(stream).await?
            }
            RepairRequest::Learn(committee, certificates) => {
                learn(shared, &committee, certificates).await.map_or_else(failed, RepairInput::Learned)
            }
            RepairRequest::TakeTurn => {
                self.turn = Some(shared.repairer.turn.clone().lock_owned().await);
                RepairInput::Turn
            }
            RepairRequest::Fetch(committee, certificate) => {
                match fetch::fetch(shared, &self.address, &committee, *certificate).await {
                    Ok(source) => RepairInput::Fetched(source),
                    Err(error) => RepairInput::Failed(error.to_string()),
                }
            }
            RepairRequest::SavePositions(positions) => {
                let saved = shared.store.remember_lists(positions.clone()).await;
                saved.map_or_else(failed, |()| RepairInput::Saved(positions))
            }
            RepairRequest::Sleep(time) => {
                shared.host.sleep(time).await;
                RepairInput::Elapsed
            }
            RepairRequest::Wait(time) => tokio::select! {
                biased;
                () = shared.host.sleep(time) => RepairInput::Elapsed,
                () = self.membership.wake.notified() => RepairInput::Woken,
            },
        })
    }

    /// The answer to a list. Those to lists that were given up before are dropped.
    async fn page(&mut self, stream: Stream) -> Option<RepairInput> {
        let host = self.shared.host.clone();
        let answer = async {
            loop {
                match self.listed.recv().await {
                    Some((of, page)) if of == stream => return Some(RepairInput::Page(page)),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        host.timeout(LIST_DEADLINE, answer).await.unwrap_or(Some(RepairInput::NoPage))
    }
}

/// The certificates of damaged blobs, and those damaged blobs that have none. Blocks for as long as the disk takes.
fn damaged(store: &Store) -> Result<(Vec<Certificate>, BTreeSet<Digest>), StoreError> {
    let (mut after, mut certificates, mut orphans) = (None, Vec::new(), BTreeSet::new());
    while certificates.len() + orphans.len() < MAX_LACKING {
        let page = store.damaged_from(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        for Damaged { digest, .. } in page {
            match store.certificate(&digest) {
                Ok(Some(certificate)) => certificates.push(certificate),
                // one that cannot be read is as good as none
                Ok(None) | Err(StoreError::Certificate { .. }) => drop(orphans.insert(digest)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((certificates, orphans))
}
