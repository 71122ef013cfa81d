//! A store's configuration.

use std::path::PathBuf;

use super::partials::PartialConfig;
use crate::host::objects::Objects;

/// Where blobs of more than 64 KiB are kept.
#[derive(Debug, Clone, Default)]
pub enum Place {
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
pub struct Config {
    /// The place of large blobs. It must be the same at every start.
    pub place: Place,
    /// Maximum size of all blobs in bytes, including those being put, without outboards and index. `None`: limited by the disk.
    pub quota: Option<u64>,
    /// Bytes of the disk that no blob may take, so that the index can always be written. `None`: 64 MiB, or 1/16 of
    /// the file system if that is less.
    pub reserve: Option<u64>,
    /// How partial uploads are kept.
    pub partials: PartialConfig,
}
