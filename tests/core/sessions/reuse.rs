//! Reuse of an earlier put's certificate: at which steps it is accepted, and which certificates qualify.

use bytes::Bytes;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Message;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::session::{Certified, PutEvent, SessionError, Source};
use vouch_core::verify::Invalid;

use super::lone_put::{LonePut, LoneRequest, STREAM};
use super::put::{FILE, NOW, known, opened, receipt, receive, request, sent};
use super::{CLUSTER, Server, identity, unexpected};
use support::committee::{EXPIRES, receipt_of, salt};

/// Long before the put.
const EARLIER: u64 = NOW - 86_400;

fn trusting(source: Source) -> LoneRequest {
    request(Some(identity(&CLUSTER)), source)
}

/// The receipt of another client's put of the same bytes.
fn another() -> Receipt {
    receipt_of(salt("another put"), FILE)
}

fn answer(session: &mut LonePut, receipt: Receipt) -> Result<Box<Certified>, SessionError> {
    let certificate = Box::new(CLUSTER.certify_one(EARLIER, receipt));
    let mut events = receive(session, &Message::Certified { stream: STREAM, certificate })?;
    match events.pop() {
        Some(PutEvent::Certified(certified)) => Ok(certified),
        other => panic!("{other:?}"),
    }
}

/// A session that offered the file and sent no bytes.
fn offered(request: LoneRequest) -> LonePut {
    let (mut session, _) = opened(request);
    receive(&mut session, &CLUSTER.message()).unwrap();
    session
}

/// A session that sent the whole file in one message.
fn whole(request: LoneRequest) -> LonePut {
    let trusted: Option<ClusterId> = request.trusted;
    assert!(trusted.is_some());
    let (mut session, hello) = LonePut::with(request, None, Some(Bytes::from_static(FILE)), None).unwrap();
    for message in Server::honest().welcome(&hello) {
        session.receive(&message, NOW).unwrap();
    }
    receive(&mut session, &CLUSTER.message()).unwrap();
    session
}

/// Sessions at every step where an earlier certificate is accepted.
fn places() -> [fn(LoneRequest) -> LonePut; 3] {
    [offered, whole, |request| sent(LoneRequest { source: Source::Streamed, ..request }).0]
}

#[test]
fn earlier_certificate_is_accepted_and_marked_as_reused() {
    for place in places() {
        for expires_at in [EXPIRES, EXPIRES + 1, NEVER] {
            let earlier = Receipt { expires_at, ..another() };
            let certified = answer(&mut place(trusting(known())), earlier).unwrap();
            assert_eq!((certified.reused, certified.certificate.claim.receipt), (true, earlier));
        }
        let new = Box::new(CLUSTER.certify_one(NOW, receipt()));
        let events =
            receive(&mut place(trusting(known())), &Message::Certified { stream: STREAM, certificate: new }).unwrap();
        assert!(matches!(events.last(), Some(PutEvent::Certified(certified)) if !certified.reused), "{events:?}");
    }
}

#[test]
fn earlier_certificate_must_expire_no_earlier_than_requested() {
    for place in places() {
        let shorter = Receipt { expires_at: EXPIRES - 1, ..another() };
        let error = answer(&mut place(trusting(known())), shorter).map(|_| ()).unwrap_err();
        assert_eq!(error, SessionError::AnotherReceipt { expected: Box::new(receipt()), got: Box::new(shorter) });
        let digest = Digest::of(b"another file");
        let error = answer(&mut place(trusting(known())), Receipt { digest, ..another() }).map(|_| ()).unwrap_err();
        let expected = Invalid::DigestDiffers { expected: digest, got: receipt().digest };
        assert_eq!(error, SessionError::Invalid(expected));
        // a certificate of this put's own receipt cannot be older than the put
        let error = answer(&mut place(trusting(known())), receipt()).map(|_| ()).unwrap_err();
        assert!(matches!(error, SessionError::OldCertificate { got: EARLIER, .. }), "{error}");
    }
}

#[test]
fn earlier_certificate_is_rejected_when_renewal_is_requested() {
    for place in places() {
        let request = LoneRequest { renew: true, ..trusting(known()) };
        let error = answer(&mut place(request), another()).map(|_| ()).unwrap_err();
        assert!(matches!(error, SessionError::AnotherReceipt { .. }), "{error}");
    }
    let request = LoneRequest { renew: true, ..trusting(known()) };
    let offer = Some(receipt());
    assert_eq!(opened(request).1, Message::Put { stream: STREAM, offer, renew: true, authorisation: None });
}

#[test]
fn earlier_certificate_is_rejected_at_other_steps() {
    // after the bytes of an offer were sent it is too late
    let (mut session, _) = sent(trusting(known()));
    let error = answer(&mut session, another()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SessionError::AnotherReceipt { .. }), "{error}");
    // the digest of a stream is not known yet
    let mut session = offered(trusting(Source::Streamed));
    assert_eq!(answer(&mut session, another()).map(|_| ()), Err(unexpected("Ready", "Certified")));
}
