//! What replicas ask of the server beside their replies: which certificates there are, and to be counted in for blobs that they
//! hold by now.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, ListFilter, ListPosition, ListSource, MAX_ENDORSE, Message, Stream};

use super::batcher::Word;
use super::{Event, Shared, member_lists};
use crate::host::clock;
use crate::host::tasks::JoinSet;

/// Errands of one replica at once; it does one after the other.
const AT_ONCE: usize = 4;

/// What is being done for one replica; it ends with its link.
#[derive(Debug, Default)]
pub(super) struct Errands(JoinSet<()>);

impl Errands {
    fn has_room(&mut self) -> bool {
        while self.0.try_join_next().is_some() {}
        self.0.len() < AT_ONCE
    }

    /// Lists a page of the certificates, the server's own or another member's.
    pub(super) fn list(
        &mut self,
        shared: &Arc<Shared>,
        member: u16,
        stream: Stream,
        source: ListSource,
        page: (ListPosition, ListFilter),
    ) {
        if self.has_room() {
            let shared = shared.clone();
            self.0.spawn(
                async move { tell(&shared, member, &member_lists::answer(&shared, stream, source, page).await) },
            );
        } else {
            tell(shared, member, &Message::failed(stream, Code::Busy, "one list at a time"));
        }
    }

    /// Has blobs certified anew with one who holds them by now. One that asks for too much is not heard: it has no claim.
    pub(super) fn endorse(&mut self, shared: &Arc<Shared>, member: u16, digests: Vec<Digest>) {
        if self.has_room() {
            self.0.spawn(endorse(shared.clone(), member, digests));
        }
    }
}

fn tell(shared: &Shared, member: u16, message: &Message) {
    let snapshot = shared.snapshot.borrow().clone();
    if let Some(replica) = snapshot.members.get(&member) {
        // one that does not read hears nothing
        replica.tell(message);
    }
}

/// The receipts are proposed to everybody: a new statement of the present.
async fn endorse(shared: Arc<Shared>, member: u16, digests: Vec<Digest>) {
    let (outcomes, mut results) = mpsc::channel(MAX_ENDORSE);
    // one that is named twice is one
    let digests: BTreeSet<[u8; 32]> = digests.into_iter().map(|digest| digest.0).collect();
    for digest in digests {
        let certificate = match shared.certificate(Digest(digest)).await {
            Ok(Some(certificate)) => certificate,
            // nobody has a certificate
            Ok(None) => continue,
            Err(error) => {
                shared.report(Event::Trouble(error.to_string()));
                continue;
            }
        };
        if certificate.signers.contains(member) || certificate.receipt.is_expired(clock::unix_seconds()) {
            continue;
        }
        // who of them lacks the blob says so
        let holders: BTreeSet<u16> = shared.snapshot.borrow().members.keys().copied().collect();
        let (put, receipt, outcomes) = (shared.stream(), certificate.receipt, outcomes.clone());
        let candidates = BTreeSet::new();
        shared.batcher.say(Word::Submit { put, receipt, holders, candidates, outcomes }).await;
    }
    drop(outcomes);
    // where it comes to nothing, the certificates are as good as they were
    while results.recv().await.is_some() {}
}
