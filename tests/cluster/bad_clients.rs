//! Clients that break the protocol are told why, and do not affect other clients. Here, only their put fails.

mod links;

use std::time::{Duration, Instant};

use bytes::Bytes;
use support::blobs::{content, put_bytes};
use support::fake_replica::{FakeReplica, Identity};
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio::task::JoinHandle;
use vouch::server;
use vouch_core::digest::Digest;
use vouch_core::link::{Hello, NodeKey, Role};
use vouch_core::message::{Code, Message, Read, Stream};
use vouch_core::receipt::{NEVER, Receipt};

const STREAM: Stream = Stream(5);

fn receipt(bytes: &[u8]) -> Receipt {
    Receipt { salt: [1; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at: NEVER }
}

fn put(offer: Option<Receipt>) -> Message {
    Message::Put { stream: STREAM, offer, renew: false, authorisation: None }
}

fn chunk(offset: u64, bytes: &[u8]) -> Message {
    Message::Chunk { stream: STREAM, offset, parents: Vec::new(), bytes: Bytes::copy_from_slice(bytes) }
}

fn chunk_of(stream: Stream, bytes: &[u8]) -> Message {
    Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes: Bytes::copy_from_slice(bytes) }
}

fn put_end(receipt: Receipt) -> Message {
    Message::PutEnd { stream: STREAM, receipt, authorisation: None }
}

/// Another client's put, concurrent with the test's own.
struct ConcurrentPut(JoinHandle<()>);

impl ConcurrentPut {
    fn start(cluster: &InProcess) -> Self {
        let address = cluster.address().to_owned();
        Self(tokio::spawn(async move {
            put_bytes(&address, None, &content(1, 3 << 20)).await.unwrap();
        }))
    }

    async fn succeeds(self) {
        self.0.await.unwrap();
    }
}

/// Asserts that a put of `messages` fails with `code`, and that the link then accepts a valid put.
async fn assert_put_fails(messages: &[Message], code: Code) -> String {
    let cluster = InProcess::start(4).await;
    let good = ConcurrentPut::start(&cluster);
    let mut link = RawLink::client(cluster.address()).await;
    for (number, message) in messages.iter().enumerate() {
        link.send(message).await;
        // a client sends offered bytes only after `Ready`
        if matches!(message, Message::Put { offer: Some(_), .. }) && number + 1 < messages.len() {
            while !matches!(link.receive().await.unwrap(), Message::Ready { offset: 0, .. }) {}
        }
    }
    let failed = link.failed().await;
    assert_eq!((failed.stream, failed.code), (STREAM, code), "{failed}");
    let bytes = b"a good one";
    let stream = Stream(6);
    link.send(&Message::Put { stream, offer: None, renew: false, authorisation: None }).await;
    link.send(&Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes: Bytes::from_static(bytes) }).await;
    link.send(&Message::PutEnd { stream, receipt: receipt(bytes), authorisation: None }).await;
    loop {
        match link.receive().await.unwrap() {
            Message::Certified { stream: of, .. } if of == stream => break,
            Message::Failed(failed) => assert_ne!(failed.stream, stream, "{failed}"),
            _ => {}
        }
    }
    good.succeeds().await;
    failed.detail
}

