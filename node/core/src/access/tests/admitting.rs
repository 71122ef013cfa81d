//! What a replica admits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::access::{Action, Authorisation, Grant, Rules, TokenKey, TokenSecret, Who};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Code;
use vouch_core::receipt::{NEVER, Receipt};

use super::super::{Access, Admission, Counted, Refusal, Usage};
use super::{grant, node};

const CLUSTER: ClusterId = ClusterId([7; 32]);
const WALL: u64 = 1_790_000_000;
const KIB: u64 = 1024;

fn alice() -> TokenSecret {
    TokenSecret::from_bytes(&[1; 32])
}

fn receipt(number: u8, length: u64) -> Receipt {
    Receipt { salt: [number; 16], digest: Digest::of(&[number]), length, expires_at: NEVER }
}

/// A replica whose log has decided this.
fn admission(rules: Rules, grants: impl IntoIterator<Item = (TokenKey, Grant)>) -> Admission {
    let mut admission = Admission::new(Vec::new());
    decide(&mut admission, rules, grants);
    admission
}

fn decide(admission: &mut Admission, rules: Rules, grants: impl IntoIterator<Item = (TokenKey, Grant)>) {
    let access = Access { number: 1, rules, tokens: grants.into_iter().collect(), approvals: None };
    let nodes = BTreeSet::from([node(5).node_key()]);
    admission.set_access(CLUSTER, Arc::new(access), nodes);
}

fn restricted(limits: Grant) -> Admission {
    admission(Rules { put: Who::Tokens, read: Who::Tokens }, [(alice().key(), limits)])
}

fn at(seconds: u64) -> (Duration, u64) {
    (Duration::from_secs(seconds), WALL + seconds)
}

fn signed(receipt: &Receipt, seconds: u64) -> Authorisation {
    alice().authorise(&CLUSTER, Action::Store(receipt), WALL + seconds)
}

/// Alice puts.
fn put(admission: &mut Admission, receipt: &Receipt, seconds: u64) -> Result<(), Refusal> {
    admission.store(receipt, Some(&signed(receipt, seconds)), false, at(seconds))
}

#[test]
fn anyone_may_put_and_read_until_the_log_says_otherwise() {
    let mut admission = Admission::new(Vec::new());
    let one = receipt(1, 4);
    assert_eq!(admission.store(&one, None, false, at(0)), Ok(()));
    assert_eq!((admission.send(None, WALL), admission.read(&one.digest, None, WALL)), (Ok(()), Ok(())));
    assert!(admission.not_offered(&[one]).is_empty());
    // What is signed must count, also where nothing need be signed.
    assert_eq!(put(&mut admission, &one, 0), Err(Refusal::NoCluster));
    decide(&mut admission, Rules::default(), []);
    assert_eq!(put(&mut admission, &one, 0), Err(Refusal::NotGranted(alice().key())));
    decide(&mut admission, Rules::default(), [(alice().key(), grant("alice"))]);
    assert_eq!(put(&mut admission, &one, 0), Ok(()));
}

#[test]
fn where_tokens_are_required_only_their_holders_put_and_read() {
    let mut admission = restricted(grant("alice"));
    let (one, other) = (receipt(1, 4), receipt(2, 4));
    assert_eq!(admission.store(&one, None, false, at(0)), Err(Refusal::NoToken));
    assert_eq!(admission.send(None, WALL), Err(Refusal::NoToken));
    assert_eq!(admission.read(&one.digest, None, WALL), Err(Refusal::NoToken));
    assert_eq!(put(&mut admission, &one, 0), Ok(()));
    let send = alice().authorise(&CLUSTER, Action::Send, WALL);
    assert_eq!(admission.send(Some(&send), WALL), Ok(()));
    let read = alice().authorise(&CLUSTER, Action::Read(&one.digest), WALL);
    assert_eq!(admission.read(&one.digest, Some(&read), WALL), Ok(()));
    // An authorisation for something else.
    let refused = |result: Result<(), Refusal>| matches!(result, Err(Refusal::Authorisation(_)));
    assert!(refused(admission.store(&other, Some(&signed(&one, 0)), false, at(0))));
    assert!(refused(admission.read(&other.digest, Some(&read), WALL)));
    assert!(refused(admission.send(Some(&read), WALL)));
    assert!(refused(admission.store(&other, Some(&signed(&other, 0)), false, at(601))), "too old");
    let elsewhere = alice().authorise(&ClusterId([8; 32]), Action::Store(&other), WALL);
    assert!(refused(admission.store(&other, Some(&elsewhere), false, at(0))));
}

#[test]
fn votes_need_an_admitted_offer_whose_token_is_still_granted() {
    let mut admission = restricted(grant("alice"));
    let (one, other) = (receipt(1, 4), receipt(2, 4));
    put(&mut admission, &one, 0).unwrap();
    assert_eq!(admission.not_offered(&[other, one, Receipt { salt: [9; 16], ..one }]), [0, 2]);
    let counted = Counted { token: alice().key(), digest: one.digest, length: 4, expires_at: NEVER };
    assert_eq!(admission.counted(&[other, one]), [counted]);
    decide(&mut admission, Rules { put: Who::Tokens, read: Who::Anyone }, []);
    assert_eq!(admission.not_offered(&[one]), [0], "revoked meanwhile");
    decide(&mut admission, Rules::default(), []);
    assert!(admission.not_offered(&[one]).is_empty());
}

