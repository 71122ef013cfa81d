//! Put sessions: from hello to certificate, and every certificate that must be rejected.

use bytes::Bytes;
use vouch_core::bls::BlsError;
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::chain::MemberId;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::{Code, Failed, MAX_BLOB, MAX_CHUNK, Message, Stage, Stream};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::session::{Certified, PutEvent, SessionError, Source};
use vouch_core::tree::{Outline, OutlineHasher, verify};
use vouch_core::verify::{CLOCK_TOLERANCE, Invalid, Verdict, Verifier};

use super::lone_put::{LonePut, LoneRequest, STREAM};
use super::{CLUSTER, FOREIGN, KEY, Server, identity, unexpected};
use support::committee::{node_secret, receipt_of, salt};

/// Time at which the put starts, in Unix seconds.
pub(super) const NOW: u64 = 1_790_003_600;
pub(super) const FILE: &[u8] = b"a file in three pieces";

pub(super) fn request(trusted: Option<ClusterId>, source: Source) -> LoneRequest {
    LoneRequest { trusted, source, renew: false }
}

pub(super) fn known() -> Source {
    Source::Known { digest: Digest::of(FILE), length: FILE.len() as u64 }
}

pub(super) fn receipt() -> Receipt {
    receipt_of(salt("put"), FILE)
}

pub(super) fn receive(session: &mut LonePut, message: &Message) -> Result<Vec<PutEvent>, SessionError> {
    session.receive(&message.encode(), NOW)
}

/// A session after `Auth` and before `Cluster`, with the `Put` that it sent.
pub(super) fn opened(request: LoneRequest) -> (LonePut, Message) {
    let (mut session, hello) = LonePut::new(request);
    let [listener, auth] = Server::honest().welcome(&hello);
    assert!(session.receive(&listener, NOW).unwrap().is_empty());
    let mut events = session.receive(&auth, NOW).unwrap();
    match (events.pop(), events.len()) {
        (Some(PutEvent::Send(put)), 0) => (session, put),
        other => panic!("{other:?}"),
    }
}

/// A session after `Ready`.
fn ready(request: LoneRequest) -> LonePut {
    let (mut session, _) = opened(request);
    let events = receive(&mut session, &CLUSTER.message()).unwrap();
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(session.chain.as_ref().unwrap().current().record(), CLUSTER.record());
    let events = receive(&mut session, &Message::Ready { stream: STREAM, offset: 0 }).unwrap();
    assert!(matches!(&events[..], [PutEvent::Ready { offset: 0 }]), "{events:?}");
    session
}

/// A session that sent every byte, with its last message, `PutEnd`.
pub(super) fn sent(request: LoneRequest) -> (LonePut, Message) {
    let mut session = ready(request);
    let mut offset = 0;
    // offered bytes are sent in whole blocks
    let size = if request.source == Source::Streamed { 8 } else { FILE.len() };
    for piece in FILE.chunks(size) {
        let bytes = Bytes::from_static(piece);
        let chunk = session.chunk(bytes.clone()).unwrap();
        assert_eq!(chunk, Message::Chunk { stream: STREAM, offset, parents: Vec::new(), bytes });
        offset += piece.len() as u64;
    }
    let end = session.end().unwrap();
    (session, end)
}

/// The result of a session that receives this certificate.
fn certified(certificate: Certificate) -> Result<Box<Certified>, SessionError> {
    let (mut session, _) = sent(request(Some(identity(&CLUSTER)), known()));
    let message = Message::Certified { stream: STREAM, certificate: Box::new(certificate) };
    let mut events = receive(&mut session, &message)?;
    match (events.pop(), events.len()) {
        (Some(PutEvent::Certified(certified)), 0) => {
            // a second certificate is ignored
            assert!(receive(&mut session, &message).unwrap().is_empty());
            Ok(certified)
        }
        other => panic!("{other:?}"),
    }
}

fn error(certificate: Certificate) -> SessionError {
    certified(certificate).map(|_| ()).unwrap_err()
}

