//! A data folder: who may enter it, whose it is, and its keys.

use std::path::Path;

use super::disks;
use super::finding::{Finding, Report};
use crate::cli::output;
use crate::host::files::FileError;
use crate::host::{Host, file_system, resources};
use crate::keys::{self, CheckedKey, KeyError};

/// The superuser, who may enter every folder.
const ROOT: u32 = 0;

pub(super) fn check(host: &Host, folder: &Path, report: &mut Report) {
    match entry(host, folder) {
        Some(finding) => report.add(finding),
        None => {
            let is_protected = matches!(keys::is_protected(host.disk(), folder), Ok(true));
            report.add(keys(folder, keys::check_keys(host.disk(), folder), is_protected));
        }
    }
    disks::check(host, folder).into_iter().for_each(|finding| report.add(finding));
}

/// Whether the folder cannot be looked into, or must not be used; `None` if all is well.
fn entry(host: &Host, folder: &Path) -> Option<Finding> {
    let name = output::name(folder);
    match keys::check_folder(host.disk(), folder) {
        Err(KeyError::File(FileError::NotFound { .. })) => {
            return Some(Finding::skipped(
                "folder",
                format_args!("{name} does not exist yet"),
                "`vouch replica` and `vouch server` create it with --data",
            ));
        }
        Err(error) => return Some(Finding::of_error("folder", error, "name a folder of this user with --data")),
        Ok(()) => {}
    }
    owned(folder, file_system::owner_of(folder), resources::user())
}

/// Whether a folder belongs to somebody else than the user as whom the nodes run; the superuser may look into every folder.
fn owned(folder: &Path, owner: Result<u32, FileError>, user: u32) -> Option<Finding> {
    let (name, word) = (output::name(folder), output::shell_word(folder));
    match owner {
        Err(error) => Some(Finding::failed("folder", error, "name another folder with --data")),
        Ok(owner) if owner == user || user == ROOT => None,
        Ok(owner) => Some(Finding::failed(
            "folder",
            format_args!("{name} belongs to user {owner}, and this is user {user}"),
            format_args!("run this as that user, or run: chown -R {user} {word}"),
        )),
    }
}

/// A key that belongs to somebody else than its folder: a node that runs as the folder's owner could not read it.
fn foreign_key(path: &Path, expected: u32, got: u32) -> Option<Finding> {
    (expected != got).then(|| {
        Finding::failed(
            "keys",
            format_args!("{} belongs to user {got}, and its folder to user {expected}", output::name(path)),
            format_args!("run: chown {expected} {}", output::shell_word(path)),
        )
    })
}

/// The first fault of the keys of a folder, or their number.
fn keys(folder: &Path, keys: Result<Vec<CheckedKey>, FileError>, is_protected: bool) -> Finding {
    let name = output::name(folder);
    let restore = "restore the file from a backup, or move it away if this node is in no cluster yet";
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return Finding::failed("folder", error, "name another folder with --data"),
    };
    let owner = file_system::owner_of(folder);
    let count = keys.len();
    for CheckedKey { path, result } in keys {
        if let Err(error) = result {
            return Finding::of_error("keys", error, restore);
        }
        if let (Ok(expected), Ok(got)) = (&owner, file_system::owner_of(&path))
            && let Some(finding) = foreign_key(&path, *expected, got)
        {
            return finding;
        }
    }
    let under = if is_protected { " (under a passphrase)" } else { "" };
    match count {
        0 => Finding::ok("folder", format_args!("{name} is its owner's only, and has no keys yet")),
        _ => Finding::ok(
            "folder",
            format_args!("{name} and its {}{under} are its owner's only", output::count(count as u64, "key")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::finding::Outcome;
    use super::*;
    use crate::keys::{private_folder, vote_key_name};

    fn checked(folder: &Path) -> Finding {
        let mut report = Report::new(true);
        check(&Host::system(), folder, &mut report);
        report.findings()[0].clone()
    }

    #[test]
    fn a_wide_folder_and_a_wide_key_fail_with_the_command_that_mends_them() {
        let folder = private_folder();
        let host = Host::system();
        assert_eq!(checked(folder.path()).outcome, Outcome::Ok);
        crate::keys::open_or_create_node_key(&host, folder.path()).unwrap();
        let fine = checked(folder.path());
        assert!(fine.outcome == Outcome::Ok && fine.found.contains("1 key"), "{fine:?}");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let key = folder.path().join(vote_key_name(7));
        fs::write(&key, format!("{}\n", "11".repeat(32))).unwrap();
        set(&key, 0o640);
        let wide = checked(folder.path());
        assert!(wide.outcome == Outcome::Failed && wide.found.contains("mode 0640"), "{wide:?}");
        assert_eq!(wide.next.unwrap(), format!("run: chmod 600 '{}'", key.display()));
        set(&key, 0o600);
        set(folder.path(), 0o755);
        let wide = checked(folder.path());
        assert!(wide.outcome == Outcome::Failed && wide.found.contains("mode 0755"), "{wide:?}");
        assert_eq!(wide.next.unwrap(), format!("run: chmod 700 '{}'", folder.path().display()));
    }

    #[test]
    fn a_damaged_key_and_a_missing_folder_are_told() {
        let folder = private_folder();
        let key = folder.path().join("node.key");
        fs::write(&key, "short").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let damaged = checked(folder.path());
        assert!(damaged.outcome == Outcome::Failed && damaged.found.contains("64 hexadecimal digits"), "{damaged:?}");
        assert_eq!(checked(&folder.path().join("not yet")).outcome, Outcome::Skipped);
    }

    #[test]
    fn the_folder_of_somebody_else_fails_unless_the_superuser_looks() {
        let of = |owner, user| owned("/data".as_ref(), Ok(owner), user);
        assert!(of(1000, 1000).is_none() && of(1000, ROOT).is_none());
        let found = of(1000, 1001).unwrap();
        assert!(found.outcome == Outcome::Failed && found.next.unwrap().contains("chown -R 1001 /data"));
        assert!(foreign_key("/data/node.key".as_ref(), 1000, 1000).is_none());
        let found = foreign_key("/data/node.key".as_ref(), 1000, ROOT).unwrap();
        assert!(found.outcome == Outcome::Failed && found.next.unwrap() == "run: chown 1000 /data/node.key");
    }
}
