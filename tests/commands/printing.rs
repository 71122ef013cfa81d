//! Output that cannot be written is an error, and a foreign name cannot forge a line of output.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::nodes::Cluster;
use crate::program::{self, Run, vouch};

const CLUSTER: &str = "3UDUyZQXNCDVRBTtTsqbfr6sdPxUAeJyH2HR7VQMjaVj";
const NOW: &str = "1790003600";
/// A name that imitates a verdict, has terminal escapes, and reverses the text direction.
const FORGED: &str = "b\nVALID: contract.pdf\u{1b}[2J\u{202e}\u{61c}";
const FORGED_SHOWN: &str = "b\\u{a}VALID: contract.pdf\\u{1b}[2J\\u{202e}\\u{61c}";

/// Runs the program with this standard output; returns the exit code and standard error.
fn run_into<S: AsRef<OsStr>>(folder: &Path, args: &[S], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = program::command(folder);
    let child = command.args(args).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A pipe whose reader is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn assert_fails_without_output(folder: &Path, args: &[&str]) {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (stdout, why) in [(full().into(), "No space left on device"), (closed(), "Broken pipe")] {
        let (code, stderr) = run_into(folder, args, stdout);
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("vouch: cannot write to standard output: {why}")), "{args:?}: {stderr}");
    }
}

#[test]
fn unwritable_output_is_an_error() {
    let cluster = Cluster::start(1);
    let fixtures = program::root().join("tests/commands/fixtures");
    for args in [
        &["verify", "letter.txt", "letter.txt.vouch", "--cluster", CLUSTER, "--now", NOW][..],
        &["inspect", "letter.txt.vouch"],
        &["--help"],
        &["put", "--help"],
        &["--version"],
    ] {
        assert_fails_without_output(&fixtures, args);
        if !args.contains(&"--help") && !args.contains(&"--version") {
            assert_fails_without_output(&fixtures, &[args, &["--json"]].concat());
        }
    }

    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("a"), "a letter\n").unwrap();
    fs::write(home.join("b"), "another\n").unwrap();
    let server = ["--server", &cluster.address];
    for json in [&[][..], &["--json"]] {
        assert_fails_without_output(home, &[&["put", "a"], &server[..], json].concat());
        assert_fails_without_output(home, &[&["put", "a", "b"], &server[..], json].concat());
        assert_fails_without_output(home, &[&["keygen", "--data", "keys"], json].concat());
        // the files are written nevertheless
        assert!(home.join("a.vouch").exists() && home.join("b.vouch").exists() && home.join("keys/node.key").exists());
    }
    assert_fails_without_output(home, &["client", &cluster.address, "a"]);
    assert_fails_without_output(home, &["get", "a.vouch", "-o", "-", "--server", &cluster.address]);
    // a failure of the command itself takes precedence
    let (code, stderr) = run_into(&fixtures, &["verify", "absent", "letter.txt.vouch", "--json"], closed());
    assert!(code == Some(2) && stderr.contains("CANNOT CHECK: cannot read absent"), "{code:?}: {stderr}");
}

/// Asserts that the output has no forged line and no terminal escape.
fn assert_harmless(run: &Run) {
    let text = [run.text(), &run.stderr].concat();
    let steers = |c: char| c != '\n' && c.is_control() || "\u{61c}\u{202e}".contains(c);
    assert!(!text.contains(steers), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("VALID: contract.pdf")), "{text}");
}

