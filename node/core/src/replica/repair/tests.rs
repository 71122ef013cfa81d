use std::collections::BTreeSet;
use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, ListFilter, ListPage, ListPosition, ListSource, Stream};
use vouch_core::receipt::{NEVER, Receipt};

use super::lists::MAX_PAGES;
use super::*;
use crate::fixture::{TestCommittee, node_key};
use crate::replica::assigned_blob::AssignedBlob;
use crate::replica::lacking::{ListPositions, MAX_LACKING};

mod fetching;

const SERVER: NodeKey = NodeKey([9; 32]);
const CONFIG: RepairConfig = RepairConfig { every: Duration::from_secs(300), rate: 1000, joins: false };
const WALL: u64 = 1_790_000_000;

/// A replica in a committee of four, with one link.
struct RepairWorld {
    repair: LinkRepair,
    blobs: LackingBlobs,
    committee: Option<Arc<Committee>>,
    now: Duration,
    wall: u64,
    events: Vec<Event>,
    endorsed: Vec<Vec<Digest>>,
    turns_ended: usize,
}

impl RepairWorld {
    fn new() -> Self {
        let mut blobs = LackingBlobs::new(ListPositions::default());
        let link = blobs.begin_link();
        Self {
            repair: LinkRepair::new(node_key(1), SERVER, link, CONFIG),
            blobs,
            committee: Some(TestCommittee::new(4).committee),
            now: Duration::from_secs(1000),
            wall: WALL,
            events: Vec::new(),
            endorsed: Vec::new(),
            turns_ended: 0,
        }
    }

    fn handle(&mut self, input: RepairInput) -> RepairRequest {
        let chain = self.committee.clone().map(CommitteeChain::new);
        let moment = RepairMoment { now: self.now, wall: self.wall, chain: chain.as_ref() };
        let RepairStep { outputs, request } = self.repair.handle(input, &moment, &mut self.blobs);
        for output in outputs {
            match output {
                RepairOutput::Report(event) => self.events.push(event),
                RepairOutput::Endorse(digests) => self.endorsed.push(digests),
                RepairOutput::EndTurn => self.turns_ended += 1,
            }
        }
        request
    }

    /// Begins a round. Returns the first request after the damaged blobs, normally for a list.
    fn begin(&mut self) -> RepairRequest {
        assert!(matches!(self.handle(RepairInput::Elapsed), RepairRequest::FindDamaged));
        self.handle(RepairInput::Damaged { blobs: Vec::new(), orphans: BTreeSet::new() })
    }

    /// Answers list requests with `page`, and pages with `learned`. Returns the first other request.
    fn read_lists(
        &mut self,
        mut request: RepairRequest,
        mut page: impl FnMut(ListSource, ListPosition) -> RepairInput,
        mut learned: impl FnMut() -> Learned,
    ) -> RepairRequest {
        loop {
            request = match request {
                RepairRequest::List { source, from, .. } => self.handle(page(source, from)),
                RepairRequest::Learn(..) => self.handle(RepairInput::Learned(learned())),
                other => return other,
            };
        }
    }

    /// Reads every list to its end without finding a lacking blob, and takes the turn. Returns the next request.
    fn read_empty_lists(&mut self, request: RepairRequest) -> RepairRequest {
        let taking = self.read_lists(request, |_, from| last_page(from), Learned::default);
        assert!(matches!(taking, RepairRequest::TakeTurn), "{taking:?}");
        self.handle(RepairInput::Turn)
    }

    /// A round that finds nothing. Returns its last request, the wait.
    fn idle_round(&mut self) -> RepairRequest {
        let request = self.begin();
        let saving = self.read_empty_lists(request);
        match saving {
            RepairRequest::SavePositions(positions) => self.handle(RepairInput::Saved(positions)),
            other => other,
        }
    }

    fn troubles(&self) -> Vec<&str> {
        let troubles = self.events.iter().filter_map(|event| match event {
            Event::Trouble(what) => Some(what.as_str()),
            _ => None,
        });
        troubles.collect()
    }
}

/// A page with one entry, the last of its list.
fn last_page(from: ListPosition) -> RepairInput {
    page(from, false)
}

fn page(from: ListPosition, more: bool) -> RepairInput {
    let end = ListPosition { list: 1, after: from.after + 1 };
    RepairInput::Page(Ok(ListPage { end, more, certificates: Vec::new() }))
}

fn away() -> RepairInput {
    RepairInput::Page(Err(Failed::new(Stream(1), Code::NotFound, "away")))
}

