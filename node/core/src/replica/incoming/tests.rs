use vouch_core::receipt::NEVER;

use super::*;

const STREAM: Stream = Stream(5);

fn assignment() -> Assignment {
    Assignment { salt: [0; 16], digest: Digest::of(b"blob"), length: 400, expires_at: NEVER }
}

fn chunk(offset: u64) -> IncomingChunk {
    IncomingChunk { offset, parents: Vec::new(), bytes: Bytes::from_static(b"blob") }
}

fn puts() -> IncomingPuts {
    IncomingPuts::new(2)
}

/// The new tasks. There must be no other output.
fn tasks(puts: &mut IncomingPuts) -> Vec<IncomingTask> {
    let task = |output| match output {
        IncomingOutput::Task(_, task) => task,
        other => panic!("expected tasks only, got {other:?}"),
    };
    puts.take_outputs().into_iter().map(task).collect()
}

fn begin(puts: &mut IncomingPuts, offer: Option<Assignment>) -> IncomingId {
    puts.begin(STREAM, offer).unwrap();
    assert_eq!(tasks(puts), [IncomingTask::Open(offer)]);
    IncomingId(puts.next_id)
}

/// A put whose worker is free.
fn open(puts: &mut IncomingPuts, offer: Option<Assignment>) -> IncomingId {
    let id = begin(puts, offer);
    puts.done(id, IncomingResult::Opened { offset: 0, damage: None });
    puts.take_outputs();
    id
}

fn written(offsets: &[u64]) -> IncomingTask {
    IncomingTask::Write(offsets.iter().map(|offset| chunk(*offset)).collect())
}

/// The new messages to the server.
fn sent(puts: &mut IncomingPuts) -> Vec<Message> {
    let message = |output| match output {
        IncomingOutput::Send(message) => Some(message),
        _ => None,
    };
    puts.take_outputs().into_iter().filter_map(message).collect()
}

fn failed() -> IncomingResult {
    IncomingResult::Failed(Code::Storage, "the disk".into())
}

#[test]
fn only_an_offer_is_answered_with_its_resume_offset() {
    let mut puts = puts();
    let id = begin(&mut puts, Some(assignment()));
    puts.done(id, IncomingResult::Opened { offset: 64, damage: None });
    assert_eq!(sent(&mut puts), [Message::Ready { stream: STREAM, offset: 64 }]);
    puts.cancel(STREAM, true);
    puts.take_outputs();
    let id = begin(&mut puts, None);
    puts.done(id, IncomingResult::Opened { offset: 0, damage: None });
    assert!(puts.take_outputs().is_empty());
}

#[test]
fn a_full_queue_of_chunks_stops_the_link() {
    let mut puts = puts();
    let id = open(&mut puts, None);
    for (offset, is_full) in [(0, false), (4, false), (8, false), (12, true)] {
        puts.chunk(STREAM, chunk(offset)).unwrap();
        assert_eq!(puts.is_full(), is_full, "after the chunk at {offset}");
    }
    assert_eq!(tasks(&mut puts), [written(&[0])], "one task at a time");
    puts.done(id, IncomingResult::Written);
    assert_eq!(tasks(&mut puts), [written(&[4, 8])]);
    assert!(!puts.is_full());
    puts.done(id, IncomingResult::Written);
    assert_eq!(tasks(&mut puts), [written(&[12])]);
    puts.done(id, IncomingResult::Written);
    assert!(tasks(&mut puts).is_empty());
}

#[test]
fn chunks_wait_until_the_put_is_open_and_a_failure_frees_the_link() {
    let mut puts = puts();
    let id = begin(&mut puts, Some(assignment()));
    for offset in [0, 4, 8] {
        puts.chunk(STREAM, chunk(offset)).unwrap();
    }
    assert!(puts.is_full());
    assert!(puts.take_outputs().is_empty());
    puts.done(id, failed());
    assert!(!puts.is_full());
}

#[test]
fn a_gap_ends_the_put_and_keeps_its_bytes() {
    let mut puts = puts();
    open(&mut puts, None);
    let gap = puts.chunk(STREAM, chunk(4)).unwrap_err();
    assert_eq!((gap.stream, gap.code), (STREAM, Code::Unexpected));
    assert_eq!(tasks(&mut puts), [IncomingTask::PutAway { keep: true }]);
    let mut puts = self::puts();
    open(&mut puts, Some(assignment()));
    // the chunks of an offered blob may begin anywhere, and continue without a gap
    puts.chunk(STREAM, chunk(8)).unwrap();
    puts.chunk(STREAM, chunk(12)).unwrap();
    assert!(puts.chunk(STREAM, chunk(20)).is_err());
    assert_eq!(tasks(&mut puts), [written(&[8]), written(&[12]), IncomingTask::PutAway { keep: true }]);
    // messages still on their way are ignored
    puts.chunk(STREAM, chunk(16)).unwrap();
    puts.end(STREAM, assignment());
    assert!(puts.take_outputs().is_empty());
}

