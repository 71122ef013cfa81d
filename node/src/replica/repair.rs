//! What a replica lacks of the certified blobs, it fetches from the others, verified as by any client, and has itself counted
//! in. It was down when they were put, or its disk lost them.
//!
//! A server lists its certificates; nothing of that is believed but certificates that a quorum of the own committee signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::{Failed, MAX_ENDORSE, Message, Stream};
use vouch_core::session::GetRequest;
use vouch_core::verify::{Subject, verify_certificate};

use super::pace::Pace;
use super::store::{Damaged, MAX_SMALL, StoreError};
use super::{Event, Shared};
use crate::client::{ClientError, Download, Step};
use crate::host::{clock, entropy, tasks};
use crate::link::{self, LinkError, Outgoing};

/// Blobs known to be lacking at a time; those with the most holders are found again in the next round.
const MAX_LACKING: usize = 4096;
/// How long a server may take to list a page.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// After a round in which something failed: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Pieces of a blob that wait for the disk.
const QUEUE: usize = 4;
/// Damaged blobs looked at a time.
const PAGE: usize = 256;

/// How far the fetching is. Counted since the replica started, but for what is lacking now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Blobs known to be lacking.
    pub lacking: u64,
    /// Their bytes.
    pub lacking_bytes: u64,
    /// Blobs fetched, verified and stored.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Tries that failed; each blob is tried again.
    pub failed: u64,
}

/// The counters, the call to begin at once, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Repairer {
    counters: Mutex<Repair>,
    called: Notify,
    /// One server's list at a time: the next one's is shorter by what that one helped to.
    turn: tokio::sync::Mutex<()>,
}

impl Repairer {
    pub(super) fn so_far(&self) -> Repair {
        *self.counters()
    }

    fn counters(&self) -> MutexGuard<'_, Repair> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is lacking that was there before.
    pub(super) fn call(&self) {
        self.called.notify_one();
    }

    fn know(&self, lacking: &Lacking) {
        let mut counters = self.counters();
        counters.lacking = lacking.0.len() as u64;
        counters.lacking_bytes = lacking.0.values().map(|certificate| certificate.receipt.length).sum();
    }

    fn done(&self, length: u64, is_stored: bool) {
        let mut counters = self.counters();
        counters.lacking = counters.lacking.saturating_sub(1);
        counters.lacking_bytes = counters.lacking_bytes.saturating_sub(length);
        if is_stored {
            counters.fetched += 1;
            counters.fetched_bytes += length;
        } else {
            counters.failed += 1;
        }
    }
}

/// Why one blob was not fetched.
#[derive(Debug, Error)]
enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Task(String),
}

/// What is lacking: those with the fewest holders first.
#[derive(Debug, Default)]
struct Lacking(BTreeMap<(u16, Digest), Certificate>);

impl Lacking {
    fn add(&mut self, certificate: Certificate) {
        self.0.insert((certificate.signers.count(), certificate.receipt.digest), certificate);
        if self.0.len() > MAX_LACKING {
            self.0.pop_last();
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_LACKING
    }
}

/// What a server answers to a list, by the list's number.
pub(super) type Page = (Stream, Result<Vec<Certificate>, Failed>);

/// The way to one server, for as long as the link to it lasts.
pub(super) struct Repairing {
    shared: Arc<Shared>,
    /// The server, for the links that blobs are fetched over.
    address: String,
    requests: mpsc::Sender<Outgoing>,
    /// What the server lists.
    listed: mpsc::Receiver<Page>,
}

impl Repairing {
    pub(super) fn new(
        shared: Arc<Shared>,
        address: String,
        requests: mpsc::Sender<Outgoing>,
        listed: mpsc::Receiver<Page>,
    ) -> Self {
        Self { shared, address, requests, listed }
    }

