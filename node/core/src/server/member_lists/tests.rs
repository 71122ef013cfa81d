//! Reading the members' lists and notifying members.

use std::time::Duration;

use vouch_core::certificate::{Certificate, Signers};
use vouch_core::message::{Code, Failed, ListFilter, ListPage, ListPosition, Message, Stream};

use super::notices::NOTICE;
use super::page_request::PAGE_DEADLINE;
use super::reading::{FIRST_PAUSE, LONGEST_PAUSE, READ_EVERY};
use super::*;
use crate::fixture::{certificate, node_key};

const MS: Duration = Duration::from_millis(1);
const START: Duration = Duration::from_secs(100);

fn link(member: u16, number: u64) -> LinkId {
    LinkId { node_key: node_key(u8::try_from(member).unwrap() + 1), number }
}

fn links(members: impl IntoIterator<Item = u16>) -> BTreeMap<u16, LinkId> {
    members.into_iter().map(|member| (member, link(member, 1))).collect()
}

fn position(after: u64) -> ListPosition {
    ListPosition { list: 5, after }
}

fn page(end: u64, more: bool, certificates: usize) -> ListPage {
    let certificates = (0..certificates).map(|number| certificate(&number.to_string(), 10)).collect();
    ListPage { end: position(end), more, certificates }
}

/// Reads one list.
struct ReadingWorld(MemberLists);

impl ReadingWorld {
    fn new() -> Self {
        let mut lists = MemberLists::default();
        lists.begin(link(0, 1));
        Self(lists)
    }

    fn give(&mut self, input: ListInput) -> Vec<ListOutput> {
        self.0.handle(&link(0, 1), input)
    }

    /// One whose list was read to its end.
    fn read() -> Self {
        let mut world = Self::new();
        world.give(ListInput::Due);
        world.give(ListInput::Page { from: position(0), page: page(0, false, 0) });
        assert!(world.is_complete());
        world
    }

    fn is_complete(&self) -> bool {
        self.0.are_complete(links([0]).values(), 1)
    }
}

#[test]
fn the_first_reading_takes_everything_page_by_page_and_later_ones_skip_what_the_server_made() {
    let mut world = ReadingWorld::new();
    assert_eq!(world.give(ListInput::Due), [ListOutput::ReadPage(ListFilter::All)]);
    let out = world.give(ListInput::Page { from: position(0), page: page(3, true, 3) });
    assert_eq!(out, [ListOutput::Keep { page: page(3, true, 3), notify: false }], "replicas read the lists themselves");
    assert_eq!(world.give(ListInput::Kept(2)), [ListOutput::ReadPage(ListFilter::All)], "at once");
    assert!(!world.is_complete());
    let out = world.give(ListInput::Page { from: position(3), page: page(4, false, 1) });
    assert_eq!(out, [ListOutput::Keep { page: page(4, false, 1), notify: false }]);
    assert_eq!(world.give(ListInput::Kept(1)), [ListOutput::Learned(3), ListOutput::Pause(READ_EVERY)]);
    assert!(world.is_complete());
    assert_eq!(world.give(ListInput::Due), [ListOutput::ReadPage(ListFilter::NotFromAsker)]);
    let out = world.give(ListInput::Page { from: position(4), page: page(5, false, 1) });
    assert_eq!(out, [ListOutput::Keep { page: page(5, false, 1), notify: true }], "put through another server");
    assert_eq!(world.give(ListInput::Kept(1)), [ListOutput::Pause(READ_EVERY)], "only the first reading is reported");
}

#[test]
fn a_page_without_news_is_not_kept() {
    let mut world = ReadingWorld::new();
    world.give(ListInput::Due);
    let out = world.give(ListInput::Page { from: position(3), page: page(3, false, 0) });
    assert_eq!(out, [ListOutput::Pause(READ_EVERY)]);
    assert!(world.is_complete());
    // The position is news: the list's owner left the entries out, by the filter.
    let out = world.give(ListInput::Page { from: position(3), page: page(9, false, 0) });
    assert_eq!(out, [ListOutput::Keep { page: page(9, false, 0), notify: true }]);
}

