use std::sync::Arc;

use bytes::Bytes;
use vouch_core::bls::VoteSignature;
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::{ListFilter, ListPosition, ReplicaStatus};
use vouch_core::placement::Assignment;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::Batch;
use vouch_core::tally::Tally;

use super::*;
use crate::fixture::{TestCommittee, node_key};
use crate::replica::incoming::IncomingResult;
use crate::replica::voting;

const NOW: u64 = 1_790_000_000;

/// Stands for the proof that a statement is in the journal.
#[derive(Debug, PartialEq, Eq)]
struct JournalProof;

/// A link of a replica that is the only member of its committee.
struct LinkWorld {
    link: ReplicaLink<JournalProof>,
    fixture: TestCommittee,
    committee: Option<Arc<Committee>>,
    wall: u64,
    doubt: Option<&'static str>,
    stops_at: Option<u64>,
}

impl LinkWorld {
    fn new() -> Self {
        let fixture = TestCommittee::new(1);
        let committee = Some(fixture.committee.clone());
        Self { link: ReplicaLink::new(node_key(1), 8), fixture, committee, wall: NOW, doubt: None, stops_at: None }
    }

    fn handle(&mut self, input: Input<JournalProof>) -> Vec<Output<JournalProof>> {
        let chain = self.committee.clone().map(CommitteeChain::new);
        let moment =
            Moment { wall: self.wall, clock_doubt: self.doubt, chain: chain.as_ref(), stops_at: self.stops_at };
        self.link.handle(input, &moment)
    }

    fn receive(&mut self, message: Message) -> Vec<Output<JournalProof>> {
        self.handle(Input::Message(message))
    }

    fn done(&mut self, number: u64, completion: Completion<JournalProof>) -> Vec<Output<JournalProof>> {
        self.handle(Input::Done(number, completion))
    }

    /// The server proposes one blob under stream number 7.
    fn propose(&mut self, receipt: Receipt) -> Vec<Output<JournalProof>> {
        self.receive(Message::Propose { stream: Stream(7), issued_at: NOW, receipts: vec![receipt] })
    }

    fn vote(&self, receipt: Receipt) -> VoteSignature {
        voting::statement(self.committee.as_ref().unwrap(), NOW, &[receipt]).unwrap().sign(&self.fixture.votes[0])
    }
}

fn receipt() -> Receipt {
    Receipt { salt: [0; 16], digest: Digest::of(b"blob"), length: 4, expires_at: NEVER }
}

/// What the replica of the tests must hold for [`receipt`].
fn assignment() -> Assignment {
    receipt().assignment(Some(0))
}

fn confirmed() -> Completion<JournalProof> {
    Completion::Confirmed { lacking: Vec::new(), damaged: Vec::new() }
}

fn disk_failed() -> Completion<JournalProof> {
    Completion::Failed(Code::Storage, "the disk".into())
}

/// The only request among the outputs.
fn request(outputs: Vec<Output<JournalProof>>) -> (u64, Request<JournalProof>) {
    let mut requests = outputs.into_iter().filter_map(|output| match output {
        Output::Request(number, request) => Some((number, request)),
        _ => None,
    });
    let first = requests.next().unwrap();
    assert!(requests.next().is_none());
    first
}

/// The refusal of a vote. It must be reported, and no further request may follow.
fn refusal(outputs: Vec<Output<JournalProof>>) -> Failed {
    assert!(outputs.iter().any(|output| matches!(output, Output::RefusedVote(_))), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Request(..))), "{outputs:?}");
    let sent = outputs.into_iter().find_map(|output| match output {
        Output::Send(Message::Failed(failed)) => Some(failed),
        _ => None,
    });
    sent.unwrap()
}

