//! A link to a server for puts: one file or many. A task drives the link; each put waits for its own result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::MAX_PUTS;
use vouch_core::session::{Certified, LinkOptions, NewPut};
use vouch_core::verify::Trust;

use super::put_driver::{LinkInfo, PutCommand, PutDriver, PutNumber, QueuedPut};
use super::{ClientError, Offer, PutProgress, dial, open};
use crate::host::Host;
use crate::host::source::Source;
use crate::link::LinkError;

/// Commands waiting for the link.
const COMMANDS: usize = MAX_PUTS;

/// What to put over a link.
#[derive(Debug, Clone)]
pub struct Item {
    /// The bytes.
    pub source: Source,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// Ask for a new certificate, even if an earlier one promises as much.
    pub renew: bool,
}

/// A put that may be retried over another link: its bytes are hashed once, and its receipt stays the same.
pub struct Prepared {
    name: String,
    offer: Offer,
    new: NewPut,
}

impl Prepared {
    /// Hashes the bytes.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn new(host: &Host, item: Item) -> Result<Self, ClientError> {
        let Item { source, expires_at, renew } = item;
        let name = source.to_string();
        let failed = |error| ClientError::Source { source_name: name.clone(), error };
        let offer = Offer::of(host, source, |_| {}).await.map_err(failed)?;
        Ok(Self::offered(host, name, offer, expires_at, renew))
    }

    /// A put of bytes that are hashed already.
    pub(super) fn offered(host: &Host, name: String, offer: Offer, expires_at: u64, renew: bool) -> Self {
        let new = NewPut { source: offer.source, expires_at, salt: host.random(), now: host.unix_seconds(), renew };
        Self { name, offer, new }
    }

    /// Whether the bytes could be read only once, and were.
    pub fn is_spent(&self) -> bool {
        self.offer.is_spent()
    }
}

/// A link to one server for up to [`MAX_PUTS`] puts at once; further ones wait. Clones share it. The link is closed when the last
/// clone is dropped.
#[derive(Debug, Clone)]
pub struct PutLink {
    host: Host,
    commands: mpsc::Sender<PutCommand>,
    places: Arc<Semaphore>,
    next_number: Arc<AtomicU64>,
    info: Arc<LinkInfo>,
}

impl PutLink {
    /// Dials a server. `trusted`: what to trust; without a cluster identity, the server's is accepted.
    ///
    /// # Errors
    /// Nothing listens there, it is another service or another cluster, or the server cannot prove its node key.
    pub async fn open(host: &Host, server: &str, trusted: impl Into<Trust>) -> Result<Self, ClientError> {
        Self::open_with(host, server, LinkOptions { trusted: trusted.into(), ..LinkOptions::default() }).await
    }

    /// As [`open`](Self::open), with the options of one attempt.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ClientError::Stalled`].
    pub async fn open_with(host: &Host, server: &str, options: LinkOptions) -> Result<Self, ClientError> {
        let (link, opened) = Self::connect(host, server, options).await?;
        opened.await?;
        Ok(link)
    }

    /// As [`open_with`](Self::open_with), but the link need not be open yet. A put that begins now is sent as soon as the server has proved
    /// its node key, while the committee is verified. Also returns whether the link opened, once that is known.
    ///
    /// # Errors
    /// Nothing listens there, or it is another service.
    pub(super) async fn connect(
        host: &Host,
        server: &str,
        options: LinkOptions,
    ) -> Result<(Self, impl Future<Output = Result<(), ClientError>> + use<>), ClientError> {
        let limit = options.limit;
        let (session, hello) = options.put_link(host.random());
        let (reader, outgoing, writing) = open(host, dial(host, server, limit).await?, hello).await;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (opened, is_open) = oneshot::channel();
        let info = Arc::new(LinkInfo::default());
        let driver = PutDriver::new(host.clone(), session, (outgoing, writing), info.clone());
        host.spawn(driver.run(reader, queue, opened));
        let (places, next_number) = (Arc::new(Semaphore::new(MAX_PUTS)), Arc::default());
        let link = Self { host: host.clone(), commands, places, next_number, info };
        Ok((link, async { is_open.await.unwrap_or_else(|_| Err(closed())) }))
    }

