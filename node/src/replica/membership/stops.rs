//! Up to when this member signs statements of an epoch that ends. The promise is durable before it leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use vouch_core::DecodeError;
use vouch_core::codec::Reader;

use crate::host::disk::Disk;
use crate::host::files::FileError;

const NAME: &str = "stops";
const MAGIC: &[u8; 7] = b"vouchst";
const VERSION: u8 = 1;
/// Maximum size of the file in bytes.
const LIMIT: usize = 1 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StopsError {
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is damaged. Without it, the replica might sign what it promised not to sign.
    #[error("{}: {error}; restore the file from a copy", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: DecodeError,
    },
}

/// By epoch: the latest `issued_at` of a statement that this member signs, seconds since 1970. An epoch that is not there has no end yet.
#[derive(Debug)]
pub(in crate::replica) struct Stops {
    path: PathBuf,
    until: Mutex<BTreeMap<u64, u64>>,
}

impl Stops {
    /// Reads the file in a data folder.
    pub(in crate::replica) fn open(disk: &dyn Disk, folder: &std::path::Path) -> Result<Self, StopsError> {
        let path = folder.join(NAME);
        let until = match disk.read_all(&path, LIMIT) {
            Ok(bytes) => decode(&bytes).map_err(|error| StopsError::Malformed { path: path.clone(), error })?,
            Err(FileError::NotFound { .. }) => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, until: Mutex::new(until) })
    }

    /// The latest `issued_at` in an epoch; `None` while it has no end.
    pub(in crate::replica) fn of_epoch(&self, epoch: u64) -> Option<u64> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).copied()
    }

    /// Stops an epoch, and returns when. It stops once: an earlier promise stays. Votes end with this call, and the promise is durable once
    /// it returns. Blocks until the disk has answered.
    pub(super) fn stop(&self, disk: &dyn Disk, epoch: u64, until: u64) -> Result<u64, FileError> {
        let (until, bytes) = {
            let mut stops = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            let until = *stops.entry(epoch).or_insert(until);
            (until, encode(&stops))
        };
        disk.write_durably(&self.path, &bytes, 0o600)?;
        Ok(until)
    }
}

fn encode(stops: &BTreeMap<u64, u64>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    for (epoch, until) in stops {
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&until.to_le_bytes());
    }
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<u64, u64>, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.tag("magic", MAGIC)?;
    reader.tag("version", &[VERSION])?;
    let mut stops = BTreeMap::new();
    while reader.remaining() > 0 {
        stops.insert(reader.safe_u64("epoch")?, reader.safe_u64("time of the stop")?);
    }
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::SystemDisk;

    #[test]
    fn an_epoch_stops_once_and_a_restart_remembers_it() {
        let folder = tempfile::tempdir().unwrap();
        let stops = Stops::open(&SystemDisk, folder.path()).unwrap();
        assert_eq!(stops.of_epoch(3), None);
        assert_eq!(stops.stop(&SystemDisk, 3, 100).unwrap(), 100);
        assert_eq!(stops.stop(&SystemDisk, 3, 200).unwrap(), 100, "the first promise stays");
        assert_eq!(stops.stop(&SystemDisk, 4, 300).unwrap(), 300);
        let again = Stops::open(&SystemDisk, folder.path()).unwrap();
        assert_eq!((again.of_epoch(3), again.of_epoch(4), again.of_epoch(5)), (Some(100), Some(300), None));
        let path = folder.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(Stops::open(&SystemDisk, folder.path()), Err(StopsError::Malformed { .. })));
    }
}
