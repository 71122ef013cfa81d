//! A statement is in the journal before it is signed.

use vouch_core::statement::Accept;

use super::*;
use crate::store::index::{JournalEntry, STORED_KEPT};

fn ids(entries: &[Statement<Stored>]) -> Vec<StatementId> {
    let mut ids: Vec<_> = entries.iter().map(Statement::id).collect();
    ids.sort_by_key(|id| id.0);
    ids
}

#[tokio::test]
async fn a_statement_is_entered_with_its_duties_in_one_commit() {
    let (disk, store) = open();
    let (one, two) = (put(&store, b"one").await, put(&store, b"two").await);
    let assignments = [assignment(b"one", 90), assignment(b"two", NEVER)];
    let first = statement(50, &assignments);
    let before = store.inner.index.0.commits();
    assert!(matches!(store.promise(&assignments, Vec::new(), first).await.unwrap(), Promise::Journalled(..)));
    assert_eq!(store.inner.index.0.commits(), before + 1);
    // the same statement is already entered; another one is not, although no duty is new
    assert!(matches!(store.promise(&assignments, Vec::new(), first).await.unwrap(), Promise::Journalled(..)));
    assert_eq!(store.inner.index.0.commits(), before + 1);
    let second = statement(50, &assignments[..1]);
    assert!(matches!(store.promise(&assignments[..1], Vec::new(), second).await.unwrap(), Promise::Journalled(..)));
    assert_eq!(store.inner.index.0.commits(), before + 2);
    // a statement that is not promised is not entered
    let absent = [assignment(b"one", 95), assignment(b"absent", 90)];
    let outcome = store.promise(&absent, Vec::new(), statement(50, &absent)).await.unwrap();
    assert!(matches!(outcome, Promise::Lacking(lacking) if lacking == [1]));

    drop(store);
    let store = open_on(&disk);
    assert_eq!(store.signed(Stored::KIND, 50).unwrap(), ids(&[first, second]));
    assert!(store.signed(Stored::KIND, 51).unwrap().is_empty() && store.signed(Accept::KIND, 50).unwrap().is_empty());
    assert_eq!((store.keep_until(&one).unwrap(), store.keep_until(&two).unwrap()), (Some(90), Some(NEVER)));
}

#[tokio::test]
async fn only_the_journal_of_stored_statements_is_bounded() {
    let (_, store) = open();
    put(&store, b"one").await;
    let assignments = [assignment(b"one", NEVER)];
    let other = JournalEntry { kind: 4, ordinal: 1, statement: StatementId([7; 32]) };
    store.inner.index.change(index::keep(&[], Vec::new(), Some(other))).await.unwrap();
    for issued_at in [1000, 1001, 1000 + STORED_KEPT, 1001 + STORED_KEPT, 900] {
        drop(store.promise(&assignments, Vec::new(), statement(issued_at, &assignments)).await.unwrap());
    }
    let is_there = |issued_at| !store.signed(Stored::KIND, issued_at).unwrap().is_empty();
    assert!(!is_there(1000) && is_there(1001) && is_there(1000 + STORED_KEPT) && is_there(1001 + STORED_KEPT));
    assert!(is_there(900), "what was signed last is there, however old");
    assert_eq!(store.signed(4, 1).unwrap(), [StatementId([7; 32])]);
}

#[tokio::test]
async fn a_folder_of_a_release_without_a_journal_opens() {
    let (disk, store) = open();
    put(&store, b"one").await;
    store.inner.index.forget_journal();
    drop(store);
    let store = open_on(&disk);
    assert!(store.signed(Stored::KIND, 5).unwrap().is_empty());
    let assignments = [assignment(b"one", NEVER)];
    assert!(matches!(
        store.promise(&assignments, Vec::new(), statement(5, &assignments)).await.unwrap(),
        Promise::Journalled(..)
    ));
    assert_eq!(store.signed(Stored::KIND, 5).unwrap().len(), 1);
}
