//! The puts of one link, under a clock of the test's.

use std::collections::BTreeSet;
use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::receipt::{NEVER, Receipt};

use super::*;
use crate::fixture::{TestCommittee, node_key};
use crate::server::admission::Admission;
use crate::server::put::{Deadlines, Forwarded};

const SECOND: Duration = Duration::from_secs(1);
const RATE: UploadRate = UploadRate { bytes_per_second: 1000, window: Duration::from_secs(30) };
/// Long deadlines, so that only the upload rate ends puts.
const LONG: Duration = Duration::from_secs(86_400);
const POLICY: PutPolicy = PutPolicy {
    quorum_wait: Duration::from_secs(3),
    client_silence: LONG,
    deadlines: Deadlines { storing: LONG, voting: LONG },
    needs_tokens: false,
};

fn receipt(length: u64) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(b"blob"), length, expires_at: NEVER }
}

fn stream_put() -> PutRequest {
    PutRequest { offer: None, renew: false, authorisation: None, whole: None }
}

struct LinkPutsWorld {
    committee: Arc<Committee>,
    puts: LinkPuts,
    context: PutContext,
    is_admitted: bool,
    /// Messages to the client since the last call of [`failures`](Self::failures).
    sent: Vec<Message>,
    performed: Vec<(Stream, PutAction)>,
    over: Vec<Stream>,
    violation: Option<Failed>,
    /// The time that members take for a message with bytes.
    forwarding: Duration,
}

impl LinkPutsWorld {
    fn new() -> Self {
        let committee = TestCommittee::new(1).committee;
        let puts = LinkPuts::new(POLICY, RATE, StreamNumbers::from(100));
        let context = PutContext { now: Duration::from_secs(100), ..PutContext::default() };
        let (sent, performed, over) = (Vec::new(), Vec::new(), Vec::new());
        let (is_admitted, violation, forwarding) = (true, None, Duration::ZERO);
        Self { committee, puts, context, is_admitted, sent, performed, over, violation, forwarding }
    }

    /// A link with one put of a stream for each of these numbers; their clients may send bytes.
    fn with(clients: impl IntoIterator<Item = u32>) -> Self {
        let mut world = Self::new();
        for client in clients {
            world.begin(client);
        }
        world
    }

    fn begin(&mut self, client: u32) {
        self.handle(LinkPutsInput::Begin(Stream(client), stream_put()));
    }

    fn chunk(&mut self, client: u32, offset: u64, length: u64) {
        self.handle(LinkPutsInput::Chunk { client: Stream(client), offset, length, parents: 0 });
    }

    /// Handles an input, and completes the resulting requests as a shell does.
    fn handle(&mut self, input: LinkPutsInput) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            for output in self.puts.handle(inputs.remove(0), &self.context) {
                match output {
                    LinkPutsOutput::Send(message) => self.sent.push(message),
                    LinkPutsOutput::Hint(_) => {}
                    LinkPutsOutput::Perform(stream, action) => {
                        inputs.extend(self.complete(&action).map(|input| LinkPutsInput::OfServer(stream, input)));
                        self.performed.push((stream, action));
                    }
                    LinkPutsOutput::Over(stream, _) => self.over.push(stream),
                    LinkPutsOutput::Violation(failed) => self.violation = Some(failed),
                }
            }
        }
    }

    fn complete(&mut self, action: &PutAction) -> Option<PutInput> {
        match action {
            PutAction::ClaimPlace => Some(PutInput::Claimed(true)),
            PutAction::FindCommittee => Some(PutInput::Committee(Ok(self.committee.clone()))),
            PutAction::AskAdmission { .. } if !self.is_admitted => Some(PutInput::Admission(Admission::Wait)),
            PutAction::AskAdmission { .. } => {
                let members = [(0, LinkId { node_key: node_key(1), number: 1 })].into();
                Some(PutInput::Admission(Admission::Begin { members, left_out: BTreeSet::new() }))
            }
            PutAction::FindEarlier(_) => Some(PutInput::Earlier(None)),
            PutAction::ForwardBytes(_) => {
                self.context.now += self.forwarding;
                Some(PutInput::Forwarded(Forwarded::default()))
            }
            PutAction::ForwardPut { .. } | PutAction::ForwardEnd(..) => Some(PutInput::Forwarded(Forwarded::default())),
            _ => None,
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.context.now += duration;
        self.handle(LinkPutsInput::Tick);
    }

    /// The failures sent to the client since the last call.
    fn failures(&mut self) -> Vec<(u32, Code)> {
        let failed = |message: Message| match message {
            Message::Failed(failed) => Some((failed.stream.0, failed.code)),
            _ => None,
        };
        self.sent.drain(..).filter_map(failed).collect()
    }

    fn violation(&mut self) -> Option<Code> {
        self.violation.take().map(|failed| {
            assert_eq!(failed.stream, Stream::LINK);
            failed.code
        })
    }
}

