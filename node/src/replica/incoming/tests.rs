use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_core::tree::{BLOCK, OutlineHasher};

use super::*;
use crate::host::Host;
use crate::replica::{Config, Data, Replica};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

struct Blob {
    bytes: Bytes,
    receipt: Receipt,
    outline: vouch_core::tree::Outline,
}

impl Blob {
    /// So many blocks, and a bit.
    fn new(blocks: usize) -> Self {
        let mut bytes = vec![0; blocks * BLOCK + 100];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let mut hasher = OutlineHasher::new();
        hasher.update(&bytes);
        let (digest, outline) = hasher.finish();
        let receipt = Receipt { salt: [0; 16], digest, length: bytes.len() as u64, expires_at: NEVER };
        Self { bytes: bytes.into(), receipt, outline }
    }

    async fn send(&self, link: &mut Link, stream: u32, blocks: std::ops::Range<usize>) -> Result<(), Failed> {
        for block in blocks {
            let (start, end) = (block * BLOCK, self.bytes.len().min((block + 1) * BLOCK));
            let parents = self.outline.proof(start as u64..end as u64).unwrap();
            link.puts.chunk(Stream(stream), start as u64, parents, self.bytes.slice(start..end))?;
            link.puts.pass_on().await;
        }
        Ok(())
    }