#[test]
fn a_vote_is_confirmed_then_promised_then_signed() {
    let mut world = LinkWorld::new();
    let (number, asked) = request(world.propose(receipt()));
    assert!(matches!(asked, Request::Confirm(assignments) if assignments == [assignment()]));
    let (number, asked) = request(world.done(number, confirmed()));
    let Request::Promise(_, proposal, assignments) = asked else { panic!("{asked:?}") };
    assert_eq!((&proposal.receipts[..], &assignments[..]), (&[receipt()][..], &[assignment()][..]));
    let (number, asked) = request(world.done(number, Completion::Promised(JournalProof)));
    assert!(matches!(asked, Request::Sign(JournalProof)));
    let signature = world.vote(receipt());
    let outputs = world.done(number, Completion::Signed(signature));
    let Ok([voted, sent]) = <[_; 2]>::try_from(outputs) else { panic!("expected two outputs") };
    assert!(matches!(voted, Output::Voted(proposal) if *proposal.receipts == [receipt()]));
    assert!(matches!(sent, Output::Send(message) if message == Message::Vote { stream: Stream(7), signature }));
}

#[test]
fn a_step_that_fails_ends_the_vote() {
    // confirming the bytes fails
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    assert_eq!(refusal(world.done(number, disk_failed())).code, Code::Storage);
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    let lacking = Completion::Confirmed { lacking: vec![0], damaged: vec![(receipt().digest, "a byte".into())] };
    let outputs = world.done(number, lacking);
    assert!(matches!(&outputs[0], Output::Damaged(digest, _) if *digest == receipt().digest));
    let refused = refusal(outputs);
    assert_eq!((refused.code, &refused.subjects[..]), (Code::NotHeld, &[0][..]));
    // a completion of another kind counts as a failure
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    assert_eq!(refusal(world.done(number, Completion::Finished)).code, Code::Storage);
    // recording the duty fails
    for (completion, code) in [(Completion::Lacking(vec![0]), Code::NotHeld), (disk_failed(), Code::Storage)] {
        let mut world = LinkWorld::new();
        let (number, _) = request(world.propose(receipt()));
        let (number, _) = request(world.done(number, confirmed()));
        assert_eq!(refusal(world.done(number, completion)).code, code);
    }
    // a second completion, or one without a request, is ignored
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    let _ = request(world.done(number, confirmed()));
    assert!(world.done(number, confirmed()).is_empty());
    assert!(world.done(99, Completion::Promised(JournalProof)).is_empty());
}

#[test]
fn a_batch_that_becomes_too_old_during_a_step_is_refused() {
    // confirming took 61 s
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    world.wall += 61;
    let refused = refusal(world.done(number, confirmed()));
    assert_eq!(refused.code, Code::TimedOut);
    assert!(refused.detail.contains("voting closes 1 min after"), "{refused}");
    // recording the duty took too long
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(receipt()));
    world.wall += 60;
    let (number, _) = request(world.done(number, confirmed()));
    world.wall += 1;
    assert_eq!(refusal(world.done(number, Completion::Promised(JournalProof))).code, Code::TimedOut);
    // the receipt expired meanwhile
    let mut world = LinkWorld::new();
    let (number, _) = request(world.propose(Receipt { expires_at: NOW + 30, ..receipt() }));
    world.wall += 30;
    let refused = refusal(world.done(number, confirmed()));
    assert_eq!((refused.code, &refused.subjects[..]), (Code::Expired, &[0][..]));
}

#[test]
fn a_replica_that_promised_to_stop_signs_nothing_later() {
    let mut world = LinkWorld::new();
    world.stops_at = Some(NOW);
    let (number, _) = request(world.propose(receipt()));
    request(world.done(number, confirmed()));
    for steps in 0..2 {
        let mut world = LinkWorld::new();
        if steps == 0 {
            world.stops_at = Some(NOW - 1);
            assert_eq!(refusal(world.propose(receipt())).code, Code::NewEpoch);
            continue;
        }
        let (number, _) = request(world.propose(receipt()));
        world.stops_at = Some(NOW - 1);
        assert_eq!(refusal(world.done(number, confirmed())).code, Code::NewEpoch, "the promise came in between");
    }
}

