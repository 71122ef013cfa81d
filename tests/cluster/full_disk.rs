//! Disks without space: small file systems in memory, where they may be mounted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::blobs::{content, put_bytes, signers};
use support::in_process::InProcess;
use vouch::client::ClientError;
use vouch_core::message::Code;
use vouch_core::session::SessionError;

/// A file system of 48 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.into()))
    }

    /// Takes all the space but `rest` bytes, and then all but those.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // lazily: the replica may not have ended yet
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Four replicas, the first `small` of them on small disks; `None` where that is not possible.
async fn start(small: usize) -> Option<(InProcess, Vec<SmallDisk>)> {
    let mut cluster = InProcess::start(0).await;
    let mut disks = Vec::new();
    for number in 0..4 {
        if number < small {
            let Some(disk) = SmallDisk::mount(&cluster.folder(number)) else {
                println!("skipped: a file system of its own cannot be mounted here");
                return None;
            };
            disks.push(disk);
        }
        cluster.start_replica(number).await;
    }
    Some((cluster, disks))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_full_disk_of_four_is_no_hindrance() {
    let Some((cluster, disks)) = start(1).await else { return };
    let first = cluster.put(&content(1, 1 << 20)).await.unwrap();
    let identity = first.committee.cluster();
    assert_eq!(signers(&first).len(), 4);
    disks[0].fill();
    for length in [8 << 20, 1, 1 << 20] {
        let certified = cluster.put(&content(2, length)).await.unwrap();
        assert!(!signers(&certified).contains(&"replica-0".into()), "{length} bytes: {:?}", signers(&certified));
    }
    // what it certified before is there
    let got = cluster.get(identity, first.certificate.receipt.digest).await.unwrap();
    assert!(got.bytes == content(1, 1 << 20) && got.rejections.is_empty(), "{:?}", got.rejections);
    disks[0].free();
    let certified = cluster.put(&content(3, 8 << 20)).await.unwrap();
    assert!(signers(&certified).contains(&"replica-0".into()), "it goes on without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_full_disks_of_four_are_named() {
    let Some((cluster, disks)) = start(2).await else { return };
    let first = cluster.put(&content(1, 1 << 20)).await.unwrap();
    let identity = first.committee.cluster();
    disks.iter().for_each(SmallDisk::fill);
    let error = cluster.put(&content(2, 8 << 20)).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::NoSpace, "{error}");
    let mut names = names.clone();
    names.sort();
    assert_eq!(names, ["replica-0", "replica-1"], "{error}");
    assert!(error.to_string().ends_with("; free space on the replicas and try again"), "{error}");
    let got = cluster.get(identity, first.certificate.receipt.digest).await.unwrap();
    assert!(got.bytes == content(1, 1 << 20));
    disks.iter().for_each(SmallDisk::free);
    put_bytes(cluster.address(), Some(identity), &content(2, 8 << 20)).await.unwrap();
}