#[test]
fn a_page_that_promises_more_without_advancing_ends_the_reading() {
    let mut world = ReadingWorld::new();
    world.give(ListInput::Due);
    let out = world.give(ListInput::Page { from: position(3), page: page(3, true, 1) });
    let why = "expected entries after 3, got some up to 3".to_owned();
    assert_eq!(out, [ListOutput::Failing(why), ListOutput::Pause(FIRST_PAUSE)]);
    assert!(!world.is_complete());
    assert_eq!(world.give(ListInput::Due), [ListOutput::ReadPage(ListFilter::All)]);
}

#[test]
fn pauses_after_failures_double_and_only_the_first_failure_is_reported() {
    let mut world = ReadingWorld::new();
    let mut fail = || {
        world.give(ListInput::Due);
        world.give(ListInput::Failed("why".into()))
    };
    assert_eq!(fail(), [ListOutput::Failing("why".into()), ListOutput::Pause(FIRST_PAUSE)]);
    assert_eq!(fail(), [ListOutput::Pause(2 * FIRST_PAUSE)]);
    for _ in 0..8 {
        fail();
    }
    assert_eq!(fail(), [ListOutput::Pause(LONGEST_PAUSE)]);
    world.give(ListInput::Due);
    world.give(ListInput::Page { from: position(0), page: page(0, false, 0) });
    world.give(ListInput::Due);
    let out = world.give(ListInput::Failed("again".into()));
    assert_eq!(
        out,
        [ListOutput::Failing("again".into()), ListOutput::Pause(FIRST_PAUSE)],
        "a success ends the backoff"
    );
}

#[test]
fn a_member_without_room_for_a_notice_is_told_that_it_missed_certificates() {
    let mut world = ReadingWorld::read();
    let read_page = || ListOutput::ReadPage(ListFilter::NotFromAsker);
    assert_eq!(world.give(ListInput::NoticeUnsent), []);
    assert_eq!(world.give(ListInput::Due), [ListOutput::SendMissed, read_page()]);
    world.give(ListInput::NoticeUnsent);
    world.give(ListInput::Page { from: position(0), page: page(3, true, 1) });
    assert_eq!(world.give(ListInput::Kept(1)), [ListOutput::SendMissed, read_page()], "still no room: tell it again");
    world.give(ListInput::Page { from: position(3), page: page(3, false, 0) });
    assert_eq!(world.give(ListInput::Due), [read_page()], "it was told");
}

#[test]
fn certificates_are_known_once_the_lists_of_a_quorum_of_the_connected_members_were_read() {
    let mut lists = MemberLists::default();
    for member in 0..4 {
        lists.begin(link(member, 1));
    }
    let read = |lists: &mut MemberLists, link| {
        lists.handle(&link, ListInput::Due);
        lists.handle(&link, ListInput::Page { from: position(0), page: page(0, false, 0) });
    };
    for member in 0..2 {
        read(&mut lists, link(member, 1));
    }
    assert!(!lists.are_complete(links(0..4).values(), 3));
    read(&mut lists, link(2, 1));
    assert!(lists.are_complete(links(0..4).values(), 3));
    assert!(!lists.are_complete(links(1..4).values(), 3), "member 0 is not connected");
    lists.begin(link(2, 2));
    let mut connected = links(0..4);
    connected.insert(2, link(2, 2));
    assert!(!lists.are_complete(connected.values(), 3), "not read on its new link");
    lists.end(&link(2, 1));
    read(&mut lists, link(2, 2));
    assert!(lists.are_complete(connected.values(), 3), "the end of the older link ends no newer one");
    lists.end(&link(2, 2));
    assert!(!lists.are_complete(connected.values(), 3));
    assert_eq!(lists.handle(&link(2, 2), ListInput::NoticeUnsent), [], "the link has ended");
}

fn signed_by(signers: impl IntoIterator<Item = u16>) -> Certificate {
    Certificate { signers: Signers::new(8, signers).unwrap(), ..certificate("blob", 10) }
}

