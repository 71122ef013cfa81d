//! Offered bytes are verified chunk by chunk: wrong bytes are refused at once, and none of them is kept.

use bytes::Bytes;
use support::blobs::content;
use support::in_process::InProcess;
use support::raw_link::RawLink;
use vouch_core::message::{Code, MAX_CHUNK, Message, Stream};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::tree::{Outline, OutlineHasher};

const STREAM: Stream = Stream(5);

struct Blob {
    bytes: Bytes,
    receipt: Receipt,
    outline: Outline,
}

fn blob(seed: u64) -> Blob {
    let bytes: Bytes = content(seed, 4 * MAX_CHUNK + 100).into();
    let mut hasher = OutlineHasher::new();
    hasher.update(&bytes);
    let (digest, outline) = hasher.finish();
    let receipt = Receipt { salt: [1; 16], digest, length: bytes.len() as u64, expires_at: NEVER };
    Blob { bytes, receipt, outline }
}

impl Blob {
    fn chunk(&self, block: usize) -> Message {
        let start = block * MAX_CHUNK;
        let end = self.bytes.len().min(start + MAX_CHUNK);
        let parents = self.outline.proof(start as u64..end as u64).unwrap();
        Message::Chunk { stream: STREAM, offset: start as u64, parents, bytes: self.bytes.slice(start..end) }
    }
}

/// Sends the first `blocks` blocks from the resume offset on, then `last`; returns the server's answer.
async fn sent(cluster: &InProcess, blob: &Blob, blocks: usize, last: Option<Message>) -> Message {
    let mut link = RawLink::client(cluster.address()).await;
    link.send(&Message::Put { stream: STREAM, offer: Some(blob.receipt), renew: false, authorisation: None }).await;
    let from = loop {
        if let Message::Ready { offset, .. } = link.receive().await.unwrap() {
            break usize::try_from(offset).unwrap() / MAX_CHUNK;
        }
    };
    for block in from..blocks {
        link.send(&blob.chunk(block)).await;
    }
    match last {
        Some(last) => link.send(&last).await,
        None => link.send(&Message::PutEnd { stream: STREAM, receipt: blob.receipt, authorisation: None }).await,
    }
    loop {
        match link.receive().await.unwrap() {
            Message::Progress { .. } | Message::Cluster(_) => {}
            other => return other,
        }
    }
}

/// The contents of the partial uploads.
fn parts(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("partial")).unwrap().map(|entry| entry.unwrap().path());
    let parts = entries.filter(|path| path.extension().is_some_and(|extension| extension == "part"));
    parts.map(|path| std::fs::read(path).unwrap()).collect()
}

/// Number of files in a folder and its subfolders, except the id that ties a store to its index.
fn files(folder: &std::path::Path) -> usize {
    let entries =
        std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "store-id");
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_refused_before_the_end_of_the_blob() {
    let cluster = InProcess::start(4).await;
    let blob = blob(1);
    let Message::Chunk { offset, parents, bytes, .. } = blob.chunk(2) else { unreachable!() };
    let chunk = |offset, parents: &[_], bytes: &Bytes| {
        let (parents, bytes) = (parents.to_vec(), bytes.clone());
        Message::Chunk { stream: STREAM, offset, parents, bytes }
    };
    let mut wrong = bytes.to_vec();
    wrong[99] ^= 1;
    let mut other_parents = parents.clone();
    other_parents[0].0[7] ^= 1;
    let Message::Chunk { parents: elsewhere, .. } = blob.chunk(0) else { unreachable!() };
    for (what, lie) in [
        ("other bytes", chunk(offset, &parents, &wrong.into())),
        ("another proof", chunk(offset, &other_parents, &bytes)),
        ("the proof of another block", chunk(offset, &elsewhere, &bytes)),
        ("no proof", chunk(offset, &[], &bytes)),
        ("less than a group", chunk(offset, &parents, &bytes.slice(..1000))),
    ] {
        match sent(&cluster, &blob, 2, Some(lie)).await {
            Message::Failed(failed) => {
                assert_eq!((failed.stream, failed.code), (STREAM, Code::DigestDiffers), "{what}")
            }
            other => panic!("{what}: {other:?}"),
        }
        let verified = [blob.bytes[..2 * MAX_CHUNK].to_vec()];
        support::until("only what was verified is left", || (0..4).all(|n| parts(&cluster.folder(n)) == verified))
            .await;
        assert!((0..4).all(|number| files(&cluster.folder(number).join("blobs")) == 0), "{what}");
    }
    let honest = sent(&cluster, &blob, 5, None).await;
    assert!(matches!(&honest, Message::Certified { .. }), "{honest:?}");
    support::until("nothing is left", || (0..4).all(|n| files(&cluster.folder(n).join("partial")) == 0)).await;
}