#[test]
fn a_doubt_about_the_clock_stops_a_vote_at_every_step() {
    let steps: [fn(&mut LinkWorld) -> u64; 2] = [
        |world| request(world.propose(receipt())).0,
        |world| {
            let number = request(world.propose(receipt())).0;
            request(world.done(number, confirmed())).0
        },
    ];
    for (step, completion) in steps.into_iter().zip([confirmed(), Completion::Promised(JournalProof)]) {
        let mut world = LinkWorld::new();
        let number = step(&mut world);
        world.doubt = Some("it was set back by 1 h");
        let outputs = world.done(number, completion);
        // the beginning of the doubt was reported already
        assert!(!outputs.iter().any(|output| matches!(output, Output::Report(_))));
        assert_eq!(refusal(outputs).code, Code::ClockInDoubt);
    }
    let mut world = LinkWorld::new();
    world.doubt = Some("it was set back by 1 h");
    assert_eq!(refusal(world.propose(receipt())).code, Code::ClockInDoubt);
    world.doubt = None;
    world.wall += 61;
    assert_eq!(refusal(world.propose(receipt())).code, Code::Clock);
    world.committee = None;
    assert_eq!(refusal(world.propose(receipt())).code, Code::NoCommittee);
}

#[test]
fn reads_are_answered_in_order_and_their_queue_is_bounded() {
    let mut world = LinkWorld::new();
    let read = |number| Read { stream: Stream(number), member: 0, digest: receipt().digest, offset: 0, length: 4 };
    let (first, asked) = request(world.receive(Message::Read(read(1))));
    assert!(matches!(asked, Request::Read(asked) if asked == read(1)));
    let (second, asked) = request(world.receive(Message::Read(read(2))));
    assert!(matches!(asked, Request::Read(asked) if asked == read(2)));
    for number in 3..=258 {
        assert!(world.receive(Message::Read(read(number))).is_empty());
    }
    let refused = world.receive(Message::Read(read(259)));
    assert!(refused.iter().any(|output| matches!(
        output,
        Output::Send(Message::Failed(failed)) if (failed.stream, failed.code) == (Stream(259), Code::Busy)
    )));
    assert!(!world.link.is_full(), "waiting reads do not stop the link");
    // a failed read is answered too, after the earlier read; no third read begins meanwhile
    assert!(world.done(second, Completion::Failed(Code::NotFound, "gone".into())).is_empty());
    let mut outputs = world.done(first, Completion::Slice(Bytes::from_static(b"blob"), Vec::new()));
    assert!(matches!(outputs.remove(0), Output::SendData(Message::Chunk { stream: Stream(1), offset: 0, .. })));
    assert!(matches!(
        outputs.remove(0),
        Output::SendData(Message::Failed(failed)) if (failed.stream, failed.code) == (Stream(2), Code::NotFound)
    ));
    let fourth = outputs.split_off(1);
    assert!(matches!(request(outputs).1, Request::Read(asked) if asked == read(3)));
    assert!(matches!(request(fourth).1, Request::Read(asked) if asked == read(4)));
}

#[test]
fn the_link_is_not_read_while_too_many_requests_are_in_progress() {
    let mut world = LinkWorld::new();
    let mut last = 0;
    for _ in 0..MAX_REQUESTS {
        assert!(!world.link.is_full());
        last = request(world.propose(receipt())).0;
    }
    assert!(world.link.is_full());
    refusal(world.done(last, Completion::Lacking(vec![0])));
    assert!(!world.link.is_full());
}

