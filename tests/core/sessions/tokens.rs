//! Puts and gets that are authorised with a token.

use bytes::Bytes;
use vouch_core::access::{Action, Authorisation, TokenSecret};
use vouch_core::digest::Digest;
use vouch_core::message::{Message, Stream};
use vouch_core::session::{GetEvent, GetRequest, GetSession, NewPut, PutEvent, PutLink, PutLinkEvent, Source};

use super::put::NOW;
use super::{CLUSTER, Server, identity};
use support::committee::{EXPIRES, hello_nonce, receipt_of, salt};

const FILE: &[u8] = b"a file";
/// When a stream ends.
const LATER: u64 = NOW + 5000;

fn token() -> TokenSecret {
    TokenSecret::from_bytes(&[3; 32])
}

#[track_caller]
fn assert_authorises(authorisation: Option<Authorisation>, action: Action<'_>, now: u64) {
    let authorisation = authorisation.expect("an authorisation");
    assert_eq!((authorisation.key, authorisation.signed_at), (token().key(), now));
    assert_eq!(authorisation.verify(&identity(&CLUSTER), action, now), Ok(()));
}

/// A link for puts whose server has proved its key, and has shown no committee.
fn link(trusts: bool) -> PutLink {
    let trusted = trusts.then(|| identity(&CLUSTER));
    let (link, hello) = PutLink::new(trusted, hello_nonce("tokens"));
    let mut link = link.with_token(Some(token()));
    for message in Server::honest().welcome(&hello) {
        link.receive(&message, NOW).unwrap();
    }
    link
}

fn new_put(source: Source) -> NewPut {
    NewPut { source, expires_at: EXPIRES, salt: salt("tokens"), now: NOW, renew: false }
}

fn known() -> Source {
    Source::Known { digest: Digest::of(FILE), length: FILE.len() as u64 }
}

/// The first message of the put, which the committee brings.
fn first(link: &mut PutLink) -> Message {
    let events = link.receive(&CLUSTER.message().encode(), NOW).unwrap();
    match &events[..] {
        [PutLinkEvent::Cluster(_), PutLinkEvent::Put(_, Ok(PutEvent::Send(message)))] => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_put_waits_for_the_cluster_and_authorises_its_receipt() {
    let receipt = receipt_of(salt("tokens"), FILE);
    for trusts in [true, false] {
        for bytes in [None, Some(Bytes::from_static(FILE))] {
            let mut link = link(trusts);
            let is_whole = bytes.is_some();
            let (_, message) = link.begin(new_put(known()), bytes, None).unwrap();
            assert_eq!(message, None, "an authorisation names the cluster, which is not known yet");
            let authorisation = match first(&mut link) {
                Message::Blob { authorisation, receipt: sent, .. } if is_whole => {
                    assert_eq!(sent, receipt);
                    authorisation
                }
                Message::Put { authorisation, offer, .. } if !is_whole => {
                    assert_eq!(offer, Some(receipt));
                    authorisation
                }
                other => panic!("{other:?}"),
            };
            assert_authorises(authorisation, Action::Store(&receipt), NOW);
            // Once the cluster is known, the next one goes at once.
            let (_, next) = link.begin(new_put(known()), None, None).unwrap();
            assert!(matches!(next, Some(Message::Put { authorisation: Some(_), .. })), "{next:?}");
        }
    }
}

#[test]
fn a_stream_authorises_sending_and_then_its_receipt_at_its_end() {
    let mut link = link(true);
    link.begin(new_put(Source::Streamed), None, None).unwrap();
    let Message::Put { authorisation, offer: None, .. } = first(&mut link) else { panic!("no put") };
    assert_authorises(authorisation, Action::Send, NOW);
    let stream = Stream(1);
    link.receive(&Message::Ready { stream, offset: 0 }.encode(), NOW).unwrap();
    link.chunk(stream, Bytes::from_static(FILE)).unwrap();
    let end = link.end(stream, LATER).unwrap();
    let Some(Message::PutEnd { receipt, authorisation, .. }) = end else { panic!("{end:?}") };
    assert_eq!(receipt, receipt_of(salt("tokens"), FILE));
    assert_authorises(authorisation, Action::Store(&receipt), LATER);
}

#[test]
fn an_offer_is_authorised_once() {
    let mut link = link(true);
    link.begin(new_put(known()), None, None).unwrap();
    first(&mut link);
    let stream = Stream(1);
    link.receive(&Message::Ready { stream, offset: 0 }.encode(), NOW).unwrap();
    link.chunk(stream, Bytes::from_static(FILE)).unwrap();
    let end = link.end(stream, LATER).unwrap();
    assert!(matches!(end, Some(Message::PutEnd { authorisation: None, .. })), "{end:?}");
}

#[test]
fn a_get_waits_for_the_cluster_and_authorises_its_lookup() {
    let digest = Digest::of(FILE);
    for trusted in [Some(identity(&CLUSTER)), None] {
        let request = GetRequest { trusted, digest, length: None, range: None, nonce: hello_nonce("tokens") };
        let (session, hello) = GetSession::new(request);
        let mut session = session.with_token(Some(token()), NOW);
        for message in Server::honest().welcome(&hello) {
            assert!(session.receive(&message).unwrap().is_empty());
        }
        let events = session.receive(&CLUSTER.message().encode()).unwrap();
        let [GetEvent::Send(Message::Locate { digest: asked, authorisation, .. })] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(asked, digest);
        assert_authorises(authorisation, Action::Read(&digest), NOW);
    }
}