#[tokio::test(flavor = "multi_thread")]
async fn put_with_fewer_bytes_than_offered_fails() {
    // no bytes are sent: any would fail the digest check first
    let offer = Receipt { length: 11, ..receipt(b"ten bytes.") };
    let detail = assert_put_fails(&[put(Some(offer)), put_end(offer)], Code::LengthDiffers).await;
    assert!(detail.contains("expected 11 bytes as declared, got 0"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offered_bytes_before_ready_fail() {
    let cluster = InProcess::start(2).await;
    cluster.put(b"first").await.unwrap();
    let mut link = RawLink::client(cluster.address()).await;
    // the server reads both messages before any replica can answer
    let offer = receipt(b"ten bytes.");
    link.send(&put(Some(offer))).await;
    link.send(&chunk(1, b"en bytes.")).await;
    let failed = link.failed().await;
    assert_eq!((failed.stream, failed.code), (STREAM, Code::Unexpected), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_with_more_bytes_than_offered_fails() {
    let offer = Receipt { length: 9, ..receipt(b"ten bytes.") };
    let detail = assert_put_fails(&[put(Some(offer)), chunk(0, b"ten bytes.")], Code::LengthDiffers).await;
    assert!(detail.contains("expected 9 bytes as offered, got 10"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_with_wrong_declared_length_fails() {
    for length in [9, 11] {
        let declared = Receipt { length, ..receipt(b"ten bytes.") };
        assert_put_fails(&[put(None), chunk(0, b"ten bytes."), put_end(declared)], Code::LengthDiffers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_end_with_another_receipt_than_offered_fails() {
    let offer = receipt(b"ten bytes.");
    let other = Receipt { salt: [2; 16], ..offer };
    assert_put_fails(&[put(Some(offer)), chunk(0, b"ten bytes."), put_end(other)], Code::Unexpected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_digest_fail() {
    let other = receipt(b"TEN BYTES.");
    for offer in [Some(other), None] {
        let messages = [put(offer), chunk(0, b"ten bytes."), put_end(other)];
        let detail = assert_put_fails(&messages, Code::DigestDiffers).await;
        // an offered put fails on the proof of its only piece, whose hash is the digest, in hex
        let [expected, got] = [other.digest, Digest::of(b"ten bytes.")].map(|digest| match offer {
            Some(_) => digest.to_hex(),
            None => digest.to_string(),
        });
        assert!(detail.contains(&expected) && detail.contains(&got), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_at_another_offset_fail() {
    for offset in [1, 9, 11, 1 << 40] {
        let messages = [put(None), chunk(0, b"ten bytes."), chunk(offset, b"more")];
        let detail = assert_put_fails(&messages, Code::Unexpected).await;
        assert_eq!(detail, format!("expected the bytes at 10, got those at {offset}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_put_end_fails() {
    let end = put_end(receipt(b"ten bytes."));
    assert_put_fails(&[put(None), chunk(0, b"ten bytes."), end.clone(), end], Code::Unexpected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_put_end_fail() {
    let messages = [put(None), chunk(0, b"ten bytes."), put_end(receipt(b"ten bytes.")), chunk(10, b"more")];
    assert_put_fails(&messages, Code::Unexpected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_in_the_past_is_refused() {
    let offer = Receipt { expires_at: support::unix_seconds() - 1, ..receipt(b"x") };
    assert_put_fails(&[put(Some(offer))], Code::Expired).await;
    // a stream declares its expiry at its end, so the replicas refuse it
    assert_put_fails(&[put(None), chunk(0, b"x"), put_end(offer)], Code::Expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_put_fails_as_cancelled() {
    assert_put_fails(&[put(None), chunk(0, b"ten"), Message::Cancel { stream: STREAM, keep: false }], Code::Cancelled)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_beyond_the_link_limit_is_refused_as_busy() {
    let cluster = InProcess::start(2).await;
    let mut link = RawLink::client(cluster.address()).await;
    link.send(&put(None)).await;
    for number in 100..164 {
        link.send(&Message::Put { stream: Stream(number), offer: None, renew: false, authorisation: None }).await;
    }
    let failed = link.failed().await;
    assert_eq!((failed.stream, failed.code), (Stream(163), Code::Busy), "{failed}");
    // the first put is unaffected, and messages of the refused stream are ignored
    link.send(&chunk_of(Stream(163), b"under way")).await;
    link.send(&put_end(receipt(b""))).await;
    loop {
        match link.receive().await.unwrap() {
            Message::Certified { stream, .. } => break assert_eq!(stream, STREAM),
            Message::Failed(failed) => panic!("{failed}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blob_message_that_differs_from_its_receipt_fails() {
    let blob = |receipt| Message::Blob {
        stream: STREAM,
        receipt,
        renew: false,
        bytes: Bytes::from_static(b"ten bytes."),
        authorisation: None,
    };
    let detail = assert_put_fails(&[blob(receipt(b"TEN BYTES."))], Code::DigestDiffers).await;
    assert!(detail.contains(&Digest::of(b"ten bytes.").to_string()), "{detail}");
    for length in [9, 11] {
        let receipt = Receipt { length, ..receipt(b"ten bytes.") };
        assert_put_fails(&[blob(receipt)], Code::LengthDiffers).await;
    }
    let expired = Receipt { expires_at: support::unix_seconds() - 1, ..receipt(b"ten bytes.") };
    assert_put_fails(&[blob(expired)], Code::Expired).await;
}

/// Begins a put and disconnects without a close frame; `false` if the server refused it as busy.
async fn vanish_during_a_put(address: String, seed: u64) -> bool {
    let mut link = RawLink::client(&address).await;
    link.send(&put(None)).await;
    loop {
        match link.receive().await.unwrap() {
            Message::Ready { .. } => break,
            // the server may not have noticed yet that the last round's clients are gone
            Message::Failed(failed) => {
                assert_eq!(failed.code, Code::Busy, "{failed}");
                return false;
            }
            _ => {}
        }
    }
    link.send(&chunk(0, &content(seed, 100 << 10))).await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn vanished_clients_free_their_slots_and_files() {
    let cluster = InProcess::start_with(2, |config| config.max_puts = 16).await;
    cluster.put(b"first").await.unwrap();
    for round in 0..20 {
        let vanishing: Vec<_> =
            (0..15).map(|number| tokio::spawn(vanish_during_a_put(cluster.address().to_owned(), number))).collect();
        let mut admitted = 0;
        for client in vanishing {
            admitted += usize::from(client.await.unwrap());
        }
        assert!(admitted > 0, "round {round}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    support::until("nothing is left of them on the disks", || {
        (0..2).all(|number| std::fs::read_dir(cluster.folder(number).join("partial")).unwrap().count() == 0)
    })
    .await;
    // all 16 put slots are free
    let puts = (0..16).map(|seed| {
        let address = cluster.address().to_owned();
        tokio::spawn(async move { put_bytes(&address, None, &content(seed, 1000)).await.unwrap() })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_beyond_the_server_limit_is_refused_as_busy() {
    let cluster = InProcess::start_with(1, |config| config.max_puts = 1).await;
    let mut first = RawLink::client(cluster.address()).await;
    first.send(&put(None)).await;
    while !matches!(first.receive().await.unwrap(), Message::Ready { .. }) {}
    let error = cluster.put(b"second").await.unwrap_err();
    assert!(error.to_string().starts_with("busy: ") && error.to_string().ends_with("; try again"), "{error}");
    first.send(&Message::Cancel { stream: STREAM, keep: false }).await;
    assert_eq!(first.failed().await.code, Code::Cancelled);
    cluster.put(b"third").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_client_times_out() {
    let cluster = InProcess::start_with(1, |config| config.client_silence = Duration::from_millis(300)).await;
    let good = ConcurrentPut::start(&cluster);
    let default = vouch::server::ServerConfig::new("data".into()).client_silence;
    let mut link = RawLink::client(cluster.address()).await;
    let began = Instant::now();
    link.send(&put(None)).await;
    link.send(&chunk(0, b"a first chunk")).await;
    let failed = link.failed().await;
    assert_eq!((failed.stream, failed.code), (STREAM, Code::TimedOut), "{failed}");
    assert!(began.elapsed() < default, "{:?}", began.elapsed());
    good.succeeds().await;
}
