//! A peer over one way: what was heard of it there, and the hello that is due there. Every way is paced by itself, so a relay that
//! misbehaves delays nothing on another way.

use std::time::Duration;

use vouch_core::peer_frame::PeerSession;

use super::frame_budget::FrameBudget;
use crate::budgets::TokenBucket;

/// Hellos on one way to one peer: so many at once, and then one per second.
const HELLOS: u32 = 4;
/// The same for frames that were verified in vain: the rest is dropped unverified.
const FAILURES: u32 = 16;
const SECOND: Duration = Duration::from_secs(1);
/// A greeting without an answer is repeated so often, after 1, 2 and 4 seconds. Then the way is silent until there is a message to send.
const REPEATS: u32 = 3;
/// A way on which the peer was heard within this time is expected to work.
const RECENT: Duration = Duration::from_secs(10);

/// A hello that is repeated until the peer is heard.
#[derive(Debug, Clone, Copy)]
struct Greeting {
    next: Duration,
    /// How often it is still repeated after that.
    repeats: u32,
}

#[derive(Debug)]
pub(super) struct Contact {
    pub(super) is_relay: bool,
    /// The session in the peer's last authentic frame here.
    pub(super) seen: Option<PeerSession>,
    /// When the last accepted frame of the peer came here.
    pub(super) heard: Option<Duration>,
    greeting: Option<Greeting>,
    /// When a hello is due that is not repeated.
    answer: Option<Duration>,
    last_hello: Option<Duration>,
    hellos: TokenBucket,
    failures: TokenBucket,
    /// What was read from this connection, whatever it was. Unused of a relay, which also passes on what others made.
    pub(super) read: FrameBudget,
}

impl Contact {
    pub(super) fn new(is_relay: bool) -> Self {
        Self {
            is_relay,
            seen: None,
            heard: None,
            greeting: None,
            answer: None,
            last_hello: None,
            hellos: TokenBucket::new(HELLOS, SECOND),
            failures: TokenBucket::new(FAILURES, SECOND),
            read: FrameBudget::new(),
        }
    }

    pub(super) fn is_recent(&self, now: Duration) -> bool {
        self.heard.is_some_and(|heard| now < heard + RECENT)
    }

    /// Sends a hello, and repeats it a few times until the peer is heard here.
    pub(super) fn greet(&mut self, now: Duration) {
        self.greeting = Some(Greeting { next: now, repeats: REPEATS });
    }

    /// Answers a hello.
    pub(super) fn answer(&mut self, now: Duration) {
        self.answer = Some(now);
    }

    /// Sends a hello unless one was sent within the last second: the peer and this end do not know each other's sessions.
    pub(super) fn introduce(&mut self, now: Duration) {
        let at = self.last_hello.map_or(now, |last| now.max(last + SECOND));
        self.answer = Some(self.answer.map_or(at, |answer| answer.min(at)));
    }

    /// An accepted frame of the peer came here.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = Some(now);
        self.greeting = None;
    }

    /// When the next hello is due.
    pub(super) fn next_hello(&self) -> Option<Duration> {
        let greeting = self.greeting.map(|greeting| greeting.next);
        greeting.into_iter().chain(self.answer).min().map(|next| next.max(self.hellos.next()))
    }

    /// Whether a hello is to be sent now. The caller sends it.
    pub(super) fn take_hello(&mut self, now: Duration) -> bool {
        if self.next_hello().is_none_or(|next| next > now) {
            return false;
        }
        self.hellos.take(now);
        self.last_hello = Some(now);
        self.answer = None;
        if let Some(Greeting { next, repeats }) = self.greeting.take() {
            let pause = SECOND * 2u32.pow(REPEATS.saturating_sub(repeats));
            let next = next.max(now) + pause;
            self.greeting = repeats.checked_sub(1).map(|repeats| Greeting { next, repeats });
        }
        true
    }

    /// Whether another frame of the peer is verified here.
    pub(super) fn may_verify(&self, now: Duration) -> bool {
        self.failures.next() <= now
    }

    /// A frame was verified in vain.
    pub(super) fn failed(&mut self, now: Duration) {
        self.failures.take(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn hellos(contact: &mut Contact) -> Vec<u64> {
        let mut at = Vec::new();
        while let Some(next) = contact.next_hello() {
            assert!(contact.take_hello(next));
            at.push(next.as_secs());
        }
        at
    }

    #[test]
    fn a_greeting_is_repeated_until_the_peer_is_heard_and_not_for_ever() {
        let mut contact = Contact::new(true);
        contact.greet(seconds(0));
        assert_eq!(hellos(&mut contact), [0, 1, 3, 7]);
        contact.greet(seconds(10));
        assert!(contact.take_hello(seconds(10)) && contact.next_hello() == Some(seconds(11)));
        contact.heard(seconds(10));
        assert_eq!(contact.next_hello(), None);
    }

    #[test]
    fn answers_are_sent_at_once_four_times_and_then_each_second() {
        let mut contact = Contact::new(true);
        for _ in 0..4 {
            contact.answer(seconds(10));
            assert!(contact.take_hello(seconds(10)));
        }
        contact.answer(seconds(10));
        assert!(!contact.take_hello(seconds(10)));
        assert_eq!(contact.next_hello(), Some(seconds(11)));
        assert!(contact.take_hello(seconds(11)));
        contact.introduce(seconds(11));
        assert_eq!(hellos(&mut contact), [12], "introductions are a second apart");
    }

    #[test]
    fn frames_are_verified_in_vain_only_so_often() {
        let mut contact = Contact::new(true);
        for _ in 0..16 {
            assert!(contact.may_verify(seconds(5)));
            contact.failed(seconds(5));
        }
        assert!(!contact.may_verify(seconds(5)) && contact.may_verify(seconds(6)));
    }
}
