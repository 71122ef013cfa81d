//! What the network delivers, in a queue that is bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::link::NodeKey;

/// Maximum number of events that wait.
const EVENTS: usize = 4096;
/// Maximum size of the messages that wait, in bytes.
const WAITING_BYTES: usize = 8 << 20;

/// An event.
#[derive(Debug)]
pub(in crate::replica) enum PeerEvent {
    /// A member can be reached. It may lack whatever was sent to it before.
    Up(NodeKey),
    /// A member sent a message.
    Message {
        /// The member.
        from: NodeKey,
        /// Its message.
        bytes: Bytes,
    },
}

impl PeerEvent {
    fn size(&self) -> usize {
        match self {
            Self::Up(_) => 0,
            Self::Message { bytes, .. } => bytes.len(),
        }
    }
}

/// The sending end.
pub(super) struct EventQueue {
    queue: mpsc::Sender<PeerEvent>,
    waiting: Arc<AtomicUsize>,
}

/// The receiving end.
pub(in crate::replica) struct PeerEvents {
    queue: mpsc::Receiver<PeerEvent>,
    waiting: Arc<AtomicUsize>,
}

pub(super) fn queue() -> (EventQueue, PeerEvents) {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let waiting = Arc::new(AtomicUsize::new(0));
    (EventQueue { queue: sender, waiting: waiting.clone() }, PeerEvents { queue: receiver, waiting })
}

impl EventQueue {
    /// Queues an event, or drops it if too much waits: members repeat what matters.
    pub(super) fn push(&self, event: PeerEvent) {
        let size = event.size();
        if self.waiting.load(Ordering::Relaxed) + size > WAITING_BYTES {
            return;
        }
        self.waiting.fetch_add(size, Ordering::Relaxed);
        if self.queue.try_send(event).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
        }
    }
}

impl PeerEvents {
    /// The next event; `None` once the network has ended.
    pub(in crate::replica) async fn next(&mut self) -> Option<PeerEvent> {
        let event = self.queue.recv().await?;
        Some(self.taken(event))
    }

    /// An event that has come already.
    pub(in crate::replica) fn try_next(&mut self) -> Option<PeerEvent> {
        let event = self.queue.try_recv().ok()?;
        Some(self.taken(event))
    }

    fn taken(&self, event: PeerEvent) -> PeerEvent {
        self.waiting.fetch_sub(event.size(), Ordering::Relaxed);
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_size_of_what_waits_is_bounded() {
        let (queue, mut events) = queue();
        let message = || PeerEvent::Message { from: NodeKey([1; 32]), bytes: vec![0; WAITING_BYTES / 2].into() };
        (0..3).for_each(|_| queue.push(message()));
        queue.push(PeerEvent::Up(NodeKey([2; 32])));
        assert!(matches!(events.next().await, Some(PeerEvent::Message { .. })));
        queue.push(message());
        assert!(matches!(events.try_next(), Some(PeerEvent::Message { .. })));
        assert!(matches!(events.try_next(), Some(PeerEvent::Up(_))), "the third message did not fit");
        assert!(matches!(events.try_next(), Some(PeerEvent::Message { .. })), "the fourth did");
        assert!(events.try_next().is_none());
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }
}
