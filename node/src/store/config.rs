//! A store's configuration.

use std::path::PathBuf;
use std::time::Duration;

use crate::host::objects::Objects;

/// Maximum size in bytes of a blob that is kept in the index.
pub const MAX_SMALL: u64 = 64 << 10;

/// Where blobs of more than 64 KiB are kept.
#[derive(Debug, Clone, Default)]
pub enum BlobLocation {
    /// In files beside the index.
    #[default]
    Beside,
    /// In files in another folder, which no other store uses.
    Folder(PathBuf),
    /// In an object store, under a prefix that no other store uses.
    Elsewhere(Objects),
}

/// Where a store keeps its blobs, and how much it may hold.
#[derive(Debug, Clone, Default)]
pub struct StoreConfig {
    /// The location of large blobs. It must be the same at every start.
    pub place: BlobLocation,
    /// Maximum size of all blobs in bytes, including those being put, without outboards and index. `None`: limited by the disk.
    pub quota: Option<u64>,
    /// Bytes of the disk that no blob may take, so that the index can always be written. `None`: 64 MiB, or 1/16 of
    /// the file system if that is less.
    pub reserve: Option<u64>,
    /// How partial uploads are kept.
    pub partials: PartialConfig,
}

/// How partial uploads are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialConfig {
    /// Number of bytes after which a put makes its partial upload durable.
    pub checkpoint: u64,
    /// A put that received no byte for this long loses its partial upload to the next put of the same blob.
    pub silence: Duration,
    /// Seconds without a put after which a partial upload is removed.
    pub ttl: u64,
    /// Maximum number of partial uploads.
    pub most: usize,
}

impl Default for PartialConfig {
    fn default() -> Self {
        Self { checkpoint: 64 << 20, silence: Duration::from_secs(5), ttl: 24 * 3600, most: 1024 }
    }
}
