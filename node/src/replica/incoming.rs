//! Blobs on their way in: each hashed while it is written, a few chunks at a time, behind a short queue.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tree::Parent;

use super::{Event, Shared};
use crate::bugs::{self, Bug};
use crate::link::Outgoing;
use crate::store::{Cut, Finished, Incoming, Offered, StoreError};

/// Chunks of one put that wait for the disk, beside those that are being written; the link waits with them.
const QUEUE: usize = 2;
/// Chunks written at one time.
const AT_ONCE: usize = 2;

enum Part {
    Bytes(u64, Vec<Parent>, Bytes),
    End(Receipt),
}

struct Receiving {
    parts: mpsc::Sender<Part>,
    /// Where the next bytes begin; an offered blob goes on anywhere.
    next: Option<u64>,
    cut: Cut,
    has_ended: bool,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.has_ended {
            self.cut.keep();
        }
    }
}

/// The puts in progress on one link.
pub(super) struct IncomingPuts {
    shared: Arc<Shared>,
    replies: mpsc::Sender<Outgoing>,
    /// For those that are being received, and those that wait for the disk.
    places: Arc<Semaphore>,
    puts: HashMap<Stream, Receiving>,
    /// A part of a put whose queue is full. The link takes nothing further before there is room for it.
    waiting: Option<(Stream, mpsc::Sender<Part>, Part)>,
}

impl IncomingPuts {
    pub(super) fn new(shared: Arc<Shared>, replies: mpsc::Sender<Outgoing>) -> Self {
        let places = Arc::new(Semaphore::new(shared.max_incoming));
        Self { shared, replies, places, puts: HashMap::new(), waiting: None }
    }

    pub(super) fn begin(&mut self, stream: Stream, offer: Option<Receipt>) -> Result<(), Failed> {
        self.puts.retain(|_, put| !put.parts.is_closed());
        if self.puts.contains_key(&stream) {
            return Err(Failed::new(stream, Code::Unexpected, "a put of this number is in progress"));
        }
        let place = self.place(stream)?;
        let Ok(awaited) = self.shared.receiving.clone().try_read_owned() else {
            return Err(Failed::new(stream, Code::ShuttingDown, "the replica is shutting down"));
        };
        let (parts, queue) = mpsc::channel(QUEUE);
        let cut = Cut::default();
        let next = if offer.is_some() { None } else { Some(0) };
        self.puts.insert(stream, Receiving { parts, next, cut: cut.clone(), has_ended: false });
        let (shared, replies) = (self.shared.clone(), self.replies.clone());
        self.shared.host.spawn(async move {
            let was_cut = cut.clone();
            Receiver { shared, stream, offer, cut, replies, _awaited: awaited }.run(queue).await;
            if bugs::has(Bug::LostPlace) && was_cut.is_set() {
                std::mem::forget(place);
            }
        });
        Ok(())
    }

    /// Takes a whole blob.
    pub(super) fn whole(&mut self, stream: Stream, receipt: Receipt, bytes: Bytes) -> Result<(), Failed> {
        let place = self.place(stream)?;
        let (shared, replies) = (self.shared.clone(), self.replies.clone());
        self.shared.host.spawn(async move {
            let stored = shared.store.put_small(&receipt, bytes).await.map(|()| receipt);
            answer(&shared, stream, stored, &replies).await;
            drop(place);
        });
        Ok(())
    }

    /// Room for one more put.
    fn place(&self, stream: Stream) -> Result<OwnedSemaphorePermit, Failed> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("expected at most {} puts at once", self.shared.max_incoming);
            Failed::new(stream, Code::Busy, detail)
        })
    }

    /// Bytes of a put that failed or was cancelled are still under way for a while: they are dropped.
    pub(super) fn chunk(
        &mut self,
        stream: Stream,
        offset: u64,
        parents: Vec<Parent>,
        bytes: Bytes,
    ) -> Result<(), Failed> {
        let Some(put) = self.puts.get_mut(&stream) else { return Ok(()) };
        if let Some(next) = put.next.filter(|next| offset != *next) {
            let detail = format!("expected the bytes at {next}, got those at {offset}");
            self.puts.remove(&stream);
            return Err(Failed::new(stream, Code::Unexpected, detail));
        }
        put.next = Some(offset.saturating_add(bytes.len() as u64));
        let parts = put.parts.clone();
        self.pass(stream, parts, Part::Bytes(offset, parents, bytes));
        Ok(())
    }

    pub(super) fn end(&mut self, stream: Stream, receipt: Receipt) {
        if let Some(mut put) = self.puts.remove(&stream) {
            put.has_ended = true;
            let parts = put.parts.clone();
            self.pass(stream, parts, Part::End(receipt));
        }
    }

    /// Hands a part to the put's receiver, or keeps it until there is room. A receiver that is gone has told why.
    fn pass(&mut self, stream: Stream, parts: mpsc::Sender<Part>, part: Part) {
        match parts.try_send(part) {
            Ok(()) => {}
            Err(TrySendError::Full(part)) => self.waiting = Some((stream, parts, part)),
            Err(TrySendError::Closed(_)) => drop(self.puts.remove(&stream)),
        }
    }

    /// Whether a part waits for its put.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Hands on the part that waits, once there is room. Nothing is lost when this is dropped before.
    pub(super) async fn pass_on(&mut self) {
        let Some((_, parts, _)) = &self.waiting else { return };
        let room = parts.clone().reserve_owned().await;
        match (room, self.waiting.take()) {
            (Ok(room), Some((_, _, part))) => drop(room.send(part)),
            (Err(_), Some((stream, ..))) => drop(self.puts.remove(&stream)),
            (_, None) => {}
        }
    }

    /// What came of an offered blob is kept, or what this put brought of it is removed.
    pub(super) fn cancel(&mut self, stream: Stream, keep: bool) {
        if let Some(put) = self.puts.remove(&stream)
            && !keep
        {
            put.cut.discard();
        }
    }
}

