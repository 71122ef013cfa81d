//! Clients of a cluster whose committee has changed.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::chain::{ChainError, Checkpoint, EpochLink};
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::{Hello, Role, Transcript};
use vouch_core::message::{ClusterMessage, Code, EpochsMessage, Failed, Message, Stream};
use vouch_core::session::{Attempts, Failure, FailureKind, Fault, GetSession, PutEvent, SessionError, WantedBytes};
use vouch_core::verify::{Invalid, Trust};

use super::lone_put::{LonePut, STREAM};
use super::{KEY, put, unexpected};
use support::committee::{TestEpochs, hello_nonce, node_secret};

const MINUTE: Duration = Duration::from_secs(60);
static EPOCHS: LazyLock<TestEpochs> = LazyLock::new(|| TestEpochs::new(4, 3));

fn genesis(of: &Committee) -> Message {
    let (genesis, possessions) = (of.record().clone(), of.possessions().to_vec());
    Message::Cluster(ClusterMessage { genesis, possessions })
}

fn epochs(more: bool, links: impl IntoIterator<Item = EpochLink>) -> Message {
    Message::Epochs(EpochsMessage { more, links: links.into_iter().collect() })
}

/// The hello and the proof of a server that announces an epoch.
fn welcome(dialer: &Hello, announced: u64) -> [Message; 2] {
    let cluster = Some(EPOCHS.chain.cluster());
    let listener = Hello::new(Role::Server, cluster, node_secret(KEY).node_key(), hello_nonce("sessions server"));
    let listener = Hello { epoch: announced, ..listener };
    let auth = node_secret(KEY).sign(&Transcript::new(dialer, &listener, None), Role::Server);
    [Message::Hello(listener), Message::Auth(auth)]
}

/// A get after the messages of a server that announces an epoch and then shows these. With the epoch that the client named.
fn get(attempts: &Attempts, announced: u64, shown: &[Message]) -> (GetSession, u64, Result<(), SessionError>) {
    let wanted = WantedBytes { digest: Digest::of(b"blob"), length: None, range: None };
    let (mut session, hello) = attempts.link_options().get_session(wanted, hello_nonce("epochs"), 0);
    let Message::Hello(dialer) = hello else { panic!("{hello:?}") };
    let welcome = welcome(&dialer, announced);
    let mut all = welcome.iter().chain(shown).map(Message::encode);
    let result = all.try_for_each(|bytes| session.receive(&bytes).map(drop));
    (session, dialer.epoch, result)
}

fn shown_to_a_stranger(announced: u64, shown: &[Message]) -> Result<Option<u64>, SessionError> {
    let (session, named, result) = get(&Attempts::new(Some(EPOCHS.chain.cluster()), MINUTE), announced, shown);
    assert_eq!(named, 0);
    result.map(|()| session.chain().map(|chain| chain.current().record().epoch()))
}

#[test]
fn the_committee_is_known_once_every_announced_epoch_was_shown() {
    let first = genesis(EPOCHS.chain.first());
    let all: Vec<_> = EPOCHS.chain.links(3).collect();
    let (early, late) = (epochs(true, all[..2].to_vec()), epochs(false, all[2..].to_vec()));
    let shown = |messages: &[Message]| shown_to_a_stranger(3, messages).unwrap();
    assert_eq!(shown(std::slice::from_ref(&first)), None);
    assert_eq!(shown(&[first.clone(), early.clone()]), None);
    assert_eq!(shown(&[first.clone(), early, late]), Some(3));
    assert_eq!(shown(&[first.clone(), epochs(false, all)]), Some(3));
    // Nothing else comes between: its numbers of members would be read with the wrong committee.
    let located = Message::Located { stream: Stream(1), holders: Vec::new() };
    assert_eq!(shown_to_a_stranger(3, &[first, located]), Err(unexpected("Epochs", "Located")));
}

#[test]
fn a_server_that_shows_another_epoch_than_it_announced_is_refused() {
    let (first, all) = (genesis(EPOCHS.chain.first()), EPOCHS.chain.links(3).collect::<Vec<_>>());
    let shown = |announced, more, count: usize| {
        shown_to_a_stranger(announced, &[first.clone(), epochs(more, all[..count].to_vec())])
    };
    assert_eq!(shown(3, false, 2), Err(SessionError::AnotherEpoch { expected: 3, got: 2 }));
    assert_eq!(shown(2, false, 3), Err(SessionError::AnotherEpoch { expected: 2, got: 3 }));
    assert_eq!(shown(2, true, 2), Err(SessionError::AnotherEpoch { expected: 2, got: 2 }));
    // Announced none: the message is not expected at all.
    assert!(matches!(shown(0, false, 1), Err(SessionError::Unexpected { got: "Epochs", .. })));
}

#[test]
fn a_chain_that_does_not_follow_is_refused() {
    let first = genesis(EPOCHS.chain.first());
    let mut all: Vec<_> = EPOCHS.chain.links(3).collect();
    all[1].handoff.signature = all[0].handoff.signature;
    let error = shown_to_a_stranger(3, &[first, epochs(false, all)]).unwrap_err();
    assert!(matches!(&error, SessionError::Chain(chain) if matches!(**chain, ChainError::Handoff { epoch: 2, .. })));
    let failure = Failure::from(&error);
    assert_eq!((failure.code, failure.check, failure.can_retry), (FailureKind::Invalid, Some("chain"), false));
    let (expected, got) = (failure.expected.unwrap(), failure.got.unwrap());
    assert!(!expected.is_empty() && expected != got, "{expected} {got}");
}

