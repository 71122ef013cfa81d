//! The file with what this user knows of each server's cluster, like ssh's file of known hosts. A line is `ADDRESS IDENTITY`, or
//! `ADDRESS IDENTITY EPOCH:COMMITTEE` with the newest committee that was verified, once there is a later one than the genesis.
//!
//! All lines of one cluster have the same newest committee: if one server has shown it, the cluster's other servers must show it, too.
//! Otherwise an attacker with enough keys of members that have left could show the cluster as it was before, or with other successors.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use vouch_core::chain::{Checkpoint, CommitteeChain};
use vouch_core::digest::ClusterId;
use vouch_core::session::{SessionError, check_pinned};

use crate::host::Host;
use crate::host::disk::DiskLock;
use crate::host::files::FileError;
use crate::tls::ServerAddress;
use crate::xdg;

/// Maximum size of the file in bytes.
const MAX_SIZE: usize = 1 << 20;
/// Attempts to lock the file, and the pause after each. The lock is held while the file is read and written.
const LOCK_ATTEMPTS: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum KnownClustersError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line has another form.
    #[error(
        "{}, line {line}: expected an address and an identity, or these and EPOCH:COMMITTEE, got {got:?}; correct or remove the line",
        .path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The line's text.
        got: String,
    },
    /// There is no home folder for the file.
    #[error("no home folder to keep known clusters in: set HOME, or name a file with --known-clusters")]
    NoHome,
    /// Another process keeps the file locked.
    #[error("another process has locked {} for {} s; try again when it has ended", .0.display(), (LOCK_PAUSE * LOCK_ATTEMPTS).as_secs())]
    Locked(PathBuf),
    /// The committees are not those of the file.
    #[error(transparent)]
    Contradiction(Box<SessionError>),
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    address: String,
    identity: ClusterId,
    /// The newest committee that was verified; `None` if it is the genesis.
    newest: Option<Checkpoint>,
}

impl Record {
    /// `None` if the line has another form.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (address, identity) = (fields.next()?, fields.next()?.parse().ok()?);
        // Earlier versions recorded an address as it was typed. Under another text, its identity would be forgotten.
        let address = address.parse().map_or_else(|_| address.to_owned(), |address: ServerAddress| address.to_string());
        let newest = match fields.next() {
            Some(checkpoint) => Some(checkpoint.parse().ok()?),
            None => None,
        };
        fields.next().is_none().then_some(Self { address, identity, newest })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.identity)?;
        self.newest.map_or(Ok(()), |newest| write!(f, " {newest}"))
    }
}

/// The newest committee of a cluster that these lines have.
fn newest_of(records: &[Record], cluster: ClusterId) -> Option<Checkpoint> {
    let all = records.iter().filter(|record| record.identity == cluster).filter_map(|record| record.newest);
    all.max_by_key(|checkpoint| checkpoint.epoch)
}

/// The known-clusters file.
#[derive(Debug, Clone)]
pub struct KnownClusters {
    host: Host,
    path: PathBuf,
}

impl KnownClusters {
    /// Uses the given file, which need not exist.
    pub fn at(host: &Host, path: PathBuf) -> Self {
        Self { host: host.clone(), path }
    }

