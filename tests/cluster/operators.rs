//! What the operator commands report about replicas that do not answer.

use std::os::unix::fs::symlink;

use support::processes::{Processes, run};

#[tokio::test(flavor = "multi_thread")]
async fn stopped_replica_is_reported_and_the_others_are_shown() {
    let cluster = Processes::start(4).await;
    // the commands look for replicas in ./.vouch
    symlink(cluster.root(), cluster.root().join(".vouch")).unwrap();
    cluster.replicas[1].stop();
    // concurrently, as each waits for the deadline
    tokio::join!(
        assert_reported(&cluster, "status"),
        assert_reported(&cluster, "du"),
        assert_reported(&cluster, "scrub")
    );
}

async fn assert_reported(cluster: &Processes, command: &str) {
    let arguments = [&[command][..], &[command, "--json"]];
    // one after the other: a replica that scrubs already refuses a second scrub
    let [text, json] = arguments.map(|arguments| run(cluster.root(), arguments));
    let (text, json) = (text.await, json.await);
    let told = [text.stdout, text.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert_eq!(text.status.code(), Some(1), "{command}: {told}");
    assert!(told.contains("replica-1: the replica on ") && told.contains(" did not answer within "), "{told}");
    for name in ["replica-2", "replica-3"] {
        assert!(told.lines().any(|line| line.starts_with(name)), "{command}: {told}");
    }
    let lines = String::from_utf8(json.stdout).unwrap();
    let objects: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3, "{command}: {lines}");
    assert_eq!(objects.iter().filter(|object| object["error"].is_string()).count(), 1, "{command}: {lines}");
}
