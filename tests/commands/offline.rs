//! `verify` and `inspect` need no network and open no connection.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program;

const CLUSTER: &str = "3UDUyZQXNCDVRBTtTsqbfr6sdPxUAeJyH2HR7VQMjaVj";
const NOW: &str = "1790003600";

#[test]
fn verify_and_inspect_work_without_a_network() {
    let alone = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", program]).stdin(Stdio::null());
        command
    };
    if !alone("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system does not let a test run without a network");
        return;
    }
    let fixtures = program::root().join("tests/commands/fixtures");
    let program = program::path();
    let run = |args: &[&str]| {
        program::run(alone(program.to_str().unwrap()).args(args).current_dir(&fixtures), b"").ok().to_owned()
    };
    let verify = ["verify", "letter.txt", "letter.txt.vouch", "--cluster", CLUSTER, "--now", NOW];
    assert!(run(&verify).contains("VALID: letter.txt "));
    assert!(run(&["inspect", "letter.txt.vouch"]).contains(CLUSTER));
}

/// While the command waits for standard input, none of its open files is a network socket.
#[cfg(target_os = "linux")]
#[test]
fn verify_opens_no_network_socket() {
    let fixtures = program::root().join("tests/commands/fixtures");
    let mut command = program::command(&fixtures);
    command.args(["verify", "-", "letter.txt.vouch", "--cluster", CLUSTER, "--now", NOW]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let process = format!("/proc/{}", child.id());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Vouch test").unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        no_network_socket_of(&process);
        std::thread::sleep(Duration::from_millis(10));
    }
    stdin.write_all(b" file n4\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[cfg(target_os = "linux")]
fn no_network_socket_of(process: &str) {
    let mut network = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default();
        network.extend(text.lines().filter_map(|line| line.split_whitespace().nth(9)).map(str::to_owned));
    }
    let open = fs::read_dir(format!("{process}/fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
    // a file closed meanwhile has no target
    for target in open.filter_map(Result::ok).map(|target| target.to_string_lossy().into_owned()) {
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        assert!(inode.is_none_or(|inode| !network.iter().any(|other| other == inode)), "{target} is a network socket");
    }
}
