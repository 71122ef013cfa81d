//! What replicas ask of the server beside their replies: which certificates there are, and to be counted in for blobs that they
//! hold by now.

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

/// Lists that one replica asks for at once; it asks for one after the other.
const LISTS: usize = 4;
/// Requests to be counted in of one replica at once. Members may have to read all these blobs first.
const ENDORSEMENTS: usize = 16;
/// Within what time members confirm a blob of which they need not read much.
const CONFIRMING: Duration = SERVER_STORES;

/// What is being done for one replica; it ends with its link.
#[derive(Debug)]
pub(super) struct Errands {
    lists: JoinSet<()>,
    endorsements: JoinSet<()>,
    /// One after the other: all of them have the same members read.
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

    /// Has blobs certified anew with one who holds them by now. One that asks for too much is not heard: it has no claim.
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
        // one that does not read hears nothing
        replica.tell(message);
    }
}

/// The receipts are proposed to everybody: a new statement of the present.
async fn endorse(shared: Arc<Shared>, member: u16, digests: Vec<Digest>) {
    let (inbox, mut told) = mpsc::channel(MAX_ENDORSE);
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
        if certificate.signers.contains(member) || certificate.claim.receipt.is_expired(shared.host.unix_seconds()) {
            continue;
        }
        let holders = match certificate.claim.receipt.length > MAX_BLOB as u64 {
            true => confirmed(&shared, member, &certificate.claim.receipt).await,
            // little is to be read of it, and who lacks it says so
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
    // where it comes to nothing, the certificates are as good as they were
    while told.recv().await.is_some() {}
}

/// The members that hold a blob, once a quorum and the member that asks have looked at its bytes, and the rest has or is late. A member that has not read a
/// blob for a day reads it before it votes, and a large one takes longer than a vote may: so they are asked before, by an offer that
/// brings no bytes, and what they read then counts for their votes.
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
        // without the one that asks, there is nothing to be certified anew
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
        // a failure: it lacks the blob and has no room for it, or another put of it is under way
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
