//! Where nodes keep their data if they are not told.
//!
//! - A service of systemd with `StateDirectory=` uses that folder.
//! - In a folder with `./.vouch`, nodes use that, as all did before there was another place. One that only has what a demo or
//!   `vouch certs dev` left does not count: after a demo, a server would not find its data again.
//! - All others use `$XDG_DATA_HOME/vouch`, by default `~/.local/share/vouch`.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::data_dir;
use crate::host::disk::Disk;
use crate::host::files;
use crate::replica::Data;
use crate::xdg;

/// The folder beside the user's files.
const HERE: &str = "./.vouch";
/// The folder of a server, in that of all nodes.
const SERVER: &str = "server";
/// What other commands keep in it.
const OF_OTHERS: [&str; 2] = ["demo", "certs"];

/// The folder of a server.
pub(super) fn server() -> Result<PathBuf, Failure> {
    match xdg::state_folder() {
        Some(folder) => Ok(folder),
        None => Ok(root()?.join(SERVER)),
    }
}

/// The folder of a replica, or that of many.
pub(super) fn replica() -> Result<Data, Failure> {
    match xdg::state_folder() {
        Some(folder) => Ok(Data::Folder(folder)),
        None => Ok(Data::FirstFree(root()?)),
    }
}

/// The folder that the first replica takes.
pub(super) fn first_replica() -> Result<PathBuf, Failure> {
    match xdg::state_folder() {
        Some(folder) => Ok(folder),
        None => Ok(root()?.join("replica-1")),
    }
}

/// The folder with the folders `replica-N` of all replicas.
pub(super) fn replicas() -> Result<PathBuf, Failure> {
    root()
}

/// The folders that exist of the nodes that were started without `--data`.
pub(super) fn used(disk: &dyn Disk) -> Result<Vec<PathBuf>, Failure> {
    let root = root()?;
    let server = Some(root.join(SERVER)).filter(|folder| disk.is_folder(folder));
    let replicas = data_dir::replicas(disk, &root).map_err(Failure::new)?;
    Ok(server.into_iter().chain(replicas).collect())
}

fn root() -> Result<PathBuf, Failure> {
    if is_used(Path::new(HERE))? {
        return Ok(HERE.into());
    }
    let next = "set HOME or XDG_DATA_HOME, or name a folder with --data";
    xdg::data_folder().ok_or_else(|| Failure::new(format_args!("no home folder to keep data in: {next}")))
}

/// Whether nodes keep their data in a folder: it exists, and is empty or has something of theirs.
fn is_used(folder: &Path) -> Result<bool, Failure> {
    // a link to a folder counts as well
    if !files::exists(&folder.join(".")).unwrap_or(false) {
        return Ok(false);
    }
    let names = files::list(folder).map_err(Failure::new)?;
    Ok(names.is_empty() || names.iter().any(|name| OF_OTHERS.iter().all(|other| name != other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_only_a_demo_has_used_is_not_one_of_nodes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".vouch");
        assert!(!is_used(&folder).unwrap());
        std::fs::create_dir(&folder).unwrap();
        assert!(is_used(&folder).unwrap(), "made by hand");
        std::fs::create_dir(folder.join("demo")).unwrap();
        std::fs::create_dir(folder.join("certs")).unwrap();
        assert!(!is_used(&folder).unwrap());
        std::fs::create_dir(folder.join("replica-3")).unwrap();
        assert!(is_used(&folder).unwrap());
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(!is_used(&root.path().join("file")).unwrap());
    }
}
