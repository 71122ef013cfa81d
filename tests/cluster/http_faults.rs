//! HTTP clients that stall, break off or do not read, and replicas that lie to HTTP clients.

use std::time::{Duration, Instant};

use support::blobs::{content, get_bytes};
use support::fake_replica::{FakeReplica, Honest, Identity, flip};
use support::http::{Answer, blob, get, head, put, request};
use support::in_process::InProcess;
use support::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_CHUNK, Message};

const MIB: usize = 1 << 20;
const LIAR: &str = "liar";

fn partial_files(cluster: &InProcess, replicas: usize) -> usize {
    let count = |number| std::fs::read_dir(cluster.folder(number).join("partial")).unwrap().count();
    (0..replicas).map(count).sum()
}

/// Starts a put whose body reached the replicas: each has a partial upload of two files, bytes and outboard.
async fn begin(cluster: &InProcess, replicas: usize, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.address()).await.unwrap();
    let head = head(cluster.address(), "PUT", "/v1/blobs", headers);
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    until("the replicas receive it", || partial_files(cluster, replicas) == 2 * replicas).await;
    stream
}

/// More bytes than replicas keep in memory before they write a file.
fn beginning() -> Vec<u8> {
    vec![b'x'; 70_000]
}

async fn answer_of(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server closes");
    Answer::parse(&bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_body_times_out() {
    let cluster = InProcess::start_with(2, |config| config.client_silence = Duration::from_millis(500)).await;
    let default = vouch::server::ServerConfig::new("data".into()).client_silence;
    let began = Instant::now();
    let stream = begin(&cluster, 2, &[("Content-Length", "1000000")], &beginning()).await;
    let answer = answer_of(stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "timed-out"));
    assert!(began.elapsed() < default, "{:?}", began.elapsed());
    until("nothing is left", || partial_files(&cluster, 2) == 0).await;
    assert_eq!(put(cluster.address(), b"unharmed").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn body_below_the_minimum_rate_times_out() {
    let cluster = InProcess::start_with(1, |config| {
        config.upload_window = Duration::from_millis(600);
        config.upload_rate = 1000;
    })
    .await;
    let mut stream = begin(&cluster, 1, &[("Content-Length", "1000000")], &beginning()).await;
    let default = vouch::server::ServerConfig::new("data".into()).upload_window;
    let began = Instant::now();
    // never silent beyond the limit, but below the minimum rate
    while began.elapsed() < default && stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if stream.try_read(&mut [0; 1]).is_ok() {
            break;
        }
    }
    assert!(began.elapsed() < default, "slow bytes hold a put: {:?}", began.elapsed());
    let answer = answer_of(stream).await;
    // its first byte may have been read above
    assert!(answer.text().contains("expected at least 1000 bytes a second") || answer.status == 408, "{answer:?}");
    until("nothing is left", || partial_files(&cluster, 1) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_body_above_the_minimum_rate_is_stored() {
    let cluster = InProcess::start_with(1, |config| {
        config.client_silence = Duration::from_secs(3);
        config.upload_window = Duration::from_secs(2);
        config.upload_rate = 1000;
    })
    .await;
    let bytes = content(1, 10_000);
    let mut stream = TcpStream::connect(cluster.address()).await.unwrap();
    let head = head(cluster.address(), "PUT", "/v1/blobs", &[("Content-Length", "10000")]);
    stream.write_all(head.as_bytes()).await.unwrap();
    // the upload lasts longer than the silence limit, in chunks below the server's piece size
    for piece in bytes.chunks(500) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(answer_of(stream).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_bodies_are_not_stored() {
    let cluster = InProcess::start(2).await;
    let endings: [&[(&str, &str)]; 2] = [&[("Content-Length", "1000000")], &[("Transfer-Encoding", "chunked")]];
    for headers in endings {
        let mut body = beginning();
        if headers[0].0 != "Content-Length" {
            body = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
        }
        // closed, reset, or only the sending half closed
        for ending in 0..3 {
            let mut stream = begin(&cluster, 2, headers, &body).await;
            match ending {
                0 => drop(stream),
                1 => {
                    stream.set_zero_linger().unwrap();
                    drop(stream);
                }
                _ => {
                    stream.shutdown().await.unwrap();
                    assert_ne!(answer_of(stream).await.status, 201, "a part is not the whole");
                }
            }
            until("nothing is left", || partial_files(&cluster, 2) == 0).await;
        }
    }
    assert_eq!(get(cluster.address(), &blob(b"a beginning")).await.status, 404);
    assert_eq!(put(cluster.address(), b"unharmed").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_disconnects_before_certification_frees_its_slot() {
    let cluster = InProcess::start_with(1, |config| config.max_puts = 1).await;
    // a replica that never answers `Stored`: the put waits for it, as both members must store
    let deaf = |_: &Honest, question: &Message, answers| match question {
        Message::PutEnd { .. } => Vec::new(),
        _ => answers,
    };
    let _deaf = FakeReplica::join(cluster.address(), Identity::first(LIAR), deaf).await;
    until("it joins", || cluster.connected().contains(&LIAR.into())).await;
    let mut stream = TcpStream::connect(cluster.address()).await.unwrap();
    let head = head(cluster.address(), "PUT", "/v1/blobs", &[("Content-Length", "5")]);
    stream.write_all(&[head.as_bytes(), b"whole"].concat()).await.unwrap();
    cluster.until_replica(0, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    assert_eq!(put(cluster.address(), b"x").await.problem(), "busy");
    drop(stream);
    let began = Instant::now();
    loop {
        // the slot is free again long before the storing deadline
        let mut second = TcpStream::connect(cluster.address()).await.unwrap();
        let head = support::http::head(cluster.address(), "PUT", "/v1/blobs", &[("Content-Length", "5")]);
        second.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        let read = tokio::time::timeout(Duration::from_millis(300), second.read_exact(&mut first)).await;
        match read {
            Err(_) => break,
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(30), "{}", String::from_utf8_lossy(&first)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_are_disconnected_and_others_continue() {
    let cluster = InProcess::start_with(1, |config| config.reader_silence = Duration::from_secs(1)).await;
    let bytes = content(1, 32 * MIB);
    assert_eq!(put(cluster.address(), &bytes).await.status, 201);
    let head = head(cluster.address(), "GET", &blob(&bytes), &[]);
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(cluster.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let began = Instant::now();
    let good = get(cluster.address(), &blob(&bytes)).await;
    assert!(good.body == bytes);
    println!("beside 8 that do not read: {:?}", began.elapsed());
    // stalled readers are disconnected after a second
    tokio::time::sleep(Duration::from_secs(5)).await;
    for stream in stalled {
        // bytes in flight at the disconnect
        assert!(answer_of(stream).await.body.len() < bytes.len(), "it was not cut off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_downloads_are_limited() {
    let cluster = InProcess::start_with(1, |config| config.max_downloads = 1).await;
    let bytes = content(1, 32 * MIB);
    assert_eq!(put(cluster.address(), &bytes).await.status, 201);
    let mut first = TcpStream::connect(cluster.address()).await.unwrap();
    first.write_all(head(cluster.address(), "GET", &blob(&bytes), &[]).as_bytes()).await.unwrap();
    first.read_exact(&mut [0; 100]).await.unwrap();
    let second = get(cluster.address(), &blob(&bytes)).await;
    assert_eq!((second.status, second.problem().as_str()), (503, "busy"));
    drop(first);
    let began = Instant::now();
    while get(cluster.address(), &blob(&bytes)).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "the first is over");
    }
}

/// A committee of three honest members and a liar that is asked first; all four hold the bytes.
async fn with_liar(
    bytes: &[u8],
    lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
) -> (InProcess, FakeReplica) {
    let cluster = InProcess::start(3).await;
    let liar = FakeReplica::join(cluster.address(), Identity::first(LIAR), lie).await;
    until("the liar joins", || cluster.connected().contains(&LIAR.into())).await;
    assert_eq!(put(cluster.address(), bytes).await.status, 201);
    for number in 0..3 {
        cluster.until_replica(number, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    }
    (cluster, liar)
}

#[tokio::test(flavor = "multi_thread")]
async fn lie_about_a_small_blob_never_reaches_the_client() {
    for size in [1, MAX_CHUNK] {
        let bytes = content(1, size);
        let (cluster, _liar) = with_liar(&bytes, flip(0)).await;
        let answer = get(cluster.address(), &blob(&bytes)).await;
        assert!(answer.status == 200 && answer.is_complete() && answer.body == bytes, "{size} bytes");
        let told = cluster.server_events().into_iter().any(
            |event| matches!(event, vouch::server::Event::Trouble(what) if what.contains("liar: the bytes 0 to ")),
        );
        assert!(told, "the liar is reported to the operator");
    }
}

/// Wherever the wrong byte is, another replica continues at that offset, and the reader notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn lie_in_a_large_blob_never_reaches_the_client() {
    let bytes = content(1, 3 * MIB);
    for at in [1000, 200 << 10, 2 * MIB, 3 * MIB - 1] {
        let (cluster, _liar) = with_liar(&bytes, flip(at as u64)).await;
        let answer = get(cluster.address(), &blob(&bytes)).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("3145728")));
        assert!(answer.is_complete() && answer.body == bytes, "{at}: {} bytes", answer.body.len());
        let told = |event| matches!(event, vouch::server::Event::Trouble(what) if what.contains("liar: the bytes "));
        assert!(cluster.server_events().into_iter().any(told), "{at}: the liar is reported to the operator");
        // a replica caught lying is asked last for a while
        let again = get(cluster.address(), &blob(&bytes)).await;
        assert!(again.is_complete() && again.body == bytes, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_is_incomplete_when_every_replica_lies() {
    let cluster = InProcess::start(0).await;
    let _liars = [
        FakeReplica::join(cluster.address(), Identity::first(LIAR), flip(0)).await,
        FakeReplica::join(cluster.address(), Identity::new(1, "other"), flip(0)).await,
    ];
    until("the liars join", || cluster.connected().len() == 2).await;
    let (small, large) = (content(1, MAX_CHUNK), content(2, MAX_CHUNK + 1));
    for bytes in [&small, &large] {
        assert_eq!(put(cluster.address(), bytes).await.status, 201);
    }
    // a blob of one chunk is verified before the response starts
    let answer = get(cluster.address(), &blob(&small)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (502, "exhausted"));
    assert_eq!(answer.json()["members"], serde_json::json!([LIAR, "other"]));
    // of several chunks, the first is verified before the response starts
    let answer = get(cluster.address(), &blob(&large)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (502, "exhausted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn response_is_cut_before_the_lie_when_every_replica_lies_midway() {
    let cluster = InProcess::start(0).await;
    let at = 2 * MIB as u64;
    let _liars = [
        FakeReplica::join(cluster.address(), Identity::first(LIAR), flip(at)).await,
        FakeReplica::join(cluster.address(), Identity::new(1, "other"), flip(at)).await,
    ];
    until("the liars join", || cluster.connected().len() == 2).await;
    let bytes = content(1, 3 * MIB);
    assert_eq!(put(cluster.address(), &bytes).await.status, 201);
    let answer = get(cluster.address(), &blob(&bytes)).await;
    // bytes in flight at the disconnect may be lost
    assert!([0, 200].contains(&answer.status) && !answer.is_complete(), "{}", answer.status);
    assert!(answer.body.len() <= 2 * MIB && bytes.starts_with(&answer.body), "{} bytes", answer.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_fails_midway_is_replaced() {
    let bytes = content(1, 3 * MIB);
    let (cluster, _liar) = with_liar(&bytes, |_, question, answers| match question {
        Message::Read(read) if read.offset >= 2 * MIB as u64 => {
            vec![Message::failed(read.stream, vouch_core::message::Code::Storage, "disk gone")]
        }
        _ => answers,
    })
    .await;
    let answer = get(cluster.address(), &blob(&bytes)).await;
    assert!(answer.is_complete() && answer.body == bytes, "{} bytes", answer.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn lie_about_the_length_is_ignored_when_a_certificate_has_it() {
    let bytes = content(1, 3 * MIB);
    let (cluster, _liar) = with_liar(&bytes, |_, _, mut answers| {
        if let Some(Message::Located { holders, .. }) = answers.first_mut() {
            holders.iter_mut().for_each(|holder| holder.length = MIB as u64);
        }
        answers
    })
    .await;
    let answer = get(cluster.address(), &blob(&bytes)).await;
    assert!(answer.is_complete() && answer.body == bytes, "{} bytes", answer.body.len());
    let only_head = request(cluster.address(), "HEAD", &blob(&bytes), &[], b"").await;
    assert_eq!(only_head.header("content-length"), Some("3145728"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_waiting_for_budget_do_not_block_answers() {
    let cluster = InProcess::start_with(1, |config| config.read_budget = MAX_CHUNK).await;
    let bytes = content(1, 2 * MIB);
    let identity = cluster.put(&bytes).await.unwrap().committee().cluster();
    let gets = (0..4).map(|_| get_bytes(cluster.address(), Some(identity), Digest::of(&bytes)));
    let all = tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(gets)).await;
    for got in all.expect("nobody waits for ever") {
        assert!(got.unwrap().bytes == bytes);
    }
}
