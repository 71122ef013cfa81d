//! Many puts on one link: one failure does not affect the others, and a batch costs one pairing.

use bytes::Bytes;
use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, MAX_PUTS, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::session::{CancelReason, Certified, NewPut, PutEvent, PutLink, PutLinkEvent, SessionError, Source};
use vouch_core::verify::{Invalid, Subject, VerifiedAggregates, verify_certificate_of_batch};

use super::put::NOW;
use super::{CLUSTER, Server, identity, unexpected};
use support::committee::{EXPIRES, hello_nonce, receipt_of, salt};

fn opened() -> PutLink {
    let (mut link, hello) = PutLink::new(Some(identity(&CLUSTER)), hello_nonce("puts"));
    for message in Server::honest().welcome(&hello) {
        link.receive(&message, NOW).unwrap();
    }
    assert!(matches!(&receive(&mut link, &CLUSTER.message())[..], [PutLinkEvent::Cluster(_)]));
    link
}

fn receive(link: &mut PutLink, message: &Message) -> Vec<PutLinkEvent> {
    link.receive(&message.encode(), NOW).unwrap()
}

fn file(number: u32) -> Bytes {
    number.to_le_bytes().to_vec().into()
}

fn small(number: u32) -> NewPut {
    let bytes = file(number);
    let source = Source::Known { digest: Digest::of(&bytes), length: bytes.len() as u64 };
    NewPut { source, expires_at: EXPIRES, salt: salt(&number.to_string()), now: NOW, renew: false }
}

fn receipt(number: u32) -> Receipt {
    receipt_of(salt(&number.to_string()), &file(number))
}

/// Puts numbers 1 to `count`, each on the stream of that number.
fn puts(link: &mut PutLink, count: u32) {
    for number in 1..=count {
        let (stream, message) = link.begin(small(number), Some(file(number)), None).unwrap();
        assert_eq!(stream, Stream(number));
        let blob =
            Message::Blob { stream, receipt: receipt(number), renew: false, bytes: file(number), authorisation: None };
        assert_eq!(message, Some(blob));
    }
}

fn batch(count: u32) -> Vec<Certificate> {
    CLUSTER.certify(NOW, &(1..=count).map(receipt).collect::<Vec<_>>())
}