#[test]
fn put_ends_with_a_bundle_that_verifies() {
    for source in [known(), Source::Streamed] {
        for trusted in [None, Some(identity(&CLUSTER))] {
            let request = request(trusted, source);
            let offer = (source == known()).then(receipt);
            assert_eq!(opened(request).1, Message::Put { stream: STREAM, offer, renew: false, authorisation: None });
            let (mut session, end) = sent(request);
            assert_eq!(end, Message::PutEnd { stream: STREAM, receipt: receipt(), authorisation: None });
            for stage in [Stage::Receiving, Stage::Stored, Stage::Voted, Stage::Dropped] {
                let progress = Message::Progress { stream: STREAM, member: 2, stage };
                let events = receive(&mut session, &progress).unwrap();
                let [PutEvent::Progress { member: MemberId { epoch: 0, index: 2 }, stage: got }] = events[..] else {
                    panic!("{events:?}")
                };
                assert_eq!(got, stage);
            }
            let certificate = CLUSTER.certify_one(NOW, receipt());
            let message = Message::Certified { stream: STREAM, certificate: Box::new(certificate.clone()) };
            let events = receive(&mut session, &message).unwrap();
            let [PutEvent::Certified(certified)] = &events[..] else { panic!("{events:?}") };
            assert_eq!(certified.certificate, certificate);
            assert_eq!(certified.server, node_secret(KEY).node_key());
            assert_eq!(certified.committee().record(), CLUSTER.record());
            let verdict = Verifier::new().verify(certified.bundle.to_json().as_bytes(), &CLUSTER.options(&receipt()));
            assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
        }
    }
}

#[test]
fn empty_file_sends_no_chunk() {
    for source in [Source::Streamed, Source::Known { digest: Digest::of(b""), length: 0 }] {
        let mut session = ready(request(None, source));
        let receipt = receipt_of(salt("put"), b"");
        assert_eq!(session.end(), Ok(Message::PutEnd { stream: STREAM, receipt, authorisation: None }));
        let certificate = Box::new(CLUSTER.certify_one(NOW, receipt));
        assert!(receive(&mut session, &Message::Certified { stream: STREAM, certificate }).is_ok());
    }
}

#[test]
fn small_file_is_sent_in_one_message() {
    let whole = |bytes| LonePut::with(request(None, known()), None, Some(Bytes::from_static(bytes)), None);
    let changed = |got| SessionError::SourceChanged { expected: FILE.len() as u64, got };
    assert_eq!(whole(b"shorter").map(|_| ()), Err(changed(7)));
    let request = request(Some(identity(&CLUSTER)), known());
    let (mut session, hello) = LonePut::with(request, None, Some(Bytes::from_static(FILE)), None).unwrap();
    let [listener, auth] = Server::honest().welcome(&hello);
    session.receive(&listener, NOW).unwrap();
    let events = session.receive(&auth, NOW).unwrap();
    let [PutEvent::Send(Message::Blob { stream: STREAM, receipt: sent, renew: false, bytes, authorisation: None })] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*sent, &bytes[..]), (receipt(), FILE));
    receive(&mut session, &CLUSTER.message()).unwrap();
    let certificate = Box::new(CLUSTER.certify_one(NOW, receipt()));
    let mut events = receive(&mut session, &Message::Certified { stream: STREAM, certificate }).unwrap();
    assert!(matches!(events.pop(), Some(PutEvent::Certified(_))));
    // no progress came before: signers count as stored, the fourth member as not taking part
    let told = events.into_iter().map(|event| match event {
        PutEvent::Progress { member, stage } => (member.index, stage),
        other => panic!("{other:?}"),
    });
    let stages = |stage| [(0, stage), (1, stage), (2, stage)];
    let expected = [&stages(Stage::Stored)[..], &stages(Stage::Voted), &[(3, Stage::Dropped)]].concat();
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn large_file_is_offered_before_it_is_sent() {
    let bytes = vec![7; MAX_BLOB + 1];
    let source = Source::Known { digest: Digest::of(&bytes), length: bytes.len() as u64 };
    let (mut session, hello) = LonePut::with(request(None, source), None, Some(bytes.into()), None).unwrap();
    for message in Server::honest().welcome(&hello) {
        for event in session.receive(&message, NOW).unwrap() {
            assert!(matches!(event, PutEvent::Send(Message::Put { .. })), "{event:?}");
        }
    }
}