    /// Looks for what is lacking and fetches it, again and again; ends with the link.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut members = shared.committee.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            let committee = members.borrow_and_update().clone().filter(|known| shared.position(known).is_some());
            let Some(committee) = committee else {
                if members.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let round = {
                let _turn = shared.repairer.turn.lock().await;
                self.round(&committee).await
            };
            let wait = match round {
                Ok(Round { failed: 0, is_complete: true }) => {
                    pause = FIRST_PAUSE;
                    shared.repair_every
                }
                Ok(Round { failed: 0, is_complete: false }) => Duration::ZERO,
                Ok(_) => pause,
                Err(error) => {
                    shared.report(Event::Trouble(format!("looking for blobs that are lacking: {error}")));
                    pause
                }
            };
            pause = if wait == pause { (pause * 2).min(LONGEST_PAUSE) } else { pause };
            tokio::select! {
                () = tasks::sleep(wait) => {}
                () = shared.repairer.called.notified() => {}
            }
        }
    }

    async fn round(&mut self, committee: &Arc<Committee>) -> Result<Round, String> {
        let mut lacking = Lacking::default();
        self.add_damaged(&mut lacking).map_err(|error| error.to_string())?;
        self.list(committee, &mut lacking).await?;
        let is_complete = !lacking.is_full();
        self.shared.repairer.know(&lacking);
        let (mut failed, mut stored) = (0, Vec::new());
        let (pace, mut bytes) = (Pace::new(self.shared.repair_rate), 0);
        for certificate in lacking.0.into_values() {
            let receipt = certificate.receipt;
            let fetched = self.fetch_checked(committee, certificate).await;
            self.shared.repairer.done(receipt.length, fetched.is_ok());
            match fetched {
                Ok(()) => stored.push(receipt.digest),
                Err(error) => {
                    failed += 1;
                    self.shared.report(Event::Trouble(format!("fetching {}: {error}", receipt.digest)));
                }
            }
            if stored.len() >= MAX_ENDORSE {
                self.endorse(std::mem::take(&mut stored)).await;
            }
            bytes += receipt.length;
            pace.wait(bytes).await;
        }
        self.endorse(stored).await;
        Ok(Round { failed, is_complete })
    }

    /// Blobs that went bad here: their certificates are known, and perhaps to no server.
    fn add_damaged(&self, lacking: &mut Lacking) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let mut after = None;
        while !lacking.is_full() {
            let page = store.damaged_from(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            for Damaged { digest, .. } in page {
                if let Some(certificate) = store.certificate(&digest)? {
                    lacking.add(certificate);
                }
            }
        }
        Ok(())
    }

    /// Goes through the server's certificates. What is stored already costs it one look into the index.
    async fn list(&mut self, committee: &Arc<Committee>, lacking: &mut Lacking) -> Result<(), String> {
        let mut after = Digest([0; 32]);
        let mut number = 0;
        loop {
            number += 1;
            let stream = Stream(number);
            let request = Message::List { stream, after };
            self.requests.send(request.encode().into()).await.map_err(|error| error.to_string())?;
            let page = loop {
                let listed = tasks::timeout(LIST_DEADLINE, self.listed.recv()).await;
                match listed.map_err(|_| format!("the server did not list within {} s", LIST_DEADLINE.as_secs()))? {
                    // of a round before
                    Some((other, _)) if other != stream => {}
                    Some((_, Ok(page))) => break page,
                    Some((_, Err(failed))) => return Err(format!("the server does not list: {failed}")),
                    None => return Err("the link ended".into()),
                }
            };
            let Some(last) = page.iter().map(|certificate| certificate.receipt.digest).max_by_key(|digest| digest.0)
            else {
                return Ok(());
            };
            if last.0 <= after.0 {
                return Err(format!("expected certificates after {after}, got some until {last}"));
            }
            after = last;
            let now = clock::unix_seconds();
            for certificate in page {
                let receipt = certificate.receipt;
                let is_own = certificate.committee == committee.record().digest();
                if is_own && !receipt.is_expired(now) && self.is_lacking(&certificate)? {
                    lacking.add(certificate);
                }
            }
        }
    }

