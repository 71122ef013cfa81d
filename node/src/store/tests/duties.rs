//! Duties: what the store promised to keep, and until when.

use super::*;

#[tokio::test]
async fn a_duty_is_never_shortened() {
    let (_disk, store) = open();
    let digest = put(&store, b"blob").await;
    for (asked, kept) in [(70, 70), (60, 70), (80, 80), (NEVER, NEVER), (90, NEVER)] {
        assert_eq!(store.keep(&[assignment(b"blob", asked)]).await.unwrap(), [0u16; 0]);
        assert_eq!(store.keep_until(&digest).unwrap(), Some(kept));
    }
    let digest = put(&store, b"in one batch").await;
    assert_eq!(store.keep(&[assignment(b"in one batch", 9), assignment(b"in one batch", 7)]).await.unwrap(), [0u16; 0]);
    assert_eq!(store.keep_until(&digest).unwrap(), Some(9));
}

#[tokio::test]
async fn duties_are_recorded_for_a_whole_batch_or_not_at_all() {
    let (disk, store) = open();
    let (one, two) = (put(&store, b"one").await, put(&store, b"two").await);
    let mut longer = assignment(b"two", 90);
    longer.length = 4;
    let batch = [assignment(b"one", 90), longer, assignment(b"absent", 90), assignment(b"two", 90)];
    assert_eq!(store.keep(&batch).await.unwrap(), [1, 2]);
    assert_eq!((store.keep_until(&one).unwrap(), store.keep_until(&two).unwrap()), (Some(1), Some(1)));

    let before = store.inner.index.0.commits();
    assert_eq!(store.keep(&[assignment(b"one", 90), assignment(b"two", NEVER)]).await.unwrap(), [0u16; 0]);
    assert_eq!(store.inner.index.0.commits(), before + 1);
    assert_eq!(store.keep(&[assignment(b"one", 80), assignment(b"two", NEVER)]).await.unwrap(), [0u16; 0]);
    assert_eq!(store.inner.index.0.commits(), before + 1, "recorded already");
    drop(store);
    let store = open_on(&disk);
    assert_eq!((store.keep_until(&one).unwrap(), store.keep_until(&two).unwrap()), (Some(90), Some(NEVER)));
}

#[tokio::test]
async fn a_put_during_a_promise_does_not_shorten_it() {
    let (_disk, store) = open();
    let (one, two) = (finish(&store, b"blob"), finish(&store, b"blob"));
    // all wait while the index is busy, so that none of them finds the blob there
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = store.inner.index.0.commit(move |_| Ok(released.recv().is_err()));
    let assignments = [assignment(b"blob", 60)];
    let (busy, one, kept, two, ()) = tokio::join!(biased; busy, store.enter(one), store.keep(&assignments), store.enter(two), async { drop(release) });
    assert!(busy.unwrap() && one.is_ok() && two.is_ok());
    assert_eq!(kept.unwrap(), [0u16; 0]);
    assert_eq!(store.keep_until(&Digest::of(b"blob")).unwrap(), Some(60));
}