    /// Offers it and gives the block that it goes on at.
    async fn offer(&self, link: &mut Link, stream: u32) -> usize {
        link.puts.begin(Stream(stream), Some(self.receipt)).unwrap();
        match link.reply().await {
            Message::Ready { stream: of, offset } => {
                assert_eq!(of, Stream(stream));
                usize::try_from(offset).unwrap() / BLOCK
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Link {
    puts: IncomingPuts,
    replies: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    _folder: tempfile::TempDir,
}

impl Link {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let shared = Replica::open(Host::system(), config, Arc::new(|_| {})).unwrap().shared;
        let (replies, queue) = mpsc::channel(8);
        Self { puts: IncomingPuts::new(shared.clone(), replies), replies: queue, shared, _folder: folder }
    }

    async fn reply(&mut self) -> Message {
        let reply = Host::system().timeout(PATIENCE, self.replies.recv()).await.unwrap().unwrap();
        Message::decode(&reply.bytes).unwrap()
    }

    async fn assert_stored(&mut self, stream: u32, blob: &Blob) {
        self.puts.end(Stream(stream), blob.receipt);
        self.puts.pass_on().await;
        assert_eq!(self.reply().await, Message::Stored { stream: Stream(stream) });
        assert_eq!(self.shared.store.length_of(&blob.receipt.digest).unwrap(), Some(blob.receipt.length));
    }

    async fn assert_failed(&mut self, stream: u32, code: Code) {
        match self.reply().await {
            Message::Failed(failed) => assert_eq!((failed.stream, failed.code), (Stream(stream), code)),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until no put is in progress any more.
    async fn settle(&self) {
        let all = u32::try_from(self.shared.max_incoming).unwrap();
        drop(Host::system().timeout(PATIENCE, self.puts.places.acquire_many(all)).await.unwrap().unwrap());
    }

    async fn settle_after_cancel(&mut self, stream: u32, keep: bool) {
        self.puts.cancel(Stream(stream), keep);
        self.settle().await;
    }

    async fn settle_by_dropping(&mut self) {
        let (replies, queue) = mpsc::channel(8);
        let before = std::mem::replace(&mut self.puts, IncomingPuts::new(self.shared.clone(), replies));
        self.replies = queue;
        drop(before);
        // as whoever shuts down
        drop(Host::system().timeout(PATIENCE, self.shared.receiving.write()).await.unwrap());
    }
}

#[tokio::test]
async fn an_offer_is_answered_with_what_need_not_come() {
    let mut link = Link::open();
    let blob = Blob::new(3);
    assert_eq!(blob.offer(&mut link, 1).await, 0);
    blob.send(&mut link, 1, 0..2).await.unwrap();
    link.settle_after_cancel(1, true).await;
    assert_eq!(blob.offer(&mut link, 2).await, 2);
    blob.send(&mut link, 2, 2..4).await.unwrap();
    link.assert_stored(2, &blob).await;
    // it is held, and what comes of it all the same is passed over
    assert_eq!(blob.offer(&mut link, 3).await, 3);
    link.assert_stored(3, &blob).await;
    assert_eq!(blob.offer(&mut link, 4).await, 3);
    blob.send(&mut link, 4, 1..4).await.unwrap();
    link.assert_stored(4, &blob).await;
}

#[tokio::test]
async fn a_put_of_unknown_length_and_a_small_one_are_not_kept() {
    let mut link = Link::open();
    let blob = Blob::new(3);
    link.puts.begin(Stream(1), None).unwrap();
    for block in 0..2 {
        let start = block * BLOCK;
        let bytes = blob.bytes.slice(start..start + BLOCK);
        link.puts.chunk(Stream(1), start as u64, Vec::new(), bytes).unwrap();
        link.puts.pass_on().await;
    }
    link.settle_after_cancel(1, true).await;
    assert!(link.replies.is_empty(), "it is not answered either");
    assert_eq!(link.shared.store.usage().unwrap().partials, 0);
    assert_eq!(blob.offer(&mut link, 2).await, 0);
    link.settle_after_cancel(2, true).await;

    let small = Receipt { digest: Digest::of(b"small"), length: 5, ..blob.receipt };
    link.puts.begin(Stream(3), Some(small)).unwrap();
    assert_eq!(link.reply().await, Message::Ready { stream: Stream(3), offset: 0 });
    link.puts.chunk(Stream(3), 0, Vec::new(), Bytes::from_static(b"small")).unwrap();
    link.puts.end(Stream(3), small);
    link.puts.pass_on().await;
    assert_eq!(link.reply().await, Message::Stored { stream: Stream(3) });
}

#[tokio::test]
async fn a_cancel_says_whether_to_keep() {
    for (keep, offset) in [(true, 2), (false, 0)] {
        let mut link = Link::open();
        let blob = Blob::new(3);
        blob.offer(&mut link, 1).await;
        blob.send(&mut link, 1, 0..2).await.unwrap();
        link.settle_after_cancel(1, keep).await;
        assert_eq!(blob.offer(&mut link, 2).await, offset, "keep: {keep}");
        assert!(link.replies.is_empty(), "a cancelled put is not answered");
    }
}

#[tokio::test]
async fn the_end_of_the_link_keeps_what_came() {
    let mut link = Link::open();
    let blob = Blob::new(3);
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 0..2).await.unwrap();
    link.settle_by_dropping().await;
    assert_eq!(blob.offer(&mut link, 1).await, 2);
}

/// A put cut off and one that follows it at once: the second finds what the first had written by then, and never waits in vain.
#[tokio::test]
async fn whoever_comes_back_at_once_takes_over() {
    let mut link = Link::open();
    let blob = Blob::new(3);
    assert_eq!(blob.offer(&mut link, 1).await, 0);
    blob.send(&mut link, 1, 0..1).await.unwrap();
    link.settle_after_cancel(1, true).await;
    for stream in 2..40 {
        assert_eq!(blob.offer(&mut link, stream).await, 1);
        link.puts.cancel(Stream(stream), true);
    }
    assert_eq!(blob.offer(&mut link, 40).await, 1);
    blob.send(&mut link, 40, 1..4).await.unwrap();
    link.assert_stored(40, &blob).await;
}

#[tokio::test]
async fn chunks_follow_each_other() {
    let mut link = Link::open();
    let blob = Blob::new(4);
    // the first one beyond what is there
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 1..2).await.unwrap();
    link.assert_failed(1, Code::Unexpected).await;
    // a gap later, which costs nothing that came before
    assert_eq!(blob.offer(&mut link, 2).await, 0);
    blob.send(&mut link, 2, 0..2).await.unwrap();
    let gap = blob.send(&mut link, 2, 3..4).await.unwrap_err();
    assert_eq!(gap.code, Code::Unexpected);
    link.settle().await;
    assert_eq!(blob.offer(&mut link, 3).await, 2);
    // the server may choose an earlier one, and then goes on without a gap
    blob.send(&mut link, 3, 1..5).await.unwrap();
    link.assert_stored(3, &blob).await;
}

#[tokio::test]
async fn an_end_too_early_keeps_what_came() {
    let mut link = Link::open();
    let blob = Blob::new(3);
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 0..2).await.unwrap();
    link.puts.end(Stream(1), blob.receipt);
    link.puts.pass_on().await;
    link.assert_failed(1, Code::LengthDiffers).await;
    assert_eq!(blob.offer(&mut link, 2).await, 2);
}
