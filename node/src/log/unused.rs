//! The mark of a member whose log was never used. It is made with the member's key and removed when its log is opened. Without it, a
//! folder that has no files of the log has lost them: a folder that looks new because a restore or a fault left only some of its files
//! must not let its member vote a second time.

use std::path::Path;

use vouch_core::link::NodeKey;

use crate::host::disk::Disk;
use crate::host::files::FileError;

/// The mark in the data folder: the node key that it is about, in base58, and a line feed.
pub(crate) const UNUSED: &str = "log.unused";
const MODE: u32 = 0o600;
/// Maximum size that is read.
const LIMIT: usize = 4096;

/// Marks a key that is about to be created, durably. The key must not be durable before: a crash in between would leave it without its
/// mark.
///
/// # Errors
/// The disk fails.
pub fn mark(disk: &dyn Disk, folder: &Path, node_key: &NodeKey) -> Result<(), FileError> {
    disk.write_durably(&folder.join(UNUSED), line(node_key).as_bytes(), MODE)
}

/// Whether the log of this key was never used. A mark of another key says nothing: somebody may have put other keys into the folder.
pub(super) fn is_marked(disk: &dyn Disk, folder: &Path, node_key: &NodeKey) -> Result<bool, FileError> {
    match disk.read_all(&folder.join(UNUSED), LIMIT) {
        Ok(found) => Ok(found == line(node_key).as_bytes()),
        Err(FileError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the mark, durably: from now on, the log's files are its memory.
pub(super) fn remove(disk: &dyn Disk, folder: &Path) -> Result<(), FileError> {
    disk.remove(&folder.join(UNUSED))?;
    disk.sync_folder(folder)
}

fn line(node_key: &NodeKey) -> String {
    format!("{node_key}\n")
}
