//! The lookups and reads of one client, under a clock of the test's.

use super::*;
use crate::fixture::node_key;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// The client's stream number of the request in most tests.
const CLIENT: Stream = Stream(5);
/// The server's first number.
const FIRST: Stream = Stream(100);

struct GetWorld {
    gets: ClientGets,
    now: Duration,
}

fn link(member: u16, number: u64) -> LinkId {
    LinkId { node_key: node_key(u8::try_from(member).unwrap() + 1), number }
}

fn links(members: impl IntoIterator<Item = u16>) -> Option<BTreeMap<u16, LinkId>> {
    Some(members.into_iter().map(|member| (member, link(member, 1))).collect())
}

fn digest() -> Digest {
    Digest::of(b"blob")
}

fn read_from(member: u16, client: u32) -> Read {
    Read { stream: Stream(client), member, digest: digest(), offset: 0, length: 1 }
}

fn failures(out: &[GetOutput]) -> Vec<(Stream, Code)> {
    let failed = |output: &GetOutput| match output {
        GetOutput::Answer(GetAnswer::Failed(failed)) => Some((failed.stream, failed.code)),
        _ => None,
    };
    out.iter().filter_map(failed).collect()
}

/// The holders that are sent to the client, if any are.
fn located(out: &[GetOutput]) -> Option<Vec<u16>> {
    out.iter().find_map(|output| match output {
        GetOutput::Answer(GetAnswer::Located(CLIENT, holders)) => {
            Some(holders.iter().map(|holder| holder.member).collect())
        }
        _ => None,
    })
}

fn releases(out: &[GetOutput]) -> Vec<Stream> {
    let released = |output: &GetOutput| match output {
        GetOutput::Action(GetAction::Release(stream)) => Some(*stream),
        _ => None,
    };
    out.iter().filter_map(released).collect()
}

impl GetWorld {
    fn new() -> Self {
        Self { gets: ClientGets::new(StreamNumbers::from(FIRST.0), links(0..3)), now: Duration::from_secs(100) }
    }

    /// A client to which a lookup has named these holders.
    fn found(holders: impl IntoIterator<Item = u16>) -> Self {
        let mut world = Self::new();
        world.gets.located = Some((digest(), holders.into_iter().collect()));
        world
    }

    fn handle(&mut self, input: GetInput) -> Vec<GetOutput> {
        self.gets.handle(input, self.now)
    }

    /// A client with a lookup that all members were asked about.
    fn locating() -> Self {
        let mut world = Self::new();
        world.locate();
        world
    }

    /// The client sends a lookup, and all members are asked. Returns the server's number of it.
    fn locate(&mut self) -> Stream {
        let out = self.handle(GetInput::Locate(CLIENT, digest(), None));
        let [GetOutput::Action(GetAction::AskHolders { stream, members, .. })] = &out[..] else { panic!("{out:?}") };
        self.handle(GetInput::Asked(*stream, members.clone()));
        *stream
    }

    fn holds(&mut self, member: u16, stream: Stream, length: Option<u64>) -> Vec<GetOutput> {
        self.handle(GetInput::Holds { member, stream, length })
    }

    /// A client with a read that this member was asked for.
    fn reading(member: u16) -> Self {
        let mut world = Self::found([member]);
        assert!(world.handle(GetInput::Read(read_from(member, CLIENT.0))).is_empty());
        assert!(world.gets.wants_room());
        let out = world.handle(GetInput::Room);
        let asked = Read { stream: FIRST, ..read_from(member, 0) };
        assert!(matches!(&out[..], [GetOutput::Action(GetAction::AskForRead(read))] if *read == asked), "{out:?}");
        assert!(!world.gets.wants_room() && world.gets.is_active());
        world
    }

    fn wait(&mut self, duration: Duration) -> Vec<GetOutput> {
        self.now += duration;
        self.handle(GetInput::Tick)
    }
}

#[test]
fn a_lookup_ends_once_all_members_have_answered() {
    let mut world = GetWorld::locating();
    assert!(world.holds(1, FIRST, None).is_empty());
    assert!(world.holds(0, FIRST, None).is_empty());
    let out = world.holds(2, FIRST, None);
    assert_eq!((located(&out), releases(&out)), (Some(vec![]), vec![FIRST]));
    assert!(!world.gets.is_active());
}

