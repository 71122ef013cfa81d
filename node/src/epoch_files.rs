//! The later committees in a data folder: one file for each epoch after the genesis, in the folder `epochs`, named by the epoch's number. Each
//! is an `Epochs` message with one epoch. All are verified at every start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vouch_core::chain::{ChainError, CommitteeChain, EpochLink};
use vouch_core::message::{EpochsMessage, MAX_MESSAGE, Message, MessageError};

use crate::host::disk::Disk;
use crate::host::files::FileError;

const FOLDER: &str = "epochs";
const FOLDER_MODE: u32 = 0o700;
const MODE: u32 = 0o644;

/// Why the later committees cannot be loaded or saved.
#[derive(Debug, Error)]
pub enum EpochFileError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not an `Epochs` message.
    #[error("{}: {error}; {RESTORE}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: MessageError,
    },
    /// A file holds something else than one epoch, or another one than its name says.
    #[error("{}: expected the committee of epoch {expected}, got {got}; {RESTORE}", .path.display())]
    AnotherContent {
        /// The file.
        path: PathBuf,
        /// The epoch in the file's name.
        expected: u64,
        /// What the file holds.
        got: String,
    },
    /// A file before the last one is missing.
    #[error("{} is missing, and there is a committee of epoch {later}; {RESTORE}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// An epoch of which there is a file.
        later: u64,
    },
    /// There are later committees, and no genesis before them.
    #[error("{} has later committees, and the file `committee` beside it is missing; restore that file from a copy", .folder.display())]
    NoGenesis {
        /// The folder.
        folder: PathBuf,
    },
    /// A committee does not follow from the one before.
    #[error("{}: {error}; {RESTORE}", .folder.display())]
    Chain {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        error: Box<ChainError>,
    },
}

const RESTORE: &str = "restore the folder `epochs` from a copy, or remove it: the later committees are then learned again from the cluster";

/// The chain that the folder's later committees make of the genesis. `genesis`: the chain of the folder's `committee`, if it has one.
///
/// # Errors
/// See [`EpochFileError`].
pub fn load(
    disk: &dyn Disk,
    folder: &Path,
    genesis: Option<CommitteeChain>,
) -> Result<Option<CommitteeChain>, EpochFileError> {
    let folder = folder.join(FOLDER);
    let names = match disk.list(&folder) {
        Ok(names) => names,
        Err(FileError::NotFound { .. }) => return Ok(genesis),
        Err(error) => return Err(error.into()),
    };
    let mut epochs: Vec<u64> = names.iter().filter_map(|name| epoch_of(name)).collect();
    epochs.sort_unstable();
    let Some(genesis) = genesis else {
        return if epochs.is_empty() { Ok(None) } else { Err(EpochFileError::NoGenesis { folder }) };
    };
    let mut links = Vec::new();
    for (expected, epoch) in (1..).zip(epochs) {
        if epoch != expected {
            return Err(EpochFileError::Missing { path: folder.join(expected.to_string()), later: epoch });
        }
        links.push(read(disk, &folder, epoch)?);
    }
    let chain = genesis.extended(links).map_err(|error| EpochFileError::Chain { folder, error: Box::new(error) })?;
    Ok(Some(chain))
}

fn read(disk: &dyn Disk, folder: &Path, epoch: u64) -> Result<EpochLink, EpochFileError> {
    let path = folder.join(epoch.to_string());
    let bytes = disk.read_all(&path, MAX_MESSAGE)?;
    let another = |path, got: String| Err(EpochFileError::AnotherContent { path, expected: epoch, got });
    match Message::decode(&bytes.into()) {
        Ok(Message::Epochs(EpochsMessage { more: false, links })) => match <[EpochLink; 1]>::try_from(links) {
            Ok([link]) if link.committee.epoch() == epoch => Ok(link),
            Ok([link]) => another(path, format!("that of epoch {}", link.committee.epoch())),
            Err(links) => another(path, format!("{} committees", links.len())),
        },
        Ok(other) => another(path, format!("the message {}", other.name())),
        Err(error) => Err(EpochFileError::Malformed { path, error }),
    }
}

