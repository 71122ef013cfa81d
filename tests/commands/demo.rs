//! `vouch demo`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::nodes::Node;
use crate::program::{self, Run, vouch};

fn identity(demo: &Run) -> String {
    let line = demo.text().lines().find(|line| line.contains("cluster identity ")).unwrap();
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[test]
fn demo_certifies_and_verifies() {
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
        "\n5. Writing a note to the log",
        "\nnote 1: op ",
        "\nVALID: op ",
    ] {
        assert!(text.contains(step), "{step:?}: {text}");
    }
    let cluster = identity(&demo);
    vouch(folder, &["verify", "letter", "letter.vouch", "--cluster", &cluster]).ok();
    let note = vouch(folder, &["verify", "--op", "any", "four/note.vouch", "--cluster", &cluster]);
    // the body of the note, in hex
    assert!(note.ok().contains("body     6c657474657220697320636572746966696564"), "{}", note.text());

    // a second run reuses the cluster
    fs::write(folder.join("second"), "another\n").unwrap();
    let again = vouch(folder, &["demo", "second", "--once", "--data", "four"]);
    assert!(again.ok().contains("\nnote 2: op "), "the log goes on: {}", again.text());
    assert_eq!(identity(&again), cluster);
    vouch(folder, &["verify", "second", "second.vouch", "--cluster", &cluster]).ok();
    // another data folder is another cluster
    let other = vouch(folder, &["demo", "letter", "--once", "--data", "one", "--replicas", "1"]);
    other.ok();
    assert_ne!(identity(&other), cluster);
}

/// `script` (util-linux) provides the terminal.
#[test]
#[cfg(target_os = "linux")]
fn demo_on_a_terminal_keeps_running_and_prints_its_page() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter"), "a letter\n").unwrap();
    // `exec`: else Ctrl-C ends a shell that stays (as dash does), and the test would see that shell's status
    let demo = format!("exec '{}' demo letter --replicas 1", program::path().display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &demo, "/dev/null"]).current_dir(folder.path());
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(terminal.stdout.take().unwrap()).lines().map(Result::unwrap);
    let page = lines.find(|line| line.contains("#cluster=")).expect("the demo names its page");
    let address = page.trim().strip_prefix("http://").unwrap().split_once("/#cluster=").unwrap().0;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/html"), "{answer}");
    // Ctrl-C
    terminal.stdin.take().unwrap().write_all(b"\x03").unwrap();
    lines.for_each(drop);
    assert_eq!(terminal.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(address).is_err(), "the server ended with it");
}

#[test]
fn second_demo_in_one_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("letter"), "a letter\n").unwrap();
    // the first demo is paused at its last step
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
fn demo_fails_when_a_step_fails() {
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
