use std::fs;

use tempfile::TempDir;
use vouch_fixture::{TestCommittee, TestEpochs};

use super::*;

/// A folder with this text as the known-clusters file.
fn file(text: &str) -> (TempDir, KnownClusters) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known");
    fs::write(&path, text).unwrap();
    let known = KnownClusters::at(&Host::system(), path);
    (folder, known)
}

fn text(known: &KnownClusters) -> String {
    fs::read_to_string(known.path()).unwrap()
}

fn founded(label: &str) -> CommitteeChain {
    CommitteeChain::new(TestCommittee::labelled(label, 1).committee)
}

#[tokio::test]
async fn first_contact_is_recorded_and_later_compared() {
    let folder = tempfile::tempdir().unwrap();
    let known = KnownClusters::at(&Host::system(), folder.path().join("a/b/known_clusters"));
    let (one, other) = (founded("one"), founded("other"));
    assert_eq!(known.identity("host:1").unwrap(), None);
    assert_eq!(known.forget("host:1").await.unwrap(), None);
    assert!(!folder.path().join("a").exists(), "nothing to read, nothing to write");
    known.record("host:1", &one).await.unwrap();
    known.record("host:1", &other).await.unwrap();
    assert_eq!(known.identity("host:1").unwrap(), Some(one.cluster()), "an identity is never replaced silently");
    assert_eq!(text(&known), format!("host:1 {}\n", one.cluster()), "the genesis needs no third field");
    assert_eq!(known.forget("host:1").await.unwrap(), Some(one.cluster()));
    assert_eq!(known.identity("host:1").unwrap(), None);
}

#[test]
fn an_address_is_found_however_it_was_typed_when_it_was_recorded() {
    let one = ClusterId([1; 32]);
    let (_folder, known) = file(&format!("Vouch.Example:09090 {one}\nno-address {one}\n"));
    assert_eq!(known.identity("vouch.example:9090").unwrap(), Some(one));
    assert_eq!(known.identity("no-address").unwrap(), Some(one));
}

#[tokio::test]
async fn both_forms_of_a_line_are_read() {
    let (one, other) = (ClusterId([1; 32]), ClusterId([2; 32]));
    let newest: Checkpoint = format!("7:{}", "ab".repeat(32)).parse().unwrap();
    let (_folder, known) = file(&format!("# servers\n\nold:1 {one}\nnew:1   {other}\t{newest}\n"));
    assert_eq!((known.identity("old:1").unwrap(), known.newest(one).unwrap()), (Some(one), None));
    assert_eq!((known.identity("new:1").unwrap(), known.newest(other).unwrap()), (Some(other), Some(newest)));
    assert_eq!(known.newest(ClusterId([3; 32])).unwrap(), None);
    known.forget("old:1").await.unwrap();
    assert_eq!(text(&known), format!("new:1 {other} {newest}\n"));
}

#[tokio::test]
async fn a_malformed_line_is_named() {
    let identity = ClusterId([1; 32]);
    let digest = "ab".repeat(32);
    for rest in [
        "nonsense".to_owned(),
        String::new(),
        format!("{identity} 7"),
        format!("{identity} 7:"),
        format!("{identity} 7:nonsense"),
        format!("{identity} -7:{digest}"),
        format!("{identity} :{digest}"),
        format!("{identity} 7:{digest} more"),
    ] {
        let (_folder, known) = file(&format!("# a comment\n\nhost:1 {rest}\n"));
        let error = known.identity("host:1").unwrap_err();
        assert!(matches!(error, KnownClustersError::Malformed { line: 3, .. }), "{rest}: {error}");
        assert!(known.newest(identity).is_err() && known.forget("host:1").await.is_err(), "{rest}");
    }
}

#[tokio::test]
async fn the_highest_committee_is_kept_for_all_servers_of_the_cluster() {
    let epochs = TestEpochs::new(4, 2);
    let (cluster, elsewhere) = (epochs.chain.cluster(), ClusterId([1; 32]));
    let (first, second) = (Checkpoint::from(&epochs.up_to(1)), epochs.checkpoint());
    let (_folder, known) = file(&format!("a:1 {cluster}\nb:1 {cluster}\nc:1 {elsewhere}\n"));
    let lines = |newest: &str| format!("a:1 {cluster}{newest}\nb:1 {cluster}{newest}\nc:1 {elsewhere}\n");
    known.raise(&epochs.up_to(0)).await.unwrap();
    assert_eq!(text(&known), lines(""));
    known.raise(&epochs.up_to(1)).await.unwrap();
    assert_eq!(text(&known), lines(&format!(" {first}")));
    known.raise(&epochs.chain).await.unwrap();
    assert_eq!(text(&known), lines(&format!(" {second}")));
    // Verified before another command recorded more.
    known.raise(&epochs.up_to(1)).await.unwrap();
    known.raise(&epochs.up_to(0)).await.unwrap();
    assert_eq!(known.newest(cluster).unwrap(), Some(second));
    // A server that is met later starts with what is known of its cluster, and takes it along.
    known.record("d:1", &epochs.up_to(1)).await.unwrap();
    assert_eq!(text(&known), lines(&format!(" {second}")) + &format!("d:1 {cluster} {second}\n"));
    known.forget("a:1").await.unwrap();
    known.forget("b:1").await.unwrap();
    assert_eq!(known.newest(cluster).unwrap(), Some(second));
    known.forget("d:1").await.unwrap();
    assert_eq!(known.newest(cluster).unwrap(), None);
    // Of a cluster without a line, nothing is recorded.
    known.raise(&epochs.chain).await.unwrap();
    assert_eq!(text(&known), format!("c:1 {elsewhere}\n"));
}

#[tokio::test]
async fn a_second_successor_of_a_committee_is_not_recorded() {
    let (epochs, forked) = (TestEpochs::new(4, 2), TestEpochs::forked(4));
    let cluster = epochs.chain.cluster();
    assert_eq!(forked.chain.cluster(), cluster);
    let (_folder, known) = file(&format!("a:1 {cluster}\n"));
    known.raise(&forked.chain).await.unwrap();
    let before = text(&known);
    for recorded in [
        known.raise(&epochs.chain).await,
        known.record("b:1", &epochs.chain).await,
        known.raise(&epochs.up_to(1)).await,
    ] {
        let Err(KnownClustersError::Contradiction(error)) = recorded else { panic!("{recorded:?}") };
        let (expected, got) = (forked.checkpoint().committee, Checkpoint::from(&epochs.up_to(1)).committee);
        assert_eq!(*error, SessionError::AnotherCommittee { epoch: 1, expected, got });
    }
    assert_eq!(text(&known), before);
}

/// Without the lock, one command undoes what the other has recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn commands_that_run_at_once_lose_nothing() {
    const SERVERS: u64 = 16;
    let epochs = TestEpochs::new(1, 1);
    let (_folder, known) = file("");
    let commands: Vec<_> = (0..SERVERS)
        .map(|number| {
            let (known, chain) = (known.clone(), epochs.up_to(number % 2));
            tokio::spawn(async move { known.record(&format!("host:{number}"), &chain).await })
        })
        .collect();
    for command in commands {
        command.await.unwrap().unwrap();
    }
    let (lines, newest) = (text(&known), epochs.checkpoint().to_string());
    assert_eq!(lines.lines().count() as u64, SERVERS);
    assert!(lines.lines().all(|line| line.ends_with(&newest)), "{lines}");
}