/// Saves the committees of a chain after `saved`, an epoch whose committee is durable already. In the order of their epochs: a crash leaves a
/// chain that ends earlier.
///
/// # Errors
/// [`EpochFileError::File`].
pub fn save(disk: &dyn Disk, folder: &Path, chain: &CommitteeChain, saved: u64) -> Result<(), EpochFileError> {
    let folder = folder.join(FOLDER);
    disk.create_folder_durably(&folder, FOLDER_MODE)?;
    for link in chain.links_after(saved) {
        let path = folder.join(link.committee.epoch().to_string());
        let message = Message::Epochs(EpochsMessage { more: false, links: vec![link] });
        disk.write_durably(&path, &message.encode(), MODE)?;
    }
    Ok(())
}

/// The epoch in a file's name. `None` for any other name, such as that of a file that a crash left half written.
fn epoch_of(name: &OsStr) -> Option<u64> {
    let epoch: u64 = name.to_str()?.parse().ok()?;
    (epoch > 0 && *name == *epoch.to_string()).then_some(epoch)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use vouch_fixture::TestEpochs;

    use super::*;
    use crate::host::disk::SystemDisk;

    fn loaded(folder: &Path, epochs: &TestEpochs) -> Result<CommitteeChain, EpochFileError> {
        let genesis = CommitteeChain::new(epochs.chain.first().clone());
        load(&SystemDisk, folder, Some(genesis)).map(Option::unwrap)
    }

    #[test]
    fn a_chain_is_found_again_and_continued() {
        let (folder, epochs) = (tempfile::tempdir().unwrap(), TestEpochs::new(4, 3));
        let path = folder.path();
        assert_eq!(loaded(path, &epochs).unwrap().current().record().epoch(), 0);
        let first = CommitteeChain::new(epochs.chain.first().clone());
        save(&SystemDisk, path, &first.extended(epochs.chain.links(1)).unwrap(), 0).unwrap();
        assert_eq!(loaded(path, &epochs).unwrap().current().record().epoch(), 1);
        save(&SystemDisk, path, &epochs.chain, 1).unwrap();
        assert_eq!(loaded(path, &epochs).unwrap().current().record(), epochs.chain.current().record());
        let mut names: Vec<_> = SystemDisk.list(&path.join(FOLDER)).unwrap();
        names.sort();
        assert_eq!(names, ["1", "2", "3"]);
    }

    #[test]
    fn damaged_missing_and_foreign_files_are_refused_with_what_to_do() {
        let (folder, epochs) = (tempfile::tempdir().unwrap(), TestEpochs::new(4, 3));
        save(&SystemDisk, folder.path(), &epochs.chain, 0).unwrap();
        let path = |epoch: u64| folder.path().join(FOLDER).join(epoch.to_string());
        let refused = || {
            let error = loaded(folder.path(), &epochs).unwrap_err();
            assert!(error.to_string().contains("from a copy"), "{error}");
            error
        };
        let (first, second) = (fs::read(path(1)).unwrap(), fs::read(path(2)).unwrap());
        fs::remove_file(path(2)).unwrap();
        assert!(matches!(refused(), EpochFileError::Missing { later: 3, path: got } if got == path(2)));
        for (bytes, is_expected) in [
            (second[..99].to_vec(), (|error| matches!(error, EpochFileError::Malformed { .. })) as fn(_) -> bool),
            (first, |error| matches!(error, EpochFileError::AnotherContent { expected: 2, .. })),
            (Message::Stored { stream: vouch_core::message::Stream(1) }.encode().to_vec(), |error| {
                matches!(error, EpochFileError::AnotherContent { expected: 2, .. })
            }),
            (flipped(&second), |error| matches!(error, EpochFileError::Chain { .. })),
        ] {
            fs::write(path(2), bytes).unwrap();
            assert!(is_expected(refused()));
        }
        fs::write(path(2), second).unwrap();
        // A file that a crash left is not one of the chain's.
        fs::write(path(2).with_file_name("4.tmp"), "").unwrap();
        loaded(folder.path(), &epochs).unwrap();
        let foreign = TestEpochs::new(5, 0);
        assert!(matches!(loaded(folder.path(), &foreign), Err(EpochFileError::Chain { .. })));
        assert!(matches!(load(&SystemDisk, folder.path(), None), Err(EpochFileError::NoGenesis { .. })));
    }

    /// With another signature under the handoff. The seal follows it.
    fn flipped(message: &[u8]) -> Vec<u8> {
        let mut bytes = message.to_vec();
        let signature = bytes.len() - 1 - 32 - 96;
        bytes[signature + 50] ^= 1;
        bytes
    }
}
