//! A large blob that is open for reading, wherever it is.

use vouch_core::tree::Parent;

use super::remote::RemoteBlob;
use crate::host::disk::DiskFile;
use crate::host::files::FileError;

/// A blob that is open for reading.
#[derive(Debug)]
pub(in super::super) enum OpenBlob {
    /// Two files.
    Files { data: Box<dyn DiskFile>, outboard: Box<dyn DiskFile> },
    /// Two objects.
    Remote(RemoteBlob),
}

impl OpenBlob {
    /// Reads bytes, unverified.
    pub(in super::super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { data, .. } => data.read_at(offset, buffer),
            Self::Remote(blob) => blob.read(offset, buffer),
        }
    }

    /// Reads the parent at an offset of the outboard, unverified.
    pub(in super::super) fn parent(&self, offset: u64) -> Result<Parent, FileError> {
        let mut parent = Parent([0; Parent::SIZE]);
        self.read_outboard(offset, &mut parent.0)?;
        Ok(parent)
    }

    /// Reads bytes of the outboard, unverified.
    pub(in super::super) fn read_outboard(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { outboard, .. } => outboard.read_at(offset, buffer),
            Self::Remote(blob) => blob.read_outboard(offset, buffer),
        }
    }
}
