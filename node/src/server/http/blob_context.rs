//! What requests about one blob share: the services that they use, and the digest in the path.

use std::sync::Arc;

use vouch_core::digest::Digest;

use super::problem::Problem;
use crate::budgets::Pool;
use crate::server::certificate_lists::CertificateLists;
use crate::server::core_performer::CorePerformer;
use crate::server::get_performer::GetService;
use crate::server::reports::ServerReports;

/// What reads of blobs use.
#[derive(Clone)]
pub(in crate::server) struct BlobContext {
    pub(in crate::server) core: Arc<CorePerformer>,
    pub(in crate::server) gets: GetService,
    pub(in crate::server) certificates: Arc<CertificateLists>,
    pub(in crate::server) reports: Arc<ServerReports>,
    /// The budget of gets in progress.
    pub(in crate::server) downloads: Arc<Pool>,
}

/// A digest from a path.
pub(super) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("{text:?} is not a digest: {error}")))
}
