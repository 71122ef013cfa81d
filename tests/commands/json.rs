//! The keys of JSON output are the documented ones.

use std::fs;

use serde_json::Value;

use crate::flows::{keys, now};
use crate::nodes::Cluster;
use crate::program::vouch;

/// The keys that `inspect --json` documents, which `put --json` and `verify --json` show as well.
pub const INSPECTION: [&str; 21] = [
    "cluster",
    "digest",
    "digest_base58",
    "length",
    "epoch",
    "committee",
    "kind",
    "issued_at",
    "expires_at",
    "signers",
    "quorum",
    "tolerated_faults",
    "members",
    "batch_count",
    "batch_index",
    "path",
    "salt",
    "statement",
    "signature",
    "certificate",
    "epochs",
];

#[test]
fn json_has_the_documented_keys() {
    let cluster = Cluster::start(4);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bytes = b"a letter\n";
    fs::write(home.join("letter"), bytes).unwrap();
    let hex = blake3::hash(bytes).to_hex().to_string();
    let began = now();

    let put = vouch(home, &[&["put", "letter", "--json"], &server[..]].concat());
    put.ok();
    assert_eq!(put.stderr, "", "no progress beside JSON");
    let put = put.json();
    assert_eq!(keys(&put), [&INSPECTION[..], &["bundle", "server", "reused", "attempts", "resumed_from"]].concat());
    assert_eq!((&put["bundle"], &put["reused"]), (&"letter.vouch".into(), &false.into()));
    assert_eq!((&put["attempts"], &put["resumed_from"]), (&1.into(), &0.into()));
    let identity = cluster.server.log().lines().nth(1).unwrap().to_owned();
    assert_eq!(identity, format!("server identity: {}", put["server"].as_str().unwrap()));

    let inspected = vouch(home, &["inspect", "letter.vouch", "--json"]);
    inspected.ok();
    let inspected = inspected.json();
    assert_eq!(keys(&inspected), INSPECTION);
    for key in INSPECTION {
        assert_eq!(inspected[key], put[key], "{key}");
    }
    assert_eq!(inspected["digest"], hex);
    assert_eq!(inspected["length"], bytes.len());
    assert_eq!((&inspected["epoch"], &inspected["quorum"]), (&0.into(), &3.into()));
    assert_eq!(inspected["expires_at"], "never");
    assert!((began..=now()).contains(&inspected["issued_at"].as_u64().unwrap()), "{inspected}");
    let cluster_id = inspected["cluster"].as_str().unwrap();
    assert_eq!(bs58::decode(cluster_id).into_vec().unwrap().len(), 32);
    let epochs = inspected["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 1);
    assert_eq!(keys(&epochs[0]), ["epoch", "committee", "members", "joined", "left", "closing"]);
    let members = inspected["members"].as_array().unwrap();
    assert_eq!(keys(&members[0]), ["member", "name", "node_key", "vote_key", "signed"]);
    let signed = members.iter().filter(|member| member["signed"] == true).map(|member| member["member"].clone());
    assert_eq!(inspected["signers"], Value::Array(signed.collect()));

    let verify = ["verify", "letter", "letter.vouch", "--json", "--cluster", cluster_id];
    let verified = vouch(home, &verify);
    verified.ok();
    let verified = verified.json();
    let fields = [
        "verdict",
        "check",
        "expected",
        "got",
        "times",
        "message",
        "questions",
        "genuine",
        "matches",
        "in_force",
        "standing",
        "checks",
        "certificate",
    ];
    assert_eq!(keys(&verified), fields);
    for question in ["genuine", "matches", "in_force"] {
        assert_eq!(keys(&verified[question]), ["answer", "reason"]);
        assert_eq!(verified[question]["answer"], "yes", "{verified}");
    }
    assert_eq!((&verified["verdict"], &verified["message"]), (&"valid".into(), &"VALID".into()));
    assert_eq!(verified["certificate"], inspected);
    assert_eq!(keys(&verified["standing"]), ["epoch", "trusted_epoch", "handoffs", "last_epoch", "closing", "seal"]);
    let checks = verified["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 15);
    for check in checks {
        assert_eq!(keys(check), ["name", "question", "outcome", "meaning"]);
        let is_open = check["name"] == "closing" || check["name"] == "seal";
        assert_eq!(check["outcome"], if is_open { "waived" } else { "passed" }, "{check}");
    }

    fs::write(home.join("letter"), "another\n").unwrap();
    let refused = vouch(home, &verify);
    assert_eq!(refused.fails_with(1), "");
    let refused = refused.json();
    assert_eq!((&refused["verdict"], &refused["check"]), (&"invalid".into(), &"digest".into()));
    let base58 = |bytes: &[u8]| bs58::encode(blake3::hash(bytes).as_bytes()).into_string();
    assert_eq!((&refused["expected"], &refused["got"]), (&base58(bytes).into(), &base58(b"another\n").into()));
    let answers = ["genuine", "matches", "in_force"].map(|question| refused[question]["answer"].as_str().unwrap());
    assert_eq!(answers, ["yes", "no", "yes"]);

    let got = vouch(home, &[&["get", &hex, "-o", "copy", "--json"], &server[..]].concat());
    got.ok();
    let got = got.json();
    assert_eq!(keys(&got), ["digest", "length", "cluster", "output", "attempts", "resumed_from"]);
    assert_eq!((&got["digest"], &got["cluster"]), (&hex.into(), &cluster_id.into()));
    assert_eq!((&got["length"], &got["output"]), (&bytes.len().into(), &"copy".into()));
}
