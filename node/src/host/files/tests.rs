use std::process;

use super::*;

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn errors_are_classified() {
    let error = |kind: ErrorKind| FileError::new(Path::new("f"), Action::Write, kind.into());
    assert!(matches!(error(ErrorKind::StorageFull), FileError::NoSpace { action: Action::Write, .. }));
    assert!(matches!(error(ErrorKind::QuotaExceeded), FileError::NoSpace { .. }));
    assert!(matches!(error(ErrorKind::PermissionDenied), FileError::Denied { .. }));
    assert!(matches!(error(ErrorKind::NotFound), FileError::NotFound { .. }));
    assert!(matches!(error(ErrorKind::AlreadyExists), FileError::Exists { .. }));
    assert!(matches!(error(ErrorKind::TimedOut), FileError::Io { .. }));
    assert!(error(ErrorKind::TimedOut).to_string().starts_with("cannot write f: "));
}

#[test]
fn only_a_failed_sync_is_final_unless_the_disk_is_full() {
    let error = |action, kind: ErrorKind| FileError::new(Path::new("f"), action, kind.into());
    assert!(error(Action::Sync, ErrorKind::Other).is_failed_sync());
    assert!(!error(Action::Write, ErrorKind::Other).is_failed_sync());
    assert!(!error(Action::Sync, ErrorKind::StorageFull).is_failed_sync());
}

#[test]
fn several_folders_are_created_at_once() {
    let root = tempfile::tempdir().unwrap();
    let folders: Vec<PathBuf> = ["b", "b/x", "b/y", "a"].map(|name| root.path().join(name)).into();
    create_all_durably(&folders, 0o700).unwrap();
    create_all_durably(&folders, 0o700).unwrap();
    assert_eq!(list(root.path()).unwrap(), ["a", "b"]);
    assert_eq!(list(&folders[0]).unwrap(), ["x", "y"]);
    fs::write(root.path().join("file"), b"").unwrap();
    assert!(matches!(create_all_durably(&[root.path().join("file")], 0o700), Err(FileError::Exists { .. })));
}

#[test]
fn a_temp_file_is_removed_unless_persisted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, two) =
        (TempFile::create(folder.path(), 0o600).unwrap(), TempFile::create(folder.path(), 0o600).unwrap());
    assert_eq!(list(folder.path()).unwrap().len(), 2);
    drop(two);
    one.write_all(b"bytes").unwrap();
    one.sync().unwrap();
    let path = folder.path().join("f");
    one.persist(&path).unwrap();
    assert_eq!(list(folder.path()).unwrap(), ["f"]);
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_temp_file_does_not_replace_a_leftover_of_an_earlier_process() {
    let folder = tempfile::tempdir().unwrap();
    let probe = TempFile::create(folder.path(), 0o600).unwrap();
    let name = probe.path.file_name().unwrap().to_str().unwrap().to_owned();
    let number: u64 = name.trim_end_matches(".tmp").rsplit('-').next().unwrap().parse().unwrap();
    // Other tests take numbers, too, so the next one is among these.
    for next in number..number + 100 {
        fs::write(folder.path().join(format!(".{}-{next}.tmp", process::id())), b"old").unwrap();
    }
    let mut file = TempFile::create(folder.path(), 0o600).unwrap();
    file.write_all(b"new").unwrap();
    assert!(!list(folder.path()).unwrap().is_empty());
    let old = list(folder.path())
        .unwrap()
        .iter()
        .filter(|name| fs::read(folder.path().join(name)).unwrap() == b"old")
        .count();
    assert_eq!(old, 100);
}

#[test]
fn a_full_disk_has_its_own_error() {
    // a device that is always full
    let path = PathBuf::from("/dev/full");
    let Ok(file) = OpenOptions::new().write(true).open(&path) else { return };
    let mut file = TempFile { file, path, persisted: true };
    let error = file.write_all(b"bytes").unwrap_err();
    assert!(matches!(error, FileError::NoSpace { action: Action::Write, .. }), "{error}");
}
