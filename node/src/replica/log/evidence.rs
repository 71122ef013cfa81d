//! Keeps evidence against members in the data folder.

use vouch_core::bundle::EvidenceBundle;
use vouch_core::chain::CommitteeChain;
use vouch_core::log::Evidence;

use super::LogContext;
use crate::host::files::FileError;

/// The folder of evidence in the data folder.
const FOLDER: &str = "evidence";
const SUFFIX: &str = ".evidence";
/// Maximum number of files: a member that signs two messages once is as guilty as one that does so often.
const MAX_FILES: usize = 64;

/// Writes the evidence to a file, and returns its name. `None` if it is there already, or if there are enough. Blocks until the disk has
/// answered.
pub(super) fn keep(context: &LogContext, chain: &CommitteeChain, found: Evidence) -> Result<Option<String>, FileError> {
    let disk = context.storage.host.disk();
    let folder = context.folder().join(FOLDER);
    disk.create_folder_durably(&folder, 0o700)?;
    let hash = blake3::hash(&found.encode()).to_hex();
    let name = format!("block-{}-{}{SUFFIX}", found.height(), &hash[..16]);
    let path = folder.join(&name);
    if disk.exists(&path)? || disk.list(&folder)?.len() >= MAX_FILES {
        return Ok(None);
    }
    disk.write_durably(&path, EvidenceBundle::new(found, chain).to_json().as_bytes(), 0o600)?;
    Ok(Some(format!("{FOLDER}/{name}")))
}

/// The names of the files that are kept already. Blocks until the disk has answered.
pub(super) fn kept(context: &LogContext) -> Result<Vec<String>, FileError> {
    let disk = context.storage.host.disk();
    let folder = context.folder().join(FOLDER);
    if !disk.exists(&folder)? {
        return Ok(Vec::new());
    }
    let names = disk.list(&folder)?.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| name.ends_with(SUFFIX)).map(|name| format!("{FOLDER}/{name}")).collect())
}
