//! Admits what servers pass on: asks the core, and the store what it has counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::access::{Authorisation, TokenKey};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::placement::Assignment;
use vouch_core::receipt::Receipt;
use vouch_node_core::access::{Access, Admission, Counted, Refusal, Usage};

use super::context::Storage;
use crate::store::StoreError;

/// The replica's admission, which its links share.
#[derive(Debug)]
pub(super) struct ReplicaAdmission(Mutex<Admission>);

impl ReplicaAdmission {
    /// `stored`: what the index has counted for tokens.
    pub(super) fn new(stored: Vec<Usage>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Admission::new(stored))))
    }

    fn lock(&self) -> MutexGuard<'_, Admission> {
        // A call that panicked changed at most one offer.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log has decided this.
    pub(super) fn set_access(&self, cluster: ClusterId, access: Arc<Access>, nodes: BTreeSet<NodeKey>) {
        self.lock().set_access(cluster, access, nodes);
    }

    /// The index has counted this much for these tokens.
    pub(super) fn set_stored(&self, usage: Vec<Usage>) {
        self.lock().set_stored(usage);
    }

    /// Whether readers need a token.
    pub(super) fn reads_need_tokens(&self) -> bool {
        self.lock().reads_need_tokens()
    }

    /// Admits a message of a server.
    ///
    /// # Errors
    /// The refusal to answer it with.
    pub(super) async fn admit(&self, storage: &Storage, message: &Message) -> Result<(), Failed> {
        let wall = storage.host.unix_seconds();
        match message {
            Message::Put { stream, offer: Some(receipt), authorisation, .. }
            | Message::Blob { stream, receipt, authorisation, .. } => {
                self.admit_put(storage, *stream, receipt, authorisation.as_ref()).await
            }
            Message::Put { stream, offer: None, authorisation, .. } => {
                self.lock().send(authorisation.as_ref(), wall).map_err(|refusal| refused(*stream, &refusal))
            }
            // The offer of a known blob was admitted at the beginning; if it was another one, the put fails, or its vote.
            Message::PutEnd { stream, receipt, authorisation: Some(authorisation) } => {
                self.admit_put(storage, *stream, receipt, Some(authorisation)).await
            }
            Message::Locate { stream, digest, authorisation } => {
                let read = self.lock().read(digest, authorisation.as_ref(), wall);
                read.map_err(|refusal| refused(*stream, &refusal))
            }
            Message::Propose { stream, receipts, .. } => self.admit_vote(storage, *stream, receipts).await,
            _ => Ok(()),
        }
    }

    async fn admit_put(
        &self,
        storage: &Storage,
        stream: Stream,
        receipt: &Receipt,
        authorisation: Option<&Authorisation>,
    ) -> Result<(), Failed> {
        let is_counted = match authorisation {
            Some(authorisation) => is_counted(storage, authorisation.key, receipt.digest).await,
            None => Ok(false),
        };
        let is_counted = is_counted.map_err(|error| failed(stream, &error))?;
        let times = (storage.host.monotonic(), storage.host.unix_seconds());
        let admitted = self.lock().store(receipt, authorisation, is_counted, times);
        match admitted {
            Ok(()) => Ok(()),
            Err(Refusal::NoToken) if add_nothing(storage, stream, &[*receipt]).await? == [true] => Ok(()),
            Err(refusal) => Err(refused(stream, &refusal)),
        }
    }

    /// A server could propose what nobody offered to this replica with a token.
    async fn admit_vote(&self, storage: &Storage, stream: Stream, receipts: &[Receipt]) -> Result<(), Failed> {
        let doubtful = self.lock().not_offered(receipts);
        if doubtful.is_empty() {
            return Ok(());
        }
        let of_doubtful: Vec<Receipt> =
            doubtful.iter().filter_map(|index| receipts.get(usize::from(*index)).copied()).collect();
        let add_nothing = add_nothing(storage, stream, &of_doubtful).await?;
        let refused: Vec<u16> =
            doubtful.into_iter().zip(add_nothing).filter(|(_, adds_nothing)| !adds_nothing).map(|(at, _)| at).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "{} of {} blobs were not offered to this replica with a token, which this cluster requires",
            refused.len(),
            receipts.len()
        );
        Err(Failed::new(stream, Code::NotHeld, detail).with_subjects(refused))
    }

    /// What counts for tokens if this replica votes for these receipts.
    pub(super) fn counted(&self, receipts: &[Receipt]) -> Vec<Counted> {
        self.lock().counted(receipts)
    }

    /// The index has counted these receipts.
    pub(super) fn voted(&self, receipts: &[Receipt], usage: Vec<Usage>) {
        self.lock().voted(receipts, usage);
    }
}

fn refused(stream: Stream, refusal: &Refusal) -> Failed {
    Failed::new(stream, refusal.code(), refusal.to_string())
}

fn failed(stream: Stream, error: &StoreError) -> Failed {
    Failed::new(stream, error.code(), error.to_string())
}

async fn is_counted(storage: &Storage, token: TokenKey, digest: Digest) -> Result<bool, StoreError> {
    let store = storage.store.clone();
    storage.on_disk(move || store.is_counted(&token, &digest)).await
}

/// For each receipt, whether a vote for it would promise nothing new. Then it needs no token: members certify again what they hold, when some
/// missed the first statement.
async fn add_nothing(storage: &Storage, stream: Stream, receipts: &[Receipt]) -> Result<Vec<bool>, Failed> {
    let store = storage.store.clone();
    // Today every member has the same assignment; the salt does not matter for what is held.
    let assignments: Vec<Assignment> = receipts.iter().map(|receipt| receipt.assignment(None)).collect();
    let promised = move || assignments.iter().map(|assignment| store.is_promised(assignment)).collect();
    let promised: Result<Vec<bool>, StoreError> = storage.on_disk(promised).await;
    promised.map_err(|error| failed(stream, &error))
}
