//! Puts against a real store.

use vouch_core::tree::{BLOCK, OutlineHasher};

use super::*;

struct TestBlob {
    bytes: Bytes,
    receipt: Receipt,
    outline: vouch_core::tree::Outline,
}

impl TestBlob {
    /// A blob of this many blocks and 100 bytes.
    fn new(blocks: usize) -> Self {
        let mut bytes = vec![0; blocks * BLOCK + 100];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let mut hasher = OutlineHasher::new();
        hasher.update(&bytes);
        let (digest, outline) = hasher.finish();
        let receipt = Receipt { salt: [0; 16], digest, length: bytes.len() as u64, expires_at: NEVER };
        Self { bytes: bytes.into(), receipt, outline }
    }

    fn chunk(&self, stream: u32, block: usize) -> Message {
        let (start, end) = (block * BLOCK, self.bytes.len().min((block + 1) * BLOCK));
        let parents = self.outline.proof(start as u64..end as u64).unwrap();
        Message::Chunk { stream: Stream(stream), offset: start as u64, parents, bytes: self.bytes.slice(start..end) }
    }

    async fn send(&self, link: &mut TestLink, stream: u32, blocks: std::ops::Range<usize>) {
        for block in blocks {
            link.send(self.chunk(stream, block)).await;
        }
    }

    /// Offers the blob. Returns the block at which the replica resumes.
    async fn offer(&self, link: &mut TestLink, stream: u32) -> usize {
        link.send(Message::Put {
            stream: Stream(stream),
            offer: Some(self.receipt),
            renew: false,
            authorisation: None,
        })
        .await;
        match link.reply().await {
            Message::Ready { stream: of, offset } => {
                assert_eq!(of, Stream(stream));
                usize::try_from(offset).unwrap() / BLOCK
            }
            other => panic!("{other:?}"),
        }
    }
}

impl TestLink {
    async fn end(&mut self, stream: u32, receipt: Receipt) {
        self.send(Message::PutEnd { stream: Stream(stream), receipt, authorisation: None }).await;
    }

    async fn cancel(&mut self, stream: u32, keep: bool) {
        self.send(Message::Cancel { stream: Stream(stream), keep }).await;
    }

    async fn assert_stored(&mut self, stream: u32, blob: &TestBlob) {
        self.end(stream, blob.receipt).await;
        assert_eq!(self.reply().await, Message::Stored { stream: Stream(stream) });
        assert_eq!(self.context.storage.store.length_of(&blob.receipt.digest).unwrap(), Some(blob.receipt.length));
    }

    async fn assert_failed(&mut self, stream: u32, code: Code) {
        match self.reply().await {
            Message::Failed(failed) => assert_eq!((failed.stream, failed.code), (Stream(stream), code)),
            other => panic!("{other:?}"),
        }
    }

    async fn settle_after_cancel(&mut self, stream: u32, keep: bool) {
        self.cancel(stream, keep).await;
        self.settle().await;
    }
}

#[tokio::test]
async fn an_offer_is_answered_with_the_resume_offset() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(3);
    assert_eq!(blob.offer(&mut link, 1).await, 0);
    blob.send(&mut link, 1, 0..2).await;
    link.settle_after_cancel(1, true).await;
    assert_eq!(blob.offer(&mut link, 2).await, 2);
    blob.send(&mut link, 2, 2..4).await;
    link.assert_stored(2, &blob).await;
    // the blob is stored: bytes that are sent nevertheless are skipped
    assert_eq!(blob.offer(&mut link, 3).await, 3);
    link.assert_stored(3, &blob).await;
    assert_eq!(blob.offer(&mut link, 4).await, 3);
    blob.send(&mut link, 4, 1..4).await;
    link.assert_stored(4, &blob).await;
}

