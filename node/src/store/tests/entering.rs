//! Complete blobs, before and after their entry.

use vouch_core::tree::BLOCK;

use super::partials::Blob;
use super::*;
use crate::host::disk::simulated::{Names, Writes};

/// How a complete blob does not become a stored one.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The put is dropped: its link has ended, say.
    Dropped,
    /// The commit fails.
    CommitFails,
    /// The process is killed.
    Killed,
    /// The machine loses power. What is durable survives.
    PowerLost,
}

/// Completes one blob in memory, one in private files, and one that was a partial upload with a checkpoint.
fn complete_each(store: &Store, resumed: &Blob) -> [Complete; 3] {
    resumed.leave(store, 2);
    let resumable = store.receive(Some(&resumed.assignment), &CancelToken::default()).unwrap();
    let resumable = resumed.send(resumable, 2..resumed.count()).unwrap();
    [finish(store, b"small"), finish(store, &large(1)), resumable.finish(&resumed.assignment).unwrap()]
}

#[tokio::test]
async fn a_complete_blob_that_is_not_entered_leaves_nothing() {
    let resumed = Blob::new(2, 3 * BLOCK + 100);
    for end in [End::Dropped, End::CommitFails, End::Killed, End::PowerLost] {
        let (mut disk, mut store) = open();
        let stored = put(&store, &large(9)).await;
        let complete = complete_each(&store, &resumed);
        assert_eq!(blob_files(&disk).len(), 6, "{end:?}: three large blobs have their names");
        match end {
            End::Dropped => drop(complete),
            End::CommitFails => {
                disk.syncs_fail(5);
                for complete in complete {
                    store.enter(complete).await.unwrap_err();
                }
                disk.syncs_fail(0);
                assert!(store.is_broken());
                drop(store);
                store = open_on(&disk);
            }
            End::Killed | End::PowerLost => {
                disk = match end {
                    // with `Names::Lost`, the partial upload would have its old names again, and stay as of its checkpoint
                    End::PowerLost => disk.after_power_cut(Writes::Lost, Names::Kept),
                    _ => disk.after_kill(),
                };
                assert_eq!(blob_files(&disk).len(), 6, "{end:?}: the files were durable");
                store = open_on(&disk);
                drop(complete);
            }
        }
        assert_eq!(store.reserved(), ReservedSpace::default(), "{end:?}");
        store.collect(0, GRACE).await.unwrap();
        for restarted in [false, true] {
            if restarted {
                drop(store);
                store = open_on(&disk);
            }
            let held = store.blobs_from(None, 10).unwrap();
            assert_eq!(held.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), [stored], "{end:?}");
            assert_eq!((blob_files(&disk).len(), partials(&disk)), (2, 0), "{end:?}, restarted: {restarted}");
            let usage = store.usage().unwrap();
            assert_eq!((usage.blobs, usage.partials, usage.partial_bytes), (1, 0, 0), "{end:?}");
            assert_eq!(
                store.inner.index.partials().unwrap(),
                (Vec::new(), Vec::new()),
                "{end:?}, restarted: {restarted}"
            );
        }
        // nothing of the failed put is in the way of the next one
        let again = store.receive(Some(&resumed.assignment), &CancelToken::default()).unwrap();
        assert_eq!(again.offset(), 0, "{end:?}");
        resumed.send_rest(&store, again).await.unwrap();
        resumed.assert_stored(&disk, &store);
    }
}
