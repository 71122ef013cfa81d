//! The file system of a folder: its kind, its free space, and whether a sync works.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::cli::output;
use crate::host::Host;
use crate::host::disk::{Disk, Space};
use crate::host::file_system::{self, FileSystem};
use crate::host::files::{FileError, parent};
use crate::store;

/// Less free space than this is a warning, as in the alert VouchDiskFull.
const LITTLE: u64 = 5_000_000_000;
/// A sync that takes longer makes every put slow.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// Number of syncs whose median counts: a single one may wait for another program's writes.
const SYNCS: usize = 5;
/// Bytes written before each sync.
const SYNCED: [u8; 4096] = [0x55; 4096];
const MODE: u32 = 0o600;

/// The checks of the file system that a folder is on, or will be on.
pub(super) fn check(host: &Host, folder: &Path) -> Vec<Finding> {
    let there = nearest(host.disk(), folder);
    let mut findings = vec![kind(there, file_system::kind_of(there)), space(there, host.disk().space(there))];
    if there == folder {
        findings.push(sync(folder, syncing(host, folder)));
    }
    findings
}

/// The folder itself, or the nearest one above it that exists.
fn nearest<'a>(disk: &dyn Disk, folder: &'a Path) -> &'a Path {
    let mut there = folder;
    while !disk.is_folder(there) && parent(there) != there {
        there = parent(there);
    }
    there
}

fn kind(folder: &Path, kind: Result<FileSystem, FileError>) -> Finding {
    let name = output::name(folder);
    let move_it = "put the data folder on a disk of this machine, and name it with --data";
    match kind {
        Ok(FileSystem::Local) => Finding::ok("file-system", format_args!("{name} is on a disk of this machine")),
        Ok(kind @ FileSystem::Memory(_)) => Finding::warning(
            "file-system",
            format_args!("{name} is on {kind}: keys and blobs are lost at a restart of the machine"),
            move_it,
        ),
        Ok(kind @ FileSystem::Layer(_)) => Finding::warning(
            "file-system",
            format_args!("{name} is on {kind}: keys and blobs are lost with the container"),
            "mount a volume there, as deploy/compose.yaml does",
        ),
        Ok(kind) => Finding::warning(
            "file-system",
            format_args!("{name} is on {kind}: its locks and syncs may not hold what a replica promises"),
            move_it,
        ),
        Err(error) => Finding::failed("file-system", error, "name another folder with --data"),
    }
}

fn space(folder: &Path, space: Result<Space, FileError>) -> Finding {
    let name = output::name(folder);
    let next = || format!("free some space, or use a larger disk; run: df -h {}", output::shell_word(folder));
    match space {
        Err(error) => Finding::failed("disk", error, "name another folder with --data"),
        Ok(Space { free, total }) => {
            let reserve = store::default_reserve(total);
            let found = format!("{name} has {} free of {}", output::short_bytes(free), output::short_bytes(total));
            match free {
                free if free <= reserve => Finding::failed(
                    "disk",
                    format_args!(
                        "{found}: a replica keeps {} in reserve and refuses every put",
                        output::short_bytes(reserve)
                    ),
                    next(),
                ),
                free if free < LITTLE => {
                    Finding::warning("disk", format_args!("{found}: it will be full soon"), next())
                }
                _ => Finding::ok("disk", found),
            }
        }
    }
}

/// The median duration of a sync.
fn syncing(host: &Host, folder: &Path) -> Result<Duration, FileError> {
    let disk = host.disk();
    let (path, mut file) = disk.create_temporary(folder, MODE)?;
    let mut measure = || {
        let mut took = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            file.append(&SYNCED)?;
            let began = host.monotonic();
            file.sync()?;
            took.push(host.monotonic().saturating_sub(began));
        }
        disk.sync_folder(folder)?;
        took.sort_unstable();
        Ok(took.get(SYNCS / 2).copied().unwrap_or_default())
    };
    let took = measure();
    disk.remove(&path)?;
    took
}

fn sync(folder: &Path, took: Result<Duration, FileError>) -> Finding {
    let name = output::name(folder);
    match took {
        Ok(took) if took <= SLOW_SYNC => {
            Finding::ok("sync", format_args!("{name}: 4 KiB are durable in {:.1} ms", took.as_secs_f64() * 1e3))
        }
        Ok(took) => Finding::warning(
            "sync",
            format_args!("{name}: 4 KiB are durable only in {:.0} ms, so every put is slow", took.as_secs_f64() * 1e3),
            "use an SSD, or a disk that other programs keep less busy; run: iostat -x 1",
        ),
        Err(error) if error.is_failed_sync() => Finding::failed(
            "sync",
            format_args!("{error}: a replica on it stops at the first put"),
            "replace the disk; run: dmesg | tail",
        ),
        Err(error) => {
            Finding::failed("sync", error, "make the folder writable for this user, or name another with --data")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_file_system_that_loses_data_is_a_warning() {
        let outcome = |found| kind("/data".as_ref(), Ok(found)).outcome;
        assert_eq!(outcome(FileSystem::Local), Outcome::Ok);
        for found in [FileSystem::Memory("tmpfs"), FileSystem::Network("NFS"), FileSystem::Layer("overlayfs")] {
            assert_eq!(outcome(found), Outcome::Warning, "{found}");
        }
        #[cfg(target_os = "linux")]
        assert_eq!(check(&Host::system(), "/dev/shm/nothing/here".as_ref())[0].outcome, Outcome::Warning);
    }

    #[test]
    fn the_reserve_of_a_store_is_what_fails_and_the_alert_what_warns() {
        let outcome = |free, total| space("/data".as_ref(), Ok(Space { free, total })).outcome;
        assert_eq!(outcome(LITTLE, 1 << 40), Outcome::Ok);
        assert_eq!(outcome(LITTLE - 1, 1 << 40), Outcome::Warning);
        let reserve = store::default_reserve(1 << 40);
        assert_eq!([outcome(reserve + 1, 1 << 40), outcome(reserve, 1 << 40)], [Outcome::Warning, Outcome::Failed]);
        let alerts = include_str!("../../../../deploy/prometheus/alerts.yml");
        assert!(alerts.contains("vouch_replica_disk_free_bytes < 5e9"), "LITTLE follows the alert");
    }

    #[test]
    fn a_sync_is_measured_and_its_failures_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(syncing(&Host::system(), folder.path()).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        let outcome = |took| sync("/data".as_ref(), took).outcome;
        assert_eq!(outcome(Ok(SLOW_SYNC)), Outcome::Ok);
        assert_eq!(outcome(Ok(SLOW_SYNC * 2)), Outcome::Warning);
        assert_eq!(outcome(syncing(&Host::system(), "/nothing here".as_ref())), Outcome::Failed);
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_judged_by_the_one_above() {
        let root = tempfile::tempdir().unwrap();
        let disk = Host::system();
        assert_eq!(nearest(disk.disk(), &root.path().join("a/b")), root.path());
        assert_eq!(nearest(disk.disk(), "nothing here".as_ref()), Path::new("."));
        assert_eq!(nearest(disk.disk(), root.path()), root.path());
    }
}
