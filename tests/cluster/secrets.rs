//! No secret key gets out: not into logs at the finest level, not into errors, answers or core dumps.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::http;
use support::processes::{Processes, run};

/// Everything under a folder whose name says that it is a key.
fn key_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(key_files(&path)),
            false if path.extension().is_some_and(|extension| extension == "key") => found.push(path),
            false => {}
        }
    }
    found
}

/// The forms in which a key's bytes could appear in a text.
fn forms(bytes: &[u8]) -> Vec<String> {
    use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
    let as_numbers = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    // Half of a key is too much, too: error messages cut texts off.
    let half = &bytes[..bytes.len() / 2];
    vec![
        HEXLOWER.encode(half),
        HEXUPPER.encode(half),
        bs58::encode(bytes).into_string(),
        BASE64.encode(&bytes[..15]),
        BASE64URL_NOPAD.encode(&bytes[..15]),
        as_numbers(half),
    ]
}

/// The secrets in the key files under a folder, each in every form.
fn secrets(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for path in key_files(folder) {
        let text = std::fs::read_to_string(&path).unwrap();
        if text.starts_with("-----BEGIN") {
            // The lines of its base64, which begin alike in every key.
            all.extend(text.lines().filter(|line| !line.starts_with("-----")).skip(1).map(str::to_owned));
            continue;
        }
        // A sealed key tells nothing without the passphrase.
        if text.starts_with("vouch sealed key ") {
            continue;
        }
        let digits = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words: Vec<&str> = text.split_whitespace().filter(digits).collect();
        assert_eq!(words.len(), 1, "{}", path.display());
        all.extend(forms(&data_encoding::HEXLOWER_PERMISSIVE.decode(words[0].as_bytes()).unwrap()));
    }
    all
}

/// What a command said.
fn told(output: std::process::Output) -> String {
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_in_any_log_error_or_answer_and_there_are_no_core_dumps() {
    let mut cluster = Processes::start_server_with(&[]).await;
    let root = cluster.root().to_owned();
    let certificates = root.join("certificates");
    let mut said = Vec::new();
    said.push(told(run(&root, &["certs", "dev", "--out", certificates.to_str().unwrap()]).await));
    said.push(told(run(&root, &["operator", "init", "--key", "operator.key", "--json"]).await));
    said.push(told(run(&root, &["operator", "show", "--key", "operator.key"]).await));
    cluster.server.set_environment("RUST_LOG", "trace");
    cluster.restart_server().await;
    for number in 0..3 {
        cluster.add_replica_in(number, &[], &[("RUST_LOG", "trace")]);
    }
    // One whose keys are put under a passphrase before its first start.
    let passphrase = "an uncommon passphrase of a test";
    std::fs::write(root.join("passphrase"), format!("{passphrase}\n")).unwrap();
    std::fs::set_permissions(root.join("passphrase"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let protected = root.join("replica-3");
    let of_protected = ["--data", protected.to_str().unwrap()];
    said.push(told(run(&root, &[&["keygen"], &of_protected[..]].concat()).await));
    let mut hidden = secrets(&protected);
    for command in [&["keys", "protect"][..], &["keygen"]] {
        said.push(told(run(&root, &[command, &of_protected, &["--passphrase-file", "passphrase"]].concat()).await));
    }
    // Neither its keys nor the passphrase are in its folder, in any form.
    assert!(hidden.len() == 2 * 6 && secrets(&protected).is_empty());
    hidden.push(passphrase.to_owned());
    hidden.extend(forms(passphrase.as_bytes()));
    cluster.add_replica_in(3, &["--passphrase-file", "passphrase"], &[("RUST_LOG", "trace")]);
    cluster.until_connected().await;
    for entry in std::fs::read_dir(&protected).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
        assert!(!hidden.iter().any(|secret| text.contains(secret.as_str())), "{}", entry.display());
    }
    let identity = cluster.put(b"a blob").await.unwrap().committee().cluster().to_string();
    let server = cluster.address().to_owned();
    std::fs::write(root.join("file"), "bytes").unwrap();
    let reach = ["--server", &server, "--cluster", &identity];
    for command in [
        &["put", "file"][..],
        &["get", "file.vouch", "-o", "again"],
        &["committee", "show"],
        &["log", "note", "a note"],
    ] {
        said.push(told(run(&root, &[command, &reach].concat()).await));
    }
    let folder = cluster.replicas[0].folder().to_owned();
    for command in ["status", "du", "scrub"] {
        said.push(told(run(&root, &[command, "--json", "--data", folder.to_str().unwrap()]).await));
    }
    for path in ["/v1/cluster", "/readyz", "/v1/log/head", "/"] {
        said.push(String::from_utf8_lossy(&http::get(&server, path).await.body).into_owned());
    }
    for id in cluster.ids() {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{line}");
    }
    // A replica that stops, and whose keys cannot be used: the error is about the file, and not about what is in it.
    let secrets = secrets(&root);
    cluster.replicas[3].kill();
    std::fs::write(root.join("passphrase"), "another one\n").unwrap();
    let wrong = [&["replica", &server], &of_protected[..], &["--passphrase-file", "passphrase"]].concat();
    let text = told(run(&root, &wrong).await);
    assert!(text.contains("the passphrase is wrong"), "{text}");
    said.push(text);
    cluster.replicas[0].kill();
    let key = folder.join("node.key");
    let text = std::fs::read(&key).unwrap();
    let arguments = ["replica", &server, "--data", folder.to_str().unwrap()];
    for (damaged, mode) in [(&text[..], 0o644), (&text[..60], 0o600), (&[&text[..60], b"wxyz\n"].concat(), 0o600)] {
        std::fs::write(&key, damaged).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let text = told(run(&root, &arguments).await);
        assert!(text.contains("node.key: expected "), "{text}");
        said.push(text);
    }
    let logs = [&cluster.server].into_iter().chain(&cluster.replicas).map(|node| (node.name().to_owned(), node.log()));
    let texts: Vec<(String, String)> = logs.chain(said.into_iter().map(|text| ("a command".into(), text))).collect();
    // Each of: node keys of 4, vote keys of 3, an operator's, and two of TLS.
    assert!(secrets.len() >= 8 * 6 + 2, "{}", secrets.len());
    // The search finds what it searches for where it is.
    for file in key_files(&root).iter().filter(|file| **file != key && !file.starts_with(&protected)) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(secrets.iter().any(|secret| text.contains(secret.as_str())), "{}", file.display());
    }
    for (of, text) in texts {
        let found = secrets.iter().chain(&hidden).find(|secret| text.contains(secret.as_str()));
        assert!(found.is_none(), "{of} tells a secret");
    }
}
