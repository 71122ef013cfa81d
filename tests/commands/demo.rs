//! `vouch demo`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::nodes::Node;
use crate::program::{Run, vouch};

fn identity(demo: &Run) -> String {
    let line = demo.text().lines().find(|line| line.contains("cluster identity ")).unwrap();
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[test]
fn a_demo_certifies_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("letter"), "a letter\n").unwrap();
    let demo = vouch(folder, &["demo", "letter", "--once", "--data", "four"]);
    let text = demo.ok();
    assert_eq!(demo.stderr, "");
    for step in [
        "\n1. Starting one server and 4 replicas",
        "\n2. Putting letter",
        "\n3. ",
        "\n4. Verifying",
        "\nVALID: letter ",
    ] {
        assert!(text.contains(step), "{step:?}: {text}");
    }
    let cluster = identity(&demo);
    vouch(folder, &["verify", "letter", "letter.vouch", "--cluster", &cluster]).ok();

    // the same cluster again
    fs::write(folder.join("second"), "another\n").unwrap();
    let again = vouch(folder, &["demo", "second", "--once", "--data", "four"]);
    again.ok();
    assert_eq!(identity(&again), cluster);
    vouch(folder, &["verify", "second", "second.vouch", "--cluster", &cluster]).ok();
    // another folder is another cluster
    let other = vouch(folder, &["demo", "letter", "--once", "--data", "one", "--replicas", "1"]);
    other.ok();
    assert_ne!(identity(&other), cluster);
}

#[test]
fn one_demo_at_a_time_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("letter"), "a letter\n").unwrap();
    // the first one is held up at its last step
    let script = folder.join("wait");
    fs::write(&script, "#!/bin/sh\necho \"waiting $*\"\nwhile [ ! -e go ]; do sleep 0.05; done\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["demo", "letter", "--once", "--replicas", "1"];
    let mut first = Node::start(folder, &[&args[..], &["--verify-with", "./wait"]].concat());
    let called = first.line_where("waiting", |line| line.starts_with("waiting "));
    let id = called.strip_prefix("waiting letter letter.vouch --cluster ").unwrap();
    assert_eq!(bs58::decode(id).into_vec().unwrap().len(), 32);

    let second = vouch(folder, &args);
    assert_eq!(
        second.fails_with(1),
        "vouch: ./.vouch/demo is in use by another process; name another folder with --data\n"
    );
    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(first.wait(), Some(0), "{}", first.log());
    vouch(folder, &args).ok();
}

#[test]
fn a_demo_fails_where_its_parts_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let missing = vouch(folder, &["demo"]);
    let message = missing.fails_with(1);
    assert!(message.starts_with("vouch: cannot read README.md: No such file or directory"), "{message}");
    assert!(message.ends_with("; name another file: vouch demo FILE\n"), "{message}");
    assert!(!folder.join(".vouch").exists(), "nothing was started");

    fs::write(folder.join("letter"), "a letter\n").unwrap();
    let disagree = vouch(folder, &["demo", "letter", "--replicas", "1", "--verify-with", "false"]);
    assert_eq!(disagree.fails_with(1), "vouch: the verifiers did not agree that the certificate is valid\n");
    let absent = vouch(folder, &["demo", "letter", "--replicas", "1", "--verify-with", "./no-such-verifier"]);
    assert!(absent.fails_with(1).starts_with("vouch: cannot run ./no-such-verifier: No such file or directory"));
}
