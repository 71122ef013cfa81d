//! A client that breaks the protocol of its link is told why, and the link ends.

use super::*;

/// Asserts that a link on which `messages` are sent ends with `code` and a close frame.
async fn assert_link_ends(messages: Vec<Bytes>, code: Code) -> String {
    let cluster = InProcess::start(2).await;
    let good = ConcurrentPut::start(&cluster);
    let mut link = RawLink::client(cluster.address()).await;
    for message in messages {
        link.send_bytes(message).await;
    }
    let failed = link.refused().await;
    assert_eq!(failed.code, code, "{failed}");
    good.succeeds().await;
    failed.detail
}

/// Proofs belong to reads: a put's chunk with a proof is a protocol error.
#[tokio::test(flavor = "multi_thread")]
async fn put_chunk_with_a_proof_ends_the_link() {
    let parents = vec![vouch_core::tree::Parent([7; 64])];
    let chunk = Message::Chunk { stream: STREAM, offset: 0, parents, bytes: Bytes::from_static(b"bytes") };
    let detail = assert_link_ends(vec![put(None).encode(), chunk.encode()], Code::Unexpected).await;
    assert_eq!(detail, "expected a put's bytes without a proof, got 1 parents");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_put_on_one_stream_ends_the_link() {
    for second in [
        put(None),
        Message::Blob {
            stream: STREAM,
            receipt: receipt(b"x"),
            renew: false,
            bytes: Bytes::from_static(b"x"),
            authorisation: None,
        },
    ] {
        let detail = assert_link_ends(vec![put(None).encode(), second.encode()], Code::Unexpected).await;
        assert_eq!(detail, "expected a new put, got stream 5 a second time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_unknown_put_end_the_link() {
    let bytes = b"bytes";
    for message in [chunk(0, bytes), put_end(receipt(bytes)), Message::Cancel { stream: STREAM, keep: false }] {
        let detail = assert_link_ends(vec![message.encode()], Code::Unexpected).await;
        assert!(detail.contains("stream 5"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_message_from_a_client_ends_the_link() {
    let detail = assert_link_ends(vec![Message::Stored { stream: STREAM }.encode()], Code::Unexpected).await;
    assert_eq!(detail, "expected a request, got Stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_message_ends_the_link() {
    assert_link_ends(vec![Bytes::from_static(&[0x7F, 1, 2, 3])], Code::Malformed).await;
    assert_link_ends(vec![Bytes::new()], Code::Malformed).await;
    let mut long = put(None).encode().to_vec();
    long.push(0);
    assert_link_ends(vec![long.into()], Code::Malformed).await;
    // stream 0 is the link itself
    assert_link_ends(vec![Message::Cancel { stream: Stream(0), keep: false }.encode()], Code::Malformed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_message_ends_the_link() {
    for size in [(512 << 10) + 1, 2 << 20, 16 << 20] {
        println!("{size} bytes");
        assert_link_ends(vec![vec![0x11; size].into()], Code::TooLarge).await;
    }
    // a message of the largest allowed size is decoded, and is malformed here
    assert_link_ends(vec![vec![0x11; 512 << 10].into()], Code::Malformed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_frame_ends_the_link() {
    let cluster = InProcess::start(1).await;
    let good = ConcurrentPut::start(&cluster);
    let mut link = RawLink::client(cluster.address()).await;
    link.send_text("hello").await;
    let failed = link.refused().await;
    assert_eq!(failed.code, Code::Malformed);
    assert!(failed.detail.contains("expected binary, got text"), "{failed}");
    good.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ninth_unanswered_read_ends_the_link() {
    // a committee of one replica that never answers reads
    let cluster = InProcess::start(0).await;
    let _silent = FakeReplica::join(cluster.address(), Identity::new(1, "silent"), |_, question, answers| {
        if matches!(question, Message::Read(_)) { Vec::new() } else { answers }
    })
    .await;
    support::until("it joins", || cluster.connected().len() == 1).await;
    cluster.put(b"blob").await.unwrap();
    let mut link = RawLink::client(cluster.address()).await;
    let read = |number| {
        Message::Read(Read { stream: Stream(number), member: 0, digest: Digest::of(b"blob"), offset: 0, length: 4 })
    };
    link.locate(Digest::of(b"blob")).await.unwrap();
    for number in 1..=9 {
        link.send(&read(number)).await;
    }
    let failed = link.refused().await;
    assert_eq!(failed.code, Code::Unexpected);
    assert!(failed.detail.contains("at most 8 unanswered reads"), "{failed}");
    // the closed link leaves nothing behind: eight reads are accepted again, and time out
    let mut link = RawLink::client(cluster.address()).await;
    link.locate(Digest::of(b"blob")).await.unwrap();
    for number in 1..=8 {
        link.send(&read(number)).await;
    }
    let failed = link.failed().await;
    assert_eq!(failed.code, Code::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_of_another_version_is_refused_and_reported() {
    let cluster = InProcess::start(1).await;
    for role in [Role::Client, Role::Replica] {
        let mut link = RawLink::open(cluster.address()).await;
        let hello = Hello { version: 1, ..Hello::new(role, None, NodeKey::ANONYMOUS, [0; 32]) };
        link.send(&Message::Hello(hello)).await;
        let failed = link.refused().await;
        assert_eq!(failed.code, Code::Version, "{failed}");
        assert!(failed.detail.contains("expected 3, got 1; run the same release"), "{failed}");
    }
    // the version decides before the rest of a later version's hello is decoded
    let mut link = RawLink::open(cluster.address()).await;
    link.send_bytes(Bytes::from_static(&[0x01, 0x04, 0x00, 9, 9, 9])).await;
    assert_eq!(link.refused().await.code, Code::Version);
    // the server reports it to its operator too, once for a flood
    let told: Vec<_> = cluster
        .server_events()
        .into_iter()
        .filter_map(|event| match event {
            server::Event::Refused(text) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("expected 3, got 1"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_message_other_than_a_valid_hello_is_refused() {
    let cluster = InProcess::start(1).await;
    for message in [put(None), Message::Cancel { stream: STREAM, keep: false }] {
        let mut link = RawLink::open(cluster.address()).await;
        link.send(&message).await;
        assert_eq!(link.refused().await.code, Code::Unexpected);
    }
    let mut link = RawLink::open(cluster.address()).await;
    link.send(&Message::Hello(Hello::new(Role::Server, None, NodeKey::ANONYMOUS, [0; 32]))).await;
    let failed = link.refused().await;
    assert!(failed.detail.contains("expected a client or a replica, got a server"), "{failed}");
}