#[test]
fn an_end_follows_the_last_chunk_and_is_answered_once_stored() {
    let mut puts = puts();
    let id = open(&mut puts, None);
    for offset in [0, 4, 8] {
        puts.chunk(STREAM, chunk(offset)).unwrap();
    }
    puts.end(STREAM, assignment());
    assert_eq!(tasks(&mut puts), [written(&[0]), written(&[4, 8]), IncomingTask::Finish(assignment())]);
    puts.done(id, IncomingResult::Written);
    puts.done(id, IncomingResult::Written);
    assert!(puts.take_outputs().is_empty());
    puts.done(id, IncomingResult::Stored);
    let outputs = puts.take_outputs();
    assert!(matches!(
        outputs[..],
        [
            IncomingOutput::Report(Event::Stored(digest, 400)),
            IncomingOutput::Send(Message::Stored { stream: STREAM })
        ] if digest == assignment().digest
    ));
    // a put that the server has not ended is not reported as stored
    let id = open(&mut puts, None);
    puts.done(id, IncomingResult::Stored);
    assert!(puts.take_outputs().is_empty());
}

#[test]
fn a_failure_is_answered_and_reported_by_its_kind() {
    for (code, is_trouble) in [(Code::Storage, true), (Code::NoSpace, true), (Code::DigestDiffers, false)] {
        let mut puts = puts();
        let id = open(&mut puts, None);
        puts.done(id, IncomingResult::Failed(code, "why".into()));
        let outputs = puts.take_outputs();
        let [IncomingOutput::Report(event), IncomingOutput::Send(Message::Failed(failed))] = &outputs[..] else {
            panic!("{outputs:?}");
        };
        assert_eq!(matches!(event, Event::Trouble(_)), is_trouble, "{code:?}");
        assert_eq!((failed.stream, failed.code), (STREAM, code));
        puts.chunk(STREAM, chunk(0)).unwrap();
        assert!(puts.take_outputs().is_empty(), "the put has ended");
    }
}

#[test]
fn a_cancel_keeps_or_discards_at_once_and_is_not_answered() {
    for keep in [true, false] {
        let mut puts = puts();
        let id = begin(&mut puts, Some(assignment()));
        puts.chunk(STREAM, chunk(0)).unwrap();
        puts.cancel(STREAM, keep);
        let put_away = IncomingTask::PutAway { keep };
        let expected = if keep { vec![written(&[0]), put_away] } else { vec![put_away] };
        assert_eq!(tasks(&mut puts), expected);
        // damage that the worker found is reported nevertheless
        puts.done(id, IncomingResult::Opened { offset: 0, damage: Some("a byte".into()) });
        let outputs = puts.take_outputs();
        assert!(matches!(&outputs[..], [IncomingOutput::Damaged(digest, _)] if *digest == assignment().digest));
        // the next put of the blob took over
        puts.done(id, IncomingResult::Failed(Code::Busy, "another put took over".into()));
        assert!(puts.take_outputs().is_empty());
    }
    let mut puts = puts();
    let id = open(&mut puts, Some(assignment()));
    puts.cancel(STREAM, true);
    puts.take_outputs();
    puts.done(id, failed());
    let outputs = puts.take_outputs();
    assert!(matches!(&outputs[..], [IncomingOutput::Report(Event::Trouble(_))]), "a failed disk is reported");
}

#[test]
fn a_stream_number_is_free_again_after_its_put() {
    let mut puts = puts();
    let first = open(&mut puts, None);
    assert_eq!(puts.begin(STREAM, None).unwrap_err().code, Code::Unexpected);
    puts.end(STREAM, assignment());
    puts.take_outputs();
    let second = open(&mut puts, None);
    puts.done(first, failed());
    puts.take_outputs();
    puts.chunk(STREAM, chunk(0)).unwrap();
    assert!(matches!(&puts.take_outputs()[..], [IncomingOutput::Task(id, _)] if *id == second));
}

#[test]
fn places_are_limited_and_held_until_the_worker_ends() {
    let busy = |puts: &mut IncomingPuts| {
        puts.whole(Stream(9), assignment(), Bytes::new()).err().map(|failed| (failed.stream, failed.code))
    };
    let refused = Some((Stream(9), Code::Busy));
    let mut puts = puts();
    let first = begin(&mut puts, None);
    puts.whole(Stream(6), assignment(), Bytes::from_static(b"blob")).unwrap();
    assert_eq!(tasks(&mut puts), [IncomingTask::Whole(assignment(), Bytes::from_static(b"blob"))]);
    let whole = IncomingId(puts.next_id);
    assert_eq!(busy(&mut puts), refused);
    puts.cancel(STREAM, false);
    assert_eq!(busy(&mut puts), refused, "the worker has not ended yet");
    puts.done(first, IncomingResult::Opened { offset: 0, damage: None });
    assert_eq!(busy(&mut puts), refused);
    puts.done(first, IncomingResult::PutAway);
    puts.take_outputs();
    assert_eq!(busy(&mut puts), None);
    assert_eq!(busy(&mut puts), refused);
    puts.done(whole, IncomingResult::Stored);
    assert!(sent(&mut puts).contains(&Message::Stored { stream: Stream(6) }));
    assert_eq!(busy(&mut puts), None);
}

#[test]
fn the_end_of_the_link_keeps_the_received_bytes() {
    let mut puts = puts();
    let receiving = open(&mut puts, Some(assignment()));
    puts.chunk(STREAM, chunk(0)).unwrap();
    puts.chunk(STREAM, chunk(4)).unwrap();
    puts.take_outputs();
    // the worker of this put has its last task already
    puts.whole(Stream(6), assignment(), Bytes::new()).unwrap();
    puts.take_outputs();
    assert_eq!(puts.close(), [(receiving, written(&[4])), (receiving, IncomingTask::PutAway { keep: true })]);
}