#[test]
fn file_name_cannot_forge_an_output_line() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bundle = format!("{FORGED}.vouch");
    fs::write(home.join(FORGED), "x\n").unwrap();
    fs::write(home.join("plain"), "plain\n").unwrap();
    let server = ["--server", &cluster.address];

    let put = vouch(home, &[&["put", FORGED], &server[..]].concat());
    assert_eq!(put.row("certified"), format!("{FORGED_SHOWN}, 2 bytes"));
    assert_eq!(put.row("bundle"), format!("{FORGED_SHOWN}.vouch"));
    let cluster_id = put.row("cluster");
    let trusted = ["--cluster", &cluster_id];
    let several = vouch(home, &[&["put", FORGED, "plain", "VALID\nabsent"], &server[..]].concat());
    assert!(several.stderr.contains("vouch: VALID\\u{a}absent: cannot read VALID\\u{a}absent: "), "{several:?}");
    let verified = vouch(home, &[&["verify", FORGED, &bundle], &trusted[..]].concat());
    assert!(verified.ok().contains(&format!("\nVALID: {FORGED_SHOWN} ")), "{verified:?}");
    let differs = vouch(home, &[&["verify", FORGED, "plain.vouch"], &trusted[..]].concat());
    differs.fails_with(1);
    let got = vouch(home, &[&["get", &bundle, "-o", "c\nVALID: contract.pdf"], &server[..]].concat());
    assert!(got.ok().starts_with("verified   c\\u{a}VALID: contract.pdf, "), "{got:?}");
    let mut others = Vec::new();
    for args in [
        &["inspect", FORGED][..],
        &["verify", FORGED, "no\nVALID: contract.pdf"],
        &["verify", "no\nVALID: contract.pdf", &bundle],
        &["get", "no\nVALID: contract.pdf", "-o", "copy"],
        &["get", &bundle, "-o", "no\nVALID: contract.pdf/copy"],
        &["put", "no\nVALID: contract.pdf", "--server", &cluster.address],
        &["forget", "no\nVALID: contract.pdf"],
        &["forget", "a:1", "--known-clusters", FORGED],
        &["status", "--data", "no\nVALID: contract.pdf"],
        &["demo", "no\nVALID: contract.pdf"],
        &["client", "no\nVALID: contract.pdf", "plain"],
        &["put", "--no\nVALID: contract.pdf"],
        &["put", "plain", "--bundle", "no\nVALID: contract.pdf/copy"],
        &["--x\nVALID: contract.pdf"],
    ] {
        let run = vouch(home, args);
        assert_ne!(run.code, Some(0), "{run:?}");
        others.push(run);
    }
    let keys = vouch(home, &["keygen", "--data", "k\nVALID: contract.pdf"]);
    assert!(keys.row("folder").ends_with("/k\\u{a}VALID: contract.pdf"), "{keys:?}");
    for run in [&put, &several, &verified, &differs, &got, &keys].into_iter().chain(&others) {
        assert_harmless(run);
    }

    // JSON has escapes of its own: the name round-trips, and the output has no terminal escape
    let json = |args: &[&str], more: &[&str]| {
        let run = vouch(home, &[args, more, &["--json"]].concat());
        assert_harmless(&run);
        run.json()
    };
    assert_eq!(json(&["put", FORGED], &server)["bundle"], bundle);
    let got = json(&["get", &bundle, "-o", "copy\u{202e}\n"], &server);
    assert_eq!(got["output"], "copy\u{202e}\n");
    let absent = json(&["verify", "no\u{202e}\n", &bundle], &trusted);
    assert!(absent["error"].as_str().unwrap().contains("no\\u{202e}\\u{a}"), "{absent}");
    let usage = json(&["put", "--no\u{202e}\nVALID: contract.pdf"], &[]);
    assert!(usage["error"].as_str().unwrap().starts_with("unexpected argument '--no"), "{usage}");
}

#[test]
fn file_names_need_not_be_utf_8() {
    let cluster = Cluster::start(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bad = OsStr::from_bytes(b"bad\xff.bin");
    let bundle = OsStr::from_bytes(b"bad\xff.bin.vouch");
    fs::write(home.join(bad), "z").unwrap();
    fs::write(home.join("ok.txt"), "ok\n").unwrap();
    let os = |text: &str| OsString::from(text);
    let server = [os("--server"), os(&cluster.address)];
    let run = |args: &[&OsStr], more: &[OsString]| {
        let args: Vec<OsString> = args.iter().map(|arg| (*arg).to_owned()).chain(more.iter().cloned()).collect();
        vouch(home, &args)
    };
    let word = OsStr::new;

    // a missing file and one with another encoding do not stop the others
    let list = run(&[word("put"), bad, OsStr::from_bytes(b"absent\xfe"), word("ok.txt")], &server);
    assert!(list.fails_with(1).contains("vouch: absent\\xfe: cannot read "), "{list:?}");
    assert!(list.text().contains("certified  bad\\xff.bin, 1 bytes, by 1 of 1: bad\\xff.bin.vouch\n"), "{list:?}");
    assert!(home.join(bundle).exists() && home.join("ok.txt.vouch").exists());

    let put = run(&[word("put"), bad], &server);
    assert_eq!(put.row("certified"), "bad\\xff.bin, 1 bytes");
    let trusted = [os("--cluster"), os(&put.row("cluster"))];
    let verified = run(&[word("verify"), bad, bundle], &trusted);
    assert!(verified.ok().contains("\nVALID: bad\\xff.bin "), "{verified:?}");
    run(&[word("inspect"), bundle], &[]).ok();
    let out = OsStr::from_bytes(b"out\xff");
    let got = run(&[word("get"), bundle, word("-o"), out], &server);
    assert!(got.ok().starts_with("verified   out\\xff, 1 bytes"), "{got:?}");
    assert_eq!(fs::read(home.join(out)).unwrap(), b"z");
    let (flag, proof) = (word("--bundle"), OsStr::from_bytes(b"proof\xff"));
    run(&[word("put"), bad, flag, proof], &server).ok();
    assert!(home.join(proof).exists());
    run(&[word("client"), word(&cluster.address), bad], &[]).ok();

    // JSON has a lossy name, and the exact bytes in hex
    let lines = run(&[word("put"), bad, word("ok.txt"), word("--json")], &server);
    let lines: Vec<Value> = lines.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let hex = "626164ff2e62696e";
    let of_bad = lines.iter().find(|line| line["file_hex"] == hex).unwrap();
    assert_eq!(of_bad["file"], "bad\u{fffd}.bin");
    assert_eq!(of_bad["bundle_hex"], format!("{hex}2e766f756368"));
    let of_ok = lines.iter().find(|line| line["file"] == "ok.txt").unwrap();
    assert!(of_ok.get("file_hex").is_none() && of_ok.get("bundle_hex").is_none(), "{of_ok}");
    let folder = OsString::from_vec(b"k\xff".to_vec());
    let keys = run(&[word("keygen"), word("--data"), &folder, word("--json")], &[]).json();
    assert!(keys["folder_hex"].as_str().unwrap().ends_with("6bff"), "{keys}");
}
