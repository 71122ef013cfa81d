//! Failures and their messages. Those that need no cluster and no other process are transcripts under `errors`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::nodes::{Cluster, Node};
use crate::program::vouch;

/// An address without a listener.
const NOBODY: &str = "127.0.0.1:1";

fn home_with_letter() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("letter"), "a letter\n").unwrap();
    home
}

#[test]
fn put_and_get_without_a_listener_fail() {
    let home = home_with_letter();
    for args in [
        &["put", "letter", "--server", NOBODY][..],
        &["client", NOBODY, "letter"],
        &["get", "11111111111111111111111111111112", "-o", "copy", "--server", NOBODY],
    ] {
        let message = vouch(home.path(), args).fails_with(1).to_owned();
        assert!(message.starts_with(&format!("vouch: cannot connect to {NOBODY}: Connection refused")), "{message}");
        assert!(message.ends_with("; is a server running there? start one with `vouch server`\n"), "{message}");
    }
    assert!(!home.path().join("letter.vouch").exists() && !home.path().join("copy").exists());
}

#[test]
fn stopped_server_is_reported() {
    let mut cluster = Cluster::start(1);
    let home = home_with_letter();
    let put = ["put", "letter", "--server", &cluster.address];
    vouch(home.path(), &put).ok();
    fs::remove_file(home.path().join("letter.vouch")).unwrap();
    cluster.server.kill();
    assert!(vouch(home.path(), &put).fails_with(1).contains("is a server running there?"));
    assert!(!home.path().join("letter.vouch").exists());
    let lost = cluster.replicas[0].line_with("not connected to ");
    assert!(lost.ends_with("; trying again"), "{lost}");
}

#[test]
fn other_service_on_the_port_is_reported() {
    let home = home_with_letter();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let put = vouch(home.path(), &["put", "letter", "--server", &server]);
    answering.join().unwrap();
    let message = put.fails_with(1);
    assert!(message.starts_with(&format!("vouch: {server} does not speak the Vouch link protocol: ")), "{message}");
}

#[test]
fn put_without_replicas_says_what_to_start() {
    let cluster = Cluster::start(0);
    let home = home_with_letter();
    let message = vouch(home.path(), &["put", "letter", "--server", &cluster.address]).fails_with(1).to_owned();
    assert!(message.contains("vouch replica"), "it says what to start: {message}");
}

#[test]
fn put_of_an_unreadable_file_fails() {
    let cluster = Cluster::start(1);
    let home = home_with_letter();
    let server = ["--server", &cluster.address];
    let put = |file: &str| vouch(home.path(), &[&["put", file], &server[..]].concat()).fails_with(1).to_owned();
    assert!(put("nothing").starts_with("vouch: cannot read nothing: No such file or directory"));
    assert_eq!(put("."), "vouch: cannot read .: is a folder\n");
    let locked = home.path().join("locked");
    fs::write(&locked, "secret").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    match File::open(&locked) {
        Ok(_) => eprintln!("not tested: this user may read every file"),
        Err(_) => assert!(put("locked").starts_with("vouch: cannot read locked: Permission denied")),
    }
    let left = fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 2, "no bundle of any of them");
}

#[test]
fn unwritable_destination_fails_before_anything_is_sent() {
    let mut cluster = Cluster::start(1);
    let home = home_with_letter();
    fs::create_dir(home.path().join("folder")).unwrap();
    let server = ["--server", &cluster.address];
    let put = vouch(home.path(), &[&["put", "letter"], &server[..]].concat());
    put.ok();
    let digest = put.row("digest");
    cluster.server.line_with("certified ");
    let fails = |args: &[&str]| vouch(home.path(), &[args, &server[..]].concat()).fails_with(1).to_owned();
    let missing = "vouch: cannot write no/copy: there is no folder no; create it first\n";
    assert_eq!(fails(&["get", &digest, "-o", "no/copy"]), missing);
    assert_eq!(fails(&["put", "letter", "--bundle", "no/copy"]), missing);
    let folder = "vouch: cannot write folder: it is a folder; name a file in it\n";
    assert_eq!(fails(&["get", &digest, "-o", "folder"]), folder);
    assert_eq!(fails(&["put", "letter", "--bundle", "folder"]), folder);
    let certified = cluster.server.log().lines().filter(|line| line.starts_with("certified ")).count();
    assert_eq!(certified, 1, "the other two were not even sent");
}

#[test]
fn get_of_an_unknown_digest_fails() {
    let cluster = Cluster::start(1);
    let home = home_with_letter();
    let server = ["--server", &cluster.address];
    vouch(home.path(), &[&["put", "letter"], &server[..]].concat()).ok();
    let unknown = bs58::encode([9; 32]).into_string();
    let get = vouch(home.path(), &[&["get", &unknown, "-o", "copy"], &server[..]].concat());
    assert_eq!(get.fails_with(1), format!("vouch: no replica of the cluster holds {unknown}\n"));
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["letter", "letter.vouch"]);
}