#[test]
fn answers_have_the_clients_number_and_actions_the_servers() {
    let mut world = LinkPutsWorld::with([7, 3]);
    assert_eq!(world.sent, [7, 3].map(|client| Message::Ready { stream: Stream(client), offset: 0 }));
    assert!(world.puts.has(Stream(100)) && world.puts.has(Stream(101)) && !world.puts.has(Stream(7)));
    world.chunk(3, 0, 5);
    assert!(matches!(world.performed.last(), Some((Stream(101), PutAction::NoteProgress))), "{:?}", world.performed);
    let failed = Failed::new(Stream(100), Code::NoSpace, "full");
    world.handle(LinkPutsInput::OfServer(Stream(100), PutInput::Failed(0, failed)));
    assert_eq!((world.failures(), world.over.as_slice()), (vec![(7, Code::NoSpace)], &[Stream(100)][..]));
    assert!(world.puts.is_active());
}

#[test]
fn a_server_that_shuts_down_finishes_its_puts_and_begins_no_other() {
    let mut world = LinkPutsWorld::with([1]);
    world.handle(LinkPutsInput::ShutDown);
    world.begin(2);
    assert_eq!(world.failures(), [(2, Code::ShuttingDown)]);
    // bytes of the refused put may be on their way
    world.chunk(2, 0, 1);
    world.chunk(1, 0, 5);
    assert_eq!(world.violation(), None);
    assert!(matches!(world.performed.last(), Some((Stream(100), PutAction::NoteProgress))), "{:?}", world.performed);
    assert!(world.puts.is_active());
}

#[test]
fn puts_on_a_link_are_bounded_and_the_next_is_busy() {
    let most = u32::try_from(MAX_PUTS).unwrap();
    let mut world = LinkPutsWorld::with(1..=most);
    assert!(world.failures().is_empty());
    world.begin(1000);
    assert_eq!(world.failures(), [(1000, Code::Busy)]);
    // bytes of the refused put may be on their way
    world.chunk(1000, 0, 1);
    assert_eq!(world.violation(), None);
    world.handle(LinkPutsInput::OfClient(Stream(1), PutInput::GiveUp { keep: true }));
    world.sent.clear();
    world.begin(1001);
    assert_eq!(world.sent, [Message::Ready { stream: Stream(1001), offset: 0 }]);
}

#[test]
fn a_stream_number_in_use_is_refused() {
    let mut world = LinkPutsWorld::with([7]);
    world.begin(7);
    assert_eq!(world.violation(), Some(Code::Unexpected));
    world.handle(LinkPutsInput::OfClient(Stream(7), PutInput::GiveUp { keep: true }));
    world.begin(7);
    assert_eq!(world.violation(), None, "the first put has ended");
}

#[test]
fn messages_are_ignored_for_ended_puts_and_refused_for_unknown_ones() {
    let mut world = LinkPutsWorld::with([7]);
    world.chunk(8, 0, 1);
    assert_eq!(world.violation(), Some(Code::Unexpected));
    world.handle(LinkPutsInput::OfClient(Stream(8), PutInput::End(receipt(1), None)));
    assert_eq!(world.violation(), Some(Code::Unexpected));
    world.handle(LinkPutsInput::OfClient(Stream(7), PutInput::GiveUp { keep: true }));
    for client in 1000..1000 + u32::try_from(REMEMBERED).unwrap() - 1 {
        world.begin(client);
        world.handle(LinkPutsInput::OfClient(Stream(client), PutInput::GiveUp { keep: true }));
    }
    world.sent.clear();
    world.chunk(7, 0, 1);
    world.handle(LinkPutsInput::OfClient(Stream(7), PutInput::GiveUp { keep: true }));
    assert_eq!((world.violation(), world.failures()), (None, vec![]), "the put has ended");
    world.begin(1);
    world.handle(LinkPutsInput::OfClient(Stream(1), PutInput::GiveUp { keep: true }));
    world.chunk(7, 0, 1);
    assert_eq!(world.violation(), Some(Code::Unexpected), "memory is bounded");
}

#[test]
fn a_cancelled_put_ends_at_the_members_then_at_the_client() {
    for keep in [true, false] {
        let mut world = LinkPutsWorld::with([7]);
        world.sent.clear();
        world.handle(LinkPutsInput::OfClient(Stream(7), PutInput::GiveUp { keep }));
        let last = world.performed.last();
        assert!(matches!(last, Some((_, PutAction::Cancel { keep: kept })) if *kept == keep), "{last:?}");
        assert_eq!((world.failures(), world.over.len()), (vec![(7, Code::Cancelled)], 1));
    }
}

