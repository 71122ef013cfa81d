//! The main commands together: put, get, verify, inspect.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::json::INSPECTION;
use crate::nodes::Cluster;
use crate::program::{binary, vouch, vouch_with_input};

pub fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn several_files_share_one_link_and_each_gets_a_bundle() {
    let cluster = Cluster::start(4);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = ["a", "b", "large"];
    for (file, length) in files.into_iter().zip([0, 1000, 300 << 10]) {
        fs::write(home.join(file), binary(length)).unwrap();
    }
    let put = |more: &[&str]| {
        vouch(home, &[&["put", "a", "absent", "b", "large", "--server", &cluster.address], more].concat())
    };
    let text = put(&["--jobs", "2"]);
    assert!(text.fails_with(1).contains("vouch: absent: cannot read absent: "), "{text:?}");
    let stdout = String::from_utf8(text.stdout.clone()).unwrap();
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    let expected = [
        "certified  a, 0 bytes, by 4 of 4: a.vouch",
        "certified  b, 1000 bytes, by 4 of 4: b.vouch",
        "certified  large, 307200 bytes (300.00 KiB), by 4 of 4: large.vouch",
    ];
    assert_eq!(lines, expected);
    assert_eq!(names(home), ["a", "a.vouch", "b", "b.vouch", "large", "large.vouch"]);

    let lines = String::from_utf8(put(&["--json"]).stdout).unwrap();
    let mut cluster_id = String::new();
    for line in lines.lines() {
        let json: Value = serde_json::from_str(line).unwrap();
        match json["file"].as_str().unwrap() {
            "absent" => assert!(json["error"].as_str().unwrap().starts_with("cannot read absent: "), "{json}"),
            file => {
                assert!(INSPECTION.iter().all(|key| json.get(key).is_some()), "{json}");
                assert_eq!(json["bundle"], format!("{file}.vouch"));
                cluster_id = json["cluster"].as_str().unwrap().into();
            }
        }
    }
    assert_eq!(lines.lines().count(), 4);
    for file in files {
        vouch(home, &["verify", file, &format!("{file}.vouch"), "--cluster", &cluster_id]).ok();
    }
    let both = vouch(home, &["put", "a", "b", "--bundle", "c", "--server", &cluster.address]);
    assert!(both.fails_with(1).contains("--bundle takes one file"), "{both:?}");
}

#[test]
fn put_verify_inspect_and_get_work_together() {
    let cluster = Cluster::start(4);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bytes = binary(300 << 10);
    fs::write(home.join("a picture.bin"), &bytes).unwrap();
    let hash = blake3::hash(&bytes);
    let (hex, base58) = (hash.to_hex().to_string(), bs58::encode(hash.as_bytes()).into_string());

    let put = vouch(home, &[&["put", "a picture.bin"], &server[..]].concat());
    assert_eq!(put.ok().lines().count(), 6);
    assert_eq!(put.row("certified"), "a picture.bin, 307200 bytes (300.00 KiB)");
    assert_eq!(put.row("digest"), base58);
    assert!(put.row("signed by").ends_with(", 3 needed, 1 may fail"), "{put:?}");
    assert_eq!(put.row("kept"), "no expiry");
    assert_eq!(put.row("bundle"), "a picture.bin.vouch");
    assert_eq!(names(home), ["a picture.bin", "a picture.bin.vouch"]);
    for line in put.stderr.lines() {
        let (name, did) = line.split_once(": ").unwrap();
        assert!(name.starts_with("replica-") && ["stored durably", "signed"].contains(&did), "{line}");
    }
    assert!(put.stderr.lines().filter(|line| line.ends_with(": signed")).count() >= 3, "{put:?}");

    let cluster_id = put.row("cluster");
    let trusted = ["--cluster", &cluster_id];
    let verified = vouch(home, &[&["verify", "a picture.bin", "a picture.bin.vouch"], &trusted[..]].concat());
    assert_eq!(verified.ok().lines().filter(|line| line.starts_with(" ok  ")).count(), 13);
    assert!(verified.row("VALID:").starts_with(&format!("a picture.bin {base58}, 307200 bytes, certified ")));
    assert_eq!(verified.stderr, "");

    let inspected = vouch(home, &["inspect", "a picture.bin.vouch"]);
    inspected.ok();
    assert_eq!(inspected.row("digest"), format!("{hex} ({base58})"));
    assert_eq!(inspected.row("cluster"), cluster_id);
    assert!(inspected.row("committee").ends_with(", epoch 0"));
    for number in 1..=4 {
        assert!(inspected.text().contains(&format!(" replica-{number} ")), "{inspected:?}");
    }

    let got = vouch(home, &[&["get", "a picture.bin.vouch", "-o", "copy"], &server[..], &trusted[..]].concat());
    assert_eq!(got.ok(), format!("verified   copy, 307200 bytes (300.00 KiB), digest {base58}\n"));
    assert_eq!(fs::read(home.join("copy")).unwrap(), bytes);
    for digest in [&hex, &base58, &hex.to_uppercase()] {
        vouch(home, &[&["get", digest, "-o", "copy", "--force"], &server[..]].concat()).ok();
        assert_eq!(fs::read(home.join("copy")).unwrap(), bytes, "an older copy is replaced");
    }
    assert_eq!(names(home), ["a picture.bin", "a picture.bin.vouch", "copy"]);

    // a truncated file is detected
    fs::write(home.join("copy"), &bytes[1..]).unwrap();
    let other = vouch(home, &[&["verify", "copy", "a picture.bin.vouch"], &trusted[..]].concat());
    assert_eq!(other.fails_with(1), "");
    assert!(
        other.text().contains("INVALID: the certificate is genuine, but this is another file (digest: "),
        "{other:?}"
    );
}

