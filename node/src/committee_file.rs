//! The committee as server and replica remember it: the bytes of a `Cluster` message, opened anew at every start.

use std::path::{Path, PathBuf};

use thiserror::Error;
use vouch_core::committee::{Committee, GenesisError};
use vouch_core::message::{ClusterMessage, MAX_MESSAGE, Message, MessageError};

use crate::host::files::{self, FileError};

const NAME: &str = "committee";

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
    #[error("{}: expected a Cluster message, got {got}", .path.display())]
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
    /// The thread that saved it failed.
    #[error("saving the committee: {0}")]
    Task(String),
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
pub fn load(folder: &Path) -> Result<Option<Committee>, CommitteeFileError> {
    let path = folder.join(NAME);
    let bytes = match files::read_all(&path, MAX_MESSAGE) {
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
pub fn save(folder: &Path, committee: &Committee) -> Result<(), CommitteeFileError> {
    files::write_durably(&folder.join(NAME), &message(committee).encode(), 0o644)?;
    Ok(())
}