    /// Puts one blob and returns its certificate, verified. Dropping the future cancels the put.
    ///
    /// # Errors
    /// See [`ClientError`]. When the link ends, every put on it ends.
    pub async fn put(&self, item: Item) -> Result<Certified, ClientError> {
        self.put_again(&mut Prepared::new(&self.host, item).await?, |_| {}).await
    }

    /// Puts bytes that are in memory; `renew` as in [`Item`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_bytes(&self, bytes: Bytes, expires_at: u64, renew: bool) -> Result<Certified, ClientError> {
        let offer = Offer::of_bytes(bytes);
        let mut prepared = Prepared::offered(&self.host, "the bytes".to_owned(), offer, expires_at, renew);
        self.put_again(&mut prepared, |_| {}).await
    }

    /// Has the current committee certify a blob that its members hold. No byte is sent.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`ClientError::Source`] if the members lack bytes.
    pub async fn renew(&self, digest: Digest, length: u64, expires_at: u64) -> Result<Certified, ClientError> {
        let offer = Offer::of_held(digest, length);
        let mut prepared = Prepared::offered(&self.host, digest.to_string(), offer, expires_at, true);
        self.put_again(&mut prepared, |_| {}).await
    }

    /// Puts a blob, or the rest of it if another link was lost. `progress` must return quickly: the link waits for it.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`ClientError::ReadOnce`] for a second attempt at bytes that can be read only once.
    pub async fn put_again(
        &self,
        prepared: &mut Prepared,
        progress: impl Fn(PutProgress) + Send + 'static,
    ) -> Result<Certified, ClientError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| self.gone())?;
        let Some(content) = prepared.offer.content(&self.host) else {
            return Err(ClientError::ReadOnce(Box::new(self.gone())));
        };
        let number = PutNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
        let (result, ended) = oneshot::channel();
        let begin = QueuedPut {
            number,
            name: prepared.name.clone(),
            new: prepared.new,
            outline: prepared.offer.outline.clone(),
            content,
            progress: Box::new(progress),
            result,
            place,
        };
        self.commands.send(PutCommand::Begin(Box::new(begin))).await.map_err(|_| self.gone())?;
        let mut cancel = CancelOnDrop { host: &self.host, commands: &self.commands, number: Some(number) };
        let result = ended.await;
        cancel.number = None;
        result.unwrap_or_else(|_| Err(self.gone())).map(|certified| *certified)
    }

    /// Whether the link is lost.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// The committees that the server showed, verified.
    pub fn chain(&self) -> Option<&CommitteeChain> {
        self.info.chain.get()
    }

    /// The committees that the server shows, verified, once they are. A server without a committee shows none until one is founded.
    ///
    /// # Errors
    /// The link ended before.
    pub async fn known_chain(&self) -> Result<&CommitteeChain, ClientError> {
        loop {
            // Registered before the look, so that news in between wake this task.
            let learned = self.info.learned.notified();
            if let Some(chain) = self.chain() {
                return Ok(chain);
            }
            if self.info.ended.get().is_some() {
                return Err(self.gone());
            }
            learned.await;
        }
    }

    /// The cluster that the server showed.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.chain().map(CommitteeChain::cluster)
    }

    /// Why nothing can be put over the link any more.
    fn gone(&self) -> ClientError {
        self.info.ended.get().map_or_else(closed, |error| ClientError::Ended(error.clone()))
    }
}

fn closed() -> ClientError {
    LinkError::Closed(String::new()).into()
}

/// Cancels a put whose caller does not wait for it any more.
struct CancelOnDrop<'a> {
    host: &'a Host,
    commands: &'a mpsc::Sender<PutCommand>,
    number: Option<PutNumber>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let commands = self.commands.clone();
            self.host.spawn(async move {
                let _ = commands.send(PutCommand::Cancel(number)).await;
            });
        }
    }
}
