//! Performs a link's requests to the disk and to the vote key. Each request has one completion.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Read};
use vouch_core::placement::Assignment;
use vouch_core::statement::Stored;
use vouch_node_core::replica::Event;
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::link::{Completion, Input, READS_AT_ONCE, Request};
use vouch_node_core::replica::proposals::Proposal;
use vouch_node_core::replica::repair::Learned;
use vouch_node_core::replica::voting;

use crate::replica::admission::ReplicaAdmission;
use crate::replica::context::{OwnIdentity, Storage};
use crate::replica::repair;
use crate::store::{Confirmed, Journalled, Promise, Slice, StoreError};

/// Size of a list page in bytes. Its last certificate may exceed it.
const LIST_PAGE: usize = 128 << 10;

/// Maximum number of receipts that are hashed on this thread: for so few, waking another thread takes longer.
const MAX_HASHED_HERE: usize = 64;

type Done = Completion<Journalled<Stored>>;

/// A request in progress: yields its number and its completion.
pub(super) type Running = Pin<Box<dyn Future<Output = (u64, Done)> + Send>>;

/// Performs the requests of one link.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) identity: Arc<OwnIdentity>,
    pub(super) storage: Storage,
    pub(super) admission: Arc<ReplicaAdmission>,
    /// The server's node key.
    pub(super) server: NodeKey,
    /// The link's number in the repair queue.
    pub(super) number: u64,
    /// The epoch in which the link began. It ends with it.
    pub(super) epoch: u64,
    /// The queue of chunks that were read.
    pub(super) chunks: mpsc::Sender<Bytes>,
    /// The queue of completions of tasks.
    pub(super) inputs: mpsc::Sender<Input<Journalled<Stored>>>,
}

impl Requests {
    /// Starts a request. What only the server waits for runs in the link's own task, as each hop to another task costs more than a read of
    /// a chunk; it ends with the link. What this replica keeps runs in a task of its own, to its end.
    pub(super) fn start(&self, number: u64, request: Request<Journalled<Stored>>) -> Option<Running> {
        let requests = self.clone();
        if !matches!(request, Request::Archive(..) | Request::Missed(..)) {
            return Some(Box::pin(async move { (number, requests.perform(request).await) }));
        }
        self.storage.host.spawn(async move {
            let done = requests.perform(request).await;
            // fails only if the link is ending
            let _ = requests.inputs.send(Input::Done(number, done)).await;
        });
        None
    }

    async fn perform(&self, request: Request<Journalled<Stored>>) -> Done {
        let storage = &self.storage;
        match request {
            Request::Confirm(assignments) => storage.store.confirm(&assignments).await.map_or_else(failed, confirmed),
            Request::Promise(committee, proposal, assignments) => self.promise(committee, proposal, assignments).await,
            Request::Sign(journalled) => {
                // Only with the key of the current epoch: the one of an earlier epoch signs nothing new.
                if self.identity.epoch() != self.epoch {
                    return Completion::Failed(Code::NewEpoch, "this replica votes in a later epoch".into());
                }
                let Some(key) = self.identity.vote_key(self.epoch) else {
                    let detail = format!("this replica lacks its vote key for epoch {}", self.epoch);
                    return Completion::Failed(Code::Storage, detail);
                };
                self.blocking(move || Ok(Completion::Signed(journalled.sign(&key)))).await
            }
            Request::Read(read) => self.read(read).await,
            Request::Length(digest) => {
                let store = storage.store.clone();
                self.blocking(move || store.length_of(&digest).map(Completion::Length)).await
            }
            Request::List(from, filter) => {
                let (store, server, filter) = (storage.store.clone(), self.server, (filter, self.epoch));
                self.blocking(move || store.list(from, filter, &server, LIST_PAGE).map(Completion::Listed)).await
            }
            Request::Certificate(digest) => {
                let store = storage.store.clone();
                let found = move || Ok(Completion::Certificate(store.certificate(&digest)?.map(Box::new)));
                self.blocking(found).await
            }
            Request::Archive(committee, proposal, signers, signature) => {
                finished(self.archive(committee, proposal, signers, signature)).await
            }
            Request::Missed(chain, certificates) => {
                let missed = finished(self.missed(chain, certificates)).await;
                if matches!(missed, Completion::Failed(..)) {
                    storage.repairs.read_lists_again(self.number);
                }
                missed
            }
        }
    }