fn blob(bytes: &[u8], length: u64, expires_at: u64) -> AssignedBlob {
    let receipt = Receipt { salt: [0; 16], digest: Digest::of(bytes), length, expires_at };
    AssignedBlob::new(TestCommittee::new(4).certify_by(WALL, &[receipt], 1..4).remove(0), Some(0))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn assert_waits(request: RepairRequest, expected: Duration) {
    assert!(matches!(request, RepairRequest::Wait(time) if time == expected), "expected {expected:?}, got {request:?}");
}

#[test]
fn a_round_finds_reads_fetches_endorses_saves_and_waits() {
    let mut world = RepairWorld::new();
    let lacking = blob(b"lacking", 500, NEVER);
    let request = world.begin();
    let mut learned = vec![lacking.clone()];
    let learn = || Learned { lacking: std::mem::take(&mut learned), ..Learned::default() };
    let request = world.read_lists(request, |_, from| last_page(from), learn);
    assert!(matches!(request, RepairRequest::TakeTurn));
    assert_eq!(world.blobs.progress(WALL).lacking, Some(1));
    let request = world.handle(RepairInput::Turn);
    assert!(matches!(&request, RepairRequest::Fetch(_, blob) if **blob == lacking), "{request:?}");
    // the rate is 1000 bytes per second
    let request = world.handle(RepairInput::Fetched(BlobSource::Others));
    assert!(matches!(request, RepairRequest::Sleep(time) if time == Duration::from_millis(500)), "{request:?}");
    assert_eq!(world.turns_ended, 0);
    world.now += Duration::from_millis(500);
    let RepairRequest::SavePositions(positions) = world.handle(RepairInput::Elapsed) else { panic!() };
    assert_eq!(positions.lists.len(), 4, "the server's list, and those of three members");
    assert_eq!(world.endorsed, [[Digest::of(b"lacking")]]);
    let waiting = world.handle(RepairInput::Saved(positions));
    assert_eq!(world.turns_ended, 1);
    // the lists are due 300 s after they were read
    assert_waits(waiting, Duration::from_millis(299_500));
    let progress = world.blobs.progress(WALL);
    assert_eq!((progress.lacking, progress.fetched, progress.fetched_bytes), (Some(0), 1, 500));
}

#[test]
fn a_replica_that_is_not_a_member_waits_for_its_committee() {
    let mut world = RepairWorld::new();
    for committee in [None, Some(TestCommittee::of([2, 3, 4]).committee)] {
        world.committee = committee;
        assert!(matches!(world.handle(RepairInput::Elapsed), RepairRequest::AwaitCommittee));
    }
    world.committee = Some(TestCommittee::new(4).committee);
    assert!(matches!(world.handle(RepairInput::CommitteeChanged), RepairRequest::FindDamaged));
}

#[test]
fn the_lists_are_read_again_when_due_or_when_the_server_has_more() {
    let mut world = RepairWorld::new();
    assert_waits(world.idle_round(), seconds(300));
    // after news, only damaged blobs are looked for, a second later
    assert!(matches!(world.handle(RepairInput::Woken), RepairRequest::Sleep(time) if time == seconds(1)));
    assert!(matches!(world.begin(), RepairRequest::TakeTurn));
    assert_waits(world.handle(RepairInput::Turn), seconds(300));
    world.blobs.doubt(1);
    let request = world.begin();
    assert!(matches!(request, RepairRequest::List { .. }));
    let _ = world.read_empty_lists(request);
    let mut world = RepairWorld::new();
    let _ = world.idle_round();
    world.now += seconds(299);
    assert!(matches!(world.begin(), RepairRequest::TakeTurn));
    let _ = world.handle(RepairInput::Turn);
    world.now += seconds(1);
    assert!(matches!(world.begin(), RepairRequest::List { .. }));
}

#[test]
fn lacking_blobs_are_known_after_the_lists_of_the_server_and_of_a_quorum() {
    // `members`: how many of the other three list
    for (server, members, is_known) in [(true, 3, true), (true, 2, true), (true, 1, false), (false, 3, false)] {
        let mut world = RepairWorld::new();
        let request = world.begin();
        let mut read = 0;
        let answer = |source, from| match source {
            ListSource::Own if server => last_page(from),
            ListSource::Member(_) if read < members => {
                read += 1;
                last_page(from)
            }
            _ => away(),
        };
        let request = world.read_lists(request, answer, Learned::default);
        assert!(matches!(request, RepairRequest::TakeTurn));
        assert_eq!(world.blobs.progress(WALL).lacking.is_some(), is_known, "{server} {members}");
        let RepairRequest::SavePositions(positions) = world.handle(RepairInput::Turn) else { panic!() };
        let next = if is_known { seconds(300) } else { seconds(2) };
        assert_waits(world.handle(RepairInput::Saved(positions)), next);
        // an absent member is not reported
        assert_eq!(world.troubles().len(), usize::from(!server));
    }
}

#[test]
fn a_list_continues_at_its_position_and_later_leaves_out_what_this_replica_signed() {
    let mut world = RepairWorld::new();
    let own = world.committee.as_ref().unwrap().record().position(&node_key(1)).unwrap();
    let request = world.begin();
    let (stream, from) = match request {
        RepairRequest::List { stream, source: ListSource::Own, from, filter: ListFilter::All } => (stream, from),
        other => panic!("{other:?}"),
    };
    assert_eq!((stream, from), (Stream(1), ListPosition::default()));
    assert!(matches!(world.handle(page(from, true)), RepairRequest::Learn(..)));
    let request = world.handle(RepairInput::Learned(Learned::default()));
    let RepairRequest::List { stream: Stream(2), source: ListSource::Own, from, filter: ListFilter::All } = request
    else {
        panic!("{request:?}");
    };
    assert_eq!(from, ListPosition { list: 1, after: 1 });
    let sources = std::cell::RefCell::new(Vec::new());
    let answer = |source, from| {
        sources.borrow_mut().push(source);
        last_page(from)
    };
    let request = world.read_lists(request, answer, Learned::default);
    assert!(matches!(request, RepairRequest::TakeTurn));
    let members = (0..4).filter(|member| *member != own).map(ListSource::Member);
    let expected: Vec<_> = [ListSource::Own].into_iter().chain(members).collect();
    assert_eq!(*sources.borrow(), expected, "its own list is not read");
    let _ = world.handle(RepairInput::Turn);
    world.now += seconds(300);
    world.repair.stage = RepairStage::Idle;
    let request = world.begin();
    assert!(
        matches!(request, RepairRequest::List { filter: ListFilter::NotSignedBy(member), .. } if member == own),
        "{request:?}"
    );
}

#[test]
fn a_bad_list_does_not_keep_others_from_being_read() {
    // an endless list
    let mut world = RepairWorld::new();
    let request = world.begin();
    let mut pages = 0;
    let answer = |source, from| {
        pages += usize::from(source == ListSource::Own);
        page(from, source == ListSource::Own)
    };
    let request = world.read_lists(request, answer, Learned::default);
    assert!(matches!(request, RepairRequest::TakeTurn));
    assert_eq!(pages, MAX_PAGES);
    assert_eq!(world.blobs.progress(WALL).lacking, None);
    // a list that does not advance
    let mut world = RepairWorld::new();
    let request = world.begin();
    let answer = |source, from: ListPosition| match source {
        ListSource::Own => RepairInput::Page(Ok(ListPage { end: from, more: true, certificates: Vec::new() })),
        ListSource::Member(_) => last_page(from),
    };
    assert!(matches!(world.read_lists(request, answer, Learned::default), RepairRequest::TakeTurn));
    assert!(world.troubles()[0].starts_with("the server lists: expected entries after 0"), "{:?}", world.troubles());
    // a list of garbage: its page does not count, and no further page is requested
    let mut world = RepairWorld::new();
    let request = world.begin();
    let (mut pages, mut learned) = (0, 0);
    let answer = |source, from| {
        pages += usize::from(source == ListSource::Own);
        page(from, source == ListSource::Own)
    };
    let learn = || {
        learned += 1;
        let is_garbage = learned == 1;
        Learned { invalid: is_garbage.then(|| "a bad signature".into()), is_garbage, ..Learned::default() }
    };
    assert!(matches!(world.read_lists(request, answer, learn), RepairRequest::TakeTurn));
    assert_eq!(pages, 1);
    assert_eq!(world.blobs.position(&SERVER), (ListPosition::default(), false));
    assert_eq!(
        world.troubles(),
        [
            "the server lists a certificate that is INVALID: a bad signature",
            "the server lists too many certificates that are INVALID",
        ]
    );
    // no list is read while too many blobs are lacking
    let mut world = RepairWorld::new();
    let request = world.begin();
    let first = blob(b"one", 1, NEVER);
    let many = |number: usize| {
        let mut blob = first.clone();
        blob.certificate.claim.receipt.digest = Digest::of(&number.to_le_bytes());
        blob
    };
    let mut asked = 0;
    let answer = |_, from| {
        asked += 1;
        last_page(from)
    };
    let learn = || Learned { lacking: (0..MAX_LACKING).map(many).collect(), ..Learned::default() };
    assert!(matches!(world.read_lists(request, answer, learn), RepairRequest::TakeTurn));
    assert_eq!(asked, 1);
}
