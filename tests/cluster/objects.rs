//! Objects in an S3 store: round trips, limits, refusals, and connections that are cut.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::blobs::content;
use support::s3::{BUCKET, KEY, S3Proxy, S3Server, SECRET, lying_server, overwrite};
use vouch::host::objects::{Credentials, ObjectError, Objects, S3Url, Timeouts};

const MIB: usize = 1 << 20;

/// Timeouts short enough for a test, long enough for a busy machine.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(20),
    question: Duration::from_secs(10),
    part: Duration::from_secs(30),
};

fn url(endpoint: &str, prefix: &str) -> S3Url {
    format!("{BUCKET}/{prefix}?endpoint={endpoint}").parse().unwrap()
}

fn open(endpoint: &str, prefix: &str, owner: &str) -> Result<Objects, ObjectError> {
    Objects::open(&url(endpoint, prefix), &Credentials::new(KEY, SECRET), owner, false, TIMEOUTS)
}

fn put(objects: &Objects, name: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    objects.put(name, bytes.len() as u64, |offset, buffer| {
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&bytes[offset..offset + buffer.len()]);
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_readable_in_whole_and_in_ranges() {
    let server = S3Server::start().await;
    let objects = open(&server.endpoint(), "a/b", "one").unwrap();
    // one byte; one request; exactly one part; two parts, the last of one byte; three parts
    for (seed, length) in [(1, 1), (2, 100 << 10), (3, 8 * MIB), (4, 8 * MIB + 1), (5, 20 * MIB)] {
        let bytes = content(seed, length);
        let name = format!("blobs/{length}");
        put(&objects, &name, &bytes).unwrap();
        assert_eq!(objects.length(&name), Ok(Some(length as u64)));
        assert!(std::fs::read(server.file(&format!("a/b/{name}"))).unwrap() == bytes, "{length}");
        for (offset, wanted) in [(0, length.min(300_000)), (length / 3, length / 2), (length - 1, 1), (0, 0)] {
            let got = objects.get(&name, offset as u64, u32::try_from(wanted).unwrap()).unwrap();
            assert!(got == bytes[offset..offset + wanted], "{length}: {wanted} bytes from {offset}");
        }
    }
    // overwrite it with other bytes
    let other = content(6, 9 * MIB);
    put(&objects, "blobs/1", &other).unwrap();
    assert!(objects.get("blobs/1", MIB as u64, 8 << 20).unwrap() == other[MIB..]);
    assert_eq!(server.leftovers(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_two_parts_are_read_ahead() {
    let server = S3Server::start().await;
    let proxy = S3Proxy::to(server.address()).await;
    let objects = open(&proxy.endpoint(), "a", "one").unwrap();
    // the proxy is cut within the first part, so no part completes
    proxy.cut_after(4 * MIB as u64);
    let read = Mutex::new(0);
    let error = objects.put("blobs/a", 80 * MIB as u64, |_, buffer| {
        *read.lock().unwrap() += buffer.len();
        Ok::<(), ObjectError>(())
    });
    assert!(matches!(error, Err(ObjectError::Unreachable { .. })), "{error:?}");
    assert_eq!(*read.lock().unwrap(), 16 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_object_is_reported_as_missing() {
    let server = S3Server::start().await;
    let objects = open(&server.endpoint(), "a", "one").unwrap();
    assert_eq!(objects.length("blobs/a"), Ok(None));
    let absent = Err(ObjectError::NotFound { object: format!("s3://{BUCKET}/a/blobs/a") });
    assert_eq!(objects.get("blobs/a", 0, 1), absent);
    put(&objects, "blobs/a", b"abc").unwrap();
    let differs = |expected, got| ObjectError::LengthDiffers {
        server: server.endpoint(),
        object: format!("s3://{BUCKET}/a/blobs/a"),
        expected,
        got,
    };
    assert_eq!(objects.get("blobs/a", 1, 3), Err(differs(3, 2)));
    objects.get("blobs/a", 3, 1).unwrap_err();
    objects.remove("blobs/a").unwrap();
    assert_eq!(objects.get("blobs/a", 0, 1), absent);
    objects.remove("blobs/a").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn list_continues_over_several_pages() {
    let server = S3Server::start().await;
    let objects = open(&server.endpoint(), "a", "one").unwrap();
    put(&objects, "blobs/ab00", b"abc").unwrap();
    for number in 0..2100 {
        overwrite(&server.file(&format!("a/blobs/cd{number:04}")), b"12345");
    }
    put(&open(&server.endpoint(), "a2", "one").unwrap(), "blobs/ab01", b"abc").unwrap();
    let list = |beginning| {
        let listed = objects.list(beginning).unwrap().into_iter().map(|object| (object.name, object.length));
        let mut listed: Vec<(String, u64)> = listed.collect();
        listed.sort();
        listed
    };
    assert_eq!(list("blobs/ab"), [("blobs/ab00".to_owned(), 3)]);
    assert_eq!(list("blobs/ef"), []);
    let expected: Vec<_> = (0..2100).map(|number| (format!("blobs/cd{number:04}"), 5)).collect();
    assert_eq!(list("blobs/cd"), expected);
    assert_eq!(list("").len(), 2102);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_wrong_bucket_have_different_errors() {
    let server = S3Server::start().await;
    let place = url(&server.endpoint(), "a");
    for (key, secret) in [(KEY, "another secret"), ("another", SECRET)] {
        let error = Objects::open(&place, &Credentials::new(key, secret), "one", false, TIMEOUTS).unwrap_err();
        assert!(matches!(&error, ObjectError::Denied { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && text.contains(&server.endpoint()), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
    let error = Objects::open(&place, &Credentials::default(), "one", false, TIMEOUTS).unwrap_err();
    assert!(matches!(&error, ObjectError::NoCredentials { .. }), "{error:?}");
    let elsewhere = format!("other-bucket/a?endpoint={}", server.endpoint()).parse().unwrap();
    let error = Objects::open(&elsewhere, &Credentials::new(KEY, SECRET), "one", false, TIMEOUTS).unwrap_err();
    assert!(matches!(&error, ObjectError::NoBucket { bucket, .. } if bucket == "other-bucket"), "{error:?}");
    assert!(!format!("{:?}", Credentials::new(KEY, SECRET)).contains(SECRET));
    assert!(!format!("{:?}", open(&server.endpoint(), "a", "one").unwrap()).contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_has_one_owner() {
    let server = S3Server::start().await;
    open(&server.endpoint(), "a", "one").unwrap();
    open(&server.endpoint(), "a", "one").unwrap();
    let error = open(&server.endpoint(), "a", "two").unwrap_err();
    assert_eq!(error, ObjectError::Taken { place: format!("s3://{BUCKET}/a"), owner: "one".into() });
    open(&server.endpoint(), "b", "two").unwrap();
    // many claims at once: one wins
    let endpoint = server.endpoint();
    let tries = (0..8).map(|number| {
        let endpoint = endpoint.clone();
        tokio::task::spawn_blocking(move || open(&endpoint, "c", &format!("owner {number}")).is_ok())
    });
    let outcomes = futures_util::future::join_all(tries.collect::<Vec<_>>()).await;
    assert_eq!(outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(true))).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_or_silent_server_times_out() {
    let mut server = S3Server::start().await;
    let objects = open(&server.endpoint(), "a", "one").unwrap();
    put(&objects, "blobs/a", b"abc").unwrap();
    server.stop().await;
    let began = Instant::now();
    let unreachable = |error: ObjectError| {
        assert!(matches!(&error, ObjectError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&server.endpoint()), "{error}");
    };
    unreachable(objects.get("blobs/a", 0, 3).unwrap_err());
    unreachable(put(&objects, "blobs/b", &content(1, 9 * MIB)).unwrap_err());
    unreachable(objects.length("blobs/a").unwrap_err());
    unreachable(objects.list("blobs/").unwrap_err());
    unreachable(objects.remove("blobs/a").unwrap_err());
    unreachable(open(&server.endpoint(), "a", "one").unwrap_err());
    assert!(began.elapsed() < 6 * TIMEOUTS.question, "{:?}", began.elapsed());
    server.resume().await;
    assert_eq!(objects.get("blobs/a", 0, 3).unwrap(), b"abc"[..]);

    // accepts connections and never answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = url(&format!("http://{}", silent.local_addr().unwrap()), "a");
    let timeouts = Timeouts { question: Duration::from_millis(500), ..TIMEOUTS };
    let began = Instant::now();
    let error = Objects::open(&place, &Credentials::new(KEY, SECRET), "one", false, timeouts).unwrap_err();
    assert!(matches!(&error, ObjectError::Unreachable { cause, .. } if cause.contains("0.5 s")), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_upload_leaves_no_readable_object() {
    let server = S3Server::start().await;
    let proxy = S3Proxy::to(server.address()).await;
    let objects = open(&proxy.endpoint(), "a", "one").unwrap();
    let bytes = content(1, 30 * MIB);
    // in the first part, between parts, in the last
    for cut in [3, 17, 29] {
        proxy.cut_after((cut * MIB) as u64);
        let error = put(&objects, "blobs/a", &bytes).unwrap_err();
        assert!(matches!(&error, ObjectError::Unreachable { .. }), "{error:?}");
        assert!(proxy.is_cut());
        assert!(!server.file("a/blobs/a").exists(), "cut after {cut} MiB");
        proxy.mend();
        assert_eq!(objects.length("blobs/a"), Ok(None));
    }
    // a single request, which the server stores as a whole or not at all
    proxy.cut_after(2 * MIB as u64);
    put(&objects, "blobs/b", &bytes[..4 * MIB]).unwrap_err();
    proxy.mend();
    assert_eq!(objects.length("blobs/b"), Ok(None));
    put(&objects, "blobs/a", &bytes).unwrap();
    assert!(objects.get("blobs/a", 0, 30 << 20).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_that_fails_locally_is_aborted_on_the_server() {
    #[derive(Debug, PartialEq)]
    struct Unreadable;
    impl From<ObjectError> for Unreadable {
        fn from(error: ObjectError) -> Self {
            panic!("{error}")
        }
    }
    let server = S3Server::start().await;
    let objects = open(&server.endpoint(), "a", "one").unwrap();
    let before = everything(&server);
    let outcome = objects
        .put("blobs/a", 30 * MIB as u64, |offset, _| if offset < 16 * MIB as u64 { Ok(()) } else { Err(Unreadable) });
    assert_eq!(outcome, Err(Unreadable));
    assert_eq!(objects.length("blobs/a"), Ok(None));
    assert_eq!(everything(&server), before, "its parts are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_success_is_verified() {
    let objects = open(&lying_server(b"one").await, "a", "one").unwrap();
    put(&objects, "blobs/a", b"abc").unwrap();
    for length in [1, 4, 100] {
        let error = put(&objects, "blobs/a", &content(1, length)).unwrap_err();
        let expected = length as u64;
        assert!(matches!(error, ObjectError::LengthDiffers { expected: e, got: 3, .. } if e == expected), "{error:?}");
    }
    // more bytes than requested
    let error = objects.get("blobs/a", 0, 2).unwrap_err();
    assert!(matches!(error, ObjectError::LengthDiffers { expected: 2, .. }), "{error:?}");
}

/// Every file that the server has, objects or leftovers.
fn everything(server: &S3Server) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![server.file("..").canonicalize().unwrap()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}