#[test]
fn only_the_own_certificate_of_a_batch_is_accepted() {
    let batch = [receipt_of(salt("neighbour"), b"neighbour"), receipt(), receipt_of(salt("third"), b"third")];
    let [neighbour, own, _] = <[_; 3]>::try_from(CLUSTER.certify(NOW, &batch)).unwrap();
    assert_eq!(certified(own.clone()).unwrap().certificate, own);
    // expected: the certificate's digest; got: the file's
    let (expected, got) = (neighbour.claim.receipt.digest, receipt().digest);
    assert_eq!(error(neighbour), SessionError::Invalid(Invalid::DigestDiffers { expected, got }));
}

#[test]
fn certificate_of_another_receipt_is_rejected() {
    let other = |change: fn(&mut Receipt)| {
        let mut receipt = receipt();
        change(&mut receipt);
        (receipt, error(CLUSTER.certify_one(NOW, receipt)))
    };
    let (file, got) = other(|receipt| receipt.digest = Digest::of(b"another"));
    let expected = Invalid::DigestDiffers { expected: file.digest, got: receipt().digest };
    assert_eq!(got, SessionError::Invalid(expected));
    let (_, got) = other(|receipt| receipt.length += 1);
    let expected = Invalid::LengthDiffers { expected: receipt().length + 1, got: receipt().length };
    assert_eq!(got, SessionError::Invalid(expected));
    // an earlier put of the same file by any client; an earlier or later expiry than requested
    let changes: [fn(&mut Receipt); 4] = [
        |receipt| receipt.salt[15] ^= 1,
        |receipt| receipt.expires_at -= 1,
        |receipt| receipt.expires_at += 1,
        |receipt| receipt.expires_at = NEVER,
    ];
    for change in changes {
        let (changed, got) = other(change);
        assert_eq!(got, SessionError::AnotherReceipt { expected: Box::new(receipt()), got: Box::new(changed) });
    }
    let (_, got) = other(|receipt| receipt.expires_at = NOW);
    assert_eq!(got, SessionError::Invalid(Invalid::Expired { expires_at: NOW, now: NOW }));
}

#[test]
fn certificate_time_must_match_the_put() {
    let begun = NOW - CLOCK_TOLERANCE;
    for issued_at in [begun, NOW, NOW + CLOCK_TOLERANCE] {
        assert!(certified(CLUSTER.certify_one(issued_at, receipt())).is_ok());
    }
    let old = SessionError::OldCertificate { expected: begun, got: begun - 1 };
    assert_eq!(error(CLUSTER.certify_one(begun - 1, receipt())), old);
    let issued_at = NOW + CLOCK_TOLERANCE + 1;
    let future = Invalid::FromTheFuture { issued_at, now: NOW };
    assert_eq!(error(CLUSTER.certify_one(issued_at, receipt())), SessionError::Invalid(future));
}

#[test]
fn long_put_is_certified_at_its_end() {
    let (mut session, _) = sent(request(None, known()));
    let later = NOW + 86_400;
    let certificate = Box::new(CLUSTER.certify_one(later, receipt()));
    let message = Message::Certified { stream: STREAM, certificate }.encode();
    assert!(matches!(session.receive(&message, later).unwrap()[..], [PutEvent::Certified(_)]));
}