#[test]
fn requests_are_answered_even_if_the_disk_fails() {
    let (stream, digest) = (Stream(3), receipt().digest);
    let mut world = LinkWorld::new();
    for (completion, expected) in [
        (Completion::Length(Some(4)), vec![Holder { member: 0, length: 4 }]),
        (Completion::Length(None), Vec::new()),
        (disk_failed(), Vec::new()),
    ] {
        let (number, asked) = request(world.receive(Message::Locate { stream, digest, authorisation: None }));
        assert!(matches!(asked, Request::Length(of) if of == digest));
        let last = world.done(number, completion).pop();
        assert!(
            matches!(last, Some(Output::Send(message)) if message == Message::Located { stream, holders: expected })
        );
    }
    let list = |source| Message::List { stream, source, from: ListPosition::default(), filter: ListFilter::All };
    let (number, _) = request(world.receive(list(ListSource::Own)));
    let outputs = world.done(number, disk_failed());
    assert!(matches!(&outputs[..], [Output::Send(Message::Failed(failed))] if failed.code == Code::Storage));
    let outputs = world.receive(list(ListSource::Member(0)));
    assert!(matches!(&outputs[1], Output::Send(Message::Failed(failed)) if failed.code == Code::Unexpected));
    let (number, _) = request(world.receive(Message::FindCertificate { stream, digest }));
    let outputs = world.done(number, disk_failed());
    assert!(matches!(outputs.last(), Some(Output::Send(Message::FoundCertificate { certificate: None, .. }))));
}

#[test]
fn only_a_remembered_proposal_is_archived_and_only_once() {
    let mut world = LinkWorld::new();
    let committee = world.committee.clone().unwrap();
    let batch = Batch::new(NOW, vec![receipt()]).unwrap();
    let mut tally = Tally::new(committee.record(), batch.body());
    tally.add(&committee, 0, world.vote(receipt())).unwrap();
    let Certificate { signers, signature, .. } = tally.certificates(batch.claims()).unwrap().remove(0);
    let archive = || Message::Archive { stream: Stream(7), signers: signers.clone(), signature };
    assert!(world.receive(archive()).is_empty());
    let _ = world.propose(receipt());
    let (number, asked) = request(world.receive(archive()));
    assert!(matches!(asked, Request::Archive(_, proposal, ..) if *proposal.receipts == [receipt()]));
    assert!(world.done(number, Completion::Finished).is_empty());
    assert!(world.receive(archive()).is_empty());
}

