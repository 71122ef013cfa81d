//! What counts as progress, and each phase's deadline without any.

use std::time::Duration;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Holder, MAX_CHUNK, Message, Stage, Stream};
use vouch_core::session::{
    GetRequest, GetSession, NewPut, Phase, ProgressMark, ProgressWatch, PutEvent, PutLink, PutLinkEvent, SessionError,
    Source, WaitLimit,
};

use support::blobs::proof;

use super::lone_put::{LonePut, STREAM};
use super::put::{FILE, NOW, known, opened, receive, request};
use super::{CLUSTER, Server, identity};
use support::committee::{EXPIRES, blob, hello_nonce, salt};

const SECOND: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(1000);

/// Asserts that the session waits in this phase until exactly the deadline.
fn assert_deadline(phase: Phase, mark: ProgressMark) {
    assert_eq!(mark.phase, Some(phase));
    let mut watch = ProgressWatch::default();
    assert_eq!(watch.check_deadline(mark, START), Ok(()));
    assert_eq!(watch.check_deadline(mark, START + phase.deadline() - SECOND), Ok(()));
    assert_eq!(watch.check_deadline(mark, START + phase.deadline()), Err(SessionError::NoProgress(phase)));
}

#[test]
fn every_phase_has_a_deadline_in_words() {
    for phase in [Phase::Opening, Phase::Offered, Phase::Certifying, Phase::Locating, Phase::Reading] {
        assert!(phase.deadline() <= Duration::from_secs(120), "{phase:?}");
        let text = SessionError::NoProgress(phase).to_string();
        let (seconds, expected) = (phase.deadline().as_secs(), phase.expected());
        assert!(text.starts_with(&format!("the server made no progress for {seconds} s while ")), "{text}");
        assert!(text.contains(&format!(": expected {expected}, got nothing; try again")), "{text}");
    }
}

#[test]
fn progress_extends_the_deadline_and_caller_time_does_not_count() {
    let mut watch = ProgressWatch::default();
    let (phase, long) = (Some(Phase::Reading), Phase::Reading.deadline());
    for steps in 0..10 {
        let now = START + (long - SECOND) * u32::try_from(steps).unwrap();
        assert_eq!(watch.check_deadline(ProgressMark { phase, steps }, now), Ok(()), "{steps}");
    }
    watch.restart();
    assert_eq!(watch.check_deadline(ProgressMark { phase, steps: 9 }, START * 100), Ok(()));
    let idle = ProgressMark { phase: None, steps: 0 };
    assert_eq!(watch.check_deadline(idle, START * 100), Ok(()));
    assert_eq!(watch.check_deadline(idle, START * 1000), Ok(()), "nothing is owed to it");
}

#[test]
fn put_times_out_in_each_phase() {
    let (mut session, hello) = LonePut::new(request(Some(identity(&CLUSTER)), known()));
    assert_deadline(Phase::Opening, session.progress_mark());
    let before = session.progress_mark();
    let [listener, auth] = Server::honest().welcome(&hello);
    session.receive(&listener, NOW).unwrap();
    assert_ne!(session.progress_mark(), before);
    session.receive(&auth, NOW).unwrap();
    assert_deadline(Phase::Offered, session.progress_mark());
    let before = session.progress_mark();
    receive(&mut session, &CLUSTER.message()).unwrap();
    assert_eq!(session.progress_mark(), before, "it was asked for something else");
    receive(&mut session, &Message::Ready { stream: STREAM, offset: 0 }).unwrap();
    assert_eq!(session.progress_mark().phase, None, "the client is to send");
    session.chunk(Bytes::from_static(FILE)).unwrap();
    session.end().unwrap();
    assert_deadline(Phase::Certifying, session.progress_mark());
}

#[test]
fn repeated_member_stage_is_no_progress() {
    let (mut session, _) = opened(request(None, known()));
    for message in [CLUSTER.message(), Message::Ready { stream: STREAM, offset: 0 }] {
        receive(&mut session, &message).unwrap();
    }
    session.chunk(Bytes::from_static(FILE)).unwrap();
    session.end().unwrap();
    let mut say = |member, stage| {
        let before = session.progress_mark();
        receive(&mut session, &Message::Progress { stream: STREAM, member, stage }).unwrap();
        session.progress_mark() != before
    };
    assert!(say(0, Stage::Stored) && say(1, Stage::Stored) && say(0, Stage::Voted));
    assert!(!say(0, Stage::Stored) && !say(1, Stage::Stored), "once more");
    assert!(!say(4, Stage::Stored) && !say(999, Stage::Dropped), "nobody's");
}

#[test]
fn get_times_out_in_each_phase() {
    let blob = blob(3 * MAX_CHUNK);
    let (digest, length) = (Digest::of(&blob), blob.len() as u64);
    let (mut session, hello) =
        GetSession::new(GetRequest { trusted: None, digest, length: None, range: None, nonce: hello_nonce("get") });
    assert_deadline(Phase::Opening, session.progress_mark());
    for message in Server::honest().welcome(&hello) {
        session.receive(&message).unwrap();
    }
    session.receive(&CLUSTER.message().encode()).unwrap();
    assert_deadline(Phase::Locating, session.progress_mark());
    let holders = vec![Holder { member: 0, length }, Holder { member: 1, length }];
    session.receive(&Message::Located { stream: Stream(1), holders }.encode()).unwrap();
    assert_deadline(Phase::Reading, session.progress_mark());
    // the first read proves the length, the second brings bytes, the third fails
    let (tail, chunk) = (length - 16384, MAX_CHUNK as u64);
    for (stream, range) in [(2, tail..length), (3, 0..chunk)] {
        let before = session.progress_mark();
        let bytes = blob.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        let parents = proof(&blob, range.clone());
        let chunk = Message::Chunk { stream: Stream(stream), offset: range.start, parents, bytes };
        session.receive(&chunk.encode()).unwrap();
        assert_ne!(session.progress_mark(), before, "{range:?}");
    }
    let before = session.progress_mark();
    session.receive(&Message::Failed(Failed::new(Stream(4), Code::TimedOut, "slow")).encode()).unwrap();
    assert_ne!(session.progress_mark(), before, "another member follows");
    assert_deadline(Phase::Reading, session.progress_mark());
}

