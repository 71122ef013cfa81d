//! A replica whose clock is wrong signs nothing, reports it, and signs again after the clock is corrected. The others go on.

use std::os::unix::fs::symlink;

use serde_json::Value;
use support::blobs::{content, signers};
use support::http;
use support::processes::{Processes, run};
use support::until;
use support::wrong_clock::WrongClock;
use vouch::client::ClientError;
use vouch_core::message::Code;
use vouch_core::session::SessionError;

const BEGAN: &str = "the clock of this replica is in doubt: ";
const ENDED: &str = "the clock of this replica is right again: ";

/// Four replicas, each with its own clock; the clock of replica `wrong` is off by `off` seconds.
async fn start(wrong: usize, off: i64) -> (Processes, Vec<WrongClock>) {
    let mut cluster = Processes::start(0).await;
    // the commands look for replicas in ./.vouch
    symlink(cluster.root(), cluster.root().join(".vouch")).unwrap();
    let clocks: Vec<_> = (0..4).map(|number| WrongClock::new(cluster.root(), &format!("clock-{number}"))).collect();
    for (number, clock) in clocks.iter().enumerate() {
        if number == wrong {
            clock.set(off);
        }
        cluster.add_replica_in(number, &[], &clock.environment());
    }
    cluster.until_connected().await;
    (cluster, clocks)
}

fn count(cluster: &Processes, number: usize, text: &str) -> usize {
    cluster.replicas[number].log().matches(text).count()
}

async fn status(cluster: &Processes) -> (String, Vec<Value>) {
    let (text, json) = tokio::join!(run(cluster.root(), &["status"]), run(cluster.root(), &["status", "--json"]));
    assert!(text.status.success(), "{text:?}");
    let lines = String::from_utf8(json.stdout).unwrap();
    (String::from_utf8(text.stdout).unwrap(), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_with_a_wrong_clock_signs_nothing_and_reports_it() {
    let (cluster, clocks) = start(2, 3600).await;
    // the committee forms at the first put, before clocks were compared
    let _ = cluster.put(&content(1, 1000)).await.unwrap();
    until("it doubts its clock", || count(&cluster, 2, BEGAN) == 1).await;
    let bytes = content(2, 200_000);
    let certified = cluster.put(&bytes).await.unwrap();
    let mut names = signers(&certified);
    names.sort_unstable();
    assert_eq!(names, ["replica-0", "replica-1", "replica-3"]);
    let trusted = certified.committee().cluster();
    assert!(
        cluster.get(trusted, certified.certificate.claim.receipt.digest).await.unwrap().bytes == bytes,
        "it still serves"
    );

    let log = cluster.replicas[2].log();
    let line = log.lines().find(|line| line.contains(BEGAN)).unwrap();
    // clock answers arrive with a delay
    let is_told = |line: &str| {
        let named = ["replica-0", "replica-1", "replica-3"].into_iter().filter(|name| line.contains(name)).count();
        let difference = line.contains("1 h ahead of")
            || line.contains("59 min 59 s ahead of")
            || line.contains("59 min 58 s ahead of");
        named >= 2 && difference
    };
    assert!(is_told(line), "{line}");
    let (text, json) = status(&cluster).await;
    let line = text.lines().find(|line| line.starts_with("  clock ")).unwrap();
    assert!(line.contains("in doubt, so it signs and deletes nothing: it is ") && is_told(line), "{line}");
    for replica in &json {
        let is_wrong = replica["name"] == "replica-2";
        assert_eq!(replica["clock"]["in_doubt"], is_wrong, "{replica}");
        assert_eq!(replica["clock"]["reason"].as_str().is_some_and(is_told), is_wrong, "{replica}");
    }

    // the clock is corrected while the replica runs
    clocks[2].set(0);
    until("it trusts its clock", || count(&cluster, 2, ENDED) == 1).await;
    let certified = cluster.put(&content(3, 1000)).await.unwrap();
    assert_eq!(signers(&certified).len(), 4);
    let (text, json) = status(&cluster).await;
    assert!(!text.lines().any(|line| line.starts_with("  clock ")), "{text}");
    assert!(
        json.iter().all(|replica| replica["clock"]["in_doubt"] == false && replica["clock"]["reason"].is_null()),
        "{json:?}"
    );
    for number in 0..4 {
        let expected = usize::from(number == 2);
        assert_eq!((count(&cluster, number, BEGAN), count(&cluster, number, ENDED)), (expected, expected), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_waits_while_too_many_clocks_are_wrong_and_completes_after_correction() {
    let (cluster, clocks) = start(0, 0).await;
    let before = cluster.put(&content(1, 1000)).await.unwrap();
    assert_eq!(signers(&before).len(), 4);
    // of four members only one may be faulty
    for number in [1, 3] {
        clocks[number].set(-7200);
        until("it doubts its clock", || count(&cluster, number, BEGAN) == 1).await;
    }
    let error = cluster.put(&content(2, 1000)).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::ClockInDoubt, "{error}");
    assert!(names.contains(&"replica-1".to_owned()) && names.contains(&"replica-3".to_owned()), "{error}");
    // the server notices without a put
    let ready = http::get(cluster.address(), "/readyz").await;
    assert_eq!(ready.status, 503);
    let detail = ready.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("replica-1 is connected, but signs nothing: the clock of this replica is in doubt: "),
        "{detail}"
    );
    let told = error.to_string();
    assert!(told.contains("the clock of this replica is in doubt: ") && told.contains("2 h"), "{told}");
    assert!(told.contains("set the clocks of these replicas right"), "{told}");
    for number in [1, 3] {
        clocks[number].set(0);
    }
    until("both trust their clocks", || [1, 3].iter().all(|number| count(&cluster, *number, ENDED) == 1)).await;
    until("the server knows", || cluster.server.log().contains("says that it signs nothing: the clock")).await;
    until("no clock is in doubt", || {
        (0..4).all(|number| count(&cluster, number, BEGAN) == count(&cluster, number, ENDED))
    })
    .await;
    assert_eq!(signers(&cluster.put(&content(2, 1000)).await.unwrap()).len(), 4);
}
