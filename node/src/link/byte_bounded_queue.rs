//! A queue of messages for one link, bounded in bytes: a bound on their number would fit either chunks or small blobs, but not both.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Held, Outgoing};
use crate::bugs::{self, Bug};

/// Maximum number of messages in a queue, whatever their size.
const MESSAGES: usize = 4096;

/// The sending end. Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct ByteBoundedQueue {
    queue: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    size: usize,
}

/// The replica's link has ended.
#[derive(Debug)]
pub(crate) struct Gone;

impl ByteBoundedQueue {
    /// A queue of this size in bytes.
    pub(crate) fn new(size: usize) -> (Self, mpsc::Receiver<Outgoing>) {
        let (queue, receiver) = mpsc::channel(MESSAGES);
        (Self::over(queue, size), receiver)
    }

    /// A part of this size in bytes of a queue that others use, too.
    pub(crate) fn over(queue: mpsc::Sender<Outgoing>, size: usize) -> Self {
        Self { queue, room: Arc::new(Semaphore::new(size)), size }
    }

    /// Whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.room.available_permits() == self.size
    }

    /// Queues a message. `false` if there is no room or the link has ended.
    pub(crate) fn try_send(&self, bytes: &Bytes) -> bool {
        match self.room.clone().try_acquire_many_owned(self.cost(bytes)) {
            Ok(permit) => self.queue.try_send(outgoing(bytes.clone(), permit)).is_ok(),
            Err(_) => false,
        }
    }

    /// Queues a message of low priority, only if half of the queue is free: the rest is kept for messages that cannot wait.
    pub(crate) fn try_send_spare(&self, bytes: &Bytes) -> bool {
        self.room.available_permits() >= self.size / 2 && self.try_send(bytes)
    }

    /// Queues a message once there is room.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        let cost = self.cost(&bytes);
        let permit = tokio::select! {
            biased;
            () = self.queue.closed() => return Err(Gone),
            permit = self.room.clone().acquire_many_owned(cost) => permit.map_err(|_| Gone)?,
        };
        self.queue.send(outgoing(bytes, permit)).await.map_err(|_| Gone)
    }

    /// The size that a message takes in the queue. A message larger than the queue takes all of it.
    fn cost(&self, bytes: &Bytes) -> u32 {
        u32::try_from(bytes.len().min(self.size)).unwrap_or(u32::MAX)
    }
}

fn outgoing(bytes: Bytes, permit: OwnedSemaphorePermit) -> Outgoing {
    if bugs::has(Bug::LostCredit) {
        permit.forget();
        return bytes.into();
    }
    Outgoing { bytes, permit: Some(Held::Queue(permit)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_bounded_and_released_once_written() {
        let (queue, mut written) = ByteBoundedQueue::new(10);
        assert!(queue.is_empty());
        assert!(queue.try_send(&Bytes::from_static(b"six by")));
        assert!(!queue.try_send(&Bytes::from_static(b"six by")), "two do not fit");
        assert!(!queue.try_send_spare(&Bytes::from_static(b"x")), "less than half is free");
        let first = written.recv().await.unwrap();
        assert!(!queue.try_send(&Bytes::from_static(b"six by")), "it is not written yet");
        drop(first);
        assert!(queue.is_empty());
        queue.send(Bytes::from_static(b"more than there ever is room for")).await.unwrap();
        assert!(!queue.try_send(&Bytes::from_static(b"x")));
        drop(written);
        assert!(queue.send(Bytes::from_static(b"x")).await.is_err(), "sending on an ended link fails");
    }
}