/// Receives one blob and answers.
struct Receiver {
    shared: Arc<Shared>,
    stream: Stream,
    offer: Option<Receipt>,
    cut: Cut,
    replies: mpsc::Sender<Outgoing>,
    /// Whoever shuts down waits until what came is durable.
    _awaited: OwnedRwLockReadGuard<()>,
}

impl Receiver {
    async fn run(self, queue: mpsc::Receiver<Part>) {
        let stored = match self.receive(queue).await {
            Ok(None) => return,
            Ok(Some((finished, receipt))) => self.shared.store.enter(finished).await.map(|()| receipt),
            // whoever cut it off waits for nothing
            Err(StoreError::Overtaken { .. }) if self.cut.is_set() => return,
            Err(error) => Err(error),
        };
        answer(&self.shared, self.stream, stored, &self.replies).await;
    }

    /// Writes what comes; `None` when the put was given up.
    async fn receive(&self, mut queue: mpsc::Receiver<Part>) -> Result<Option<(Finished, Receipt)>, StoreError> {
        let mut blob = self.begin().await?;
        loop {
            let mut parts = Vec::new();
            if queue.recv_many(&mut parts, AT_ONCE).await == 0 {
                // dropping it makes the received part durable, or removes it
                let put_away = move || {
                    drop(blob);
                    Ok(None)
                };
                return self.shared.on_disk(put_away).await;
            }
            match self.shared.on_disk(move || blob.take(parts)).await? {
                Taken::More(more) => blob = more,
                Taken::All(whole) => return Ok(Some(*whole)),
            }
        }
    }

    /// Opens what the bytes go to, and says from where they are needed.
    async fn begin(&self) -> Result<Blob, StoreError> {
        let store = self.shared.store.clone();
        let Some(offer) = self.offer else {
            return self.shared.on_disk(move || Ok(Blob::Unknown(Box::new(store.begin(None)?)))).await;
        };
        let cut = self.cut.clone();
        let offered = self.shared.on_disk(move || store.go_on(&offer, &cut)).await?;
        if let Some(damage) = offered.damage() {
            self.shared.lost(offer.digest, damage.to_string());
        }
        let ready = Message::Ready { stream: self.stream, offset: offered.offset() };
        // the link may have ended meanwhile
        let _ = self.replies.send(ready.encode().into()).await;
        Ok(Blob::Offered(Box::new(offered)))
    }
}

/// What is being received.
enum Blob {
    /// Nothing is known of it before the end.
    Unknown(Box<Incoming>),
    Offered(Box<Offered>),
}

/// The state of a put after some parts were written.
enum Taken {
    More(Blob),
    All(Box<(Finished, Receipt)>),
}

impl Blob {
    fn take(mut self, parts: Vec<Part>) -> Result<Taken, StoreError> {
        for part in parts {
            match (part, &mut self) {
                (Part::Bytes(offset, proof, bytes), Self::Offered(offered)) => offered.take(offset, &bytes, &proof)?,
                (Part::Bytes(_, _, bytes), Self::Unknown(incoming)) => incoming.write(&bytes)?,
                // nothing comes behind it
                (Part::End(receipt), _) => return Ok(Taken::All(Box::new((self.finish(&receipt)?, receipt)))),
            }
        }
        Ok(Taken::More(self))
    }

    fn finish(self, receipt: &Receipt) -> Result<Finished, StoreError> {
        match self {
            Self::Unknown(incoming) => incoming.finish(receipt).map(Finished::New),
            Self::Offered(offered) => offered.finish(receipt),
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    stream: Stream,
    stored: Result<Receipt, StoreError>,
    replies: &mpsc::Sender<Outgoing>,
) {
    let reply = match stored {
        Ok(receipt) => {
            shared.report(Event::Stored(receipt.digest, receipt.length));
            Message::Stored { stream }
        }
        Err(error) => {
            let failed = Failed::new(stream, error.code(), error.to_string());
            shared.report(match failed.code {
                Code::NoSpace | Code::Storage => Event::Trouble(error.to_string()),
                _ => Event::Refused(error.to_string()),
            });
            Message::Failed(failed)
        }
    };
    // the link may have ended meanwhile
    let _ = replies.send(reply.encode().into()).await;
}

#[cfg(test)]
mod tests;
