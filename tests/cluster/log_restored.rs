//! A replica of which only some files were left: it must not vote a second time where it had voted already.

use support::ordered_log::{first_note, note, submit};
use support::processes::Processes;
use support::until;

async fn abstains(cluster: &Processes) -> Option<String> {
    let status = cluster.status_of(&cluster.replicas[3]).await;
    status["log"]["abstains"].as_str().map(str::to_owned)
}

/// Starts a member again of which only these files were left.
async fn restored_from(left: &[&str]) -> Processes {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    first_note(cluster.address()).await;
    assert_eq!(abstains(&cluster).await, None);
    cluster.replicas[3].kill();
    let folder = cluster.replicas[3].folder().to_owned();
    for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        match (entry.file_type().unwrap().is_dir(), name.to_str().unwrap()) {
            (true, _) => std::fs::remove_dir_all(entry.path()).unwrap(),
            (false, name) if left.contains(&name) => {}
            (false, _) => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
    cluster.replicas[3].start();
    cluster
}

/// Checks that the member abstains, and votes again once blocks were decided without it.
async fn assert_votes_again_only_after_the_next_block(cluster: &Processes) {
    let mut why = None;
    for _ in 0..1000 {
        why = abstains(cluster).await;
        if why.is_some() {
            break;
        }
    }
    assert!(why.as_ref().is_some_and(|why| why.contains("it lost what it had signed")), "{why:?}");
    let mut nonce = 1;
    while abstains(cluster).await.is_some() {
        assert_eq!(submit(cluster.address().to_owned(), note(nonce)).await, 201);
        nonce += 1;
        assert!(nonce < 50, "it still abstains");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_restored_from_its_keys_votes_again_only_after_the_next_block() {
    let cluster = restored_from(&["node.key", "vote.key"]).await;
    let said = "before it lost its files; it signs nothing in the log";
    until("it notices", || cluster.replicas[3].log().contains(said)).await;
    until("it is a member again", || cluster.replicas[3].folder().join("committee").exists()).await;
    assert_votes_again_only_after_the_next_block(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_its_committee_and_no_log_votes_again_only_after_the_next_block() {
    let cluster = restored_from(&["node.key", "vote.key", "founding", "committee"]).await;
    assert_votes_again_only_after_the_next_block(&cluster).await;
}
