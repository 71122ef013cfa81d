//! The two queues of messages to send on a link: control messages overtake data.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{LinkError, LinkWriter, PING_EVERY};
use crate::budgets::Permit;
use crate::host::tasks::MissedTickBehavior;

/// Maximum number of bytes of messages that are flushed together.
const FLUSH_SIZE: usize = 32 << 10;

/// A message to send, with the permit that bounds its queue.
pub struct Outgoing {
    /// The encoded message.
    pub bytes: Bytes,
    /// Released once the bytes are written.
    pub permit: Option<Held>,
}

/// A permit that is released once a message is written: a place in the queue of one link, or a part of a budget that all links share.
pub enum Held {
    /// A place in a queue.
    Queue(OwnedSemaphorePermit),
    /// A read: one of the link's reads, and a part of the budget of reads.
    Read(OwnedSemaphorePermit, Permit),
    /// Memory for a message, from the budget of messages.
    Message(Permit),
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, permit: None }
    }
}

/// Bytes that hold a permit until the last reference to them is dropped.
struct Holding {
    bytes: Bytes,
    _permit: Held,
}

impl Held {
    /// Attaches the permit to bytes: it is released when the last reference to them is dropped.
    pub fn by(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Holding { bytes, _permit: self })
    }
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a message and the ones that wait after it, up to [`FLUSH_SIZE`], in one flush. Then releases their permits.
async fn write_together(
    writer: &mut LinkWriter,
    first: Outgoing,
    control: &mut mpsc::Receiver<Outgoing>,
    data: &mut mpsc::Receiver<impl Into<Outgoing>>,
) -> Result<(), LinkError> {
    let mut permits = Vec::new();
    let mut written = 0;
    let mut next = Some(first);
    writer.set_sending(true);
    while let Some(Outgoing { bytes, permit }) = next {
        written += bytes.len();
        permits.extend(permit);
        writer.feed(bytes).await?;
        next = match written < FLUSH_SIZE {
            true => control.try_recv().ok().or_else(|| data.try_recv().ok().map(Into::into)),
            false => None,
        };
    }
    writer.flush().await?;
    writer.set_sending(false);
    Ok(())
}

/// Writes from two bounded queues until both are closed, then closes the link. Control messages overtake data. Messages that wait
/// together are flushed together, so that small ones share a system call.
///
/// # Errors
/// The link broke, or the other end does not read.
pub async fn write_queues(
    writer: &mut LinkWriter,
    mut control: mpsc::Receiver<Outgoing>,
    mut data: mpsc::Receiver<impl Into<Outgoing>>,
) -> Result<(), LinkError> {
    let mut pings = writer.host.interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut control_open, mut data_open) = (true, true);
    while control_open || data_open {
        tokio::select! {
            biased;
            outgoing = control.recv(), if control_open => match outgoing {
                Some(first) => write_together(writer, first, &mut control, &mut data).await?,
                None => control_open = false,
            },
            outgoing = data.recv(), if data_open => match outgoing {
                Some(first) => write_together(writer, first.into(), &mut control, &mut data).await?,
                None => data_open = false,
            },
            _ = pings.tick() => writer.ping().await?,
        }
    }
    writer.close_normally().await
}
