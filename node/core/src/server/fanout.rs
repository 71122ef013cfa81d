//! Which members a put waits for while a message is queued for them. Each member's queue is bounded, and the put never waits for the
//! slowest ones once a quorum has room.
//!
//! A state machine without IO: the shell queues the bytes, and says who took them.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::put::Forwarded;

/// How long a put waits, over all its messages, for members behind a quorum.
pub const LAG_BUDGET: Duration = Duration::from_secs(2);
/// How long it waits for a quorum to have room for one message.
pub const STALL_DEADLINE: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanoutInput {
    /// A message was queued for all members but these, whose queues are full.
    Queued {
        /// Members without room.
        without_room: BTreeSet<u16>,
    },
    /// A member that was without room took the message.
    Took(u16),
    /// A member's link ended before it took the message.
    Gone(u16),
    /// Time passed.
    Tick,
    /// The put goes on without this member.
    LeaveOut(u16),
    /// This member takes no part any more, and knows it.
    Drop(u16),
    /// The put is cancelled. The members may keep the received bytes for another put of the same blob.
    Cancel {
        /// Whether they do.
        keep: bool,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanoutOutput {
    /// Wait for members that are without room; come back with [`FanoutInput::Tick`] at this time if none takes the message before.
    WaitUntil(Duration),
    /// The message was sent. Wait for nobody any more.
    Sent(Forwarded),
    /// Send this member a cancel, behind the messages in its queue: a cancel that overtook the put's beginning would leave the put begun
    /// for ever.
    Cancel {
        /// The member.
        member: u16,
        /// It keeps what it received.
        keep: bool,
    },
}

/// One message under way.
#[derive(Debug)]
struct Sending {
    awaited: BTreeSet<u16>,
    gone: Vec<u16>,
    /// How many members took it.
    took: usize,
    since: Duration,
    /// Since when a quorum has taken it, and the put waits for the others.
    enough_at: Option<Duration>,
}

/// The members that one put's messages go to.
#[derive(Debug)]
pub struct Fanout {
    members: BTreeSet<u16>,
    quorum: usize,
    lag_left: Duration,
    sending: Option<Sending>,
}

impl Fanout {
    /// To these members, of which a quorum must take each message.
    pub fn new(members: BTreeSet<u16>, quorum: usize) -> Self {
        Self { members, quorum, lag_left: LAG_BUDGET, sending: None }
    }

    /// The members that the next message goes to.
    pub fn members(&self) -> &BTreeSet<u16> {
        &self.members
    }

    /// Takes one input. Members that are `not_awaited` were slow before: once a quorum took a message, nobody waits for them.
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
        self.go_on(is_tick, now, not_awaited, &mut out);
        out
    }

    fn remove(&mut self, member: u16) -> bool {
        if let Some(sending) = &mut self.sending {
            sending.awaited.remove(&member);
        }
        self.members.remove(&member)
    }

    /// Waits on, or ends the message under way without those that did not take it. Only a tick ends it by time: a member that took it
    /// while nobody looked is not slow.
    fn go_on(&mut self, is_tick: bool, now: Duration, not_awaited: &BTreeSet<u16>, out: &mut Vec<FanoutOutput>) {
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