#[test]
fn server_on_a_taken_port_fails() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = vouch(folder.path(), &["server", &port]).fails_with(1).to_owned();
    assert!(
        message.starts_with(&format!("vouch: cannot listen on 127.0.0.1:{port}: Address already in use")),
        "{message}"
    );
    assert!(
        message.ends_with("; choose another with `vouch server PORT` or `vouch server ADDRESS:PORT`\n"),
        "{message}"
    );
}

#[test]
fn data_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Node::start(folder.path(), &["server", "0"]);
    server.line_with("listening on ");
    let second = vouch(folder.path(), &["server", "0"]);
    let in_use = |path: &str| format!("vouch: {path} is in use by another process; name another folder with --data\n");
    assert_eq!(second.fails_with(1), in_use(&folder.path().join(".local/share/vouch/server").display().to_string()));
    let mut replica = Node::start(folder.path(), &["replica", NOBODY, "--data", "r"]);
    replica.line_with("data in ");
    assert_eq!(vouch(folder.path(), &["replica", NOBODY, "--data", "r"]).fails_with(1), in_use("r"));
    assert_eq!(vouch(folder.path(), &["keygen", "--data", "r"]).fails_with(1), in_use("r"));
}

fn key_file(folder: &Path, name: &str, text: &str, mode: u32) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("keys")).unwrap();
    let path = folder.join("keys").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn invalid_key_files_are_refused() {
    let good = format!("{}\n", "1".repeat(64));
    let cases = [
        (good.clone(), 0o644, "expected a key that only its owner can read, got mode 0644; run: chmod 600 'KEY'"),
        ("11".into(), 0o600, "expected 64 hexadecimal digits and a line feed, got 2 bytes"),
        (good.replacen('1', "x", 1), 0o600, "expected a hexadecimal digit at position 0, got another character"),
    ];
    for (text, mode, message) in cases {
        for command in [&["keygen"][..], &["replica", NOBODY], &["server", "0"]] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().canonicalize().unwrap();
            key_file(&folder, "node.key", &text, mode);
            let run = vouch(&folder, &[command, &["--data", "keys"]].concat());
            let path = folder.join("keys/node.key").display().to_string();
            assert_eq!(run.fails_with(1), format!("vouch: {path}: {}\n", message.replace("KEY", &path)));
            assert!(run.stdout.is_empty(), "{run:?}");
            // no part of a secret is printed
            assert!(!run.stderr.contains("1111"), "{run:?}");
        }
    }
    // the command that the message suggests works
    let folder = tempfile::tempdir().unwrap();
    key_file(folder.path(), "node.key", &good, 0o644);
    fs::set_permissions(folder.path().join("keys/node.key"), fs::Permissions::from_mode(0o600)).unwrap();
    vouch(folder.path(), &["keygen", "--data", "keys"]).ok();
}

#[test]
fn keygen_prints_existing_keys() {
    let folder = tempfile::tempdir().unwrap();
    let text = vouch(folder.path(), &["keygen"]);
    assert_eq!(text.ok().lines().count(), 4);
    let json = vouch(folder.path(), &["keygen", "--json"]);
    json.ok();
    let json = json.json();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["folder", "node_key", "vote_key", "possession"]);
    assert_eq!(text.row("folder"), json["folder"].as_str().unwrap());
    assert!(text.row("folder").ends_with("/.local/share/vouch/replica-1"), "the folder that a first replica takes");
    for (row, key, size) in
        [("node key", "node_key", 32), ("vote key", "vote_key", 48), ("possession", "possession", 96)]
    {
        assert_eq!(text.row(row), json[key].as_str().unwrap(), "a second run finds what the first one made");
        assert_eq!(bs58::decode(text.row(row)).into_vec().unwrap().len(), size);
    }
    let mut replica = Node::start(folder.path(), &["replica", NOBODY]);
    let line = replica.line_with("data in ");
    assert!(line.starts_with(&format!("replica replica-1 ({}), ", text.row("node key"))), "{line}");
}

#[test]
fn oversized_bundle_is_invalid() {
    let home = home_with_letter();
    fs::write(home.path().join("long.vouch"), vec![b' '; (8 << 20) + 100]).unwrap();
    let verify = vouch(home.path(), &["verify", "letter", "long.vouch", "--cluster", &"0".repeat(64)]);
    assert_eq!(verify.fails_with(1), "");
    assert!(verify.text().contains("(bundle: expected at most 8388608 bytes, got "), "{verify:?}");
    assert!(vouch(home.path(), &["inspect", "long.vouch"]).fails_with(1).contains("expected at most 8388608 bytes"));
}
