//! The file with the recorded cluster identity of each server, like ssh's file of known hosts: one `ADDRESS IDENTITY` per line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vouch_core::digest::ClusterId;

use crate::host::disk::Disk;
use crate::host::files::FileError;

/// Maximum size of the file in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum KnownClustersError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not `ADDRESS IDENTITY`.
    #[error("{}, line {line}: expected an address and an identity, got {got:?}; correct or remove the line", .path.display())]
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
}

/// The known-clusters file.
#[derive(Debug, Clone)]
pub struct KnownClusters {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl KnownClusters {
    /// Uses the given file, which need not exist.
    pub fn at(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// `$XDG_CONFIG_HOME/vouch/known_clusters`, by default under `~/.config`.
    ///
    /// # Errors
    /// [`KnownClustersError::NoHome`].
    pub fn of_user(disk: Arc<dyn Disk>) -> Result<Self, KnownClustersError> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        let config = config.ok_or(KnownClustersError::NoHome)?;
        Ok(Self::at(disk, config.join("vouch").join("known_clusters")))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lines(&self) -> Result<Vec<(String, ClusterId)>, KnownClustersError> {
        let bytes = match self.disk.read_all(&self.path, MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(FileError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8_lossy(&bytes);
        let parse = |(line, text): (usize, &str)| {
            let fields: Vec<&str> = text.split_whitespace().collect();
            match fields.as_slice() {
                [address, identity] => identity.parse().ok().map(|identity| ((*address).to_owned(), identity)),
                _ => None,
            }
            .ok_or_else(|| KnownClustersError::Malformed {
                path: self.path.clone(),
                line,
                got: text.chars().take(80).collect(),
            })
        };
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        lines.map(parse).collect()
    }

    fn save(&self, lines: &[(String, ClusterId)]) -> Result<(), KnownClustersError> {
        if let Some(folder) = self.path.parent() {
            self.disk.create_folder_durably(folder, 0o700)?;
        }
        let text: String = lines.iter().map(|(address, identity)| format!("{address} {identity}\n")).collect();
        self.disk.write_durably(&self.path, text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// The identity recorded for a server.
    ///
    /// # Errors
    /// The file is unreadable or malformed.
    pub fn identity(&self, address: &str) -> Result<Option<ClusterId>, KnownClustersError> {
        let known = self.lines()?;
        Ok(known.into_iter().find(|(known, _)| known == address).map(|(_, identity)| identity))
    }

    /// Records a server's identity. Does not replace a recorded one.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn record(&self, address: &str, identity: ClusterId) -> Result<(), KnownClustersError> {
        let mut lines = self.lines()?;
        if lines.iter().all(|(known, _)| known != address) {
            lines.push((address.to_owned(), identity));
            self.save(&lines)?;
        }
        Ok(())
    }

    /// Removes a server's record. Returns the identity that was recorded.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn forget(&self, address: &str) -> Result<Option<ClusterId>, KnownClustersError> {
        let mut lines = self.lines()?;
        let place = lines.iter().position(|(known, _)| known == address);
        let Some(place) = place else { return Ok(None) };
        let (_, identity) = lines.remove(place);
        self.save(&lines)?;
        Ok(Some(identity))
    }
}

/// Whether a server's address is on this machine. Nobody can intercept such a connection, so its identity need not be recorded.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::SystemDisk;

    #[test]
    fn first_contact_is_recorded_and_later_compared() {
        let folder = tempfile::tempdir().unwrap();
        let known = KnownClusters::at(Arc::new(SystemDisk), folder.path().join("a/b/known_clusters"));
        let (one, other) = (ClusterId([1; 32]), ClusterId([2; 32]));
        assert_eq!(known.identity("host:1").unwrap(), None);
        known.record("host:1", one).unwrap();
        known.record("host:1", other).unwrap();
        assert_eq!(known.identity("host:1").unwrap(), Some(one), "an identity is never replaced silently");
        assert_eq!(known.forget("host:1").unwrap(), Some(one));
        assert_eq!(known.identity("host:1").unwrap(), None);
        assert_eq!(known.forget("host:1").unwrap(), None);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known");
        std::fs::write(&path, b"# a comment\n\nhost:1 nonsense\n").unwrap();
        let error = KnownClusters::at(Arc::new(SystemDisk), path).identity("host:1").unwrap_err();
        assert!(matches!(error, KnownClustersError::Malformed { line: 3, .. }), "{error}");
    }

    #[test]
    fn every_form_of_loopback_is_recognized() {
        for address in ["127.0.0.1:9090", "127.8.9.1:1", "localhost:1", "LOCALHOST:1", "[::1]:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["10.0.0.1:9090", "example.org:1", "[2001:db8::1]:1", "127.example.org:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
