//! The files with the committee: the bytes of a `Cluster` message, verified at every start; and, in a server's folder, the members'
//! acceptances.
//!
//! A folder with a committee and without acceptances was written by a release that kept none. Its committee is valid, and the server
//! collects the acceptances from the members when they connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vouch_core::committee::{Committee, GenesisError};
use vouch_core::founding::{Founding, FoundingError};
use vouch_core::message::{ClusterMessage, MAX_MESSAGE, Message, MessageError};

use crate::host::disk::Disk;
use crate::host::files::FileError;

const NAME: &str = "committee";
const FOUNDING: &str = "founding";

/// Why the committee cannot be loaded or saved.
#[derive(Debug, Error)]
pub enum CommitteeFileError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a saved committee.
    #[error("{}: {error}; restore the file from a copy, or start with another data folder", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: MessageError,
    },
    /// The file holds another message.
    #[error("{}: expected a saved committee, got the message {got}", .path.display())]
    AnotherMessage {
        /// The file.
        path: PathBuf,
        /// The message found.
        got: &'static str,
    },
    /// A key or a proof of possession is invalid.
    #[error("{}: {error}", .path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GenesisError,
    },
    /// An acceptance is invalid.
    #[error("{}: {error}; remove the file: the server then collects the acceptances again", .path.display())]
    Founding {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: FoundingError,
    },
    /// The thread that saved the committee failed.
    #[error("saving the committee: {0}")]
    Task(String),
}

/// The path of a data folder's committee.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The message with a committee.
pub fn message(committee: &Committee) -> Message {
    Message::Cluster(ClusterMessage {
        genesis: committee.record().clone(),
        possessions: committee.possessions().to_vec(),
    })
}

/// Loads the committee of a data folder, if it has one.
///
/// # Errors
/// See [`CommitteeFileError`].
pub fn load(disk: &dyn Disk, folder: &Path) -> Result<Option<Committee>, CommitteeFileError> {
    let path = folder.join(NAME);
    let bytes = match disk.read_all(&path, MAX_MESSAGE) {
        Ok(bytes) => bytes,
        Err(FileError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Message::decode(&bytes.into()) {
        Ok(Message::Cluster(cluster)) => Committee::proven(cluster.genesis, cluster.possessions)
            .map(Some)
            .map_err(|error| CommitteeFileError::Genesis { path, error }),
        Ok(other) => Err(CommitteeFileError::AnotherMessage { path, got: other.name() }),
        Err(error) => Err(CommitteeFileError::Malformed { path, error }),
    }
}

/// Saves the committee durably: once this returns, it survives any crash.
///
/// # Errors
/// [`CommitteeFileError::File`].
pub fn save(disk: &dyn Disk, folder: &Path, committee: &Committee) -> Result<(), CommitteeFileError> {
    disk.write_durably(&folder.join(NAME), &message(committee).encode(), 0o644)?;
    Ok(())
}

/// Loads the committee and its acceptances from a server's folder.
///
/// # Errors
/// See [`CommitteeFileError`].
pub fn load_founding(disk: &dyn Disk, folder: &Path) -> Result<Option<Founding>, CommitteeFileError> {
    let Some(committee) = load(disk, folder)? else { return Ok(None) };
    let without = Founding::new(Arc::new(committee));
    let path = folder.join(FOUNDING);
    let bytes = match disk.read_all(&path, MAX_MESSAGE) {
        Ok(bytes) => bytes,
        Err(FileError::NotFound { .. }) => return Ok(Some(without)),
        Err(error) => return Err(error.into()),
    };
    match Message::decode(&bytes.into()) {
        // The acceptances are written before the committee, so a crash between the two leaves those of another founding.
        Ok(Message::Founding(shown)) if shown.genesis.digest() != without.digest() => Ok(Some(without)),
        Ok(Message::Founding(shown)) => {
            let opened = Founding::open_known(*shown, Some(&without));
            opened.map(Some).map_err(|error| CommitteeFileError::Founding { path, error })
        }
        Ok(other) => Err(CommitteeFileError::AnotherMessage { path, got: other.name() }),
        Err(error) => Err(CommitteeFileError::Malformed { path, error }),
    }
}

/// Saves acceptances and committee durably. The acceptances are saved first, so that a committee never lacks them.
///
/// # Errors
/// [`CommitteeFileError::File`].
pub fn save_founding(disk: &dyn Disk, folder: &Path, founding: &Founding) -> Result<(), CommitteeFileError> {
    let shown = Message::Founding(Box::new(founding.message()));
    disk.write_durably(&folder.join(FOUNDING), &shown.encode(), 0o644)?;
    save(disk, folder, founding.committee())
}
