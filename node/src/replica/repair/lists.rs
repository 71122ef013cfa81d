//! Reads the lists of certificates that there are: the server's own, and through it the list of every other member. Each is
//! read from where it was left. Nobody can hide a certificate that somebody else lists, and no list ends another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Failed, ListFilter, ListPage, ListPosition, ListSource, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::verify::Invalid;

use super::super::{Event, Shared};
use crate::link::Outgoing;
use crate::listed::PageVerifier;
use crate::store::{Store, StoreError};

/// How long a server may take to show a page, its own or a member's.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pages of one list in one round: a list that never ends keeps nobody from the others.
const MAX_PAGES: usize = 64;

/// What a server answers to a list, by the list's number.
pub(in super::super) type Page = (Stream, Result<ListPage, Failed>);

/// How far one round came.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Members whose lists were read to their ends.
    pub(super) members: usize,
    /// The server's own list was.
    pub(super) server: bool,
}

/// The lists that can be read through one server.
pub(super) struct Lists {
    shared: Arc<Shared>,
    /// The server's node key.
    server: NodeKey,
    requests: mpsc::Sender<Outgoing>,
    listed: mpsc::Receiver<Page>,
    number: u32,
}

/// How one list ended for now.
enum End {
    Read,
    /// Enough for now.
    More,
    /// The server cannot reach the member, or not in time.
    Away,
}

/// Why a list was not read.
enum ListError {
    /// This one list; the others may be read all the same.
    This(String),
    /// The server does not answer, or this replica cannot go on.
    All(String),
}

impl From<StoreError> for ListError {
    fn from(error: StoreError) -> Self {
        Self::All(error.to_string())
    }
}

impl Lists {
    pub(super) fn new(
        shared: Arc<Shared>,
        server: NodeKey,
        requests: mpsc::Sender<Outgoing>,
        listed: mpsc::Receiver<Page>,
    ) -> Self {
        Self { shared, server, requests, listed, number: 0 }
    }

    /// Reads every list as far as there is room for what is lacking.
    ///
    /// # Errors
    /// When the server lists nothing at all, or the store fails.
    pub(super) async fn read(&mut self, committee: &Arc<Committee>) -> Result<Round, String> {
        let mut round = Round::default();
        let own = self.shared.position(committee);
        let members = (0..committee.record().n()).filter(|member| Some(*member) != own).map(ListSource::Member);
        for source in [ListSource::Own].into_iter().chain(members) {
            let owner = match source {
                ListSource::Own => self.server,
                ListSource::Member(member) => committee.record().members()[usize::from(member)].node_key,
            };
            match (self.read_one(committee, source, owner).await, source) {
                (Ok(End::Read), ListSource::Own) => round.server = true,
                (Ok(End::Read), ListSource::Member(_)) => round.members += 1,
                (Ok(End::More | End::Away), _) => {}
                (Err(ListError::This(why)), _) => self.shared.report(Event::Trouble(why)),
                (Err(ListError::All(why)), _) => return Err(why),
            }
        }
        Ok(round)
    }

    async fn read_one(
        &mut self,
        committee: &Arc<Committee>,
        source: ListSource,
        owner: NodeKey,
    ) -> Result<End, ListError> {
        let whose = || match source {
            ListSource::Own => "the server".to_owned(),
            ListSource::Member(member) => committee.record().members()[usize::from(member)].name.to_string(),
        };
        for _ in 0..MAX_PAGES {
            if self.shared.repairer.with(|blobs| blobs.is_full()) {
                return Ok(End::More);
            }
            let (from, is_read) = self.shared.repairer.with(|blobs| blobs.position(&owner));
            // what this replica signed since then is nothing new: it holds that, or knows that it is damaged. At first everything is
            // wanted: its disk may be new, or a backup brought back
            let own = self.shared.position(committee).filter(|_| is_read);
            let filter = own.map_or(ListFilter::All, ListFilter::NotSignedBy);
            let Some(page) = self.ask(source, from, filter).await? else { return Ok(End::Away) };
            if !page.moves_on_from(from) {
                let (after, until) = (from.after, page.end.after);
                let what = format!("{} lists: expected entries after {after}, got some up to {until}", whose());
                return Err(ListError::This(what));
            }
            let ListPage { end, more, certificates } = page;
            let news = sort(&self.shared, committee, certificates).await?;
            if let Some(invalid) = &news.invalid {
                self.shared
                    .report(Event::Trouble(format!("{} lists a certificate that is INVALID: {invalid}", whose())));
            }
            let Some(lacking) = news.keep(&self.shared).await? else {
                return Err(ListError::This(format!("{} lists too many certificates that are INVALID", whose())));
            };
            self.shared.repairer.with(|blobs| blobs.advance(&owner, (end, !more), lacking));
            if !more {
                return Ok(End::Read);
            }
        }
        Ok(End::More)
    }

