//! What uploads use of a store.

use std::sync::Arc;

use super::partial_uploads::PartialUploads;
use super::upload_space::UploadSpace;
use crate::host::Host;
use crate::store::blobs::SpoolFolder;
use crate::store::checked_index::CheckedIndex;
use crate::store::large_blobs::LargeBlobs;

/// The parts of a store that uploads use.
#[derive(Debug)]
pub(in super::super) struct UploadParts {
    pub(in super::super) host: Host,
    pub(in super::super) index: Arc<CheckedIndex>,
    pub(in super::super) blobs: Arc<LargeBlobs>,
    pub(in super::super) folder: Arc<SpoolFolder>,
    pub(in super::super) partials: Arc<PartialUploads>,
    pub(in super::super) space: UploadSpace,
}
