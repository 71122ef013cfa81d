use vouch_core::digest::BlockDigest;
use vouch_core::merkle::TreeHash;
use vouch_core::message::Code;
use vouch_core::statement::Statement;
use vouch_fixture::TestCommittee;

use super::*;

const START: Duration = Duration::from_secs(100);

fn head(height: u64) -> LogHead {
    LogHead { height, block: BlockDigest([1; 32]), log_root: TreeHash([2; 32]), time: 1_790_000_000 }
}

/// The heads of a log with four members, of which three are a quorum.
struct World {
    committee: TestCommittee,
    heads: LogHeads,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let committee = TestCommittee::labelled("log heads", 4);
        let heads = LogHeads::new(committee.committee.clone(), StreamNumbers::default());
        Self { committee, heads, now: START }
    }

    fn give(&mut self, input: LogHeadsInput) -> Vec<LogHeadsOutput> {
        self.heads.handle(input, self.now)
    }

    fn tip(&mut self, member: u16, height: u64) -> Vec<LogHeadsOutput> {
        self.give(LogHeadsInput::Tip(member, height))
    }

    /// Members 0 to 2 have this height, and are asked to sign it.
    fn asked(&mut self, height: u64) -> Stream {
        self.tip(0, height);
        self.tip(1, height);
        let out = self.tip(2, height);
        let [LogHeadsOutput::Ask { stream, height: asked, members }] = &out[..] else { panic!("{out:?}") };
        assert_eq!((*asked, members), (height, &BTreeSet::from([0, 1, 2])));
        *stream
    }

    fn signs(&mut self, stream: Stream, member: u16, head: LogHead) -> Vec<LogHeadsOutput> {
        let statement = Statement::new(self.committee.record(), head);
        let signature = statement.sign(&self.committee.votes[usize::from(member)]);
        let out = self.give(LogHeadsInput::Signed { stream, member, head, signature });
        self.verify(out)
    }

    /// Performs the verification that an output requests.
    fn verify(&mut self, out: Vec<LogHeadsOutput>) -> Vec<LogHeadsOutput> {
        let mut all = Vec::new();
        for output in out {
            match output {
                LogHeadsOutput::Verify { stream, ballot, votes } => {
                    let verified = ballot.verify_all(&self.committee.committee, &votes);
                    let votes = votes.iter().map(|(member, _)| *member).zip(verified).collect();
                    let next = self.give(LogHeadsInput::Verified { stream, votes });
                    all.extend(self.verify(next));
                }
                other => all.push(other),
            }
        }
        all
    }
}

fn certified(out: &[LogHeadsOutput]) -> Option<&Certificate<LogHead>> {
    out.iter().find_map(|output| match output {
        LogHeadsOutput::Certified(certificate) => Some(&**certificate),
        _ => None,
    })
}

#[test]
fn a_quorums_signatures_become_a_certificate_and_an_idle_log_costs_nothing() {
    let mut world = World::new();
    assert_eq!(world.heads.next_tick(), None);
    let stream = world.asked(5);
    assert!(world.signs(stream, 0, head(5)).is_empty());
    assert!(world.signs(stream, 1, head(5)).is_empty());
    let out = world.signs(stream, 2, head(5));
    let certificate = certified(&out).unwrap();
    assert_eq!(certificate.claim, head(5));
    vouch_core::verify::verify_signed(certificate, &world.committee.committee).unwrap();
    assert_eq!(world.heads.next_tick(), None, "nothing to do until the log grows");
    assert!(world.give(LogHeadsInput::Tick).is_empty());
}

#[test]
fn the_next_head_covers_what_was_decided_meanwhile_and_waits_for_the_pause() {
    let mut world = World::new();
    let stream = world.asked(5);
    for member in 0..3 {
        assert!(world.tip(member, 9).is_empty());
    }
    for member in 0..2 {
        world.signs(stream, member, head(5));
    }
    let out = world.signs(stream, 2, head(5));
    assert!(certified(&out).is_some() && out.len() == 2, "{out:?}");
    assert_eq!(world.heads.next_tick(), Some(START + PAUSE));
    world.now += PAUSE;
    let out = world.give(LogHeadsInput::Tick);
    assert!(matches!(&out[..], [LogHeadsOutput::Ask { height: 9, .. }]), "{out:?}");
}

