//! A certificate of an earlier put, given instead of a new one: where it is taken, and what it must be.

use bytes::Bytes;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Message;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::session::{Certified, PutEvent, PutRequest, PutSession, SessionError, Source};
use vouch_core::verify::Invalid;

use super::put::{FILE, NOW, STREAM, hear, known, opened, receipt, request, sent};
use super::{CLUSTER, Server, identity, unexpected};
use crate::world::{EXPIRES, receipt_of, salt};

/// Long before the put.
const EARLIER: u64 = NOW - 86_400;

fn trusting(source: Source) -> PutRequest {
    request(Some(identity(&CLUSTER)), source)
}

/// Somebody else's put of the same bytes.
fn another() -> Receipt {
    receipt_of(salt("another put"), FILE)
}

fn answer(session: &mut PutSession, receipt: Receipt) -> Result<Box<Certified>, SessionError> {
    let certificate = Box::new(CLUSTER.certify_one(EARLIER, receipt));
    let mut events = hear(session, &Message::Certified { stream: STREAM, certificate })?;
    match events.pop() {
        Some(PutEvent::Certified(certified)) => Ok(certified),
        other => panic!("{other:?}"),
    }
}

/// Offered, and nothing sent.
fn offered(request: PutRequest) -> PutSession {
    let (mut session, _) = opened(request);
    hear(&mut session, &CLUSTER.message()).unwrap();
    session
}

/// Sent in one message with its offer.
fn whole(request: PutRequest) -> PutSession {
    let trusted: Option<ClusterId> = request.trusted;
    assert!(trusted.is_some());
    let (session, hello) = PutSession::new(request);
    let mut session = session.carrying(Bytes::from_static(FILE)).unwrap();
    for message in Server::honest().welcome(&hello) {
        session.receive(&message, NOW).unwrap();
    }
    hear(&mut session, &CLUSTER.message()).unwrap();
    session
}

/// Every place where an earlier certificate will do.
fn places() -> [fn(PutRequest) -> PutSession; 3] {
    [offered, whole, |request| sent(PutRequest { source: Source::Streamed, ..request }).0]
}

#[test]
fn an_earlier_certificate_is_as_good_and_says_that_it_is_one() {
    for place in places() {
        for expires_at in [EXPIRES, EXPIRES + 1, NEVER] {
            let earlier = Receipt { expires_at, ..another() };
            let certified = answer(&mut place(trusting(known())), earlier).unwrap();
            assert_eq!((certified.reused, certified.certificate.claim.receipt), (true, earlier));
        }
        let new = Box::new(CLUSTER.certify_one(NOW, receipt()));
        let events =
            hear(&mut place(trusting(known())), &Message::Certified { stream: STREAM, certificate: new }).unwrap();
        assert!(matches!(events.last(), Some(PutEvent::Certified(certified)) if !certified.reused), "{events:?}");
    }
}

#[test]
fn it_promises_no_less_than_was_asked_for() {
    for place in places() {
        let shorter = Receipt { expires_at: EXPIRES - 1, ..another() };
        let error = answer(&mut place(trusting(known())), shorter).map(|_| ()).unwrap_err();
        assert_eq!(error, SessionError::AnotherReceipt { expected: Box::new(receipt()), got: Box::new(shorter) });
        let digest = Digest::of(b"another file");
        let error = answer(&mut place(trusting(known())), Receipt { digest, ..another() }).map(|_| ()).unwrap_err();
        let expected = Invalid::DigestDiffers { expected: digest, got: receipt().digest };
        assert_eq!(error, SessionError::Invalid(expected));
        // this put's own cannot be older than the put
        let error = answer(&mut place(trusting(known())), receipt()).map(|_| ()).unwrap_err();
        assert!(matches!(error, SessionError::OldCertificate { got: EARLIER, .. }), "{error}");
    }
}

#[test]
fn who_wants_a_new_one_takes_no_other() {
    for place in places() {
        let request = PutRequest { renew: true, ..trusting(known()) };
        let error = answer(&mut place(request), another()).map(|_| ()).unwrap_err();
        assert!(matches!(error, SessionError::AnotherReceipt { .. }), "{error}");
    }
    let request = PutRequest { renew: true, ..trusting(known()) };
    let offer = Some(receipt());
    assert_eq!(opened(request).1, Message::Put { stream: STREAM, offer, renew: true });
}

#[test]
fn it_comes_at_once_or_not_at_all() {
    // the bytes of an offer were sent for nothing
    let (mut session, _) = sent(trusting(known()));
    let error = answer(&mut session, another()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SessionError::AnotherReceipt { .. }), "{error}");
    // nobody knows yet what a stream will be
    let mut session = offered(trusting(Source::Streamed));
    assert_eq!(answer(&mut session, another()).map(|_| ()), Err(unexpected("Ready", "Certified")));
}
