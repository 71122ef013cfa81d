//! Requests of replicas: lists of certificates, and endorsements: to certify blobs again that they hold by now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, ListFilter, ListPosition, ListSource, MAX_BLOB, MAX_ENDORSE, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::session::progress::SERVER_STORES;
use vouch_node_core::server::GracePeriod;
use vouch_node_core::server::put::READING_RATE;

use super::routes::Reply;
use super::{Event, Shared, member_lists};
use crate::host::tasks::JoinSet;

/// Maximum number of list requests of one replica in progress. An honest one has a single request in progress.
const LISTS: usize = 4;
/// Maximum number of endorsement requests of one replica in progress. Members may have to read all these blobs first.
const ENDORSEMENTS: usize = 16;
/// Time within which members confirm a small blob.
const CONFIRMING: Duration = SERVER_STORES;

/// The requests of one replica in progress. They end with its link.
#[derive(Debug)]
pub(super) struct Errands {
    lists: JoinSet<()>,
    endorsements: JoinSet<()>,
    /// Endorsements run one after the other, because all of them make the same members read.
    turn: Arc<Semaphore>,
}

impl Default for Errands {
    fn default() -> Self {
        Self { lists: JoinSet::new(), endorsements: JoinSet::new(), turn: Arc::new(Semaphore::new(1)) }
    }
}

fn has_room(errands: &mut JoinSet<()>, most: usize) -> bool {
    while errands.try_join_next().is_some() {}
    errands.len() < most
}

impl Errands {
    /// Lists a page of the certificates, the server's own or another member's.
    pub(super) fn list(
        &mut self,
        shared: &Arc<Shared>,
        member: u16,
        stream: Stream,
        source: ListSource,
        page: (ListPosition, ListFilter),
    ) {
        if has_room(&mut self.lists, LISTS) {
            let shared = shared.clone();
            self.lists.spawn(async move {
                tell(&shared, member, &member_lists::answer(&shared, stream, source, page).await)
            });
        } else {
            tell(shared, member, &Message::failed(stream, Code::Busy, "one list at a time"));
        }
    }

    /// Certifies blobs again with a member that holds them by now. Requests beyond the limit are ignored: an endorsement is optional.
    pub(super) fn endorse(&mut self, shared: &Arc<Shared>, member: u16, digests: Vec<Digest>) {
        if has_room(&mut self.endorsements, ENDORSEMENTS) {
            let (shared, turn) = (shared.clone(), self.turn.clone());
            self.endorsements.spawn(async move {
                let _turn = turn.acquire().await;
                endorse(shared, member, digests).await;
            });
        }
    }
}

fn tell(shared: &Shared, member: u16, message: &Message) {
    let snapshot = shared.snapshot.get();
    if let Some(replica) = snapshot.members.get(&member) {
        // A member that does not read gets no answer.
        replica.tell(message);
    }
}

/// Proposes the receipts to all members in a new statement with the current time.
async fn endorse(shared: Arc<Shared>, member: u16, digests: Vec<Digest>) {
    let (inbox, mut told) = mpsc::channel(MAX_ENDORSE);
    // Ignore repeated digests.
    let digests: BTreeSet<[u8; 32]> = digests.into_iter().map(|digest| digest.0).collect();
    for digest in digests {
        let certificate = match shared.certificate(Digest(digest)).await {
            Ok(Some(certificate)) => certificate,
            // No certificate is known.
            Ok(None) => continue,
            Err(error) => {
                shared.report(Event::Trouble(error.to_string()));
                continue;
            }
        };
        if certificate.signers.contains(member) || certificate.claim.receipt.is_expired(shared.host.unix_seconds()) {
            continue;
        }
        let holders = match certificate.claim.receipt.length > MAX_BLOB as u64 {
            true => confirmed(&shared, member, &certificate.claim.receipt).await,
            // A small blob is read quickly, and a member that lacks it refuses.
            false => shared.snapshot.get().members.keys().copied().collect(),
        };
        let quorum = shared.committee().map_or(usize::MAX, |committee| committee.record().quorum().into());
        if holders.len() < quorum || !holders.contains(&member) {
            continue;
        }
        let (put, receipt, inbox) = (shared.stream(), certificate.claim.receipt, inbox.clone());
        shared.submit(put, receipt, (holders, BTreeSet::new()), inbox);
    }
    drop(inbox);
    // If this fails, the earlier certificates stay as good as before.
    while told.recv().await.is_some() {}
}

/// The members that hold a blob, after a quorum and the asking member have read its bytes, and the others have or are late. A member that
/// has not read a blob for a day reads it before it votes, which takes longer for a large blob than a vote may. So the server first offers
/// the blob without sending bytes: the members read it then, and that counts for their votes.
async fn confirmed(shared: &Arc<Shared>, member: u16, receipt: &Receipt) -> BTreeSet<u16> {
    let mut holders = BTreeSet::new();
    let Some(committee) = shared.committee() else { return holders };
    let quorum = committee.record().quorum().into();
    let (stream, snapshot) = (shared.stream(), shared.snapshot.get());
    let (mailbox, mut replies) = mpsc::channel(2 * snapshot.members.len().max(1));
    let _route = shared.routes.open(stream, mailbox);
    let offer = Message::Put { stream, offer: Some(*receipt), renew: true };
    let mut asked: BTreeSet<u16> =
        snapshot.members.iter().filter(|(_, handle)| handle.tell(&offer)).map(|(member, _)| *member).collect();
    let began = shared.host.monotonic();
    let deadline = began + CONFIRMING + Duration::from_secs(receipt.length / READING_RATE);
    let mut grace = GracePeriod::new(began);
    let cancel = Message::Cancel { stream, keep: true };
    while !asked.is_empty() {
        let is_over = grace.is_over(holders.len(), quorum, asked.len(), shared.host.monotonic());
        // Without the asking member, a new certificate would be useless.
        if is_over && !asked.contains(&member) {
            break;
        }
        let until = grace.until().filter(|_| !asked.contains(&member)).unwrap_or(deadline).min(deadline);
        let left = until.saturating_sub(shared.host.monotonic());
        let Ok(Some(reply)) = shared.host.timeout(left, replies.recv()).await else { break };
        let Reply { member, message, .. } = *reply;
        if !asked.remove(&member) {
            continue;
        }
        // The member refused: it lacks the blob and has no space, or another put of the blob is in progress.
        if let Message::Ready { offset, .. } = message {
            if offset == receipt.length {
                holders.insert(member);
            }
            tell(shared, member, &cancel);
        }
    }
    for member in asked {
        tell(shared, member, &cancel);
    }
    holders
}
