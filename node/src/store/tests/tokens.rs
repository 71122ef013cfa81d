//! What the index counts for tokens.

use vouch_core::access::TokenKey;
use vouch_node_core::access::{Counted, Usage};

use super::*;

const ALICE: TokenKey = TokenKey([1; 32]);
const BOB: TokenKey = TokenKey([2; 32]);

fn counted(token: TokenKey, assignment: &Assignment) -> Counted {
    let Assignment { digest, length, expires_at, .. } = *assignment;
    Counted { token, digest, length, expires_at }
}

fn usage(token: TokenKey, bytes: u64) -> Usage {
    Usage { token, bytes }
}

async fn promise(store: &Store, assignments: &[Assignment], counted: Vec<Counted>) -> Vec<Usage> {
    match store.promise(assignments, counted, statement(5, assignments)).await.unwrap() {
        Promise::Journalled(_, usage) => usage,
        Promise::Lacking(lacking) => panic!("{lacking:?} are lacking"),
    }
}

#[tokio::test]
async fn a_blob_counts_once_for_a_token_and_after_a_restart() {
    let (disk, store) = open();
    let (four, seven) = (assignment(b"four", 1000), assignment(b"seven..", 2000));
    for (one, bytes) in [(&four, &b"four"[..]), (&seven, b"seven..")] {
        store.put_small(one, Bytes::copy_from_slice(bytes)).await.unwrap();
    }
    assert!(store.is_promised(&four).unwrap());
    assert!(!store.is_promised(&Assignment { expires_at: 1001, ..four }).unwrap());
    assert!(!store.is_promised(&assignment(b"another", 1)).unwrap());
    let both = [four, seven];
    let told = promise(&store, &both, vec![counted(ALICE, &four), counted(ALICE, &seven)]).await;
    assert_eq!(told.last(), Some(&usage(ALICE, 11)));
    let longer = Assignment { expires_at: 3000, ..four };
    assert_eq!(promise(&store, &[longer], vec![counted(ALICE, &longer)]).await, [usage(ALICE, 11)]);
    assert_eq!(promise(&store, &[four], vec![counted(BOB, &four)]).await, [usage(BOB, 4)]);
    assert!(promise(&store, &both, Vec::new()).await.is_empty());
    assert!(store.is_counted(&ALICE, &four.digest).unwrap() && !store.is_counted(&BOB, &seven.digest).unwrap());
    drop(store);
    let store = open_on(&disk);
    assert_eq!(store.token_usage().unwrap(), [usage(ALICE, 11), usage(BOB, 4)]);
}

#[tokio::test]
async fn a_count_ends_when_its_blob_is_deleted() {
    let (_disk, store) = open();
    let (four, seven) = (assignment(b"four", 1000), assignment(b"seven..", 2000));
    for (one, bytes) in [(&four, &b"four"[..]), (&seven, b"seven..")] {
        store.put_small(one, Bytes::copy_from_slice(bytes)).await.unwrap();
    }
    promise(&store, &[four, seven], vec![counted(ALICE, &four), counted(ALICE, &seven), counted(BOB, &four)]).await;
    assert_eq!(store.collect(1199, 200).await.unwrap().usage, []);
    let collected = store.collect(1200, 200).await.unwrap();
    assert_eq!((collected.blobs, collected.usage), (1, vec![usage(ALICE, 7), usage(BOB, 0)]));
    assert_eq!(store.token_usage().unwrap(), [usage(ALICE, 7)]);
    store.collect(2200, 200).await.unwrap();
    assert!(store.token_usage().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_counts_if_the_vote_is_not_given() {
    let (_disk, store) = open();
    let absent = [assignment(b"absent", 1000)];
    let outcome = store.promise(&absent, vec![counted(ALICE, &absent[0])], statement(5, &absent)).await.unwrap();
    assert!(matches!(outcome, Promise::Lacking(_)));
    assert!(store.token_usage().unwrap().is_empty());
}