#[test]
fn a_token_counts_until_it_expires() {
    let mut admission = restricted(Grant { expires_at: WALL + 10, ..grant("alice") });
    assert_eq!(put(&mut admission, &receipt(1, 4), 9), Ok(()));
    let expired = Refusal::Expired { token: alice().key(), at: WALL + 10 };
    assert_eq!(put(&mut admission, &receipt(2, 4), 10), Err(expired));
    assert_eq!(expired.code(), Code::NotAdmitted);
}

#[test]
fn a_blob_is_at_most_as_large_as_the_token_allows() {
    let mut admission = restricted(Grant { largest: KIB, ..grant("alice") });
    assert_eq!(put(&mut admission, &receipt(1, KIB), 0), Ok(()));
    let refused = put(&mut admission, &receipt(2, KIB + 1), 0);
    assert_eq!(refused, Err(Refusal::TooLarge { largest: KIB, length: KIB + 1 }));
}

#[test]
fn the_quota_bounds_what_is_stored_and_in_progress() {
    let token = alice().key();
    let mut admission = restricted(Grant { quota: 10 * KIB, ..grant("alice") });
    put(&mut admission, &receipt(1, 6 * KIB), 0).unwrap();
    let over = |stored| Err(Refusal::OverQuota { quota: 10 * KIB, stored, length: 5 * KIB });
    assert_eq!(put(&mut admission, &receipt(2, 5 * KIB), 0), over(6 * KIB), "in progress");
    assert_eq!(put(&mut admission, &receipt(1, 6 * KIB), 1), Ok(()), "the same put again");
    admission.voted(&[receipt(1, 6 * KIB)], vec![Usage { token, bytes: 6 * KIB }]);
    assert_eq!(put(&mut admission, &receipt(2, 5 * KIB), 2), over(6 * KIB), "stored");
    admission.voted(&[receipt(1, 6 * KIB)], vec![Usage { token, bytes: 6 * KIB }]);
    let again = Receipt { salt: [77; 16], ..receipt(1, 6 * KIB) };
    let stored = admission.store(&again, Some(&signed(&again, 3)), true, at(3));
    assert_eq!(stored, Ok(()), "a blob counts once");
    assert_eq!(put(&mut admission, &receipt(3, 4 * KIB), 4), Ok(()));
    // What was deleted counts no more, and an offer that came to nothing after an hour.
    admission.set_stored(vec![Usage { token, bytes: 0 }]);
    assert_eq!(
        put(&mut admission, &receipt(4, 10 * KIB), 5),
        Err(Refusal::OverQuota { quota: 10 * KIB, stored: 4 * KIB, length: 10 * KIB })
    );
    assert_eq!(put(&mut admission, &receipt(4, 10 * KIB), 3605), Ok(()));
}

#[test]
fn the_rate_bounds_bytes_over_time() {
    let mut admission = restricted(Grant { rate: KIB, ..grant("alice") });
    // Unused: a minute's worth at most, from the start.
    let mut number = 0;
    let mut put_kib = |admission: &mut Admission, kib: u64, seconds: u64| {
        number += 1;
        put(admission, &receipt(number, kib * KIB), seconds)
    };
    assert_eq!(put_kib(&mut admission, 100, 1000), Ok(()), "the minute before covers 60 of 100 seconds");
    let refused = put_kib(&mut admission, 1, 1000);
    assert_eq!(refused, Err(Refusal::OverRate { rate: KIB, wait: 41 }));
    assert_eq!(refused.unwrap_err().code(), Code::Busy);
    assert!(put_kib(&mut admission, 1, 1039).is_err());
    assert_eq!(put_kib(&mut admission, 1, 1040), Ok(()));
    assert!(put_kib(&mut admission, 1, 1040).is_err());
    assert_eq!(put_kib(&mut admission, 1, 1041), Ok(()));
}

#[test]
fn members_read_whatever_the_rules_say_and_put_nothing_so() {
    let mut admission = restricted(grant("alice"));
    let (one, member) = (receipt(1, 4), node(5));
    let by = |action| Authorisation::by(&member, &CLUSTER, action, WALL);
    assert_eq!(admission.read(&one.digest, Some(&by(Action::Read(&one.digest))), WALL), Ok(()));
    assert!(admission.read(&one.digest, Some(&by(Action::Send)), WALL).is_err());
    let put = admission.store(&one, Some(&by(Action::Store(&one))), false, at(0));
    assert_eq!(put, Err(Refusal::NotGranted(TokenKey(member.node_key().0))));
    let stranger = Authorisation::by(&node(6), &CLUSTER, Action::Read(&one.digest), WALL);
    assert!(admission.read(&one.digest, Some(&stranger), WALL).is_err());
}
