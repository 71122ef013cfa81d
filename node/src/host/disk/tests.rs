use std::os::unix::fs::PermissionsExt;

use super::*;

fn disk() -> &'static dyn Disk {
    &SystemDisk
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_replaced_atomically() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    disk().write_durably(&path, b"one", 0o644).unwrap();
    disk().write_durably(&path, b"two!", 0o600).unwrap();
    assert_eq!(disk().read(&path, 4).unwrap(), (b"two!".to_vec(), 0o600));
    assert_eq!(disk().list(folder.path()).unwrap(), ["f"]);
}

#[test]
fn a_failed_replacement_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir(&path).unwrap();
    let error = disk().write_durably(&path, b"one", 0o600).unwrap_err();
    assert!(matches!(error, FileError::Io { action: Action::Rename, .. }), "{error}");
    assert_eq!(disk().list(folder.path()).unwrap(), ["taken"]);
}

#[test]
fn a_new_file_never_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    disk().create_new_durably(&path, b"one", 0o600).unwrap();
    assert_eq!(mode_of(&path), 0o600);
    let error = disk().create_new_durably(&path, b"two", 0o600).unwrap_err();
    assert!(matches!(error, FileError::Exists { path: got } if got == path));
    assert_eq!(disk().read_all(&path, 3).unwrap(), b"one");
    assert_eq!(disk().list(folder.path()).unwrap(), ["f"]);
}

#[test]
fn reading_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    disk().write_durably(&path, b"four", 0o600).unwrap();
    assert_eq!(disk().read_all(&path, 4).unwrap(), b"four");
    assert!(matches!(disk().read_all(&path, 3), Err(FileError::TooLarge { limit: 3, .. })));
    assert!(matches!(disk().read_all(&folder.path().join("g"), 3), Err(FileError::NotFound { .. })));
}

#[test]
fn folders_are_created_with_their_parents() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b/c");
    disk().create_folder_durably(&folder, 0o700).unwrap();
    disk().create_folder_durably(&folder, 0o700).unwrap();
    assert_eq!(mode_of(&folder), 0o700);
    // the parent of a bare file name
    disk().create_folder_durably(Path::new(""), 0o700).unwrap();

    let file = root.path().join("file");
    disk().write_durably(&file, b"", 0o600).unwrap();
    assert!(matches!(disk().create_folder_durably(&file, 0o700), Err(FileError::Exists { path }) if path == file));
    assert!(disk().create_folder_durably(&file.join("below"), 0o700).is_err());
}

#[test]
fn a_lock_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = disk().lock(&path).unwrap().unwrap();
    assert!(disk().lock(&path).unwrap().is_none());
    drop(held);
    assert!(disk().lock(&path).unwrap().is_some());
}

#[test]
fn creating_an_existing_folder_does_nothing() {
    let disk = simulated::SimulatedDisk::default();
    let shown: &dyn Disk = &disk;
    shown.create_folder_durably(Path::new("/a/b"), 0o700).unwrap();
    let done = disk.operations().len();
    shown.create_folder_durably(Path::new("/a/b"), 0o700).unwrap();
    assert_eq!(disk.operations().len(), done, "a parent that may not be read is not opened");
}
