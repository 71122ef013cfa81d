//! The search for one blob's certificate at the members: who is asked, how long the search waits, and which certificate wins.
//!
//! A state machine without IO. Verifying a certificate is a request to the shell.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::message::Message;

/// Timeout of a search, and the grace period for the other members after the first valid certificate.
const SEARCH_DEADLINE: Duration = Duration::from_secs(2);
const SEARCH_GRACE: Duration = Duration::from_millis(100);

/// An input of a search.
#[derive(Debug)]
pub enum SearchInput {
    /// These of the [awaited](CertificateSearch::awaited) members were sent the question.
    Asked(BTreeSet<u16>),
    /// A member answered: with a certificate that is not verified, or that it has none.
    Answered(u16, Option<Box<Certificate>>),
    /// Completes [`SearchOutput::Verify`]: the certificate, if it is valid.
    Verified(Option<Box<Certificate>>),
    /// Time has passed, and no reply is waiting to be handled.
    Tick,
}

impl SearchInput {
    /// A member's message as an input. Whatever it is, it is the member's only answer.
    pub fn of_reply(member: u16, message: Message) -> Self {
        match message {
            Message::FoundCertificate { certificate, .. } => Self::Answered(member, certificate),
            _ => Self::Answered(member, None),
        }
    }
}

/// An output of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchOutput {
    /// Verify this certificate, before the next reply is handled.
    Verify(Box<Certificate>),
    /// The search has ended, with the best valid certificate.
    Over(Option<Box<Certificate>>),
}

/// A search for the certificate of one blob.
#[derive(Debug)]
pub struct CertificateSearch {
    digest: Digest,
    awaited: BTreeSet<u16>,
    deadline: Duration,
    best: Option<Box<Certificate>>,
}

impl CertificateSearch {
    /// A search at all connected members.
    pub fn new(digest: Digest, connected: BTreeSet<u16>, now: Duration) -> Self {
        Self { digest, awaited: connected, deadline: now + SEARCH_DEADLINE, best: None }
    }

    /// The members to ask. Later, those of them that have not answered.
    pub fn awaited(&self) -> &BTreeSet<u16> {
        &self.awaited
    }

    /// When [`SearchInput::Tick`] is due if there is no other input.
    pub fn next_tick(&self) -> Duration {
        self.deadline
    }

    /// Handles one input.
    pub fn handle(&mut self, input: SearchInput, now: Duration) -> Option<SearchOutput> {
        match input {
            SearchInput::Asked(asked) => self.awaited.retain(|member| asked.contains(member)),
            SearchInput::Answered(member, certificate) => {
                let is_first = self.awaited.remove(&member);
                let better = certificate.filter(|certificate| is_first && self.is_better(certificate));
                if let Some(certificate) = better {
                    return Some(SearchOutput::Verify(certificate));
                }
            }
            SearchInput::Verified(None) => {}
            SearchInput::Verified(Some(certificate)) => {
                // Only a valid certificate starts the grace period: otherwise a quick forger would hide the certificates of the others.
                self.deadline = self.deadline.min(now + SEARCH_GRACE);
                self.best = Some(certificate);
            }
            SearchInput::Tick if now >= self.deadline => self.awaited.clear(),
            SearchInput::Tick => {}
        }
        self.awaited.is_empty().then(|| SearchOutput::Over(self.best.take()))
    }

