//! Clusters that are founded with an operator.

use std::fs;

use serde_json::Value;
use support::committee::vote_secret;
use support::processes::{Node, Processes, run};
use support::until;
use vouch_core::Limits;
use vouch_core::bundle::Bundle;
use vouch_core::committee::{CommitteeRecord, Policy};

/// Runs a command that must succeed; returns its standard output.
async fn told(cluster: &Processes, arguments: &[&str]) -> String {
    let output = run(cluster.root(), arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn until_logged(node: &Node, words: &str) {
    until(words, || node.log().contains(words)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_founded_with_an_operator_of_whom_every_replica_was_told() {
    let operator = vote_secret("operator").vote_key();
    let key = operator.to_string();
    let mut cluster = Processes::start_server_with(&["--replicas", "4", "--operator", &key]).await;
    for number in 0..3 {
        cluster.add_replica_with(number, &["--operator", &key]);
    }
    cluster.add_replica(3);
    let why = format!("it has the operator {key}, and this replica was told of none");
    until_logged(&cluster.replicas[3], &why).await;
    assert!(!cluster.server.log().contains("\ncluster "), "{}", cluster.server.log());

    cluster.replicas[3].terminate();
    cluster.replicas[3].add_argument("--operator");
    cluster.replicas[3].add_argument(&key);
    cluster.replicas[3].start();
    until_logged(&cluster.server, "\ncluster ").await;
    fs::write(cluster.root().join("letter"), b"a letter").unwrap();
    let address = cluster.address().to_owned();
    let put = told(&cluster, &["put", "letter", "--server", &address, "--json"]).await;
    let put: Value = serde_json::from_str(&put).unwrap();
    let identity = put["cluster"].as_str().unwrap();
    let verified = told(&cluster, &["verify", "letter", "letter.vouch", "--cluster", identity]).await;
    assert!(verified.contains("VALID"), "{verified}");
    let bundle = Bundle::parse(&fs::read(cluster.root().join("letter.vouch")).unwrap(), &Limits::default()).unwrap();
    let genesis = CommitteeRecord::decode(&bundle.chain.start.committee, &Limits::default()).unwrap();
    assert_eq!(genesis.policy(), Policy::Operator(operator));
}

/// A server and a replica that were told of different operators found nothing, and the replica says why.
async fn disagree(server: &[&str], replica: &[&str], words: &str) {
    let mut cluster = Processes::start_server_with(&[&["--replicas", "1"], server].concat()).await;
    cluster.add_replica_with(0, replica);
    until_logged(&cluster.replicas[0], "did not accept the founding ").await;
    assert!(cluster.replicas[0].log().contains(words), "{}", cluster.replicas[0].log());
    assert!(!cluster.server.log().contains("\ncluster "), "{}", cluster.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_helps_to_found_no_cluster_of_another_operator() {
    let [one, other] = ["operator", "another operator"].map(|label| vote_secret(label).vote_key().to_string());
    let another = format!("--operator: expected {other}, got {one}");
    disagree(&["--operator", &one], &["--operator", &other], &another).await;
    let none = format!("--operator: expected {one}, got a founding without an operator");
    disagree(&[], &["--operator", &one], &none).await;
}
