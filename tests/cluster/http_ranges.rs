//! Ranges of blobs over HTTP: plain, and as slices with proofs.

use support::blobs::content;
use support::fake_replica::{FakeReplica, Honest, Identity};
use support::http::{Answer, blob, get, put, request};
use support::in_process::InProcess;
use support::until;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_CHUNK, Message};
use vouch_core::slice::{Head, SliceReader};

const MIB: usize = 1 << 20;

async fn range(address: &str, bytes: &[u8], headers: &[(&str, &str)]) -> Answer {
    request(address, "GET", &blob(bytes), headers, b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn range_response_has_exactly_the_requested_bytes() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    for size in [1, 20_000, 3 * MIB + 5] {
        let bytes = content(1, size);
        assert_eq!(put(address, &bytes).await.status, 201);
        for (text, start, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, size),
            ("bytes=-1", size - 1, size),
            ("bytes=-99999999999999999999", 0, size),
            ("bytes=0-99999999999999999999", 0, size),
            ("BYTES=1-17000", 1, 17_001),
            ("bytes=262143-262144", 262_143, 262_145),
            ("bytes=100000-1500000", 100_000, 1_500_001),
            ("bytes=-300000", size.saturating_sub(300_000), size),
        ] {
            let answer = range(address, &bytes, &[("Range", text)]).await;
            let end = end.min(size);
            if start >= size {
                assert_eq!((answer.status, answer.problem().as_str()), (416, "range-not-satisfiable"), "{text}");
                assert_eq!(answer.header("content-range"), Some(format!("bytes */{size}").as_str()));
                continue;
            }
            assert_eq!(answer.status, 206, "{text} of {size}: {}", String::from_utf8_lossy(&answer.body));
            assert!(answer.is_complete() && answer.body == bytes[start..end], "{text} of {size}");
            let place = format!("bytes {start}-{}/{size}", end - 1);
            assert_eq!(answer.header("content-range"), Some(place.as_str()));
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
            assert_eq!(answer.header("etag"), Some(format!("\"{}\"", Digest::of(&bytes).to_hex()).as_str()));
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_range_headers_are_ignored() {
    let cluster = InProcess::start(1).await;
    let (address, bytes) = (cluster.address(), content(2, 300_000));
    assert_eq!(put(address, &bytes).await.status, 201);
    for text in ["bytes=0-1,4-5", "lines=0-1", "bytes=5-4", "bytes=", "bytes", "bytes=a-b", "0-1"] {
        let answer = range(address, &bytes, &[("Range", text)]).await;
        assert!(answer.status == 200 && answer.is_complete() && answer.body == bytes, "{text}");
        assert_eq!(answer.header("content-range"), None);
    }
    for (text, is_satisfiable) in [("bytes=300000-", false), ("bytes=-0", false), ("bytes=299999-", true)] {
        let answer = range(address, &bytes, &[("Range", text)]).await;
        assert_eq!(answer.status, if is_satisfiable { 206 } else { 416 }, "{text}");
    }
    let head = request(address, "HEAD", &blob(&bytes), &[("Range", "bytes=0-1")], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")));
    // a suffix range of an empty blob is the whole blob
    assert_eq!(put(address, b"").await.status, 201);
    let none = range(address, b"", &[("Range", "bytes=-5")]).await;
    assert_eq!((none.status, none.header("content-length"), none.header("content-range")), (200, Some("0"), None));
    let first = range(address, b"", &[("Range", "bytes=0-")]).await;
    assert_eq!((first.status, first.header("content-range")), (416, Some("bytes */0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_evaluated_before_ranges() {
    let cluster = InProcess::start(1).await;
    let (address, bytes) = (cluster.address(), content(3, 300_000));
    assert_eq!(put(address, &bytes).await.status, 201);
    let tag = format!("\"{}\"", Digest::of(&bytes).to_hex());
    let weak = format!("W/{tag}");
    let part = ("Range", "bytes=7-9");
    let status = async |headers: &[(&str, &str)]| range(address, &bytes, headers).await.status;
    assert_eq!(status(&[part, ("If-None-Match", &tag)]).await, 304);
    assert_eq!(status(&[part, ("If-None-Match", "\"other\"")]).await, 206);
    assert_eq!(status(&[part, ("If-Range", &tag)]).await, 206);
    for other in [weak.as_str(), "\"other\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
        assert_eq!(status(&[part, ("If-Range", other)]).await, 200, "{other}");
        // a failed condition ignores the range, even one that cannot be satisfied
        assert_eq!(status(&[("Range", "bytes=300000-"), ("If-Range", other)]).await, 200, "{other}");
    }
}

/// Verifies a body of slices by the digest alone.
fn read_slices(digest: Digest, body: &[u8]) -> (Head, Vec<u8>) {
    let mut reader = SliceReader::new(digest);
    let mut bytes = Vec::new();
    for piece in body.chunks(10_007) {
        reader.push(piece).unwrap().iter().for_each(|ready| bytes.extend_from_slice(ready));
    }
    reader.finish().unwrap();
    (reader.verified_head().unwrap().clone(), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_verify_against_the_digest() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    for size in [0, 1, MAX_CHUNK, 3 * MIB + 5] {
        let bytes = content(4, size);
        assert_eq!(put(address, &bytes).await.status, 201);
        let path = format!("{}/slice", blob(&bytes));
        for (query, start, end) in [
            ("", 0, size),
            ("?start=0&end=1", 0, 1),
            ("?start=20000", 20_000, size),
            ("?end=300000", 0, 300_000),
            ("?start=262143&end=262145", 262_143, 262_145),
            ("?start=2000000&end=99999999999", 2_000_000, size),
        ] {
            let answer = get(address, &format!("{path}{query}")).await;
            if !query.is_empty() && start >= size {
                assert_eq!(answer.status, 416, "{query} of {size}");
                continue;
            }
            assert_eq!(answer.status, 200, "{query} of {size}");
            assert_eq!(answer.header("content-type"), Some("application/vnd.vouch.slice"));
            let (head, got) = read_slices(Digest::of(&bytes), &answer.unchunked());
            let end = end.min(size);
            assert_eq!(head, Head { length: size as u64, range: start as u64..end as u64 }, "{query}");
            assert!(got == bytes[start..end], "{query} of {size}");
        }
    }
    let path = format!("{}/slice", blob(b""));
    for (query, code) in [("?start=5&end=5", "bad-request"), ("?begin=1", "bad-request"), ("?start=x", "bad-request")] {
        assert_eq!(get(address, &format!("{path}{query}")).await.problem(), code, "{query}");
    }
    let post = request(address, "POST", &path, &[], b"").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let head = request(address, "HEAD", &path, &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// Whichever byte one replica lies about, ranges and slices come from another.
#[tokio::test(flavor = "multi_thread")]
async fn lie_within_a_range_is_replaced_by_another_replica() {
    let bytes = content(5, MIB);
    let cluster = InProcess::start(3).await;
    let lie = |_: &Honest, _: &Message, mut answers: Vec<Message>| {
        if let Some(Message::Chunk { offset: 524_288, bytes, .. }) = answers.first_mut() {
            let mut other = bytes.to_vec();
            other[9] ^= 1;
            *bytes = other.into();
        }
        answers
    };
    let _liar = FakeReplica::join(cluster.address(), Identity::first("liar"), lie).await;
    until("the liar joins", || cluster.connected().contains(&"liar".into())).await;
    assert_eq!(put(cluster.address(), &bytes).await.status, 201);
    for number in 0..3 {
        cluster.until_replica(number, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    }
    let answer = range(cluster.address(), &bytes, &[("Range", "bytes=300000-800000")]).await;
    assert!(answer.status == 206 && answer.is_complete() && answer.body == bytes[300_000..800_001]);
    let told = |event| matches!(event, vouch::server::Event::Trouble(what) if what.contains("liar: the bytes 524288"));
    assert!(cluster.server_events().into_iter().any(told), "the liar is reported to the operator");
    let answer = get(cluster.address(), &format!("{}/slice?start=300000&end=800001", blob(&bytes))).await;
    let (_, got) = read_slices(Digest::of(&bytes), &answer.unchunked());
    assert!(got == bytes[300_000..800_001]);
}
