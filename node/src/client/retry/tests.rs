//! What is tried again, how often and how soon, under a clock of the test's.

use std::io;
use std::sync::Arc;

use vouch_core::chain::MemberId;
use vouch_core::message::{Failed, MessageError, Stream};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn member(index: u16) -> MemberId {
    MemberId { epoch: 0, index }
}

fn closed() -> ClientError {
    LinkError::Closed("bye".into()).into()
}

fn refused(code: Code) -> ClientError {
    SessionError::Refused { failed: Failed::new(Stream(1), code, "so it is"), names: Vec::new() }.into()
}

fn open() -> Retry {
    let mut retry = Retry::new(MINUTE);
    retry.opened();
    retry
}

fn begun() -> Retry {
    let mut retry = Retry::new(MINUTE);
    retry.saw(0, &PutProgress::Ready(0));
    retry
}

fn pause(retry: &mut Retry, now: Duration) -> Option<Duration> {
    retry.pause(closed(), now, [0]).ok().map(|(pause, _)| pause)
}

#[test]
fn pauses_double_and_are_spread() {
    let mut retry = begun();
    let pauses: Vec<Duration> = (0..7).map(|_| pause(&mut retry, ms(1000)).unwrap()).collect();
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000].map(ms));
    let shortest = begun().pause(closed(), ms(0), [255]).unwrap().0;
    assert!(shortest > ms(100) && shortest < ms(101), "{shortest:?}");
}

#[test]
fn the_time_without_getting_further_is_bounded() {
    let mut retry = begun();
    // it may have been silent for long before that was noticed
    let mut now = ms(1_000_000);
    let mut attempts = 1;
    while let Some(pause) = pause(&mut retry, now) {
        // the same bytes again are not further
        retry.saw(0, &PutProgress::Ready(0));
        now += pause;
        attempts += 1;
    }
    assert!((ms(1_050_000)..=ms(1_060_000)).contains(&now), "{now:?}");
    match retry.pause(closed(), now, [0]) {
        Err(ClientError::GaveUp { attempts: got, .. }) => assert_eq!(got, attempts),
        other => panic!("expected that it gives up, got {other:?}"),
    }
    assert!(pause(&mut Retry::new(Duration::ZERO), now).is_none());
}

#[test]
fn whoever_gets_further_begins_anew() {
    let further = [
        PutProgress::Sent(1),
        PutProgress::Ready(262_144),
        PutProgress::Sent(262_145),
        PutProgress::Member(member(0), Stage::Stored),
        PutProgress::Member(member(1), Stage::Voted),
    ];
    let mut retry = begun();
    let mut now = ms(0);
    for step in further {
        assert_eq!(pause(&mut retry, now), Some(ms(200)), "{step:?}");
        retry.saw(0, &step);
        now += MINUTE * 2;
    }
    assert_eq!(pause(&mut retry, now), Some(ms(200)));
    for step in [PutProgress::Sent(9_000_000), PutProgress::Ready(0), PutProgress::Member(member(2), Stage::Dropped)] {
        retry.saw(0, &step);
        assert!(pause(&mut retry, now).is_some_and(|pause| pause > ms(200)), "{step:?}");
    }
    // of several, one that gets further, or is done, will do
    retry.saw(1, &PutProgress::Ready(0));
    assert_eq!(pause(&mut retry, now), Some(ms(200)));
    retry.done(1);
    assert_eq!(pause(&mut retry, now + MINUTE), Some(ms(200)));
}

#[test]
fn lies_and_refusals_before_the_beginning_are_believed() {
    let again = |retry: &mut Retry, error: ClientError| retry.pause(error, ms(0), [0]).is_ok();
    let links = || -> Vec<ClientError> {
        let (what, address) = ("speak", "127.0.0.1:1".to_owned());
        let error = io::ErrorKind::ConnectionRefused.into();
        vec![
            closed(),
            LinkError::Broken("reset".into()).into(),
            LinkError::Deadline { what, after: MINUTE }.into(),
            LinkError::Connect { address: address.clone(), error }.into(),
            LinkError::Handshake { address, reason: "502".into() }.into(),
            ClientError::Ended(Arc::new(closed())),
        ]
    };
    for error in links() {
        assert!(!again(&mut Retry::new(MINUTE), error), "who never was there");
    }
    for error in links() {
        let text = error.to_string();
        assert!(again(&mut open(), error), "{text}");
    }
    for code in [Code::Busy, Code::NoCommittee, Code::NotEnoughReplicas, Code::TimedOut, Code::ShuttingDown] {
        assert!(!again(&mut open(), refused(code)), "{code}");
        assert!(again(&mut begun(), refused(code)), "{code}");
        let of_link = LinkError::Refused(Failed::new(Stream::LINK, code, "so it is"));
        assert!(again(&mut begun(), of_link.into()), "{code}");
    }
    for code in [Code::NoSpace, Code::DigestDiffers, Code::AnotherCluster, Code::Unexpected, Code::Expired] {
        assert!(!again(&mut begun(), refused(code)), "{code}");
    }
    let lies: Vec<ClientError> = vec![
        SessionError::Unexpected { expected: "Ready", got: "Certified" }.into(),
        SessionError::BadOffset { length: 1, got: 2 }.into(),
        SessionError::SourceChanged { expected: 1, got: 2 }.into(),
        SessionError::OldCertificate { expected: 2, got: 1 }.into(),
        LinkError::TooLarge("1 GiB".into()).into(),
        LinkError::Message(MessageError::UnknownTag(0x77)).into(),
        ClientError::Source { source_name: "f".into(), error: io::ErrorKind::NotFound.into() },
        ClientError::Ended(Arc::new(SessionError::Unexpected { expected: "Ready", got: "Hello" }.into())),
    ];
    for error in lies {
        let text = error.to_string();
        assert!(!again(&mut begun(), error), "{text}");
    }
}

#[test]
fn a_server_that_pings_without_progress_is_a_lost_link() {
    let late = || ClientError::from(SessionError::NoProgress(vouch_core::session::Phase::Certifying));
    assert!(open().pause(late(), ms(0), [0]).is_ok());
    assert!(Retry::new(MINUTE).pause(late(), ms(0), [0]).is_err(), "it never proved its key");
}