#[test]
fn after_the_first_holder_the_others_have_a_short_timeout() {
    let mut world = GetWorld::locating();
    world.holds(2, FIRST, Some(7));
    assert!(world.wait(LOCATE_GRACE - MS).is_empty());
    world.holds(1, FIRST, Some(7));
    assert_eq!(
        located(&world.wait(MS)),
        Some(vec![1, 2]),
        "ascending, once the timeout after the first holder has passed"
    );
}

#[test]
fn without_a_holder_a_lookup_waits_until_its_timeout() {
    let mut world = GetWorld::locating();
    world.holds(2, FIRST, None);
    assert!(world.wait(LOCATE_DEADLINE - MS).is_empty());
    assert_eq!(located(&world.wait(MS)), Some(vec![]));
}

#[test]
fn a_second_lookup_of_the_same_blob_waits_for_every_member() {
    let mut world = GetWorld::locating();
    world.holds(2, FIRST, Some(7));
    world.wait(LOCATE_GRACE);
    let stream = world.locate();
    world.holds(2, stream, Some(7));
    assert!(world.wait(LOCATE_DEADLINE - MS).is_empty());
    assert_eq!(located(&world.wait(MS)), Some(vec![2]));
    // a lookup of another blob does not
    let out = world.handle(GetInput::Locate(CLIENT, Digest::of(b"another"), None));
    let [GetOutput::Action(GetAction::AskHolders { stream, .. })] = out[..] else { panic!("{out:?}") };
    world.holds(0, stream, Some(7));
    assert_eq!(located(&world.wait(LOCATE_GRACE)), Some(vec![0]));
}

#[test]
fn only_first_answers_of_asked_members_count() {
    let mut world = GetWorld::new();
    world.handle(GetInput::Locate(CLIENT, digest(), None));
    // member 1 was not asked: its queue was full
    assert!(world.handle(GetInput::Asked(FIRST, [0, 2].into())).is_empty());
    world.holds(1, FIRST, Some(9));
    world.holds(0, Stream(99), Some(9));
    world.holds(0, FIRST, None);
    world.holds(0, FIRST, Some(9));
    assert_eq!(located(&world.handle(GetInput::Connected(links([0, 1])))), Some(vec![]), "member 2 has disconnected");
    let mut nobody = GetWorld::new();
    nobody.handle(GetInput::Locate(CLIENT, digest(), None));
    assert_eq!(located(&nobody.handle(GetInput::Asked(FIRST, BTreeSet::new()))), Some(vec![]));
}

#[test]
fn only_one_lookup_at_a_time_and_none_without_a_committee() {
    let mut world = GetWorld::locating();
    let out = world.handle(GetInput::Locate(Stream(6), digest(), None));
    assert_eq!(failures(&out), [(Stream(6), Code::Busy)]);
    world.handle(GetInput::Connected(None));
    let out = world.handle(GetInput::Locate(Stream(7), digest(), None));
    assert_eq!(failures(&out), [(Stream(7), Code::NoCommittee)]);
}

#[test]
fn the_bytes_of_a_read_are_relayed_under_the_clients_number() {
    let mut world = GetWorld::reading(1);
    for (member, stream) in [(0, FIRST), (1, Stream(99))] {
        assert!(world.handle(GetInput::Bytes { member, stream }).is_empty(), "{member} was not asked for {stream:?}");
    }
    let relay = GetAction::Relay { stream: FIRST, client: CLIENT };
    let out = world.handle(GetInput::Bytes { member: 1, stream: FIRST });
    assert!(matches!(&out[..], [GetOutput::Action(action)] if *action == relay), "{out:?}");
    assert!(world.handle(GetInput::Bytes { member: 1, stream: FIRST }).is_empty(), "once");
    assert!(!world.gets.is_active());
}

#[test]
fn a_refusal_is_relayed_under_the_clients_number() {
    let refusal = |member| GetInput::Refused(member, Failed::new(FIRST, Code::NotFound, "not here"));
    let mut world = GetWorld::reading(1);
    assert!(world.handle(refusal(0)).is_empty(), "member 0 was not asked");
    let out = world.handle(refusal(1));
    assert_eq!((failures(&out), releases(&out)), (vec![(CLIENT, Code::NotFound)], vec![FIRST]));
}

#[test]
fn a_read_times_out() {
    let mut world = GetWorld::reading(1);
    assert!(world.wait(READ_DEADLINE).is_empty());
    let out = world.wait(MS);
    assert_eq!((failures(&out), releases(&out)), (vec![(CLIENT, Code::TimedOut)], vec![FIRST]));
    let Some(GetOutput::Answer(GetAnswer::Failed(failed))) = out.last() else { panic!("{out:?}") };
    assert_eq!(failed.subjects, [1]);
    assert!(world.handle(GetInput::Bytes { member: 1, stream: FIRST }).is_empty(), "after the timeout");
}