#[test]
fn standard_input_and_output_carry_binary() {
    let cluster = Cluster::start(1);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for length in [0, 1, (1 << 20) + 1] {
        let bytes = binary(length);
        let digest = bs58::encode(blake3::hash(&bytes).as_bytes()).into_string();
        let put = vouch_with_input(home, &[&["put", "-"], &server[..]].concat(), &bytes);
        put.ok();
        let bundle = format!("{digest}.vouch");
        assert_eq!(put.row("bundle"), bundle);
        assert!(put.row("certified").starts_with(&format!("-, {length} bytes")), "{put:?}");
        let cluster_id = put.row("cluster");

        let got = vouch(home, &[&["get", &bundle, "-o", "-"], &server[..]].concat());
        assert_eq!((got.code, got.stderr.as_str()), (Some(0), ""));
        assert!(got.stdout == bytes, "{} bytes, expected {length}", got.stdout.len());
        let got = vouch(home, &[&["get", &digest, "-o", "-", "--json"], &server[..]].concat());
        assert!(got.code == Some(0) && got.stdout == bytes);
        let report: Value = serde_json::from_str(&got.stderr).unwrap();
        assert_eq!(keys(&report), ["digest", "length", "cluster", "output", "attempts", "resumed_from"]);
        assert_eq!(report["length"], length);

        let verify = ["verify", "-", &bundle, "--cluster", &cluster_id];
        vouch_with_input(home, &verify, &bytes).ok();
        vouch_with_input(home, &verify, &[&bytes[..], b"x"].concat()).fails_with(1);
        fs::remove_file(home.join(bundle)).unwrap();
    }
    assert_eq!(names(home), [""; 0], "nothing is left in the folder");
}

#[test]
fn put_of_a_certified_file_reports_the_earlier_certificate() {
    let cluster = Cluster::start(4);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), b"a letter\n").unwrap();
    let put = |more: &[&str]| {
        let told = vouch(home, &[&["put", "letter", "--server", &cluster.address], more].concat());
        told.ok();
        (told.text().to_owned(), fs::read(home.join("letter.vouch")).unwrap())
    };
    let (text, first) = put(&[]);
    assert!(!text.contains("already"), "{text}");
    let (text, again) = put(&[]);
    assert!(text.contains("\nreused     certified already on 20"), "{text}");
    assert!(text.contains("; --renew gets a new certificate\n"), "{text}");
    assert!(again == first);
    let (text, renewed) = put(&["--renew"]);
    assert!(!text.contains("already") && renewed != first, "{text}");
    // with several files, each is reported on its own line
    fs::write(home.join("another"), b"another letter\n").unwrap();
    let told = vouch(home, &["put", "letter", "another", "--jobs", "1", "--server", &cluster.address]);
    told.ok();
    let lines: Vec<&str> = told.text().lines().collect();
    let is_reused: Vec<bool> = lines.iter().map(|line| line.contains(", certified already on 20")).collect();
    assert_eq!(is_reused, [true, false], "{lines:?}");
    let original = vouch(home, &["client", &cluster.address, "letter"]);
    original.ok();
    assert!(original.text().ends_with("certificate of availability is valid.\n"), "{}", original.text());
}

