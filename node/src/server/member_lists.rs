//! Members keep the certificates of what they hold, so the server's own are not the only ones. It reads the members' lists
//! when their links begin and every few seconds after that, and asks for a single certificate that it lacks. So a server that
//! is new, or lost its archive, has every certificate again, and servers of one cluster learn each other's.
//!
//! Members are not trusted: no certificate is kept before its signature is verified.

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

/// From the end of a member's list to the next look at it: two small messages.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// After a list failed: from the first pause to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long a member may take to answer with a page.
const PAGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long all members may take to answer when one certificate is asked for, and the others once one member has shown it.
const FIND_DEADLINE: Duration = Duration::from_secs(2);
const FIND_GRACE: Duration = Duration::from_millis(100);
/// Bytes of certificates in one notice.
const NOTICE: usize = 64 << 10;

/// What the server knows about the list of one member's link.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// It was read to its end on this link.
    is_read: AtomicBool,
    /// The member missed certificates that there was no room to tell it of.
    owes_notice: AtomicBool,
}

impl Shared {
    /// Whether the lists of a quorum were read to their ends, so that the archive has everything but the last seconds'.
    pub(super) fn knows_certificates(&self, committee: &Committee) -> bool {
        let snapshot = self.snapshot.get();
        let read = snapshot.members.values().filter(|handle| handle.listing.is_read.load(Ordering::Relaxed));
        read.count() >= committee.record().quorum().into()
    }

    /// The best certificate of a blob, here or at a member that is connected.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub(super) async fn certificate(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<Option<Certificate>, super::archive::ArchiveError> {
        match self.archive.load(digest).await? {
            Some(certificate) => Ok(Some(certificate)),
            None => Ok(find(self, digest).await),
        }
    }

    /// A certificate that is as good for a receipt as a new one. While the archive may lack some, members are asked as well.
    pub(super) async fn earlier(self: &Arc<Self>, committee: &Committee, wanted: &Receipt) -> Option<Box<Certificate>> {
        let kept = self.archive.earlier(committee, wanted).await;
        if kept.is_some() || self.knows_certificates(committee) {
            return kept;
        }
        find(self, wanted.digest).await?;
        self.archive.earlier(committee, wanted).await
    }
}

/// Reads a member's list for as long as it is polled, which is as long as the member's link lasts.
pub(super) async fn follow(shared: &Arc<Shared>, node_key: NodeKey, listing: &Listing) {
    let mut changes = shared.snapshot.follow();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut learned = 0;
    loop {
        let committee = changes.see().committee.clone();
        let member = committee.as_ref().and_then(|committee| committee.record().position(&node_key));
        let (Some(committee), Some(member)) = (committee, member) else {
            // a standby has no certificates
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

/// What one page brought.
#[derive(Debug, Default)]
struct Progress {
    /// Certificates that the server did not have.
    new: usize,
    /// There is another page.
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
    // what this server made since then is in its archive and need not come back. At first everything is wanted: a backup may have
    // brought archive and position back
    let filter = if link.is_read.load(Ordering::Relaxed) { ListFilter::NotFromAsker } else { ListFilter::All };
    let page = list(shared, member, from, filter).await.map_err(|failed| failed.to_string())?;
    if !page.advances_beyond(from) {
        return Err(format!("expected entries after {}, got some up to {}", from.after, page.end.after));
    }
    let ListPage { end, more, certificates } = page;
    if end == from && certificates.is_empty() && !more {
        return Ok(Progress::default());
    }
    // members list much the same: the next one's page is not verified again
    let _turn = shared.listing.lock().await;
    let new = shared.archive.new_among(certificates).await.map_err(|error| error.to_string())?;
    let new = verified(&shared.host, new, committee).await?;
    let new = Arc::new(new);
    shared.archive.save_listed(new.clone(), node_key, end).await.map_err(|error| error.to_string())?;
    if link.is_read.load(Ordering::Relaxed) {
        // put through another server: who missed it hears of it here as well. At the beginning of a link, replicas read lists themselves
        notify(shared, &new, &[member]);
    }
    Ok(Progress { new: new.len(), more })
}

/// The certificates among some that were valid when they were issued. Those that have expired are kept for as long as the archive keeps
/// its own: by the clock of this server, which may be ahead, others would be lost for good.
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

/// Asks a member for a page of its own list.
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
                    // somebody else's, or no answer to a list
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

/// Asks all connected members for the certificate of one blob, and keeps the best that is valid.
async fn find(shared: &Arc<Shared>, digest: Digest) -> Option<Certificate> {
    let committee = shared.committee()?;
    // strangers may ask for what nobody has: a few of them at a time
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
            // only a valid one ends the waiting: else who forges one quickly would hide those of everybody else
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

/// Tells the connected members of certificates that they did not sign, all but some who know: they lack these blobs, most
/// likely, and fetch them at once.
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

/// Relays a page of a member's list, or shows one of the server's own.
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
