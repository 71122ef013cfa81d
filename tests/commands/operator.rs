//! `vouch operator`: the key of a cluster's operator, and signatures on changes of members.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::Value;
use support::committee::vote_secret;
use tempfile::TempDir;
use vouch_core::bls::{VoteKey, VoteSignature};
use vouch_core::membership::{CommitteeChange, verify_operator};

use crate::program::{self, vouch, vouch_with_input};

/// A change of the test vectors, as text, with its identity and the operator's signature.
struct Change {
    text: String,
    id: String,
    signature: String,
}

fn change(name: &str) -> Change {
    let vectors = fs::read_to_string(program::root().join("tests/vectors/membership.json")).unwrap();
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    let case = vectors["changes"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    let bytes = |key: &str| HEXLOWER.decode(case[key].as_str().unwrap().as_bytes()).unwrap();
    Change {
        text: BASE64URL_NOPAD.encode(&bytes("change")),
        id: bs58::encode(bytes("identity")).into_string(),
        signature: VoteSignature(bytes("operator_signature").try_into().unwrap()).to_string(),
    }
}

/// The bytes of a key or a signature.
fn point<const N: usize>(text: &str) -> [u8; N] {
    bs58::decode(text).into_vec().unwrap().try_into().unwrap()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with the key of the vectors' operator, and two changes.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secret = vote_secret("operator");
    let digits = HEXLOWER.encode(&secret.to_bytes());
    let key = format!("vouch operator key 1\npublic key {}\nsecret key {digits}\n", secret.vote_key());
    write(&folder.path().join("operator.key"), &key, 0o600);
    for name in ["replaced", "forced"] {
        write(&folder.path().join(name), &format!("{}\n", change(name).text), 0o644);
    }
    folder
}

#[test]
fn a_change_is_shown_and_signed() {
    let (folder, expected) = (folder(), change("replaced"));
    let signed = vouch(folder.path(), &["operator", "sign", "replaced", "--yes"]);
    assert_eq!(signed.ok(), format!("{}\n", expected.signature));
    let shown: Vec<_> = signed.stderr.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(shown, ["change", "cluster", "committee", "leaves", "joins", "joins"], "{}", signed.stderr);
    assert!(signed.stderr.contains(&expected.id), "{}", signed.stderr);
    // from a pipe
    let piped = vouch_with_input(folder.path(), &["operator", "sign", "-", "--yes"], expected.text.as_bytes());
    assert_eq!(piped.ok(), signed.ok());
    let json = vouch(folder.path(), &["operator", "sign", "replaced", "--yes", "--json"]);
    assert_eq!((json.code, &*json.stderr), (Some(0), ""));
    let json = json.json();
    assert_eq!(json["signature"], *expected.signature);
    assert_eq!(json["change"], *expected.id);
    assert_eq!(json["operator"], vote_secret("operator").vote_key().to_string());
    assert_eq!((&json["epoch"], &json["forced"]), (&0.into(), &false.into()));
    let sizes = ["leaves", "joins"].map(|key| json[key].as_array().unwrap().len());
    assert_eq!(sizes, [1, 2]);
    assert!(json["joins"][0]["name"].as_str().unwrap().starts_with("joiner-"));
    let forced = vouch(folder.path(), &["operator", "sign", "forced", "--yes"]);
    assert_eq!(forced.ok(), format!("{}\n", change("forced").signature));
    assert!(forced.stderr.contains("before the next committee holds every file"), "{}", forced.stderr);
}

#[test]
fn nothing_is_signed_that_nobody_has_seen() {
    let folder = folder();
    for args in [&["operator", "sign", "replaced"][..], &["operator", "sign", "-"]] {
        let run = vouch_with_input(folder.path(), args, change("replaced").text.as_bytes());
        let stderr = run.fails_with(1);
        assert!(run.stdout.is_empty() && stderr.contains("leaves ") && stderr.contains("--yes"), "{stderr}");
    }
}

#[test]
fn another_text_is_no_change() {
    let (folder, whole) = (folder(), change("replaced").text);
    let newer = whole.replacen("dm91Y2hjYwE", "dm91Y2hjYwI", 1);
    for (text, why) in [
        ("", "it is empty"),
        ("a change\n", "not base64url"),
        (&whole[..40], "expected"),
        (&newer, "expected version 1 of a committee change, got 2"),
    ] {
        let run = vouch_with_input(folder.path(), &["operator", "sign", "-", "--yes"], text.as_bytes());
        let stderr = run.fails_with(1);
        assert!(stderr.contains(why) && stderr.contains("one line of base64url"), "{text}: {stderr}");
    }
    let absent = vouch(folder.path(), &["operator", "sign", "nowhere", "--yes", "--json"]);
    assert_eq!(absent.code, Some(1));
    assert!(absent.json()["error"].as_str().unwrap().contains("nowhere"), "{absent:?}");
}

#[test]
fn an_encrypted_key_signs_with_its_passphrase_only() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::remove_file(at("operator.key")).unwrap();
    write(&at("passphrase"), "correct horse battery staple\n", 0o600);
    write(&at("another"), "correct horse\n", 0o600);
    write(&at("exposed"), "correct horse battery staple\n", 0o644);
    let made = vouch(folder.path(), &["operator", "init", "--passphrase-file", "passphrase"]);
    assert_eq!((made.row("file"), made.row("encrypted")), ("operator.key".into(), "yes".into()));
    let public = made.row("public key");
    let text = fs::read_to_string(at("operator.key")).unwrap();
    assert!(text.contains("BEGIN AGE ENCRYPTED FILE") && !text.contains("secret key"), "{text}");
    // the public key needs no passphrase
    assert_eq!(vouch(folder.path(), &["operator", "show"]).ok(), made.ok());
    let shown = vouch(folder.path(), &["operator", "show", "--json"]).json();
    assert_eq!((&shown["public_key"], &shown["encrypted"]), (&public.clone().into(), &true.into()));

    let sign = |passphrase: &str| {
        vouch(folder.path(), &["operator", "sign", "replaced", "--yes", "--passphrase-file", passphrase])
    };
    let signature = VoteSignature(point(sign("passphrase").ok().trim_end()));
    let change = CommitteeChange::decode(&BASE64URL_NOPAD.decode(change("replaced").text.as_bytes()).unwrap()).unwrap();
    assert_eq!(verify_operator(&VoteKey(point(&public)), &change, &signature), Ok(()));
    assert!(sign("another").fails_with(1).contains("the passphrase is wrong"));
    assert!(sign("exposed").fails_with(1).contains("chmod 600"));
    let asked = vouch(folder.path(), &["operator", "sign", "replaced", "--yes"]);
    assert!(asked.fails_with(1).contains("--passphrase-file"), "{}", asked.stderr);
    let asked = vouch(folder.path(), &["operator", "init", "--key", "second.key", "--passphrase"]);
    assert!(asked.fails_with(1).contains("--passphrase-file") && !at("second.key").exists(), "{}", asked.stderr);
}

#[test]
fn a_key_is_never_replaced_and_never_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let made = vouch(folder.path(), &["operator", "init", "--key", "my.key"]);
    let public = made.row("public key");
    assert!(made.stderr.contains(&format!("vouch server --operator {public}")), "{}", made.stderr);
    let path = folder.path().join("my.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let again = vouch(folder.path(), &["operator", "init", "--key", "my.key"]);
    assert!(again.fails_with(1).contains("my.key exists already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for command in
        [&["operator", "show", "--key", "my.key"][..], &["operator", "sign", "-", "--yes", "--key", "my.key"]]
    {
        let run = vouch_with_input(folder.path(), command, change("replaced").text.as_bytes());
        assert!(run.fails_with(1).contains("chmod 600 'my.key'") && run.stdout.is_empty(), "{run:?}");
    }
    let nothing = vouch(folder.path(), &["operator", "show"]);
    assert!(nothing.fails_with(1).contains("vouch operator init"), "{}", nothing.stderr);
}