#[test]
fn certificate_must_be_by_a_quorum_of_this_committee() {
    let honest = CLUSTER.certify_one(NOW, receipt());
    let below = Certificate { signers: Signers::new(4, [0, 1]).unwrap(), ..honest.clone() };
    assert_eq!(error(below), SessionError::Invalid(Invalid::BelowQuorum { signers: 2, quorum: 3 }));
    let others = Certificate { signers: Signers::new(4, [1, 2, 3]).unwrap(), ..honest.clone() };
    assert_eq!(error(others), SessionError::Invalid(Invalid::Signature(BlsError::Mismatch)));
    let larger = Certificate { signers: Signers::new(5, [0, 1, 2]).unwrap(), ..honest.clone() };
    assert_eq!(error(larger), SessionError::Invalid(Invalid::BitmapSize { expected: 4, got: 5 }));
    let mut later = honest.clone();
    later.claim.issued_at += 1;
    assert_eq!(error(later), SessionError::Invalid(Invalid::Signature(BlsError::Mismatch)));
    let epoch = Certificate { epoch: 1, ..honest.clone() };
    assert_eq!(error(epoch), SessionError::Invalid(Invalid::AnotherEpoch { expected: 0, got: 1 }));

    let foreign = FOREIGN.certify_one(NOW, receipt());
    let (expected, got) = (CLUSTER.record().digest(), FOREIGN.record().digest());
    let another = SessionError::Invalid(Invalid::AnotherCommittee { expected, got });
    assert_eq!(error(foreign.clone()), another);
    // the same with the expected committee's digest
    let disguised = Certificate { committee: expected, ..foreign };
    assert_eq!(error(disguised), SessionError::Invalid(Invalid::Signature(BlsError::Mismatch)));
}

#[test]
fn messages_out_of_order_end_the_put() {
    let at = |mut session: LonePut, message: &Message| receive(&mut session, message).map(|_| ()).unwrap_err();
    let own = || request(Some(identity(&CLUSTER)), known());
    let certificate = Message::Certified { stream: STREAM, certificate: Box::new(CLUSTER.certify_one(NOW, receipt())) };
    let ready_message = |stream| Message::Ready { stream, offset: 0 };
    assert_eq!(at(opened(own()).0, &ready_message(STREAM)), unexpected("Cluster, then Ready or Certified", "Ready"));
    assert_eq!(at(opened(own()).0, &certificate), unexpected("Cluster", "Certified"));
    assert_eq!(at(ready(own()), &certificate), unexpected("Progress", "Certified"));
    assert_eq!(at(ready(own()), &ready_message(STREAM)), unexpected("Progress", "Ready"));
    assert_eq!(at(sent(own()).0, &ready_message(STREAM)), unexpected("Progress or Certified", "Ready"));
    // on an unused stream
    let Message::Certified { certificate, .. } = certificate else { unreachable!() };
    let elsewhere = Message::Certified { stream: Stream(2), certificate };
    assert_eq!(at(sent(own()).0, &elsewhere), unexpected("an answer to a put", "Certified"));
    let progress = Message::Progress { stream: Stream(2), member: 0, stage: Stage::Stored };
    assert_eq!(at(sent(own()).0, &progress), unexpected("an answer to a put", "Progress"));
}

#[test]
fn failure_ends_a_put_in_any_phase() {
    let failed = Failed::new(STREAM, Code::TimedOut, "30 s without a vote").with_subjects(vec![0, 2]);
    let own = || request(None, known());
    for (mut session, names) in [
        (opened(own()).0, vec![]),
        (ready(own()), vec!["replica-0".to_owned(), "replica-2".to_owned()]),
        (sent(own()).0, vec!["replica-0".to_owned(), "replica-2".to_owned()]),
    ] {
        let error = receive(&mut session, &Message::Failed(failed.clone())).map(|_| ()).unwrap_err();
        assert_eq!(error, SessionError::Refused { failed: failed.clone(), names });
    }
}

#[test]
fn file_that_changes_during_the_put_is_detected() {
    let length = FILE.len() as u64;
    let mut longer = ready(request(None, known()));
    longer.chunk(Bytes::from_static(FILE)).unwrap();
    let changed = |got| Err(SessionError::SourceChanged { expected: length, got });
    assert_eq!(longer.chunk(Bytes::from_static(b"!")), changed(length + 1));
    let mut shorter = ready(request(None, known()));
    assert_eq!(shorter.chunk(Bytes::from_static(&FILE[1..])), changed(length - 1));
    let mut nothing = ready(request(None, known()));
    assert_eq!(nothing.end().map(|_| ()), Err(SessionError::SourceChanged { expected: length, got: 0 }));
    assert_eq!(shorter.cancel(), Some(Message::Cancel { stream: STREAM, keep: false }));
    assert_eq!(shorter.cancel(), None);
}

