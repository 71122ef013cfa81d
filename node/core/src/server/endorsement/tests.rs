//! Endorsements, under a clock of the test's.

use vouch_core::certificate::Signers;
use vouch_core::message::Code;
use vouch_core::receipt::NEVER;

use super::confirmation::CONFIRMING;
use super::*;
use crate::fixture::certificate;
use crate::server::grace_period::LEAST_GRACE;
use crate::server::put::READING_RATE;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The server's first number.
const FIRST: Stream = Stream(100);
/// The member that asks: it did not sign, of members 0 to 3.
const ASKING: u16 = 3;
const QUORUM: usize = 3;
/// The time of the tests, in seconds since 1970.
const TODAY: u64 = 1_000_000;
const LARGE: u64 = MAX_BLOB as u64 + 1;

struct EndorsementWorld {
    endorsement: Endorsement,
    context: EndorsementContext,
}

fn of_length(length: u64) -> Certificate {
    let mut certificate = certificate("blob", 10);
    certificate.claim.receipt.length = length;
    certificate
}

impl EndorsementWorld {
    fn new(blobs: &[&str]) -> Self {
        let digests = blobs.iter().map(|blob| Digest::of(blob.as_bytes())).collect();
        let endorsement = Endorsement::new(ASKING, digests, StreamNumbers::from(FIRST.0));
        let (now, connected) = (Duration::from_secs(100), (0..4).collect());
        let context = EndorsementContext { now, unix_seconds: TODAY, connected, epoch: 0, quorum: Some(QUORUM) };
        Self { endorsement, context }
    }

    /// One that looks for the certificate of its only blob.
    fn finding() -> Self {
        let mut world = Self::new(&["blob"]);
        let out = world.give(EndorsementInput::Begin);
        assert_eq!(out, [EndorsementOutput::FindCertificate(Digest::of(b"blob"))]);
        world
    }

    /// One that has offered a large blob of this length to all members.
    fn offering(length: u64) -> Self {
        let mut world = Self::finding();
        let out = world.find(of_length(length));
        let receipt = of_length(length).claim.receipt;
        assert_eq!(out, [EndorsementOutput::Offer { stream: FIRST, receipt, members: (0..4).collect() }]);
        assert_eq!(world.give(EndorsementInput::Offered((0..4).collect())), []);
        world
    }

    fn give(&mut self, input: EndorsementInput) -> Vec<EndorsementOutput> {
        self.endorsement.handle(input, &self.context)
    }

    fn find(&mut self, certificate: Certificate) -> Vec<EndorsementOutput> {
        self.give(EndorsementInput::Found(Some(Box::new(certificate))))
    }

    /// A member names its resume offset.
    fn ready(&mut self, member: u16, offset: u64) -> Vec<EndorsementOutput> {
        let ready = Message::Ready { stream: FIRST, offset };
        self.give(EndorsementInput::of_reply(FIRST, member, &ready))
    }

    fn refuse(&mut self, member: u16) -> Vec<EndorsementOutput> {
        let failed = Message::failed(FIRST, Code::Busy, "");
        self.give(EndorsementInput::of_reply(FIRST, member, &failed))
    }

    fn wait(&mut self, duration: Duration) -> Vec<EndorsementOutput> {
        self.context.now += duration;
        self.give(EndorsementInput::Tick)
    }
}

fn cancel(member: u16) -> EndorsementOutput {
    EndorsementOutput::Cancel { stream: FIRST, member }
}

/// The end of the exchange about a large blob, which is certified again with these holders.
fn submitted(length: u64, holders: impl IntoIterator<Item = u16>) -> Vec<EndorsementOutput> {
    let (receipt, holders) = (of_length(length).claim.receipt, holders.into_iter().collect());
    let submit = EndorsementOutput::Submit { put: Stream(FIRST.0 + 1), receipt, holders };
    vec![EndorsementOutput::Release(FIRST), submit, EndorsementOutput::Over]
}