#[test]
fn a_read_ends_with_its_members_link() {
    let mut world = GetWorld::reading(1);
    assert!(world.handle(GetInput::Connected(links([1]))).is_empty());
    let mut again = links(0..3).unwrap();
    again.insert(1, link(1, 2));
    let out = world.handle(GetInput::Connected(Some(again)));
    assert_eq!((failures(&out), releases(&out)), (vec![(CLIENT, Code::NotFound)], vec![FIRST]));
}

#[test]
fn only_what_a_lookup_found_is_read_and_only_from_those_that_said_so() {
    let mut world = GetWorld::locating();
    assert_eq!(failures(&world.handle(GetInput::Read(read_from(1, 7)))), [(Stream(7), Code::NotFound)]);
    world.holds(1, FIRST, Some(4));
    world.holds(0, FIRST, None);
    assert_eq!(located(&world.wait(LOCATE_GRACE)), Some(vec![1]));
    for member in [0, 2] {
        let refused = failures(&world.handle(GetInput::Read(read_from(member, 7))));
        assert_eq!(refused, [(Stream(7), Code::NotFound)], "{member}");
    }
    let other = Read { digest: Digest::of(b"other"), ..read_from(1, 7) };
    assert_eq!(failures(&world.handle(GetInput::Read(other))), [(Stream(7), Code::NotFound)]);
    // A second lookup of the blob adds holders.
    let second = world.locate();
    world.holds(2, second, Some(4));
    world.holds(1, second, None);
    world.holds(0, second, None);
    for member in [1, 2] {
        assert!(world.handle(GetInput::Read(read_from(member, 7 + u32::from(member)))).is_empty(), "{member}");
    }
}

#[test]
fn a_lookup_that_more_than_f_members_refuse_fails_with_their_reason() {
    let refusal = |stream| Failed::new(stream, Code::NotAdmitted, "no token");
    for (holder, is_refused) in [(None, true), (Some(4), false)] {
        let mut world = GetWorld::locating();
        world.handle(GetInput::Refused(0, refusal(FIRST)));
        let mut out = world.holds(1, FIRST, holder);
        out.extend(world.handle(GetInput::Refused(2, refusal(FIRST))));
        assert_eq!(failures(&out) == [(CLIENT, Code::NotAdmitted)], is_refused, "{out:?}");
    }
}

#[test]
fn an_unreachable_member_fails_the_read() {
    let mut world = GetWorld::found([3]);
    world.handle(GetInput::Read(read_from(3, 5)));
    assert_eq!(failures(&world.handle(GetInput::Room)), [(CLIENT, Code::NotFound)]);
    let mut world = GetWorld::reading(1);
    let out = world.handle(GetInput::NotReading(FIRST));
    assert_eq!((failures(&out), releases(&out)), (vec![(CLIENT, Code::TimedOut)], vec![FIRST]));
}

#[test]
fn reads_wait_for_room_in_order_and_are_bounded() {
    let mut world = GetWorld::found([0]);
    let most = u32::try_from(MAX_READS).unwrap();
    for client in 1..=most {
        assert!(world.handle(GetInput::Read(read_from(0, client))).is_empty());
    }
    world.handle(GetInput::Room);
    let out = world.handle(GetInput::Read(read_from(0, 50)));
    let violation =
        |output: &GetOutput| matches!(output, GetOutput::Violation(failed) if failed.stream == Stream::LINK);
    assert!(out.iter().any(violation), "reads in progress count as well: {out:?}");
    world.handle(GetInput::Room);
    let out = world.handle(GetInput::Bytes { member: 0, stream: Stream(101) });
    let relay = GetAction::Relay { stream: Stream(101), client: Stream(2) };
    assert!(matches!(&out[..], [GetOutput::Action(action)] if *action == relay), "{out:?}");
    assert!(world.handle(GetInput::Read(read_from(0, 50))).is_empty(), "one read was answered");
}

#[test]
fn room_without_a_waiting_read_is_ignored() {
    let mut world = GetWorld::new();
    assert!(!world.gets.wants_room());
    assert!(world.handle(GetInput::Room).is_empty());
    assert!(world.wait(SECOND).is_empty());
}