#[tokio::test]
async fn streams_and_small_blobs_leave_no_partial_upload() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(3);
    link.send(Message::Put { stream: Stream(1), offer: None, renew: false, authorisation: None }).await;
    for block in 0..2 {
        let offset = block * BLOCK;
        let bytes = blob.bytes.slice(offset..offset + BLOCK);
        link.send(Message::Chunk { stream: Stream(1), offset: offset as u64, parents: Vec::new(), bytes }).await;
    }
    link.settle_after_cancel(1, true).await;
    assert!(link.replies.is_empty(), "a cancel has no answer");
    assert_eq!(link.context.storage.store.usage().unwrap().partials, 0);
    assert_eq!(blob.offer(&mut link, 2).await, 0);
    link.settle_after_cancel(2, true).await;

    let small = Receipt { digest: Digest::of(b"small"), length: 5, ..blob.receipt };
    link.send(Message::Put { stream: Stream(3), offer: Some(small), renew: false, authorisation: None }).await;
    assert_eq!(link.reply().await, Message::Ready { stream: Stream(3), offset: 0 });
    let bytes = Bytes::from_static(b"small");
    link.send(Message::Chunk { stream: Stream(3), offset: 0, parents: Vec::new(), bytes }).await;
    link.end(3, small).await;
    assert_eq!(link.reply().await, Message::Stored { stream: Stream(3) });
}

#[tokio::test]
async fn a_cancel_keeps_the_received_bytes_only_on_request() {
    for (keep, offset) in [(true, 2), (false, 0)] {
        let mut link = TestLink::open();
        let blob = TestBlob::new(3);
        blob.offer(&mut link, 1).await;
        blob.send(&mut link, 1, 0..2).await;
        link.settle_after_cancel(1, keep).await;
        assert_eq!(blob.offer(&mut link, 2).await, offset, "keep: {keep}");
        assert!(link.replies.is_empty(), "a cancelled put is not answered");
    }
}

#[tokio::test]
async fn the_end_of_the_link_keeps_the_received_bytes() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(3);
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 0..2).await;
    link.reconnect();
    link.settle().await;
    assert_eq!(blob.offer(&mut link, 1).await, 2);
}

/// A put that is cancelled and offered again at once resumes after the bytes written so far, and never waits for its predecessor's timeout.
#[tokio::test]
async fn a_put_that_returns_at_once_takes_over_the_partial_upload() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(3);
    assert_eq!(blob.offer(&mut link, 1).await, 0);
    blob.send(&mut link, 1, 0..1).await;
    link.settle_after_cancel(1, true).await;
    for stream in 2..40 {
        assert_eq!(blob.offer(&mut link, stream).await, 1);
        link.cancel(stream, true).await;
    }
    assert_eq!(blob.offer(&mut link, 40).await, 1);
    blob.send(&mut link, 40, 1..4).await;
    link.assert_stored(40, &blob).await;
}

#[tokio::test]
async fn chunks_must_follow_each_other_without_a_gap() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(4);
    // a first chunk beyond the resume offset
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 1..2).await;
    link.assert_failed(1, Code::Unexpected).await;
    // a gap later: the bytes before it are kept
    assert_eq!(blob.offer(&mut link, 2).await, 0);
    blob.send(&mut link, 2, 0..2).await;
    blob.send(&mut link, 2, 3..4).await;
    link.assert_failed(2, Code::Unexpected).await;
    link.settle().await;
    assert_eq!(blob.offer(&mut link, 3).await, 2);
    // the server may begin at an earlier offset, and continues without a gap
    blob.send(&mut link, 3, 1..5).await;
    link.assert_stored(3, &blob).await;
}

#[tokio::test]
async fn an_early_end_keeps_the_received_bytes() {
    let mut link = TestLink::open();
    let blob = TestBlob::new(3);
    blob.offer(&mut link, 1).await;
    blob.send(&mut link, 1, 0..2).await;
    link.end(1, blob.receipt).await;
    link.assert_failed(1, Code::LengthDiffers).await;
    assert_eq!(blob.offer(&mut link, 2).await, 2);
}
