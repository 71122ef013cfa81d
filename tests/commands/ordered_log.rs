//! `vouch log`: the ordered log through the eyes of an operator.

use serde_json::Value;

use crate::nodes::{Cluster, Node};
use crate::program::vouch;

#[test]
fn a_note_is_written_found_again_and_checked_offline() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("letter.txt"), "Vouch test file n4\n").unwrap();
    let certified = vouch(home, &["put", "letter.txt", "--server", &cluster.address, "--json"]).json();
    let identity = certified["cluster"].as_str().unwrap();
    let log = |args: &[&str]| vouch(home, &[&["log"], args, &["--server", &cluster.address, "--json"]].concat());

    let note = log(&["note", "buy milk", "-o", "note.vouch"]).json();
    let keys: Vec<&str> = note.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["id", "height", "time", "effect", "submitter", "cluster", "note", "bundle"] {
        assert!(keys.contains(&key), "{key}: {note}");
    }
    let (op, height) = (note["id"].as_str().unwrap(), note["height"].as_u64().unwrap());
    assert_eq!((&note["note"], &note["cluster"]), (&"note 1".into(), &identity.into()));
    assert!(log(&["head"]).json()["height"].as_u64().unwrap() >= height);
    let block = log(&["show", &height.to_string()]).json();
    assert_eq!(block["ops"][0]["id"], op);
    assert_eq!(log(&["prove", op]).json()["effect"], note["effect"]);
    let checked = vouch(home, &["verify", "--op", op, "note.vouch", "--cluster", identity, "--json"]).json();
    assert_eq!((&checked["verdict"], &checked["op"]["id"]), (&"valid".into(), &op.into()));

    let other = "11111111111111111111111111111111";
    let unknown = log(&["prove", other]);
    assert!(unknown.fails_with(1).contains("refused: "), "{unknown:?}");
    let absent = log(&["show", "9007199254740991"]);
    assert!(absent.fails_with(1).contains("expected a height from 1 to "), "{absent:?}");
    let another = vouch(home, &["log", "head", "--server", &cluster.address, "--cluster", other]);
    assert!(another.fails_with(1).contains(identity) && another.stdout.is_empty(), "{another:?}");
    let long = vouch(home, &["log", "note", &"x".repeat(4097), "--server", &cluster.address]);
    assert!(long.fails_with(1).contains("a note has at most 4096 bytes, got 4097"), "{long:?}");
    let taken = vouch(home, &["log", "note", "again", "-o", "note.vouch", "--server", &cluster.address]);
    assert!(taken.fails_with(1).contains("note.vouch exists"), "{taken:?}");
    assert_eq!(log(&["note", "next"]).json()["note"], "note 2", "nothing was written by the commands that failed");
}

#[test]
fn followers_see_each_note_once() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let note = |text: &str| vouch(home, &["log", "note", text, "--server", &cluster.address]).ok().to_owned();
    std::fs::write(home.join("a"), "a").unwrap();
    vouch(home, &["put", "a", "--server", &cluster.address]).ok();
    note("before");
    let mut text = Node::start(home, &["log", "follow", "--server", &cluster.address]);
    let mut json = Node::start(home, &["log", "follow", "--server", &cluster.address, "--json"]);
    text.line_with("note \"before\"");
    json.line_with("\"head\":");
    note("one\u{1b}[2J");
    note("two");
    text.line_with("note \"two\"");
    json.line_with(&data_encoding::HEXLOWER.encode(b"two"));
    let shown = text.printed();
    assert!(shown.contains("note \"one\\u{1b}[2J\"") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(shown.matches("note \"two\"").count(), 1, "{shown}");
    for line in json.printed().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["head"]["height"].is_u64() && line["blocks"].is_array(), "{line}");
    }
}

#[test]
fn status_says_how_far_the_log_is() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("a"), "a").unwrap();
    vouch(home, &["put", "a", "--server", &cluster.address]).ok();
    vouch(home, &["log", "note", "hello", "--server", &cluster.address]).ok();
    let status = vouch(cluster.root.path(), &["status"]).ok().to_owned();
    assert!(status.contains("  log       block "), "{status}");
    let json = vouch(cluster.root.path(), &["status", "--json"]).json();
    assert!(json["log"]["height"].as_u64().unwrap() >= 1, "{json}");
}