#[test]
fn get_with_a_range_writes_only_the_range() {
    let cluster = Cluster::start(1);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bytes = binary(700_000);
    fs::write(home.join("letter"), &bytes).unwrap();
    let put = vouch(home, &[&["put", "letter"], &server[..]].concat());
    put.ok();
    let digest = put.row("digest");
    for (range, first, end) in [
        ("0-1023", 0, 1024),
        ("16383-300000", 16_383, 300_001),
        ("600000-", 600_000, 700_000),
        ("-500", 699_500, 700_000),
        ("699999-99999999999999999999", 699_999, 700_000),
    ] {
        let got = vouch(home, &[&["get", "letter.vouch", "-o", "-", "--range", range], &server[..]].concat());
        assert_eq!((got.code, got.stderr.as_str()), (Some(0), ""), "{range}");
        assert!(got.stdout == bytes[first..end], "{range}: {} bytes", got.stdout.len());
        let part = ["get", &digest, "-o", "part", "--force", "--range", range];
        let got = vouch(home, &[&part, &server[..]].concat());
        let place = format!(", bytes {first}-{} of 700000, digest {digest}\n", end - 1);
        let told = got.ok().to_owned();
        assert!(told.starts_with("verified   part, ") && told.ends_with(&place), "{told}");
        assert!(fs::read(home.join("part")).unwrap() == bytes[first..end], "{range}");
    }
    let part = ["get", &digest, "-o", "part", "--range", "5-9", "--json", "--force"];
    let got = vouch(home, &[&part, &server[..]].concat());
    got.ok();
    let got = got.json();
    assert_eq!(keys(&got), ["digest", "length", "cluster", "output", "range", "attempts", "resumed_from"]);
    assert_eq!(got["range"], serde_json::json!({ "first": 5, "last": 9, "of": 700_000 }));
    assert_eq!(got["length"], 5);

    for beyond in ["700000-", "700000-700001", "-0"] {
        let got = vouch(home, &[&["get", &digest, "-o", "none", "--range", beyond], &server[..]].concat());
        let message = format!("vouch: expected a range within the blob's 700000 bytes, got {beyond}\n");
        assert_eq!(got.fails_with(1), message);
    }
    assert_eq!(names(home), ["letter", "letter.vouch", "part"]);
}

#[test]
fn expiry_is_the_requested_time() {
    let cluster = Cluster::start(1);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("letter"), "a letter\n").unwrap();
    let put = vouch(home, &[&["put", "letter", "--expires", "1h", "--json"], &server[..]].concat());
    put.ok();
    let put = put.json();
    let expires_at = put["expires_at"].as_u64().unwrap();
    assert!((now() + 3540..=now() + 3600).contains(&expires_at), "{put}");

    let at = |now: u64, more: &[&str]| {
        let cluster = put["cluster"].as_str().unwrap();
        let (now, mut args) = (now.to_string(), vec!["verify", "letter", "letter.vouch", "--cluster", cluster]);
        args.extend(["--now", &now]);
        args.extend(more);
        vouch(home, &args)
    };
    at(expires_at - 1, &[]).ok();
    let late = at(expires_at, &[]);
    late.fails_with(1);
    assert!(
        late.text().contains("INVALID: the certificate is genuine, but it has expired")
            && late.text().contains("(expired)"),
        "{late:?}"
    );
    assert!(at(expires_at, &["--waive-expiry"]).ok().contains("n/a  expiry"));
    // `--expires` relative to now, as printed in the text output
    let put = vouch(home, &[&["put", "letter", "--expires", "30d"], &server[..]].concat());
    put.ok();
    let kept = put.row("kept");
    assert!(kept.starts_with("until 2") && kept.ends_with('Z') && kept.len() == 26, "{put:?}");
}

#[test]
fn bundle_flag_sets_the_path() {
    let cluster = Cluster::start(1);
    let server = ["--server", &cluster.address];
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir_all(home.join("papers/proofs")).unwrap();
    fs::write(home.join("papers/letter"), "a letter\n").unwrap();
    let put = vouch(home, &[&["put", "papers/letter", "--bundle", "papers/proofs/1"], &server[..]].concat());
    put.ok();
    assert_eq!(put.row("bundle"), "papers/proofs/1");
    assert_eq!(names(&home.join("papers")), ["letter", "proofs"]);
    // without the flag the bundle is beside the file
    vouch(home, &[&["put", "papers/letter"], &server[..]].concat()).ok();
    assert_eq!(names(&home.join("papers")), ["letter", "letter.vouch", "proofs"]);
    // a second put replaces the bundle
    vouch(home, &[&["put", "papers/letter"], &server[..]].concat()).ok();
    let cluster_id = put.row("cluster");
    for bundle in ["papers/proofs/1", "papers/letter.vouch"] {
        vouch(home, &["verify", "papers/letter", bundle, "--cluster", &cluster_id]).ok();
    }
    let stdin = vouch_with_input(home, &[&["put", "-", "--bundle", "s.vouch"], &server[..]].concat(), b"\0\xff");
    stdin.ok();
    assert_eq!(names(home), ["papers", "s.vouch"]);
}