#[test]
fn only_the_put_without_progress_times_out() {
    let (mut link, hello) = PutLink::new(None, hello_nonce("puts"));
    link.check_deadlines(START).unwrap();
    let late = link.check_deadlines(START + Phase::Opening.deadline()).map(|_| ());
    assert_eq!(late, Err(SessionError::NoProgress(Phase::Opening)));
    for message in Server::honest().welcome(&hello) {
        link.receive(&message, NOW).unwrap();
    }
    link.receive(&CLUSTER.message().encode(), NOW).unwrap();
    let source = Source::Known { digest: Digest::of(FILE), length: FILE.len() as u64 };
    let put = NewPut { source, expires_at: EXPIRES, salt: salt("put"), now: NOW, renew: false };
    let (first, _) = link.begin(put, None, None).unwrap();
    let (second, _) = link.begin(put, None, None).unwrap();
    assert!(link.check_deadlines(START).unwrap().is_empty());
    link.receive(&Message::Ready { stream: second, offset: 0 }.encode(), NOW).unwrap();
    let late = link.check_deadlines(START + Phase::Offered.deadline()).unwrap();
    let [PutLinkEvent::Put(stream, Err(SessionError::NoProgress(Phase::Offered)))] = &late[..] else {
        panic!("{late:?}")
    };
    assert_eq!(*stream, first);
    assert!(link.check_deadlines(START * 10).unwrap().is_empty(), "it is over, and the other one sends");
    // a late message for the ended put is harmless
    link.receive(&Message::Ready { stream: first, offset: 0 }.encode(), NOW).unwrap();
}

#[test]
fn decision_is_waited_for_as_long_as_the_user_allows() {
    let mut watch = ProgressWatch::new(WaitLimit::new(4 * SECOND));
    let mut check = |steps, seconds| {
        watch.check_deadline(ProgressMark { phase: Some(Phase::Certifying), steps }, START + seconds * SECOND)
    };
    assert_eq!(check(0, 10), Ok(()));
    assert_eq!(check(0, 14), Ok(()));
    assert_eq!(check(1, 15), Ok(()), "a step");
    assert_eq!(check(1, 19), Ok(()));
    let over = SessionError::WaitLimit { phase: Phase::Certifying, waited: 5 * SECOND };
    assert_eq!(check(1, 20), Err(over), "the time of the retries and a quarter more");
    watch.restart();
    let mark = ProgressMark { phase: Some(Phase::Certifying), steps: 1 };
    assert_eq!(watch.check_deadline(mark, START + 90 * SECOND), Ok(()));
}

#[test]
fn moving_bytes_and_no_retry_have_no_wait_limit() {
    let idle = |limit, mark: ProgressMark, seconds| {
        let mut watch = ProgressWatch::new(limit);
        watch.check_deadline(mark, START).and(watch.check_deadline(mark, START + seconds * SECOND))
    };
    let mark = |phase| ProgressMark { phase, steps: 0 };
    let limit = WaitLimit::new(SECOND);
    assert_eq!(idle(limit, mark(Some(Phase::Reading)), 50), Ok(()));
    assert_eq!(idle(limit, mark(None), 500), Ok(()));
    assert!(idle(limit, mark(Some(Phase::Offered)), 50).is_err());
    assert_eq!(idle(WaitLimit::new(Duration::ZERO), mark(Some(Phase::Offered)), 50), Ok(()));
}

#[test]
fn limit_of_a_link_counts_for_its_handshake_and_for_each_put() {
    let opened = |answers: bool| {
        let (link, hello) = PutLink::new(None, hello_nonce("puts"));
        let mut link = link.with_wait_limit(WaitLimit::new(4 * SECOND));
        let source = Source::Known { digest: Digest::of(FILE), length: FILE.len() as u64 };
        let put = NewPut { source, expires_at: EXPIRES, salt: salt("put"), now: NOW, renew: false };
        link.begin(put, None, None).unwrap();
        link.check_deadlines(START).unwrap();
        for message in Server::honest().welcome(&hello).iter().filter(|_| answers) {
            link.receive(message, NOW).unwrap();
        }
        link
    };
    let over = |phase| SessionError::WaitLimit { phase, waited: 5 * SECOND };
    assert_eq!(opened(false).check_deadlines(START + 5 * SECOND).map(|_| ()), Err(over(Phase::Opening)));
    let mut link = opened(true);
    assert!(link.check_deadlines(START + 5 * SECOND).unwrap().is_empty(), "the put waits since the link is open");
    let late = link.check_deadlines(START + 10 * SECOND).unwrap();
    let [PutLinkEvent::Put(STREAM, Ok(PutEvent::Send(cancel))), PutLinkEvent::Put(STREAM, Err(error))] = &late[..]
    else {
        panic!("{late:?}")
    };
    assert_eq!(*error, over(Phase::Offered));
    assert_eq!(*cancel, Message::Cancel { stream: STREAM, keep: true }, "a later put of the file resumes");
}
