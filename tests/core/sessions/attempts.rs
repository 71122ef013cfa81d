//! What passes from one attempt of a put or a get to the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::Digest;
use vouch_core::message::Message;
use vouch_core::session::{Attempts, Fault, GetSession, PutLinkEvent, SessionError, WantedBytes};

use super::put::NOW;
use super::{CLUSTER, FOREIGN, Server, identity};
use support::committee::{TestCommittee, hello_nonce};

const MINUTE: Duration = Duration::from_secs(60);

/// The committees that the next attempt accepts from a server.
fn attempt(attempts: &Attempts, shown: &TestCommittee, message: Message) -> Result<CommitteeChain, SessionError> {
    let (mut link, hello) = attempts.link_options().put_link(hello_nonce("attempts"));
    for bytes in (Server { announced: Some(identity(shown)), ..Server::honest() }).welcome(&hello) {
        link.receive(&bytes, NOW)?;
    }
    match link.receive(&message.encode(), NOW)?.pop() {
        Some(PutLinkEvent::Cluster(chain)) => Ok(chain),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retry_trusts_only_the_cluster_of_the_first_attempt() {
    let mut attempts = Attempts::new(None, MINUTE);
    assert_eq!(attempts.link_options().trusted.cluster, None);
    attempts.verified(attempt(&attempts, &CLUSTER, CLUSTER.message()).unwrap());
    assert_eq!(attempts.link_options().trusted.cluster, Some(identity(&CLUSTER)));
    let (expected, got) = (identity(&CLUSTER), Some(identity(&FOREIGN)));
    assert_eq!(
        attempt(&attempts, &FOREIGN, FOREIGN.message()).map(|_| ()),
        Err(SessionError::AnotherCluster { expected, got })
    );
}

#[test]
fn given_identity_is_trusted_before_any_attempt() {
    let mut attempts = Attempts::new(Some(identity(&FOREIGN)), MINUTE);
    attempts.verified(CLUSTER.committee.clone().into());
    assert_eq!(attempts.link_options().trusted.cluster, Some(identity(&FOREIGN)));
}

#[test]
fn committee_is_verified_once_and_again_if_its_proofs_differ() {
    let mut attempts = Attempts::new(None, MINUTE);
    let first = attempt(&attempts, &CLUSTER, CLUSTER.message()).unwrap();
    attempts.verified(first.clone());
    let again = attempt(&attempts, &CLUSTER, CLUSTER.message()).unwrap();
    assert!(Arc::ptr_eq(again.current(), first.current()), "it was verified a second time");
    let mut possessions = CLUSTER.committee.possessions().to_vec();
    possessions.swap(0, 1);
    let forged = attempt(&attempts, &CLUSTER, CLUSTER.message_with(possessions));
    assert!(matches!(forged, Err(SessionError::Committee(_))), "{forged:?}");
}

/// A link of a get, and the messages of its handshake: `Hello`, `Auth` and `Cluster`.
fn get_link(attempts: &Attempts, shown: &TestCommittee) -> (GetSession, [Bytes; 3]) {
    let wanted = WantedBytes { digest: Digest::of(b"blob"), length: None, range: None };
    let (session, hello) = attempts.link_options().get_session(wanted, hello_nonce("attempts"), 0);
    let [listener, auth] = Server { announced: Some(identity(shown)), ..Server::honest() }.welcome(&hello);
    (session, [listener, auth, shown.message().encode()])
}

/// Otherwise a get would be retried at an address where no server ever answered.
#[test]
fn get_counts_as_open_once_the_server_has_proved_its_key() {
    let mut attempts = Attempts::new(None, MINUTE);
    let (mut session, [listener, auth, _]) = get_link(&attempts, &CLUSTER);
    let mut may_retry = |session: &GetSession| {
        attempts.heard(session);
        attempts.retry.may_pass(Fault::Link)
    };
    assert!(!may_retry(&session));
    session.receive(&listener).unwrap();
    assert!(!may_retry(&session));
    session.receive(&auth).unwrap();
    assert!(may_retry(&session));
    // A refusal before any holder was located is final.
    assert!(!attempts.retry.may_pass(Fault::Refusal));
}

#[test]
fn get_passes_its_verified_committee_to_the_next_attempt() {
    let mut attempts = Attempts::new(None, MINUTE);
    let (mut session, [listener, auth, cluster]) = get_link(&attempts, &CLUSTER);
    for bytes in [listener, auth] {
        session.receive(&bytes).unwrap();
        attempts.heard(&session);
    }
    // The server's hello only claims an identity.
    let options = attempts.link_options();
    assert_eq!((options.trusted.cluster, options.known.is_some()), (None, false));
    session.receive(&cluster).unwrap();
    attempts.heard(&session);
    let options = attempts.link_options();
    assert_eq!(options.trusted.cluster, Some(identity(&CLUSTER)));
    assert!(Arc::ptr_eq(options.known.unwrap().current(), session.chain().unwrap().current()));

    let (mut again, messages) = get_link(&attempts, &CLUSTER);
    messages.iter().for_each(|bytes| assert!(again.receive(bytes).is_ok()));
    assert!(Arc::ptr_eq(again.chain().unwrap().current(), session.chain().unwrap().current()), "verified again");
    let (mut abroad, [listener, ..]) = get_link(&attempts, &FOREIGN);
    let (expected, got) = (identity(&CLUSTER), Some(identity(&FOREIGN)));
    assert_eq!(abroad.receive(&listener).map(|_| ()), Err(SessionError::AnotherCluster { expected, got }));
}

#[test]
fn committee_of_a_later_link_does_not_replace_the_first() {
    let mut attempts = Attempts::new(None, MINUTE);
    // Two links that began at the same time, so neither knows the other's committee.
    let links = [&*CLUSTER, &*FOREIGN].map(|shown| {
        let (mut session, messages) = get_link(&attempts, shown);
        messages.iter().for_each(|bytes| assert!(session.receive(bytes).is_ok()));
        session
    });
    links.iter().for_each(|session| attempts.heard(session));
    let options = attempts.link_options();
    assert_eq!(options.trusted.cluster, Some(identity(&CLUSTER)));
    assert!(Arc::ptr_eq(options.known.unwrap().current(), links[0].chain().unwrap().current()));
}

#[test]
fn limit_of_the_retries_limits_each_wait() {
    let longest = |limit| Attempts::new(None, limit).link_options().limit.longest();
    assert_eq!(longest(MINUTE), Some(Duration::from_secs(75)));
    assert_eq!(longest(Duration::ZERO), None);
}