    /// Whether a certificate is of this blob and better than the best so far. Others are not verified: each costs a pairing.
    fn is_better(&self, certificate: &Certificate) -> bool {
        certificate.claim.receipt.digest == self.digest
            && self.best.as_ref().is_none_or(|best| certificate.supersedes(best))
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::message::{Code, Stream};

    use super::*;
    use crate::fixture::certificate;

    const START: Duration = Duration::from_secs(100);
    const MS: Duration = Duration::from_millis(1);

    struct SearchWorld {
        search: CertificateSearch,
        now: Duration,
    }

    /// The certificate of the wanted blob that was issued at this time.
    fn issued_at(issued_at: u64) -> Box<Certificate> {
        Box::new(certificate("blob", issued_at))
    }

    impl SearchWorld {
        /// A search at three members, which were all asked.
        fn new() -> Self {
            let search = CertificateSearch::new(Digest::of(b"blob"), (0..3).collect(), START);
            let mut world = Self { search, now: START };
            let all = world.search.awaited().clone();
            assert_eq!(all, [0, 1, 2].into());
            assert_eq!(world.give(SearchInput::Asked(all)), None);
            world
        }

        fn give(&mut self, input: SearchInput) -> Option<SearchOutput> {
            self.search.handle(input, self.now)
        }

        fn wait(&mut self, duration: Duration) -> Option<SearchOutput> {
            self.now += duration;
            self.give(SearchInput::Tick)
        }

        /// A member sends a certificate that is verified.
        fn finds(&mut self, member: u16, certificate: &Certificate, is_valid: bool) -> Option<SearchOutput> {
            let certificate = Box::new(certificate.clone());
            let out = self.give(SearchInput::Answered(member, Some(certificate.clone())));
            assert_eq!(out, Some(SearchOutput::Verify(certificate.clone())));
            self.give(SearchInput::Verified(is_valid.then_some(certificate)))
        }
    }

    fn over(best: Option<Box<Certificate>>) -> Option<SearchOutput> {
        Some(SearchOutput::Over(best))
    }

    #[test]
    fn the_best_certificate_wins_and_a_worse_one_is_not_verified() {
        let mut world = SearchWorld::new();
        assert_eq!(world.finds(2, &issued_at(20), true), None);
        assert_eq!(world.give(SearchInput::Answered(0, Some(issued_at(10)))), None, "older");
        assert_eq!(world.finds(1, &issued_at(30), true), over(Some(issued_at(30))), "the last answer");
    }

    #[test]
    fn a_search_ends_once_all_members_have_answered() {
        let mut world = SearchWorld::new();
        assert_eq!(world.give(SearchInput::Answered(0, None)), None);
        let refused = Message::failed(Stream(1), Code::Storage, "");
        assert_eq!(world.give(SearchInput::of_reply(1, refused)), None, "a refusal is an answer");
        assert_eq!(world.finds(2, &issued_at(10), false), over(None));
    }

    #[test]
    fn the_first_valid_certificate_starts_the_grace_period() {
        let mut world = SearchWorld::new();
        assert_eq!(world.finds(0, &issued_at(99), false), None, "forged");
        assert_eq!(world.search.next_tick(), START + SEARCH_DEADLINE, "a forger hides no other certificate");
        world.now += 500 * MS;
        assert_eq!(world.finds(1, &issued_at(10), true), None);
        assert_eq!(world.wait(SEARCH_GRACE - MS), None);
        assert_eq!(world.wait(MS), over(Some(issued_at(10))));
    }

    #[test]
    fn later_valid_certificates_do_not_prolong_the_grace_period() {
        let mut world = SearchWorld::new();
        assert_eq!(world.finds(0, &issued_at(10), true), None);
        world.now += SEARCH_GRACE - MS;
        assert_eq!(world.finds(1, &issued_at(20), true), None);
        assert_eq!(world.wait(MS), over(Some(issued_at(20))));
    }

    #[test]
    fn without_a_valid_certificate_a_search_ends_after_two_seconds() {
        let mut world = SearchWorld::new();
        assert_eq!(world.wait(SEARCH_DEADLINE - MS), None);
        assert_eq!(world.wait(MS), over(None));
    }

    #[test]
    fn a_reply_that_is_waiting_at_the_deadline_counts() {
        let mut world = SearchWorld::new();
        assert_eq!(world.finds(0, &issued_at(10), true), None);
        world.now += 2 * SEARCH_GRACE;
        assert_eq!(world.finds(1, &issued_at(20), true), None, "only a tick ends it");
        assert_eq!(world.give(SearchInput::Tick), over(Some(issued_at(20))));
    }

    #[test]
    fn certificates_of_other_blobs_repeated_answers_and_unasked_members_are_ignored() {
        let mut world = SearchWorld::new();
        let other = Box::new(certificate("another blob", 50));
        assert_eq!(world.give(SearchInput::Answered(0, Some(other))), None);
        assert_eq!(world.give(SearchInput::Answered(0, Some(issued_at(60)))), None, "its second answer");
        assert_eq!(world.give(SearchInput::Answered(7, Some(issued_at(60)))), None, "not asked");
        assert_eq!(world.give(SearchInput::Asked([2].into())), None, "member 1 was not reached");
        assert_eq!(world.give(SearchInput::Answered(1, Some(issued_at(60)))), None);
        assert_eq!(world.give(SearchInput::Answered(2, None)), over(None));
    }
}
