//! One replica's question for the members' times, which the server relays: who is asked, and whose answers the replica gets. The server can
//! forge no answer: each is signed for this question of this replica.
//!
//! A state machine without IO.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::message::{Message, Stream};
use vouch_core::signed_time::TimeSignature;

/// How long the relay waits for answers. Members that have not answered by then are late.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// An input of a relayed question.
#[derive(Debug)]
pub enum TimeRelayInput {
    /// These of the [awaited](TimeRelay::awaited) members were sent the question.
    Asked(BTreeSet<u16>),
    /// A member answered.
    Signed {
        /// The member.
        member: u16,
        /// Its time, in seconds since 1970.
        time: u64,
        /// Its signature.
        signature: TimeSignature,
    },
    /// Time has passed.
    Tick,
}

impl TimeRelayInput {
    /// A member's message as an input; `None` if it is not an answer to the question.
    pub fn of_reply(member: u16, message: &Message) -> Option<Self> {
        match message {
            // A member answers only for itself: ignore the index that it names.
            Message::SignedTime { time, signature, .. } => {
                Some(Self::Signed { member, time: *time, signature: *signature })
            }
            _ => None,
        }
    }
}

/// An output of a relayed question.
#[expect(clippy::large_enum_variant, reason = "it is handled at once, and never kept")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeRelayOutput {
    /// Send this message to the replica that asked.
    Answer(Message),
    /// The question has ended.
    Over,
}

/// One replica's question, relayed to the members.
#[derive(Debug)]
pub struct TimeRelay {
    /// The number of the question on the asking replica's link.
    stream: Stream,
    awaited: BTreeSet<u16>,
    deadline: Duration,
}

impl TimeRelay {
    /// A question, with the number on the asking replica's link. It is relayed to all connected members but `asker`, which is `None` if the
    /// replica is not a member.
    pub fn new(asker: Option<u16>, stream: Stream, mut connected: BTreeSet<u16>, now: Duration) -> Self {
        if let Some(asker) = asker {
            connected.remove(&asker);
        }
        Self { stream, awaited: connected, deadline: now + ANSWERS_WITHIN }
    }

    /// The members to ask. Later, those of them that have not answered.
    pub fn awaited(&self) -> &BTreeSet<u16> {
        &self.awaited
    }

    /// When [`TimeRelayInput::Tick`] is due if there is no other input.
    pub fn next_tick(&self) -> Duration {
        self.deadline
    }

    /// Handles one input.
    pub fn handle(&mut self, input: TimeRelayInput, now: Duration) -> Vec<TimeRelayOutput> {
        let mut out = Vec::new();
        match input {
            TimeRelayInput::Asked(asked) => self.awaited.retain(|member| asked.contains(member)),
            TimeRelayInput::Signed { member, time, signature } => {
                // Ignore repeated answers: otherwise a member could flood another one through the server.
                if self.awaited.remove(&member) {
                    let answer = Message::SignedTime { stream: self.stream, member, time, signature };
                    out.push(TimeRelayOutput::Answer(answer));
                }
            }
            TimeRelayInput::Tick if now >= self.deadline => self.awaited.clear(),
            TimeRelayInput::Tick => {}
        }
        if self.awaited.is_empty() {
            out.push(TimeRelayOutput::Over);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKERS_NUMBER: Stream = Stream(7);
    const START: Duration = Duration::from_secs(100);
    const MS: Duration = Duration::from_millis(1);

    /// A question of member 1, of four members; all others were sent it.
    fn asked() -> TimeRelay {
        let mut relay = TimeRelay::new(Some(1), ASKERS_NUMBER, (0..4).collect(), START);
        let others = relay.awaited().clone();
        assert_eq!(others, [0, 2, 3].into());
        assert_eq!(relay.handle(TimeRelayInput::Asked(others), START), []);
        relay
    }

    /// A member's reply on the server's stream, in which it names the index of another one.
    fn signed(member: u16) -> TimeRelayInput {
        let (stream, time, signature) = (Stream(100), 1000 + u64::from(member), TimeSignature([1; 64]));
        TimeRelayInput::of_reply(member, &Message::SignedTime { stream, member: 9, time, signature }).unwrap()
    }

    fn answer(member: u16) -> TimeRelayOutput {
        let (time, signature) = (1000 + u64::from(member), TimeSignature([1; 64]));
        TimeRelayOutput::Answer(Message::SignedTime { stream: ASKERS_NUMBER, member, time, signature })
    }

    #[test]
    fn each_answer_is_passed_on_under_the_askers_number_and_the_last_one_ends_the_question() {
        let mut relay = asked();
        assert_eq!(relay.handle(signed(3), START), [answer(3)]);
        assert_eq!(relay.handle(signed(0), START), [answer(0)]);
        assert_eq!(relay.handle(signed(2), START), [answer(2), TimeRelayOutput::Over]);
    }

    #[test]
    fn repeated_answers_and_answers_of_others_are_ignored() {
        let mut relay = asked();
        assert_eq!(relay.handle(signed(3), START), [answer(3)]);
        assert_eq!(relay.handle(signed(3), START), [], "repeated");
        assert_eq!(relay.handle(signed(1), START), [], "the asker itself");
        assert_eq!(relay.handle(signed(4), START), [], "no member");
        assert!(TimeRelayInput::of_reply(0, &Message::Stored { stream: Stream(100) }).is_none());
    }

    #[test]
    fn members_that_were_not_reached_are_not_awaited() {
        let mut relay = asked();
        assert_eq!(relay.handle(TimeRelayInput::Asked([2].into()), START), []);
        assert_eq!(relay.handle(signed(0), START), []);
        assert_eq!(relay.handle(signed(2), START), [answer(2), TimeRelayOutput::Over]);
        let mut alone = TimeRelay::new(Some(1), ASKERS_NUMBER, [1].into(), START);
        assert_eq!(alone.handle(TimeRelayInput::Asked(BTreeSet::new()), START), [TimeRelayOutput::Over]);
    }

    #[test]
    fn a_replica_that_is_not_a_member_asks_all_members() {
        let relay = TimeRelay::new(None, ASKERS_NUMBER, (0..4).collect(), START);
        assert_eq!(*relay.awaited(), (0..4).collect());
    }

    #[test]
    fn the_question_ends_after_ten_seconds() {
        let mut relay = asked();
        assert_eq!(relay.next_tick(), START + Duration::from_secs(10));
        assert_eq!(relay.handle(TimeRelayInput::Tick, START + ANSWERS_WITHIN - MS), []);
        assert_eq!(relay.handle(TimeRelayInput::Tick, START + ANSWERS_WITHIN), [TimeRelayOutput::Over]);
    }
}
