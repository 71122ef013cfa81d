//! Which changes this member agrees to. What its operator approved is durable, so that a restart does not take it back.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::codec::Reader;
use vouch_core::digest::ChangeId;
use vouch_core::membership::CommitteeChange;
use vouch_node_core::membership::Consent;

use crate::host::disk::Disk;
use crate::host::files::FileError;

const NAME: &str = "approvals";
const MAGIC: &[u8; 7] = b"vouchap";
const VERSION: u8 = 1;
/// Maximum number of changes that the operator approves in one epoch. More than are ever proposed at once.
const MAX_NAMED: usize = 64;
/// Maximum size of the file in bytes: magic, version, epoch, and the changes.
const LIMIT: usize = 16 + 32 * MAX_NAMED;

/// Why a change cannot be approved.
#[derive(Debug, Error)]
pub(in crate::replica) enum ApprovingError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operator approved too many changes in this epoch.
    #[error("expected at most {MAX_NAMED} approved changes in one epoch, got another")]
    TooMany,
}

/// Which changes this member agrees to. What the cluster's operator signed needs no approval of anybody else.
#[derive(Debug)]
pub(in crate::replica) struct Approving {
    /// Whether nodes may join without being named: on one machine, everybody is its owner.
    takes_joiners: bool,
    path: PathBuf,
    named: Mutex<NamedChanges>,
    /// Held while the file is written. Otherwise an older list could replace a newer one.
    writing: Mutex<()>,
}

/// The changes that the replica's operator approved, of one epoch, the latest last. In another epoch, none of them can be made any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct NamedChanges {
    epoch: u64,
    changes: Vec<ChangeId>,
}

impl Approving {
    /// Reads the file in a data folder. Approvals that cannot be read must be given again; the second value says why.
    pub(in crate::replica) fn open(disk: &dyn Disk, folder: &Path, takes_joiners: bool) -> (Self, Option<String>) {
        let path = folder.join(NAME);
        let (named, trouble) = match disk.read_all(&path, LIMIT) {
            Ok(bytes) => match decode(&bytes) {
                Ok(named) => (named, None),
                Err(error) => (NamedChanges::default(), Some(error.to_string())),
            },
            Err(FileError::NotFound { .. }) => (NamedChanges::default(), None),
            Err(error) => (NamedChanges::default(), Some(error.to_string())),
        };
        let trouble = trouble
            .map(|why| format!("{}: {why}; approve again what `vouch committee pending` still shows", path.display()));
        (Self { takes_joiners, path, named: Mutex::new(named), writing: Mutex::default() }, trouble)
    }

    /// The operator of this replica agrees to a change of the committee of this epoch, rather than to those before. Durable once it returns.
    /// Changes of other epochs are dropped. Blocks until the disk has answered.
    pub(in crate::replica) fn name(&self, disk: &dyn Disk, epoch: u64, change: ChangeId) -> Result<(), ApprovingError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut named = self.named().clone();
        if named.epoch != epoch {
            named = NamedChanges { epoch, changes: Vec::new() };
        }
        named.changes.retain(|named| *named != change);
        if named.changes.len() >= MAX_NAMED {
            return Err(ApprovingError::TooMany);
        }
        named.changes.push(change);
        disk.write_durably(&self.path, &encode(&named), 0o600)?;
        // Only now: an approval that was given and not remembered could not be explained after a restart.
        *self.named() = named;
        Ok(())
    }

    /// Whether and how this member agrees to a change.
    pub(in crate::replica) fn consent(&self, change: &CommitteeChange) -> Option<Consent> {
        let joins_only = change.removed.is_empty() && !change.added.is_empty() && !change.is_forced;
        self.named_number(&change.id()).or((self.takes_joiners && joins_only).then_some(Consent::Automatic))
    }

    fn named_number(&self, change: &ChangeId) -> Option<Consent> {
        let place = self.named().changes.iter().position(|named| named == change)?;
        Some(Consent::Named(place as u64))
    }

    fn named(&self) -> MutexGuard<'_, NamedChanges> {
        // Recover from poisoning: the value is replaced as a whole.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(named: &NamedChanges) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    out.extend_from_slice(&named.epoch.to_le_bytes());
    named.changes.iter().for_each(|change| out.extend_from_slice(&change.0));
    out
}

fn decode(bytes: &[u8]) -> Result<NamedChanges, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.tag("magic", MAGIC)?;
    reader.tag("version", &[VERSION])?;
    let mut named = NamedChanges { epoch: reader.safe_u64("epoch")?, changes: Vec::new() };
    while reader.remaining() > 0 {
        named.changes.push(ChangeId(reader.array("change")?));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::SystemDisk;

    fn id(number: u8) -> ChangeId {
        ChangeId([number; 32])
    }

    fn opened(folder: &Path) -> Approving {
        let (approving, trouble) = Approving::open(&SystemDisk, folder, false);
        assert_eq!(trouble, None);
        approving
    }

    #[test]
    fn a_restart_remembers_the_approvals_of_the_epoch_and_another_epoch_drops_them() {
        let folder = tempfile::tempdir().unwrap();
        let approving = opened(folder.path());
        approving.name(&SystemDisk, 3, id(1)).unwrap();
        approving.name(&SystemDisk, 3, id(2)).unwrap();
        let approving = opened(folder.path());
        let order = |approving: &Approving| [1, 2, 3].map(|number| approving.named_number(&id(number)));
        let [first, second, none] = order(&approving);
        assert!(Some(Consent::Automatic) < first && first < second && none.is_none());
        // The one that is approved again is the latest.
        approving.name(&SystemDisk, 3, id(1)).unwrap();
        for approving in [&approving, &opened(folder.path())] {
            let [first, second, _] = order(approving);
            assert!(second < first && second.is_some());
        }
        approving.name(&SystemDisk, 4, id(3)).unwrap();
        for approving in [approving, opened(folder.path())] {
            assert_eq!(order(&approving), [None, None, Some(Consent::Named(0))]);
        }
    }

    #[test]
    fn approvals_of_one_epoch_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let approving = opened(folder.path());
        for number in 0..64 {
            approving.name(&SystemDisk, 0, id(number)).unwrap();
        }
        approving.name(&SystemDisk, 0, id(63)).unwrap();
        assert!(matches!(approving.name(&SystemDisk, 0, id(64)), Err(ApprovingError::TooMany)));
        assert!(opened(folder.path()).named_number(&id(63)).is_some(), "the longest file can be read");
        approving.name(&SystemDisk, 1, id(64)).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_not_approved_and_a_damaged_file_approves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let (approving, _) = Approving::open(&SystemDisk, &gone, false);
        assert!(approving.name(&SystemDisk, 0, id(1)).is_err() && approving.named_number(&id(1)).is_none());
        opened(folder.path()).name(&SystemDisk, 0, id(1)).unwrap();
        let path = folder.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let (approving, trouble) = Approving::open(&SystemDisk, folder.path(), false);
        assert!(approving.named_number(&id(1)).is_none());
        assert!(trouble.unwrap().contains("approve again"));
    }
}