/// `length` bytes, with their digest and outline.
fn outlined(length: usize) -> (Vec<u8>, Digest, Outline) {
    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 249).unwrap()).collect();
    let mut hasher = OutlineHasher::new();
    hasher.update(&bytes);
    let (digest, outline) = hasher.finish();
    (bytes, digest, outline)
}

/// An offered put for which the server requests bytes from an offset on.
fn begun(digest: Digest, length: u64, outline: Option<Outline>, offset: u64) -> Result<LonePut, SessionError> {
    let request = request(None, Source::Known { digest, length });
    let (mut session, hello) = LonePut::with(request, None, None, outline).unwrap();
    for message in Server::honest().welcome(&hello) {
        session.receive(&message, NOW).unwrap();
    }
    receive(&mut session, &CLUSTER.message()).unwrap();
    let events = receive(&mut session, &Message::Ready { stream: STREAM, offset })?;
    assert!(matches!(events[..], [PutEvent::Ready { offset: at }] if at == offset), "{events:?}");
    Ok(session)
}

#[test]
fn every_offered_block_is_sent_with_a_proof() {
    let (bytes, digest, outline) = outlined(3 * MAX_CHUNK + 5);
    let length = bytes.len() as u64;
    let begun = |outline| begun(digest, length, outline, 0).unwrap();
    let mut session = begun(Some(outline.clone()));
    for block in bytes.chunks(MAX_CHUNK) {
        let chunk = session.chunk(Bytes::copy_from_slice(block)).unwrap();
        let Message::Chunk { offset, parents, bytes, .. } = chunk else { panic!("{chunk:?}") };
        assert_eq!(verify(&digest, length, offset, &bytes, &parents), Ok(()), "{offset}");
    }
    assert!(matches!(session.end(), Ok(Message::PutEnd { .. })));
    // a file that ends within a block has changed
    let got = MAX_CHUNK as u64 + 7;
    let mut shorter = begun(Some(outline));
    shorter.chunk(Bytes::copy_from_slice(&bytes[..MAX_CHUNK])).unwrap();
    let changed = Err(SessionError::SourceChanged { expected: length, got });
    assert_eq!(shorter.chunk(Bytes::copy_from_slice(&bytes[..7])), changed);
    let unproved = Err(SessionError::Unproved { offset: 0, size: MAX_CHUNK as u64 });
    assert_eq!(begun(None).chunk(Bytes::copy_from_slice(&bytes[..MAX_CHUNK])), unproved);
}

#[test]
fn put_resumes_at_the_requested_offset() {
    let block = MAX_CHUNK as u64;
    let (bytes, digest, outline) = outlined(2 * MAX_CHUNK + 5);
    let length = bytes.len() as u64;
    let asked = |offset| begun(digest, length, Some(outline.clone()), offset);
    for offset in [0, block, 2 * block, length] {
        let mut session = asked(offset).unwrap();
        for (place, piece) in
            (offset..length).step_by(MAX_CHUNK).zip(bytes[usize::try_from(offset).unwrap()..].chunks(MAX_CHUNK))
        {
            let chunk = session.chunk(Bytes::copy_from_slice(piece)).unwrap();
            let Message::Chunk { offset, parents, bytes, .. } = chunk else { panic!("{chunk:?}") };
            assert_eq!((offset, verify(&digest, length, offset, &bytes, &parents)), (place, Ok(())));
        }
        assert!(matches!(session.end(), Ok(Message::PutEnd { .. })), "{offset}");
    }
    for got in [1, block - 1, length - 1, length + 1, 3 * block, u64::MAX >> 11] {
        assert_eq!(asked(got).map(|_| ()).unwrap_err(), SessionError::BadOffset { length, got });
    }
    // a stream cannot resume
    let (mut streamed, _) = opened(request(None, Source::Streamed));
    receive(&mut streamed, &CLUSTER.message()).unwrap();
    let went_on = receive(&mut streamed, &Message::Ready { stream: STREAM, offset: block }).map(|_| ());
    assert_eq!(went_on, Err(SessionError::BadOffset { length: 0, got: block }));
}