#[test]
fn failures_of_storage_and_clock_and_their_end_are_reported_to_the_server() {
    let mut world = LinkWorld::new();
    let mut reported = |doubt, failure: Option<&str>| {
        world.doubt = doubt;
        let mut outputs = world.handle(Input::Storage(failure.map(str::to_owned)));
        assert!(outputs.len() <= 1);
        outputs.pop().map(|output| match output {
            Output::Send(Message::Failed(failed)) => (failed.stream, Some(failed.code)),
            Output::Send(Message::Stored { stream }) => (stream, None),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(reported(None, None), None, "nothing to report at the start");
    assert_eq!(reported(None, Some("full")), Some((Stream::REPLICA, Some(Code::Storage))));
    assert_eq!(reported(Some("off"), Some("full")), None, "reported once");
    assert_eq!(reported(Some("off"), None), Some((Stream::REPLICA, Some(Code::ClockInDoubt))));
    assert_eq!(reported(None, None), Some((Stream::REPLICA, None)));
}

#[test]
fn a_link_ends_when_the_server_refuses_it_or_breaks_the_protocol() {
    let mut world = LinkWorld::new();
    let failed = Failed::new(Stream::LINK, Code::NotAdmitted, "no");
    let outputs = world.receive(Message::Failed(failed.clone()));
    assert!(matches!(&outputs[..], [Output::End(End::Refused(reason))] if *reason == failed));
    for message in [Message::Ready { stream: Stream(1), offset: 0 }, Message::Stored { stream: Stream(1) }] {
        let outputs = world.receive(message);
        assert!(matches!(
            &outputs[..],
            [Output::End(End::Violation(failed))] if (failed.stream, failed.code) == (Stream::LINK, Code::Unexpected)
        ));
    }
}

#[test]
fn a_failure_with_this_replica_as_its_only_subject_is_not_the_answer_to_a_list_request() {
    let mut world = LinkWorld::new();
    let about = |subjects: Vec<u16>| {
        Message::Failed(Failed::new(Stream(5), Code::TimedOut, "was slow").with_subjects(subjects))
    };
    assert!(matches!(&world.receive(about(vec![0]))[..], [Output::LeftOut(why)] if why == "was slow"));
    for subjects in [vec![], vec![1], vec![0, 1]] {
        assert!(matches!(&world.receive(about(subjects))[..], [Output::Listed(Stream(5), Err(_))]));
    }
}

#[test]
fn every_message_of_a_put_reaches_its_worker() {
    let (mut world, stream) = (LinkWorld::new(), Stream(4));
    let task = |outputs: Vec<Output<JournalProof>>| match outputs.into_iter().next() {
        Some(Output::Incoming(id, task)) => (id, task),
        other => panic!("{other:?}"),
    };
    let (id, opening) =
        task(world.receive(Message::Put { stream, offer: Some(receipt()), renew: false, authorisation: None }));
    assert_eq!(opening, IncomingTask::Open(Some(assignment())));
    let opened = IncomingResult::Opened { offset: 0, damage: Some("a byte".into()) };
    let outputs = world.handle(Input::Incoming(id, opened));
    assert!(matches!(&outputs[0], Output::Damaged(digest, _) if *digest == receipt().digest));
    assert!(matches!(outputs[1], Output::Send(Message::Ready { stream: Stream(4), offset: 0 })));
    let bytes = Bytes::from_static(b"blob");
    let chunk = |offset| Message::Chunk { stream, offset, parents: Vec::new(), bytes: bytes.clone() };
    assert!(matches!(task(world.receive(chunk(0))).1, IncomingTask::Write(_)));
    for offset in [4, 8, 12] {
        assert!(!world.link.is_full());
        assert!(world.receive(chunk(offset)).is_empty());
    }
    assert!(world.link.is_full(), "three chunks wait for the disk");
    let _ = world.handle(Input::Incoming(id, IncomingResult::Written));
    assert!(!world.link.is_full());
    // a gap is refused and reported
    let outputs = world.receive(chunk(99));
    assert!(matches!(
        &outputs[outputs.len() - 2..],
        [Output::Report(Event::Refused(_)), Output::Send(Message::Failed(failed))] if failed.stream == stream
    ));
    let (_, whole) = task(world.receive(Message::Blob {
        stream,
        receipt: receipt(),
        bytes: bytes.clone(),
        renew: false,
        authorisation: None,
    }));
    assert_eq!(whole, IncomingTask::Whole(assignment(), bytes));
    let (ended, _) = task(world.receive(Message::Put { stream, offer: None, renew: false, authorisation: None }));
    assert_eq!(
        task(world.receive(Message::PutEnd { stream, receipt: receipt(), authorisation: None })).1,
        IncomingTask::Finish(assignment())
    );
    let (cancelled, _) = task(world.receive(Message::Put { stream, offer: None, renew: false, authorisation: None }));
    assert_ne!(ended, cancelled);
    let cancel = Message::Cancel { stream, keep: false };
    assert_eq!(task(world.receive(cancel)), (cancelled, IncomingTask::PutAway { keep: false }));
    let (open, _) = task(world.receive(Message::Put { stream, offer: None, renew: false, authorisation: None }));
    assert_eq!(world.link.close(), [(open, IncomingTask::PutAway { keep: true })]);
    let status = Message::ReplicaStatus { status: ReplicaStatus::Waiting, detail: "two more".into() };
    assert!(
        matches!(&world.receive(status)[..], [Output::ReplicaStatus(ReplicaStatus::Waiting, detail)] if detail == "two more")
    );
}
