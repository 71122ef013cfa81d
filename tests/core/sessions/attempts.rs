//! What passes from one attempt of a put to the next.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::message::Message;
use vouch_core::session::{Attempts, PutLinkEvent, SessionError};

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
    assert_eq!(attempts.link_options().trusted, None);
    attempts.verified(attempt(&attempts, &CLUSTER, CLUSTER.message()).unwrap());
    assert_eq!(attempts.link_options().trusted, Some(identity(&CLUSTER)));
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
    assert_eq!(attempts.link_options().trusted, Some(identity(&FOREIGN)));
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

#[test]
fn limit_of_the_retries_limits_each_wait() {
    let longest = |limit| Attempts::new(None, limit).link_options().limit.longest();
    assert_eq!(longest(MINUTE), Some(Duration::from_secs(75)));
    assert_eq!(longest(Duration::ZERO), None);
}