/// The end of the exchange about a large blob, which is not certified again.
fn given_up() -> Vec<EndorsementOutput> {
    vec![EndorsementOutput::Release(FIRST), EndorsementOutput::Over]
}

#[test]
fn a_small_blob_is_proposed_to_all_connected_members() {
    let mut world = EndorsementWorld::finding();
    let receipt = of_length(MAX_BLOB as u64).claim.receipt;
    let submit = EndorsementOutput::Submit { put: FIRST, receipt, holders: (0..4).collect() };
    assert_eq!(world.find(of_length(MAX_BLOB as u64)), [submit, EndorsementOutput::Over]);
}

#[test]
fn blobs_are_handled_one_after_the_other_and_repeated_ones_once() {
    let mut world = EndorsementWorld::new(&["blob", "other", "blob"]);
    let mut found = Vec::new();
    let mut out = world.give(EndorsementInput::Begin);
    while let [EndorsementOutput::FindCertificate(digest)] = &out[..] {
        found.push(*digest);
        out = world.give(EndorsementInput::Found(None));
    }
    assert_eq!(out, [EndorsementOutput::Over]);
    found.sort_by_key(|digest| digest.0);
    let mut expected = [Digest::of(b"blob"), Digest::of(b"other")];
    expected.sort_by_key(|digest| digest.0);
    assert_eq!(found, expected);
}

#[test]
fn only_certificates_in_force_that_the_member_did_not_sign_qualify() {
    let skipped = |certificate: Option<Certificate>| {
        let mut world = EndorsementWorld::finding();
        let out = world.give(EndorsementInput::Found(certificate.map(Box::new)));
        out == [EndorsementOutput::Over]
    };
    assert!(skipped(None), "unknown");
    let signed = Certificate { signers: Signers::new(4, 1..4).unwrap(), ..certificate("blob", 10) };
    assert!(skipped(Some(signed.clone())), "the member signed it");
    assert!(!skipped(Some(Certificate { epoch: 1, ..signed })), "the signer of that index was another member");
    let expires = |expires_at| {
        let mut certificate = certificate("blob", 10);
        certificate.claim.receipt.expires_at = expires_at;
        certificate
    };
    assert!(skipped(Some(expires(TODAY))), "expired");
    assert!(!skipped(Some(expires(TODAY + 1))) && !skipped(Some(expires(NEVER))));
}

#[test]
fn a_small_blob_needs_a_quorum_of_connected_members_with_the_asking_one() {
    let proposed = |connected: BTreeSet<u16>, quorum| {
        let mut world = EndorsementWorld::finding();
        world.context = EndorsementContext { connected, quorum, ..world.context };
        world.find(of_length(4)).len() == 2
    };
    assert!(proposed([0, 1, ASKING].into(), Some(3)));
    assert!(!proposed([0, ASKING].into(), Some(3)));
    assert!(!proposed([0, 1, 2].into(), Some(3)), "the asking member has left");
    assert!(!proposed([0, 1, ASKING].into(), None), "no committee");
}

#[test]
fn a_large_blob_is_proposed_to_the_members_that_confirm_it() {
    let mut world = EndorsementWorld::offering(LARGE);
    assert_eq!(world.ready(0, LARGE), [cancel(0)]);
    assert_eq!(world.ready(1, 0), [cancel(1)], "it lacks the bytes");
    assert_eq!(world.ready(ASKING, LARGE), [cancel(ASKING)]);
    let mut expected = vec![cancel(2)];
    expected.extend(submitted(LARGE, [0, 2, ASKING]));
    assert_eq!(world.ready(2, LARGE), expected, "the last answer ends it");
}

#[test]
fn a_refusal_is_an_answer_and_is_not_cancelled() {
    let mut world = EndorsementWorld::offering(LARGE);
    assert_eq!(world.refuse(0), []);
    assert_eq!(world.ready(0, LARGE), [], "its second answer");
    world.ready(1, LARGE);
    world.ready(2, LARGE);
    let mut expected = vec![cancel(ASKING)];
    expected.extend(submitted(LARGE, [1, 2, ASKING]));
    assert_eq!(world.ready(ASKING, LARGE), expected);
}