/// The result of put `number` when it receives this certificate.
fn certify(link: &mut PutLink, number: u32, certificate: Certificate) -> Result<Box<Certified>, SessionError> {
    let message = Message::Certified { stream: Stream(number), certificate: Box::new(certificate) };
    match receive(link, &message).pop() {
        Some(PutLinkEvent::Put(stream, Ok(PutEvent::Certified(certified)))) if stream == Stream(number) => {
            Ok(certified)
        }
        Some(PutLinkEvent::Put(stream, Err(error))) if stream == Stream(number) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn puts_are_limited_to_the_link_limit() {
    let most = u32::try_from(MAX_PUTS).unwrap();
    let mut link = opened();
    puts(&mut link, most);
    assert!(!link.has_room());
    assert_eq!(link.begin(small(0), None, None).map(|_| ()), Err(SessionError::NoRoom));
    let certificates = batch(most);
    // certificates may arrive in any order
    for (number, certificate) in (1..).zip(certificates).collect::<Vec<_>>().into_iter().rev() {
        let certified = certify(&mut link, number, certificate.clone()).unwrap();
        assert_eq!(certified.certificate, certificate);
    }
    assert_eq!(link.begin(small(0), None, None).unwrap().0, Stream(most + 1), "numbers are not used again");
}

#[test]
fn puts_that_begin_before_the_link_is_open_are_sent_once_it_is() {
    let (mut link, hello) = PutLink::new(None, hello_nonce("puts"));
    for number in 1..=3 {
        assert_eq!(link.begin(small(number), Some(file(number)), None), Ok((Stream(number), None)));
    }
    assert_eq!(link.cancel(Stream(2), CancelReason::Unwanted), None, "the server never heard of it");
    let [listener, auth] = Server::honest().welcome(&hello);
    assert!(link.receive(&listener, NOW).unwrap().is_empty());
    let events = link.receive(&auth, NOW).unwrap();
    let [PutLinkEvent::Opened, PutLinkEvent::Put(Stream(1), Ok(first)), PutLinkEvent::Put(Stream(3), Ok(third))] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    for (event, number) in [(first, 1), (third, 3)] {
        let PutEvent::Send(Message::Blob { stream, bytes, .. }) = event else { panic!("{event:?}") };
        assert_eq!((*stream, bytes), (Stream(number), &file(number)));
    }
}

#[test]
fn batch_costs_one_pairing() {
    let mut verified = VerifiedAggregates::default();
    for certificate in batch(64) {
        let subject =
            Subject { digest: certificate.claim.receipt.digest, length: Some(certificate.claim.receipt.length) };
        verify_certificate_of_batch(&certificate, &CLUSTER.committee, &subject, NOW, &mut verified).unwrap();
    }
    assert_eq!(verified.pairings(), 1);
}

#[test]
fn cached_pairing_skips_no_other_check() {
    let mut link = opened();
    puts(&mut link, 6);
    let certificates = batch(6);
    let of = |number: usize| certificates[number - 1].clone();
    certify(&mut link, 1, of(1)).unwrap();
    // the certificate of another put in the batch
    let error = certify(&mut link, 2, of(3)).unwrap_err();
    assert!(matches!(error, SessionError::Invalid(Invalid::DigestDiffers { .. })), "{error}");
    // another path yields another statement, which no member signed
    let mut astray = of(3);
    astray.claim.path[0].0[0] ^= 1;
    let error = certify(&mut link, 3, astray).unwrap_err();
    assert!(matches!(error, SessionError::Invalid(Invalid::Signature(_))), "{error}");
    // so does another receipt, whichever field differs
    let mut longer = of(4);
    longer.claim.receipt.expires_at += 1;
    let error = certify(&mut link, 4, longer).unwrap_err();
    assert!(matches!(error, SessionError::Invalid(Invalid::Signature(_))), "{error}");
    // another signature, or other signers, was never verified
    let other = Certificate { signature: AggregateSignature([0xC0; 96]), ..of(5) };
    assert!(matches!(certify(&mut link, 5, other), Err(SessionError::Invalid(Invalid::Signature(_)))));
    let all = vouch_core::certificate::Signers::new(4, 0..4).unwrap();
    let other = Certificate { signers: all, ..of(6) };
    assert!(matches!(certify(&mut link, 6, other), Err(SessionError::Invalid(Invalid::Signature(_)))));
}

#[test]
fn failure_of_one_put_does_not_affect_the_others() {
    let mut link = opened();
    puts(&mut link, 3);
    let failed = Failed::new(Stream(2), Code::DigestDiffers, "no");
    let events = receive(&mut link, &Message::Failed(failed.clone()));
    let [PutLinkEvent::Put(Stream(2), Err(SessionError::Refused { failed: got, .. }))] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*got, failed);
    assert_eq!(
        link.cancel(Stream(3), CancelReason::Unwanted),
        Some(Message::Cancel { stream: Stream(3), keep: false })
    );
    // messages in flight for the two ended puts are ignored
    for stream in [2, 3] {
        let certificate = Box::new(CLUSTER.certify_one(NOW, receipt(stream)));
        assert!(receive(&mut link, &Message::Certified { stream: Stream(stream), certificate }).is_empty());
        assert_eq!(link.cancel(Stream(stream), CancelReason::SourceUnreadable), None);
        assert_eq!(link.chunk(Stream(stream), file(1)), Ok(None));
    }
    certify(&mut link, 1, CLUSTER.certify_one(NOW, receipt(1))).unwrap();
    // a failure of the link ends all puts
    let failed = Message::Failed(Failed::new(Stream::LINK, Code::ShuttingDown, ""));
    assert!(matches!(link.receive(&failed.encode(), NOW), Err(SessionError::Refused { .. })));
}

#[test]
fn bytes_are_kept_only_if_somebody_still_wants_the_file() {
    let mut link = opened();
    puts(&mut link, 4);
    let reasons = [
        (CancelReason::Unwanted, false),
        (CancelReason::SourceChanged, false),
        (CancelReason::SourceUnreadable, true),
        (CancelReason::WaitLimit, true),
    ];
    for (stream, (reason, keep)) in (1..).map(Stream).zip(reasons) {
        assert_eq!(link.cancel(stream, reason), Some(Message::Cancel { stream, keep }), "{reason:?}");
    }
}

#[test]
fn chunked_put_runs_beside_the_others() {
    let mut link = opened();
    puts(&mut link, 1);
    let new = NewPut { source: Source::Streamed, ..small(2) };
    let (stream, message) = link.begin(new, None, None).unwrap();
    assert_eq!(message, Some(Message::Put { stream, offer: None, renew: false, authorisation: None }));
    let events = receive(&mut link, &Message::Ready { stream, offset: 0 });
    assert!(
        matches!(&events[..], [PutLinkEvent::Put(of, Ok(PutEvent::Ready { offset: 0 }))] if *of == stream),
        "{events:?}"
    );
    assert_eq!(
        link.chunk(stream, file(2)),
        Ok(Some(Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes: file(2) }))
    );
    assert_eq!(link.end(stream, NOW), Ok(Some(Message::PutEnd { stream, receipt: receipt(2), authorisation: None })));
    let certificates = batch(2);
    for number in [2, 1] {
        certify(&mut link, number, certificates[number as usize - 1].clone()).unwrap();
    }
}

#[test]
fn answers_without_a_request_end_the_link() {
    for message in [Message::Ready { stream: Stream(2), offset: 0 }, Message::Stored { stream: Stream(1) }] {
        let mut link = opened();
        puts(&mut link, 1);
        let error = link.receive(&message.encode(), NOW).map(|_| ()).unwrap_err();
        assert_eq!(error, unexpected("an answer to a put", message.name()));
    }
}
