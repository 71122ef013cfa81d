//! Reads the members' lists of certificates. Each member keeps the certificates of the blobs that it holds. The server reads these lists
//! when a link begins and every few seconds after that, and asks the members for a single certificate that it lacks. So a new server, or
//! one that lost its archive, obtains every certificate, and the servers of one cluster learn each other's.
//!
//! Members are not trusted: a certificate is kept only after its signature is verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, ListFilter, ListPage, ListPosition, ListSource, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_node_core::backoff::Backoff;

use super::routes::Reply;
use super::{Event, ReplicaHandle, Shared, Snapshot};
use crate::host::Host;
use crate::listed::PageVerifier;

/// Interval between readings of a member's list after its end. A reading without news takes two small messages.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Pauses after a failed reading double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Timeout of a request for a page.
const PAGE_DEADLINE: Duration = Duration::from_secs(10);
/// Timeout of a search for one certificate, and the grace period for the other members after the first valid answer.
const FIND_DEADLINE: Duration = Duration::from_secs(2);
const FIND_GRACE: Duration = Duration::from_millis(100);
/// Maximum size in bytes of the certificates in one notice.
const NOTICE: usize = 64 << 10;

/// The state of reading one member's list over its link.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Whether the list was read to its end on this link.
    is_read: AtomicBool,
    /// Whether the member missed certificates for which its queue had no room.
    owes_notice: AtomicBool,
}

impl Shared {
    /// Whether the lists of a quorum were read to their ends: the archive is then complete except for the last seconds.
    pub(super) fn knows_certificates(&self, committee: &Committee) -> bool {
        let snapshot = self.snapshot.get();
        let read = snapshot.members.values().filter(|handle| handle.listing.is_read.load(Ordering::Relaxed));
        read.count() >= committee.record().quorum().into()
    }

    /// The best certificate of a blob, here or at a connected member.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(super) async fn certificate(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<Option<Certificate>, super::archive::ArchiveError> {
        match self.archive.load(digest).await? {
            Some(certificate) => Ok(Some(certificate)),
            None => Ok(find(self, digest).await),
        }
    }

    /// An earlier certificate that promises at least as much as the receipt. While the archive may be incomplete, members are asked as well.
    pub(super) async fn earlier(self: &Arc<Self>, committee: &Committee, wanted: &Receipt) -> Option<Box<Certificate>> {
        let kept = self.archive.earlier(committee, wanted).await;
        if kept.is_some() || self.knows_certificates(committee) {
            return kept;
        }
        find(self, wanted.digest).await?;
        self.archive.earlier(committee, wanted).await
    }
}