#[test]
fn a_client_names_the_epoch_that_it_knows_and_is_shown_only_later_ones() {
    let mut attempts = Attempts::new(None, MINUTE);
    attempts.verified(EPOCHS.up_to(1));
    let first = genesis(EPOCHS.chain.first());
    let rest = epochs(false, EPOCHS.chain.links_after(1));
    let (session, named, result) = get(&attempts, 3, &[first.clone(), rest]);
    assert_eq!((named, result), (1, Ok(())));
    attempts.heard(&session);
    // Nothing more to show.
    let (session, named, result) = get(&attempts, 3, std::slice::from_ref(&first));
    assert_eq!((named, result), (3, Ok(())));
    assert_eq!(session.chain().unwrap().current().record(), EPOCHS.chain.current().record());
    // The chain of a slower link does not replace it.
    attempts.verified(EPOCHS.up_to(2));
    assert_eq!(get(&attempts, 3, &[]).1, 3);
    // A server that is behind may catch up.
    let (_, _, result) = get(&attempts, 2, &[first]);
    let error = result.unwrap_err();
    assert_eq!(error, SessionError::OldEpoch { expected: 3, got: 2 });
    assert_eq!(Fault::from(&error), Fault::Link);
    let failure = Failure::from(&error);
    assert_eq!((failure.code, failure.check, failure.can_retry), (FailureKind::OldEpoch, Some("epoch"), true));
}

#[test]
fn a_client_that_pins_a_committee_refuses_servers_without_it() {
    let first = genesis(EPOCHS.chain.first());
    let pinning = |of: &TestEpochs, epoch| {
        let trust = Trust { cluster: Some(of.chain.cluster()), checkpoint: Some((&of.up_to(epoch)).into()) };
        Attempts::new(trust, MINUTE)
    };
    let shown = |attempts: &Attempts, epoch| {
        let links = epochs(false, EPOCHS.chain.links(epoch));
        let all = [first.clone(), links];
        get(attempts, epoch, if epoch == 0 { &all[..1] } else { &all })
    };
    // It still verifies the committees before, and does not ask for those after only.
    let (session, named, result) = shown(&pinning(&EPOCHS, 2), 3);
    assert_eq!((named, result), (0, Ok(())));
    assert_eq!(session.chain().unwrap().current().record(), EPOCHS.chain.current().record());
    for (pinned, last) in [(0, 0), (2, 2)] {
        assert_eq!(shown(&pinning(&EPOCHS, pinned), last).2, Ok(()));
    }
    // Before the server has even proved its key: nothing was sent that it should not have.
    for last in [0, 1] {
        let error = get(&pinning(&EPOCHS, 2), last, &[]).2.unwrap_err();
        assert_eq!(error, SessionError::OldEpoch { expected: 2, got: last });
    }
    let other = TestEpochs::forked(4);
    let (session, _, result) = shown(&pinning(&other, 1), 3);
    let error = result.unwrap_err();
    let [expected, got] = [&other, &*EPOCHS].map(|of| Checkpoint::from(&of.up_to(1)).committee);
    assert_eq!(error, SessionError::AnotherCommittee { epoch: 1, expected, got });
    assert!(session.chain().is_none());
    assert_eq!(Fault::from(&error), Fault::Permanent);
    let failure = Failure::from(&error);
    assert_eq!((failure.code, failure.check, failure.can_retry), (FailureKind::AnotherCommittee, Some("chain"), false));
    assert!(
        failure.message.contains(&expected.to_string()) && failure.message.contains(&got.to_string()),
        "{failure:?}"
    );
}

/// A refusal before a put was ready is final, but a new epoch is not a refusal.
#[test]
fn a_link_that_ends_with_its_epoch_is_retried_like_a_lost_one() {
    let failed = Failed::new(Stream::LINK, Code::NewEpoch, "epoch 4 has begun");
    let error = SessionError::refused(failed, None);
    assert_eq!(Fault::from(&error), Fault::Link);
    assert_eq!(Fault::of_problem("new-epoch"), Fault::Link);
    let mut attempts = Attempts::new(None, MINUTE);
    let (session, ..) = get(&attempts, 3, &[]);
    attempts.heard(&session);
    assert!(attempts.retry.may_pass(Fault::from(&error)) && !attempts.retry.may_pass(Fault::Refusal));
    assert!(Failure::from(&error).can_retry);
}

#[test]
fn a_put_accepts_only_certificates_of_the_current_committee() {
    let certified = |epoch| {
        let (mut session, hello) = LonePut::with(
            put::request(Some(EPOCHS.chain.cluster()), put::known()),
            None,
            Some(Bytes::from_static(put::FILE)),
            None,
        )
        .unwrap();
        let Message::Hello(dialer) = hello else { panic!("{hello:?}") };
        let certificate = Box::new(EPOCHS.certify(epoch, put::NOW, put::receipt()));
        let shown = [
            genesis(EPOCHS.chain.first()),
            epochs(false, EPOCHS.chain.links(3)),
            Message::Certified { stream: STREAM, certificate },
        ];
        let mut last = Vec::new();
        for message in welcome(&dialer, 3).iter().chain(&shown) {
            last = put::receive(&mut session, message)?;
        }
        Ok(last.pop())
    };
    let Ok(Some(PutEvent::Certified(current))) = certified(3) else { panic!("it is certified") };
    assert_eq!((current.certificate.epoch, current.bundle.chain.epochs.len()), (3, 3));
    assert_eq!(current.committee().record(), EPOCHS.chain.current().record());
    let error = certified(2).unwrap_err();
    assert!(matches!(error, SessionError::Invalid(Invalid::AnotherCommittee { .. })), "{error}");
}
