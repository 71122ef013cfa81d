//! Replicas that are killed or hang before or during puts.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::blobs::{content, put_file, signers, verdict};
use support::processes::{Processes, run};
use support::until;
use vouch::client::{ClientError, PutProgress};
use vouch_core::message::Code;
use vouch_core::session::{Certified, SessionError};
use vouch_core::verify::Verdict;

const MIB: usize = 1 << 20;

/// Puts `bytes` and applies a fault to the cluster once a number of bytes were sent.
async fn put_with_fault(
    cluster: &mut Processes,
    bytes: &[u8],
    after: u64,
    fault: impl FnOnce(&mut Processes),
) -> Result<Certified, ClientError> {
    let path = cluster.root().join("in-progress");
    std::fs::write(&path, bytes).unwrap();
    let sent = Arc::new(Mutex::new(0));
    let (address, told) = (cluster.address().to_owned(), sent.clone());
    let putting = tokio::spawn(async move {
        put_file(&address, None, &path, move |step| {
            if let PutProgress::Sent(done) = step {
                *told.lock().unwrap() = done;
            }
        })
        .await
    });
    until("bytes flow", || *sent.lock().unwrap() >= after).await;
    fault(cluster);
    putting.await.unwrap()
}

fn assert_holds(certified: &Certified, bytes: &[u8], without: Option<&str>) {
    assert!(matches!(verdict(certified, certified.committee().cluster(), bytes), Verdict::Valid(_)));
    if let Some(name) = without {
        assert!(!signers(certified).iter().any(|signer| signer == name), "{:?}", signers(certified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_with_one_of_four_killed_before() {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    cluster.replicas[2].kill();
    // at once, before the server can notice
    let certified = cluster.put(b"second").await.unwrap();
    assert_holds(&certified, b"second", Some("replica-2"));
    cluster.until_left(2).await;
    let certified = cluster.put(b"third").await.unwrap();
    assert_holds(&certified, b"third", Some("replica-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_with_one_of_four_killed_during() {
    let mut cluster = Processes::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    for (seed, after) in (0_u8..).zip([1, 5 * MIB, 15 * MIB, 20 * MIB]) {
        let victim = usize::from(seed);
        let bytes = content(seed.into(), 20 * MIB);
        let fault = |cluster: &mut Processes| cluster.replicas[victim].kill();
        let certified = put_with_fault(&mut cluster, &bytes, after as u64, fault).await.unwrap();
        assert_holds(&certified, &bytes, None);
        let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
        assert!(got.bytes == bytes);
        cluster.replicas[victim].start();
        let name = cluster.replicas[victim].name().to_owned();
        until("the victim is back", || cluster.replicas[victim].log().matches("member ").count() >= 2).await;
        until("the server sees it", || cluster.is_connected(&name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_with_one_of_four_hanging() {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    let bytes = content(1, 64 * MIB);
    let began = Instant::now();
    let certified =
        put_with_fault(&mut cluster, &bytes, 4 * MIB as u64, |cluster| cluster.replicas[1].stop()).await.unwrap();
    let first = began.elapsed();
    assert_holds(&certified, &bytes, Some("replica-1"));
    let said = "replica-1 took a put's bytes more slowly than a quorum; the put continued without it";
    until("the server says why", || cluster.server.log().contains(said)).await;
    // the server now skips it from the start
    let began = Instant::now();
    let certified = cluster.put(&content(2, 4 * MIB)).await.unwrap();
    let second = began.elapsed();
    assert_holds(&certified, &content(2, 4 * MIB), Some("replica-1"));
    println!("with a replica that hangs: 64 MiB in {first:?}, then 4 MiB in {second:?}");
    // a put that waited for it would wait 30 s for space in its queue, or 60 s for `Stored`
    assert!(first < Duration::from_secs(29) && second < Duration::from_secs(29), "{first:?} {second:?}");
    // it takes part again once it resumes
    cluster.replicas[1].resume();
    let mut takes_part = false;
    for seed in 0..300 {
        let certified = cluster.put(&content(100 + seed, 100)).await.unwrap();
        takes_part = signers(&certified).contains(&"replica-1".into());
        if takes_part {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(takes_part, "a resumed replica signs again");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_fails_and_gets_succeed_with_two_of_four_killed() {
    let mut cluster = Processes::start(4).await;
    let first = cluster.put(b"first").await.unwrap();
    for victim in [1, 3] {
        cluster.replicas[victim].kill();
        cluster.until_left(victim).await;
    }
    let error = cluster.put(b"second").await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::NotEnoughReplicas);
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, ["replica-1", "replica-3"], "exactly who is missing");
    let text = error.to_string();
    assert!(text.contains("3 of 4 replicas are needed, 2 are there"), "{text}");
    assert!(!text.contains("replica-0") && !text.contains("replica-2"), "{text}");

    // earlier blobs are still served
    let got = cluster.get(first.committee().cluster(), first.certificate.claim.receipt.digest).await.unwrap();
    assert_eq!(got.bytes, b"first");

    cluster.replicas[3].start();
    cluster.until_connected().await;
    let certified = cluster.put(b"second").await.unwrap();
    assert_holds(&certified, b"second", Some("replica-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_fails_with_two_of_four_killed_during() {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    let bytes = content(1, 64 * MIB);
    let fault = |cluster: &mut Processes| {
        cluster.replicas[0].kill();
        cluster.replicas[2].kill();
    };
    let error = put_with_fault(&mut cluster, &bytes, 4 * MIB as u64, fault).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::NotEnoughReplicas, "{error}");
    let mut names = names.clone();
    names.sort();
    assert_eq!(names, ["replica-0", "replica-2"], "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_with_two_of_four_stopped_ends_at_the_users_timeout() {
    let cluster = Processes::start(4).await;
    let first = cluster.put(b"first").await.unwrap();
    for victim in [1, 3] {
        cluster.replicas[victim].stop();
    }
    // their connections stay open, so the server notices only after 15 s
    for (name, length) in [("one", 100), ("another", 100), ("larger", MIB)] {
        std::fs::write(cluster.root().join(name), content(name.len() as u64, length)).unwrap();
    }
    let server = ["--server", cluster.address(), "--retry", "2s"];
    let one = [&["put", "one"], &server[..]].concat();
    let two = [&["put", "one", "another"], &server[..]].concat();
    let larger = [&["put", "larger"], &server[..]].concat();
    let run = |arguments| run(cluster.root(), arguments);
    let (one, two, larger) = tokio::join!(run(&one), run(&two), run(&larger));
    // the message is the client's: it did not wait for the server's deadline
    let text = String::from_utf8(one.stderr).unwrap();
    assert_eq!(text.matches("while having the file certified, and `--retry` allows no more").count(), 1, "{text}");
    let text = String::from_utf8(two.stderr).unwrap();
    assert_eq!(text.matches("`--retry` allows no more").count(), 2, "{text}");
    let text = String::from_utf8(larger.stderr).unwrap();
    assert!(text.contains("while offering the file, and `--retry` allows no more"), "{text}");
    assert!([one.status, two.status, larger.status].iter().all(|status| status.code() == Some(1)));

    // the other members still serve earlier blobs
    let got = cluster.get(first.committee().cluster(), first.certificate.claim.receipt.digest).await.unwrap();
    assert_eq!(got.bytes, b"first");

    // without `--retry`, the server names the missing members
    let error = cluster.put(b"second").await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::NotEnoughReplicas, "{error}");
    let mut names = names.clone();
    names.sort();
    assert_eq!(names, ["replica-1", "replica-3"]);

    cluster.replicas[1].resume();
    cluster.replicas[3].resume();
    cluster.until_connected().await;
    assert_holds(&cluster.put(b"second").await.unwrap(), b"second", None);
}
