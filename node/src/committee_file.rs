//! The committee as server and replica remember it: the bytes of a `Cluster` message, opened anew at every start; and beside it,
//! in a server's folder, the members' acceptances.
//!
//! A folder with a committee and no acceptances was founded by a release that kept none. Its committee counts as it always did; the
//! acceptances are gathered from the members as they connect.

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
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not what was saved.
    #[error("{}: {error}; restore the file from a copy, or begin anew with another data folder", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: MessageError,
    },
    /// Another message.
    #[error("{}: expected a saved committee, got the message {got}", .path.display())]
    AnotherMessage {
        /// The file.
        path: PathBuf,
        /// The message found.
        got: &'static str,
    },
    /// A key or a proof inside is bad.
    #[error("{}: {error}", .path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GenesisError,
    },
    /// An acceptance inside is bad.
    #[error("{}: {error}; remove the file, and the acceptances are gathered anew", .path.display())]
    Founding {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: FoundingError,
    },
    /// The thread that saved it failed.
    #[error("saving the committee: {0}")]
    Task(String),
}

/// Where the committee of a data folder is.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The message that carries a committee.
pub fn message(committee: &Committee) -> Message {
    Message::Cluster(ClusterMessage {
        genesis: committee.record().clone(),
        possessions: committee.possessions().to_vec(),
    })
}

/// The committee saved in a data folder, if there is one.
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
        Ok(Message::Cluster(cluster)) => Committee::genesis(cluster.genesis, cluster.possessions)
            .map(Some)
            .map_err(|error| CommitteeFileError::Genesis { path, error }),
        Ok(other) => Err(CommitteeFileError::AnotherMessage { path, got: other.name() }),
        Err(error) => Err(CommitteeFileError::Malformed { path, error }),
    }
}

/// Saves the committee durably: it is there after any crash once this returns.
///
/// # Errors
/// [`CommitteeFileError::File`].
pub fn save(disk: &dyn Disk, folder: &Path, committee: &Committee) -> Result<(), CommitteeFileError> {
    disk.write_durably(&folder.join(NAME), &message(committee).encode(), 0o644)?;
    Ok(())
}

/// The committee and its acceptances saved in a server's folder.
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
        // written before the committee: a crash between the two leaves the acceptances of another one
        Ok(Message::Founding(shown)) if shown.genesis.digest() != without.digest() => Ok(Some(without)),
        Ok(Message::Founding(shown)) => {
            Founding::open(*shown).map(Some).map_err(|error| CommitteeFileError::Founding { path, error })
        }
        Ok(other) => Err(CommitteeFileError::AnotherMessage { path, got: other.name() }),
        Err(error) => Err(CommitteeFileError::Malformed { path, error }),
    }
}

/// Saves acceptances and committee durably, the acceptances first: a server has a committee only with them.
///
/// # Errors
/// [`CommitteeFileError::File`].
pub fn save_founding(disk: &dyn Disk, folder: &Path, founding: &Founding) -> Result<(), CommitteeFileError> {
    let shown = Message::Founding(Box::new(founding.message()));
    disk.write_durably(&folder.join(FOUNDING), &shown.encode(), 0o644)?;
    save(disk, folder, founding.committee())
}
