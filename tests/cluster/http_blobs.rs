//! Blobs and certificates over HTTP.

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::blobs::{content, judge, verdict};
use support::http::{Answer, blob, exchange, get, head, put, request};
use support::in_process::InProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::receipt::NEVER;
use vouch_core::report::Inspection;
use vouch_core::verify::Verdict;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Asserts that a put was answered with a bundle that verifies independently.
fn assert_certified(answer: &Answer, identity: ClusterId, bytes: &[u8]) -> Inspection {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/vnd.vouch.bundle+json"));
    assert_eq!(answer.header("location"), Some(blob(bytes).as_str()));
    assert!(matches!(judge(&answer.body, identity, bytes), Verdict::Valid(_)), "{}", answer.text());
    Inspection::of_bundle(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_put_over_http_or_link_is_readable_over_both() {
    let cluster = InProcess::start(4).await;
    let address = cluster.address();
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let around = [256 * KIB, MIB];
    let sizes = [0, 1, 1000].into_iter().chain(around.into_iter().flat_map(|size| [size - 1, size, size + 1]));
    for (seed, size) in (0..).zip(sizes) {
        let bytes = content(seed, size);
        let inspection = assert_certified(&put(address, &bytes).await, identity, &bytes);
        assert_eq!((inspection.length, inspection.expires_at), (size as u64, NEVER));
        let answer = get(address, &blob(&bytes)).await;
        assert!(answer.status == 200 && answer.is_complete() && answer.body == bytes, "{size} bytes");
        let got = cluster.get(identity, Digest::of(&bytes)).await.unwrap();
        assert!(got.bytes == bytes && got.rejections.is_empty(), "{size} bytes");

        let other = content(seed + 1000, size);
        cluster.put(&other).await.unwrap();
        assert!(get(address, &blob(&other)).await.body == other, "{size} bytes, put by a session");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_http_put_founds_the_cluster() {
    let cluster = InProcess::start(3).await;
    let answer = put(cluster.address(), b"first").await;
    let identity = Inspection::of_bundle(&answer.body).unwrap().cluster;
    assert_certified(&answer, identity, b"first");
    let certified = cluster.put(b"second").await.unwrap();
    assert!(matches!(verdict(&certified, identity, b"second"), Verdict::Valid(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_and_any_path_name_are_accepted() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let bytes = content(1, 700 * KIB);
    let mut chunked =
        head(address, "PUT", "/v1/blobs/report%20(1).pdf", &[("Transfer-Encoding", "chunked")]).into_bytes();
    for piece in bytes.chunks(100_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_certified(&Answer::parse(&exchange(address, &chunked).await), identity, &bytes);

    let waiting = request(address, "PUT", "/v1/blobs/", &[("Expect", "100-continue")], b"asked for").await;
    assert_certified(&waiting, identity, b"asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_puts_and_gets() {
    let cluster = InProcess::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(1, 3 * MIB);
    std::fs::write(folder.path().join("letter"), &bytes).unwrap();
    let curl = |args: &[&str]| {
        let mut command = tokio::process::Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(args);
        command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        async move { command.output().await }
    };
    let server = format!("http://{}", cluster.address());
    let output = match curl(&["-T", "letter", "-o", "letter.vouch", &format!("{server}/v1/blobs/")]).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return println!("skipped: there is no curl"),
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    let bundle = std::fs::read(folder.path().join("letter.vouch")).unwrap();
    let identity = Inspection::of_bundle(&bundle).unwrap().cluster;
    assert!(matches!(judge(&bundle, identity, &bytes), Verdict::Valid(_)));
    // -J uses the name that the server gives
    let output = curl(&["-O", "-J", &format!("{server}{}", blob(&bytes))]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(folder.path().join(Digest::of(&bytes).to_hex())).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn blob_response_cannot_be_interpreted_as_a_page() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    let (small, large) = (b"<script>alert(1)</script>".to_vec(), content(1, 600 * KIB));
    for bytes in [small, large] {
        put(address, &bytes).await;
        let hex = Digest::of(&bytes).to_hex();
        let expected = [
            ("content-type", "application/octet-stream"),
            ("content-disposition", &format!("attachment; filename=\"{hex}\"")),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("etag", &format!("\"{hex}\"")),
            ("cross-origin-resource-policy", "same-origin"),
            ("accept-ranges", "bytes"),
            ("content-length", &bytes.len().to_string()),
            ("vary", "origin"),
        ];
        for method in ["GET", "HEAD"] {
            let answer = request(address, method, &blob(&bytes), &[], b"").await;
            assert_eq!(answer.status, 200);
            for (name, value) in expected {
                assert_eq!(answer.header(name), Some(value), "{method}");
            }
            assert!(answer.body == if method == "GET" { &bytes[..] } else { b"" });
        }
        // by the digest in base58, and with a matching `If-None-Match`
        let base58 = format!("/v1/blobs/{}", Digest::of(&bytes));
        assert!(get(address, &base58).await.body == bytes);
        for known in [format!("\"{hex}\""), format!("\"other\", W/\"{hex}\"")] {
            let answer = request(address, "GET", &base58, &[("If-None-Match", &known)], b"").await;
            assert_eq!((answer.status, answer.body.len()), (304, 0));
            assert_eq!(answer.header("etag"), Some(format!("\"{hex}\"").as_str()));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
            assert_eq!(answer.header("content-type"), None);
        }
        let other = request(address, "HEAD", &base58, &[("If-None-Match", "\"other\"")], b"").await;
        assert_eq!(other.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_served_by_digest() {
    let mut cluster = InProcess::start(2).await;
    let address = cluster.address().to_owned();
    let first = put(&address, b"letter").await;
    let identity = Inspection::of_bundle(&first.body).unwrap().cluster;
    let hex = Digest::of(b"letter").to_hex();
    let path = format!("/v1/certificates/{hex}");
    let answer = get(&address, &path).await;
    assert!(answer.status == 200 && answer.is_complete());
    assert_eq!(answer.text(), first.text());
    assert!(matches!(judge(&answer.body, identity, b"letter"), Verdict::Valid(_)));
    for (name, value) in [
        ("content-type", "application/vnd.vouch.bundle+json"),
        ("content-disposition", &format!("attachment; filename=\"{hex}.vouch\"")),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let tag = answer.header("etag").unwrap();
    assert_eq!(request(&address, "GET", &path, &[("If-None-Match", tag)], b"").await.status, 304);
    let only_head = request(&address, "HEAD", &path, &[], b"").await;
    assert_eq!((only_head.status, only_head.body.len()), (200, 0));
    assert_eq!(only_head.header("content-length"), answer.header("content-length"));

    // the server has it itself, whichever replicas are up
    for number in 0..2 {
        cluster.stop_replica(number).await;
    }
    cluster.stop_server().await;
    cluster.start_server().await;
    assert_eq!(get(&address, &format!("/v1/certificates/{}", Digest::of(b"letter"))).await.text(), first.text());
    let absent = get(&address, &format!("/v1/certificates/{}", Digest::of(b"never put"))).await;
    assert_eq!((absent.status, absent.problem().as_str()), (404, "not-found"));
}

/// Acts like a simple program: reads nothing until everything is sent, here more than the sockets buffer.
async fn put_all_then_read(address: &str, path: &str) -> Answer {
    let bytes = content(1, 20 * MIB);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = head(address, "PUT", path, &[("Content-Length", &bytes.len().to_string())]);
    stream.write_all(&[head.as_bytes(), &bytes].concat()).await.expect("it is all read");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Answer::parse(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_is_set_by_the_request() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    let answer = request(address, "PUT", "/v1/blobs?expires=30d", &[], b"for a month").await;
    let inspection = Inspection::of_bundle(&answer.body).unwrap();
    assert!(inspection.expires_at.abs_diff(support::unix_seconds() + 30 * 86_400) < 60, "{inspection:?}");
    for query in ["expires=soon", "expires=0s", "expires=1d&expires=2d", "expire=30d", "expires=999999999999days"] {
        let answer = request(address, "PUT", &format!("/v1/blobs/name?{query}"), &[], b"not stored").await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{query}");
    }
    let partly = request(address, "PUT", "/v1/blobs", &[("Content-Range", "bytes 0-9/100")], b"not stored").await;
    assert_eq!(partly.status, 400);
    assert_eq!(get(address, &blob(b"not stored")).await.status, 404);
    assert_eq!(put_all_then_read(address, "/v1/blobs?expires=soon").await.problem(), "bad-request");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_refused_with_their_status() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    put(address, b"something").await;
    let blob = blob(b"never put");
    for (method, path, status, code, allow) in [
        ("GET", blob.as_str(), 404, "not-found", None),
        ("HEAD", blob.as_str(), 404, "not-found", None),
        ("GET", "/v1/blobs/not-a-digest", 400, "bad-request", None),
        ("GET", "/v1/certificates/not-a-digest", 400, "bad-request", None),
        ("GET", "/v1/blobs", 405, "method-not-allowed", Some("PUT, OPTIONS")),
        ("DELETE", blob.as_str(), 405, "method-not-allowed", Some("GET, HEAD, PUT, OPTIONS")),
        ("PUT", "/v1/certificates/x", 405, "method-not-allowed", Some("GET, HEAD, OPTIONS")),
        ("POST", "/v1/cluster", 405, "method-not-allowed", Some("GET, HEAD, OPTIONS")),
        ("PUT", "/v1/link", 405, "method-not-allowed", Some("GET, OPTIONS")),
        ("POST", "/", 405, "method-not-allowed", Some("GET, HEAD")),
        ("OPTIONS", "/healthz", 405, "method-not-allowed", Some("GET, HEAD")),
        ("GET", "/v1/link", 426, "upgrade-required", None),
        ("GET", "/v1/blobs/a/b", 404, "not-found", None),
        ("GET", "/v1/nothing", 404, "not-found", None),
        ("POST", "/nothing", 404, "not-found", None),
    ] {
        let answer = request(address, method, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.problem(), code, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_that_cannot_be_accepted_says_why() {
    let mut cluster = InProcess::start_with(0, |config| config.max_puts = 1).await;
    let address = cluster.address().to_owned();
    let nobody = put(&address, b"early").await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (503, "no-committee-yet"));
    assert_eq!(nobody.header("retry-after"), Some("1"));
    assert_eq!(get(&address, &blob(b"early")).await.problem(), "no-committee-yet");

    // a client that sends `Expect: 100-continue` learns of the refusal before it sends the body
    let asking = head(&address, "PUT", "/v1/blobs", &[("Expect", "100-continue"), ("Content-Length", "1000000")]);
    let mut quickest = Duration::MAX;
    // 20 tries: on a busy machine a single one may be too quick
    for _ in 0..20 {
        let began = Instant::now();
        let refused = exchange(&address, asking.as_bytes()).await;
        assert!(refused.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&refused));
        quickest = quickest.min(began.elapsed());
        if quickest < Duration::from_millis(1500) {
            break;
        }
    }
    assert!(quickest < Duration::from_millis(1500), "waited for a body that nobody sends: {quickest:?}");

    for number in 0..2 {
        cluster.start_replica(number).await;
    }
    assert_eq!(put(&address, b"first").await.status, 201);
    cluster.stop_replica(1).await;
    let too_few = put_all_then_read(&address, "/v1/blobs").await;
    assert_eq!((too_few.status, too_few.problem().as_str()), (503, "not-enough-replicas"));
    assert_eq!(too_few.json()["members"], serde_json::json!(["replica-1"]));

    cluster.start_replica(1).await;
    let mut first = support::raw_link::RawLink::client(&address).await;
    let stream = vouch_core::message::Stream(1);
    first.send(&vouch_core::message::Message::Put { stream, offer: None, renew: false, authorisation: None }).await;
    while !matches!(first.receive().await.unwrap(), vouch_core::message::Message::Ready { .. }) {}
    let busy = put(&address, b"second").await;
    assert_eq!((busy.status, busy.problem().as_str()), (503, "busy"), "one put at a time, whoever puts");
    drop(first);
}
