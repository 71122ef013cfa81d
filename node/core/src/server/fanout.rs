//! Queues a put's messages for its members. Each member's queue is bounded. Once a quorum has room for a message, the put waits for the
//! other members only a limited time, and then continues without them.
//!
//! A state machine without IO: the shell queues the bytes and reports which members had room.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::put::Forwarded;

/// Total time that a put waits for members slower than a quorum, over all its messages.
pub const LAG_BUDGET: Duration = Duration::from_secs(2);
/// Maximum time until a quorum has room for one message.
pub const STALL_DEADLINE: Duration = Duration::from_secs(30);

/// An input of the fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanoutInput {
    /// A message was queued for all members except these, whose queues are full.
    Queued {
        /// Members without room.
        without_room: BTreeSet<u16>,
    },
    /// A member without room has taken the message.
    Took(u16),
    /// A member's link has ended before it took the message.
    Gone(u16),
    /// Time has passed.
    Tick,
    /// The put continues without this member.
    LeaveOut(u16),
    /// This member has left the put, and knows it: no cancel is sent.
    Drop(u16),
    /// The put is cancelled.
    Cancel {
        /// Whether the members keep the received bytes for another put of the same blob.
        keep: bool,
    },
}

/// An output of the fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanoutOutput {
    /// Wait for the members without room. Give [`FanoutInput::Tick`] at this time.
    WaitUntil(Duration),
    /// The message is sent: stop waiting.
    Sent(Forwarded),
    /// Queue a cancel for this member, behind the messages in its queue: if it overtook the put's beginning, the put would stay begun for
    /// ever.
    Cancel {
        /// The member.
        member: u16,
        /// Whether the member keeps the received bytes.
        keep: bool,
    },
}

/// A message that not all members have taken.
#[derive(Debug)]
struct Sending {
    awaited: BTreeSet<u16>,
    gone: Vec<u16>,
    /// The number of members that have taken it.
    took: usize,
    since: Duration,
    /// The time at which a quorum had taken it; the put waits for the others since then.
    enough_at: Option<Duration>,
}

/// Sends the messages of one put to its members.
#[derive(Debug)]
pub struct Fanout {
    members: BTreeSet<u16>,
    quorum: usize,
    lag_left: Duration,
    sending: Option<Sending>,
}

impl Fanout {
    /// A fan-out to these members, of which a quorum must take each message.
    pub fn new(members: BTreeSet<u16>, quorum: usize) -> Self {
        Self { members, quorum, lag_left: LAG_BUDGET, sending: None }
    }

    /// The members that the next message goes to.
    pub fn members(&self) -> &BTreeSet<u16> {
        &self.members
    }

    /// Handles one input. `not_awaited`: members that were slow before; the put does not wait for them once a quorum has taken a message.
    pub fn handle(&mut self, input: FanoutInput, now: Duration, not_awaited: &BTreeSet<u16>) -> Vec<FanoutOutput> {
        let mut out = Vec::new();
        let is_tick = input == FanoutInput::Tick;
        match input {
            FanoutInput::Queued { without_room: awaited } => {
                let took = self.members.difference(&awaited).count();
                self.sending = Some(Sending { awaited, gone: Vec::new(), took, since: now, enough_at: None });
            }
            FanoutInput::Took(member) => {
                if let Some(sending) = &mut self.sending
                    && sending.awaited.remove(&member)
                {
                    sending.took += 1;
                }
            }
            FanoutInput::Gone(member) => {
                if let Some(sending) = &mut self.sending
                    && sending.awaited.remove(&member)
                {
                    sending.gone.push(member);
                }
            }
            FanoutInput::Tick => {}
            FanoutInput::LeaveOut(member) => {
                if self.remove(member) {
                    out.push(FanoutOutput::Cancel { member, keep: true });
                }
            }
            FanoutInput::Drop(member) => {
                self.remove(member);
            }
            FanoutInput::Cancel { keep } => {
                let members = std::mem::take(&mut self.members);
                out.extend(members.into_iter().map(|member| FanoutOutput::Cancel { member, keep }));
            }
        }
        self.wait_or_finish(is_tick, now, not_awaited, &mut out);
        out
    }

    fn remove(&mut self, member: u16) -> bool {
        if let Some(sending) = &mut self.sending {
            sending.awaited.remove(&member);
        }
        self.members.remove(&member)
    }

    /// Keeps waiting, or ends the message and drops the members that have not taken it. Only a tick ends it by time: at any other input, a
    /// member may have taken the message without the shell having reported it yet.
    fn wait_or_finish(
        &mut self,
        is_tick: bool,
        now: Duration,
        not_awaited: &BTreeSet<u16>,
        out: &mut Vec<FanoutOutput>,
    ) {
        let Some(sending) = &mut self.sending else { return };
        let until = if sending.awaited.is_empty() {
            None
        } else if sending.took < self.quorum {
            Some(sending.since + STALL_DEADLINE)
        } else if sending.awaited.is_subset(not_awaited) {
            None
        } else {
            Some(*sending.enough_at.get_or_insert(now) + self.lag_left)
        };
        match until {
            Some(until) if now < until || !is_tick => out.push(FanoutOutput::WaitUntil(until)),
            _ => self.finish(now, out),
        }
    }

    fn finish(&mut self, now: Duration, out: &mut Vec<FanoutOutput>) {
        let Some(Sending { awaited, gone, enough_at, .. }) = self.sending.take() else { return };
        if let Some(enough_at) = enough_at {
            self.lag_left = self.lag_left.saturating_sub(now.saturating_sub(enough_at));
        }
        self.members.retain(|member| !gone.contains(member) && !awaited.contains(member));
        let too_slow: Vec<u16> = awaited.into_iter().collect();
        out.extend(too_slow.iter().map(|member| FanoutOutput::Cancel { member: *member, keep: true }));
        out.push(FanoutOutput::Sent(Forwarded { gone, too_slow }));
    }
}