#[test]
fn connected_members_that_neither_signed_nor_know_are_notified() {
    let certificates = [signed_by(0..3), signed_by(0..3), signed_by(1..4)];
    let connected = [0, 1, 3, 4, 5].into();
    let expected =
        [Notice { members: vec![3, 5], certificates: 0..2 }, Notice { members: vec![0, 5], certificates: 2..3 }];
    assert_eq!(notices(&certificates, 0, &[4], &connected), expected);
    assert_eq!(notices(&certificates[..2], 0, &[3, 4, 5], &connected), [], "nobody lacks them");
    let members = |notices: Vec<Notice>| {
        notices.into_iter().flat_map(|notice| notice.members).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(members(notices(&certificates[..2], 1, &[], &connected)), connected, "the signers were other members");
    assert_eq!(notices(&[], 0, &[], &connected), []);
}

#[test]
fn notices_are_bounded_in_size() {
    let one = signed_by(0..3);
    let most = NOTICE / one.encode().len();
    let certificates = vec![one; 2 * most + 1];
    let connected = (0..4).collect();
    let pages: Vec<_> =
        notices(&certificates, 0, &[], &connected).into_iter().map(|notice| notice.certificates).collect();
    assert_eq!(pages, [0..most, most..2 * most, 2 * most..2 * most + 1]);
}

const REQUEST: Stream = Stream(9);

fn page_request() -> PageRequest {
    PageRequest::new(REQUEST, 1, &links(0..3), START).unwrap()
}

fn code(ended: Option<Result<ListPage, Failed>>) -> Option<(Code, Stream, Vec<u16>)> {
    ended.map(|ended| ended.unwrap_err()).map(|failed| (failed.code, failed.stream, failed.subjects))
}

#[test]
fn only_the_asked_member_answers_a_request_for_a_page() {
    let listed = || Message::Listed { stream: REQUEST, page: page(3, false, 1) };
    let mut request = page_request();
    let answer = |member| PageRequestInput::of_reply(member, listed()).unwrap();
    assert_eq!(request.handle(answer(2), START), None);
    assert_eq!(request.handle(answer(1), START), Some(Ok(page(3, false, 1))));
    let refusal = Failed::new(REQUEST, Code::Storage, "no disk");
    let refused = |member| PageRequestInput::of_reply(member, Message::Failed(refusal.clone())).unwrap();
    assert_eq!(request.handle(refused(0), START), None);
    assert_eq!(request.handle(refused(1), START), Some(Err(refusal.clone())));
    assert!(PageRequestInput::of_reply(1, Message::Stored { stream: REQUEST }).is_none());
}

#[test]
fn a_request_for_a_page_ends_with_the_members_link() {
    let gone = Some((Code::NotFound, REQUEST, vec![1]));
    let not_connected = PageRequest::new(REQUEST, 7, &links(0..3), START).map(drop);
    assert_eq!(not_connected.unwrap_err().code, Code::NotFound);
    let mut request = page_request();
    assert_eq!(request.handle(PageRequestInput::Connected(links(1..2)), START), None, "it stays");
    assert_eq!(code(request.handle(PageRequestInput::Connected(links([0, 2])), START)), gone);
    let reconnected = [(1, link(1, 2))].into();
    assert_eq!(
        code(request.handle(PageRequestInput::Connected(reconnected), START)),
        gone,
        "it does not know the request"
    );
    let busy = code(request.handle(PageRequestInput::Unsent, START));
    assert_eq!(busy, Some((Code::Busy, REQUEST, vec![1])));
}

#[test]
fn a_request_for_a_page_ends_after_ten_seconds() {
    let mut request = page_request();
    assert_eq!(request.next_tick(), START + Duration::from_secs(10));
    assert_eq!(request.handle(PageRequestInput::Tick, START + PAGE_DEADLINE - MS), None);
    let late = code(request.handle(PageRequestInput::Tick, START + PAGE_DEADLINE));
    assert_eq!(late, Some((Code::TimedOut, REQUEST, vec![1])));
}
