//! Full disks: small file systems in memory. Skipped where mounting is not permitted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::blobs::{content, put_bytes, signers, until_signed, until_signed_by};
use support::in_process::InProcess;
use support::processes::Processes;
use vouch::client::ClientError;
use vouch::replica;
use vouch_core::message::Code;
use vouch_core::session::SessionError;

/// A file system of 48 MiB, of which a replica reserves 3 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.into()))
    }

    /// Free bytes.
    fn left(&self) -> u64 {
        let output = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(&self.0).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().trim().parse().unwrap()
    }

    /// Fills the disk up to `rest` free bytes.
    fn leave(&self, rest: u64) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        let size = usize::try_from(self.left() - rest).unwrap();
        file.write_all(&vec![0; size]).unwrap();
    }

    /// Fills the disk.
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

/// Four replicas, the first `small` of them on small disks; `None` where mounting is not permitted.
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
async fn put_succeeds_with_one_full_disk_of_four() {
    let Some((cluster, disks)) = start(1).await else { return };
    let first = until_signed_by(4, async || cluster.put(&content(1, 1 << 20)).await.unwrap()).await;
    let identity = first.committee().cluster();
    disks[0].fill();
    for length in [8 << 20, 1, 1 << 20] {
        let certified = cluster.put(&content(2, length)).await.unwrap();
        assert!(!signers(&certified).contains(&"replica-0".into()), "{length} bytes: {:?}", signers(&certified));
    }
    // the earlier blob is still served
    let got = cluster.get(identity, first.certificate.claim.receipt.digest).await.unwrap();
    assert!(got.bytes == content(1, 1 << 20) && got.rejections.is_empty(), "{:?}", got.rejections);
    disks[0].free();
    // it continues without a restart
    let is_counted_in = |signers: &[String]| signers.contains(&"replica-0".into());
    until_signed("replica-0", is_counted_in, async || cluster.put(&content(3, 8 << 20)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_with_two_full_disks_of_four_fails_and_names_them() {
    let Some((cluster, disks)) = start(2).await else { return };
    let first = cluster.put(&content(1, 1 << 20)).await.unwrap();
    let identity = first.committee().cluster();
    disks.iter().for_each(SmallDisk::fill);
    let error = cluster.put(&content(2, 8 << 20)).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::NoSpace, "{error}");
    let mut names = names.clone();
    names.sort();
    assert_eq!(names, ["replica-0", "replica-1"], "{error}");
    assert!(error.to_string().ends_with("; free space on the replicas and try again"), "{error}");
    let got = cluster.get(identity, first.certificate.claim.receipt.digest).await.unwrap();
    assert!(got.bytes == content(1, 1 << 20));
    disks.iter().for_each(SmallDisk::free);
    put_bytes(cluster.address(), Some(identity), &content(2, 8 << 20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_does_not_fit_is_refused_before_its_bytes_are_sent() {
    let Some((cluster, disks)) = start(2).await else { return };
    let first = cluster.put(&content(1, 1 << 20)).await.unwrap();
    let identity = first.committee().cluster();
    disks.iter().for_each(|disk| disk.leave(8 << 20));
    let before: Vec<u64> = disks.iter().map(SmallDisk::left).collect();

    // 8 MiB are free, 3 of them reserved
    let error = cluster.put(&content(2, 6 << 20)).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!((failed.code, names.len()), (Code::NoSpace, 2), "{error}");
    assert!(error.to_string().contains("6291456 bytes are needed"), "{error}");
    let refusals = cluster.replica_events(0).into_iter().filter_map(|event| match event {
        replica::Event::Trouble(what) => Some(what),
        _ => None,
    });
    assert!(refusals.last().is_some_and(|what| what.starts_with("no space left: 6291456 bytes are needed")));
    let after: Vec<u64> = disks.iter().map(SmallDisk::left).collect();
    assert_eq!(after, before, "nothing was written");

    // a file that fits is certified by all, and everything is served
    let second = until_signed_by(4, async || cluster.put(&content(3, 2 << 20)).await.unwrap()).await;
    for (seed, certified) in [(1, &first), (3, &second)] {
        let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
        assert!(got.rejections.is_empty() && got.bytes == content(seed, got.bytes.len()));
    }
    disks.iter().for_each(SmallDisk::free);
    // they continue without a restart
    until_signed_by(4, async || cluster.put(&content(2, 6 << 20)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_stays_free_so_that_a_full_replica_restarts() {
    let Some((mut cluster, disks)) = start(1).await else { return };
    // small blobs, until there is no more room for them
    disks[0].leave((3 << 20) + (512 << 10));
    let mut certified = Vec::new();
    // on a busy machine it may miss a batch despite having room: it is full once it reports that it is
    let is_full = || {
        let told = cluster.replica_events(0);
        told.iter().any(|event| matches!(event, replica::Event::Trouble(what) if what.starts_with("no space left")))
    };
    while !is_full() {
        let put = cluster.put(&content(certified.len() as u64, 60_000)).await.unwrap();
        certified.push(put);
        assert!(certified.len() < 100, "it accepts more than there is space for");
    }
    assert!(!certified.is_empty());
    assert!(disks[0].left() > 2 << 20, "{} bytes are left", disks[0].left());
    // it restarts within the reserve, which its index needs
    cluster.stop_replica(0).await;
    cluster.start_replica(0).await;
    let identity = certified[0].committee().cluster();
    for (seed, put) in (0..).zip(&certified) {
        let got = cluster.get(identity, put.certificate.claim.receipt.digest).await.unwrap();
        assert!(got.rejections.is_empty() && got.bytes == content(seed, 60_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_size_limit_counts_as_a_full_disk() {
    let cluster = Processes::start(4).await;
    let process = format!("--pid={}", cluster.replicas[0].id());
    let limited = Command::new("prlimit").args(["--fsize=1048576:1048576", &process]).status().unwrap();
    assert!(limited.success());
    let large = cluster.put(&content(1, 4 << 20)).await.unwrap();
    assert!(!signers(&large).contains(&"replica-0".to_owned()), "it cannot hold 4 MiB");
    support::until("the refusal is logged", || cluster.replicas[0].log().contains("no space left")).await;
    // it continues with files that fit
    let is_counted_in = |signers: &[String]| signers.contains(&"replica-0".into());
    until_signed("replica-0", is_counted_in, async || cluster.put(&content(2, 100 << 10)).await.unwrap()).await;
}
