//! Replicas and a server whose keys are under a passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::processes::{Processes, run};
use support::until;

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn passphrase_file(folder: &Path, name: &str, passphrase: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("{passphrase}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The key files of a folder, with what is in them.
fn keys(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut keys: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "key")).collect();
    keys.sort();
    keys.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_protected_keys_certifies_and_a_wrong_passphrase_changes_nothing() {
    let mut cluster = Processes::start_server_with(&[]).await;
    let root = cluster.root().to_owned();
    let right = passphrase_file(&root, "right", "correct horse battery staple");
    let wrong = passphrase_file(&root, "wrong", "correct horse");
    // The server's key was plain, and replica 0 has none yet.
    cluster.server.kill();
    for folder in ["server", "replica-0"] {
        let protected = run(&root, &["keys", "protect", "--data", folder, "--passphrase-file", &right]).await;
        assert!(protected.status.success(), "{}", text(&protected));
    }
    cluster.server.add_argument("--passphrase-file");
    cluster.server.add_argument(&right);
    cluster.restart_server().await;
    cluster.add_replica_with(0, &["--passphrase-file", &right]);
    // As systemd gives it.
    let credentials = root.join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(&right, credentials.join("vouch-passphrase")).unwrap();
    fs::set_permissions(credentials.join("vouch-passphrase"), fs::Permissions::from_mode(0o440)).unwrap();
    let protected = run(&root, &["keys", "protect", "--data", "replica-1", "--passphrase-file", &right]).await;
    assert!(protected.status.success(), "{}", text(&protected));
    cluster.add_replica_in(1, &[], &[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]);
    cluster.add_replica(2);
    cluster.until_connected().await;
    let certified = cluster.put(b"a blob").await.unwrap();
    let folder = cluster.replicas[0].folder().to_owned();
    let before = keys(&folder);
    assert!(before.len() == 2 && before.iter().all(|(_, text)| text.starts_with("vouch sealed key 1 ")), "{before:?}");
    assert!(keys(cluster.replicas[2].folder()).iter().all(|(_, text)| text.len() == 65), "plain keys stay as they are");

    // While it runs, its folder is in use.
    let data = folder.to_str().unwrap();
    let refused = run(&root, &["keys", "unprotect", "--data", data, "--passphrase-file", &right]).await;
    assert!(!refused.status.success() && text(&refused).contains("in use"), "{}", text(&refused));
    cluster.replicas[0].kill();
    let server = cluster.address().to_owned();
    for (arguments, expected) in [
        (vec!["--passphrase-file", &wrong], "the passphrase is wrong"),
        (vec![], "there is no terminal at which to ask for the passphrase"),
    ] {
        let refused = run(&root, &[&["replica", &server, "--data", data], &arguments[..]].concat()).await;
        assert!(!refused.status.success() && text(&refused).contains(expected), "{}", text(&refused));
    }
    fs::set_permissions(&right, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = run(&root, &["replica", &server, "--data", data, "--passphrase-file", &right]).await;
    assert!(text(&refused).contains("chmod 600"), "{}", text(&refused));
    fs::set_permissions(&right, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(keys(&folder), before);

    // Another passphrase, and then none.
    let changed = run(
        &root,
        &["keys", "passphrase", "--data", data, "--passphrase-file", &right, "--new-passphrase-file", &wrong],
    )
    .await;
    assert!(changed.status.success(), "{}", text(&changed));
    assert_eq!(keys(&folder), before, "only keys.age is another");
    let plain = run(&root, &["keys", "unprotect", "--data", data, "--passphrase-file", &wrong, "--json"]).await;
    assert!(text(&plain).contains(r#""protected":false,"keys":2"#), "{}", text(&plain));
    assert!(keys(&folder).iter().all(|(_, text)| text.len() == 65) && !folder.join("keys.age").exists());
    cluster.add_replica(0);
    until("the replica is back", || cluster.is_connected("replica-0")).await;
    let cluster_id = certified.committee().cluster();
    let digest = vouch_core::digest::Digest(*blake3::hash(b"a blob").as_bytes());
    cluster.get(cluster_id, digest).await.unwrap();
}