    async fn blocking(&self, work: impl FnOnce() -> Result<Done, StoreError> + Send + 'static) -> Done {
        self.storage.on_disk(work).await.unwrap_or_else(failed)
    }

    async fn promise(
        &self,
        committee: Arc<Committee>,
        Proposal { issued_at, receipts }: Proposal,
        assignments: Vec<Assignment>,
    ) -> Done {
        let statement = if receipts.len() <= MAX_HASHED_HERE {
            voting::statement(&committee, issued_at, &receipts)
        } else {
            let stated = receipts.clone();
            let stating = self.storage.host.spawn_blocking(move || voting::statement(&committee, issued_at, &stated));
            match stating.await {
                Ok(statement) => statement,
                Err(error) => return Completion::Failed(Code::Storage, error.to_string()),
            }
        };
        let Some(statement) = statement else {
            return Completion::Failed(Code::Unexpected, "a batch that is empty or too large".into());
        };
        let counted = self.admission.counted(&receipts);
        match self.storage.store.promise(&assignments, counted, statement).await {
            Ok(Promise::Journalled(statement, usage)) => {
                self.admission.voted(&receipts, usage);
                Completion::Promised(statement)
            }
            Ok(Promise::Lacking(lacking)) => Completion::Lacking(lacking),
            Err(error) => failed(error),
        }
    }

    async fn read(&self, Read { digest, offset, length, .. }: Read) -> Done {
        // Wait for free places before reading. Only reads fill the queue, so the places stay free.
        drop(self.chunks.reserve_many(READS_AT_ONCE).await);
        let store = self.storage.store.clone();
        match self.storage.on_disk(move || store.read(&digest, offset, length)).await {
            Ok(Slice { bytes, proof }) => Completion::Slice(bytes, proof),
            Err(error) => {
                if matches!(error, StoreError::Damaged { .. }) {
                    // in a task of its own, which does not end with the link
                    let (storage, error) = (self.storage.clone(), error.to_string());
                    self.storage.host.spawn(async move { storage.found_damaged(digest, error).await });
                }
                failed(error)
            }
        }
    }

    /// Keeps a batch's certificates of the blobs of which this replica holds its bytes.
    async fn archive(
        &self,
        committee: Arc<Committee>,
        proposal: Proposal,
        signers: Signers,
        signature: AggregateSignature,
    ) -> Result<(), StoreError> {
        let (store, own) = (self.storage.store.clone(), self.identity.position(&committee));
        let checking = self.storage.on_disk(move || {
            let checked = proposal.certificates(&committee, &signers, &signature);
            Ok(checked.map(|certificates| {
                let assigned = certificates.into_iter().map(|certificate| AssignedBlob::new(certificate, own));
                assigned.filter(|assigned| store.holds(&assigned.assignment).unwrap_or(false)).collect::<Vec<_>>()
            }))
        });
        match checking.await? {
            Ok(held) if held.is_empty() => Ok(()),
            Ok(held) => self.storage.store.archive_from(&self.server, held).await,
            Err(invalid) => {
                self.refused(&invalid.to_string());
                Ok(())
            }
        }
    }

    /// Compares certificates that the server says this replica missed with the store, and queues lacking blobs for repair.
    async fn missed(&self, chain: CommitteeChain, certificates: Vec<Certificate>) -> Result<(), StoreError> {
        let own = self.identity.node_key();
        let Learned { lacking, invalid, .. } = repair::learn(&self.storage, &chain, own, certificates).await?;
        if let Some(invalid) = invalid {
            self.refused(&invalid);
        }
        self.storage.repairs.add(self.number, lacking);
        Ok(())
    }

    fn refused(&self, invalid: &str) {
        self.storage.reports.report(Event::Refused(format!("a certificate sent by the server: {invalid}")));
    }
}

async fn finished(work: impl Future<Output = Result<(), StoreError>>) -> Done {
    work.await.map_or_else(failed, |()| Completion::Finished)
}

fn confirmed(Confirmed { lacking, damaged }: Confirmed) -> Done {
    let damaged = damaged.into_iter().map(|(digest, error)| (digest, error.to_string())).collect();
    Completion::Confirmed { lacking, damaged }
}

fn failed(error: StoreError) -> Done {
    Completion::Failed(error.code(), error.to_string())
}
