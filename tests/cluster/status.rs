//! `vouch status --server`: the whole cluster through a server, verified as far as it can be.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::processes::{Processes, async_command, run};
use tokio::io::{AsyncBufReadExt, BufReader};

const NOBODY: &str = "3UDUyZQXNCDVRBTtTsqbfr6sdPxUAeJyH2HR7VQMjaVj";

/// Exit code, standard output and standard error of `vouch status` with these arguments.
async fn status(cluster: &Processes, more: &[&str]) -> (i32, String, String) {
    let output = run(cluster.root(), &[&["status", "--server", cluster.address()], more].concat()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn json(cluster: &Processes) -> (i32, Value) {
    let (code, out, error) = status(cluster, &["--json"]).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_shown_through_a_server() {
    let mut cluster = Processes::start(4).await;
    let (code, early, _) = status(&cluster, &[]).await;
    assert_eq!(code, 1);
    assert!(early.starts_with("cluster    not founded yet\n"), "{early}");
    assert!(early.contains("replicas   4 replicas connected; the first put founds the cluster"), "{early}");
    let (code, early) = json(&cluster).await;
    assert_eq!((code, &early["cluster"], &early["claimed"]["connected"]), (1, &Value::Null, &4.into()));

    let certified = cluster.put(b"letter").await.unwrap();
    let identity = certified.chain.cluster().to_string();
    let note = run(cluster.root(), &["log", "note", "hello", "--server", cluster.address()]).await;
    assert!(note.status.success(), "{note:?}");
    let (code, shown, errors) = status(&cluster, &["--cluster", &identity]).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    // what is verified comes before what is not
    let (verified, claimed) = shown.split_once("By the word of ").unwrap();
    assert!(verified.starts_with(&format!("cluster    {identity}\nepoch      0, committee ")), "{shown}");
    assert!(
        verified.contains("4 members: tolerates 1") && verified.contains("log        height 1, certified "),
        "{shown}"
    );
    let ready = "ready      yes: 4 of 4 connected, 3 needed; 1 more may fail";
    assert!(claimed.contains(ready) && claimed.contains(", version "), "{shown}");
    for number in 0..4 {
        let well =
            claimed.lines().filter(|line| line.contains(&format!("replica-{number} ")) && line.contains(" well"));
        assert_eq!(well.count(), 1, "{shown}");
    }

    let two = format!("127.0.0.1:1,{}", cluster.address());
    let through_the_second = run(cluster.root(), &["status", "--server", &two]).await;
    assert_eq!(String::from_utf8(through_the_second.stdout).unwrap(), shown);

    cluster.replicas[1].kill();
    cluster.until_left(1).await;
    let (code, one_left) = json(&cluster).await;
    assert_eq!((code, &one_left["cluster"], &one_left["epoch"]), (0, &identity.as_str().into(), &0.into()));
    let size = serde_json::json!({ "members": 4, "tolerated_faults": 1, "quorum": 3 });
    assert_eq!((&one_left["size"], &one_left["log"]["height"]), (&size, &1.into()));
    let claimed = &one_left["claimed"];
    let numbers = ["ready", "connected", "faults_left", "log_height"].map(|key| claimed[key].clone());
    assert_eq!(numbers, [true.into(), 3.into(), 0.into(), Value::from(1)]);
    for member in claimed["members"].as_array().unwrap() {
        let expected = if member["name"] == "replica-1" { "missing" } else { "well" };
        assert_eq!(member["state"], expected, "{claimed}");
    }
    cluster.replicas[2].kill();
    cluster.until_left(2).await;
    let (code, shown, _) = status(&cluster, &[]).await;
    assert_eq!(code, 1);
    assert!(shown.contains("ready      no: 2 of 4 connected, 3 needed; 0 more may fail"), "{shown}");
    assert!(shown.contains(" missing: replica-2 is not connected"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_cluster_is_refused() {
    let cluster = Processes::start(4).await;
    let (code, out, error) = status(&cluster, &["--cluster", NOBODY]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains(&format!("serves no cluster yet, not {NOBODY}")), "{error}");
    cluster.put(b"letter").await.unwrap();
    let (code, out, error) = status(&cluster, &["--cluster", NOBODY]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains(NOBODY) && error.contains("another cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_each_change_and_survives_the_server() {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"letter").await.unwrap();
    let mut command = async_command(cluster.root());
    command.args(["status", "--server", cluster.address(), "--watch", "--json"]).stdout(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = async |what: &str, is_so: fn(&Value) -> bool| {
        let seen = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it goes on");
                let value: Value = serde_json::from_str(&line).unwrap();
                if is_so(&value) {
                    return;
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), seen).await.is_ok(), "{what}");
    };
    until("all are there", |value| value["claimed"]["connected"] == 4).await;
    cluster.replicas[3].kill();
    until("one is missing", |value| value["claimed"]["connected"] == 3).await;
    cluster.server.kill();
    until("the server is gone", |value| value["error"].is_string()).await;
    cluster.restart_server().await;
    until("it is back", |value| value["claimed"]["connected"] == 3 && value["claimed"]["ready"] == true).await;
}
