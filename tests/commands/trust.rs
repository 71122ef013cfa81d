//! Which cluster a client trusts: the first it met, or the one it was given.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::processes::isolate;

use crate::nodes::{Cluster, Node};
use crate::program::{self, Run, vouch};

/// Runs a command that a message suggests, in a shell.
fn follow(folder: &Path, command_line: &str) -> Run {
    let mut path = program::path().parent().unwrap().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    let mut shell = Command::new("sh");
    shell.args(["-c", command_line]).current_dir(folder).env("PATH", path);
    isolate(&mut shell, folder);
    program::run(&mut shell, b"")
}

fn identity_in(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn new_cluster_at_a_known_address_is_refused_until_forgotten() {
    let mut cluster = Cluster::start(1);
    let address = cluster.address.clone();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), "a letter\n").unwrap();
    let known = ["--server", &address, "--known-clusters", "servers I met"];
    let put = || vouch(home, &[&["put", "letter"], &known[..]].concat());

    let first = put();
    first.ok();
    let old = first.row("cluster");
    let note = first.stderr.lines().last().unwrap();
    assert_eq!(
        note,
        format!(
            "first contact with {address}: its cluster {old} is recorded in servers I met, and later contacts are compared with it"
        )
    );
    assert_eq!(fs::read_to_string(home.join("servers I met")).unwrap(), format!("{address} {old}\n"));
    let again = put();
    again.ok();
    assert!(!again.stderr.contains("first contact"), "{again:?}");
    let digest = first.row("digest");

    // another cluster at the same address
    cluster.replicas.clear();
    cluster.server.kill();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut server = Node::start(elsewhere.path(), &["server", &address, "--replicas", "1"]);
    server.line_with("listening on ");
    let _replica = Node::start(elsewhere.path(), &["replica", &address]);
    let new =
        server.line_where("cluster ", |line| line.starts_with("cluster ")).strip_prefix("cluster ").unwrap().to_owned();
    assert_ne!(new, old);

    let refused = put();
    let get = vouch(home, &[&["get", &digest, "-o", "copy"], &known[..]].concat());
    let client = vouch(home, &["client", &address, "letter", "--known-clusters", "servers I met"]);
    for refused in [&refused, &get, &client] {
        let message = refused.fails_with(1);
        assert!(refused.stdout.is_empty(), "{refused:?}");
        assert!(message.lines().next().is_some_and(|line| line.contains(&old) && line.contains(&new)), "{message}");
        assert!(message.contains(&format!("recorded for {address} at first contact is {old}")), "{message}");
    }
    assert!(!home.join("copy").exists());
    assert_eq!(identity_in(home, "servers I met"), old, "nothing is replaced silently");

    // `--cluster` overrides the record and does not change it
    vouch(home, &[&["put", "letter", "--cluster", &new], &known[..]].concat()).ok();
    assert_eq!(identity_in(home, "servers I met"), old);

    let (_, command_line) = refused.stderr.trim_end().rsplit_once("forget the old identity with: ").unwrap();
    assert_eq!(command_line, format!("vouch forget {address} --known-clusters 'servers I met'"));
    assert_eq!(follow(home, command_line).ok(), format!("forgot {old} of {address}\n"));
    assert_eq!(put().row("cluster"), new);
    assert_eq!(identity_in(home, "servers I met"), new);
    let nothing = vouch(home, &["forget", "example.org:9090", "--known-clusters", "servers I met"]);
    assert_eq!(nothing.fails_with(1), "vouch: nothing is recorded for example.org:9090 in servers I met\n");
}

#[test]
fn loopback_servers_are_recorded_only_with_an_explicit_file() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), "a letter\n").unwrap();
    let put = vouch(home, &["put", "letter", "--server", &cluster.address]);
    put.ok();
    assert!(!put.stderr.contains("first contact"), "{put:?}");
    assert!(!home.join(".config").exists());
    vouch(home, &["get", &put.row("digest"), "-o", "copy", "--server", &cluster.address]).ok();
    let named = ["--server", &cluster.address, "--known-clusters", "a/b/known"];
    let get = vouch(home, &[&["get", &put.row("digest"), "-o", "copy", "--force"], &named[..]].concat());
    get.ok();
    assert!(get.stderr.starts_with("first contact with "), "{get:?}");
    assert_eq!(identity_in(home, "a/b/known"), put.row("cluster"));
}

#[test]
fn wrong_identity_is_refused() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), "a letter\n").unwrap();
    let server = ["--server", &cluster.address];
    let put = vouch(home, &[&["put", "letter"], &server[..]].concat());
    put.ok();
    let right = put.row("cluster");
    let wrong = bs58::encode([7; 32]).into_string();
    for args in [&["put", "letter"][..], &["get", "letter.vouch", "-o", "copy"]] {
        let refused = vouch(home, &[args, &server[..], &["--cluster", &wrong]].concat());
        let message = refused.fails_with(1);
        assert!(message.lines().next().is_some_and(|line| line.contains(&wrong) && line.contains(&right)), "{message}");
        assert!(message.ends_with(&format!("The identity given with --cluster is {wrong}.\n")), "{message}");
    }
    assert!(!home.join("copy").exists());
    // hex is another encoding of the same identity
    let hex: String = bs58::decode(&right).into_vec().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    vouch(home, &[&["get", "letter.vouch", "-o", "copy", "--cluster", &hex], &server[..]].concat()).ok();
}

#[test]
fn malformed_trust_file_is_reported_with_its_line() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), "a letter\n").unwrap();
    fs::write(home.join("known"), "# servers\nexample.org:9090 nonsense\n").unwrap();
    let put = vouch(home, &["put", "letter", "--server", &cluster.address, "--known-clusters", "known"]);
    assert_eq!(
        put.fails_with(1),
        "vouch: known, line 2: expected an address and an identity, or these and EPOCH:COMMITTEE, got \"example.org:9090 nonsense\"; \
         correct or remove the line\n"
    );
}