#[test]
fn answers_of_unasked_members_and_to_other_offers_are_ignored() {
    let mut world = EndorsementWorld::offering(LARGE);
    assert_eq!(world.ready(7, LARGE), []);
    let other = Message::Ready { stream: Stream(7), offset: LARGE };
    assert_eq!(world.give(EndorsementInput::of_reply(Stream(7), 0, &other)), []);
    assert_eq!(world.ready(0, LARGE), [cancel(0)]);
}

#[test]
fn fewer_than_a_quorum_of_holders_or_none_with_the_asking_member_are_given_up() {
    let mut world = EndorsementWorld::offering(LARGE);
    world.ready(0, LARGE);
    world.ready(ASKING, LARGE);
    world.refuse(1);
    assert_eq!(world.refuse(2), given_up(), "no quorum");
    let mut world = EndorsementWorld::offering(LARGE);
    for member in 0..3 {
        world.ready(member, LARGE);
    }
    assert_eq!(world.refuse(ASKING), given_up(), "without the asking member");
}

#[test]
fn members_that_were_not_reached_are_not_awaited() {
    let mut world = EndorsementWorld::finding();
    world.find(of_length(LARGE));
    assert_eq!(world.give(EndorsementInput::Offered([0, 1, ASKING].into())), []);
    world.ready(0, LARGE);
    world.ready(1, LARGE);
    let mut expected = vec![cancel(ASKING)];
    expected.extend(submitted(LARGE, [0, 1, ASKING]));
    assert_eq!(world.ready(ASKING, LARGE), expected);
    let mut world = EndorsementWorld::finding();
    world.find(of_length(LARGE));
    assert_eq!(world.give(EndorsementInput::Offered(BTreeSet::new())), given_up(), "nobody was reached");
}

#[test]
fn after_a_quorum_with_the_asking_member_the_others_have_a_grace_period() {
    let mut world = EndorsementWorld::offering(LARGE);
    world.ready(0, LARGE);
    world.ready(1, LARGE);
    assert_eq!(world.wait(4 * LEAST_GRACE), []);
    assert_eq!(world.ready(ASKING, LARGE), [cancel(ASKING)]);
    // Half of the time that the quorum took.
    assert_eq!(world.endorsement.next_tick(), Some(world.context.now + 2 * LEAST_GRACE));
    assert_eq!(world.wait(2 * LEAST_GRACE - MS), []);
    let mut expected = vec![cancel(2)];
    expected.extend(submitted(LARGE, [0, 1, ASKING]));
    assert_eq!(world.wait(MS), expected);
}

#[test]
fn the_grace_period_does_not_end_the_wait_for_the_asking_member() {
    let mut world = EndorsementWorld::offering(LARGE);
    for member in 0..3 {
        world.ready(member, LARGE);
    }
    assert_eq!(world.wait(30 * SECOND), []);
    let mut expected = vec![cancel(ASKING)];
    expected.extend(submitted(LARGE, 0..4));
    assert_eq!(world.ready(ASKING, LARGE), expected);
}

#[test]
fn the_deadline_grows_with_the_time_that_reading_the_blob_takes() {
    let length = 10 * READING_RATE;
    let mut world = EndorsementWorld::offering(length);
    let deadline = CONFIRMING + 10 * SECOND;
    assert_eq!(world.endorsement.next_tick(), Some(world.context.now + deadline));
    world.ready(ASKING, length);
    assert_eq!(world.wait(deadline - MS), []);
    let mut expected: Vec<_> = (0..3).map(cancel).collect();
    expected.extend(given_up());
    assert_eq!(world.wait(MS), expected);
    assert_eq!(world.endorsement.next_tick(), None);
}