#[test]
fn a_liar_cannot_raise_the_height_above_what_an_honest_member_has() {
    let mut world = World::new();
    world.tip(3, u64::MAX);
    world.tip(0, 4);
    let out = world.tip(1, 6);
    assert!(matches!(&out[..], [LogHeadsOutput::Ask { height: 4, .. }]), "{out:?}");
    assert!(world.tip(4, 9).is_empty(), "there is no member 4");
}

#[test]
fn a_member_that_catches_up_is_asked_then() {
    let mut world = World::new();
    let stream = world.asked(5);
    assert!(world.tip(3, 4).is_empty(), "it is behind");
    let out = world.tip(3, 5);
    assert!(matches!(&out[..], [LogHeadsOutput::Ask { height: 5, members, .. }] if members.contains(&3)), "{out:?}");
    world.signs(stream, 0, head(5));
    world.signs(stream, 3, head(5));
    let out = world.signs(stream, 1, head(5));
    assert!(certified(&out).is_some());
}

#[test]
fn a_member_that_signs_another_head_or_signs_falsely_does_not_count() {
    let mut world = World::new();
    let stream = world.asked(5);
    world.tip(3, 5);
    let other = LogHead { block: BlockDigest([9; 32]), ..head(5) };
    assert!(world.signs(stream, 3, other).is_empty());
    assert!(world.signs(stream, 3, head(5)).is_empty(), "its second answer");
    assert!(world.signs(stream, 0, head(6)).is_empty(), "another height");
    world.signs(stream, 0, head(5));
    world.signs(stream, 1, head(5));
    let foreign = TestCommittee::labelled("others", 4);
    let signature = Statement::new(world.committee.record(), head(5)).sign(&foreign.votes[2]);
    let out = world.give(LogHeadsInput::Signed { stream, member: 2, head: head(5), signature });
    let out = world.verify(out);
    assert!(certified(&out).is_none());
    assert!(matches!(out[0], LogHeadsOutput::SignedFalsely { member: 2, .. }), "{out:?}");
    assert!(matches!(out[1], LogHeadsOutput::Over(_)), "nobody else can complete the quorum: {out:?}");
    assert_eq!(world.heads.next_tick(), Some(START + ROUND), "it is tried again");
}

#[test]
fn refusals_and_silence_end_the_attempt() {
    let mut world = World::new();
    let stream = world.asked(5);
    let refusal = Message::failed(stream, Code::NotFound, "");
    let out = world.give(LogHeadsInput::of_reply(stream, 0, refusal));
    assert!(matches!(&out[..], [LogHeadsOutput::Over(over)] if *over == stream), "{out:?}");
    world.now += ROUND;
    let out = world.give(LogHeadsInput::Tick);
    let [LogHeadsOutput::Ask { stream: again, .. }] = &out[..] else { panic!("{out:?}") };
    assert_ne!(*again, stream, "late answers to the first do not count");
    assert_eq!(world.heads.next_tick(), Some(world.now + ROUND));
    world.now += ROUND;
    let out = world.give(LogHeadsInput::Tick);
    assert!(matches!(&out[..], [LogHeadsOutput::Over(_)]), "{out:?}");
}

#[test]
fn members_that_left_are_not_awaited() {
    let mut world = World::new();
    let stream = world.asked(5);
    world.signs(stream, 0, head(5));
    assert!(world.give(LogHeadsInput::Left(0)).is_empty(), "its signature counts");
    world.signs(stream, 1, head(5));
    let out = world.give(LogHeadsInput::Left(2));
    assert!(matches!(&out[..], [LogHeadsOutput::Over(_)]), "{out:?}");
    assert_eq!(world.heads.next_tick(), None, "no quorum is connected");
}