    /// `$XDG_CONFIG_HOME/vouch/known_clusters`, by default under `~/.config`.
    ///
    /// # Errors
    /// [`KnownClustersError::NoHome`].
    pub fn of_user(host: &Host) -> Result<Self, KnownClustersError> {
        let folder = xdg::config_folder().ok_or(KnownClustersError::NoHome)?;
        Ok(Self::at(host, folder.join("known_clusters")))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn records(&self) -> Result<Vec<Record>, KnownClustersError> {
        let bytes = match self.host.disk().read_all(&self.path, MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(FileError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8_lossy(&bytes);
        let parse = |(line, text): (usize, &str)| {
            Record::parse(text).ok_or_else(|| KnownClustersError::Malformed {
                path: self.path.clone(),
                line,
                got: text.chars().take(80).collect(),
            })
        };
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        lines.map(parse).collect()
    }

    /// Locks the file against other processes that change it: of two that read it before either writes, the later one would undo what
    /// the other has written. The lock is a file of its own, because each change replaces the file.
    async fn lock(&self) -> Result<DiskLock, KnownClustersError> {
        if let Some(folder) = self.path.parent() {
            self.host.disk().create_folder_durably(folder, 0o700)?;
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(lock) = self.host.disk().lock(&path)? {
                return Ok(lock);
            }
            self.host.sleep(LOCK_PAUSE).await;
        }
        Err(KnownClustersError::Locked(self.path.clone()))
    }

    fn save(&self, _lock: &DiskLock, records: &[Record]) -> Result<(), KnownClustersError> {
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        self.host.disk().write_durably(&self.path, text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// The identity recorded for a server.
    ///
    /// # Errors
    /// The file is unreadable or malformed.
    pub fn identity(&self, address: &str) -> Result<Option<ClusterId>, KnownClustersError> {
        let records = self.records()?;
        Ok(records.into_iter().find(|record| record.address == address).map(|record| record.identity))
    }

    /// The newest committee of a cluster that was verified, over whichever server. `None` if it is the genesis, or nothing is recorded.
    ///
    /// # Errors
    /// The file is unreadable or malformed.
    pub fn newest(&self, cluster: ClusterId) -> Result<Option<Checkpoint>, KnownClustersError> {
        Ok(newest_of(&self.records()?, cluster))
    }

    /// The servers that are recorded with this cluster.
    ///
    /// # Errors
    /// The file is unreadable or malformed.
    pub fn servers(&self, cluster: ClusterId) -> Result<Vec<String>, KnownClustersError> {
        let records = self.records()?.into_iter();
        Ok(records.filter(|record| record.identity == cluster).map(|record| record.address).collect())
    }

    /// Records a server's identity and the newest committee of its cluster. Does not replace a recorded identity.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub async fn record(&self, address: &str, chain: &CommitteeChain) -> Result<(), KnownClustersError> {
        self.update(|records| {
            let is_new = records.iter().all(|record| record.address != address);
            if is_new {
                let (identity, newest) = (chain.cluster(), None);
                records.push(Record { address: address.to_owned(), identity, newest });
            }
            Ok(raise(records, chain)? || is_new)
        })
        .await
    }

    /// Records the last committee of a verified chain for each server of its cluster, if it is newer than the recorded one. Nothing is
    /// recorded of a cluster without a line.
    ///
    /// # Errors
    /// [`KnownClustersError::Contradiction`] if the chain has another committee in the recorded epoch; the file cannot be read or written.
    pub async fn raise(&self, chain: &CommitteeChain) -> Result<(), KnownClustersError> {
        self.update(|records| raise(records, chain)).await
    }

    /// Changes the file. `change` says whether it changed anything.
    async fn update(
        &self,
        change: impl Fn(&mut Vec<Record>) -> Result<bool, KnownClustersError>,
    ) -> Result<(), KnownClustersError> {
        // Most commands change nothing, and need no lock.
        if !change(&mut self.records()?)? {
            return Ok(());
        }
        let lock = self.lock().await?;
        // Read again: another command may have changed the file meanwhile.
        let mut records = self.records()?;
        if change(&mut records)? {
            self.save(&lock, &records)?;
        }
        Ok(())
    }

    /// Removes a server's record. Returns the identity that was recorded.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn forget(&self, address: &str) -> Result<Option<ClusterId>, KnownClustersError> {
        if self.identity(address)?.is_none() {
            return Ok(None);
        }
        let lock = self.lock().await?;
        let mut records = self.records()?;
        let place = records.iter().position(|record| record.address == address);
        let Some(place) = place else { return Ok(None) };
        let Record { identity, .. } = records.remove(place);
        self.save(&lock, &records)?;
        Ok(Some(identity))
    }
}

/// Makes the last committee of a chain the newest one of its cluster, if it is. Returns whether it changed a line.
fn raise(records: &mut [Record], chain: &CommitteeChain) -> Result<bool, KnownClustersError> {
    let (cluster, last) = (chain.cluster(), Checkpoint::from(chain));
    let newest = match newest_of(records, cluster) {
        None => (last.epoch > 0).then_some(last),
        Some(newest) => match check_pinned(chain, newest) {
            Ok(()) => Some(last),
            // The maximum counts: another command has recorded a newer one since this chain was verified.
            Err(SessionError::OldEpoch { .. }) => Some(newest),
            Err(error) => return Err(KnownClustersError::Contradiction(Box::new(error))),
        },
    };
    let mut is_changed = false;
    for record in records.iter_mut().filter(|record| record.identity == cluster && record.newest != newest) {
        record.newest = newest;
        is_changed = true;
    }
    Ok(is_changed)
}