/// Reads a member's list repeatedly until the future is dropped, at the end of the member's link.
pub(super) async fn follow(shared: &Arc<Shared>, node_key: NodeKey, listing: &Listing) {
    let mut changes = shared.snapshot.follow();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut learned = 0;
    loop {
        let committee = changes.see().committee.clone();
        let member = committee.as_ref().and_then(|committee| committee.record().position(&node_key));
        let (Some(committee), Some(member)) = (committee, member) else {
            // A standby has no certificates.
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        if listing.owes_notice.swap(false, Ordering::Relaxed) {
            let snapshot = shared.snapshot.get();
            let nothing_shown = Message::Missed { certificates: Vec::new() };
            if !snapshot.members.get(&member).is_some_and(|handle| handle.tell(&nothing_shown)) {
                listing.owes_notice.store(true, Ordering::Relaxed);
            }
        }
        match read_page(shared, &committee, member, node_key, listing).await {
            Ok(Progress { new, more: true }) => learned += new,
            Ok(Progress { new, more: false }) => {
                backoff.reset();
                learned += new;
                let is_first = !listing.is_read.swap(true, Ordering::Relaxed);
                if is_first && learned > 0 {
                    let name = committee.record().members()[usize::from(member)].name;
                    shared.report(Event::Learned(name.to_string(), learned));
                }
                shared.host.sleep(LOOK_EVERY).await;
            }
            Err(why) => {
                if backoff.is_reset() {
                    let name = committee.record().members()[usize::from(member)].name;
                    shared.report(Event::Trouble(format!("reading the certificates that {name} lists: {why}")));
                }
                shared.host.sleep(backoff.pause()).await;
            }
        }
    }
}

/// The result of reading one page.
#[derive(Debug, Default)]
struct Progress {
    /// Number of certificates that were new to the server.
    new: usize,
    /// Whether another page follows.
    more: bool,
}

/// Reads one page.
async fn read_page(
    shared: &Arc<Shared>,
    committee: &Arc<Committee>,
    member: u16,
    node_key: NodeKey,
    link: &Listing,
) -> Result<Progress, String> {
    let from = shared.archive.list_read(node_key).await.map_err(|error| error.to_string())?;
    // Skip certificates that this server made: its archive has them. Not in the first reading: archive and position may have been restored
    // from a backup.
    let filter = if link.is_read.load(Ordering::Relaxed) { ListFilter::NotFromAsker } else { ListFilter::All };
    let page = list(shared, member, from, filter).await.map_err(|failed| failed.to_string())?;
    if !page.advances_beyond(from) {
        return Err(format!("expected entries after {}, got some up to {}", from.after, page.end.after));
    }
    let ListPage { end, more, certificates } = page;
    if end == from && certificates.is_empty() && !more {
        return Ok(Progress::default());
    }
    // Skip known certificates: members list mostly the same ones.
    let _turn = shared.listing.lock().await;
    let new = shared.archive.new_among(certificates).await.map_err(|error| error.to_string())?;
    let new = verified(&shared.host, new, committee).await?;
    let new = Arc::new(new);
    shared.archive.save_listed(new.clone(), node_key, end).await.map_err(|error| error.to_string())?;
    if link.is_read.load(Ordering::Relaxed) {
        // A put through another server: notify members that missed it. At the beginning of a link, replicas read the lists themselves.
        notify(shared, &new, &[member]);
    }
    Ok(Progress { new: new.len(), more })
}

/// The certificates that were valid when they were issued. Expired ones are kept as long as the archive keeps its own: this server's clock
/// may be ahead, and dropped ones would be lost for good.
async fn verified(
    host: &Host,
    certificates: Vec<Certificate>,
    committee: &Arc<Committee>,
) -> Result<Vec<Certificate>, String> {
    if certificates.is_empty() {
        return Ok(certificates);
    }
    let committee = committee.clone();
    let verifying = host.spawn_blocking(move || {
        let mut verifier = PageVerifier::new(&committee);
        let mut valid = Vec::new();
        for certificate in certificates {
            match verifier.verify(&certificate) {
                Ok(()) => valid.push(certificate),
                Err(error) if verifier.is_garbage() => {
                    return Err(format!("too many certificates are INVALID, the last one: {error}"));
                }
                Err(_) => {}
            }
        }
        Ok(valid)
    });
    verifying.await.map_err(|panicked| panicked.to_string())?
}

/// Requests a page of a member's own list.
///
/// # Errors
/// The member's refusal, or that it is not connected or late.
pub(super) async fn list(
    shared: &Arc<Shared>,
    member: u16,
    from: ListPosition,
    filter: ListFilter,
) -> Result<ListPage, Failed> {
    let stream = shared.stream();
    let (mailbox, mut replies) = mpsc::channel(1);
    let _route = shared.routes.open(stream, mailbox);
    let failed = |code, detail: &str| Failed::new(stream, code, detail).with_subjects(vec![member]);
    let gone = || failed(Code::NotFound, "the member is not connected");
    let mut changes = shared.snapshot.follow();
    let snapshot = changes.see();
    let link = snapshot.members.get(&member).map(|handle| handle.link).ok_or_else(gone)?;
    let question = Message::List { stream, source: ListSource::Own, from, filter };
    if !snapshot.members.get(&member).is_some_and(|handle| handle.tell(&question)) {
        return Err(failed(Code::Busy, "the member does not read"));
    }
    let is_gone = |now: &Snapshot| now.members.get(&member).is_none_or(|handle| handle.link != link);
    let answered = async {
        loop {
            tokio::select! {
                biased;
                reply = replies.recv() => match reply.map(|reply| *reply) {
                    Some(Reply { member: from, message: Message::Listed { page, .. }, .. }) if from == member => {
                        return Ok(page);
                    }
                    Some(Reply { member: from, message: Message::Failed(failed), .. }) if from == member => {
                        return Err(failed);
                    }
                    // Not an answer of this member to a list request.
                    Some(_) => {}
                    None => return Err(gone()),
                },
                changed = changes.changed() => {
                    if changed.is_err() || is_gone(&changes.see()) {
                        return Err(gone());
                    }
                }
            }
        }
    };
    let answered = shared.host.timeout(PAGE_DEADLINE, answered).await;
    answered.unwrap_or_else(|_| Err(failed(Code::TimedOut, "the member did not list in time")))
}

/// Asks all connected members for the certificate of one blob, and keeps the best valid one.
async fn find(shared: &Arc<Shared>, digest: Digest) -> Option<Certificate> {
    let committee = shared.committee()?;
    // Limit the searches in progress: strangers may ask for blobs that do not exist.
    let _turn = shared.lookups.acquire().await.ok()?;
    let stream = shared.stream();
    let snapshot = shared.snapshot.get();
    let (mailbox, mut replies) = mpsc::channel(snapshot.members.len().max(1));
    let _route = shared.routes.open(stream, mailbox);
    let question = Message::FindCertificate { stream, digest };
    let mut asked: Vec<u16> =
        snapshot.members.iter().filter(|(_, handle)| handle.tell(&question)).map(|(member, _)| *member).collect();
    let mut deadline = shared.host.monotonic() + FIND_DEADLINE;
    let mut best: Option<Certificate> = None;
    while !asked.is_empty() {
        let left = deadline.saturating_sub(shared.host.monotonic());
        let Ok(Some(reply)) = shared.host.timeout(left, replies.recv()).await else { break };
        let Reply { member, message, .. } = *reply;
        let before = asked.len();
        asked.retain(|other| *other != member);
        if asked.len() == before {
            continue;
        }
        if let Message::FoundCertificate { certificate: Some(certificate), .. } = message
            && certificate.claim.receipt.digest == digest
            && best.as_ref().is_none_or(|best| certificate.supersedes(best))
            // Only a valid certificate starts the grace period: otherwise a quick forger would hide the certificates of the others.
            && let Ok(valid) = verified(&shared.host, vec![*certificate], &committee).await
            && let Some(valid) = valid.into_iter().next()
        {
            deadline = deadline.min(shared.host.monotonic() + FIND_GRACE);
            best = Some(valid);
        }
    }
    let best = best?;
    if let Err(error) = shared.archive.save(Arc::new(vec![best.clone()])).await {
        shared.report(Event::Trouble(format!("cannot save certificates: {error}")));
    }
    Some(best)
}

/// Sends connected members the certificates that they did not sign, except to those in `knowing`: they most likely lack these blobs, and
/// fetch them at once.
pub(super) fn notify(shared: &Shared, certificates: &[Certificate], knowing: &[u16]) {
    let snapshot = shared.snapshot.get();
    for of_same_signers in certificates.chunk_by(|one, other| one.signers == other.signers) {
        let Some(first) = of_same_signers.first() else { continue };
        let missed =
            |(member, _): &(&u16, &ReplicaHandle)| !first.signers.contains(**member) && !knowing.contains(member);
        let missed: Vec<_> = snapshot.members.iter().filter(missed).map(|(_, handle)| handle).collect();
        if missed.is_empty() {
            continue;
        }
        let size = first.encode().len().max(1);
        for page in of_same_signers.chunks((NOTICE / size).max(1)) {
            let notice = Message::Missed { certificates: page.to_vec() }.encode();
            for handle in &missed {
                if !handle.control.try_send_spare(&notice) {
                    handle.listing.owes_notice.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Answers a list request with a page of the server's own list, or relays a member's.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    stream: Stream,
    source: ListSource,
    (from, filter): (ListPosition, ListFilter),
) -> Message {
    let listed = match source {
        ListSource::Member(member) => list(shared, member, from, filter).await,
        ListSource::Own => shared.archive.page(from, filter).await.map_err(|error| {
            shared.report(Event::Trouble(format!("listing certificates: {error}")));
            Failed::new(stream, Code::Storage, "the server cannot read its certificates")
        }),
    };
    match listed {
        Ok(page) => Message::Listed { stream, page },
        Err(failed) => Message::Failed(Failed { stream, ..failed }),
    }
}
