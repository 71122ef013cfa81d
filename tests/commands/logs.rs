//! The log of server and replica: each line has time and level, and an unread log never blocks.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use serde_json::Value;
use support::message_of;

use crate::nodes::{Cluster, Node};
use crate::program::{self, vouch};

#[test]
fn log_lines_have_time_and_level() {
    let mut cluster = Cluster::start(1);
    cluster.server.line_with("replica-1 joined");
    cluster.replicas[0].line_with("connected to");
    let log = [cluster.server.printed(), cluster.replicas[0].printed()].concat();
    let fixed =
        ["listening on ", "server identity: ", "data in ", "the committee forms ", "page ", "replica replica-1 ("];
    for line in log.lines() {
        let is_fixed = fixed.iter().any(|beginning| line.starts_with(beginning));
        assert!(is_fixed != message_of(line).is_some(), "{line:?} in\n{log}");
    }
    let joined = log.lines().find(|line| line.contains(" joined (")).unwrap();
    assert!(joined.contains("Z  INFO replica-1 joined ("), "{joined}");
}

#[test]
fn log_is_json_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Node::start(folder.path(), &["server", "0", "--log-format", "json"]);
    let address = server.line_with("listening on ").replace("listening on ", "");
    let name = "re\"plica\u{202e}";
    let mut replica =
        Node::start(folder.path(), &["replica", &address, "--name", name, "--data", "r", "--log-format", "json"]);
    let line: Value = serde_json::from_str(&server.line_with(" joined (")).unwrap();
    assert_eq!(line["level"], "INFO", "{line}");
    assert_eq!(
        line["message"].as_str().unwrap(),
        "re\"plica\\u{202e} joined (waiting for the committee to form); 1 connected"
    );
    assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    replica.line_where("JSON", |line| {
        serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] == format!("connected to {address}"))
    });
    // the final error is JSON too
    let failure = vouch(folder.path(), &["server", "0", "--log-format", "json"]);
    let line: Value = serde_json::from_str(failure.fails_with(1)).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("is in use by another process"), "{line}");
}

#[test]
fn rust_log_filters_the_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Node::run(program::command(folder.path()).args(["server", "0"]).env("RUST_LOG", "warn"));
    let address = server.line_with("listening on ").replace("listening on ", "");
    let mut replica = Node::start(folder.path(), &["replica", &address]);
    replica.line_with("connected to");
    replica.kill();
    server.line_with("replica-1 left");
    assert!(!server.log().contains(" joined ("), "{}", server.log());
    let wrong = program::run(program::command(folder.path()).args(["server", "0"]).env("RUST_LOG", "vouch=loud"), b"");
    assert!(wrong.fails_with(1).starts_with("vouch: RUST_LOG: "), "{wrong:?}");
}

/// Kills the process when dropped.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn unread_log_does_not_block_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program::command(folder.path());
    let mut server =
        Unread(command.args(["server", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    let mut replica = Node::start(folder.path(), &["replica", &address]);
    replica.line_with("connected to");
    let put = |from: usize| {
        let names: Vec<String> = (from..from + 250).map(|number| format!("file-{number}")).collect();
        names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let mut args = vec!["put", "--server", &address, "--jobs", "64"];
        args.extend(names.iter().map(String::as_str));
        vouch(folder.path(), &args).ok();
    };
    // a pipe holds 64 KiB
    for from in (0..1000).step_by(250) {
        put(from);
    }
    // the lines before the pipe was full can still be read
    let mut unread = server.0.stderr.take().unwrap();
    server.0.kill().unwrap();
    let mut text = String::new();
    unread.read_to_string(&mut text).unwrap();
    let certified = text.lines().filter(|line| line.contains("certified ")).count();
    assert!(certified > 300, "{certified} lines, {} bytes", text.len());
}