    fn is_lacking(&self, certificate: &Certificate) -> Result<bool, String> {
        let receipt = certificate.receipt;
        let held = self.shared.store.length_of(&receipt.digest).map_err(|error| error.to_string())?;
        Ok(held != Some(receipt.length))
    }

    async fn fetch_checked(&self, committee: &Arc<Committee>, certificate: Certificate) -> Result<(), FetchError> {
        let (checked, checker) = (certificate.clone(), committee.clone());
        let now = clock::unix_seconds();
        let verified = tasks::spawn_blocking(move || {
            let subject = Subject { digest: checked.receipt.digest, length: Some(checked.receipt.length) };
            verify_certificate(&checked, &checker, &subject, now, false)
        });
        let verified = verified.await.map_err(|panicked| FetchError::Task(panicked.to_string()))?;
        verified.map_err(|invalid| {
            FetchError::Task(format!("the server listed a certificate that is INVALID: {invalid}"))
        })?;
        if !self.is_lacking(&certificate).map_err(FetchError::Task)? {
            return Ok(());
        }
        self.fetch(committee, &certificate).await?;
        Ok(self.shared.store.archive(vec![certificate]).await?)
    }

    /// Gets a blob as any client does, and stores it as any put.
    async fn fetch(&self, committee: &Arc<Committee>, certificate: &Certificate) -> Result<(), FetchError> {
        let receipt = certificate.receipt;
        let request = GetRequest {
            trusted: Some(committee.cluster()),
            digest: receipt.digest,
            length: Some(receipt.length),
            range: None,
            nonce: entropy::array(),
        };
        let link = link::dial(&self.address).await?;
        let mut download = Download::begin(link, request, Some(committee.clone())).await;
        if receipt.length <= MAX_SMALL {
            let mut bytes = Vec::new();
            loop {
                match download.next().await? {
                    Step::Bytes(piece) => bytes.extend_from_slice(&piece),
                    Step::Verified(_) => break,
                    Step::Start { .. } | Step::Length { .. } | Step::Slice(_) | Step::Rejected(_) => {}
                }
            }
            return Ok(self.shared.store.put_small(&receipt, bytes.into()).await?);
        }
        let (pieces, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        let store = self.shared.store.clone();
        let writing = tasks::spawn_blocking(move || -> Result<Option<_>, StoreError> {
            let mut incoming = store.begin(Some(&receipt))?;
            while let Some(piece) = queue.blocking_recv() {
                incoming.write(&piece)?;
            }
            // the get failed when it is shorter, and says why
            let is_whole = incoming.length() == receipt.length;
            is_whole.then(|| incoming.finish(&receipt)).transpose()
        });
        let got = async {
            loop {
                match download.next().await? {
                    // the writer says itself why it ended
                    Step::Bytes(piece) => drop(pieces.send(piece).await),
                    Step::Verified(_) => return Ok::<_, ClientError>(()),
                    Step::Start { .. } | Step::Length { .. } | Step::Slice(_) | Step::Rejected(_) => {}
                }
            }
        };
        let got = got.await;
        drop(pieces);
        let written = writing.await.map_err(|panicked| FetchError::Task(panicked.to_string()))??;
        got?;
        match written {
            Some(complete) => Ok(self.shared.store.record(complete).await?),
            None => Err(FetchError::Task(format!("expected {} bytes, got fewer", receipt.length))),
        }
    }

    /// Asks to be counted in.
    async fn endorse(&self, digests: Vec<Digest>) {
        if !digests.is_empty() {
            // the link is ending when this fails, and the certificates are good as they are
            let _ = self.requests.send(Message::Endorse { digests }.encode().into()).await;
        }
    }
}

struct Round {
    failed: usize,
    /// Nothing was left out.
    is_complete: bool,
}
