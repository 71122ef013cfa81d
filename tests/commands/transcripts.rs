//! The program's exact output: transcripts under `help`, `errors`, `bundles` (verdicts), `keys` and `config`.
//!
//! `[..]` matches anything within a line. After a change of wording, `TRYCMD=overwrite cargo test -p vouch-tests --test commands
//! transcripts` rewrites them; review the result as a user would read it.

use std::fs;

use serde_json::Value;

use crate::program;

#[test]
fn transcripts() {
    let home = tempfile::tempdir().unwrap();
    let folder = program::root().join("tests/commands");
    let cases = trycmd::TestCases::new();
    cases.register_bin("vouch", program::path().as_path());
    cases.env("HOME", home.path().to_str().unwrap()).env("XDG_CONFIG_HOME", "").env("XDG_DATA_HOME", "");
    cases.env("VOUCH_CONFIG", "/dev/null");
    cases.env("COLUMNS", "100").env("NO_COLOR", "1");
    cases.insert_var("[HOME]", home.path().to_str().unwrap().to_owned()).unwrap();
    cases.insert_var("[VERSION]", env!("CARGO_PKG_VERSION")).unwrap();
    for kind in ["help", "errors", "bundles", "keys", "config"] {
        cases.case(folder.join(kind).join("*.toml"));
    }
    cases.run();
}

#[test]
fn bundles_of_the_transcripts_are_test_vectors() {
    let folder = program::root().join("tests/commands/fixtures");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let vectors = fs::read_to_string(program::root().join("tests/vectors/valid.json")).unwrap();
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    let (n4, n7) = (vectors["bases"]["n4"].as_str().unwrap(), vectors["bases"]["n7"].as_str().unwrap());
    assert_eq!(read("letter.txt"), "Vouch test file n4\n");
    assert_eq!(read("letter.txt.vouch"), n4);
    assert_eq!(read("other.vouch"), n7);
    assert_eq!(read("newer.vouch"), n4.replace("\"version\":1", "\"version\":2"));
    assert_eq!(read("cut.vouch"), n4[..400]);
    let vectors = fs::read_to_string(program::root().join("tests/vectors/log_bundles.json")).unwrap();
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    for (of, name) in [("head", "log-head.vouch"), ("block", "log-block.vouch"), ("evidence", "evidence.vouch")] {
        assert_eq!(read(name), vectors["bases"][of].as_str().unwrap());
    }
    // the tampered bundle differs in one bit of the salt, which the signature covers
    let differences = read("tampered.vouch").bytes().zip(n4.bytes()).filter(|(one, other)| one != other).count();
    assert_eq!((read("tampered.vouch").len(), differences), (n4.len(), 1));
}