    /// Asks for a page; `None` when the server cannot reach the member.
    async fn ask(
        &mut self,
        source: ListSource,
        from: ListPosition,
        filter: ListFilter,
    ) -> Result<Option<ListPage>, ListError> {
        // 0 is the link itself
        self.number = self.number.checked_add(1).unwrap_or(1);
        let stream = Stream(self.number);
        let request = Message::List { stream, source, from, filter };
        let ended = |_| ListError::All("the link ended".into());
        self.requests.send(request.encode().into()).await.map_err(ended)?;
        loop {
            let listed = self.shared.host.timeout(DEADLINE, self.listed.recv()).await;
            let late = |_| ListError::All(format!("the server did not list within {} s", DEADLINE.as_secs()));
            return match listed.map_err(late)? {
                // of a round before
                Some((other, _)) if other != stream => continue,
                Some((_, Ok(page))) => Ok(Some(page)),
                Some((_, Err(_))) if source != ListSource::Own => Ok(None),
                Some((_, Err(failed))) => Err(ListError::This(format!("the server does not list: {failed}"))),
                None => Err(ListError::All("the link ended".into())),
            };
        }
    }
}

/// What some certificates mean to this replica. All in it are verified.
#[derive(Debug, Default)]
pub(in super::super) struct News {
    /// Of blobs that it does not hold.
    lacking: Vec<Certificate>,
    /// Of blobs that it holds, newer than its own.
    held: Vec<Certificate>,
    /// The last that is wrong, and whether there were too many of them.
    invalid: Option<Invalid>,
    is_garbage: bool,
}

impl News {
    /// Keeps the certificates of what is held, and takes on their duties. Gives those of what is lacking, or nothing when
    /// the certificates came with too many that are wrong.
    pub(in super::super) async fn keep(self, shared: &Shared) -> Result<Option<Vec<Certificate>>, StoreError> {
        let Self { lacking, held, is_garbage, .. } = self;
        if !held.is_empty() {
            let store = &shared.store;
            let receipts: Vec<Receipt> = held.iter().map(|certificate| certificate.claim.receipt).collect();
            let reader = store.clone();
            let longer = shared.on_disk(move || {
                let mut longer = Vec::new();
                for receipt in receipts {
                    if reader.keep_until(&receipt.digest)?.is_some_and(|until| until < receipt.expires_at) {
                        longer.push(receipt);
                    }
                }
                Ok(longer)
            });
            let longer = longer.await?;
            if !longer.is_empty() {
                // a renewal that this replica missed: without its duty the blob would be deleted too early
                store.keep(&longer).await?;
            }
            store.archive(held).await?;
        }
        Ok((!is_garbage).then_some(lacking))
    }

    /// What is wrong among them.
    pub(in super::super) fn invalid(&self) -> Option<&Invalid> {
        self.invalid.as_ref()
    }
}

/// Compares certificates with what is held. Only those that matter are verified; what is known already costs a look into the
/// index.
pub(in super::super) async fn sort(
    shared: &Arc<Shared>,
    committee: &Arc<Committee>,
    certificates: Vec<Certificate>,
) -> Result<News, StoreError> {
    if certificates.is_empty() {
        return Ok(News::default());
    }
    let (shared, committee, host) = (shared.clone(), committee.clone(), shared.host.clone());
    let sorting = host.spawn_blocking(move || {
        let now = shared.host.unix_seconds();
        let mut news = News::default();
        let mut verifier = PageVerifier::new(&committee, now);
        for certificate in certificates {
            let is_own = certificate.committee == committee.record().digest();
            let standing = standing(&shared.store, &certificate)?;
            if !is_own
                || certificate.claim.receipt.is_expired(now)
                || standing == Standing::Known
                || (standing == Standing::Lacking && shared.repairer.with(|blobs| blobs.knows(&certificate)))
            {
                continue;
            }
            match verifier.verify(&certificate) {
                Ok(()) if standing == Standing::Lacking => news.lacking.push(certificate),
                Ok(()) => news.held.push(certificate),
                Err(why) => {
                    news.invalid = Some(why);
                    news.is_garbage = verifier.is_garbage();
                    if news.is_garbage {
                        break;
                    }
                }
            }
        }
        Ok(news)
    });
    sorting.await.map_err(|panicked| StoreError::Task(panicked.to_string()))?
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Held, with a certificate that is no older.
    Known,
    Held,
    Lacking,
}

fn standing(store: &Store, certificate: &Certificate) -> Result<Standing, StoreError> {
    let Receipt { digest, length, .. } = certificate.claim.receipt;
    if store.length_of(&digest)? != Some(length) {
        return Ok(Standing::Lacking);
    }
    // one that cannot be read is replaced
    let kept = store.certificate(&digest).ok().flatten();
    let is_newer = kept.is_none_or(|kept| kept.claim.issued_at < certificate.claim.issued_at);
    Ok(if is_newer { Standing::Held } else { Standing::Known })
}