#[test]
fn only_chunks_of_an_offered_blob_have_proofs() {
    let mut world = LinkPutsWorld::with([7]);
    world.handle(LinkPutsInput::Begin(
        Stream(8),
        PutRequest { offer: Some(receipt(4)), renew: false, authorisation: None, whole: None },
    ));
    world.handle(LinkPutsInput::OfServer(Stream(101), PutInput::Ready(0, 0)));
    world.handle(LinkPutsInput::Chunk { client: Stream(8), offset: 0, length: 4, parents: 2 });
    assert_eq!((world.violation(), world.failures()), (None, vec![]));
    world.handle(LinkPutsInput::Chunk { client: Stream(7), offset: 0, length: 4, parents: 2 });
    assert_eq!(world.violation(), Some(Code::Unexpected));
}

#[test]
fn the_link_is_not_read_while_a_put_waits_to_begin() {
    let mut world = LinkPutsWorld::with([7]);
    assert!(world.puts.takes_messages());
    world.is_admitted = false;
    world.begin(8);
    assert!(!world.puts.takes_messages());
    world.is_admitted = true;
    world.handle(LinkPutsInput::Connected(BTreeMap::new()));
    assert!(world.puts.takes_messages());
}

#[test]
fn a_put_below_the_minimum_rate_ends() {
    let mut world = LinkPutsWorld::with([7]);
    world.sent.clear();
    world.chunk(7, 0, 30_000);
    world.wait(RATE.window - SECOND);
    world.wait(SECOND);
    assert!(world.failures().is_empty(), "only the average counts");
    // bytes before the window do not count
    world.chunk(7, 30_000, 29_999);
    world.wait(RATE.window - SECOND);
    assert!(world.failures().is_empty(), "the put can still catch up");
    world.wait(SECOND);
    let Some(Message::Failed(failed)) = world.sent.first() else { panic!("{:?}", world.sent) };
    assert_eq!(failed.detail, "expected at least 1000 bytes a second, got 29999 in 30.0 s");
    assert_eq!(world.failures(), [(7, Code::TimedOut)]);
}

#[test]
fn the_puts_of_a_link_share_the_rate() {
    let mut world = LinkPutsWorld::with([7, 8, 9]);
    world.sent.clear();
    for (client, bytes) in [(7, 10_000), (8, 9_989), (9, 10_000)] {
        world.chunk(client, 0, bytes);
    }
    world.wait(RATE.window);
    assert_eq!(world.failures(), [(8, Code::TimedOut)]);
    // a put that owes no bytes has no share
    world.handle(LinkPutsInput::OfClient(Stream(9), PutInput::End(receipt(10_000), None)));
    world.chunk(7, 10_000, 10_000);
    world.wait(RATE.window);
    assert_eq!(world.failures(), [(7, Code::TimedOut)]);
}

#[test]
fn the_rate_does_not_count_while_members_have_no_room() {
    let mut world = LinkPutsWorld::with([7, 8]);
    world.sent.clear();
    world.forwarding = RATE.window;
    world.chunk(7, 0, 1);
    world.wait(RATE.window - SECOND);
    assert!(world.failures().is_empty());
    world.wait(SECOND);
    assert_eq!(world.failures(), [(7, Code::TimedOut), (8, Code::TimedOut)]);
}

#[test]
fn the_window_begins_with_ready() {
    let mut world = LinkPutsWorld::with([7]);
    let offered = PutRequest { offer: Some(receipt(1 << 20)), renew: false, authorisation: None, whole: None };
    world.handle(LinkPutsInput::Begin(Stream(8), offered));
    // time for which the link was blocked before does not count either
    world.forwarding = 2 * RATE.window;
    world.chunk(7, 0, 1 << 20);
    world.context.now += 10 * SECOND;
    world.handle(LinkPutsInput::OfServer(Stream(101), PutInput::Ready(0, 0)));
    world.sent.clear();
    world.wait(RATE.window - SECOND);
    assert!(world.failures().is_empty());
    world.wait(SECOND);
    assert_eq!(world.failures(), [(8, Code::TimedOut)]);
}

#[test]
fn the_end_of_a_link_cancels_only_its_own_puts() {
    let mut world = LinkPutsWorld::with([7, 8]);
    world.sent.clear();
    world.handle(LinkPutsInput::LinkEnded);
    assert_eq!(world.over, [Stream(100), Stream(101)]);
    let cancelled = world.performed.iter().filter(|(_, action)| matches!(action, PutAction::Cancel { keep: true }));
    assert_eq!(cancelled.count(), 2);
    assert!(world.sent.is_empty() && !world.puts.is_active());
}
