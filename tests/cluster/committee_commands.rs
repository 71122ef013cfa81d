//! Changes of members on the command line, with real processes: proposed over a server, approved at each replica.

use serde_json::Value;
use support::processes::{Node, Processes, run};
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;

/// Number of attempts until the test gives up, with a quarter of a second between them.
const ATTEMPTS: u32 = 480;

async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
}

/// A cluster whose members approve nothing by themselves.
struct Members {
    nodes: Processes,
    identity: ClusterId,
}

impl Members {
    async fn start(n: usize) -> Self {
        let mut nodes = Processes::start_server_with(&[]).await;
        for number in 0..n {
            nodes.add_replica_with(number, &["--approve-joins=false"]);
        }
        nodes.until_connected().await;
        let identity = nodes.put(b"first").await.unwrap().committee().cluster();
        Self { nodes, identity }
    }

    /// Runs `vouch committee` at the server. Returns its exit code, its JSON, and what it said.
    async fn committee(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let identity = self.identity.to_string();
        let all = [&["committee"], arguments, &["--server", self.nodes.address(), "--cluster", &identity, "--json"]];
        let output = run(self.nodes.root(), &all.concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), json, said)
    }

    /// Proposes, until the log runs: it starts a moment after the founding.
    async fn propose(&self, arguments: &[&str]) -> Value {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let (code, json, said) = self.committee(&[arguments, &["--no-wait"]].concat()).await;
            if code == Some(0) {
                return json;
            }
            last = said;
            pause().await;
        }
        panic!("nothing is proposed: {last}");
    }

    /// Runs `vouch committee` about a replica.
    async fn at(&self, replica: &Node, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let folder = replica.folder().to_str().unwrap();
        let output = run(self.nodes.root(), &[&["committee"], arguments, &["--json", "--data", folder]].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said)
    }

    /// What a replica knows of the changes, once it fits.
    async fn pending(&self, replica: &Node, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let mut pending = Value::Null;
        for _ in 0..ATTEMPTS {
            pending = self.at(replica, &["pending"]).await.1;
            if is_meant(&pending) {
                return pending;
            }
            pause().await;
        }
        panic!("not so: {what}: {pending}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_approve_a_proposed_change() {
    let mut cluster = Members::start(4).await;
    let (_, shown, _) = cluster.committee(&["show"]).await;
    assert_eq!((&shown["epoch"], &shown["size"]["quorum"]), (&0.into(), &3.into()), "{shown}");
    assert_eq!(shown["members"].as_array().unwrap().len(), 4);

    let proposed = cluster.propose(&["rotate"]).await;
    assert_eq!((&proposed["proposed"], &proposed["after"]["members"]), (&true.into(), &4.into()), "{proposed}");
    let change = proposed["change"].as_str().unwrap().to_owned();
    let replicas = &cluster.nodes.replicas;
    let has = |pending: &Value| pending["proposals"][0]["change"]["id"] == change.as_str();
    let pending = cluster.pending(&replicas[0], "the proposal is shown", has).await;
    assert_eq!(pending["proposals"][0]["approved_here"], false, "{pending}");
    assert_eq!((&pending["running"], &pending["own"]["state"]), (&Value::Null, &"member".into()), "{pending}");

    let (code, _, said) = cluster.at(&replicas[0], &["approve", "11111111111111111111111111111111"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not proposed in epoch 0; another one is"), "{said}");

    let (code, approved, said) = cluster.at(&replicas[0], &["approve", &change]).await;
    assert_eq!((code, &approved["needed"]), (Some(0), &3.into()), "{said}");
    let first = replicas[0].name().to_owned();
    let by_first = |pending: &Value| pending["proposals"][0]["approved_by"][0]["name"] == first.as_str();
    cluster.pending(&replicas[1], "the first approval is in the log", by_first).await;

    // an approval survives a restart before it is in the log
    for number in [1, 2] {
        let (code, ..) = cluster.at(&cluster.nodes.replicas[number], &["approve", &change]).await;
        assert_eq!(code, Some(0));
        cluster.nodes.replicas[number].kill();
        cluster.nodes.replicas[number].start();
    }
    let runs = |pending: &Value| {
        let is_over = pending["epoch"].as_u64() > Some(0);
        is_over || pending["running"]["change"]["id"] == change.as_str()
    };
    cluster.pending(&cluster.nodes.replicas[0], "the change runs", runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_replica_never_comes_gives_way_to_another_one() {
    let cluster = Members::start(4).await;
    // The fourth could be too late: the change is over soon after the third approval.
    let approve_as_quorum = async |change: &str| {
        let mut answers = Vec::new();
        for replica in &cluster.nodes.replicas[..3] {
            let (code, approved, said) = cluster.at(replica, &["approve", change]).await;
            assert_eq!(code, Some(0), "{said}");
            answers.push(approved);
        }
        answers
    };
    let is_proposed = |change: String| {
        move |pending: &Value| {
            pending["proposals"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["change"]["id"] == change.as_str()))
        }
    };
    let mistyped = format!("{}=five", NodeKey([5; 32]));
    let first = cluster.propose(&["add", &mistyped]).await["change"].as_str().unwrap().to_owned();
    for replica in &cluster.nodes.replicas {
        cluster.pending(replica, "the first is proposed", is_proposed(first.clone())).await;
    }
    approve_as_quorum(&first).await;
    let runs = |pending: &Value| pending["running"]["change"]["id"] == first.as_str();
    for replica in &cluster.nodes.replicas {
        cluster.pending(replica, "the first runs", runs).await;
    }
    let second = cluster.propose(&["rotate"]).await["change"].as_str().unwrap().to_owned();
    for replica in &cluster.nodes.replicas {
        cluster.pending(replica, "the second is proposed", is_proposed(second.clone())).await;
    }
    let answers = approve_as_quorum(&second).await;
    assert_eq!(answers[0]["approves_already"], first.as_str(), "{}", answers[0]);
    let pending = cluster.pending(&cluster.nodes.replicas[0], "epoch 1", |pending| pending["epoch"] == 1).await;
    assert_eq!(pending["members"], 4, "{pending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_made_are_refused_before_they_are_sent() {
    let cluster = Members::start(1).await;
    let (_, shown, _) = cluster.committee(&["show"]).await;
    let own = shown["members"][0]["node_key"].as_str().unwrap().to_owned();
    let again = format!("{own}=again");
    for (arguments, why) in [
        (&["remove", "nobody"][..], "nobody: no member has this name in epoch 0"),
        (&["add", &again], "expected no member yet"),
        (&["remove", &own], "at most 0 in one change"),
    ] {
        let (code, json, said) = cluster.committee(&[arguments, &["--no-wait"]].concat()).await;
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains(why) && json["error"].is_string(), "{arguments:?}: {said}");
    }
    let address = cluster.nodes.address();
    let other = run(cluster.nodes.root(), &["committee", "show", "--server", address, "--cluster", &own]).await;
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains(&cluster.identity.to_string()) && other.stdout.is_empty(), "{said}");

    // nothing but what it would do
    let key = NodeKey([7; 32]);
    let (code, json, said) = cluster.committee(&["add", &format!("{key}=new"), "--dry-run"]).await;
    assert_eq!((code, &json["after"]["members"]), (Some(0), &2.into()), "{said}");
    let written = cluster.committee(&["rotate", "--out", "change.txt"]).await.1;
    let text = std::fs::read_to_string(cluster.nodes.root().join("change.txt")).unwrap();
    assert_eq!(written["text"].as_str(), Some(text.trim_end()));
    let (code, read, said) = cluster.committee(&["propose", "change.txt", "--dry-run"]).await;
    assert_eq!((code, &read["change"]), (Some(0), &written["change"]), "{said}");
}
