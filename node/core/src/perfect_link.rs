//! Authenticated perfect links, over a network that loses, repeats, reorders, alters and invents packets.
//!
//! While both ends are correct and keep running:
//! - **Reliable delivery**: what one end sends, the other one delivers eventually, if the network is fair-loss: of a packet that is sent
//!   infinitely often, infinitely many copies arrive.
//! - **No duplication**: no message is delivered more often than it was sent.
//! - **No creation**: only what was sent is delivered.
//! - **Authenticity**: it was sent by the end that the receiver takes for its sender, to this receiver.
//!
//! The order of messages may change on the way. A process that restarts begins a new link with a new session; what was under way is not
//! delivered, so its user sends again what still matters.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::link::NodeSecretKey;
use vouch_core::perfect_link::{LINK_WINDOW, LinkDirection, LinkPacket, LinkPacketError, MAX_LINK_MESSAGE};

use crate::backoff::Backoff;

/// The first pause before a packet is sent again.
const RESEND_FIRST: Duration = Duration::from_millis(200);
/// The longest pause before a packet is sent again.
const RESEND_LONGEST: Duration = Duration::from_secs(5);

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The message is too large.
    #[error("message: expected at most {MAX_LINK_MESSAGE} bytes, got {got}")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
    },
    /// The other end has not acknowledged an old message yet: try again when it has.
    #[error("messages under way: expected at most {LINK_WINDOW}, got one more")]
    WindowFull,
}

/// Why a packet is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// It is not a packet of the other end for this link.
    #[error(transparent)]
    Packet(#[from] LinkPacketError),
    /// The other end breaks the protocol: it sends more than the window allows.
    #[error("number of the message: expected less than {limit}, got {got}")]
    BeyondWindow {
        /// The first number beyond the window.
        limit: u64,
        /// The number.
        got: u64,
    },
    /// The other end breaks the protocol: it acknowledges what was not sent.
    #[error("acknowledgement: expected at most {sent} messages, got {got}")]
    NeverSent {
        /// The number of messages sent.
        sent: u64,
        /// The number acknowledged.
        got: u64,
    },
}

/// A message that is not acknowledged yet.
#[derive(Debug)]
struct UnderWay {
    packet: Vec<u8>,
    send_at: Duration,
    backoff: Backoff,
}

/// One end of an authenticated perfect link. Its memory is bounded by [`LINK_WINDOW`] messages, which is what it has sent and not seen
/// acknowledged; of received messages it keeps none.
#[derive(Debug)]
pub struct PerfectLink {
    secret: Arc<NodeSecretKey>,
    /// From this end to the other.
    direction: LinkDirection,
    /// The number of the next message to send.
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
    /// All messages with a smaller number were delivered here.
    before: u64,
    /// Bit i: message `before` + 1 + i was delivered here.
    later: u64,
    owes_acknowledgement: bool,
}

impl PerfectLink {
    /// This end of a new link. `direction`: from this end, whose node key `secret` is, to the other.
    pub fn new(secret: Arc<NodeSecretKey>, direction: LinkDirection) -> Self {
        Self {
            secret,
            direction,
            next: 0,
            under_way: BTreeMap::new(),
            before: 0,
            later: 0,
            owes_acknowledgement: false,
        }
    }

    /// Sends a message: [`due`](Self::due) has it until the other end acknowledges it.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&mut self, message: Vec<u8>, now: Duration) -> Result<(), SendError> {
        let oldest = self.under_way.first_key_value().map_or(self.next, |(number, _)| *number);
        if self.next >= oldest + LINK_WINDOW {
            return Err(SendError::WindowFull);
        }
        let (number, got) = (self.next, message.len());
        let packet = LinkPacket::Message { number, message }.seal(&self.direction, &self.secret);
        let packet = packet.map_err(|_: DecodeError| SendError::TooLarge { got })?;
        let backoff = Backoff::new(RESEND_FIRST, RESEND_LONGEST);
        self.under_way.insert(number, UnderWay { packet, send_at: now, backoff });
        self.next += 1;
        Ok(())
    }

    /// The number of messages that the other end has not acknowledged.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Takes a packet from the network, and returns the message to deliver, if it has a new one.
    ///
    /// # Errors
    /// [`ReceiveError`]. The packet changed nothing.
    pub fn receive(&mut self, packet: &[u8]) -> Result<Option<Vec<u8>>, ReceiveError> {
        match LinkPacket::open(packet, &self.direction.reverse())? {
            LinkPacket::Message { number, message } => {
                let limit = self.before + LINK_WINDOW;
                if number >= limit {
                    return Err(ReceiveError::BeyondWindow { limit, got: number });
                }
                // Also for a repeated one: the other end repeats it because it does not know that it arrived.
                self.owes_acknowledgement = true;
                Ok(self.is_new(number).then_some(message))
            }
            LinkPacket::Acknowledgement { before, later } => {
                let got = if later == 0 { before } else { before + 2 + u64::from(later.ilog2()) };
                if got > self.next {
                    return Err(ReceiveError::NeverSent { sent: self.next, got });
                }
                self.under_way.retain(|number, _| {
                    let place = number.checked_sub(before);
                    place.is_some_and(|place| place == 0 || later >> (place - 1) & 1 == 0)
                });
                Ok(None)
            }
        }
    }

    /// Records that a message below the window's end was delivered. `false` if it was before.
    fn is_new(&mut self, number: u64) -> bool {
        let Some(place) = number.checked_sub(self.before) else { return false };
        if place > 0 {
            let bit = 1 << (place - 1);
            let is_new = self.later & bit == 0;
            self.later |= bit;
            return is_new;
        }
        // The oldest missing one arrived: the window moves to the next missing one.
        let delivered = self.later.trailing_ones();
        self.before += 1 + u64::from(delivered);
        self.later = self.later.checked_shr(delivered + 1).unwrap_or(0);
        true
    }

    /// The packets to hand to the network now.
    pub fn due(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        if std::mem::take(&mut self.owes_acknowledgement) {
            let acknowledgement = LinkPacket::Acknowledgement { before: self.before, later: self.later };
            // Cannot fail: all numbers were read from packets.
            packets.extend(acknowledgement.seal(&self.direction, &self.secret).ok());
        }
        for message in self.under_way.values_mut().filter(|message| message.send_at <= now) {
            packets.push(message.packet.clone());
            message.send_at = now + message.backoff.pause();
        }
        packets
    }

    /// When [`due`](Self::due) has packets. `None` while nothing is under way: an idle link sends nothing.
    pub fn next_due(&self) -> Option<Duration> {
        if self.owes_acknowledgement {
            return Some(Duration::ZERO);
        }
        self.under_way.values().map(|message| message.send_at).min()
    }
}
