//! Data folders made by version 0.1.0 open in this one: keys, committee, blobs, duties and certificates.
//!
//! The fixture is one server and four replicas with two certified files. `replica-3` lacks the second one, so it must repair.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::ordered_log::first_note;
use support::processes::{Processes, run};
use support::until;

/// Paths are relative to `tests/`, where the tests of this crate run.
const FIXTURE: &str = "fixtures/first_edition.tar.gz";
const CLUSTER: &str = "5FGUsgDtDz14v8adfnFKotFYiDzFLBtGdfEZHP64sHys";
/// `lines.txt`, in the folder layout of a replica's store.
const LINES_BLOB: &str = "blobs/2f/2f8198386a2d028678478d3e61970b7d377b9100c7499e83eb0aca56b611a311";

fn lines() -> String {
    "a line of the second file\n".repeat(4000)
}

fn unpack(folder: &Path) {
    let unpacked = Command::new("tar").arg("xzf").arg(FIXTURE).arg("-C").arg(folder).status().unwrap();
    assert!(unpacked.success());
    fs::write(folder.join("lines.txt"), lines()).unwrap();
}

fn succeeded(output: &Output) -> String {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    text.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_folders_of_version_0_1_0_open() {
    let root = tempfile::tempdir().unwrap();
    unpack(root.path());
    let keys = |folder: &str| ["node.key", "vote.key"].map(|key| fs::read(root.path().join(folder).join(key)).ok());
    let before = ["server", "replica-1", "replica-3"].map(keys);
    assert!(!root.path().join("replica-3").join(LINES_BLOB).exists());

    let cluster = Processes::reopen(root, 1..=4).await;
    let (folder, server) = (cluster.root(), cluster.address());
    assert_eq!(
        ["server", "replica-1", "replica-3"]
            .map(|name| { ["node.key", "vote.key"].map(|key| fs::read(folder.join(name).join(key)).ok()) }),
        before
    );

    until("the replica that lacked a blob holds it", || folder.join("replica-3").join(LINES_BLOB).exists()).await;
    assert_eq!(fs::read(folder.join("replica-3").join(LINES_BLOB)).unwrap(), lines().into_bytes());

    for name in ["letter.txt", "lines.txt"] {
        let bundle = format!("{name}.vouch");
        // the bundle that version 0.1.0 wrote
        succeeded(&run(folder, &["verify", name, &bundle, "--cluster", CLUSTER]).await);
        let copy = format!("{name}.copy");
        succeeded(&run(folder, &["get", &bundle, "--server", server, "--cluster", CLUSTER, "-o", &copy]).await);
        assert_eq!(fs::read(folder.join(&copy)).unwrap(), fs::read(folder.join(name)).unwrap());
        // a new statement in the same epoch
        let renewed = format!("{name}.renewed");
        succeeded(
            &run(folder, &["put", name, "--server", server, "--cluster", CLUSTER, "--renew", "--bundle", &renewed])
                .await,
        );
        succeeded(&run(folder, &["verify", name, &renewed, "--cluster", CLUSTER]).await);
    }
    // that version had no log: this one begins it
    first_note(server).await;
}
